#include "queue/schedule.h"

uint64_t schedule_retry_us(const struct retry_times *t, uint32_t attempts, uint64_t now_us,
                           uint64_t random)
{
        uint64_t wait_ms = t->min_ms;

        for (uint32_t i = 1; i < attempts && wait_ms < t->max_ms; i++)
                wait_ms *= 2;
        if (wait_ms > t->max_ms)
                wait_ms = t->max_ms;
        /* wait × [3/4, 5/4] */
        return now_us + wait_ms * 750 + random % (wait_ms * 500 + 1);
}
