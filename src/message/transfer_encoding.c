#include "message/transfer_encoding.h"

#include "base/utf8.h"

enum {
        BASE64_OCTETS = 57, /* of a line of 76 */
        QUOTED_COLUMNS = 76,
        WORD_OCTETS = 45, /* 60 in base64, 72 with what stands around them: RFC 2047 has 75 */
};

static int put_base64(struct span text, struct buffer *out)
{
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const size_t len = (text.len + 2) / 3 * 4;
        char *to;
        const int r = len ? buffer_reserve(out, len, &to) : 0;

        if (r < 0 || len == 0)
                return r;
        for (size_t i = 0, o = 0; i < text.len; i += 3, o += 4) {
                const size_t left = text.len - i;
                const unsigned a = (unsigned char) text.p[i];
                const unsigned b = left > 1 ? (unsigned char) text.p[i + 1] : 0;
                const unsigned c = left > 2 ? (unsigned char) text.p[i + 2] : 0;

                to[o] = digits[a >> 2];
                to[o + 1] = digits[(a & 3) << 4 | b >> 4];
                to[o + 2] = left > 1 ? digits[(b & 15) << 2 | c >> 6] : '=';
                to[o + 3] = left > 2 ? digits[c & 63] : '=';
        }
        buffer_commit(out, len);
        return 0;
}

int transfer_encode_base64(struct span text, struct buffer *out)
{
        while (text.len) {
                int r = put_base64(span_first(text, BASE64_OCTETS), out);

                if (r == 0)
                        r = buffer_append(out, "\r\n", 2);
                if (r < 0)
                        return r;
                text = span_skip(text, BASE64_OCTETS);
        }
        return 0;
}

/* Whether the octet stands for itself; a blank does but at the end of a line. */
static bool is_literal(struct span text, size_t i)
{
        const char c = text.p[i];
        const struct span next = span_skip(text, i + 1);

        if (c == ' ' || c == '\t')
                return next.len && !span_starts_with_nocase(next, SPAN_LITERAL("\r\n"));
        return c >= 33 && c <= 126 && c != '=';
}

int transfer_encode_quoted(struct span text, struct buffer *out)
{
        static const char digits[] = "0123456789ABCDEF";
        size_t column = 0;
        int r = 0;

        for (size_t i = 0; i < text.len && r == 0; i++) {
                char hex[] = "=XX";
                const bool is_end = span_starts_with_nocase(span_skip(text, i),
                                                            SPAN_LITERAL("\r\n"));
                const size_t n = !is_end && !is_literal(text, i) ? 3 : 1;

                if (is_end) {
                        r = buffer_append(out, "\r\n", 2);
                        column = 0;
                        i++;
                        continue;
                }
                if (column + n > QUOTED_COLUMNS - 1) {
                        r = buffer_append(out, "=\r\n", 3);
                        column = 0;
                }
                hex[1] = digits[(unsigned char) text.p[i] >> 4];
                hex[2] = digits[text.p[i] & 15];
                if (r == 0)
                        r = buffer_append(out, n == 3 ? hex : text.p + i, n);
                column += n;
        }
        return r == 0 && column ? buffer_append(out, "\r\n", 2) : r;
}

int transfer_encode_words(struct span text, struct buffer *out)
{
        bool is_first = true;
        int r = 0;

        if (utf8_is_ascii(text))
                return buffer_append_span(out, text);
        while (text.len && r == 0) {
                const size_t n = utf8_cut(text, WORD_OCTETS);

                r = buffer_append_string(out, is_first ? "=?UTF-8?B?" : "\r\n =?UTF-8?B?");
                if (r == 0)
                        r = put_base64(span_first(text, n), out);
                if (r == 0)
                        r = buffer_append_string(out, "?=");
                text = span_skip(text, n);
                is_first = false;
        }
        return r;
}
