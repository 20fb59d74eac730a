/* Work that takes its time, done by a bounded pool of threads: comparing a
 * password with its hash (tens of milliseconds and megabytes each, by design),
 * reading a users file. The loop goes on meanwhile. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "net/loop.h"

enum {
        CHECKS_THREADS = 4,  /* at most; each may need 256 MiB for a costly imported hash */
        CHECKS_WAITING_MAX = 256,
};

/* One piece of work; the caller's storage until `done` was called. */
struct check {
        struct list_node node;
        void (*work)(struct check *c); /* in a thread; touches nothing that others touch */
        void (*done)(struct check *c); /* on the loop, once */
};

struct checks;

/* How many threads suit this machine: asked before confinement, since the
 * answer stands in a file. */
unsigned checks_threads_wanted(void);

/* Starts the threads: after confinement. 0 or a negative errno. */
int checks_new(struct loop *l, unsigned threads, struct checks **ret_c);

/* 0; -EBUSY: CHECKS_WAITING_MAX wait already, and `done` is not called. */
int checks_add(struct checks *c, struct check *check);

size_t checks_waiting(struct checks *c);
