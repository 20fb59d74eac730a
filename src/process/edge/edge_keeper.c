#include "process/edge/edge_keeper.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "process/edge/edge.h"
#include "process/edge/edge_session.h"
#include "process/edge/edge_transaction.h"

static const struct channel_handler handler;

static struct edge_transaction *transaction_of_order(struct edge_order *o)
{
        return LIST_OBJECT(o, struct edge_transaction, order);
}

/* Message ids of one edge are unique, and none is chosen by a peer: the id is
 * its own hash. */
static struct edge_transaction *find(const struct edge_keeper *k, uint64_t message_id,
                                     enum edge_order_kind kind)
{
        struct table_node *n = table_first(&k->orders, message_id);
        struct edge_transaction *t;

        if (!n)
                return NULL;
        t = transaction_of_order(TABLE_OBJECT(n, struct edge_order, by_id));
        return t->order.kind == kind && t->order.is_sent ? t : NULL;
}

static void settle(struct edge_keeper *k, struct edge_transaction *t)
{
        table_remove(&k->orders, &t->order.by_id);
        list_remove(&t->order.node);
        t->order.kind = EDGE_ORDER_NONE;
}

static int send_commit(struct edge_keeper *k, struct edge_transaction *t)
{
        union ipc_message m;
        struct span rest;
        int r = 0;

        if (t->body.is_lent && t->body.lender != k->generation)
                return -ESTALE; /* the file went with the keeper that lent it */
        if (t->order.is_partial) { /* it would get the first parts twice */
                r = CHANNEL_SEND(k->channel, drop, -1, .message_id = t->message_id);
                if (r < 0)
                        return r;
                t->order.is_partial = false;
        }
        edge_transaction_fill_commit(t, &m.commit);
        rest = m.commit.octets;
        while (rest.len > IPC_BODY_PART_MAX && r == 0) {
                r = CHANNEL_SEND(k->channel, body, -1, .message_id = t->message_id,
                                 .octets = span_first(rest, IPC_BODY_PART_MAX));
                rest = span_skip(rest, IPC_BODY_PART_MAX);
                t->order.is_partial = true;
        }
        if (r < 0)
                return r;
        /* The body stays where it is until the keeper has answered, or is gone. */
        m.commit.octets = (struct span) {NULL, 0};
        r = channel_send_lent(k->channel, IPC_commit, &m, rest);
        t->order.is_partial &= r < 0;
        return r;
}

static int send_order(struct edge_keeper *k, struct edge_transaction *t)
{
        int r;

        if (t->order.kind == EDGE_ORDER_COMMIT)
                r = send_commit(k, t);
        else
                r = CHANNEL_SEND(k->channel, lend, -1, .message_id = t->message_id,
                                 .size_hint = t->size_announced);
        if (r < 0)
                return r;
        list_remove(&t->order.node);
        list_append(&k->sent, &t->order.node);
        t->order.is_sent = true;
        return 0;
}

static void fail(struct edge_keeper *k, struct edge_transaction *t)
{
        settle(k, t);
        edge_transaction_order_failed(t);
}

/* Sends what waits, as far as credit goes. */
static void send_waiting(struct edge_keeper *k)
{
        LIST_FOR_EACH(node, &k->waiting) {
                struct edge_transaction *t =
                        transaction_of_order(LIST_OBJECT(node, struct edge_order, node));
                int r;

                if (!k->channel || !channel_has_credit(k->channel))
                        return;
                r = send_order(k, t);
                if (r == -ENOBUFS || r == -EPIPE)
                        return;
                if (r < 0)
                        fail(k, t);
        }
}

/* ---- what the keeper says ---- */

static void on_committed(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct edge_keeper *k = arg;
        struct edge_transaction *t = find(k, m->committed.message_id, EDGE_ORDER_COMMIT);

        (void) ch;
        (void) fd;
        if (!t)
                return;
        settle(k, t);
        edge_transaction_committed(t, m->committed.status, m->committed.results);
}

static void on_lent(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct edge_keeper *k = arg;
        struct edge_transaction *t = find(k, m->lent.message_id, EDGE_ORDER_LEND);
        int given = *fd;

        (void) ch;
        if (!t)
                return; /* it was dropped meanwhile */
        settle(k, t);
        if (m->lent.status || given < 0)
                given = m->lent.status && m->lent.status < 4096 ? -(int) m->lent.status : -EIO;
        else
                *fd = -1;
        edge_transaction_lent(t, given);
}

static void on_intake(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct edge_keeper *k = arg;
        const struct span reason = span_first(m->intake.reason, sizeof k->reason - 1);

        (void) ch;
        (void) fd;
        if (k->is_open != m->intake.is_open)
                log_event(LOG_INFO, m->intake.is_open ? "intake_open" : "intake_closed",
                          LOG_SPAN("reason", reason));
        k->is_open = m->intake.is_open;
        snprintf(k->reason, sizeof k->reason, "%.*s", (int) reason.len,
                 reason.len ? reason.p : "");
}

static void on_credit(struct channel *ch, void *arg)
{
        struct edge_keeper *k = arg;

        (void) ch;
        send_waiting(k);
        while (!edge_keeper_is_starved(k)) {
                struct list_node *node = list_take_first(&k->edge->starved);

                if (!node)
                        return;
                edge_session_release(LIST_OBJECT(node, struct edge_session, starved),
                                     EDGE_HOLD_CREDIT);
        }
}

/* What was under way waits again, in the old order, for the next keeper. */
static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct edge_keeper *k = arg;

        (void) ch;
        log_event(LOG_WARNING, "keeper_gone", LOG_ERRNO("reason", reason));
        k->channel = channel_free(k->channel);
        while (!list_is_empty(&k->sent)) {
                struct list_node *last = k->sent.previous;

                list_remove(last);
                list_prepend(&k->waiting, last);
                LIST_OBJECT(last, struct edge_order, node)->is_sent = false;
        }
        LIST_FOR_EACH(node, &k->waiting)
                LIST_OBJECT(node, struct edge_order, node)->is_partial = false;
        timer_set(k->patience, EDGE_KEEPER_PATIENCE_MS);
}

static void lose_patience(void *arg)
{
        struct edge_keeper *k = arg;

        k->is_lost = true;
        while (!list_is_empty(&k->waiting))
                fail(k, transaction_of_order(
                                LIST_OBJECT(k->waiting.next, struct edge_order, node)));
        while (!list_is_empty(&k->edge->starved))
                edge_session_release(LIST_OBJECT(list_take_first(&k->edge->starved),
                                                 struct edge_session, starved),
                                     EDGE_HOLD_CREDIT);
}

static const struct channel_handler handler = {
        .on = {
                [IPC_committed] = on_committed,
                [IPC_lent] = on_lent,
                [IPC_intake] = on_intake,
        },
        .credit = on_credit,
        .closed = on_closed,
};

/* ---- what the edge asks ---- */

int edge_keeper_init(struct edge_keeper *k, struct edge *e)
{
        int r;

        *k = (struct edge_keeper) {.edge = e, .is_open = true};
        list_init(&k->waiting);
        list_init(&k->sent);
        r = timer_new(e->process->loop, lose_patience, k, &k->patience);
        if (r == 0)
                timer_set(k->patience, EDGE_KEEPER_PATIENCE_MS);
        return r;
}

void edge_keeper_done(struct edge_keeper *k)
{
        k->channel = channel_free(k->channel);
        k->patience = timer_free(k->patience);
        while (!list_is_empty(&k->sent)) {
                struct list_node *node = list_take_first(&k->sent);

                list_append(&k->waiting, node);
        }
        while (!list_is_empty(&k->waiting))
                fail(k, transaction_of_order(
                                LIST_OBJECT(k->waiting.next, struct edge_order, node)));
        table_done(&k->orders);
}

void edge_keeper_peer(struct edge_keeper *k, uint64_t generation, int fd)
{
        int r;

        if (k->channel)
                on_closed(k->channel, k, 0);
        k->generation = generation;
        r = channel_new(k->edge->process->loop, fd, &handler, k, &k->channel);
        if (r < 0) {
                log_event(LOG_ERROR, "keeper_not_reached", LOG_ERRNO("error", r));
                close(fd);
                return;
        }
        timer_stop(k->patience);
        k->is_lost = false;
        k->is_open = true; /* it says so at once if it is not */
        on_credit(k->channel, k);
}

struct verdict edge_keeper_judge(const struct edge_keeper *k)
{
        static const struct span origin = SPAN("default");

        if (k->is_lost)
                return (struct verdict) {
                        .code = 451,
                        .enhanced = SPAN("4.3.0"),
                        .text = SPAN("Storage is not available, try again later"),
                        .rule = SPAN("storage"),
                        .origin = origin,
                };
        if (!k->is_open)
                return (struct verdict) {
                        .code = 452,
                        .enhanced = SPAN("4.3.1"),
                        .text = k->reason[0] ? span_from_string(k->reason)
                                             : SPAN_LITERAL("Not enough room, try again later"),
                        .rule = SPAN("intake"),
                        .origin = origin,
                };
        return (struct verdict) {0};
}

bool edge_keeper_is_starved(const struct edge_keeper *k)
{
        return !k->is_lost && (!k->channel || !channel_has_credit(k->channel));
}

int edge_keeper_order(struct edge_keeper *k, struct edge_transaction *t, enum edge_order_kind kind)
{
        int r;

        if (k->is_lost)
                return -EPIPE;
        r = table_add(&k->orders, &t->order.by_id, t->message_id);
        if (r < 0)
                return r;
        t->order.kind = kind;
        t->order.is_sent = t->order.is_partial = false;
        if (list_is_empty(&k->waiting) && k->channel && channel_has_credit(k->channel)) {
                r = send_order(k, t);
                if (r == 0)
                        return 0;
                if (r != -ENOBUFS && r != -EPIPE) {
                        settle(k, t);
                        return r;
                }
        }
        list_append(&k->waiting, &t->order.node);
        return 0; /* in its turn */
}

void edge_keeper_forget(struct edge_keeper *k, struct edge_transaction *t)
{
        const bool was_sent = t->order.kind != EDGE_ORDER_NONE && t->order.is_sent;

        if (t->order.kind != EDGE_ORDER_NONE)
                settle(k, t);
        if (k->channel && (was_sent || t->order.is_partial || t->body.is_lent))
                CHANNEL_SEND(k->channel, drop, -1, .message_id = t->message_id);
}

bool edge_keeper_retry(struct edge_keeper *k, struct span domain, bool with_subdomains)
{
        return k->channel && CHANNEL_SEND(k->channel, retry, -1, .domain = domain,
                                          .with_subdomains = with_subdomains) == 0;
}

void edge_keeper_refused(struct edge_keeper *k, uint64_t message_id, struct span record)
{
        if (k->channel && channel_has_credit(k->channel))
                (void) CHANNEL_SEND(k->channel, refused, -1, .message_id = message_id,
                                    .record = record);
}
