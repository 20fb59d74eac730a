#include "process/keeper/keeper_bounce.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "message/dsn.h"
#include "policy/decision.h"
#include "process/keeper/keeper_commit.h"
#include "process/keeper/keeper_job.h"
#include "process/keeper/keeper_outcome.h"
#include "process/keeper/keeper_queue.h"
#include "process/keeper/keeper_reading.h"
#include "route/route.h"

enum {
        ORIGINAL_MAX = IPC_BODY_PART_MAX, /* octets of the message that a worker sees */
        TRIES_MAX = 3,                    /* then the order goes without the message's text */
        ROUTE_MEMORY_MAX = 4 * 1024 * 1024, /* the reader may be an alias of a thousand */
        RECIPIENTS_TOLD_MAX = 100,        /* by one notification; the others by the next */
        POSTMASTER_MAX = 300,
};

/* A notification that a worker is asked to write. */
struct order {
        struct table_node by_number;
        uint64_t number;
        struct keeper *keeper;
        struct queue_entry *entry; /* parked in the active queue */
        struct keeper_body *body;
        struct keeper_peer *worker; /* who has it; NULL: nobody yet */
        unsigned tries;
        enum dsn_action action;
        uint64_t bounce_id;
        char postmaster[POSTMASTER_MAX]; /* who is told where nobody else can be */
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
        keeper_reading_left(k, o->entry->message_id, o->entry->group);
        queue_remove(&k->queue, o->entry);
        queue_entry_free(o->entry);
        queue_entry_free(o->after);
        keeper_body_unref(o->body);
        free(o);
}

/* ---- what is owed ------------------------------------------------------ */

static enum dsn_action action_of(const struct queue_entry *e)
{
        if (queue_entry_count(e, RECIPIENT_FAILED))
                return DSN_FAILED;
        if (queue_entry_count(e, RECIPIENT_DELIVERED))
                return DSN_DELIVERED;
        if (queue_entry_count(e, RECIPIENT_EXPANDED))
                return DSN_EXPANDED;
        return queue_entry_count(e, RECIPIENT_RELAYED) ? DSN_RELAYED : DSN_DELAYED;
}

static bool is_about(const struct order *o, const struct queue_recipient *q)
{
        switch (o->action) {
        case DSN_FAILED:
                return q->state == RECIPIENT_FAILED;
        case DSN_DELIVERED:
                return q->state == RECIPIENT_DELIVERED;
        case DSN_RELAYED:
                return q->state == RECIPIENT_RELAYED;
        case DSN_EXPANDED:
                return q->state == RECIPIENT_EXPANDED;
        default:
                return q->state == RECIPIENT_WAITING && outcome_is_told(o->entry, q, NOTIFY_DELAY);
        }
}

/* The recipients that this notification tells of, from number `at` on; returns
 * the next one, or the count of recipients. */
static size_t next_told(const struct order *o, size_t at, size_t told)
{
        const struct queue_entry *e = o->entry;

        while (at < e->recipient_count &&
               (told == RECIPIENTS_TOLD_MAX || !is_about(o, &e->recipients[at])))
                at++;
        return at;
}

/* Who is told: whom the message came from, or, about a notification of ours,
 * the postmaster. */
static struct span reader_of(const struct order *o)
{
        return o->entry->mail_from.len ? o->entry->mail_from : span_from_string(o->postmaster);
}

static void set_postmaster(struct order *o)
{
        const struct config *c = o->keeper->process->config;
        const struct span domain = c->domains.count ? c->domains.items[0] : c->hostname;

        snprintf(o->postmaster, sizeof o->postmaster, "postmaster@%.*s",
                 (int) span_first(domain, 255).len, domain.p);
}

/* ---- asking a worker --------------------------------------------------- */

static int add_recipients(const struct order *o, struct buffer *items, struct ipc_items *ret)
{
        const struct queue_entry *e = o->entry;
        int r = 0;

        for (size_t i = next_told(o, 0, 0), told = 1; i < e->recipient_count && r == 0;
             i = next_told(o, i + 1, told++)) {
                const struct queue_recipient *q = &e->recipients[i];

                r = ipc_add_dsn_recipient(items, ret, &(struct ipc_dsn_recipient) {
                        .rcpt_to = q->rcpt_to, .orcpt = q->orcpt, .host = q->host,
                        .code = q->code, .enhanced = q->enhanced, .text = q->text});
        }
        return r;
}

static void send_order(struct order *o, struct span original)
{
        const struct queue_entry *e = o->entry;
        const uint64_t lifetime_us = o->keeper->process->config->queue.lifetime_ms * 1000;
        const uint64_t end_us = lifetime_us ? e->arrived_us + lifetime_us : UINT64_MAX;
        const uint64_t by_us = e->flags & ENVELOPE_BY_RETURN ? e->deliver_by_us : UINT64_MAX;
        const uint64_t until_us = by_us < end_us ? by_us : end_us;
        struct buffer items = BUFFER_INIT(IPC_PAYLOAD_MAX);
        union ipc_message m = {.dsn_order = {
                .order = o->number, .message_id = e->message_id, .arrived_us = e->arrived_us,
                .retry_until_us = until_us == UINT64_MAX ? 0 : until_us,
                .flags = e->flags, .action = (uint8_t) o->action, .mail_from = reader_of(o),
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
        const uint64_t len = o->entry->body_len - skip; /* a digest may be behind it */
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
                send_order(o, span_skip(o->body->octets, skip));
        } else if ((read = malloc(sizeof *read))) {
                *read = (struct original_read) {k, o->number};
                store_blob_read(k->store, o->entry->blob_id, skip,
                                len < ORIGINAL_MAX ? (size_t) len : ORIGINAL_MAX,
                                original_was_read, read);
        }
}

void keeper_bounce(struct keeper *k, struct queue_entry *e, struct keeper_body *body)
{
        struct order *o = calloc(1, sizeof *o);

        if (!o || queue_park(&k->queue, e) < 0) {
                free(o);
                keeper_body_unref(body);
                queue_entry_free(e);
                keeper_queue_scan_again(k);
                return;
        }
        *o = (struct order) {.number = ++k->last_order, .keeper = k, .entry = e, .body = body,
                             .action = action_of(e)};
        set_postmaster(o);
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
        static const struct span words[] = {
                [DSN_FAILED] = SPAN("it could not be delivered"),
                [DSN_DELAYED] = SPAN("it is late"),
                [DSN_DELIVERED] = SPAN("it was delivered"),
                [DSN_RELAYED] = SPAN("it was passed on"),
                [DSN_EXPANDED] = SPAN("it went to all that the address stands for"),
        };
        struct buffer record = BUFFER_INIT(IPC_RECORD_MAX);
        char id_text[ID_TEXT_LEN + 1], bounce_text[ID_TEXT_LEN + 1];
        const struct span key = span_make(id_format(o->entry->message_id, id_text), ID_TEXT_LEN);

        id_format(o->bounce_id, bounce_text);
        decision_begin(&record, o->entry->message_id);
        for (size_t i = next_told(o, 0, 0), told = 1; i < o->entry->recipient_count;
             i = next_told(o, i + 1, told++))
                decision_add(&record, &(struct decision_step) {
                        .at_us = clock_now_us(),
                        .kind = o->action == DSN_FAILED ? DECISION_BOUNCED : DECISION_NOTIFIED,
                        .recipient = o->entry->recipients[i].index,
                        .text = words[o->action], .next = span_make(bounce_text, ID_TEXT_LEN)});
        store_trace(batch, &key, 1, buffer_span(&record));
        buffer_done(&record);
}

/* In the batch that makes the notification durable: these recipients are told,
 * and the entry ends or goes on. */
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
        struct queue_entry *after = o->after;
        struct keeper_body *body = o->body;

        o->after = NULL;
        o->body = NULL;
        order_free(o);
        if (result == 0)
                k->count.bounces++;
        if (result == 0 && after && queue_entry_owes(after)) {
                keeper_bounce(k, after, body);
                return;
        }
        if (result < 0)
                keeper_queue_scan_again(k);
        else if (after)
                keeper_queue_expect(k, after->due_us);
        queue_entry_free(after);
        keeper_body_unref(body);
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
        for (size_t i = next_told(o, 0, 0), told = 1; i < changed.recipient_count;
             i = next_told(o, i + 1, told++))
                if (o->action != DSN_DELAYED)
                        recipients[i].state = RECIPIENT_DONE;
        if (o->action == DSN_DELAYED) {
                changed.delay_owed = false;
                changed.delay_told = true;
        }
        if (queue_entry_count(&changed, RECIPIENT_DONE) < changed.recipient_count) {
                changed.due_us = clock_now_us();
                if (!queue_entry_owes(&changed))
                        changed.due_us = schedule_retry_us(
                                &k->retry, changed.attempts + 1, changed.due_us,
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

static bool leads_nowhere(const struct route *route)
{
        return route->kind == ROUTE_ERROR || route->kind == ROUTE_DISCARD;
}

/* Where the notification goes: to whom it is about, else to the postmaster. */
static int find_reader(struct order *o, struct arena *arena, struct span *ret_rcpt_to,
                       struct route *ret_route)
{
        const struct process *p = o->keeper->process;
        int r = route_recipient(p->config, p->snapshot, reader_of(o), arena, ret_route);

        *ret_rcpt_to = reader_of(o);
        if (r < 0 || !leads_nowhere(ret_route) || o->action != DSN_FAILED)
                return r;
        log_undeliverable(o, ret_route);
        *ret_rcpt_to = span_from_string(o->postmaster);
        return route_recipient(p->config, p->snapshot, *ret_rcpt_to, arena, ret_route);
}

static int begin_record(struct order *o, struct span rcpt_to, const struct route *route,
                        struct buffer *record)
{
        int r = decision_begin(record, o->bounce_id);

        if (r == 0)
                r = decision_add(record, &(struct decision_step) {
                        .at_us = clock_now_us(), .kind = DECISION_ROUTED,
                        .rcpt_to = rcpt_to, .rule = route->rule, .origin = route->origin,
                        .next = route->kind == ROUTE_LOCAL ? route->account : route->next_hop,
                        .text = SPAN("a notification about another message")});
        return r;
}

static int commit_notification(struct order *o, const struct ipc_dsn_text *in, struct arena *arena)
{
        struct keeper *k = o->keeper;
        const struct span parts[] = {SPAN("Return-Path: <>\r\n"), in->octets};
        struct ipc_recipient recipient = {.notify = 0};
        struct buffer record = BUFFER_INIT(IPC_RECORD_MAX);
        struct route route;
        struct keeper_message m;
        int r = find_reader(o, arena, &recipient.rcpt_to, &route);
        const bool is_postmaster = recipient.rcpt_to.p == o->postmaster;

        if (r < 0)
                return r;
        o->bounce_id = id_next(&k->ids, clock_now_us());
        recipient.kind = (uint8_t) route.kind;
        recipient.account = route.account;
        recipient.mailbox = route.mailbox;
        recipient.next_hop = route.next_hop;
        r = begin_record(o, recipient.rcpt_to, &route, &record);
        if (route.kind == ROUTE_RELAY && route.rcpt_to.len)
                recipient.rcpt_to = route.rcpt_to;
        m = (struct keeper_message) {
                .message_id = o->bounce_id,
                .flags = ENVELOPE_BOUNCE | (is_postmaster ? ENVELOPE_POSTMASTER : 0) |
                         (in->flags & (ENVELOPE_8BIT | ENVELOPE_SMTPUTF8)),
                .local_prefix_len = (uint32_t) parts[0].len,
                .body_parts = parts, .body_part_count = 2, .recipients = &recipient,
                .recipient_count = 1, .record = buffer_span(&record),
                .finish = finish_entry, .done = bounce_is_durable, .arg = o,
        };
        if (leads_nowhere(&route)) {
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
                r = commit_notification(o, &m->dsn_text, &arena);
        if (r < 0) {
                keeper_queue_scan_again(o->keeper);
                order_free(o);
        }
        arena_done(&arena);
}
