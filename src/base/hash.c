#include "base/hash.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/hash_long.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { LONG = 240 }; /* from here on XXH3 works with vectors */

uint64_t hash_span(struct span s, uint64_t seed)
{
        if (s.len > LONG)
                return hash_long(s, seed);
        return XXH3_64bits_withSeed(s.p ? s.p : "", s.len, seed);
}

uint64_t hash_span_nocase(struct span s, uint64_t seed)
{
        char lower[256];
        uint64_t hash = seed;

        do {
                struct span part = span_first(s, sizeof lower);

                ascii_lower_copy(lower, part);
                hash = XXH3_64bits_withSeed(lower, part.len, hash);
                s = span_skip(s, part.len);
        } while (s.len);
        return hash;
}

uint64_t hash_seed(void)
{
        static uint64_t seed;

        while (seed == 0)
                if (getrandom(&seed, sizeof seed, 0) != (ssize_t) sizeof seed)
                        abort(); /* no kernel we run on lacks it; a known seed is an attack */
        return seed;
}
