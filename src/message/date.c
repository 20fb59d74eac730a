#include "message/date.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

struct cursor {
        struct span rest;
};

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
        c = ascii_lower(c);
        return c >= 'a' && c <= 'z';
}

/* Blanks, folds, comments. */
static void skip_gap(struct cursor *c)
{
        unsigned depth = 0;

        while (c->rest.len) {
                const char ch = c->rest.p[0];

                if (ch == '(')
                        depth++;
                else if (ch == ')' && depth)
                        depth--;
                else if (!depth && ch != ' ' && ch != '\t' && ch != '\r' && ch != '\n')
                        return;
                c->rest = span_skip(c->rest, 1);
        }
}

static bool take_number(struct cursor *c, int64_t *ret, size_t *ret_digits)
{
        int64_t n = 0;
        size_t digits = 0;

        skip_gap(c);
        while (digits < c->rest.len && digits < 9 && is_digit(c->rest.p[digits]))
                n = 10 * n + (c->rest.p[digits++] - '0');
        c->rest = span_skip(c->rest, digits);
        *ret = n;
        if (ret_digits)
                *ret_digits = digits;
        return digits > 0;
}

static struct span take_letters(struct cursor *c)
{
        size_t n = 0;
        struct span word;

        skip_gap(c);
        while (n < c->rest.len && is_letter(c->rest.p[n]))
                n++;
        word = span_first(c->rest, n);
        c->rest = span_skip(c->rest, n);
        return word;
}

static bool take_char(struct cursor *c, char wanted)
{
        skip_gap(c);
        if (c->rest.len == 0 || c->rest.p[0] != wanted)
                return false;
        c->rest = span_skip(c->rest, 1);
        return true;
}

static int month_of(struct span word)
{
        static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
        char lower[3];

        if (word.len < 3)
                return 0;
        ascii_lower_copy(lower, span_first(word, 3));
        for (int i = 0; i < 12; i++)
                if (memcmp(names + (ptrdiff_t) 3 * i, lower, 3) == 0)
                        return i + 1;
        return 0;
}

static const struct {
        struct span name;
        int minutes;
} zones[] = {
        { SPAN("EDT"), -4 * 60 }, { SPAN("EST"), -5 * 60 }, { SPAN("CDT"), -5 * 60 },
        { SPAN("CST"), -6 * 60 }, { SPAN("MDT"), -6 * 60 }, { SPAN("MST"), -7 * 60 },
        { SPAN("PDT"), -7 * 60 }, { SPAN("PST"), -8 * 60 }, { SPAN("JST"), 9 * 60 },
};

/* East of UTC, in minutes. */
static int64_t take_zone(struct cursor *c)
{
        int64_t n;
        struct span name;
        bool is_west;

        skip_gap(c);
        is_west = take_char(c, '-');
        if (is_west || take_char(c, '+')) {
                if (!take_number(c, &n, NULL) || n > 9999)
                        return 0;
                n = n / 100 * 60 + n % 100;
                return is_west ? -n : n;
        }
        name = take_letters(c);
        for (size_t i = 0; i < sizeof zones / sizeof zones[0]; i++)
                if (span_equal_nocase(name, zones[i].name))
                        return zones[i].minutes;
        return 0;
}

static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
        const int64_t y = year - (month <= 2);
        const int64_t era = y / 400;
        const int64_t of_era = y - era * 400;
        const int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

        return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* Years of two and three digits: RFC 5322 section 4.3. */
static int64_t full_year(int64_t year, size_t digits)
{
        if (digits == 2)
                return year + (year < 50 ? 2000 : 1900);
        return digits == 3 ? year + 1900 : year;
}

int date_parse(struct span text, int64_t *ret_at_s, int64_t *ret_day)
{
        struct cursor c = {text};
        int64_t day, year, hour = 0, minute = 0, second = 0, days;
        size_t digits;
        int month;

        if (take_letters(&c).len) /* the day's name */
                take_char(&c, ',');
        if (!take_number(&c, &day, NULL) || day < 1 || day > 31)
                return -EINVAL;
        take_char(&c, '-');
        month = month_of(take_letters(&c));
        take_char(&c, '-');
        if (month == 0 || !take_number(&c, &year, &digits) || digits > 4)
                return -EINVAL;
        days = days_of(full_year(year, digits), month, day);
        if (take_number(&c, &hour, NULL)) {
                if (hour > 23 || !(take_char(&c, ':') || take_char(&c, '.'))
                    || !take_number(&c, &minute, NULL) || minute > 59)
                        return -EINVAL;
                if ((take_char(&c, ':') || take_char(&c, '.'))
                    && (!take_number(&c, &second, NULL) || second > 60))
                        return -EINVAL;
        }
        *ret_at_s = days * 86400 + hour * 3600 + minute * 60 + second - take_zone(&c) * 60;
        *ret_day = days;
        return 0;
}
