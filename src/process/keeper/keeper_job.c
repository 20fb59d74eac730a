#include "process/keeper/keeper_job.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "policy/decision.h"
#include "process/keeper/keeper_bounce.h"
#include "process/keeper/keeper_forward.h"
#include "process/keeper/keeper_hosts.h"
#include "process/keeper/keeper_outcome.h"
#include "process/sealed.h"
#include "route/route.h"

enum {
        JOB_ENTRIES_LEN_MAX = 512 * 1024, /* of one job's entries: half of a frame */
        JOBS_FREE_MAX = 64,
};

struct job_part {
        struct queue_entry *entry;
        struct outcome outcome;
};

/* An attempt under way at a relay: one transaction. It is one entry; or entries
 * of one message in several domains behind the same hosts. */
struct job {
        struct list_node free; /* of the keeper's, while it is none */
        struct table_node by_number;
        uint64_t number;
        struct keeper *keeper;
        struct job_part *parts; /* the first stands for the job in the active queue */
        size_t part_count, part_room;
        struct keeper_peer *relay;
        uint64_t relay_generation;
        bool is_host_failure;
};

static struct job *find_job(struct keeper *k, uint64_t number)
{
        struct table_node *n = table_first(&k->jobs, number);

        return n ? TABLE_OBJECT(n, struct job, by_number) : NULL;
}

static const struct queue_entry *entry_of(const struct job *j)
{
        return j->parts[0].entry;
}

static int add_part(struct job *j, struct queue_entry *e)
{
        struct job_part *part;

        if (j->part_count == j->part_room) {
                struct job_part *parts = realloc(j->parts, (j->part_room + 1) * sizeof *parts);

                if (!parts)
                        return -ENOMEM;
                j->parts = parts;
                parts[j->part_room++] = (struct job_part) {0};
        }
        part = &j->parts[j->part_count];
        part->entry = e;
        if (outcome_init(&part->outcome, e) < 0)
                return -ENOMEM;
        j->part_count++;
        return 0;
}

static void dispose_of(struct job *j)
{
        struct keeper *k = j->keeper;

        if (j->part_room > 1 || k->free_job_count == JOBS_FREE_MAX) {
                for (size_t i = 0; i < j->part_room; i++)
                        outcome_done(&j->parts[i].outcome);
                free(j->parts);
                free(j);
                return;
        }
        for (size_t i = 0; i < j->part_room; i++)
                outcome_clear(&j->parts[i].outcome);
        list_prepend(&k->free_jobs, &j->free);
        k->free_job_count++;
}

static struct job *job_new(struct keeper *k, struct queue_entry *e)
{
        struct list_node *freed = list_take_first(&k->free_jobs);
        struct job *j = freed ? LIST_OBJECT(freed, struct job, free) : calloc(1, sizeof *j);

        if (!j)
                return NULL;
        k->free_job_count -= freed != NULL;
        *j = (struct job) {.keeper = k, .number = ++k->last_job, .parts = j->parts,
                           .part_room = j->part_room};
        if (add_part(j, e) < 0 || table_add(&k->jobs, &j->by_number, j->number) < 0) {
                dispose_of(j);
                return NULL;
        }
        return j;
}

static void job_free(struct job *j)
{
        table_remove(&j->keeper->jobs, &j->by_number);
        dispose_of(j);
}

/* Entries of the same message behind the same hosts go in the same transaction,
 * as far as it may have recipients. */
static void take_siblings(struct job *j)
{
        struct keeper *k = j->keeper;
        struct queue_entry *first = j->parts[0].entry, *e;
        const size_t most = k->process->config->queue.recipients_per_transaction;
        size_t room = most && most < IPC_RECIPIENTS_MAX ? most : IPC_RECIPIENTS_MAX;
        size_t len = first->encoded.len;
        struct keeper_hosts hosts;

        if (list_is_empty(&first->siblings) ||
            !keeper_hosts_get(k, first->next_hop, first->destination->key, &hosts))
                return;
        room -= queue_entry_count(first, RECIPIENT_WAITING) < room
                        ? queue_entry_count(first, RECIPIENT_WAITING) : room;
        while (room && len < JOB_ENTRIES_LEN_MAX &&
               (e = queue_take_sibling(&k->queue, first, room))) {
                if (!keeper_hosts_get(k, e->next_hop, first->destination->key, &hosts) ||
                    add_part(j, e) < 0) { /* it has moved meanwhile */
                        struct keeper_body *body = e->body;

                        e->body = NULL;
                        queue_remove(&k->queue, e);
                        keeper_queue_add(k, e, body);
                        return;
                }
                room -= queue_entry_count(e, RECIPIENT_WAITING);
                len += e->encoded.len;
        }
}

/* ---- choosing a relay -------------------------------------------------- */

static bool may_take(const struct keeper_peer *relay)
{
        return relay->channel && channel_has_credit(relay->channel);
}

bool keeper_job_may_start(struct keeper *k)
{
        for (unsigned i = 0; i < k->relay_count; i++)
                if (may_take(&k->relays[i]))
                        return true;
        return false;
}

/* The same relay for the same destination, since it has the warm connections;
 * any other while that one is away. */
static struct keeper_peer *choose_relay(struct keeper *k, struct span destination)
{
        const unsigned first = (unsigned) (hash_span(destination, 0) % k->relay_count);

        for (unsigned i = 0; i < k->relay_count; i++) {
                struct keeper_peer *relay = &k->relays[(first + i) % k->relay_count];

                if (relay->channel)
                        return relay;
        }
        return NULL;
}

/* ---- sending ----------------------------------------------------------- */

static void conclude(struct job *j, enum queue_health health)
{
        for (size_t i = 0; i < j->part_count; i++)
                outcome_conclude(j->keeper, j->parts[i].entry, &j->parts[i].outcome, health);
        job_free(j);
}

/* The attempt ended before a relay had it. */
static void fail_job(struct job *j, const char *text)
{
        for (size_t i = 0; i < j->part_count; i++)
                outcome_answer_all(&j->parts[i].outcome, 0, SPAN_LITERAL("4.3.0"),
                                   span_from_string(text));
        conclude(j, QUEUE_HOST_UNKNOWN);
}

static int add_targets(const struct queue_entry *e, struct buffer *items, struct ipc_items *ret)
{
        int r = 0;

        for (size_t i = 0; i < e->recipient_count && r == 0; i++) {
                const struct queue_recipient *q = &e->recipients[i];

                if (q->state == RECIPIENT_WAITING)
                        r = ipc_add_target(items, ret, &(struct ipc_target) {
                                .index = q->index, .notify = q->notify, .rcpt_to = q->rcpt_to,
                                .orcpt = q->orcpt});
        }
        return r;
}

static int send_head(struct job *j, struct span first, int file)
{
        const struct queue_entry *e = entry_of(j);
        struct buffer *const items = &j->keeper->targets;
        struct keeper_hosts hosts;
        union ipc_message m = {.job = {
                .job = j->number, .message_id = e->message_id, .flags = e->flags,
                .next_hop = e->next_hop, .mail_from = e->mail_from, .envid = e->envid,
                .deliver_by_us = e->deliver_by_us,
                .body_offset = file >= 0 ? e->local_prefix_len : 0,
                .body_len = e->body_len - e->local_prefix_len, .octets = first,
        }};
        int r = 0;

        buffer_shrink(items, KEEPER_RECORD_KEPT);
        if (keeper_hosts_get(j->keeper, e->next_hop, e->destination->key, &hosts)) {
                m.job.destination = e->destination->key;
                m.job.hosts = hosts.hosts;
                m.job.hosts_ttl_s = hosts.ttl_s;
                m.job.are_hosts_secure = hosts.is_secure;
        } else if (j->part_count > 1) {
                r = -EAGAIN; /* not known any more to be all behind one set of hosts */
        }
        for (size_t i = 0; i < j->part_count && r == 0; i++)
                r = add_targets(j->parts[i].entry, items, &m.job.recipients);
        if (r == 0)
                r = channel_send(j->relay->channel, IPC_job, &m, file);
        return r;
}

static int send_parts(struct job *j, struct span rest)
{
        int r = 0;

        while (rest.len && r == 0) {
                const struct span part = span_first(rest, IPC_BODY_PART_MAX);

                r = CHANNEL_SEND(j->relay->channel, body, -1, .message_id = entry_of(j)->message_id,
                                 .octets = part);
                rest = span_skip(rest, part.len);
        }
        return r;
}

/* "agent:0:staff": a program or file that an alias names. */
static bool is_for_agent(const struct queue_entry *e)
{
        return span_starts_with_nocase(e->next_hop, SPAN_LITERAL("agent:"));
}

/* Of a user's .forward, to be read. */
static bool is_forward(const struct queue_entry *e)
{
        return span_starts_with_nocase(e->next_hop, SPAN_LITERAL("agent:0000::forward:"));
}

/* As a job to a relay; but all of the body goes as a file, for the program gets
 * what a mailbox would hold. */
static void send_to_agent(struct job *j, struct span body, int file)
{
        struct keeper *k = j->keeper;
        const struct queue_entry *e = entry_of(j);
        struct buffer items = BUFFER_INIT(IPC_PAYLOAD_MAX);
        union ipc_message m = {.job = {
                .job = j->number, .message_id = e->message_id, .flags = e->flags,
                .next_hop = e->next_hop, .mail_from = e->mail_from, .envid = e->envid,
                .body_len = e->body_len,
        }};
        int memory = -1;
        int r = file < 0 ? sealed_new("hayauma-body", body, &memory) : 0;

        k->agents.channel = k->process->supervisor;
        j->relay = &k->agents;
        j->relay_generation = k->agents.generation;
        if (r == 0)
                r = add_targets(e, &items, &m.job.recipients);
        if (r == 0)
                r = channel_send(k->agents.channel, IPC_job, &m, file < 0 ? memory : file);
        if (memory >= 0)
                close(memory);
        buffer_done(&items);
        if (r < 0)
                fail_job(j, "no agent can be asked for");
}

/* `body` with the local prefix, or a file. */
static void send_job(struct job *j, struct span body, int file)
{
        const struct span octets = span_skip(body, entry_of(j)->local_prefix_len);
        const struct span first = span_first(octets, IPC_BODY_PART_MAX);
        int r;

        if (is_for_agent(entry_of(j))) {
                send_to_agent(j, body, file);
                return;
        }
        j->relay = choose_relay(j->keeper, entry_of(j)->destination->key);
        if (!j->relay) {
                fail_job(j, "no relay process is running");
                return;
        }
        j->relay_generation = j->relay->generation;
        r = send_head(j, first, file);
        if (r == 0)
                r = send_parts(j, span_skip(octets, first.len));
        if (r < 0)
                fail_job(j, "the relay process does not take the message");
}

struct body_read {
        struct keeper *keeper;
        uint64_t job; /* by number: the job may be gone when the octets come */
};

static void body_was_read(void *arg, int result, struct span octets, uint64_t blob_size)
{
        struct body_read *read = arg;
        struct job *j = find_job(read->keeper, read->job);

        free(read);
        if (!j)
                return;
        if (result < 0 || octets.len != blob_size || blob_size < entry_of(j)->body_len) {
                log_event(LOG_ERROR, "body_unreadable",
                          LOG_U64("message_id", entry_of(j)->message_id),
                          LOG_ERRNO("error", result < 0 ? result : -EBADMSG));
                fail_job(j, "the message cannot be read from the store");
                return;
        }
        send_job(j, span_first(octets, (size_t) entry_of(j)->body_len), -1);
}

static void read_body(struct job *j)
{
        struct keeper *k = j->keeper;
        struct body_read *read;
        uint64_t size;
        int file = -1;
        int r = store_blob_open(k->store, entry_of(j)->blob_id, &file, &size);

        if (r == 0) {
                send_job(j, span_make(NULL, 0), file);
                close(file);
                return;
        }
        read = malloc(sizeof *read);
        if (!read) {
                fail_job(j, "out of memory");
                return;
        }
        *read = (struct body_read) {k, j->number};
        /* The digest behind it too: only what is read whole is checked. */
        store_blob_read(k->store, entry_of(j)->blob_id, 0,
                        (size_t) entry_of(j)->body_len + IPC_DIGEST_MAX, body_was_read, read);
}

void keeper_job_start(struct keeper *k, struct queue_entry *e)
{
        struct keeper_body *body = e->body;
        struct job *j = job_new(k, e);

        if (!j) {
                queue_report(&k->queue, e, QUEUE_HOST_UNKNOWN, keeper_now_us(k));
                queue_remove(&k->queue, e);
                keeper_body_unref(body);
                queue_entry_free(e);
                keeper_queue_scan_again(k);
                return;
        }
        if (span_equal(e->next_hop, SPAN_LITERAL("local:"))) {
                outcome_deliver_local(k, e, &j->parts[0].outcome);
                job_free(j);
                return;
        }
        if (!is_for_agent(e))
                take_siblings(j);
        if (body) {
                send_job(j, body->octets, -1);
        } else {
                read_body(j);
        }
}

/* ---- outcomes ---------------------------------------------------------- */

void keeper_on_outcome(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct keeper_peer *relay = arg;
        struct keeper *k = relay->keeper;
        struct job *j = find_job(k, m->outcome.job);
        struct reader each = ipc_items_read(m->outcome.results);
        struct ipc_result result;

        (void) ch;
        (void) fd;
        if (!j || j->relay != relay || j->relay_generation != relay->generation)
                return;
        if (relay == &k->agents && is_forward(entry_of(j)) && m->outcome.detail.len) {
                struct queue_entry *e = j->parts[0].entry;

                job_free(j);
                keeper_forward(k, e, m->outcome.detail);
                return;
        }
        while (ipc_next_result(&each, &result))
                for (size_t i = 0; i < j->part_count; i++)
                        outcome_answer(&j->parts[i].outcome, j->parts[i].entry, &result,
                                       &m->outcome);
        if (m->outcome.is_host_failure)
                j->is_host_failure = true;
        for (size_t i = 0; i < j->part_count; i++)
                if (j->parts[i].outcome.open_count)
                        return;
        conclude(j, j->is_host_failure ? QUEUE_HOST_FAILED : QUEUE_HOST_GOOD);
        keeper_queue_pump(k);
}

struct gone {
        struct keeper_peer *relay;
};

static void fail_if_there(struct table_node *node, void *arg)
{
        struct job *j = TABLE_OBJECT(node, struct job, by_number);
        const struct gone *gone = arg;

        if (j->relay == gone->relay)
                fail_job(j, "the relay process ended; it will be tried again");
}

void keeper_queue_relay_gone(struct keeper_peer *relay)
{
        table_visit(&relay->keeper->jobs, fail_if_there, &(struct gone) {relay});
}

void keeper_job_trace(struct outcome_trace *t, const struct queue_entry *e,
                      enum keeper_queue_verb verb)
{
        static const struct {
                enum decision_kind kind;
                struct span text;
        } words[] = {
                [KEEPER_QUEUE_RETRY] = {DECISION_DEFERRED,
                                        SPAN("an administrator asked for a new attempt")},
                [KEEPER_QUEUE_DROP] = {DECISION_DROPPED, SPAN("an administrator dropped it")},
                [KEEPER_QUEUE_HOLD] = {DECISION_HELD, SPAN("an administrator holds it")},
                [KEEPER_QUEUE_MOVE] = {DECISION_ROUTED,
                                       SPAN("an administrator gave it another next hop")},
                [KEEPER_QUEUE_RELEASE] = {DECISION_DEFERRED, SPAN("an administrator released it")},
        };

        outcome_trace_add(t, e, words[verb].kind, words[verb].text);
}
