/* When to try again (RFC 5321 section 4.5.4). Pure: times and randomness are passed in. */
#pragma once

#include <stdint.h>

struct retry_times {
        uint64_t min_ms, max_ms; /* of the wait; both > 0 */
};

/* The next attempt after `attempts` >= 1 failed ones: the wait doubles from
 * min to max, and `random` (any value) moves it by up to a quarter either way,
 * so that what failed together does not come back together. */
uint64_t schedule_retry_us(const struct retry_times *t, uint32_t attempts, uint64_t now_us,
                           uint64_t random);
