/* Hashes: XXH3 for tables and checksums.
 *
 * Tables whose keys a peer chooses are keyed with hash_seed(), drawn at
 * start, so that nobody outside can aim for collisions. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

uint64_t hash_span(struct span s, uint64_t seed);

/* Of the ASCII lower case of `s`: domains, local parts of our own users. */
uint64_t hash_span_nocase(struct span s, uint64_t seed);

/* Random, the same for the life of the process. */
uint64_t hash_seed(void);
