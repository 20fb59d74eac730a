#include "base/hash_long.h"

/* On x86 the library asks the processor, once. A file of its own, since short keys are
 * hashed by code that is compiled in, under the same names. */
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#define XXH_STATIC_LINKING_ONLY
#include <xxh_x86dispatch.h>
#else
#define XXH_INLINE_ALL
#include <xxhash.h>
#endif

uint64_t hash_long(struct span s, uint64_t seed)
{
        return XXH3_64bits_withSeed(s.p ? s.p : "", s.len, seed);
}

uint64_t hash_long_parts(const struct iovec *parts, size_t count, uint64_t seed)
{
        XXH3_state_t state;

        XXH3_INITSTATE(&state);
        XXH3_64bits_reset_withSeed(&state, seed);
        for (size_t i = 0; i < count; i++)
                XXH3_64bits_update(&state, parts[i].iov_base, parts[i].iov_len);
        return XXH3_64bits_digest(&state);
}
