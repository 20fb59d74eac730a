#include "base/codec.h"

#include <errno.h>

static uint64_t read_int(struct reader *r, size_t n)
{
        struct span s = read_raw(r, n);
        uint64_t v = 0;

        for (size_t i = s.len; i-- > 0;)
                v = v << 8 | (unsigned char) s.p[i];
        return v;
}

uint8_t read_u8(struct reader *r)
{
        return (uint8_t) read_int(r, 1);
}

uint16_t read_u16(struct reader *r)
{
        return (uint16_t) read_int(r, 2);
}

uint32_t read_u32(struct reader *r)
{
        return (uint32_t) read_int(r, 4);
}

uint64_t read_u64(struct reader *r)
{
        return read_int(r, 8);
}

struct span read_raw(struct reader *r, size_t n)
{
        struct span s;

        if (r->failed || r->rest.len < n) {
                r->failed = true;
                return (struct span) {NULL, 0};
        }
        s = span_first(r->rest, n);
        r->rest = span_skip(r->rest, n);
        return s;
}

struct span read_octets(struct reader *r, size_t len_max)
{
        const uint32_t len = read_u32(r);

        if (len > len_max)
                r->failed = true;
        return read_raw(r, len);
}

bool read_is_complete(const struct reader *r)
{
        return !r->failed && r->rest.len == 0;
}

static int write_int(struct buffer *b, uint64_t v, size_t n)
{
        char raw[8];

        for (size_t i = 0; i < n; i++)
                raw[i] = (char) (v >> (8 * i));
        return buffer_append(b, raw, n);
}

int write_u8(struct buffer *b, uint8_t v)
{
        return write_int(b, v, 1);
}

int write_u16(struct buffer *b, uint16_t v)
{
        return write_int(b, v, 2);
}

int write_u32(struct buffer *b, uint32_t v)
{
        return write_int(b, v, 4);
}

int write_u64(struct buffer *b, uint64_t v)
{
        return write_int(b, v, 8);
}

int write_octets(struct buffer *b, struct span s)
{
        char *to;
        int r;

        if (s.len > UINT32_MAX)
                return -EMSGSIZE;
        r = buffer_reserve(b, 4 + s.len, &to);
        if (r < 0)
                return r;
        for (int i = 0; i < 4; i++)
                to[i] = (char) (s.len >> (8 * i));
        if (s.len)
                memcpy(to + 4, s.p, s.len);
        buffer_commit(b, 4 + s.len);
        return 0;
}
