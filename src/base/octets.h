/* Octets looked at eight at a time: how many there are before the first of some kind, for
 * the short texts that every message has many of.
 *
 *   static uint64_t marks(uint64_t x) { return octets_below(x, ' ') | octets_equal(x, '"'); }
 *   is_plain = octets_until(s, marks) == s.len;
 *
 * A mark is the high bit of an octet of the word; sums carry into it, and no further. */
#pragma once

#include <endian.h>
#include <stdint.h>

#include "base/span.h"

#define OCTETS_ONES UINT64_C(0x0101010101010101)
#define OCTETS_HIGH UINT64_C(0x8080808080808080)

/* Those above 127. */
static inline uint64_t octets_above_ascii(uint64_t x)
{
        return x & OCTETS_HIGH;
}

/* Those of ASCII below `least`, which is from 1 to 127. */
static inline uint64_t octets_below(uint64_t x, char least)
{
        const uint64_t reach = (uint64_t) (0x80 - least) * OCTETS_ONES;

        return ~((x & ~OCTETS_HIGH) + reach) & ~x & OCTETS_HIGH;
}

/* Those that are `c`, an octet of ASCII. */
static inline uint64_t octets_equal(uint64_t x, char c)
{
        const uint64_t others = (x & ~OCTETS_HIGH) ^ (uint64_t) c * OCTETS_ONES;

        return ~(others + ~OCTETS_HIGH) & ~x & OCTETS_HIGH;
}

/* The control characters of ASCII. */
static inline uint64_t octets_controls(uint64_t x)
{
        return octets_below(x, ' ') | octets_equal(x, 127);
}

/* All but the letters, digits, dots and hyphens that names of hosts are made of. */
static inline uint64_t octets_beyond_names(uint64_t x)
{
        const uint64_t lower = x | ('a' - 'A') * OCTETS_ONES;
        const uint64_t letters = octets_below(lower, 'z' + 1) ^ octets_below(lower, 'a');
        const uint64_t others = octets_below(x, '9' + 1) ^ octets_below(x, '-'); /* "-./0…9" */

        return ~(letters | (others & ~octets_equal(x, '/'))) & OCTETS_HIGH;
}

static inline uint64_t octets_load(const char *p)
{
        uint64_t x;

        memcpy(&x, p, sizeof x);
        return le64toh(x); /* the first octet is the lowest */
}

/* One to seven octets; behind them are zeros. Each is read at least once. */
static inline uint64_t octets_load_short(const char *p, size_t len)
{
        const size_t half = len / 2, last = len - 1;
        uint32_t front, back;

        if (len < 4)
                return (uint64_t) (unsigned char) p[0] |
                       (uint64_t) (unsigned char) p[half] << 8 * half |
                       (uint64_t) (unsigned char) p[last] << 8 * last;
        memcpy(&front, p, sizeof front);
        memcpy(&back, p + len - sizeof back, sizeof back);
        return le32toh(front) | (uint64_t) le32toh(back) << 8 * (len - sizeof back);
}

/* Octets of `s` in front of the first that is marked. */
static inline __attribute__((always_inline)) size_t octets_until(struct span s,
                                                                 uint64_t marks(uint64_t x))
{
        size_t at = 0, left;
        uint64_t x, found;

        for (; s.len - at >= sizeof x; at += sizeof x) {
                found = marks(octets_load(s.p + at));
                if (found)
                        return at + (size_t) __builtin_ctzll(found) / 8;
        }
        left = s.len - at;
        if (left == 0)
                return at;
        x = at ? octets_load(s.p + s.len - sizeof x) >> 8 * (sizeof x - left)
               : octets_load_short(s.p, left);
        found = marks(x); /* what is behind the end may be marked, too */
        left = found ? (size_t) __builtin_ctzll(found) / 8 : left;
        return at + left < s.len ? at + left : s.len;
}
