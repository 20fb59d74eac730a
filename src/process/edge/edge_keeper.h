/* The edge's end of the channel to the keeper.
 *
 * A transaction places one order at a time: lend me a file, or commit this
 * message. Orders wait here while there is no credit or no keeper. When the
 * keeper goes, orders under way are placed again with the next one, under the
 * same message id (it knows those it has already made durable); after
 * EDGE_KEEPER_PATIENCE_MS without a keeper they fail. A commit of a lent file
 * fails at once with a new keeper, who has not got it: the client tries again.
 *
 *   NONE --order--> WAITING --credit--> SENT --answer--> NONE
 *                      ^--- keeper gone ---'
 *   WAITING --no keeper for 10 s--> NONE (failed) */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/table.h"
#include "ipc/channel.h"
#include "policy/verdict.h"

enum {
        EDGE_KEEPER_PATIENCE_MS = 10 * 1000,
        EDGE_KEEPER_REASON_MAX = 200,
};

struct edge;
struct edge_transaction;

enum edge_order_kind { EDGE_ORDER_NONE, EDGE_ORDER_LEND, EDGE_ORDER_COMMIT };

/* What a transaction has ordered; embedded in it. */
struct edge_order {
        enum edge_order_kind kind;
        bool is_sent;
        bool is_partial; /* the keeper has parts of a body whose commit it has not */
        struct table_node by_id;
        struct list_node node; /* of waiting or sent */
};

struct edge_keeper {
        struct edge *edge;
        struct channel *channel; /* NULL: there is none */
        uint64_t generation;
        bool is_open; /* new mail may come in */
        char reason[EDGE_KEEPER_REASON_MAX]; /* why not */
        struct table orders; /* by message id */
        struct list_node waiting, sent;
        struct timer *patience;
        bool is_lost; /* without a keeper for longer than our patience */
};

/* 0 or -ENOMEM. */
int edge_keeper_init(struct edge_keeper *k, struct edge *e);
void edge_keeper_done(struct edge_keeper *k);

/* A new channel end; takes `fd` over. Places again what was under way. */
void edge_keeper_peer(struct edge_keeper *k, uint64_t generation, int fd);

/* Whether a message may come in: no keeper for too long is 451, a keeper that
 * has no room 452. The text lives until the next message of the keeper. */
struct verdict edge_keeper_judge(const struct edge_keeper *k);

/* Bulk that is read now could not be passed on. */
bool edge_keeper_is_starved(const struct edge_keeper *k);

/* Places an order; exactly one answer follows, never from within this call:
 * edge_transaction_lent(), edge_transaction_committed() or
 * edge_transaction_order_failed(). 0; -EPIPE: no keeper, none to be expected;
 * -ENOMEM. */
int edge_keeper_order(struct edge_keeper *k, struct edge_transaction *t,
                      enum edge_order_kind kind);

/* The transaction goes away: no answer comes any more, and what the keeper has
 * of it (a lent file) is dropped. */
void edge_keeper_forget(struct edge_keeper *k, struct edge_transaction *t);

/* Has what waits for a domain tried now. False: there is no keeper. */
bool edge_keeper_retry(struct edge_keeper *k, struct span domain, bool with_subdomains);

/* Sends the record of a refusal; may be lost. */
void edge_keeper_refused(struct edge_keeper *k, uint64_t message_id, struct span record);
