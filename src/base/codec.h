/* Writing and reading records: what IPC frames, log records and index values
 * are made of. Integers are little-endian and of fixed size; octet strings
 * are a 32-bit length and the octets.
 *
 * The reader never runs past its input: the first read that would fail sets
 * `failed`, and from then on every read gives zero or the empty span, so a
 * decoder may read all its fields and test once at the end. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

struct reader {
        struct span rest;
        bool failed;
};

#define READER(span) ((struct reader) {.rest = (span)})

/* `n` octets without a length in front. */
static inline struct span read_raw(struct reader *r, size_t n)
{
        struct span s = r->rest;

        if (r->failed || s.len < n) {
                r->failed = true;
                return (struct span) {NULL, 0};
        }
        s.len = n;
        r->rest = span_skip(r->rest, n);
        return s;
}

/* Numbers lie in little-endian order. Written out, so that compilers see one
 * load or store. */
static inline uint32_t codec_get_u32(const char *in)
{
        const unsigned char *p = (const unsigned char *) in;

        return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 |
               (uint32_t) p[3] << 24;
}
static inline uint64_t codec_get_u64(const char *in)
{
        return codec_get_u32(in) | (uint64_t) codec_get_u32(in + 4) << 32;
}
static inline void codec_put_u16(char *out, uint16_t v)
{
        out[0] = (char) v;
        out[1] = (char) (v >> 8);
}
static inline void codec_put_u32(char *out, uint32_t v)
{
        out[0] = (char) v;
        out[1] = (char) (v >> 8);
        out[2] = (char) (v >> 16);
        out[3] = (char) (v >> 24);
}
static inline void codec_put_u64(char *out, uint64_t v)
{
        codec_put_u32(out, (uint32_t) v);
        codec_put_u32(out + 4, (uint32_t) (v >> 32));
}

static inline uint8_t read_u8(struct reader *r)
{
        const struct span s = read_raw(r, 1);

        return s.len ? (uint8_t) s.p[0] : 0;
}
static inline uint16_t read_u16(struct reader *r)
{
        const struct span s = read_raw(r, 2);

        return s.len ? (uint16_t) ((unsigned char) s.p[0] | (unsigned char) s.p[1] << 8) : 0;
}
static inline uint32_t read_u32(struct reader *r)
{
        const struct span s = read_raw(r, 4);

        return s.len ? codec_get_u32(s.p) : 0;
}
static inline uint64_t read_u64(struct reader *r)
{
        const struct span s = read_raw(r, 8);

        return s.len ? codec_get_u64(s.p) : 0;
}

/* Borrows from the input. More than `len_max` octets fail. */
struct span read_octets(struct reader *r, size_t len_max);

/* Nothing failed and nothing is left over. */
bool read_is_complete(const struct reader *r);

/* 0 or what buffer_append() returns. */
static inline int write_u8(struct buffer *b, uint8_t v)
{
        return buffer_append(b, &v, 1);
}
static inline int write_u16(struct buffer *b, uint16_t v)
{
        char raw[2];

        codec_put_u16(raw, v);
        return buffer_append(b, raw, sizeof raw);
}
static inline int write_u32(struct buffer *b, uint32_t v)
{
        char raw[4];

        codec_put_u32(raw, v);
        return buffer_append(b, raw, sizeof raw);
}
static inline int write_u64(struct buffer *b, uint64_t v)
{
        char raw[8];

        codec_put_u64(raw, v);
        return buffer_append(b, raw, sizeof raw);
}
int write_octets(struct buffer *b, struct span s);

/* Big-endian keys, so that memcmp order is numeric order. */
static inline void key_put_u32(char *out, uint32_t v)
{
        out[0] = (char) (v >> 24);
        out[1] = (char) (v >> 16);
        out[2] = (char) (v >> 8);
        out[3] = (char) v;
}
static inline void key_put_u64(char *out, uint64_t v)
{
        key_put_u32(out, (uint32_t) (v >> 32));
        key_put_u32(out + 4, (uint32_t) v);
}
static inline uint32_t key_get_u32(const char *in)
{
        const unsigned char *p = (const unsigned char *) in;

        return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 |
               (uint32_t) p[3];
}
static inline uint64_t key_get_u64(const char *in)
{
        return (uint64_t) key_get_u32(in) << 32 | key_get_u32(in + 4);
}
