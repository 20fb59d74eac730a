/* Numbers, sizes and times as administrators and protocols write them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* Decimal digits only, no sign, no blanks, at most `max`.
 * 0, -EINVAL (not a number), -ERANGE. */
int number_parse(struct span s, uint64_t max, uint64_t *ret_value);

/* "10M": digits and at most one of K, M, G, T (powers of 1024, either case). */
int size_parse(struct span s, uint64_t *ret_bytes);

/* "5d", "1h30m", "90": parts of digits with w, d, h, m, s or ms; a bare number
 * is seconds. */
int duration_parse(struct span s, uint64_t *ret_ms);

/* The shortest form that size_parse() / duration_parse() read back to the
 * same value. `out` holds NUMBER_TEXT_MAX bytes; returns it. */
enum { NUMBER_TEXT_MAX = 32 };
const char *size_format(uint64_t bytes, char *out);
const char *duration_format(uint64_t ms, char *out);

/* Its decimal digits, which lie somewhere in `out`: what snprintf() would make,
 * at a tenth of the cost. */
struct span number_span(uint64_t value, char out[NUMBER_TEXT_MAX]);
