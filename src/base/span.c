#include "base/span.h"

#include <stdint.h>

/* Eight octets at once: the high bit of each says whether it is a capital. */
static uint64_t lower8(uint64_t x)
{
        const uint64_t ones = UINT64_C(0x0101010101010101), low = x & (0x7f * ones);
        const uint64_t from_a = low + (0x80 - 'A') * ones, above_z = low + (0x7f - 'Z') * ones;

        return x | ((~x & (from_a ^ above_z) & (0x80 * ones)) >> 2);
}

static bool is_alike8(const char *a, const char *b)
{
        uint64_t x, y;

        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        return x == y || lower8(x) == lower8(y);
}

static bool is_alike4(const char *a, const char *b)
{
        uint32_t x, y;

        memcpy(&x, a, 4);
        memcpy(&y, b, 4);
        return x == y || lower8(x) == lower8(y);
}

bool span_equal_nocase(struct span a, struct span b)
{
        size_t i = 0;

        if (a.len != b.len)
                return false;
        if (a.len >= 8) {
                for (; a.len - i > 8; i += 8)
                        if (!is_alike8(a.p + i, b.p + i))
                                return false;
                return is_alike8(a.p + a.len - 8, b.p + a.len - 8);
        }
        if (a.len >= 4)
                return is_alike4(a.p, b.p) && is_alike4(a.p + a.len - 4, b.p + a.len - 4);
        for (; i < a.len; i++)
                if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
                        return false;
        return true;
}

bool span_starts_with_nocase(struct span s, struct span prefix)
{
        return s.len >= prefix.len && span_equal_nocase(span_first(s, prefix.len), prefix);
}

bool span_ends_with_nocase(struct span s, struct span suffix)
{
        return s.len >= suffix.len && span_equal_nocase(span_skip(s, s.len - suffix.len), suffix);
}

size_t span_find(struct span s, char c)
{
        const char *found = s.len ? memchr(s.p, c, s.len) : NULL;

        return found ? (size_t) (found - s.p) : SIZE_MAX;
}

size_t span_find_last(struct span s, char c)
{
        const char *found = s.len ? memrchr(s.p, c, s.len) : NULL;

        return found ? (size_t) (found - s.p) : SIZE_MAX;
}

bool span_split(struct span *s, char separator, struct span *ret_word)
{
        size_t at;

        if (!s->p)
                return false;
        at = span_find(*s, separator);
        if (at == SIZE_MAX) {
                *ret_word = *s;
                *s = (struct span) {NULL, 0};
        } else {
                *ret_word = span_first(*s, at);
                *s = (struct span) {s->p + at + 1, s->len - at - 1};
        }
        return true;
}

void ascii_lower_copy(char *out, struct span s)
{
        size_t i = 0;

        for (; s.len - i >= 8; i += 8) {
                uint64_t x;

                memcpy(&x, s.p + i, 8);
                x = lower8(x);
                memcpy(out + i, &x, 8);
        }
        for (; i < s.len; i++)
                out[i] = ascii_lower(s.p[i]);
}
