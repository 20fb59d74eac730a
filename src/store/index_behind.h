/* An index that writes behind: what is written waits in memory for a while
 * before it goes to the index below.
 *
 * Most of what a busy server writes is gone again at once: a queue entry lives
 * for milliseconds, an account's header is replaced with every delivery. What
 * is put as new (index_put_new()) and removed while it waits never reaches the
 * engine; what is put twice reaches it once. Nothing is risked: the log is
 * what makes a write durable, and the position that says from where to replay
 * it waits with the rest.
 *
 * Waiting writes go below in one piece when they are many or old, when
 * somebody flushes, and before a range is removed. Reads look at them first. */
#pragma once

#include "store/index.h"

/* Takes `below` over: closing this one closes it. Starts a thread, which does
 * the writing below. NULL without memory or thread. */
struct index *index_behind_new(struct index *below);
