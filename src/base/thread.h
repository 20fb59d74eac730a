/* How a thread stands towards others that want a processor. Each says it of itself: in a
 * confined process nobody may say it of another thread. A kernel that refuses, or does not
 * know what is meant, changes nothing. */
#pragma once

/* The calling thread, and those it starts from now on, get their share as others do; but
 * whoever is woken has the processor at once, and not when their slice is used up, which
 * the kernel sees every few milliseconds only. For threads that work in long pieces. */
void thread_be_interrupted(void);

/* What they have to do may wait, too: where processors are scarce they get a tenth of what
 * others do. For good, since the way back needs a privilege. For threads that nobody
 * waits for, and that hold no lock while they work that others need. */
void thread_give_way(void);
