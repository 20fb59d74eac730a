#include "base/codec.h"

#include <errno.h>

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

int write_octets(struct buffer *b, struct span s)
{
        char *to;
        int r;

        if (s.len > UINT32_MAX)
                return -EMSGSIZE;
        r = buffer_reserve(b, 4 + s.len, &to);
        if (r < 0)
                return r;
        codec_put_u32(to, (uint32_t) s.len);
        if (s.len)
                memcpy(to + 4, s.p, s.len);
        buffer_commit(b, 4 + s.len);
        return 0;
}
