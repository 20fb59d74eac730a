#include "process/keeper/keeper_commit.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/number.h"
#include "policy/decision.h"
#include "process/keeper/keeper_job.h"
#include "process/keeper/keeper_outcome.h"
#include "process/keeper/keeper_queue.h"
#include "route/route.h"

enum {
        BODY_MAX = 256 * 1024,         /* in frames; larger ones are lent files */
        INCOMING_MAX = 4096,           /* bodies under way from one edge */
        COMMIT_MEMORY_MAX = 4 * 1024 * 1024,
        TRACE_KEY_MAX = STORE_TRACE_KEYS_MAX,
        COMMITS_FREE_MAX = 64,
};

/* A body whose commit has not come yet. */
struct incoming {
        struct table_node by_id;
        uint64_t message_id;
        struct buffer body;
        size_t held; /* credit */
        bool is_lent;
};

struct commit_recipient {
        struct ipc_recipient given;
        struct account *account;
        uint32_t uid;
        int error; /* of the local delivery: negative errno */
        bool is_expanded; /* ROUTE_EXPANDED: only to be told of */
};

/* One message on its way to being durable. Its spans point into what it came in, and
 * are not looked at any more once the store has it; if it must wait before that, for
 * an account, they are copied (keep_spans()). */
struct commit {
        struct list_node free; /* of the keeper's, while it is none */
        struct keeper *keeper;
        struct keeper_peer *peer; /* NULL: made here */
        uint64_t peer_generation;
        size_t held;

        struct arena arena; /* recipients, entries, spans that were copied */
        uint64_t message_id, arrived_us, body_len;
        uint64_t hold_until_us; /* 0: delivered at once */
        uint64_t deliver_by_us; /* 0: no such time */
        uint32_t flags, local_prefix_len;
        struct span mail_from, envid, header_message_id, record;
        struct span held_for; /* empty: it is not held */
        struct span digest;
        struct buffer body; /* empty where it is in a lent file */
        struct span rest;   /* of the body, behind that */
        struct commit_recipient *recipients;
        size_t recipient_count;

        size_t opening; /* accounts asked for and not had yet, + 1 while asking */
        struct queue_entry **entries;
        size_t entry_count;
        struct store_batch *body_batch; /* with the body for them, if they are tried now */

        void (*finish)(void *arg, struct store_batch *shard_batch);
        void (*done)(void *arg, int result);
        void *arg;
};

/* ---- what edges send --------------------------------------------------- */

static struct incoming *find_incoming(struct keeper_peer *peer, uint64_t message_id)
{
        struct table_node *n = table_first(&peer->incoming, message_id);

        return n ? TABLE_OBJECT(n, struct incoming, by_id) : NULL;
}

static struct incoming *get_incoming(struct keeper_peer *peer, uint64_t message_id)
{
        struct incoming *in = find_incoming(peer, message_id);

        if (in)
                return in;
        if (peer->incoming.count >= INCOMING_MAX)
                return NULL;
        in = calloc(1, sizeof *in);
        if (!in)
                return NULL;
        in->message_id = message_id;
        in->body = BUFFER_INIT(BODY_MAX);
        if (table_add(&peer->incoming, &in->by_id, message_id) < 0) {
                free(in);
                return NULL;
        }
        return in;
}

/* The body goes to the caller, the credit too. */
static void end_incoming(struct keeper_peer *peer, struct incoming *in)
{
        table_remove(&peer->incoming, &in->by_id);
        free(in);
}

bool keeper_take_incoming(struct keeper_peer *peer, uint64_t message_id, struct buffer *body,
                          bool *ret_is_lent, size_t *ret_held)
{
        struct incoming *in = find_incoming(peer, message_id);

        if (!in)
                return false;
        *body = in->body;
        *ret_is_lent = in->is_lent;
        *ret_held = in->held;
        end_incoming(peer, in);
        return true;
}

static void drop_incoming(struct keeper_peer *peer, struct incoming *in)
{
        if (in->is_lent)
                store_blob_return(peer->keeper->store, in->message_id);
        if (peer->channel)
                channel_release(peer->channel, in->held);
        buffer_done(&in->body);
        end_incoming(peer, in);
}

static void forget_one(struct table_node *node, void *arg)
{
        drop_incoming(arg, TABLE_OBJECT(node, struct incoming, by_id));
}

void keeper_forget_incoming(struct keeper_peer *peer)
{
        table_visit(&peer->incoming, forget_one, peer);
        table_done(&peer->incoming);
}

static void answer(struct keeper_peer *peer, uint64_t message_id, enum commit_status status)
{
        CHANNEL_SEND(peer->channel, committed, -1, .message_id = message_id,
                     .status = (uint8_t) status);
}

void keeper_on_body(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct keeper_peer *peer = arg;
        struct incoming *in = get_incoming(peer, m->body.message_id);

        (void) fd;
        if (!in)
                return; /* the commit will find too few octets and be refused */
        if (buffer_append_span(&in->body, m->body.octets) == 0)
                in->held += channel_hold(ch);
}

void keeper_on_drop(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct keeper_peer *peer = arg;
        struct incoming *in = find_incoming(peer, m->drop.message_id);

        (void) ch;
        (void) fd;
        if (in)
                drop_incoming(peer, in);
}

void keeper_on_lend(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct keeper_peer *peer = arg;
        struct incoming *in = get_incoming(peer, m->lend.message_id);
        int file = -1;
        int r = in ? store_blob_lend(peer->keeper->store, m->lend.message_id, &file) : -ENOMEM;

        (void) fd;
        if (r == 0)
                in->is_lent = true;
        CHANNEL_SEND(ch, lent, file, .message_id = m->lend.message_id, .status = (uint32_t) -r);
        if (file >= 0)
                close(file);
}

/* The keys by which `why` finds a record: id, Message-ID, every address. */
static size_t collect_keys(struct span keys[TRACE_KEY_MAX], const char *id_text,
                           struct span header_message_id, struct span mail_from)
{
        size_t count = 0;

        keys[count++] = span_make(id_text, ID_TEXT_LEN);
        if (header_message_id.len)
                keys[count++] = header_message_id;
        if (mail_from.len)
                keys[count++] = mail_from;
        return count;
}

/* ---- a commit ---------------------------------------------------------- */

static void release_accounts(struct commit *c)
{
        for (size_t i = 0; i < c->recipient_count; i++)
                if (c->recipients[i].account)
                        account_release(c->recipients[i].account);
}

static void commit_free(struct commit *c)
{
        struct keeper *k = c->keeper;

        release_accounts(c);
        for (size_t i = 0; i < c->entry_count; i++)
                queue_entry_free(c->entries[i]);
        buffer_done(&c->body);
        store_batch_free(c->body_batch);
        if (k->free_commit_count == COMMITS_FREE_MAX) {
                arena_done(&c->arena);
                free(c);
                return;
        }
        arena_clear(&c->arena);
        list_prepend(&k->free_commits, &c->free);
        k->free_commit_count++;
}

/* Still the channel the commit came over? */
static bool peer_is_there(const struct commit *c)
{
        return c->peer && c->peer->channel && c->peer->generation == c->peer_generation;
}

static void put_result(const struct keeper *k, struct commit_recipient *r, struct buffer *items,
                       struct ipc_items *results)
{
        struct ipc_result result = {.index = r->given.index};

        switch (r->error) {
        case -EDQUOT:
                outcome_say_full(k, &result);
                break;
        case -EINVAL:
        case -ENOENT:
                result.code = 550;
                result.enhanced = SPAN_LITERAL("5.1.1");
                result.text = SPAN_LITERAL("There is no such mailbox");
                break;
        default:
                result.code = 451;
                result.enhanced = SPAN_LITERAL("4.3.0");
                result.text = SPAN_LITERAL("The mailbox cannot be written now");
                break;
        }
        ipc_add_result(items, results, &result);
}

static void send_answer(struct commit *c, enum commit_status status)
{
        struct buffer items = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct ipc_items results = {0};

        if (!peer_is_there(c))
                return;
        for (size_t i = 0; i < c->recipient_count && status == COMMIT_DURABLE; i++)
                if (c->recipients[i].error < 0)
                        put_result(c->keeper, &c->recipients[i], &items, &results);
        CHANNEL_SEND(c->peer->channel, committed, -1, .message_id = c->message_id,
                     .status = (uint8_t) status, .results = results);
        channel_release(c->peer->channel, c->held);
        buffer_done(&items);
}

static enum commit_status status_of(int result)
{
        switch (result) {
        case 0:
        case -EEXIST: /* it is there already: this is a repeated commit */
                return COMMIT_DURABLE;
        case -ENOSPC:
                return COMMIT_FULL;
        case -EMSGSIZE:
        case -EBADMSG:
                return COMMIT_REFUSED;
        default:
                return COMMIT_TEMPORARY;
        }
}

static void end_commit(struct commit *c, int result)
{
        if (c->peer)
                send_answer(c, status_of(result));
        if (c->done)
                c->done(c->arg, result);
        commit_free(c);
}

/* Are its entries, if there are any, tried as soon as it is durable? */
static bool is_tried_now(const struct commit *c)
{
        return c->entry_count && !c->hold_until_us && !c->held_for.len;
}

static void start_entries(struct commit *c)
{
        struct keeper_body *body = NULL;

        if (!c->entry_count)
                return;
        if (c->body_batch)
                body = keeper_body_new(c->keeper, c->body_batch, c->body_len);
        for (size_t i = 0; i < c->entry_count; i++) {
                if (!c->hold_until_us && !c->held_for.len) {
                        keeper_queue_add(c->keeper, c->entries[i],
                                         body ? keeper_body_ref(body) : NULL);
                        continue;
                }
                if (!c->held_for.len)
                        keeper_queue_expect(c->keeper, c->hold_until_us);
                queue_entry_free(c->entries[i]); /* the store has it until it is due */
        }
        c->entry_count = 0;
        if (body)
                keeper_body_unref(body);
}

static void committed(void *arg, int result)
{
        struct commit *c = arg;
        struct keeper *k = c->keeper;

        if (result < 0 && result != -EEXIST) {
                k->count.commits_failed++;
                if (keeper_store_refused(k, result))
                        log_event(LOG_ERROR, "commit_failed",
                                  LOG_U64("message_id", c->message_id),
                                  LOG_ERRNO("error", result));
                for (size_t i = 0; i < c->recipient_count; i++)
                        if (c->recipients[i].account)
                                account_forget(c->recipients[i].account);
        }
        if (result == 0) {
                k->count.accepted++;
                k->count.recipients_queued += c->entry_count;
                start_entries(c);
        }
        end_commit(c, result);
}

/* ---- what outlives the message it came in ------------------------------- */

static int keep_body(struct commit *c)
{
        const struct span rest = c->rest;

        if (!rest.len)
                return 0;
        c->rest = SPAN_LITERAL("");
        return buffer_append_span(&c->body, rest) < 0 ? -ENOMEM : 0;
}

static int keep_all(struct commit *c, struct span *const spans[], size_t count)
{
        for (size_t i = 0; i < count; i++) {
                *spans[i] = arena_copy(&c->arena, *spans[i]);
                if (!spans[i]->p)
                        return -ENOMEM;
        }
        return 0;
}

static int keep_spans(struct commit *c)
{
        struct span *const texts[] = {&c->mail_from, &c->envid, &c->header_message_id, &c->record,
                                      &c->held_for, &c->digest};
        int r = keep_all(c, texts, sizeof texts / sizeof texts[0]);

        for (size_t i = 0; i < c->recipient_count && r == 0; i++) {
                struct ipc_recipient *q = &c->recipients[i].given;
                struct span *const each[] = {&q->rcpt_to, &q->orcpt, &q->account, &q->mailbox,
                                             &q->next_hop};

                r = keep_all(c, each, sizeof each / sizeof each[0]);
        }
        return r == 0 ? keep_body(c) : r;
}

/* ---- building the batches ---------------------------------------------- */

/* Delivered here, and the sender asked to be told (RFC 3461 section 4.1). */
static bool owes_success(const struct commit *c, const struct commit_recipient *q)
{
        return q->given.notify & NOTIFY_SUCCESS && q->account && q->error == 0 && c->mail_from.len;
}

static enum recipient_state state_of(const struct commit *c, const struct commit_recipient *q)
{
        if (q->is_expanded)
                return c->mail_from.len ? RECIPIENT_EXPANDED : RECIPIENT_DONE;
        return owes_success(c, q) ? RECIPIENT_DELIVERED : RECIPIENT_WAITING;
}

static bool is_behind(const struct commit_recipient *q, struct span next_hop)
{
        return q->given.kind == ROUTE_RELAY && span_equal(q->given.next_hop, next_hop);
}

/* A thousand recipients may be a thousand entries: none takes more than it needs. */
static size_t count_behind(const struct commit *c, struct span next_hop, size_t first, size_t most)
{
        size_t count = 0;

        for (size_t i = first; i < c->recipient_count && (!most || count < most); i++)
                count += is_behind(&c->recipients[i], next_hop);
        return count;
}

static int make_entry(struct commit *c, struct span next_hop, size_t first)
{
        const unsigned most = c->keeper->process->config->queue.recipients_per_transaction;
        struct queue_recipient *list;
        struct queue_entry e = {
                .message_id = c->message_id, .group = (uint16_t) c->entry_count, .flags = c->flags,
                .arrived_us = c->arrived_us, .blob_id = c->message_id, .body_len = c->body_len,
                .local_prefix_len = c->local_prefix_len, .mail_from = c->mail_from,
                .envid = c->envid, .header_message_id = c->header_message_id,
                .next_hop = next_hop, .due_us = c->hold_until_us, .deliver_by_us = c->deliver_by_us,
                .is_held = c->held_for.len > 0,
        };
        int r;

        if (e.is_held)
                e.due_us = QUEUE_DUE_NEVER_US;
        list = arena_alloc(&c->arena, count_behind(c, next_hop, first, most) * sizeof *list);
        if (!list)
                return -ENOMEM;
        e.recipients = list;
        for (size_t i = first; i < c->recipient_count; i++) {
                struct ipc_recipient *q = &c->recipients[i].given;

                if (!is_behind(&c->recipients[i], next_hop))
                        continue;
                if (most && e.recipient_count == most)
                        break;
                list[e.recipient_count++] = (struct queue_recipient) {
                        .index = q->index, .notify = q->notify,
                        .state = (uint8_t) state_of(c, &c->recipients[i]),
                        .rcpt_to = q->rcpt_to, .orcpt = q->orcpt, .account = q->account,
                        .text = c->held_for,
                };
                q->kind = 0; /* has its entry */
        }
        r = queue_entry_update(&e, &c->entries[c->entry_count]);
        if (r == 0)
                c->entry_count++;
        return r;
}

/* Each mailbox is full: who brings the message is told, and keeps it. */
static bool is_every_mailbox_full(const struct commit *c)
{
        size_t full = 0;

        for (size_t i = 0; i < c->recipient_count; i++)
                full += c->recipients[i].error == -EDQUOT;
        return c->peer && full && full == c->recipient_count;
}

/* A mailbox that cannot be written now is a next hop like any other, unless
 * the client is told of each recipient by itself (LMTP) and keeps the rest. */
static void queue_failed_deliveries(struct commit *c)
{
        for (size_t i = 0; i < c->recipient_count && !(c->flags & ENVELOPE_EACH); i++) {
                struct commit_recipient *q = &c->recipients[i];

                if (q->error == 0)
                        continue;
                q->given.kind = ROUTE_RELAY;
                q->given.next_hop = SPAN_LITERAL("local:");
                q->error = 0;
                if (q->account)
                        account_release(q->account);
                q->account = NULL;
        }
}

static int make_entries(struct commit *c)
{
        size_t relayed = 0;

        queue_failed_deliveries(c);
        for (size_t i = 0; i < c->recipient_count; i++) {
                struct ipc_recipient *q = &c->recipients[i].given;

                if (owes_success(c, &c->recipients[i])) {
                        q->kind = ROUTE_RELAY; /* an entry that only carries the debt */
                        q->next_hop = SPAN_LITERAL("local:");
                }
                relayed += q->kind == ROUTE_RELAY;
        }
        if (!relayed)
                return 0;
        c->entries = arena_alloc(&c->arena, relayed * sizeof *c->entries);
        if (!c->entries)
                return -ENOMEM;
        for (size_t i = 0; i < c->recipient_count; i++) {
                int r = 0;

                if (c->recipients[i].given.kind == ROUTE_RELAY)
                        r = make_entry(c, c->recipients[i].given.next_hop, i);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int deliver_local(struct commit *c, struct commit_recipient *q, struct store_batch *batch)
{
        struct delivery d = {
                .mailbox = q->given.mailbox,
                .entry = {.arrived_us = c->arrived_us, .blob_id = c->message_id,
                          .size = c->body_len},
        };

        if (outcome_check_quota(c->keeper, q->account, q->given.account, c->body_len) < 0)
                return -EDQUOT;
        /* No delivery key: all deliveries of a message are one group with its trace,
         * by which a repeated commit is known (keeper_on_commit). */
        return account_deliver(q->account, &d, batch, &q->uid);
}

/* What the keeper knows now, behind what edge decided. */
static struct span stored_steps(struct commit *c)
{
        const uint64_t now_us = keeper_now_us(c->keeper);
        struct buffer *steps = &c->keeper->record;

        buffer_shrink(steps, KEEPER_RECORD_KEPT);
        for (size_t i = 0; i < c->recipient_count; i++) {
                const struct commit_recipient *q = &c->recipients[i];
                char detail[4 + NUMBER_TEXT_MAX], digits[NUMBER_TEXT_MAX];
                struct span uid;

                if (!q->account || q->error < 0)
                        continue;
                uid = number_span(q->uid, digits);
                memcpy(detail, "uid=", 4);
                memcpy(detail + 4, uid.p, uid.len);
                decision_add(steps, &(struct decision_step) {
                        .at_us = now_us, .kind = DECISION_STORED,
                        .recipient = q->given.index, .next = q->given.account,
                        .text = q->given.mailbox, .detail = span_make(detail, 4 + uid.len)});
        }
        return buffer_span(steps);
}

/* Recipients accepted and refused: the record names them all. */
static size_t collect_recipients(struct span record, struct span keys[TRACE_KEY_MAX], size_t count)
{
        struct decision_step step;
        struct reader steps;
        uint64_t message_id;

        if (decision_open(record, &message_id, &steps) < 0)
                return count;
        while (count < TRACE_KEY_MAX && decision_next(&steps, &step))
                if (step.rcpt_to.len)
                        keys[count++] = step.rcpt_to;
        return count;
}

void keeper_on_refused(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct keeper_peer *peer = arg;
        char id_text[ID_TEXT_LEN + 1];
        struct span keys[TRACE_KEY_MAX];
        size_t count;

        (void) ch;
        (void) fd;
        id_format(m->refused.message_id, id_text);
        count = collect_keys(keys, id_text, span_make(NULL, 0), span_make(NULL, 0));
        count = collect_recipients(m->refused.record, keys, count);
        store_trace_lazily(peer->keeper->store, keys, count, m->refused.record);
}

static void put_trace(struct commit *c, struct store_batch *batch, bool is_stored)
{
        const struct span record[] = {c->record, is_stored ? stored_steps(c) : SPAN_LITERAL("")};
        char id_text[ID_TEXT_LEN + 1];
        struct span keys[TRACE_KEY_MAX];
        size_t count;

        id_format(c->message_id, id_text);
        count = collect_keys(keys, id_text, c->header_message_id, c->mail_from);
        count = collect_recipients(c->record, keys, count);
        store_trace_parts(batch, keys, count, record, 2);
}

static void put_body(struct commit *c, struct store_batch *batch, uint32_t references)
{
        const struct span parts[] = {buffer_span(&c->body), c->rest, c->digest};

        if (c->flags & ENVELOPE_LENT)
                store_blob_adopt(batch, c->message_id, references, c->mail_from);
        else
                store_blob_put(batch, c->message_id, references, c->mail_from, parts, 3);
}

struct batches {
        struct store_batch *list[IPC_RECIPIENTS_MAX + 1];
        size_t count;
};

static void free_batches(struct batches *b)
{
        for (size_t i = 0; i < b->count; i++)
                store_batch_free(b->list[i]);
}

/* One batch an account; two recipients of one account share it. */
static struct store_batch *batch_of_account(struct commit *c, size_t i, struct batches *b,
                                            struct store_batch **by_recipient)
{
        for (size_t j = 0; j < i; j++)
                if (by_recipient[j] && c->recipients[j].account == c->recipients[i].account)
                        return by_recipient[j];
        b->list[b->count] = account_batch(c->recipients[i].account);
        return b->list[b->count] ? b->list[b->count++] : NULL;
}

/* Delivers into every account. Returns how many mailboxes hold the body, or a
 * negative errno when the commit as a whole cannot be. */
static int deliver_all(struct commit *c, struct batches *b)
{
        struct store_batch **by_recipient;
        int delivered = 0;

        by_recipient = arena_alloc(&c->arena, c->recipient_count * sizeof *by_recipient);
        if (!by_recipient)
                return -ENOMEM;
        for (size_t i = 0; i < c->recipient_count; i++) {
                struct commit_recipient *q = &c->recipients[i];

                if (!q->account)
                        continue;
                by_recipient[i] = batch_of_account(c, i, b, by_recipient);
                if (!by_recipient[i])
                        return -ENOMEM;
                q->error = deliver_local(c, q, by_recipient[i]);
                if (q->error == -ENOMEM)
                        return -ENOMEM;
                delivered += q->error == 0;
                c->keeper->count.recipients_local += q->error == 0;
        }
        return delivered;
}

/* Nothing is kept, not even the trace by which a repeated commit would be known:
 * who repeats it must hear the same. */
static void refuse_full(struct commit *c)
{
        if (c->flags & ENVELOPE_LENT)
                store_blob_return(c->keeper->store, c->message_id);
        end_commit(c, 0);
}

/* All accounts are open: build everything and commit it as one group. */
static void build_and_commit(struct commit *c)
{
        struct keeper *k = c->keeper;
        struct batches b; /* its list is long, and mostly unused */
        struct store_batch *shard = NULL;
        int delivered, r;

        b.count = 0;
        delivered = deliver_all(c, &b);
        if (delivered == 0 && is_every_mailbox_full(c)) {
                free_batches(&b);
                refuse_full(c);
                return;
        }
        r = delivered < 0 ? delivered : make_entries(c);
        if (r == 0 && (c->entry_count || c->finish || b.count == 0)) {
                shard = store_batch_new(k->store, &k->shard, STORE_ANY_SEQUENCE);
                if (shard)
                        b.list[b.count++] = shard;
                else
                        r = -ENOMEM;
        }
        if (r < 0) {
                free_batches(&b);
                committed(c, r);
                return;
        }
        for (size_t i = 0; i < c->entry_count; i++)
                keeper_queue_put(shard, NULL, c->entries[i]);
        if (c->finish)
                c->finish(c->arg, shard);
        if ((size_t) delivered + c->entry_count)
                put_body(c, b.list[0], (uint32_t) ((size_t) delivered + c->entry_count));
        else if (c->flags & ENVELOPE_LENT)
                store_blob_return(k->store, c->message_id);
        put_trace(c, b.list[0], delivered > 0);
        if (is_tried_now(c) && !(c->flags & ENVELOPE_LENT))
                c->body_batch = store_batch_ref(b.list[0]);
        store_commit(k->store, b.list, b.count, 0, committed, c);
}

static void opened_one(struct commit *c)
{
        if (--c->opening == 0)
                build_and_commit(c);
}

struct opening {
        struct commit *commit;
        struct commit_recipient *recipient;
};

static void account_opened(void *arg, int result, struct account *a)
{
        struct opening *o = arg;

        if (result < 0)
                o->recipient->error = result;
        else
                o->recipient->account = a;
        opened_one(o->commit);
}

/* What is not to be delivered yet, or held, waits in the queue, for mailboxes here too. */
static void queue_deliveries(struct commit *c)
{
        for (size_t i = 0; i < c->recipient_count; i++) {
                struct ipc_recipient *q = &c->recipients[i].given;

                if (q->kind != ROUTE_LOCAL)
                        continue;
                q->kind = ROUTE_RELAY;
                q->next_hop = SPAN_LITERAL("local:");
        }
}

static int open_account(struct commit *c, struct commit_recipient *q)
{
        struct opening *o = arena_alloc(&c->arena, sizeof *o);

        if (!o)
                return -ENOMEM;
        *o = (struct opening) {c, q};
        c->opening++;
        account_open(c->keeper->mailboxes, q->given.account, account_opened, o);
        return 0;
}

static bool is_to_open(const struct commit_recipient *q)
{
        return q->given.kind == ROUTE_LOCAL && !q->account;
}

static void open_accounts(struct commit *c)
{
        size_t missing = 0;
        int r = 0;

        if (c->hold_until_us || c->held_for.len)
                queue_deliveries(c);
        c->opening = 1;
        for (size_t i = 0; i < c->recipient_count; i++) {
                struct commit_recipient *q = &c->recipients[i];

                if (q->given.kind == ROUTE_LOCAL)
                        q->account = account_cached(c->keeper->mailboxes, q->given.account);
                missing += is_to_open(q);
        }
        if (missing)
                r = keep_spans(c);
        if (r < 0) {
                end_commit(c, r);
                return;
        }
        for (size_t i = 0; i < c->recipient_count && missing; i++)
                if (is_to_open(&c->recipients[i]))
                        c->recipients[i].error = open_account(c, &c->recipients[i]);
        opened_one(c);
}

/* ---- taking a commit in ------------------------------------------------ */

static void add_recipient(struct commit *c, const struct ipc_recipient *q)
{
        struct commit_recipient *to = &c->recipients[c->recipient_count++];

        to->given = *q;
        to->is_expanded = q->kind == ROUTE_EXPANDED;
        if (to->is_expanded) { /* an entry that only carries the debt */
                to->given.kind = ROUTE_RELAY;
                to->given.next_hop = SPAN_LITERAL("local:");
        }
}

static struct commit *commit_new(struct keeper *k, size_t recipient_count)
{
        struct list_node *freed = list_take_first(&k->free_commits);
        struct commit *c = freed ? LIST_OBJECT(freed, struct commit, free) : malloc(sizeof *c);

        if (!c)
                return NULL;
        k->free_commit_count -= freed != NULL;
        *c = (struct commit) {
                .keeper = k,
                .arena = freed ? c->arena : ARENA_INIT(COMMIT_MEMORY_MAX),
                .body = BUFFER_INIT(BODY_MAX + IPC_BODY_PART_MAX),
        };
        c->recipients = arena_alloc(&c->arena, recipient_count * sizeof *c->recipients);
        if (!c->recipients) {
                commit_free(c);
                return NULL;
        }
        return c;
}

/* The body: what came in frames before, and what came with the commit. */
static int take_body(struct commit *c, struct keeper_peer *peer, const struct ipc_commit *m)
{
        struct incoming *in = find_incoming(peer, m->message_id);
        bool is_lent = false;

        if (in) {
                c->held += in->held;
                c->body = in->body;
                is_lent = in->is_lent;
                end_incoming(peer, in);
        }
        if (m->flags & ENVELOPE_LENT)
                return is_lent ? 0 : -EBADMSG;
        c->body.size_max = BODY_MAX + IPC_BODY_PART_MAX;
        c->rest = m->octets;
        return c->body.len + c->rest.len == m->body_len ? 0 : -EBADMSG;
}

static struct commit *commit_from(struct keeper_peer *peer, const struct ipc_commit *m, int *ret)
{
        struct commit *c = commit_new(peer->keeper, m->recipients.count);
        struct reader each = ipc_items_read(m->recipients);
        struct ipc_recipient q;

        *ret = -ENOMEM;
        if (!c)
                return NULL;
        c->peer = peer;
        c->peer_generation = peer->generation;
        c->message_id = m->message_id;
        c->arrived_us = m->arrived_us;
        if (m->hold_until_us && m->hold_until_us > keeper_now_us(c->keeper))
                c->hold_until_us = m->hold_until_us;
        c->deliver_by_us = m->deliver_by_us;
        c->held_for = m->held_for;
        c->body_len = m->body_len;
        c->flags = m->flags;
        c->local_prefix_len = m->local_prefix_len;
        c->mail_from = m->mail_from;
        c->envid = m->envid;
        c->header_message_id = m->header_message_id;
        c->record = m->record;
        c->digest = m->digest;
        *ret = take_body(c, peer, m);
        if (*ret == 0 && (m->local_prefix_len > m->body_len || !m->recipients.count))
                *ret = -EBADMSG;
        while (*ret == 0 && ipc_next_recipient(&each, &q))
                add_recipient(c, &q);
        return c;
}

static void repeated_or_not(void *arg, int result, const struct span *records, size_t count)
{
        struct commit *c = arg;

        (void) records;
        if (result == 0 && count)
                end_commit(c, -EEXIST);
        else
                open_accounts(c);
}

void keeper_on_commit(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct keeper_peer *peer = arg;
        struct keeper *k = peer->keeper;
        char id_text[ID_TEXT_LEN + 1];
        struct commit *c;
        int r;

        (void) fd;
        c = commit_from(peer, &m->commit, &r);
        if (!c) {
                answer(peer, m->commit.message_id, COMMIT_TEMPORARY);
                return;
        }
        c->held += channel_hold(ch);
        if (r < 0) {
                end_commit(c, r);
                return;
        }
        if (id_time_us(c->message_id) > k->started_us) {
                open_accounts(c);
                return;
        }
        /* Made before this keeper started: an edge may be repeating a commit
         * that the one before us made durable without saying so. */
        r = keep_spans(c);
        if (r < 0) {
                end_commit(c, r);
                return;
        }
        id_format(c->message_id, id_text);
        store_trace_find(k->store, span_make(id_text, ID_TEXT_LEN), 1, repeated_or_not, c);
}

int keeper_commit_message(struct keeper *k, const struct keeper_message *m)
{
        struct commit *c = commit_new(k, m->recipient_count);
        int r = c ? 0 : -ENOMEM;

        if (!c)
                return r;
        c->message_id = m->message_id;
        c->arrived_us = keeper_now_us(k);
        c->flags = m->flags;
        c->local_prefix_len = m->local_prefix_len;
        c->mail_from = m->mail_from;
        c->envid = m->envid;
        c->header_message_id = m->header_message_id;
        c->record = m->record;
        c->finish = m->finish;
        c->done = m->done;
        c->arg = m->arg;
        for (size_t i = 0; i < m->recipient_count; i++)
                add_recipient(c, &m->recipients[i]);
        for (size_t i = 0; i < m->body_part_count && r == 0; i++)
                r = buffer_append_span(&c->body, m->body_parts[i]);
        if (r < 0) {
                commit_free(c);
                return r;
        }
        c->body_len = c->body.len;
        open_accounts(c);
        return 0;
}
