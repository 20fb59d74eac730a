#include "message/trace.h"

#include "base/clock.h"
#include "base/octets.h"
#include "base/utf8.h"
#include "message/address.h"

enum {
        COLUMNS_MAX = 78, /* RFC 5322 section 2.1.1 */
        TAB_COLUMNS = 8,
        WORD_MAX = 600, /* more of one word is cut */
};

/* A field being written word by word. */
struct fold {
        struct buffer *out;
        size_t column;
        int failed;
};

static void put(struct fold *f, struct span s)
{
        if (f->failed == 0)
                f->failed = buffer_append_span(f->out, s);
        f->column += s.len;
}

/* The place of a word of `len` octets, on a new line where this one is full, for the caller
 * to write them to. NULL: there is no memory. */
static char *begin_word(struct fold *f, size_t len)
{
        const bool is_full = f->column + 1 + len > COLUMNS_MAX;
        const size_t gap = is_full ? 3 : 1;
        char *to = NULL;

        if (f->failed == 0)
                f->failed = buffer_reserve(f->out, gap + len, &to);
        if (f->failed < 0)
                return NULL;
        memcpy(to, is_full ? "\r\n\t" : " ", gap);
        buffer_commit(f->out, gap + len);
        f->column = (is_full ? TAB_COLUMNS : f->column + 1) + len;
        return to + gap;
}

static void put_word(struct fold *f, struct span word)
{
        char *to = begin_word(f, word.len);

        if (to && word.len)
                memcpy(to, word.p, word.len);
}

/* What could end a field, a comment or a word, and what is not ASCII. */
static octets16 not_clean(octets16 x)
{
        return octets_above_ascii(x) | octets_below(x, ' ' + 1) | octets_equal(x, 127) |
               octets_equal(x, '(') | octets_equal(x, ')') | octets_equal(x, '\\');
}

/* `prefix` + cleaned text + `suffix` as one word. Octets that could end the
 * field, a comment or a word become "?"; so does what is not ASCII, unless
 * `is_utf8`. */
static void put_clean(struct fold *f, const char *prefix, struct span text, const char *suffix,
                      bool is_utf8)
{
        const struct span before = span_from_string(prefix), after = span_from_string(suffix);
        char *to;
        size_t i;

        text = span_first(text, utf8_cut(text, WORD_MAX));
        to = begin_word(f, before.len + text.len + after.len);
        if (!to)
                return;
        memcpy(to, before.p, before.len);
        to += before.len;
        i = octets_until(text, not_clean);
        if (i)
                memcpy(to, text.p, i);
        for (; i < text.len; i++) {
                const unsigned char c = (unsigned char) text.p[i];
                const bool is_bad = c <= 32 || c == 127 || (c > 127 && !is_utf8) || c == '('
                                    || c == ')' || c == '\\';

                to[i] = is_bad ? '?' : (char) c;
        }
        memcpy(to + text.len, after.p, after.len);
}

/* What may stand for a Domain without confusing anybody: real ones, and those
 * with the underscores that hosts behind translators call themselves by. */
static bool is_plain_name(struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                const char c = ascii_lower(s.p[i]);

                if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'
                      || c == '_'))
                        return false;
        }
        return s.len > 0;
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" of section 4.1.3. */
static void put_literal(struct fold *f, const char *prefix, struct span client_address,
                        const char *suffix)
{
        char start[8 + 8] = "", end[4] = "";
        const bool is_ipv6 = span_find(client_address, ':') != SIZE_MAX;

        memcpy(start, prefix, strlen(prefix));
        memcpy(start + strlen(prefix), is_ipv6 ? "[IPv6:" : "[", is_ipv6 ? 7 : 2);
        end[0] = ']';
        memcpy(end + 1, suffix, strlen(suffix) + 1);
        put_clean(f, start, client_address, end, false);
}

/* "from helo (name [address])"; a helo name that is none goes into the comment,
 * where it is quoted as what was said. */
static void put_from(struct fold *f, const struct trace_received *t)
{
        const bool is_named = is_plain_name(t->helo_name) || address_is_literal(t->helo_name);

        put_word(f, SPAN_LITERAL("from"));
        if (is_named)
                put_clean(f, "", t->helo_name, "", false);
        else
                put_literal(f, "", t->client_address, "");
        if (t->client_name.len) {
                put_clean(f, "(", t->client_name, "", false);
                put_literal(f, "", t->client_address, is_named || !t->helo_name.len ? ")" : "");
        } else if (is_named || !t->helo_name.len) {
                put_literal(f, "(", t->client_address, ")");
        }
        if (!is_named && t->helo_name.len)
                put_clean(f, t->client_name.len ? "helo=" : "(helo=", t->helo_name, ")", false);
}

/* A run of words that must not be folded into: comments of ours. */
static void put_note(struct fold *f, struct span note)
{
        struct span word;

        put_word(f, SPAN_LITERAL("(Hayauma,"));
        while (span_split(&note, ' ', &word))
                put_clean(f, "", word, note.p ? "" : ")", false);
}

static octets16 not_in_word(octets16 x)
{
        return octets_below(x, ' ' + 1) | octets_equal(x, 127) | octets_equal(x, '(') |
               octets_equal(x, ')') | octets_equal(x, '\\') | octets_equal(x, '<') |
               octets_equal(x, '>');
}

/* A mailbox that passed address_parse() may still hold blanks in quotes: only
 * one that is a single word is named. */
static bool is_one_word(struct span s)
{
        return s.len && s.len <= WORD_MAX && octets_until(s, not_in_word) == s.len;
}

static int end(const struct fold *f, size_t before)
{
        if (f->failed < 0)
                f->out->len = before;
        return f->failed;
}

int trace_begin_received(const struct trace_received *t, struct buffer *out, size_t *ret_column)
{
        const size_t before = out->len;
        struct fold f = {.out = out};

        put(&f, SPAN_LITERAL("Received:"));
        if (t->client_address.len)
                put_from(&f, t);
        put_word(&f, SPAN_LITERAL("by"));
        put_clean(&f, "", t->hostname, "", false);
        if (t->note.len)
                put_note(&f, t->note);
        if (t->protocol.len) {
                put_word(&f, SPAN_LITERAL("with"));
                put_clean(&f, "", t->protocol, "", false);
        }
        if (t->tls_version.len) {
                put_clean(&f, "(", t->tls_version, t->tls_cipher.len ? "" : ")", false);
                if (t->tls_cipher.len)
                        put_clean(&f, "", t->tls_cipher, ")", false);
        }
        *ret_column = f.column;
        return end(&f, before);
}

int trace_end_received(const struct trace_received *t, size_t column, struct buffer *out)
{
        const size_t before = out->len;
        const bool is_utf8 = span_starts_with_nocase(t->protocol, SPAN_LITERAL("UTF8"));
        struct fold f = {.out = out, .column = column};
        char date[CLOCK_DATE_MAX];

        if (is_one_word(t->rcpt_to) && (is_utf8 || utf8_is_ascii(t->rcpt_to))) {
                put_word(&f, SPAN_LITERAL("id"));
                put_clean(&f, "", t->id, "", false);
                put_word(&f, SPAN_LITERAL("for"));
                put_clean(&f, "<", t->rcpt_to, ">;", is_utf8);
        } else {
                put_word(&f, SPAN_LITERAL("id"));
                put_clean(&f, "", t->id, ";", false);
        }
        /* Its blanks are no places to fold: readers take the date as one line. */
        put_word(&f, span_from_string(clock_format_date(t->at_us, date)));
        put(&f, SPAN_LITERAL("\r\n"));
        return end(&f, before);
}

int trace_format_received(const struct trace_received *t, struct buffer *out)
{
        const size_t before = out->len;
        size_t column;
        int r = trace_begin_received(t, out, &column);

        if (r == 0)
                r = trace_end_received(t, column, out);
        if (r < 0)
                out->len = before;
        return r;
}

static octets16 not_printable(octets16 x)
{
        return octets_below(x, ' ') | octets_equal(x, 127);
}

static void put_printable(struct span s, char *to)
{
        const size_t clean = octets_until(s, not_printable);

        if (s.len)
                memcpy(to, s.p, s.len);
        for (size_t i = clean; i < s.len; i++)
                if ((unsigned char) to[i] < 32 || to[i] == 127)
                        to[i] = '?';
}

/* A field that is an address alone. */
static int put_address(struct span before, struct span address, struct span after,
                       struct buffer *out)
{
        const size_t len = before.len + address.len + after.len;
        char *to;
        const int r = buffer_reserve(out, len, &to);

        if (r < 0)
                return r;
        memcpy(to, before.p, before.len);
        put_printable(address, to + before.len);
        memcpy(to + before.len + address.len, after.p, after.len);
        buffer_commit(out, len);
        return 0;
}

int trace_format_return_path(struct span mail_from, struct buffer *out)
{
        return put_address(SPAN_LITERAL("Return-Path: <"), mail_from, SPAN_LITERAL(">\r\n"), out);
}

int trace_format_delivered_to(struct span account, struct buffer *out)
{
        return put_address(SPAN_LITERAL("Delivered-To: "), account, SPAN_LITERAL("\r\n"), out);
}
