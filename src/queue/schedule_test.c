#include "queue/schedule.h"

#include "base/test.h"

static const struct {
        const char *name;
        uint32_t attempts;
        uint64_t wait_ms;
} cases[] = {
        { "after the first", 1, 1000 },     { "after the second", 2, 2000 },
        { "after the third", 3, 4000 },     { "at the most", 4, 5000 },
        { "after a thousand", 1000, 5000 },
};

TEST(the_wait_doubles_within_its_bounds)
{
        const struct retry_times times = {.min_ms = 1000, .max_ms = 5000};

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const uint64_t middle = cases[i].wait_ms * 1000;

                for (uint64_t random = 0; random < 10000000; random += 99991) {
                        const uint64_t at =
                                schedule_retry_us(&times, cases[i].attempts, 7000, random) - 7000;

                        CHECK(at >= middle * 3 / 4 && at <= middle * 5 / 4, cases[i].name);
                }
        }
}

TEST_MAIN()
