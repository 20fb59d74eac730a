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

uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);

/* Borrows from the input. More than `len_max` octets fail. */
struct span read_octets(struct reader *r, size_t len_max);

/* `n` octets without a length in front. */
struct span read_raw(struct reader *r, size_t n);

/* Nothing failed and nothing is left over. */
bool read_is_complete(const struct reader *r);

/* 0 or what buffer_append() returns. */
int write_u8(struct buffer *b, uint8_t v);
int write_u16(struct buffer *b, uint16_t v);
int write_u32(struct buffer *b, uint32_t v);
int write_u64(struct buffer *b, uint64_t v);
int write_octets(struct buffer *b, struct span s);

/* Big-endian keys, so that memcmp order is numeric order. */
static inline void key_put_u64(char *out, uint64_t v)
{
        for (int i = 0; i < 8; i++)
                out[i] = (char) (v >> (56 - 8 * i));
}
static inline void key_put_u32(char *out, uint32_t v)
{
        for (int i = 0; i < 4; i++)
                out[i] = (char) (v >> (24 - 8 * i));
}
static inline uint64_t key_get_u64(const char *in)
{
        uint64_t v = 0;

        for (int i = 0; i < 8; i++)
                v = v << 8 | (unsigned char) in[i];
        return v;
}
static inline uint32_t key_get_u32(const char *in)
{
        uint32_t v = 0;

        for (int i = 0; i < 4; i++)
                v = v << 8 | (unsigned char) in[i];
        return v;
}
