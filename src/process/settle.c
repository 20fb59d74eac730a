#include "process/settle.h"

#include <stddef.h>

#include "base/resident.h"
#include "net/loop.h"

enum { SETTLED_MS = 3000 }; /* by then the others, too, have connected and been served once */

static struct timer *waiting;

static void on_settled(void *arg)
{
        (void) arg;
        waiting = timer_free(waiting);
        resident_give_back();
}

void settle_later(struct loop *l)
{
        if (timer_new(l, on_settled, NULL, &waiting) == 0)
                timer_set(waiting, SETTLED_MS);
}
