#include "base/clock.h"

#include <stdio.h>
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

const char *clock_format_date(uint64_t at_us, char *out)
{
        /* Not strftime's %a and %b: those follow the locale, RFC 5322 does not. */
        static const char days[] = "SunMonTueWedThuFriSat";
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        const time_t seconds = (time_t) (at_us / 1000000);
        struct tm t;
        long offset_min;

        localtime_r(&seconds, &t);
        offset_min = t.tm_gmtoff / 60;
        snprintf(out, CLOCK_DATE_MAX, "%.3s, %d %.3s %d %02d:%02d:%02d %c%02ld%02ld",
                 days + 3 * t.tm_wday, t.tm_mday, months + 3 * t.tm_mon, t.tm_year + 1900,
                 t.tm_hour, t.tm_min, t.tm_sec, offset_min < 0 ? '-' : '+',
                 (offset_min < 0 ? -offset_min : offset_min) / 60 % 100,
                 (offset_min < 0 ? -offset_min : offset_min) % 60);
        return out;
}

const char *clock_format_iso(uint64_t at_us, char *out)
{
        const time_t seconds = (time_t) (at_us / 1000000);
        struct tm t;

        gmtime_r(&seconds, &t);
        snprintf(out, CLOCK_DATE_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ", t.tm_year + 1900,
                 t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec,
                 (unsigned) (at_us % 1000000));
        return out;
}
