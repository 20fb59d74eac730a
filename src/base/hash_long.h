/* hash_span() of what is long, with the widest registers that the processor has:
 * bodies, groups of the log. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/span.h"

/* The same number as hash_span(), from some 240 octets on in half of the time. */
uint64_t hash_long(struct span s, uint64_t seed);

/* Of the octets of all parts, one behind the other. */
uint64_t hash_long_parts(const struct iovec *parts, size_t count, uint64_t seed);
