#include "process/keeper/keeper_bounce.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "message/dsn.h"
#include "policy/decision.h"
#include "process/keeper/keeper_commit.h"
#include "process/keeper/keeper_job.h"
#include "route/route.h"

enum {
        ORIGINAL_MAX = IPC_BODY_PART_MAX, /* octets of the message that a worker sees */
        TRIES_MAX = 3,                    /* then the order goes without the message's text */
        ROUTE_MEMORY_MAX = 16 * 1024,
        RECIPIENTS_TOLD_MAX = 100,
};

/* A notification that a worker is asked to write. */
struct order {
        struct table_node by_number;
        uint64_t number;
        struct keeper *keeper;
        struct queue_entry *entry; /* parked in the active queue */
        enum dsn_action action;
        enum recipient_state told; /* which recipients it is about */
        struct keeper_body *body;
        struct keeper_peer *worker; /* who has it; NULL: nobody yet */
        unsigned tries;
        uint64_t bounce_id;
        struct queue_entry *after; /* what is left of the entry; NULL: nothing */
};

static struct order *find_order(struct keeper *k, uint64_t number)
{
        struct table_node *n = table_first(&k->orders, number);

        return n ? TABLE_OBJECT(n, struct order, by_number) : NULL;
}

/* The entry leaves the active queue; what the store has of it is found again
 * by its due time. */
static void order_free(struct order *o)
{
        struct keeper *k = o->keeper;

        table_remove(&k->orders, &o->by_number);
        queue_remove(&k->queue, o->entry);
        queue_entry_free(o->entry);
        queue_entry_free(o->after);
        keeper_body_unref(o->body);
        free(o);
}

/* ---- asking a worker --------------------------------------------------- */

/* Failures first; what succeeded is told in a notification of its own. */
static void choose(struct order *o)
{
        const bool is_local = span_equal(o->entry->next_hop, SPAN_LITERAL("local:"));

        o->told = queue_entry_count(o->entry, RECIPIENT_FAILED) ? RECIPIENT_FAILED
                                                                : RECIPIENT_SUCCEEDED;
        o->action = o->told == RECIPIENT_FAILED ? DSN_FAILED
                    : is_local                  ? DSN_DELIVERED
                                                : DSN_RELAYED;
}

static int add_recipients(const struct order *o, struct buffer *items, struct ipc_items *ret)
{
        const struct queue_entry *e = o->entry;
        int r = 0;

        for (size_t i = 0; i < e->recipient_count && r == 0; i++) {
                const struct queue_recipient *q = &e->recipients[i];

                if (q->state == o->told && ret->count < RECIPIENTS_TOLD_MAX)
                        r = ipc_add_dsn_recipient(items, ret, &(struct ipc_dsn_recipient) {
                                .rcpt_to = q->rcpt_to, .orcpt = q->orcpt, .host = q->host,
                                .code = q->code, .enhanced = q->enhanced, .text = q->text});
        }
        return r;
}

static void send_order(struct order *o, struct span original)
{
        const struct queue_entry *e = o->entry;
        struct buffer items = BUFFER_INIT(IPC_PAYLOAD_MAX);
        union ipc_message m = {.dsn_order = {
                .order = o->number, .message_id = e->message_id, .arrived_us = e->arrived_us,
                .action = (uint8_t) o->action,
                /* RFC 3461 section 4.3: RET is about failures. */
                .flags = o->action == DSN_FAILED ? e->flags
                                                 : e->flags & ~(uint32_t) ENVELOPE_RET_FULL,
                .mail_from = e->mail_from,
                .envid = e->envid, .original = span_first(original, ORIGINAL_MAX),
        }};

        if (o->worker && o->worker->channel &&
            add_recipients(o, &items, &m.dsn_order.recipients) == 0)
                channel_send(o->worker->channel, IPC_dsn_order, &m, -1);
        buffer_done(&items);
}

struct original_read {
        struct keeper *keeper;
        uint64_t order;
};

static void original_was_read(void *arg, int result, struct span octets, uint64_t blob_size)
{
        struct original_read *read = arg;
        struct order *o = find_order(read->keeper, read->order);

        (void) blob_size;
        free(read);
        if (o) /* a message that cannot be read is still reported, without its text */
                send_order(o, result == 0 ? octets : span_make(NULL, 0));
}

static void give_to_worker(struct order *o)
{
        struct keeper *k = o->keeper;
        const uint32_t skip = o->entry->local_prefix_len;
        struct original_read *read;

        o->worker = NULL;
        for (unsigned i = 0; i < k->worker_count && !o->worker; i++) {
                struct keeper_peer *w = &k->workers[(o->number + i) % k->worker_count];

                if (w->channel)
                        o->worker = w;
        }
        if (!o->worker)
                return; /* keeper_bounce_worker_came() */
        if (++o->tries > TRIES_MAX) {
                send_order(o, span_make(NULL, 0));
        } else if (o->body) {
                send_order(o, span_skip(span_make(o->body->octets, o->body->len), skip));
        } else if ((read = malloc(sizeof *read))) {
                *read = (struct original_read) {k, o->number};
                store_blob_read(k->store, o->entry->blob_id, skip, ORIGINAL_MAX, original_was_read,
                                read);
        }
}

void keeper_bounce(struct keeper *k, struct queue_entry *e, struct keeper_body *body)
{
        struct order *o = calloc(1, sizeof *o);

        if (!o || queue_park(&k->queue, e) < 0) {
                free(o);
                keeper_body_unref(body);
                queue_entry_free(e);
                return; /* stored as due: the next scan brings it again */
        }
        *o = (struct order) {.number = ++k->last_order, .keeper = k, .entry = e, .body = body};
        choose(o);
        if (table_add(&k->orders, &o->by_number, o->number) < 0) {
                queue_remove(&k->queue, e);
                queue_entry_free(e);
                keeper_body_unref(body);
                free(o);
                return;
        }
        give_to_worker(o);
}

static void give_again(struct table_node *node, void *arg)
{
        struct order *o = TABLE_OBJECT(node, struct order, by_number);

        if (o->worker == arg)
                give_to_worker(o);
}

void keeper_bounce_worker_gone(struct keeper_peer *worker)
{
        table_visit(&worker->keeper->orders, give_again, worker);
}

void keeper_bounce_worker_came(struct keeper *k)
{
        table_visit(&k->orders, give_again, NULL);
}

/* ---- the text is there ------------------------------------------------- */

static void add_bounced_steps(struct order *o, struct store_batch *batch)
{
        struct buffer record = BUFFER_INIT(IPC_RECORD_MAX);
        char id_text[ID_TEXT_LEN + 1], bounce_text[ID_TEXT_LEN + 1];
        const struct span key = span_make(id_format(o->entry->message_id, id_text), ID_TEXT_LEN);

        id_format(o->bounce_id, bounce_text);
        decision_begin(&record, o->entry->message_id);
        for (size_t i = 0; i < o->entry->recipient_count; i++)
                if (o->entry->recipients[i].state == o->told)
                        decision_add(&record, &(struct decision_step) {
                                .at_us = clock_now_us(),
                                .kind = o->told == RECIPIENT_FAILED ? DECISION_BOUNCED
                                                                      : DECISION_NOTIFIED,
                                .recipient = o->entry->recipients[i].index,
                                .text = o->entry->recipients[i].text,
                                .next = span_make(bounce_text, ID_TEXT_LEN)});
        store_trace(batch, &key, 1, buffer_span(&record));
        buffer_done(&record);
}

/* In the batch that makes the notification durable: the entry's failed
 * recipients are told, and it ends or waits on. */
static void finish_entry(void *arg, struct store_batch *batch)
{
        struct order *o = arg;

        keeper_queue_put(batch, o->entry, o->after);
        add_bounced_steps(o, batch);
}

static void bounce_is_durable(void *arg, int result)
{
        struct order *o = arg;
        struct keeper *k = o->keeper;

        if (result == 0) {
                k->count.bounces++;
                if (o->after)
                        keeper_queue_expect(k, o->after->due_us);
        }
        order_free(o);
}

static int make_after(struct order *o)
{
        struct keeper *k = o->keeper;
        struct queue_entry changed = *o->entry;
        struct queue_recipient *recipients = calloc(changed.recipient_count + 1,
                                                    sizeof *recipients);
        int r = 0;

        if (!recipients)
                return -ENOMEM;
        memcpy(recipients, changed.recipients, changed.recipient_count * sizeof *recipients);
        changed.recipients = recipients;
        for (size_t i = 0; i < changed.recipient_count; i++)
                if (recipients[i].state == o->told)
                        recipients[i].state = RECIPIENT_DONE;
        if (queue_entry_owes(&changed)) { /* the other kind: at once */
                changed.due_us = clock_now_us();
                r = queue_entry_update(&changed, &o->after);
        } else if (queue_entry_count(&changed, RECIPIENT_WAITING)) {
                changed.due_us = schedule_retry_us(&k->retry, changed.attempts + 1, clock_now_us(),
                                                   hash_span(changed.next_hop, changed.message_id));
                r = queue_entry_update(&changed, &o->after);
        }
        free(recipients);
        return r;
}

static void log_undeliverable(const struct order *o, const struct route *route)
{
        char id_text[ID_TEXT_LEN + 1];

        log_event(LOG_WARNING, "notification_undeliverable",
                  LOG_TEXT("message_id", id_format(o->entry->message_id, id_text)),
                  LOG_SPAN("mail_from", o->entry->mail_from), LOG_SPAN("reason", route->text));
}

static int commit_notification(struct order *o, struct span text, struct arena *arena)
{
        struct keeper *k = o->keeper;
        const struct span parts[] = {SPAN("Return-Path: <>\r\n"), text};
        struct ipc_recipient recipient = {.rcpt_to = o->entry->mail_from};
        struct buffer record = BUFFER_INIT(IPC_RECORD_MAX);
        struct route route;
        struct keeper_message m;
        int r = route_recipient(k->process->config, k->process->snapshot, o->entry->mail_from,
                                arena, &route);

        if (r < 0)
                return r;
        o->bounce_id = id_next(&k->ids, clock_now_us());
        recipient.kind = (uint8_t) route.kind;
        recipient.account = route.account;
        recipient.mailbox = route.mailbox;
        recipient.next_hop = route.next_hop;
        recipient.notify = NOTIFY_NEVER;
        if (route.kind == ROUTE_RELAY && route.rcpt_to.len)
                recipient.rcpt_to = route.rcpt_to;
        r = decision_begin(&record, o->bounce_id);
        if (r == 0)
                r = decision_add(&record, &(struct decision_step) {
                        .at_us = clock_now_us(), .kind = DECISION_ROUTED,
                        .rcpt_to = o->entry->mail_from, .rule = route.rule, .origin = route.origin,
                        .next = route.kind == ROUTE_LOCAL ? route.account : route.next_hop,
                        .text = SPAN("a notification of what became of a message")});
        m = (struct keeper_message) {
                .message_id = o->bounce_id, .flags = ENVELOPE_BOUNCE, .local_prefix_len = (uint32_t) parts[0].len,
                .body_parts = parts, .body_part_count = 2, .recipients = &recipient,
                .recipient_count = 1, .record = buffer_span(&record),
                .finish = finish_entry, .done = bounce_is_durable, .arg = o,
        };
        if (route.kind == ROUTE_ERROR || route.kind == ROUTE_DISCARD) {
                log_undeliverable(o, &route);
                m.body_part_count = 0; /* only the end of the entry and the record */
                m.local_prefix_len = 0;
        }
        if (r == 0)
                r = keeper_commit_message(k, &m);
        buffer_done(&record);
        return r;
}

void keeper_on_dsn_text(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct keeper_peer *worker = arg;
        struct order *o = find_order(worker->keeper, m->dsn_text.order);
        struct arena arena = ARENA_INIT(ROUTE_MEMORY_MAX);
        int r;

        (void) ch;
        (void) fd;
        if (!o || o->worker != worker || o->bounce_id)
                return;
        r = make_after(o);
        if (r == 0)
                r = commit_notification(o, m->dsn_text.octets, &arena);
        if (r < 0)
                order_free(o); /* still stored as due: it comes again */
        arena_done(&arena);
}
