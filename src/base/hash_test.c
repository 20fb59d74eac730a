#include <stdio.h>

#include "base/hash.h"
#include "base/hash_long.h"
#include "base/test.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { OCTETS = 6000 };

static char octets[OCTETS];

static void fill(void)
{
        for (size_t i = 0; i < OCTETS; i++)
                octets[i] = (char) (i * 2654435761u >> 13);
}

/* What is stored was hashed by one of them and may be checked by another. */
TEST(all_ways_give_one_number)
{
        fill();
        for (size_t len = 0; len <= OCTETS; len += len < 1100 ? 1 : 97) {
                const struct span s = {octets, len};
                const uint64_t want = XXH3_64bits_withSeed(octets, len, 7);
                char label[32];

                snprintf(label, sizeof label, "%zu octets", len);
                CHECK(hash_span(s, 7) == want, label);
                CHECK(hash_long(s, 7) == want, label);
        }
        CHECK(hash_span((struct span) {NULL, 0}, 7) == XXH3_64bits_withSeed("", 0, 7), "none");
        CHECK(hash_long((struct span) {NULL, 0}, 7) == XXH3_64bits_withSeed("", 0, 7), "none");
}

TEST(parts_are_hashed_as_one)
{
        uint64_t want;

        fill();
        want = XXH3_64bits_withSeed(octets, OCTETS, 9);
        for (size_t cut = 0; cut <= OCTETS; cut += cut < 300 ? 1 : 61) {
                const struct iovec parts[] = {
                        {octets, cut}, {octets + cut, (OCTETS - cut) / 2},
                        {octets + cut + (OCTETS - cut) / 2, OCTETS - cut - (OCTETS - cut) / 2},
                };
                char label[32];

                snprintf(label, sizeof label, "cut at %zu", cut);
                CHECK(hash_long_parts(parts, 3, 9) == want, label);
        }
}

TEST_MAIN()
