#include "message/transfer_decode.h"

#include <errno.h>
#include <stdint.h>

/* The values of base64 digits; 64: none; 65: "=". Built once by the compiler. */
#define ROW16(v) v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v
static const uint8_t digit_values[256] = {
        ROW16(64), ROW16(64),
        64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 62, 64, 64, 64, 63,
        52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64, 64, 64, 65, 64, 64,
        64, 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,
        15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 64, 64, 64, 64, 64,
        64, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
        41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 64, 64, 64, 64, 64,
        ROW16(64), ROW16(64), ROW16(64), ROW16(64), ROW16(64), ROW16(64), ROW16(64), ROW16(64),
};

/* Digits four by four, as far as there is nothing else among them. Returns how many. */
static size_t decode_quads(struct span text, char *to)
{
        const unsigned char *p = (const unsigned char *) text.p;
        size_t i = 0;

        for (; text.len - i >= 4; i += 4, to += 3) {
                const uint32_t a = digit_values[p[i]], b = digit_values[p[i + 1]],
                               c = digit_values[p[i + 2]], d = digit_values[p[i + 3]];
                const uint32_t bits = a << 18 | b << 12 | c << 6 | d;

                if ((a | b | c | d) & 64)
                        break;
                to[0] = (char) (bits >> 16);
                to[1] = (char) (bits >> 8);
                to[2] = (char) bits;
        }
        return i;
}

int transfer_decode_base64(struct span text, struct buffer *out)
{
        uint32_t bits = 0;
        unsigned count = 0; /* digits gathered */
        size_t len = 0;
        char *to;
        int r;

        r = buffer_reserve(out, text.len / 4 * 3 + 3, &to);
        if (r < 0)
                return r;
        for (size_t i = 0; i < text.len; i++) {
                uint8_t v;

                if (count == 0) {
                        const size_t used = decode_quads(span_skip(text, i), to + len);

                        len += used / 4 * 3;
                        i += used;
                        if (i == text.len)
                                break;
                }
                v = digit_values[(unsigned char) text.p[i]];
                if (v == 64)
                        continue;
                if (v == 65) { /* padding: bits left over belong to nothing */
                        if (count >= 2)
                                to[len++] = (char) (bits >> (count == 2 ? 4 : 10));
                        if (count == 3)
                                to[len++] = (char) (bits >> 2);
                        bits = count = 0;
                        continue;
                }
                bits = bits << 6 | v;
                if (++count == 4) {
                        to[len++] = (char) (bits >> 16);
                        to[len++] = (char) (bits >> 8);
                        to[len++] = (char) bits;
                        bits = count = 0;
                }
        }
        if (count >= 2) /* cut off, or padding left out */
                to[len++] = (char) (bits >> (count == 2 ? 4 : 10));
        if (count == 3)
                to[len++] = (char) (bits >> 2);
        buffer_commit(out, len);
        return 0;
}

static int hex(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c = ascii_lower(c);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A soft line break at `s`, which starts behind "=": its octets, or 0. Blanks
 * that some transport put behind the "=" go with it. */
static size_t soft_break(struct span s)
{
        size_t i = 0;

        while (i < s.len && (s.p[i] == ' ' || s.p[i] == '\t'))
                i++;
        if (i < s.len && s.p[i] == '\n')
                return i + 1;
        if (i + 1 < s.len && s.p[i] == '\r' && s.p[i + 1] == '\n')
                return i + 2;
        return i == s.len ? i : 0;
}

int transfer_decode_quoted(struct span text, bool is_word, struct buffer *out)
{
        size_t len = 0;
        char *to;
        int r;

        r = buffer_reserve(out, text.len, &to);
        if (r < 0)
                return r;
        for (size_t i = 0; i < text.len; i++) {
                const char c = text.p[i];
                size_t gap;

                if (c != '=') {
                        to[len++] = is_word && c == '_' ? ' ' : c;
                        continue;
                }
                if (i + 2 < text.len && hex(text.p[i + 1]) >= 0 && hex(text.p[i + 2]) >= 0) {
                        to[len++] = (char) (hex(text.p[i + 1]) << 4 | hex(text.p[i + 2]));
                        i += 2;
                        continue;
                }
                gap = is_word ? 0 : soft_break(span_skip(text, i + 1));
                if (gap)
                        i += gap;
                else if (i + 1 < text.len || is_word)
                        to[len++] = c;
        }
        buffer_commit(out, len);
        return 0;
}

int transfer_decode(struct span encoding, struct span text, struct buffer *out)
{
        if (span_equal(encoding, SPAN_LITERAL("base64")))
                return transfer_decode_base64(text, out);
        if (span_equal(encoding, SPAN_LITERAL("quoted-printable")))
                return transfer_decode_quoted(text, false, out);
        if (span_equal(encoding, SPAN_LITERAL("7bit"))
            || span_equal(encoding, SPAN_LITERAL("8bit"))
            || span_equal(encoding, SPAN_LITERAL("binary")))
                return text.len ? buffer_append_span(out, text) : 0;
        return -ENOTSUP;
}
