#include "base/utf8.h"

#include <stdint.h>

#include "base/octets.h"

/* Octets of the character that starts at p, or 0 when it is none. */
static size_t character_len(const unsigned char *p, size_t left)
{
        static const struct {
                unsigned char first, last, low, high; /* range of octet 1 and of octet 2 */
                unsigned char len;
        } forms[] = {
                { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
                { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 },
                { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
                { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
        };

        if (p[0] < 0x80)
                return 1;
        for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
                if (p[0] < forms[i].first || p[0] > forms[i].last)
                        continue;
                if (left < forms[i].len || p[1] < forms[i].low || p[1] > forms[i].high)
                        return 0;
                for (size_t k = 2; k < forms[i].len; k++)
                        if ((p[k] & 0xc0) != 0x80)
                                return 0;
                return forms[i].len;
        }
        return 0;
}

bool utf8_is_valid(struct span s)
{
        const unsigned char *p = (const unsigned char *) s.p;
        size_t i = octets_until(s, octets_above_ascii);

        while (i < s.len) {
                const size_t n = character_len(p + i, s.len - i);

                if (n == 0)
                        return false;
                i += n;
        }
        return true;
}

bool utf8_is_ascii(struct span s)
{
        size_t i = 0;

        for (; s.len - i >= 4 * OCTETS_COUNT; i += 4 * OCTETS_COUNT) {
                octets16 x[4];

                memcpy(x, s.p + i, sizeof x);
                if (octets_bits(octets_above_ascii(x[0] | x[1] | x[2] | x[3])))
                        return false;
        }
        s = span_skip(s, i);
        return octets_until(s, octets_above_ascii) == s.len;
}

size_t utf8_cut(struct span s, size_t n)
{
        if (n >= s.len)
                return s.len;
        /* A character has at most three octets that continue it; more of them
         * in a row are no UTF-8, and are cut anywhere. */
        for (size_t back = 0; back < 4 && back <= n; back++)
                if (((unsigned char) s.p[n - back] & 0xc0) != 0x80)
                        return n - back;
        return n;
}

size_t utf8_put(uint32_t character, char *out)
{
        if (character < 0x80) {
                out[0] = (char) character;
                return 1;
        }
        if (character < 0x800) {
                out[0] = (char) (0xC0 | character >> 6);
                out[1] = (char) (0x80 | (character & 63));
                return 2;
        }
        if (character < 0x10000) {
                out[0] = (char) (0xE0 | character >> 12);
                out[1] = (char) (0x80 | (character >> 6 & 63));
                out[2] = (char) (0x80 | (character & 63));
                return 3;
        }
        out[0] = (char) (0xF0 | character >> 18);
        out[1] = (char) (0x80 | (character >> 12 & 63));
        out[2] = (char) (0x80 | (character >> 6 & 63));
        out[3] = (char) (0x80 | (character & 63));
        return 4;
}
