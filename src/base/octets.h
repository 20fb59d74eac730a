/* Octets looked at sixteen at a time: how many there are before the first of some kind, for
 * the short texts that every message has many of.
 *
 *   static octets16 marks(octets16 x) { return octets_below(x, ' ') | octets_equal(x, '"'); }
 *   is_plain = octets_until(s, marks) == s.len;
 *
 * An octet that is marked is 255, the others are 0. */
#pragma once

#include <endian.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/span.h"

typedef unsigned char octets16 __attribute__((vector_size(16)));

enum { OCTETS_COUNT = sizeof(octets16) };

static inline octets16 octets_all(char c)
{
        return (octets16) {0} + (unsigned char) c;
}

static inline octets16 octets_equal(octets16 x, char c)
{
        return (octets16) (x == octets_all(c));
}

/* From `first` to `last`. */
static inline octets16 octets_between(octets16 x, char first, char last)
{
        return (octets16) (x - octets_all(first) <= octets_all((char) (last - first)));
}

static inline octets16 octets_below(octets16 x, char least)
{
        return (octets16) (x < octets_all(least));
}

/* Those above 127. */
static inline octets16 octets_above_ascii(octets16 x)
{
        return (octets16) (x > octets_all(127));
}

/* The control characters of ASCII. */
static inline octets16 octets_controls(octets16 x)
{
        return octets_below(x, ' ') | octets_equal(x, 127);
}

/* All but the letters, digits, dots and hyphens that names of hosts are made of. */
static inline octets16 octets_beyond_names(octets16 x)
{
        const octets16 letters = octets_between(x | octets_all('a' - 'A'), 'a', 'z');
        const octets16 others = octets_between(x, '-', '9'); /* "-./0…9" */

        return ~(letters | (others & ~octets_equal(x, '/')));
}

/* A bit for each that is marked, the lowest for the first. */
static inline unsigned octets_bits(octets16 marks)
{
#ifdef __SSE2__
        return (unsigned) _mm_movemask_epi8((__m128i) marks);
#else
        unsigned bits = 0;

        for (unsigned i = 0; i < OCTETS_COUNT; i++)
                bits |= (unsigned) (marks[i] >> 7) << i;
        return bits;
#endif
}

static inline octets16 octets_load(const char *p)
{
        octets16 x;

        memcpy(&x, p, sizeof x);
        return x;
}

/* Up to eight octets as a number, the first the lowest; behind them are zeros. */
static inline uint64_t octets_load_word(const char *p, size_t len)
{
        uint32_t front, back;
        uint64_t all;

        if (len >= sizeof all) {
                memcpy(&all, p, sizeof all);
                return le64toh(all);
        }
        if (len >= sizeof front) {
                memcpy(&front, p, sizeof front);
                memcpy(&back, p + len - sizeof back, sizeof back);
                return le32toh(front) | (uint64_t) le32toh(back) << 8 * (len - sizeof back);
        }
        if (len == 0)
                return 0;
        return (uint64_t) (unsigned char) p[0] |
               (uint64_t) (unsigned char) p[len / 2] << 8 * (len / 2) |
               (uint64_t) (unsigned char) p[len - 1] << 8 * (len - 1);
}

/* Fewer than sixteen; behind them are zeros. No octet but these is read. */
static inline octets16 octets_load_short(const char *p, size_t len)
{
        typedef uint64_t words __attribute__((vector_size(16)));
        uint64_t back = 0;

        if (len > sizeof back) /* its first octets stand in the front word, too */
                back = octets_load_word(p + len - sizeof back, sizeof back) >> 8 * (16 - len);
        return (octets16) (words) {htole64(octets_load_word(p, len)), htole64(back)};
}

/* The first sixteen of `s`; behind fewer are zeros. */
static inline octets16 octets_load_some(struct span s)
{
        return s.len >= OCTETS_COUNT ? octets_load(s.p) : octets_load_short(s.p, s.len);
}

/* Octets of `s` in front of the first that is marked. */
static inline __attribute__((always_inline)) size_t octets_until(struct span s,
                                                                 octets16 marks(octets16 x))
{
        size_t at = 0;
        unsigned found;

        for (; s.len - at >= OCTETS_COUNT; at += OCTETS_COUNT) {
                found = octets_bits(marks(octets_load(s.p + at)));
                if (found)
                        return at + (size_t) __builtin_ctz(found);
        }
        if (at == s.len)
                return at;
        if (at) { /* some of these are known */
                at = s.len - OCTETS_COUNT;
                found = octets_bits(marks(octets_load(s.p + at))) | 1U << OCTETS_COUNT;
        } else { /* what is behind the end may be marked, too */
                found = octets_bits(marks(octets_load_short(s.p, s.len))) | 1U << s.len;
        }
        return at + (size_t) __builtin_ctz(found);
}
