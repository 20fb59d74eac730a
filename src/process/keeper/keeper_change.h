/* What an administrator does to many entries of the queue at once: a page of
 * them is one commit, so that a queue of a million is emptied in seconds. */
#pragma once

#include "process/keeper/keeper_queue.h"

enum { KEEPER_CHANGE_MAX = 200 }; /* entries in one page */

/* Entries in the order of their keys, as a scan of the queue finds them. */
struct keeper_change_page {
        enum keeper_queue_verb verb;
        struct span next_hop;  /* KEEPER_QUEUE_MOVE; copied */
        uint64_t before_count; /* how many were changed by this command already */
        size_t count;
        char keys[KEEPER_CHANGE_MAX][QUEUE_KEY_LEN];
};

/* How many were changed, and how many were not since they are being delivered.
 * `result`: 0 or the store's error. */
typedef void keeper_change_fn(void *arg, int result, size_t changed, size_t busy);

/* Changes all of them that are still there, in one commit. Of what is tried
 * again, the first thousand of a command are due now; the others are spread over
 * minutes, and go as soon as their destination has taken the first ones.
 * -ENOMEM: nothing is done, and `done` is not called. */
int keeper_change_page(struct keeper *k, const struct keeper_change_page *page,
                       keeper_change_fn *done, void *arg);
