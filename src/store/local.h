/* The inside of the local: driver, shared by its parts:
 *
 *   store_local.c   opening, closing, and what runs on the keeper's loop
 *   local_sync.c    the sync threads: each takes what waits as one group, checks
 *                   it, writes, syncs, answers, and then tells the index
 *   local_helpers.c the helper thread (segments, traces, free space) and the
 *                   reader threads (questions that must ask the disk)
 *   local_backup.c  what a backup copies
 *   local_checkpoint.c of the helper thread: when the index is written down
 *   local_reclaim.c of the helper thread: live bodies leave segments that are
 *                   mostly dead
 *
 *   loop --commits--> sync threads --done--> loop     waker
 *   loop --queries--> readers ----answered--> loop    waker
 *
 * What is committed in one round of the loop is handed over together, or a few at a
 * time where it is many: a thread that is woken for the first would begin a group
 * without the others.
 *
 * Of the sync threads one leads: it waits for commits, and admits what there is as a
 * group. While the one before is synced, it waits, admits what came meanwhile, and
 * writes. Then it lets another one lead, and syncs. So groups are written one after the
 * other, and synced side by side where the disk is slow; they are answered in their
 * order, and in their order the index is told of them. What the index does not show
 * yet, admission sees all the same (apply.h).
 *
 * A commit is answered as soon as its group is durable, before the index has
 * it. Questions asked after that wait until `applied` has caught up with the
 * newest group the loop has seen answered, so that the caller reads what it
 * wrote. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "store/checkpoint.h"
#include "store/driver.h"
#include "store/log.h"
#include "store/query.h"
#include "store/trace.h"

enum {
        LOCAL_READERS = 2,
        LOCAL_GROUP_MAX = 8 * 1024 * 1024,    /* a group ends once it is so large */
        LOCAL_COMMIT_MAX = 8 * 1024 * 1024 - 3 * LOG_BLOCK, /* a single commit may be */
        LOCAL_LAZY_US = 1000 * 1000,
        LOCAL_SEGMENT_DEFAULT = 64 * 1024 * 1024,
        LOCAL_BLOB_PATH_MAX = 32,
        /* Groups side by side wait less where a sync lasts without being work, as over a
         * network. Where it is quick they cost more than they save: another thread's
         * waking up, and a processor that is busy when the disk has something to say.
         * So they are begun when a group that is alone needs so long; one in so many is left
         * alone, to see. That has all others wait: seldom, while it says the same. */
        LOCAL_SLOW_US = 1000,
        LOCAL_WORTH_WAKING = 16, /* commits, to be admitted while a group is synced */
        LOCAL_ALONE_OFTEN = 64,
        LOCAL_ALONE_SELDOM = 1024,
        LOCAL_TIMES = 256,
};

/* Who begins the next group. */
enum local_leader {
        LOCAL_LEADER_NONE,   /* all sync threads have a group, or rest */
        LOCAL_LEADER_CALLED, /* one was told to */
        LOCAL_LEADER_WAITS,  /* one waits for commits, or writes */
};

/* Who keeps files from going: one at a time. */
enum local_pin { LOCAL_PIN_NONE, LOCAL_PIN_BACKUP, LOCAL_PIN_HELPER };

/* Moving what lives in a segment elsewhere: the helper thread's, but for what
 * is said to be otherwise. */
struct reclaim {
        uint64_t segment, offset;  /* the group that is looked at; 0: none */
        uint64_t body;             /* those before that offset were looked at */
        uint64_t emptied;          /* all that lives in that segment is on its way; 0: none */
        struct store_batch *batch; /* what was found */
        uint64_t emptied_with;     /* when so many batches are in the index */
        uint64_t submitted, ended; /* batches: handed to the sync thread, in the index */
        uint64_t completed;        /* and durable; under the mutex */
        uint64_t group;            /* the last became durable with, or before; under the mutex */
        int result;                /* a failure; under the mutex */
        _Atomic bool is_eager;     /* for tests: always, and at once */
        _Atomic uint64_t moved_octets;
        _Atomic uint64_t per_mille; /* what segments may take for 1000 octets that live */
};

struct local {
        struct store store;
        struct io *io;
        struct index *index;
        struct apply *apply; /* the leading sync thread's, after recovery */
        struct trace *trace;
        struct log log;
        uint64_t reserve_bytes, commit_max;
        bool is_closing_loop; /* the loop's */
        uint64_t acknowledged; /* newest group whose callbacks came; the loop's */
        struct list_node held; /* questions that wait for `applied`; the loop's */
        struct list_node gathered; /* commits of this round, for all of them to be one group */
        size_t gathered_count, gathered_urgent;
        struct deferred hand_over; /* of them, to the sync threads */
        struct waker *waker;

        pthread_mutex_t chores; /* held by the helper thread for a round of them */
        pthread_mutex_t mutex;
        pthread_cond_t has_commits, has_queries, has_chores, has_applied;
        pthread_cond_t may_lead, may_begin, has_ended;
        pthread_cond_t has_turn[LOG_SLOTS]; /* of a group, by its number */
        enum local_leader leader;
        /* Groups, counted: taken, written or about to be, answered, with the index. */
        uint64_t taken, begun_count, answered_count, ended;
        uint64_t alone;     /* the group that is, if the disk is slow then */
        uint64_t forgotten; /* by apply; of the durable ones; the leader's */
        uint64_t begun_us;  /* when the last one was */
        uint64_t sync_us;   /* what a group that is alone needs to become durable: a median */
        uint64_t own_us_max; /* of those times, the longest without syncs and turns */
        uint32_t times[LOCAL_TIMES]; /* of groups, from written to answered: local_sync.c */
        struct list_node commits, done, queries, answered;
        struct list_node moves; /* commits of the helper thread's, which the brake lets pass */
        size_t urgent; /* of the commits: how many may not wait */
        uint64_t held_until_us; /* by the brake: no commit is taken before */
        uint64_t done_group; /* the newest that is answered */
        bool is_closing;
        bool is_waiting; /* somebody waits for has_applied */

        _Atomic uint64_t applied, commit_count, group_count, free_bytes;
        _Atomic uint64_t applied_count; /* groups the index was told of */
        _Atomic uint64_t slow_us; /* LOCAL_SLOW_US, but in tests */
        _Atomic bool is_hasty; /* for tests that must notice: answers out of order */
        char failure[256]; /* written before has_failed is set, and never again */
        _Atomic bool has_failed, is_full, is_exhausted, has_held;
        _Atomic bool is_resting; /* the helper looks around seldom: the next commit wakes it */
        pthread_t sync_threads[LOG_SLOTS], helper_thread, reader_threads[LOCAL_READERS];
        _Atomic unsigned slots_taken;
        int sync_count, reader_count;
        bool has_helper_thread;
        struct reclaim reclaim;
        _Atomic uint64_t brake_us; /* for each MiB, so that moving keeps up with commits */
        uint64_t brake_segments;   /* where that was found; the leader's */
        bool is_quiet;

        struct index *engine;  /* below `index` */
        char *backup_path;     /* of a copy of the index, as the engine sees it */
        _Atomic int pin;         /* enum local_pin; BACKUP: no file goes */
        _Atomic bool wants_pin;  /* a backup waits for the helper thread */
        _Atomic bool has_copy;  /* there is, or may be, a copy of the index */
        uint64_t *dead_files;  /* blobs whose files wait for the end of it; tell_index()'s */
        size_t dead_file_count;

        /* The helper thread's. */
        struct checkpoint checkpoint; /* the one there is */
        bool is_without_checkpoint;   /* there was no room for one */
        uint64_t checkpoint_retry_us;
        struct log_position safe; /* segments before it may be used again */
};

static inline const char *local_blob_path(uint64_t blob_id, char *out)
{
        static const char digits[] = "0123456789abcdef";

        memcpy(out, "blobs/", 6);
        for (int i = 0; i < 16; i++)
                out[6 + i] = digits[blob_id >> (60 - 4 * i) & 15];
        out[22] = '\0';
        return out;
}

static inline enum log_stream local_stream_of(const struct store_batch *b)
{
        return batch_partition(b)->octets[0] == PARTITION_QUEUE ? LOG_QUEUE : LOG_MAIL;
}

/* How much of a commit goes where: while its octets are at hand. */
static inline void local_measure(struct commit *c)
{
        for (size_t i = 0; i < c->batch_count; i++)
                if (local_stream_of(c->batches[i]) == LOG_QUEUE)
                        c->queue_size += c->batches[i]->record.len;
}

/* One is called to lead, if none does and a group may be begun: `may_lead` is to be
 * signalled as soon as the mutex, which the caller holds, is free. */
bool local_call_leader(struct local *l, uint64_t now_us);

/* What was committed in this round of the loop goes to the sync threads; the loop's. */
void local_hand_over(struct local *l);

/* How long groups took, in µs: the least that so many per mille of them did not
 * exceed. With the mutex. */
uint64_t local_group_us(const struct local *l, unsigned per_mille);

/* Ends all commits; `what` failed, with a negative errno. A sync thread's, without the
 * mutex. */
void local_fail(struct local *l, const char *what, int r);

void *local_sync_run(void *local);
void *local_helper_run(void *local);
void *local_reader_run(void *local);

/* Answers a question where waiting for the disk does not matter. */
void local_answer(struct local *l, struct query *q);

/* From here on no chore is begun, and what was committed is in the index, until
 * local_go_on(): for who looks at everything. Commits nothing in between, and blocks. */
void local_pause(struct local *l);
void local_go_on(struct local *l);

/* Does a piece of the work of giving room back; true: there is more. */
bool local_reclaim(struct local *l);

/* Finds how long commits wait so that moving keeps up with them; a sync thread's, too. */
void local_set_brake(struct local *l);
void local_reclaim_done(struct local *l);

/* Writes the index down when it is time, and moves `safe`; the helper thread's.
 * local_checkpoint_find() is called once, at start. */
void local_checkpoint(struct local *l);
void local_checkpoint_find(struct local *l);

/* Octets of dead segments that are kept, to be used again until the next one; and of
 * those that wait for it at most. */
uint64_t local_dead_kept(const struct local *l);
uint64_t local_dead_wanted(const struct local *l);

/* Makes the segments that are wanted; the helper thread's. */
void local_prepare(struct local *l);

/* Answers a QUERY_BACKUP, on a reader thread; ends what it began; removes the
 * copy of the index when it is not needed (the helper thread's). */
int local_backup_begin(struct local *l, struct query *q);
void local_backup_end(struct local *l);
void local_backup_clean(struct local *l);

/* How much room there is: is_full, is_exhausted, free_bytes. */
void local_check_space(struct local *l);

/* For tests: the driver over another disk and index, which it owns from then
 * on, also when it fails. */
int local_open_with(struct io *io, struct index *index, const struct store_options *options,
                    struct loop *loop, struct store **ret_store, char *error);
