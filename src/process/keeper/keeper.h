/* The keeper: the only writer of durable state.
 *
 * One loop; the store's own threads sync and read. It parses no message text.
 *
 *   edge ──body, commit──► keeper_commit: one store commit ──► committed
 *                               │ local recipients: in their mailboxes
 *                               ▼ others: queue entries
 *                          keeper_queue ──job──► relay ──outcome──► done,
 *                               │ refused for good        due later, bounced
 *                               ▼
 *                          keeper_bounce ──dsn_order──► worker ──dsn_text──►
 *                               a new message, committed with the end of the entry
 *
 *   keeper_hosts: recipients behind the same hosts go together
 *   keeper_view: what access asks: mailboxes as they change, flags, appends, bodies
 *   keeper_expire: expunged messages are not kept for ever
 *   keeper_control: the command line (queue, why, mailbox) */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/id.h"
#include "base/table.h"
#include "ipc/channel.h"
#include "process/process.h"
#include "queue/queue.h"
#include "queue/schedule.h"
#include "store/mailbox.h"
#include "store/store.h"

enum {
        KEEPER_EDGES_MAX = 64,
        KEEPER_RELAYS_MAX = 32,
        KEEPER_WORKERS_MAX = 64,
        KEEPER_ACCESSES_MAX = 64,
        KEEPER_ACTIVE_MAX = 10000,            /* queue entries in memory */
        KEEPER_BODIES_MAX = 64 * 1024 * 1024, /* octets of bodies kept for their first attempt */
        KEEPER_RECORD_KEPT = 4096,            /* octets of memory for the next record */
        KEEPER_MAKER = ID_MAKERS - 1,         /* of message ids made here: bounces */
};

/* The other end of a channel, and what came over it so far. */
struct keeper_peer {
        struct keeper *keeper;
        struct channel *channel; /* NULL while there is none */
        unsigned number;
        uint64_t generation; /* of the channel: answers go only to the asker */
        struct table incoming; /* edges, accesses: bodies whose commit has not come */
        struct table views;    /* accesses: mailboxes they watch, by number */
        struct list_node starved; /* accesses: views that wait for credit */
};

struct keeper {
        struct process *process;
        struct store *store;
        struct mailboxes *mailboxes;
        struct partition shard; /* the queue's */
        struct id_maker ids;
        uint64_t started_us;
        bool is_stopping;

        struct keeper_peer edges[KEEPER_EDGES_MAX];
        struct keeper_peer relays[KEEPER_RELAYS_MAX];
        struct keeper_peer workers[KEEPER_WORKERS_MAX];
        struct keeper_peer accesses[KEEPER_ACCESSES_MAX];
        struct keeper_peer agents; /* the supervisor, which starts them */
        unsigned relay_count; /* highest number seen + 1 */
        unsigned worker_count;

        struct list_node free_commits; /* keeper_commit.c: memory of those that are done */
        size_t free_commit_count;
        struct list_node free_jobs;    /* the same: keeper_job.c */
        size_t free_job_count;
        struct list_node free_conclusions; /* and keeper_outcome.c */
        size_t free_conclusion_count;
        struct buffer record;          /* of decisions, until a batch has it */
        struct buffer targets;         /* of a job, until the channel has it */

        struct queue queue;
        struct retry_times retry;
        struct channel *resolver;  /* keeper_hosts.c: next hops and the hosts behind them */
        struct table names, name_queries;
        struct list_node names_by_use, names_asked, names_ready;
        struct timer *names_timer;
        uint64_t last_name_query;
        size_t name_bytes;
        struct buffer plain_next_hop; /* the last that was seen to have no such hosts */
        struct deferred pump;      /* starts what may start, once a round */
        struct timer *due_timer, *unblock_timer;
        uint64_t due_cursor_us;    /* entries due up to here were taken up */
        uint64_t due_lowest_us, fresh_lowest; /* the cursor, lowered during a scan */
        uint64_t due_next_us;      /* the earliest due time known behind it */
        bool is_fresh_left;        /* fresh entries may lie in the store only */
        uint64_t fresh_cursor;     /* message ids up to here were taken up */
        bool is_scanning;
        struct table left;         /* keeper_reading.c: what left the active queue meanwhile */
        uint64_t last_reading, last_unknown_reading; /* up to the second, anything may have left */
        unsigned readings;         /* under way */
        bool is_retrying;          /* a walk of keeper_retry.c is under way */
        struct table jobs;         /* by number */
        uint64_t last_job;
        size_t body_bytes;         /* held for first attempts */
        struct list_node free_bodies; /* keeper_queue.c: memory of those that went */
        size_t free_body_count;

        struct table orders; /* bounces a worker is writing */
        uint64_t last_order;

        bool intake_is_open, has_said_failure;
        struct timer *intake_timer;
        struct list_node control_sessions;
        struct keeper_listeners *listeners;
        struct keeper_expire *expire; /* keeper_expire.c */
        uint64_t privileged_gid; /* group hayauma; UINT64_MAX: there is none */

        struct {
                uint64_t accepted, recipients_local, recipients_queued, commits_failed, relayed,
                        deferred, failed, bounces, queue_rows_read;
        } count;
};

/* Wall time, as of this round of the loop. */
static inline uint64_t keeper_now_us(const struct keeper *k)
{
        return loop_wall_us(k->process->loop);
}

/* A commit failed. True: this is to be logged with what it was about; a failure of the
 * store itself is logged here, once, and a full disk when the intake closes. */
bool keeper_store_refused(struct keeper *k, int result);

/* A body in memory, shared by the entries of its message: it stays where it was put
 * for the store. */
struct keeper_body {
        struct list_node free; /* of the keeper's, while it is none */
        struct keeper *keeper;
        unsigned references;
        struct store_batch *batch;
        struct span octets; /* of the batch's */
};

/* One reference; `batch` was committed with the body, and stays the caller's. NULL when
 * bodies hold too much memory already: the store has it. */
struct keeper_body *keeper_body_new(struct keeper *k, struct store_batch *batch, size_t body_len);
struct keeper_body *keeper_body_ref(struct keeper_body *b);
void keeper_body_unref(struct keeper_body *b);
