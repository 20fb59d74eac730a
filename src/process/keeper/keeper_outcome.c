#include "process/keeper/keeper_outcome.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/number.h"
#include "process/keeper/keeper_bounce.h"
#include "process/keeper/keeper_hosts.h"
#include "process/keeper/keeper_job.h"
#include "process/keeper/keeper_queue.h"
#include "process/keeper/keeper_reading.h"
#include "route/route.h"

enum {
        REPLIES_MEMORY_MAX = 4 * 1024 * 1024,
        RELAY_GONE_RETRY_US = 1000000,
        RECORD_ENOUGH = 16 * 1024, /* octets of a record, then another one */
        LOOK_EVERY_US = 10000,     /* at one of those that wait for the same host; */
        LOOKS_MAX = 1000000,       /* at each of them within three hours */
        CONCLUSIONS_FREE_MAX = 256,
};

int outcome_init(struct outcome *o, const struct queue_entry *e)
{
        if (!o->arena.size_max)
                o->arena = ARENA_INIT(REPLIES_MEMORY_MAX);
        o->reply_count = e->recipient_count;
        o->open_count = queue_entry_count(e, RECIPIENT_WAITING);
        o->replies = arena_alloc(&o->arena, (e->recipient_count + 1) * sizeof *o->replies);
        return o->replies ? 0 : -ENOMEM;
}

void outcome_clear(struct outcome *o)
{
        arena_clear(&o->arena);
}

void outcome_done(struct outcome *o)
{
        arena_done(&o->arena);
}

static void set_reply(struct outcome *o, struct outcome_reply *reply,
                      const struct ipc_result *result, const struct ipc_outcome *from)
{
        reply->is_answered = true;
        reply->code = result->code;
        reply->enhanced = arena_copy(&o->arena, span_first(result->enhanced, 16));
        reply->text = arena_copy(&o->arena, span_first(result->text, QUEUE_REPLY_MAX));
        reply->host = arena_copy(&o->arena, from->host);
        reply->detail = arena_copy(&o->arena, from->detail);
        reply->sends_dsn = from->sends_dsn;
        reply->keeps_time = from->keeps_time;
        o->open_count--;
}

void outcome_answer(struct outcome *o, const struct queue_entry *e, const struct ipc_result *result,
                    const struct ipc_outcome *from)
{
        for (size_t i = 0; i < e->recipient_count; i++) {
                if (e->recipients[i].index != result->index ||
                    e->recipients[i].state != RECIPIENT_WAITING || o->replies[i].is_answered)
                        continue;
                set_reply(o, &o->replies[i], result, from);
                return;
        }
}

void outcome_answer_all(struct outcome *o, uint16_t code, struct span enhanced, struct span text)
{
        const struct ipc_result result = {.code = code, .enhanced = enhanced, .text = text};

        for (size_t i = 0; i < o->reply_count && o->open_count; i++)
                if (!o->replies[i].is_answered)
                        set_reply(o, &o->replies[i], &result, &(struct ipc_outcome) {.job = 0});
}

/* ---- traces ------------------------------------------------------------ */

static void put_record(struct store_batch *batch, uint64_t message_id, const struct buffer *record)
{
        char id_text[ID_TEXT_LEN + 1];
        const struct span key = span_make(id_format(message_id, id_text), ID_TEXT_LEN);

        store_trace(batch, &key, 1, buffer_span(record));
}

void outcome_trace_end(struct outcome_trace *t)
{
        if (t->record.len)
                put_record(t->batch, t->message_id, &t->record);
        buffer_done(&t->record);
}

void outcome_trace_add(struct outcome_trace *t, const struct queue_entry *e,
                       enum decision_kind kind, struct span text)
{
        int r = 0;

        if (t->record.len && (t->message_id != e->message_id || t->record.len > RECORD_ENOUGH))
                outcome_trace_end(t);
        if (!t->record.len) {
                t->record = BUFFER_INIT(IPC_RECORD_MAX);
                t->message_id = e->message_id;
                r = decision_begin(&t->record, e->message_id);
        }
        for (size_t i = 0; i < e->recipient_count && r == 0; i++)
                if (e->recipients[i].state != RECIPIENT_DONE)
                        r = decision_add(&t->record, &(struct decision_step) {
                                .at_us = t->now_us, .kind = (uint16_t) kind,
                                .recipient = e->recipients[i].index, .text = text});
}

/* ---- what the answers mean --------------------------------------------- */

/* Good enough to spread retries; no system call a message. */
static uint64_t random_number(void)
{
        static uint64_t count;

        count++;
        return hash_span(span_make((const char *) &count, sizeof count), hash_seed());
}

/* A return path that answers nobody: what went there would come back for ever. */
static bool is_loop(struct span mail_from)
{
        static const struct span names[] = {SPAN("mailer-daemon"), SPAN("double-bounce")};
        const struct span local = span_first(mail_from, span_find_last(mail_from, '@'));

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                if (span_equal_nocase(local, names[i]))
                        return true;
        return false;
}

bool outcome_is_told(const struct queue_entry *e, const struct queue_recipient *q,
                     unsigned fate)
{
        if (!e->mail_from.len) /* our own notification: postmaster hears that it failed, once */
                return fate == NOTIFY_FAILURE && e->flags & ENVELOPE_BOUNCE &&
                       !(e->flags & ENVELOPE_POSTMASTER);
        if (q->notify & NOTIFY_NEVER || is_loop(e->mail_from))
                return false;
        return q->notify ? q->notify & fate : fate != NOTIFY_SUCCESS;
}

struct conclusion {
        struct list_node free; /* of the keeper's, while it is none */
        struct keeper *keeper;
        struct queue_entry *before, *after;
        struct buffer *record; /* the keeper's, until the batch has it */
        uint64_t now_us, due_us; /* now, and of the next attempt */
        bool is_expired;
        bool is_late; /* the sender is to be told of the delay */
        bool waits_for_host;
        size_t empty_len; /* of the record without steps */
};

static void conclusion_free(struct keeper *k, struct conclusion *c)
{
        if (k->free_conclusion_count == CONCLUSIONS_FREE_MAX) {
                free(c);
                return;
        }
        list_prepend(&k->free_conclusions, &c->free);
        k->free_conclusion_count++;
}

static void add_step(struct conclusion *c, const struct queue_recipient *q,
                     enum decision_kind kind, struct span detail)
{
        decision_add(c->record, &(struct decision_step) {
                .at_us = c->now_us, .recipient = q->index, .kind = (uint16_t) kind,
                .code = q->code, .enhanced = q->enhanced, .text = q->text, .host = q->host,
                .next = c->before->next_hop, .detail = detail});
}

static void give_up(struct conclusion *c, struct queue_recipient *q)
{
        c->keeper->count.failed++;
        q->state = RECIPIENT_FAILED;
        if (outcome_is_told(c->before, q, NOTIFY_FAILURE))
                return;
        q->state = RECIPIENT_DONE;
        decision_add(c->record, &(struct decision_step) {
                .at_us = c->now_us, .recipient = q->index, .kind = DECISION_DROPPED,
                .text = c->before->mail_from.len
                                ? SPAN_LITERAL("the sender asked for no notification")
                                : SPAN_LITERAL("a notification is not returned to anybody")});
}

/* The time that the sender gave is over (RFC 2852): it wants to be told of that
 * by the flag ENVELOPE_BY_NOTIFY, or to have the message back. */
static bool is_overdue(const struct conclusion *c, uint32_t flag)
{
        return c->before->flags & flag && c->now_us >= c->before->deliver_by_us;
}

/* Told once an entry: when the sender's time is over, if it gave one, else when
 * it has waited for queue.warn_after. */
static bool is_late(const struct conclusion *c)
{
        const uint64_t warn_after_ms = c->keeper->process->config->queue.warn_after_ms;

        if (c->before->flags & ENVELOPE_BY_NOTIFY)
                return !c->before->delay_told && is_overdue(c, ENVELOPE_BY_NOTIFY);
        return warn_after_ms && !c->before->delay_told &&
               c->now_us > c->before->arrived_us + warn_after_ms * 1000;
}

static void defer(struct conclusion *c, const struct queue_recipient *q)
{
        char detail[CLOCK_DATE_MAX + 16];
        const char *at = clock_format_iso(c->due_us, detail + 13);

        if (outcome_is_told(c->before, q, NOTIFY_DELAY))
                c->is_late = is_late(c);
        memcpy(detail, "next_attempt=", 13);
        c->keeper->count.deferred++;
        decision_add(c->record, &(struct decision_step) {
                .at_us = c->now_us, .recipient = q->index, .kind = DECISION_DEFERRED,
                .detail = span_make(detail, 13 + strlen(at))});
}

/* What an LMTP server takes is delivered (RFC 2033 section 4.2), as in a mailbox here. */
static bool is_final(struct span next_hop)
{
        return span_starts_with_nocase(next_hop, SPAN_LITERAL("lmtp:")) ||
               span_starts_with_nocase(next_hop, SPAN_LITERAL("agent:")) ||
               span_equal(next_hop, SPAN_LITERAL("local:"));
}

/* A host took it. RFC 2852 section 4.1: that is told, whoever else notifies,
 * where the sender wants to trace it, and where nobody would tell of a delay any
 * more; but never against NOTIFY. */
static enum recipient_state state_taken(const struct queue_entry *e,
                                        const struct queue_recipient *q,
                                        const struct outcome_reply *reply)
{
        const bool is_traced = e->flags & ENVELOPE_BY_TRACE &&
                outcome_is_told(e, q, NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY);
        const bool is_untimed = e->flags & ENVELOPE_BY_NOTIFY && !reply->keeps_time &&
                                outcome_is_told(e, q, NOTIFY_DELAY);

        if (!reply->sends_dsn && outcome_is_told(e, q, NOTIFY_SUCCESS))
                return is_final(e->next_hop) ? RECIPIENT_DELIVERED : RECIPIENT_RELAYED;
        return (is_traced || is_untimed) && !is_final(e->next_hop) ? RECIPIENT_RELAYED
                                                                   : RECIPIENT_DONE;
}

static void judge(struct conclusion *c, struct queue_recipient *q,
                  const struct outcome_reply *reply)
{
        q->code = reply->code;
        q->enhanced = reply->enhanced;
        q->text = reply->text;
        q->host = reply->host;
        if (reply->code >= 200 && reply->code < 300) {
                c->keeper->count.relayed++;
                q->state = (uint8_t) state_taken(c->before, q, reply);
                add_step(c, q, DECISION_RELAYED, reply->detail);
                return;
        }
        add_step(c, q, DECISION_ATTEMPT, reply->detail);
        if ((reply->code >= 500 && reply->code < 600) || c->is_expired)
                give_up(c, q);
        else
                defer(c, q);
}

static void is_durable(void *arg, int result)
{
        struct conclusion *c = arg;
        struct keeper *k = c->keeper;
        struct keeper_body *body = c->before->body;

        c->before->body = NULL;
        keeper_reading_left(k, c->before->message_id, c->before->group);
        queue_remove(&k->queue, c->before);
        if (result < 0) {
                /* The store takes no more; what it has is the entry as it was. */
                if (keeper_store_refused(k, result))
                        log_event(LOG_ERROR, "outcome_not_stored",
                                  LOG_U64("message_id", c->before->message_id),
                                  LOG_ERRNO("error", result));
                queue_entry_free(c->after);
                c->after = NULL;
        }
        if (c->after && queue_entry_owes(c->after)) {
                keeper_bounce(k, c->after, body);
                body = NULL;
        } else if (c->after) {
                keeper_queue_expect(k, c->after->due_us);
                if (c->after->waits_for_host)
                        queue_note_stored(&k->queue,
                                          keeper_hosts_known(k, c->after->next_hop));
                queue_entry_free(c->after);
        }
        keeper_body_unref(body);
        keeper_queue_refill(k, keeper_hosts_known(k, c->before->next_hop));
        queue_entry_free(c->before);
        conclusion_free(k, c);
        keeper_queue_pump(k);
}

static struct conclusion *conclusion_new(struct keeper *k, struct queue_entry *e)
{
        struct list_node *freed = list_take_first(&k->free_conclusions);
        struct conclusion *c = freed ? LIST_OBJECT(freed, struct conclusion, free)
                                     : malloc(sizeof *c);

        if (!c)
                return NULL;
        k->free_conclusion_count -= freed != NULL;
        *c = (struct conclusion) {.keeper = k, .before = e, .now_us = keeper_now_us(k),
                                  .record = &k->record};
        c->is_expired = k->process->config->queue.lifetime_ms &&
                        c->now_us > e->arrived_us + k->process->config->queue.lifetime_ms * 1000;
        c->is_expired |= is_overdue(c, ENVELOPE_BY_RETURN);
        buffer_shrink(c->record, KEEPER_RECORD_KEPT);
        if (decision_begin(c->record, e->message_id) < 0) {
                conclusion_free(k, c);
                return NULL;
        }
        c->empty_len = c->record->len;
        return c;
}

/* No attempt waits beyond the time that the sender gave: then it is told. */
static void hurry(struct conclusion *c)
{
        if (c->before->deliver_by_us > c->now_us && c->due_us > c->before->deliver_by_us)
                c->due_us = c->before->deliver_by_us;
}

static void store_conclusion(struct conclusion *c)
{
        struct keeper *k = c->keeper;
        struct store_batch *batch = store_batch_new(k->store, &k->shard, STORE_ANY_SEQUENCE);

        if (!batch) {
                is_durable(c, -ENOMEM);
                return;
        }
        keeper_queue_put(batch, c->before, c->after);
        if (c->record->len > c->empty_len)
                put_record(batch, c->before->message_id, c->record);
        store_commit(k->store, &batch, 1, 0, is_durable, c);
}

/* Found by it when the destination is back; 0: the next hop says it already. */
static uint64_t hop_hash_of(struct keeper *k, struct span next_hop)
{
        const struct span key = keeper_hosts_known(k, next_hop);

        return span_equal(key, next_hop) ? 0 : queue_hop_hash(key);
}

/* Makes c->after from the entry with these recipients; NULL when all is done. */
static int make_after(struct conclusion *c, struct queue_recipient *recipients, bool is_attempt)
{
        struct queue_entry changed = *c->before;

        changed.recipients = recipients;
        if (queue_entry_count(&changed, RECIPIENT_DONE) == changed.recipient_count)
                return 0;
        changed.attempts += is_attempt;
        changed.delay_owed = c->is_late;
        changed.waits_for_host = c->waits_for_host;
        changed.hop_hash = c->waits_for_host ? hop_hash_of(c->keeper, c->before->next_hop) : 0;
        changed.due_us = queue_entry_owes(&changed) ? c->now_us : c->due_us;
        return queue_entry_update(&changed, &c->after);
}

static void defer_blocked(struct keeper *k, struct destination *d);

/* Nothing can be stored for want of memory: the store still has the entry. */
static void abandon(struct keeper *k, struct queue_entry *e)
{
        queue_remove(&k->queue, e);
        keeper_body_unref(e->body);
        queue_entry_free(e);
        keeper_queue_scan_again(k);
}

/* `r`: whether `c`, which may be NULL, says all. */
static void conclude_or_abandon(struct keeper *k, struct queue_entry *e, struct conclusion *c,
                                int r)
{
        if (r == 0) {
                store_conclusion(c);
                return;
        }
        if (c)
                conclusion_free(k, c);
        abandon(k, e);
}

void outcome_conclude(struct keeper *k, struct queue_entry *e, struct outcome *o,
                      enum queue_health health)
{
        struct destination *d = e->destination;
        struct queue_recipient *recipients =
                arena_alloc(&o->arena, (e->recipient_count + 1) * sizeof *recipients);
        struct conclusion *c = recipients ? conclusion_new(k, e) : NULL;
        int r = c ? 0 : -ENOMEM;

        if (d) /* one that rode with another was reported with it */
                queue_report(&k->queue, e, health, keeper_now_us(k));
        if (c) {
                c->due_us = health == QUEUE_HOST_UNKNOWN
                                    ? c->now_us + RELAY_GONE_RETRY_US
                                    : schedule_retry_us(&k->retry, e->attempts + 1, c->now_us,
                                                        random_number());
                hurry(c);
                c->waits_for_host = health == QUEUE_HOST_FAILED;
                memcpy(recipients, e->recipients, e->recipient_count * sizeof *recipients);
                for (size_t i = 0; i < e->recipient_count; i++)
                        if (recipients[i].state == RECIPIENT_WAITING)
                                judge(c, &recipients[i], &o->replies[i]);
                r = make_after(c, recipients, health != QUEUE_HOST_UNKNOWN);
        }
        conclude_or_abandon(k, e, c, r);
        if (d && health == QUEUE_HOST_FAILED)
                defer_blocked(k, d);
}

/* When to look again at one of many that wait until then: the longer the wait, and the
 * more they are, the further apart, so that a million that wait cost a hundred looks a
 * second. Those that were tried keep their own times, and try the host; all others go at
 * once when it is back. */
static uint64_t spread_us(struct keeper *k, const struct queue_entry *e, uint64_t now_us,
                          uint64_t until_us)
{
        const uint64_t wait_us = until_us > now_us ? until_us - now_us : 0;
        const uint64_t count =
                queue_count_put_off(&k->queue, keeper_hosts_known(k, e->next_hop));
        uint64_t window_us = (count < LOOKS_MAX ? count : LOOKS_MAX) * LOOK_EVERY_US;

        if (window_us < k->queue.block_min_us / 2 + wait_us / 4)
                window_us = k->queue.block_min_us / 2 + wait_us / 4;
        return until_us + random_number() % window_us;
}

/* One that waited for the same host: put off with it, without an attempt, and
 * given up when its time is over. */
static void defer_one(struct keeper *k, struct queue_entry *e, uint64_t blocked_until_us)
{
        struct queue_recipient *recipients = calloc(e->recipient_count + 1, sizeof *recipients);
        struct conclusion *c = recipients ? conclusion_new(k, e) : NULL;
        int r = c ? 0 : -ENOMEM;

        if (c) {
                memcpy(recipients, e->recipients, e->recipient_count * sizeof *recipients);
                for (size_t i = 0; i < e->recipient_count; i++)
                        if (recipients[i].state == RECIPIENT_WAITING && c->is_expired)
                                give_up(c, &recipients[i]);
                        else if (recipients[i].state == RECIPIENT_WAITING &&
                                 outcome_is_told(e, &recipients[i], NOTIFY_DELAY))
                                c->is_late = is_late(c);
                c->due_us = spread_us(k, e, c->now_us, blocked_until_us);
                hurry(c);
                c->waits_for_host = true;
                r = make_after(c, recipients, false);
        }
        free(recipients);
        conclude_or_abandon(k, e, c, r);
}

void outcome_put_off(struct keeper *k, struct queue_entry *e, uint64_t until_us)
{
        const int r = queue_park(&k->queue, e);

        if (r == 0) {
                queue_note_stored(&k->queue, keeper_hosts_known(k, e->next_hop));
                defer_one(k, e, until_us);
                return;
        }
        queue_entry_free(e);
        if (r == -ENOMEM)
                keeper_queue_scan_again(k);
}

static void defer_blocked(struct keeper *k, struct destination *d)
{
        const uint64_t now = keeper_now_us(k);
        struct queue_entry *e;

        /* d stays: a destination with failures is not forgotten in here. */
        while ((e = queue_blocked(&k->queue, d, now)))
                defer_one(k, e, d->blocked_until_us);
}

/* ---- local: ------------------------------------------------------------ */

int outcome_check_quota(const struct keeper *k, const struct account *a, struct span account,
                        uint64_t size)
{
        const struct snapshot *s = k->process->snapshot;
        struct span value;
        uint64_t quota;

        if (!s || !snapshot_get(s, SNAPSHOT_QUOTAS, account, &value, NULL) ||
            number_parse(value, UINT64_MAX, &quota) < 0)
                return 0;
        return size > quota || account_size(a) > quota - size ? -EDQUOT : 0;
}

static int deliver_one(struct keeper *k, const struct queue_entry *e,
                       const struct queue_recipient *q, struct store_batch **ret_batch)
{
        struct account *a = account_cached(k->mailboxes, q->account);
        char key[12];
        const struct delivery d = {
                .mailbox = SPAN("INBOX"),
                .delivery_key = {key, sizeof key},
                .entry = {.arrived_us = e->arrived_us, .blob_id = e->blob_id, .size = e->body_len},
        };
        uint32_t uid;
        int r;

        if (!a)
                return -EAGAIN; /* being opened: next time */
        key_put_u64(key, e->message_id);
        key_put_u32(key + 8, q->index);
        r = outcome_check_quota(k, a, q->account, e->body_len);
        if (r == 0)
                *ret_batch = account_batch(a);
        if (r == 0)
                r = *ret_batch ? account_deliver(a, &d, *ret_batch, &uid) : -ENOMEM;
        if (r < 0)
                *ret_batch = store_batch_free(*ret_batch);
        else
                store_blob_reference(*ret_batch, e->blob_id, 1);
        account_release(a);
        return r;
}

void outcome_say_full(const struct keeper *k, struct ipc_result *result)
{
        const bool is_final = k->process->config->users.over_quota_returns;

        result->code = is_final ? 552 : 452;
        result->enhanced = is_final ? SPAN_LITERAL("5.2.2") : SPAN_LITERAL("4.2.2");
        result->text = SPAN_LITERAL("The mailbox is full");
}

static void local_is_durable(void *arg, int result)
{
        if (result < 0 && result != -EEXIST && keeper_store_refused(arg, result))
                log_event(LOG_ERROR, "local_delivery_failed", LOG_ERRNO("error", result));
}

static void was_opened(void *arg, int result, struct account *a)
{
        (void) arg;
        if (result == 0)
                account_release(a); /* in the cache now */
}

/* Each recipient's delivery is a commit of its own, deduplicated by its key:
 * the entry's commit follows behind it, so a crash between them repeats a
 * delivery that then changes nothing. */
void outcome_deliver_local(struct keeper *k, struct queue_entry *e, struct outcome *o)
{
        for (size_t i = 0; i < e->recipient_count; i++) {
                const struct queue_recipient *q = &e->recipients[i];
                struct store_batch *batch = NULL;
                struct ipc_result result = {.index = q->index, .code = 250,
                                            .enhanced = SPAN("2.1.5"), .text = SPAN("delivered")};
                int r;

                if (q->state != RECIPIENT_WAITING)
                        continue;
                account_open(k->mailboxes, q->account, was_opened, NULL);
                r = deliver_one(k, e, q, &batch);
                if (batch)
                        store_commit(k->store, &batch, 1, 0, local_is_durable, k);
                if (r < 0 && r != -EEXIST) {
                        result.code = 451;
                        result.enhanced = SPAN_LITERAL("4.3.0");
                        result.text = SPAN_LITERAL("the mailbox cannot be written now");
                        if (r == -EDQUOT)
                                outcome_say_full(k, &result);
                }
                outcome_answer(o, e, &result, &(struct ipc_outcome) {.host = SPAN("local")});
        }
        outcome_conclude(k, e, o, QUEUE_HOST_GOOD);
}
