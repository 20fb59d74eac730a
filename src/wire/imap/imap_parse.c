#include "wire/imap/imap_parse.h"

#include <string.h>

#include "base/number.h"
#include "base/utf8.h"
#include "wire/imap/mailbox_name.h"

/* ---- octets and words ------------------------------------------------------ */

static bool is_atom_char(char c)
{
        return c > ' ' && c < 127 && !strchr("(){%*\"\\]", c);
}

static bool is_astring_char(char c)
{
        return is_atom_char(c) || c == ']';
}

static bool is_list_char(char c)
{
        return is_astring_char(c) || c == '%' || c == '*';
}

static bool is_tag_char(char c)
{
        return is_astring_char(c) && c != '+';
}

static bool take(struct imap_parser *p, bool (*is_part)(char), struct span *ret)
{
        size_t n = 0;

        while (n < p->rest.len && is_part(p->rest.p[n]))
                n++;
        if (n == 0)
                return false;
        *ret = span_first(p->rest, n);
        p->rest = span_skip(p->rest, n);
        return true;
}

char imap_parse_peek(const struct imap_parser *p)
{
        return p->rest.len ? p->rest.p[0] : '\0';
}

bool imap_parse_char(struct imap_parser *p, char c)
{
        if (p->rest.len == 0 || p->rest.p[0] != c)
                return false;
        p->rest = span_skip(p->rest, 1);
        return true;
}

bool imap_parse_space(struct imap_parser *p)
{
        return imap_parse_char(p, ' ');
}

bool imap_parse_end(const struct imap_parser *p)
{
        return p->rest.len == 0;
}

bool imap_parse_word(struct imap_parser *p, struct span word)
{
        if (!span_starts_with_nocase(p->rest, word))
                return false;
        if (p->rest.len > word.len && is_atom_char(p->rest.p[word.len]))
                return false;
        p->rest = span_skip(p->rest, word.len);
        return true;
}

bool imap_parse_tag(struct imap_parser *p, struct span *ret)
{
        return take(p, is_tag_char, ret) && ret->len <= IMAP_TAG_MAX;
}

bool imap_parse_atom(struct imap_parser *p, struct span *ret)
{
        return take(p, is_atom_char, ret);
}

/* ---- strings --------------------------------------------------------------- */

static bool parse_quoted(struct imap_parser *p, struct span *ret)
{
        size_t n = 1, len = 0;
        char *out;

        while (n < p->rest.len && p->rest.p[n] != '"')
                n += p->rest.p[n] == '\\' ? 2 : 1;
        if (n >= p->rest.len)
                return false;
        out = arena_alloc(p->arena, n);
        if (!out)
                return false;
        for (size_t i = 1; i < n; i++) {
                char c = p->rest.p[i];

                if (c == '\\') {
                        c = p->rest.p[++i];
                        if (c != '"' && c != '\\')
                                return false;
                }
                if (c == '\r' || c == '\n' || c == '\0')
                        return false;
                out[len++] = c;
        }
        *ret = span_make(out, len);
        p->rest = span_skip(p->rest, n + 1);
        return utf8_is_valid(*ret);
}

/* The octets follow in the command: the reader has seen to that. */
static bool parse_literal(struct imap_parser *p, struct span *ret)
{
        const size_t end = span_find(p->rest, '\n');
        struct imap_literal l;

        if (end == SIZE_MAX || end < 1 || p->rest.p[end - 1] != '\r')
                return false;
        if (!imap_parse_literal(span_first(p->rest, end - 1), &l) || l.at != 0 || l.is_binary)
                return false;
        p->rest = span_skip(p->rest, end + 1);
        if (l.size > p->rest.len)
                return false;
        *ret = span_first(p->rest, (size_t) l.size);
        p->rest = span_skip(p->rest, (size_t) l.size);
        return span_find(*ret, '\0') == SIZE_MAX;
}

bool imap_parse_string(struct imap_parser *p, struct span *ret)
{
        if (imap_parse_peek(p) == '"')
                return parse_quoted(p, ret);
        return imap_parse_peek(p) == '{' && parse_literal(p, ret);
}

static bool is_string(const struct imap_parser *p)
{
        return imap_parse_peek(p) == '"' || imap_parse_peek(p) == '{';
}

bool imap_parse_astring(struct imap_parser *p, struct span *ret)
{
        return is_string(p) ? imap_parse_string(p, ret) : take(p, is_astring_char, ret);
}

bool imap_parse_list_mailbox(struct imap_parser *p, struct span *ret)
{
        return is_string(p) ? imap_parse_string(p, ret) : take(p, is_list_char, ret);
}

bool imap_parse_nstring(struct imap_parser *p, struct span *ret)
{
        if (imap_parse_word(p, SPAN_LITERAL("NIL"))) {
                *ret = (struct span) {NULL, 0};
                return true;
        }
        return imap_parse_string(p, ret);
}

bool imap_parse_literal(struct span line, struct imap_literal *ret)
{
        size_t digits_end = line.len, at;
        struct imap_literal l = {.is_synchronizing = true};

        if (line.len < 3 || line.p[line.len - 1] != '}')
                return false;
        digits_end--;
        if (line.p[digits_end - 1] == '+' || line.p[digits_end - 1] == '-') {
                l.is_synchronizing = false;
                digits_end--;
        }
        at = digits_end;
        while (at > 0 && line.p[at - 1] >= '0' && line.p[at - 1] <= '9')
                at--;
        if (at == 0 || line.p[at - 1] != '{')
                return false;
        if (number_parse(span_make(line.p + at, digits_end - at), INT64_MAX, &l.size) < 0)
                return false;
        l.at = at - 1;
        if (l.at > 0 && line.p[l.at - 1] == '~') {
                l.is_binary = true;
                l.at--;
        }
        *ret = l;
        return true;
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

bool imap_parse_number(struct imap_parser *p, uint64_t max, uint64_t *ret)
{
        struct span digits;

        return take(p, is_digit, &digits) && number_parse(digits, max, ret) == 0;
}

/* ---- mailboxes and flags --------------------------------------------------- */

bool imap_parse_decode_name(struct imap_parser *p, struct span raw, struct span *ret)
{
        char *out;
        size_t len;

        if (p->is_utf8 || !utf8_is_ascii(raw)) {
                *ret = raw;
                return utf8_is_valid(raw);
        }
        out = arena_alloc(p->arena, MAILBOX_NAME_DECODED_MAX(raw.len) + 1);
        if (!out || mailbox_name_decode(raw, out, &len) < 0)
                return false;
        *ret = span_make(out, len);
        return true;
}

bool imap_parse_mailbox(struct imap_parser *p, struct span *ret)
{
        struct span raw;

        if (!imap_parse_astring(p, &raw) || !imap_parse_decode_name(p, raw, ret))
                return false;
        if (span_equal_nocase(*ret, SPAN_LITERAL("INBOX")))
                *ret = SPAN_LITERAL("INBOX");
        else if (span_starts_with_nocase(*ret, SPAN_LITERAL("INBOX/"))) {
                char *copy = arena_alloc(p->arena, ret->len);

                if (!copy)
                        return false;
                memcpy(copy, ret->p, ret->len);
                memcpy(copy, "INBOX", 5);
                *ret = span_make(copy, ret->len);
        }
        return true;
}

static const struct {
        struct span name;
        unsigned flag;
} system_flags[] = {
        { SPAN("Answered"), IMAP_FLAG_ANSWERED },
        { SPAN("Flagged"), IMAP_FLAG_FLAGGED },
        { SPAN("Deleted"), IMAP_FLAG_DELETED },
        { SPAN("Seen"), IMAP_FLAG_SEEN },
        { SPAN("Draft"), IMAP_FLAG_DRAFT },
};

static bool add_keyword(struct imap_parser *p, struct imap_flags *f, struct span name)
{
        if (name.len > IMAP_KEYWORD_LENGTH_MAX)
                return false;
        if (!f->keywords)
                f->keywords = arena_alloc(p->arena, IMAP_KEYWORDS_MAX * sizeof *f->keywords);
        if (!f->keywords)
                return false;
        for (size_t i = 0; i < f->keyword_count; i++)
                if (span_equal_nocase(f->keywords[i], name))
                        return true;
        if (f->keyword_count == IMAP_KEYWORDS_MAX)
                return false;
        f->keywords[f->keyword_count++] = name;
        return true;
}

static bool parse_flag(struct imap_parser *p, struct imap_flags *f)
{
        const bool is_system = imap_parse_char(p, '\\');
        struct span name;

        if (!imap_parse_atom(p, &name))
                return false;
        if (!is_system)
                return add_keyword(p, f, name);
        for (size_t i = 0; i < sizeof system_flags / sizeof system_flags[0]; i++) {
                if (span_equal_nocase(name, system_flags[i].name)) {
                        f->flags |= system_flags[i].flag;
                        return true;
                }
        }
        /* \Recent cannot be set (RFC 3501 section 2.3.2); APPEND by old clients has
         * it, and is not refused for it. */
        return span_equal_nocase(name, SPAN_LITERAL("Recent"));
}

bool imap_parse_flags(struct imap_parser *p, bool may_be_bare, struct imap_flags *ret)
{
        const bool is_list = imap_parse_char(p, '(');

        *ret = (struct imap_flags) {0};
        if (!is_list && !may_be_bare)
                return false;
        if (is_list && imap_parse_char(p, ')'))
                return true;
        for (unsigned i = 0; i < IMAP_PARSE_LIST_MAX; i++) {
                if (!parse_flag(p, ret))
                        return false;
                if (is_list && imap_parse_char(p, ')'))
                        return true;
                if (!is_list && imap_parse_end(p))
                        return true;
                if (!imap_parse_space(p))
                        return false;
        }
        return false;
}

/* ---- sets -------------------------------------------------------------------- */

static bool parse_set_number(struct imap_parser *p, uint32_t *ret)
{
        uint64_t n;

        if (imap_parse_char(p, '*')) {
                *ret = UINT32_MAX;
                return true;
        }
        if (!imap_parse_number(p, UINT32_MAX, &n) || n == 0)
                return false;
        *ret = (uint32_t) n;
        return true;
}

static bool parse_range(struct imap_parser *p, struct imap_range *r)
{
        uint32_t other;

        if (!parse_set_number(p, &r->first))
                return false;
        r->last = r->first;
        if (!imap_parse_char(p, ':'))
                return true;
        if (!parse_set_number(p, &other))
                return false;
        r->last = other;
        if (r->first > r->last) {
                r->last = r->first;
                r->first = other;
        }
        return true;
}

static size_t count_commas(const struct imap_parser *p)
{
        size_t commas = 0;

        for (size_t i = 0; i < p->rest.len; i++) {
                const char c = p->rest.p[i];

                if (c == ',')
                        commas++;
                else if (c != ':' && c != '*' && !is_digit(c))
                        break;
        }
        return commas;
}

bool imap_parse_set(struct imap_parser *p, struct imap_set *ret)
{
        const size_t room = count_commas(p) + 1;

        *ret = (struct imap_set) {0};
        if (imap_parse_char(p, '$')) {
                ret->is_saved = true;
                return true;
        }
        if (room > IMAP_PARSE_RANGES_MAX)
                return false;
        ret->ranges = arena_alloc(p->arena, room * sizeof *ret->ranges);
        if (!ret->ranges)
                return false;
        do {
                if (ret->count == room || !parse_range(p, &ret->ranges[ret->count++]))
                        return false;
        } while (imap_parse_char(p, ','));
        return true;
}

/* ---- dates ------------------------------------------------------------------- */

static const char month_names[] = "janfebmaraprmayjunjulaugsepoctnovdec";

static bool parse_month(struct imap_parser *p, unsigned *ret)
{
        char name[3];

        if (p->rest.len < 3)
                return false;
        ascii_lower_copy(name, span_first(p->rest, 3));
        for (unsigned i = 0; i < 12; i++) {
                if (memcmp(month_names + (size_t) 3 * i, name, 3) == 0) {
                        *ret = i + 1;
                        p->rest = span_skip(p->rest, 3);
                        return true;
                }
        }
        return false;
}

/* Days since 1970 of a date of the Gregorian calendar; years start in March. */
static int64_t days_of(int64_t year, unsigned month, unsigned day)
{
        const int64_t y = year - (month <= 2);
        const int64_t era = y / 400;
        const int64_t of_era = y - era * 400;
        const int64_t of_year = (153 * ((int64_t) month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

        return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool parse_day(struct imap_parser *p, int64_t *ret)
{
        uint64_t day, year;
        unsigned month;

        if (!imap_parse_number(p, 31, &day) || day == 0 || !imap_parse_char(p, '-')
            || !parse_month(p, &month) || !imap_parse_char(p, '-')
            || !imap_parse_number(p, 9999, &year))
                return false;
        *ret = days_of((int64_t) year, month, (unsigned) day);
        return true;
}

bool imap_parse_date(struct imap_parser *p, int64_t *ret_day)
{
        const bool is_quoted = imap_parse_char(p, '"');

        return parse_day(p, ret_day) && (!is_quoted || imap_parse_char(p, '"'));
}

bool imap_parse_date_time(struct imap_parser *p, uint64_t *ret_us)
{
        uint64_t hour, minute, second, zone;
        int64_t day, at;
        bool is_west;

        if (!imap_parse_char(p, '"'))
                return false;
        imap_parse_char(p, ' '); /* date-day-fixed */
        if (!parse_day(p, &day) || !imap_parse_space(p) || !imap_parse_number(p, 23, &hour)
            || !imap_parse_char(p, ':') || !imap_parse_number(p, 59, &minute)
            || !imap_parse_char(p, ':') || !imap_parse_number(p, 60, &second)
            || !imap_parse_space(p))
                return false;
        is_west = imap_parse_char(p, '-');
        if ((!is_west && !imap_parse_char(p, '+')) || !imap_parse_number(p, 9959, &zone)
            || zone % 100 > 59 || !imap_parse_char(p, '"'))
                return false;
        at = day * 86400 + (int64_t) (hour * 3600 + minute * 60 + second);
        zone = zone / 100 * 3600 + zone % 100 * 60;
        at += is_west ? (int64_t) zone : -(int64_t) zone;
        *ret_us = at > 0 ? (uint64_t) at * 1000000 : 0;
        return true;
}
