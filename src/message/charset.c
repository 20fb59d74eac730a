#include "message/charset.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <unicode/ucnv.h>

#include "base/utf8.h"
#include "message/iso_2022_jp.h"

enum { NAME_MAX_LEN = 40, CACHE_SIZE = 8, UNITS = 1024 };

/* ---- names ------------------------------------------------------------------- */

static const struct {
        struct span name;
        const char *icu;
} aliases[] = {
        { SPAN("iso-2022-jp-ms"), "ISO-2022-JP" },   { SPAN("cp50220"), "ISO-2022-JP" },
        { SPAN("cp50221"), "ISO-2022-JP" },          { SPAN("cp50222"), "ISO-2022-JP" },
        { SPAN("csiso2022jp"), "ISO-2022-JP" },      { SPAN("jis"), "ISO-2022-JP" },
        { SPAN("iso-2022-jp"), "ISO-2022-JP" },      { SPAN("shift_jis"), "windows-31j" },
        { SPAN("shift-jis"), "windows-31j" },        { SPAN("x-sjis"), "windows-31j" },
        { SPAN("sjis"), "windows-31j" },             { SPAN("ms_kanji"), "windows-31j" },
        { SPAN("csshiftjis"), "windows-31j" },       { SPAN("cp932"), "windows-31j" },
        { SPAN("ms932"), "windows-31j" },            { SPAN("windows-932"), "windows-31j" },
        { SPAN("cp51932"), "EUC-JP" },               { SPAN("eucjp-ms"), "EUC-JP" },
        { SPAN("eucjp"), "EUC-JP" },                 { SPAN("x-euc-jp"), "EUC-JP" },
        { SPAN("iso-8859-1"), "windows-1252" },      { SPAN("latin1"), "windows-1252" },
        { SPAN("iso8859-1"), "windows-1252" },       { SPAN("iso-8859-9"), "windows-1254" },
        { SPAN("gb2312"), "gb18030" },               { SPAN("gbk"), "gb18030" },
        { SPAN("ks_c_5601-1987"), "windows-949" },   { SPAN("euc-kr"), "windows-949" },
        { SPAN("iso-8859-8-i"), "ISO-8859-8" },      { SPAN("tis-620"), "windows-874" },
        { SPAN("big5"), "Big5-HKSCS" },
};

enum kind { KIND_UTF8, KIND_ASCII, KIND_OTHER };

static enum kind kind_of(struct span name)
{
        if (span_equal_nocase(name, SPAN_LITERAL("utf-8"))
            || span_equal_nocase(name, SPAN_LITERAL("utf8")))
                return KIND_UTF8;
        if (name.len == 0 || span_equal_nocase(name, SPAN_LITERAL("us-ascii"))
            || span_equal_nocase(name, SPAN_LITERAL("ascii"))
            || span_equal_nocase(name, SPAN_LITERAL("ansi_x3.4-1968"))
            || span_equal_nocase(name, SPAN_LITERAL("unknown-8bit")))
                return KIND_ASCII;
        return KIND_OTHER;
}

/* ICU takes options behind a comma, and reads files for names with slashes:
 * only what a charset's name consists of gets there (RFC 2978 section 2.3). */
static bool icu_name(struct span name, char *out)
{
        for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
                if (span_equal_nocase(name, aliases[i].name)) {
                        snprintf(out, NAME_MAX_LEN + 1, "%s", aliases[i].icu);
                        return true;
                }
        }
        if (name.len == 0 || name.len > NAME_MAX_LEN)
                return false;
        for (size_t i = 0; i < name.len; i++) {
                const char c = ascii_lower(name.p[i]);

                if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'
                      || c == '.' || c == ':' || c == '+'))
                        return false;
                out[i] = c;
        }
        out[name.len] = '\0';
        return true;
}

struct cached {
        char name[NAME_MAX_LEN + 1];
        UConverter *converter;
};
static _Thread_local struct cached cache[CACHE_SIZE];
static _Thread_local unsigned cache_next;

static UConverter *open_converter(struct span charset)
{
        char name[NAME_MAX_LEN + 1];
        UErrorCode error = U_ZERO_ERROR;
        UConverter *c;

        if (!icu_name(charset, name))
                return NULL;
        for (unsigned i = 0; i < CACHE_SIZE; i++) {
                if (cache[i].converter && strcmp(cache[i].name, name) == 0) {
                        ucnv_reset(cache[i].converter);
                        return cache[i].converter;
                }
        }
        c = ucnv_open(name, &error);
        if (U_FAILURE(error))
                return NULL;
        if (cache[cache_next].converter)
                ucnv_close(cache[cache_next].converter);
        cache[cache_next].converter = c;
        memcpy(cache[cache_next].name, name, sizeof name);
        cache_next = (cache_next + 1) % CACHE_SIZE;
        return c;
}

bool charset_is_known(struct span charset)
{
        return kind_of(charset) != KIND_OTHER || open_converter(charset);
}

/* ---- UTF-16 to UTF-8 --------------------------------------------------------- */

/* `*high` is a surrogate that waits for the next piece. */
static int append_units(const UChar *units, size_t count, uint32_t *high, struct buffer *out)
{
        size_t len = 0;
        char *to;
        int r;

        r = buffer_reserve(out, 3 * count + 4, &to);
        if (r < 0)
                return r;
        for (size_t i = 0; i < count; i++) {
                uint32_t c = units[i];
                const bool is_low = c >= 0xDC00 && c < 0xE000;

                if (*high && is_low) {
                        c = 0x10000 + ((*high & 0x3FF) << 10) + (c & 0x3FF);
                } else if (*high) {
                        len += utf8_put(0xFFFD, to + len);
                } else if (is_low) {
                        c = 0xFFFD;
                }
                *high = c >= 0xD800 && c < 0xDC00 ? c : 0;
                if (!*high)
                        len += utf8_put(c, to + len);
        }
        buffer_commit(out, len);
        return 0;
}

static int convert(UConverter *converter, struct span text, struct buffer *out)
{
        const char *at = text.len ? text.p : "", *end = at + text.len;
        uint32_t high = 0;
        int r = 0;

        for (;;) {
                UChar units[UNITS], *to = units;
                UErrorCode error = U_ZERO_ERROR;

                ucnv_toUnicode(converter, &to, units + UNITS, &at, end, NULL, true, &error);
                r = append_units(units, (size_t) (to - units), &high, out);
                if (r < 0 || error != U_BUFFER_OVERFLOW_ERROR)
                        break;
        }
        if (r == 0 && high)
                r = buffer_append(out, "\xEF\xBF\xBD", 3);
        return r;
}

/* The octets of a well-formed character at the start of `s`, or 0. */
static size_t character(struct span s)
{
        for (size_t n = 1; n <= 4 && n <= s.len; n++)
                if (utf8_is_valid(span_first(s, n)))
                        return n;
        return 0;
}

static int append_utf8(struct span text, struct buffer *out)
{
        int r = 0;

        if (utf8_is_valid(text))
                return text.len ? buffer_append_span(out, text) : 0;
        while (text.len && r == 0) {
                const size_t n = character(text);

                r = n ? buffer_append(out, text.p, n) : buffer_append(out, "\xEF\xBF\xBD", 3);
                text = span_skip(text, n ? n : 1);
        }
        return r;
}

/* ---- ISO-2022-JP as it is sent ----------------------------------------------- */

static bool is_japanese_escape(struct span s)
{
        return s.len >= 3 && s.p[0] == '\x1B'
               && ((s.p[1] == '$' && (s.p[2] == 'B' || s.p[2] == '@' || s.p[2] == '('))
                   || (s.p[1] == '(' && (s.p[2] == 'B' || s.p[2] == 'J' || s.p[2] == 'I')));
}

/* The octets of an escape sequence at the start of `s`, or 0. */
static size_t escape_len(struct span s)
{
        if (!is_japanese_escape(s))
                return 0;
        return s.p[1] == '$' && s.p[2] == '(' ? (s.len >= 4 ? 4 : 0) : 3;
}

/* Of a run of escape sequences only the last counts; ICU takes an empty one
 * for an attack and writes U+FFFD. Octets above 127, which 7-bit text cannot
 * have but half-width katakana sometimes come in, get an escape of their own. */
static int tidy_escapes(struct span text, struct buffer *out)
{
        struct span set = SPAN_LITERAL("\x1B(B"), said = set;
        int r = 0;

        while (text.len && r == 0) {
                const size_t escape = escape_len(text);
                const unsigned char c = (unsigned char) text.p[0];

                if (escape) {
                        set = span_first(text, escape);
                        text = span_skip(text, escape);
                        continue;
                }
                if (c >= 0xA1 && c <= 0xDF) {
                        const char kana[] = {'\x1B', '(', 'I', (char) (c & 0x7F)};

                        r = buffer_append(out, kana, sizeof kana);
                        said = SPAN_LITERAL("\x1B(I");
                        text = span_skip(text, 1);
                        continue;
                }
                if (!span_equal(set, said)) {
                        r = buffer_append_span(out, set);
                        said = set;
                }
                if (r == 0)
                        r = buffer_append(out, text.p, 1);
                /* A line starts in ASCII, or in the Roman set that the one before ended in
                 * (RFC 1468). */
                if (c == '\n' && !span_equal(set, SPAN_LITERAL("\x1B(J")))
                        set = said = SPAN_LITERAL("\x1B(B");
                text = span_skip(text, 1);
        }
        return r;
}

static int convert_japanese(UConverter *c, struct span text, struct buffer *out)
{
        /* A katakana in its own escape, then one of four octets before each other octet. */
        struct buffer tidy = BUFFER_INIT(text.len * 5 + 16);
        int r;

        r = tidy_escapes(text, &tidy);
        if (r == 0)
                r = convert(c, buffer_span(&tidy), out);
        buffer_done(&tidy);
        return r;
}

/* ---- ISO-2022-JP by a table -------------------------------------------------------- */

static _Thread_local struct iso_2022_jp_table *japanese;

static void fill_cell(UConverter *c, unsigned row, unsigned cell)
{
        const char pair[] = {'\x1B', '$', 'B', (char) (row + 0x21), (char) (cell + 0x21)};
        struct buffer out = BUFFER_INIT(64);
        struct span got;

        ucnv_reset(c);
        if (convert(c, span_make(pair, sizeof pair), &out) == 0) {
                got = buffer_span(&out);
                if (got.len && got.len <= 3 && !span_equal(got, SPAN_LITERAL("\xEF\xBF\xBD"))) {
                        memcpy(japanese->cells[row][cell].octets, got.p, got.len);
                        japanese->cells[row][cell].len = (uint8_t) got.len;
                }
        }
        buffer_done(&out);
}

/* Made when first needed, of what the library says; some milliseconds. */
static const struct iso_2022_jp_table *japanese_table(UConverter *c)
{
        if (japanese)
                return japanese;
        japanese = calloc(1, sizeof *japanese);
        for (unsigned row = 0; japanese && row < ISO_2022_JP_ROWS; row++)
                for (unsigned cell = 0; cell < ISO_2022_JP_CELLS; cell++)
                        fill_cell(c, row, cell);
        ucnv_reset(c);
        return japanese;
}

static int read_japanese(UConverter *c, struct span text, struct buffer *out)
{
        const struct iso_2022_jp_table *t = japanese_table(c);
        size_t used = 0;
        const int r = t ? iso_2022_jp_read(t, text, out, &used) : 0;

        if (r < 0 || used == text.len)
                return r;
        return convert_japanese(c, span_skip(text, used), out);
}

int charset_japanese_by_library(struct span text, struct buffer *out)
{
        UConverter *c = open_converter(SPAN_LITERAL("ISO-2022-JP"));

        return c ? convert_japanese(c, text, out) : -ENOTSUP;
}

static bool is_iso_2022_jp(const UConverter *c)
{
        for (unsigned i = 0; i < CACHE_SIZE; i++)
                if (cache[i].converter == c)
                        return strncmp(cache[i].name, "ISO-2022-JP", 11) == 0;
        return false;
}

/* ---- the public ones --------------------------------------------------------- */

int charset_to_utf8(struct span charset, struct span text, struct buffer *out)
{
        const enum kind kind = kind_of(charset);
        UConverter *c;

        if (kind == KIND_UTF8)
                return append_utf8(text, out);
        if (kind == KIND_ASCII)
                return charset_guess_to_utf8(text, out);
        c = open_converter(charset);
        if (!c)
                return -ENOTSUP;
        if (!is_iso_2022_jp(c))
                return convert(c, text, out);
        if (!utf8_is_ascii(text) && utf8_is_valid(text))
                return append_utf8(text, out); /* declared wrongly */
        return read_japanese(c, text, out);
}

static bool converts_cleanly(const char *charset, struct span text, struct buffer *out)
{
        const size_t before = out->len;
        UConverter *c = open_converter(span_from_string(charset));

        if (c && convert(c, text, out) == 0) {
                const struct span got = span_skip(buffer_span(out), before);

                if (got.len == 0 || !memmem(got.p, got.len, "\xEF\xBF\xBD", 3))
                        return true;
        }
        out->len = before;
        return false;
}

/* Enough octets above 127 in pairs to be no accident. */
static bool may_be_japanese(struct span text)
{
        size_t high = 0;

        for (size_t i = 0; i < text.len; i++)
                high += (unsigned char) text.p[i] > 127;
        return high >= 4;
}

int charset_guess_to_utf8(struct span text, struct buffer *out)
{
        UConverter *c;

        if (utf8_is_ascii(text)) {
                const size_t escape = span_find(text, '\x1B');

                if (escape == SIZE_MAX || !is_japanese_escape(span_skip(text, escape)))
                        return text.len ? buffer_append_span(out, text) : 0;
                c = open_converter(SPAN_LITERAL("ISO-2022-JP"));
                return c ? read_japanese(c, text, out) : append_utf8(text, out);
        }
        if (utf8_is_valid(text))
                return buffer_append_span(out, text);
        if (may_be_japanese(text)
            && (converts_cleanly("EUC-JP", text, out)
                || converts_cleanly("windows-31j", text, out)))
                return 0;
        c = open_converter(SPAN_LITERAL("windows-1252"));
        return c ? convert(c, text, out) : append_utf8(text, out);
}
