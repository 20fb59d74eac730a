/* Parameters of MAIL about how the message is to be delivered: when (RFC 4865),
 * until when (RFC 2852), how urgently (RFC 6710), how safely (RFC 8689). */
#include "base/number.h"
#include "wire/smtp/smtp_server_engine.h"

enum { SECOND_US = 1000000, DAY_S = 24 * 3600, PRIORITY_MAX = 9, YEAR_MAX = 9999 };

static bool refuse_value(struct smtp_server *s, const char *text)
{
        smtp_server_refuse(s, 501, "5.5.4", text);
        return false;
}

/* Section 5 of RFC 4865: only one of them, once. */
static bool is_held_already(const struct smtp_event *ev)
{
        return ev->mail.hold_for_s || ev->mail.hold_until_us;
}

SMTP_PARAMETER_FUNCTION(hold_for)
{
        uint64_t seconds;

        if (is_held_already(ev) || p->value.len > 9
            || number_parse(p->value, s->options.hold_max_s, &seconds) < 0)
                return refuse_value(s, "HOLDFOR= wants seconds, no more than were offered");
        ev->mail.hold_for_s = (uint32_t) seconds;
        return true;
}

static bool is_leap(unsigned year)
{
        return (year % 4 == 0 && year % 100) || year % 400 == 0;
}

/* Days since 1970 of a date that there is; false where there is no such. */
static bool count_days(unsigned year, unsigned month, unsigned day, uint64_t *ret_days)
{
        static const unsigned before[] = {0,   31,  59,  90,  120, 151, 181,
                                          212, 243, 273, 304, 334, 365};
        const unsigned y = year - 1;
        unsigned month_len;

        if (year < 1970 || month < 1 || month > 12 || day < 1)
                return false;
        month_len = before[month] - before[month - 1] + (month == 2 && is_leap(year));
        if (day > month_len)
                return false;
        *ret_days = 365 * (uint64_t) (year - 1970) + (y / 4 - y / 100 + y / 400) - 477 +
                    before[month - 1] + (month > 2 && is_leap(year)) + day - 1;
        return true;
}

/* "2026-11-22T04:25:03Z": always UTC (RFC 4865 section 5). */
static bool parse_date(struct span text, uint64_t *ret_us)
{
        static const char form[] = "0000-00-00T00:00:00Z";
        static const struct {
                uint8_t at, len;
                uint16_t max;
        } parts[] = {{0, 4, YEAR_MAX}, {5, 2, 12}, {8, 2, 31}, {11, 2, 23}, {14, 2, 59},
                     {17, 2, 60}};
        uint64_t v[6], days;

        if (text.len != sizeof form - 1)
                return false;
        for (size_t i = 0; i < text.len; i++)
                if (form[i] != '0' && ascii_lower(text.p[i]) != ascii_lower(form[i]))
                        return false;
        for (size_t i = 0; i < 6; i++)
                if (number_parse(span_first(span_skip(text, parts[i].at), parts[i].len),
                                 parts[i].max, &v[i]) < 0)
                        return false;
        if (!count_days((unsigned) v[0], (unsigned) v[1], (unsigned) v[2], &days))
                return false;
        *ret_us = (days * DAY_S + v[3] * 3600 + v[4] * 60 + v[5]) * SECOND_US;
        return true;
}

SMTP_PARAMETER_FUNCTION(hold_until)
{
        uint64_t at_us;

        if (is_held_already(ev) || !parse_date(p->value, &at_us) || at_us == 0
            || at_us > s->options.hold_until_max_us)
                return refuse_value(s, "HOLDUNTIL= wants a date in UTC, no later than was offered");
        ev->mail.hold_until_us = at_us;
        return true;
}

/* RFC 6710 section 4.1: an optional minus sign, one digit. */
SMTP_PARAMETER_FUNCTION(priority)
{
        struct span digits = p->value;
        const bool is_negative = digits.len && digits.p[0] == '-';
        uint64_t value;

        digits = span_skip(digits, is_negative);
        if (digits.len != 1 || number_parse(digits, PRIORITY_MAX, &value) < 0)
                return refuse_value(s, "MT-PRIORITY= wants a number from -9 to 9");
        ev->mail.priority = (int8_t) (is_negative ? -(int) value : (int) value);
        ev->mail.has_priority = true;
        return true;
}

SMTP_PARAMETER_FUNCTION(requiretls)
{
        if (p->has_value)
                return refuse_value(s, "REQUIRETLS has no value");
        ev->mail.requiretls = true;
        return true;
}

/* RFC 2852 section 4: ["-"] 1*9DIGIT ";" ("R" / "N") ["T"]. */
SMTP_PARAMETER_FUNCTION(deliver_by)
{
        static const char text[] = "BY= wants seconds;N or seconds;R, perhaps with a T behind";
        struct span mode = p->value, digits = {NULL, 0};
        bool is_negative, is_return;
        uint64_t seconds;

        if (span_find(mode, ';') == SIZE_MAX || !span_split(&mode, ';', &digits))
                return refuse_value(s, text);
        is_negative = digits.len && digits.p[0] == '-';
        digits = span_skip(digits, is_negative);
        is_return = mode.len && ascii_lower(mode.p[0]) == 'r';
        if (digits.len > 9 || number_parse(digits, INT32_MAX, &seconds) < 0 || mode.len < 1
            || mode.len > 2 || (!is_return && ascii_lower(mode.p[0]) != 'n')
            || (mode.len == 2 && ascii_lower(mode.p[1]) != 't'))
                return refuse_value(s, text);
        /* Sections 4.1.2.1 and 3: only a notice may be due already, and nobody
         * promises to be faster than was offered. */
        if (is_return && (is_negative || seconds == 0))
                return refuse_value(s, "BY= with R wants a time that is not over");
        if (is_return && seconds < s->options.by_min_s) {
                smtp_server_refuse(s, 555, "5.5.4", "BY= is less than was offered");
                return false;
        }
        ev->mail.by = is_return ? SMTP_BY_RETURN : SMTP_BY_NOTIFY;
        ev->mail.by_s = is_negative ? -(int32_t) seconds : (int32_t) seconds;
        ev->mail.by_trace = mode.len == 2;
        return true;
}
