#include "base/thread.h"

#include <sys/resource.h>

enum { GIVE_WAY_NICE = 10 };

void thread_give_way(void)
{
        /* With Linux this is of the calling thread alone. */
        (void) setpriority(PRIO_PROCESS, 0, GIVE_WAY_NICE);
}
