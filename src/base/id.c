#include "base/id.h"

#include <errno.h>

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
static const uint64_t epoch_us = 1577836800000000ULL; /* 2020-01-01 UTC */

enum { COUNTER_BITS = 16, NUMBER_BITS = 6, TIME_SHIFT = COUNTER_BITS + NUMBER_BITS };

uint64_t id_next(struct id_maker *m, uint64_t now_us)
{
        const uint64_t ms = now_us > epoch_us ? (now_us - epoch_us) / 1000 : 0;
        uint64_t id = ms << TIME_SHIFT | (uint64_t) (m->number % ID_MAKERS) << COUNTER_BITS;

        if (id <= m->last) { /* the same millisecond, or the clock went back */
                id = m->last + 1;
                if ((id & 0xffff) == 0) /* counter full: the next millisecond's ids, early */
                        id = ((m->last >> TIME_SHIFT) + 1) << TIME_SHIFT |
                             (uint64_t) (m->number % ID_MAKERS) << COUNTER_BITS;
        }
        m->last = id;
        return id;
}

uint8_t id_maker_number(uint64_t id)
{
        return (id >> COUNTER_BITS) % ID_MAKERS;
}

uint64_t id_time_us(uint64_t id)
{
        return (id >> TIME_SHIFT) * 1000 + epoch_us;
}

const char *id_format(uint64_t id, char *out)
{
        for (int i = ID_TEXT_LEN; i-- > 0; id >>= 5)
                out[i] = alphabet[id & 31];
        out[ID_TEXT_LEN] = '\0';
        return out;
}

int id_parse(struct span s, uint64_t *ret_id)
{
        uint64_t id = 0;

        if (s.len != ID_TEXT_LEN)
                return -EINVAL;
        for (size_t i = 0; i < s.len; i++) {
                const char c = ascii_lower(s.p[i]);
                const char *at = c ? strchr(alphabet, c) : NULL;

                if (!at || (i == 0 && at - alphabet > 15))
                        return -EINVAL;
                id = id << 5 | (uint64_t) (at - alphabet);
        }
        *ret_id = id;
        return 0;
}
