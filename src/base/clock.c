#include "base/clock.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

static uint64_t fake_us;

static uint64_t read_clock(clockid_t id)
{
        struct timespec t;

        if (fake_us)
                return fake_us;
        clock_gettime(id, &t);
        return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

uint64_t clock_now_us(void)
{
        return read_clock(CLOCK_REALTIME);
}

uint64_t clock_monotonic_us(void)
{
        return read_clock(CLOCK_MONOTONIC);
}

void clock_fake(uint64_t now_us)
{
        fake_us = now_us;
}

/* `digits` of `value`, leading zeros included. */
static char *put_digits(char *out, int value, int digits)
{
        for (int i = digits; i-- > 0; value /= 10)
                out[i] = (char) ('0' + value % 10);
        return out + digits;
}

static char *put_time(char *out, const struct tm *t)
{
        out = put_digits(out, t->tm_hour, 2);
        *out++ = ':';
        out = put_digits(out, t->tm_min, 2);
        *out++ = ':';
        return put_digits(out, t->tm_sec, 2);
}

/* Text of the last second that this thread made one of: a busy process makes thousands of
 * the same. `len` 0: none yet. */
struct made {
        uint64_t second;
        size_t len;
        char text[CLOCK_DATE_MAX];
};

static bool is_made(const struct made *m, uint64_t at_us)
{
        return m->len && m->second == at_us / 1000000;
}

static void keep_made(struct made *m, uint64_t at_us, const char *text, size_t len)
{
        m->second = at_us / 1000000;
        m->len = len;
        memcpy(m->text, text, len);
}

/* By hand: snprintf() took a twentieth of what a message costs. */
static char *put_date(uint64_t at_us, char *at)
{
        /* Not strftime's %a and %b: those follow the locale, RFC 5322 does not. */
        static const char days[] = "Sun, Mon, Tue, Wed, Thu, Fri, Sat, ";
        static const char months[] = " Jan  Feb  Mar  Apr  May  Jun  Jul  Aug  Sep  Oct  Nov  Dec ";
        const time_t seconds = (time_t) (at_us / 1000000);
        struct tm t;
        int offset_min;

        localtime_r(&seconds, &t);
        offset_min = (int) (t.tm_gmtoff / 60);
        memcpy(at, days + 5 * t.tm_wday, 5);
        at = put_digits(at + 5, t.tm_mday, t.tm_mday < 10 ? 1 : 2);
        memcpy(at, months + 5 * t.tm_mon, 5);
        at = put_digits(at + 5, t.tm_year + 1900, t.tm_year + 1900 > 9999 ? 6 : 4);
        *at++ = ' ';
        at = put_time(at, &t);
        *at++ = ' ';
        *at++ = offset_min < 0 ? '-' : '+';
        offset_min = offset_min < 0 ? -offset_min : offset_min;
        at = put_digits(at, offset_min / 60 % 100, 2);
        at = put_digits(at, offset_min % 60, 2);
        *at++ = '\0';
        return at;
}

const char *clock_format_date(uint64_t at_us, char *out)
{
        static _Thread_local struct made last;

        if (is_made(&last, at_us))
                return memcpy(out, last.text, last.len);
        keep_made(&last, at_us, out, (size_t) (put_date(at_us, out) - out));
        return out;
}

const char *clock_format_imap(uint64_t at_us, char *out)
{
        static const char months[] = "-Jan--Feb--Mar--Apr--May--Jun--Jul--Aug--Sep--Oct--Nov--Dec-";
        const time_t seconds = (time_t) (at_us / 1000000);
        char *at = out;
        struct tm t;
        int offset_min;

        if (!localtime_r(&seconds, &t))
                gmtime_r(&(time_t) {0}, &t);
        offset_min = (int) (t.tm_gmtoff / 60);
        at = put_digits(at, t.tm_mday, 2);
        if (t.tm_mday < 10)
                out[0] = ' ';
        memcpy(at, months + (size_t) 5 * (unsigned) t.tm_mon, 5);
        at = put_digits(at + 5, t.tm_year + 1900, 4);
        *at++ = ' ';
        at = put_time(at, &t);
        *at++ = ' ';
        *at++ = offset_min < 0 ? '-' : '+';
        offset_min = offset_min < 0 ? -offset_min : offset_min;
        at = put_digits(at, offset_min / 60 % 100, 2);
        at = put_digits(at, offset_min % 60, 2);
        *at = '\0';
        return out;
}

int64_t clock_day(uint64_t at_us)
{
        const time_t seconds = (time_t) (at_us / 1000000);
        int64_t s = (int64_t) seconds;
        struct tm t;

        if (localtime_r(&seconds, &t))
                s += t.tm_gmtoff;
        return s >= 0 ? s / 86400 : (s - 86399) / 86400;
}

/* "2026-11-22T04:25:03." */
static char *put_iso(uint64_t at_us, char *at)
{
        const time_t seconds = (time_t) (at_us / 1000000);
        struct tm t;

        gmtime_r(&seconds, &t);
        at = put_digits(at, t.tm_year + 1900, t.tm_year + 1900 > 9999 ? 6 : 4);
        *at++ = '-';
        at = put_digits(at, t.tm_mon + 1, 2);
        *at++ = '-';
        at = put_digits(at, t.tm_mday, 2);
        *at++ = 'T';
        at = put_time(at, &t);
        *at++ = '.';
        return at;
}

const char *clock_format_iso(uint64_t at_us, char *out)
{
        static _Thread_local struct made last;
        char *at = out;

        if (is_made(&last, at_us)) {
                memcpy(out, last.text, last.len);
                at += last.len;
        } else {
                at = put_iso(at_us, out);
                keep_made(&last, at_us, out, (size_t) (at - out));
        }
        at = put_digits(at, (int) (at_us % 1000000), 6);
        memcpy(at, "Z", 2);
        return out;
}
