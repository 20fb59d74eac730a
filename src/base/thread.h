/* How a thread stands towards others that want a processor. Each says it of itself: in a
 * confined process nobody may say it of another thread. */
#pragma once

/* What the calling thread, and threads it starts from now on, have to do may wait: where
 * processors are scarce they get a tenth of what others do. For good, since the way back
 * needs a privilege. For threads that nobody waits for, and that hold no lock while they
 * work that others need. A kernel that refuses changes nothing. */
void thread_give_way(void);
