/* How many messages come in at once: each has a place from the answer to its DATA until
 * that to its end. Others wait before the 354, where a lost connection costs nothing;
 * lost behind the last octet, it brings the message a second time (RFC 1047).
 *
 * Who keeps a place for longer than EDGE_ADMISSION_MS (far away, slow, or slow on purpose)
 * goes on without it, so that it keeps nobody waiting. First come, first served.
 *
 * What was said before the DATA of one that waits is sent together with the answer to it:
 * its client asked for both at once (RFC 2920 section 3.1). It is not kept back for longer
 * than a place is kept.
 *
 * More places only have more messages wait behind their dot whenever something stands still
 * for some milliseconds; fewer, in step with how quick the keeper is, cost a fifth to a third
 * of the rate of 25 connections an edge. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "net/loop.h"

struct edge;

enum {
        EDGE_ADMISSION_PLACES = 32, /* enough for the keeper to commit many at once */
        EDGE_ADMISSION_MS = 12,
};

struct edge_place {
        struct list_node node;   /* zero before its first use, as the next */
        struct list_node unsaid; /* of edge_admission.unsaid */
        uint64_t since_ms; /* that it waits, or is taken */
        bool is_taken; /* false: it waits, or is outside */
};

struct edge_admission {
        struct edge *edge;
        struct list_node taken, waiting; /* struct edge_place, oldest first */
        struct list_node unsaid; /* those of waiting whose replies are kept back, oldest first */
        unsigned count; /* of the taken ones */
        struct deferred turn;
        struct timer *overdue;
};

int edge_admission_init(struct edge_admission *a, struct edge *e);
void edge_admission_done(struct edge_admission *a);

/* False: it waits, and edge_transaction_admitted() will be called; before it, if that
 * takes long, edge_transaction_speaks(). */
bool edge_admission_enter(struct edge_admission *a, struct edge_place *p);

/* Also while it waits, or outside. */
void edge_admission_leave(struct edge_admission *a, struct edge_place *p);
