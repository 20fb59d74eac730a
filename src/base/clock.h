/* Time: microseconds since 1970 (clock_now_us) or since some start
 * (clock_monotonic_us).
 *
 * Pure code takes times as arguments. What has to ask asks here, and a test
 * that sets a fake time with clock_fake() makes both clocks stand still at
 * the given values until the next call. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t clock_now_us(void);
uint64_t clock_monotonic_us(void);

/* For tests only. 0 gives the real clock back. */
void clock_fake(uint64_t now_us);

/* "Sun, 22 Nov 2026 04:25:03 +0900": date-time of RFC 5322 section 3.3 in the
 * process's time zone, without the comment. Returns `out`. */
enum { CLOCK_DATE_MAX = 80 }; /* more than any date: the compiler must be able to prove it */
const char *clock_format_date(uint64_t at_us, char *out);

/* "22-Nov-2026 04:25:03 +0900", the date-time of IMAP (RFC 9051 section 9), the day
 * in two places; and the day since 1970 it names, both in the process's time
 * zone. */
const char *clock_format_imap(uint64_t at_us, char *out);
int64_t clock_day(uint64_t at_us);

/* "2026-11-22T04:25:03.123456Z" (RFC 3339, UTC). */
const char *clock_format_iso(uint64_t at_us, char *out);
