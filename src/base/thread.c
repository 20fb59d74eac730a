#include "base/thread.h"

#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
        NICE_MIN = -20,
        GIVE_WAY_NICE = 10,
        SLICE_NS = 20 * 1000 * 1000, /* longer than others' */
        KEEP_POLICY = 0x08,
};

/* As Linux has it; the C library does not. */
struct sched_attributes {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
};

/* Since Linux 6.12 `runtime` is the slice of a thread that has no real-time policy. */
static void set_attributes(int nice_min)
{
        const int is_now = getpriority(PRIO_PROCESS, 0); /* with Linux, of this thread alone */
        const struct sched_attributes a = {
                .size = sizeof a, .flags = KEEP_POLICY, .runtime = SLICE_NS,
                .nice = is_now > nice_min ? is_now : nice_min};

        (void) syscall(SYS_sched_setattr, 0, &a, 0);
}

void thread_be_interrupted(void)
{
        set_attributes(NICE_MIN);
}

void thread_give_way(void)
{
        set_attributes(GIVE_WAY_NICE);
}
