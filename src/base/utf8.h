/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above
 * U+10FFFF. Whoever takes octets above 127 from a peer checks them here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* ASCII is valid UTF-8, and so is the empty span. */
bool utf8_is_valid(struct span s);

/* All octets are below 128. */
bool utf8_is_ascii(struct span s);

/* Writes one character, which is no surrogate and at most U+10FFFF, and returns
 * how many octets it took. */
enum { UTF8_OCTETS_MAX = 4 };
size_t utf8_put(uint32_t character, char *out);

/* The most octets of `s`, at most `n`, that do not end within a character. */
size_t utf8_cut(struct span s, size_t n);
