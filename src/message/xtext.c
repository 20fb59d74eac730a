#include "message/xtext.h"

#include <stdint.h>

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* xchar of RFC 3461 section 4. */
static bool is_xchar(char c)
{
        return c >= 33 && c <= 126 && c != '+' && c != '=';
}

bool xtext_is_valid(struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                if (s.p[i] == '+') {
                        if (s.len - i < 3 || hex_value(s.p[i + 1]) < 0 || hex_value(s.p[i + 2]) < 0)
                                return false;
                        i += 2;
                } else if (!is_xchar(s.p[i])) {
                        return false;
                }
        }
        return true;
}

struct span xtext_decode(struct span s, struct arena *arena)
{
        size_t len = 0;
        char *out;

        if (!xtext_is_valid(s))
                return (struct span) {NULL, 0};
        out = arena_alloc(arena, s.len + 1);
        if (!out)
                return (struct span) {NULL, 0};
        for (size_t i = 0; i < s.len; i++) {
                if (s.p[i] == '+') {
                        out[len++] = (char) (hex_value(s.p[i + 1]) << 4 | hex_value(s.p[i + 2]));
                        i += 2;
                } else {
                        out[len++] = s.p[i];
                }
        }
        return span_make(out, len);
}

struct span xtext_encode(struct span s, struct arena *arena)
{
        static const char digits[] = "0123456789ABCDEF";
        size_t len = 0;
        char *out;

        if (s.len > SIZE_MAX / 4)
                return (struct span) {NULL, 0};
        out = arena_alloc(arena, 3 * s.len + 1);
        if (!out)
                return (struct span) {NULL, 0};
        for (size_t i = 0; i < s.len; i++) {
                if (is_xchar(s.p[i])) {
                        out[len++] = s.p[i];
                } else {
                        out[len++] = '+';
                        out[len++] = digits[(unsigned char) s.p[i] >> 4];
                        out[len++] = digits[s.p[i] & 15];
                }
        }
        return span_make(out, len);
}
