#include "message/encoded_word.h"

#include <errno.h>
#include <stdbool.h>

#include "base/number.h"
#include "base/octets.h"
#include "message/charset.h"
#include "message/transfer_decode.h"

enum { JOINED_MAX = 1024 * 1024, SECTIONS_MAX = 100 };

struct word {
        struct span charset;
        char encoding; /* 'b' or 'q' */
        struct span text;
        size_t len;    /* of all of it */
};

/* "=?charset[*language]?B?text?=" at the start of `s`. */
static bool parse_word(struct span s, struct word *ret)
{
        struct span rest = s, language;
        const char *end;

        if (s.len < 8 || s.p[0] != '=' || s.p[1] != '?')
                return false;
        rest = span_skip(s, 2);
        if (!span_split(&rest, '?', &ret->charset) || !rest.p || rest.len < 4 || rest.p[1] != '?')
                return false;
        ret->encoding = ascii_lower(rest.p[0]);
        rest = span_skip(rest, 2);
        if (ret->charset.len == 0 || (ret->encoding != 'b' && ret->encoding != 'q')
            || span_find(ret->charset, ' ') != SIZE_MAX)
                return false;
        end = memmem(rest.p, rest.len, "?=", 2);
        if (!end)
                return false;
        ret->text = span_make(rest.p, (size_t) (end - rest.p));
        if (span_find(ret->text, '\n') != SIZE_MAX)
                return false;
        ret->len = (size_t) (end + 2 - s.p);
        language = ret->charset;
        span_split(&language, '*', &ret->charset); /* RFC 2231 section 5 */
        return charset_is_known(ret->charset);
}

/* Decoded octets of words in one charset, not yet converted. */
struct joined {
        struct buffer octets;
        struct span charset;
};

static int flush(struct joined *j, struct buffer *out)
{
        int r = 0;

        if (j->octets.len)
                r = charset_to_utf8(j->charset, buffer_span(&j->octets), out);
        buffer_clear(&j->octets);
        j->charset = (struct span) {NULL, 0};
        return r;
}

static int take_word(struct joined *j, const struct word *w, struct buffer *out)
{
        int r = 0;

        if (!span_equal_nocase(j->charset, w->charset)) {
                r = flush(j, out);
                j->charset = w->charset;
        }
        if (r < 0)
                return r;
        return w->encoding == 'b' ? transfer_decode_base64(w->text, &j->octets)
                                  : transfer_decode_quoted(w->text, true, &j->octets);
}

/* Blanks and folds at the start of `s`. */
static size_t gap_len(struct span s)
{
        size_t n = 0;

        while (n < s.len && (s.p[n] == ' ' || s.p[n] == '\t' || s.p[n] == '\r' || s.p[n] == '\n'))
                n++;
        return n;
}

/* Without the CR and LF of folds; guessed at as a whole. */
static int append_plain(struct span text, struct buffer *out)
{
        struct buffer unfolded = BUFFER_INIT(text.len + 1);
        int r = 0;

        if (span_find(text, '\n') == SIZE_MAX && span_find(text, '\r') == SIZE_MAX)
                return charset_guess_to_utf8(text, out);
        for (size_t i = 0; i < text.len && r == 0; i++)
                if (text.p[i] != '\r' && text.p[i] != '\n')
                        r = buffer_append(&unfolded, text.p + i, 1);
        if (r == 0)
                r = charset_guess_to_utf8(buffer_span(&unfolded), out);
        buffer_done(&unfolded);
        return r;
}

/* Octets up to the next "=?" that begins a word, or to the end. */
static size_t plain_len(struct span s, struct word *w)
{
        size_t n = 0;

        while (n < s.len) {
                const char *at = memmem(s.p + n, s.len - n, "=?", 2);

                if (!at)
                        return s.len;
                n = (size_t) (at - s.p);
                if (parse_word(span_skip(s, n), w))
                        return n;
                n += 2;
        }
        return s.len;
}

static octets16 not_printable(octets16 x)
{
        return octets_above_ascii(x) | octets_below(x, ' ') | octets_equal(x, 127);
}

int encoded_word_decode(struct span value, struct buffer *out)
{
        struct joined j = {.octets = BUFFER_INIT(JOINED_MAX)};
        bool after_word = false;
        int r = 0;

        if (octets_until(value, not_printable) == value.len && span_find(value, '?') == SIZE_MAX)
                return buffer_append_span(out, value); /* nothing to decode, nor to guess at */
        while (value.len && r == 0) {
                struct word w = {0};
                const size_t plain = plain_len(value, &w);
                const bool has_word = plain < value.len;
                const struct span text = span_first(value, plain);

                if (text.len && !(after_word && has_word && gap_len(text) == text.len)) {
                        r = flush(&j, out);
                        if (r == 0)
                                r = append_plain(text, out);
                }
                value = span_skip(value, plain);
                if (!has_word || r < 0)
                        break;
                r = take_word(&j, &w, out);
                value = span_skip(value, w.len);
                after_word = true;
        }
        if (r == 0)
                r = flush(&j, out);
        buffer_done(&j.octets);
        return r;
}

/* ---- RFC 2231 ---------------------------------------------------------------- */

static int hex(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c = ascii_lower(c);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int append_percent(struct span text, struct buffer *out)
{
        int r = 0;

        for (size_t i = 0; i < text.len && r == 0; i++) {
                char c = text.p[i];

                if (c == '%' && i + 2 < text.len && hex(text.p[i + 1]) >= 0
                    && hex(text.p[i + 2]) >= 0) {
                        c = (char) (hex(text.p[i + 1]) << 4 | hex(text.p[i + 2]));
                        i += 2;
                }
                r = buffer_append(out, &c, 1);
        }
        return r;
}

/* "name*0*": which section, and is it in percent? */
static bool is_section(struct span name, struct span wanted, uint64_t number, bool *ret_is_encoded)
{
        uint64_t n;

        if (name.len < wanted.len + 2 || !span_equal(span_first(name, wanted.len), wanted)
            || name.p[wanted.len] != '*')
                return false;
        name = span_skip(name, wanted.len + 1);
        *ret_is_encoded = name.p[name.len - 1] == '*';
        if (*ret_is_encoded)
                name.len--;
        return number_parse(name, SECTIONS_MAX, &n) == 0 && n == number;
}

static bool find_section(const struct content_field *f, struct span name, uint64_t number,
                         struct span *ret_value, bool *ret_is_encoded)
{
        for (size_t i = 0; i < f->parameter_count; i++) {
                if (is_section(f->parameters[i].name, name, number, ret_is_encoded)) {
                        *ret_value = f->parameters[i].value;
                        return true;
                }
        }
        return false;
}

/* "name*": one section, in percent. */
static bool find_extended(const struct content_field *f, struct span name, struct span *ret_value)
{
        for (size_t i = 0; i < f->parameter_count; i++) {
                const struct span n = f->parameters[i].name;

                if (n.len == name.len + 1 && n.p[name.len] == '*'
                    && span_equal(span_first(n, name.len), name)) {
                        *ret_value = f->parameters[i].value;
                        return true;
                }
        }
        return false;
}

/* "charset'language'text". */
static struct span take_charset(struct span *value)
{
        struct span rest = *value, charset, language;

        if (!span_split(&rest, '\'', &charset) || !rest.p || !span_split(&rest, '\'', &language)
            || !rest.p)
                return (struct span) {NULL, 0};
        *value = rest;
        return charset;
}

static int join_sections(const struct content_field *f, struct span name, struct span *charset,
                         struct buffer *octets)
{
        struct span value;
        bool is_encoded;
        int r = 0;

        for (uint64_t n = 0; n < SECTIONS_MAX && r == 0; n++) {
                if (!find_section(f, name, n, &value, &is_encoded))
                        break;
                if (n == 0 && is_encoded)
                        *charset = take_charset(&value);
                if (is_encoded)
                        r = append_percent(value, octets);
                else if (value.len)
                        r = buffer_append_span(octets, value);
        }
        return r;
}

int encoded_word_parameter(const struct content_field *f, struct span name, struct buffer *out)
{
        struct buffer octets = BUFFER_INIT(JOINED_MAX);
        struct span value, charset = {NULL, 0};
        bool is_encoded;
        int r;

        if (find_extended(f, name, &value)) {
                charset = take_charset(&value);
                r = append_percent(value, &octets);
        } else if (find_section(f, name, 0, &value, &is_encoded)) {
                r = join_sections(f, name, &charset, &octets);
        } else if (content_field_parameter(f, name, &value)) {
                return encoded_word_decode(value, out);
        } else {
                return -ENOENT;
        }
        if (r == 0)
                r = charset_to_utf8(charset, buffer_span(&octets), out);
        if (r == -ENOTSUP)
                r = charset_guess_to_utf8(buffer_span(&octets), out);
        buffer_done(&octets);
        return r;
}
