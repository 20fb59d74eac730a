#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/prefetch.h"
#include "store/local.h"
#include "store/recover.h"

enum {
        MEDIAN_STEPS = 16,
        BRAKE_MAX_US = 20 * 1000,
        FETCHED = 8 * PREFETCH_LINE, /* of a record, before and behind its body, at most */
};

static const uint64_t NOT_YET = UINT64_MAX; /* until another group is answered */

/* ---- who leads -------------------------------------------------------------- */

static bool is_slow(const struct local *l)
{
        return l->sync_us >= atomic_load(&l->slow_us);
}

/* One that is alone shows how slow the disk is. */
static bool is_left_alone(const struct local *l, uint64_t group)
{
        return is_slow(l) && group == l->alone;
}

/* When another group may begin, as far as those on their way are concerned. A disk that
 * stops for a while gets one more, so that not all waits for the first. */
static uint64_t begin_due_us(const struct local *l)
{
        const uint64_t under_way = l->begun_count - l->answered_count;

        if (under_way == 0)
                return 0;
        if (is_left_alone(l, l->begun_count) || is_left_alone(l, l->begun_count + 1))
                return NOT_YET;
        if (is_slow(l))
                return l->begun_us + l->sync_us / LOG_SLOTS;
        return under_way == 1 ? l->begun_us + atomic_load(&l->slow_us) : NOT_YET;
}

bool local_call_leader(struct local *l, uint64_t now_us)
{
        const bool is_syncing = l->begun_count != l->answered_count;

        if (l->leader != LOCAL_LEADER_NONE || (l->urgent == 0 && list_is_empty(&l->moves)))
                return false;
        /* Where the disk is quick, a thread that is nearly done does as well, unless there
         * is so much to admit meanwhile that it is worth another's waking up. */
        if (!is_slow(l) && (!is_syncing || (l->urgent < LOCAL_WORTH_WAKING &&
                                            now_us < begin_due_us(l))))
                return false;
        l->leader = LOCAL_LEADER_CALLED;
        return true;
}

static void wait_until(struct local *l, pthread_cond_t *changed, uint64_t due_us)
{
        const struct timespec until = {(time_t) (due_us / 1000000),
                                       (long) (due_us % 1000000) * 1000};

        pthread_cond_timedwait(changed, &l->mutex, &until);
}

static struct commit *first_of(const struct list_node *list)
{
        return list_is_empty(list) ? NULL : LIST_OBJECT(list->next, struct commit, node);
}

/* Waits until something must be written; false when all is done and closing. With the
 * mutex held. */
static bool wait_for_commits(struct local *l)
{
        while (!l->is_closing && list_is_empty(&l->moves)) {
                const struct commit *first = first_of(&l->commits);
                uint64_t due_us = l->held_until_us;

                if (!first) {
                        pthread_cond_wait(&l->has_commits, &l->mutex);
                        continue;
                }
                if (l->urgent == 0 && due_us < first->begun_us + LOCAL_LAZY_US)
                        due_us = first->begun_us + LOCAL_LAZY_US;
                if (clock_monotonic_us() >= due_us)
                        break;
                wait_until(l, &l->has_commits, due_us);
        }
        return first_of(&l->commits) || first_of(&l->moves) || !l->is_closing;
}

/* While others are on their way, a group is not written at once, so that there is
 * something in it. With the mutex held. */
static void keep_pace(struct local *l)
{
        for (;;) {
                const uint64_t due_us = begin_due_us(l);

                if (l->is_closing || clock_monotonic_us() >= due_us)
                        return;
                if (due_us == NOT_YET)
                        pthread_cond_wait(&l->may_begin, &l->mutex);
                else
                        wait_until(l, &l->may_begin, due_us);
        }
}

/* Waits until this thread leads and has something to write; false when the store
 * closes. With the mutex held. */
static bool lead(struct local *l)
{
        while (l->leader == LOCAL_LEADER_WAITS) {
                if (l->is_closing)
                        return false;
                pthread_cond_wait(&l->may_lead, &l->mutex);
        }
        l->leader = LOCAL_LEADER_WAITS;
        if (wait_for_commits(l))
                return true;
        l->leader = LOCAL_LEADER_NONE;
        return false;
}

static void follow(struct local *l)
{
        bool is_called;

        pthread_mutex_lock(&l->mutex);
        l->leader = LOCAL_LEADER_NONE;
        is_called = local_call_leader(l, clock_monotonic_us());
        pthread_mutex_unlock(&l->mutex);
        if (is_called)
                pthread_cond_signal(&l->may_lead);
}

/* ---- taking a group ------------------------------------------------------ */

/* One that is on its way; each sync thread has one at a time. */
struct group {
        struct list_node commits;
        struct list_node fresh; /* taken, but not yet admitted */
        struct log_slot *slot;
        uint64_t sizes[LOG_STREAMS], size;
        uint64_t number; /* counted as they are taken */
        uint64_t count;  /* of its commits */
        uint32_t admitted; /* batches */
        unsigned under_way; /* groups before it that are written and not answered */
        bool has_range, is_in_log;
        uint64_t begun_us, sync_us;
        struct log_position behind; /* the log as far as it, if anything was written */
        const struct apply_group *applied; /* NULL: nothing was */
        int result;
};

/* Adds to the octets of each stream what is in a commit, unless a segment is to be
 * filled before. */
static bool add_sizes(const struct local *l, const struct commit *c, uint64_t sizes[LOG_STREAMS])
{
        const uint64_t more[LOG_STREAMS] = {
                [LOG_QUEUE] = c->queue_size, [LOG_MAIL] = c->size - c->queue_size,
        };

        for (enum log_stream i = 0; i < LOG_STREAMS; i++)
                if (!log_may_add(&l->log, i, sizes[i], more[i]))
                        return false;
        for (enum log_stream i = 0; i < LOG_STREAMS; i++)
                sizes[i] += more[i];
        return true;
}

/* The oldest one that may be taken, or NULL. */
static struct commit *next_commit(const struct local *l, bool is_held)
{
        struct commit *c = is_held ? NULL : first_of(&l->commits), *move = first_of(&l->moves);

        return !c || (move && move->begun_us < c->begun_us) ? move : c;
}

/* A batch with a range begins a group, because the overlay cannot tell which
 * keys of its own group a range hits (apply.c). Where more is written than can be moved
 * meanwhile, commits wait after it; what is moved does not, or they would wait for it
 * the longer. With the mutex held. */
static void take_commits(struct local *l, struct group *g)
{
        const uint64_t now_us = clock_monotonic_us();
        const bool is_held = !l->is_closing && now_us < l->held_until_us;
        uint64_t brake_us = 0;
        struct commit *c;

        while ((c = next_commit(l, is_held))) {
                if (g->size && (g->size + c->size > LOCAL_GROUP_MAX ||
                                g->size + c->size > l->commit_max || c->has & BATCH_HAS_RANGE))
                        break;
                if (!add_sizes(l, c, g->sizes))
                        break;
                if (c != first_of(&l->moves)) {
                        if (!(c->flags & STORE_LAZY))
                                l->urgent--;
                        brake_us += c->size * atomic_load(&l->brake_us);
                }
                list_remove(&c->node);
                list_append(&g->fresh, &c->node);
                g->size += c->size;
                g->count++;
                g->has_range |= (c->has & BATCH_HAS_RANGE) != 0;
        }
        brake_us /= 1 << 20;
        if (brake_us)
                l->held_until_us = now_us + (brake_us < BRAKE_MAX_US ? brake_us : BRAKE_MAX_US);
}

/* With the mutex held. */
static void take_group(struct local *l, struct group *g)
{
        list_init(&g->commits);
        list_init(&g->fresh);
        g->number = ++l->taken;
        take_commits(l, g);
}

void local_fail(struct local *l, const char *what, int r)
{
        pthread_mutex_lock(&l->mutex);
        if (!atomic_load(&l->has_failed)) {
                snprintf(l->failure, sizeof l->failure, "%s: %s", what, strerror(-r));
                atomic_store(&l->has_failed, true);
        }
        pthread_mutex_unlock(&l->mutex);
}

/* Writing or syncing the group failed: what of it is durable, nobody knows. */
static void fail_write(struct local *l, const struct log_slot *slot, int r)
{
        char what[LOG_PATH_MAX + 32];

        snprintf(what, sizeof what, "%s: %s", slot->failed_path, slot->failed_call);
        local_fail(l, what, r);
}

/* ---- one commit ----------------------------------------------------------- */

/* A lent file becomes a blob: nobody writes to it any more, and it is synced. */
static int adopt(struct local *l, struct store_batch *b, uint64_t blob_id)
{
        char path[LOCAL_BLOB_PATH_MAX], what[LOCAL_BLOB_PATH_MAX + 16];
        int file, r = io_has_no_writer(l->io, local_blob_path(blob_id, path));
        int64_t size;

        if (r < 0)
                return r;
        file = io_open(l->io, path, IO_READ_ONLY);
        if (file < 0)
                return file;
        size = io_size(l->io, file);
        r = size < 0 ? (int) size : io_sync(l->io, file);
        io_close(l->io, file);
        if (r == -EIO) {
                snprintf(what, sizeof what, "%s: fdatasync", path);
                local_fail(l, what, r);
        }
        if (r == 0)
                batch_set_adopted_size(b, blob_id, (uint64_t) size);
        return r;
}

static int adopt_all(struct local *l, struct store_batch *b)
{
        struct span in = buffer_span(&b->record), record;
        struct batch_view view;
        struct batch_op op;
        int r = batch_open(&in, &view, &record);

        while (r == 0 && batch_next(&view, &op))
                if (op.kind == BATCH_BLOB_ADOPT)
                        r = adopt(l, b, op.number);
        return r == 0 ? io_sync_directory(l->io, "blobs") : r;
}

static int check_commit(struct local *l, const struct commit *c)
{
        if (atomic_load(&l->has_failed))
                return -EIO;
        if (c->result < 0)
                return c->result;
        if (c->size > l->commit_max)
                return -E2BIG;
        if (atomic_load(&l->is_exhausted) || (c->has & BATCH_HAS_BLOB && atomic_load(&l->is_full)))
                return -ENOSPC;
        return 0;
}

static int admit_batch(struct local *l, struct store_batch *b, uint32_t number)
{
        const enum log_stream stream = local_stream_of(b);
        uint64_t sequence;
        int r = b->has & BATCH_HAS_ADOPT ? adopt_all(l, b) : 0;

        if (r == 0)
                r = apply_record(l->apply, buffer_span(&b->record), b->expected_sequence,
                                 log_place(&l->log, stream), &sequence);
        if (r < 0)
                return r;
        batch_set_sequence(b, sequence);
        batch_set_number(b, number);
        return log_add(&l->log, stream, buffer_span(&b->record));
}

static void admit(struct local *l, struct commit *c, uint32_t *number)
{
        const struct log_mark mark = log_mark(&l->log);
        int r = check_commit(l, c);

        if (r < 0) {
                c->result = r;
                return;
        }
        apply_begin_commit(l->apply);
        for (size_t i = 0; i < c->batch_count && r == 0; i++)
                r = admit_batch(l, c->batches[i], *number + (uint32_t) i);
        if (r < 0) {
                apply_abort_commit(l->apply);
                log_rollback(&l->log, &mark);
                if (r == -EIO) /* the index or the disk is broken, not the commit */
                        local_fail(l, "reading the index", r);
                c->result = r;
        } else {
                *number += (uint32_t) c->batch_count;
        }
}

/* ---- the group: written ------------------------------------------------------ */

static void fail_all(const struct list_node *commits, int result)
{
        LIST_FOR_EACH(node, commits) {
                struct commit *c = LIST_OBJECT(node, struct commit, node);

                if (c->result == 0)
                        c->result = result;
        }
}

/* What the index shows by now need not be kept beside it. */
static void forget_applied(struct local *l)
{
        while (l->forgotten < atomic_load(&l->applied_count)) {
                apply_forget_group(l->apply);
                l->forgotten++;
        }
}

/* Each group on its way waits by itself, so that none is woken for another. */
static pthread_cond_t *turn_of(struct local *l, uint64_t number)
{
        return &l->has_turn[number % LOG_SLOTS];
}

/* A range sees the index only: that must show all groups before. */
static void wait_for_index(struct local *l, const struct group *g)
{
        pthread_mutex_lock(&l->mutex);
        while (l->ended + 1 != g->number)
                pthread_cond_wait(turn_of(l, g->number), &l->mutex);
        pthread_mutex_unlock(&l->mutex);
}

static int write_admitted(struct local *l, struct group *g)
{
        int r = log_write_group(&l->log, g->slot, g->under_way, clock_now_us());

        if (r < 0) {
                fail_write(l, g->slot, r);
                return r;
        }
        g->behind = l->log.position;
        r = apply_end_group(l->apply);
        if (r == 0)
                r = index_close_write(l->index);
        if (r < 0)
                local_fail(l, "collecting for the index", r);
        else
                g->applied = apply_close_group(l->apply);
        return r;
}

/* What the loop wrote lies in another processor's cache: it is on its way while the
 * commits before are admitted. First the batches, then their records, then what is known
 * of the records' partitions: each of these says where the next is. */
static void fetch_batches(const struct local *l, const struct commit *c)
{
        (void) l;
        for (size_t i = 0; i < c->batch_count; i++)
                prefetch_octets(c->batches[i], sizeof(struct store_batch));
}

static void fetch_octets(const char *p, size_t len)
{
        prefetch_octets(p, len < FETCHED ? len : FETCHED);
}

/* All but the body: that is read in a row, as the processor sees itself. */
static void fetch_records(const struct local *l, const struct commit *c)
{
        (void) l;
        for (size_t i = 0; i < c->batch_count; i++) {
                const struct store_batch *b = c->batches[i];
                const struct span record = buffer_span(&b->record);
                const size_t body_end = b->blob_at + b->blob_len;

                prefetch_to_write(record.p); /* its sequence and number */
                fetch_octets(record.p, b->blob_len ? b->blob_at : record.len);
                if (b->blob_len)
                        fetch_octets(record.p + body_end, record.len - body_end);
        }
}

static void fetch_partitions(const struct local *l, const struct commit *c)
{
        for (size_t i = 0; i < c->batch_count; i++)
                apply_fetch(l->apply, batch_partition(c->batches[i]));
}

/* Goes so many commits in front of the one that is dealt with. */
struct fetcher {
        void (*fetch)(const struct local *l, const struct commit *c);
        unsigned ahead;
        struct list_node *at; /* NULL: begins now */
};

enum { FETCHERS = 3 };

static void fetch_one(const struct local *l, const struct list_node *commits, struct fetcher *f)
{
        if (f->at == commits)
                return;
        f->fetch(l, LIST_OBJECT(f->at, struct commit, node));
        f->at = f->at->next;
}

/* One more commit is dealt with. */
static void fetch_next(const struct local *l, const struct list_node *commits,
                       struct fetcher *fetchers)
{
        for (size_t i = 0; i < FETCHERS && fetchers[i].fetch; i++) {
                const unsigned first = fetchers[i].at ? 0 : fetchers[i].ahead;

                if (!fetchers[i].at)
                        fetchers[i].at = commits->next;
                for (unsigned k = 0; k <= first; k++)
                        fetch_one(l, commits, &fetchers[i]);
        }
}

static void admit_all(struct local *l, struct group *g)
{
        struct fetcher fetchers[FETCHERS] = {
                {.fetch = fetch_batches, .ahead = 3},
                {.fetch = fetch_records, .ahead = 2},
                {.fetch = fetch_partitions, .ahead = 1},
        };

        LIST_FOR_EACH(node, &g->fresh) {
                fetch_next(l, &g->fresh, fetchers);
                admit(l, LIST_OBJECT(node, struct commit, node), &g->admitted);
        }
}

/* The leader's, with what was taken since. */
static void admit_fresh(struct local *l, struct group *g)
{
        int r;

        if (g->has_range)
                wait_for_index(l, g);
        forget_applied(l);
        if (atomic_load(&l->has_failed))
                r = -EIO;
        else if (g->is_in_log)
                r = log_grow_group(&l->log, g->slot, g->sizes);
        else
                r = log_begin_group(&l->log, g->slot, g->sizes);
        g->is_in_log |= r == 0;
        if (r == 0)
                admit_all(l, g);
        else if (r == -EIO)
                local_fail(l, "making a new segment", r);
        else
                fail_all(&g->fresh, r); /* no room, no descriptor: nothing was written yet */
        list_append_all(&g->commits, &g->fresh);
}

/* When the group may be written, what came meanwhile gets into it. */
static void begin_writing(struct local *l, struct group *g)
{
        pthread_mutex_lock(&l->mutex);
        keep_pace(l);
        take_commits(l, g);
        l->begun_count++;
        l->begun_us = clock_monotonic_us();
        g->under_way = (unsigned) (l->log.position.group - l->done_group);
        pthread_mutex_unlock(&l->mutex);
        if (!list_is_empty(&g->fresh))
                admit_fresh(l, g);
}

/* The leader's. What there is is admitted while the group before is synced. */
static void write_group(struct local *l, struct group *g)
{
        admit_fresh(l, g);
        begin_writing(l, g);
        g->begun_us = clock_monotonic_us();
        if (atomic_load(&l->has_failed))
                g->result = -EIO;
        else if (g->is_in_log && !log_group_is_empty(&l->log))
                g->result = write_admitted(l, g);
        if (!g->applied)
                apply_forget_open(l->apply);
}

static void sync_group(struct local *l, struct group *g)
{
        const uint64_t begun_us = clock_monotonic_us();
        const int r = log_sync_group(&l->log, g->slot);

        g->sync_us = clock_monotonic_us() - begun_us;
        if (r < 0)
                fail_write(l, g->slot, r);
        g->result = r;
}

/* ---- answered ------------------------------------------------------------------ */

static void fetch_traces(const struct local *l, const struct commit *c)
{
        (void) l;
        for (size_t i = 0; i < c->batch_count; i++) {
                const struct store_batch *b = c->batches[i];
                const struct span record = buffer_span(&b->record);

                if (!(b->has & BATCH_HAS_TRACE))
                        continue;
                __builtin_prefetch(record.p);
                fetch_octets(record.p + b->trace_at, record.len - b->trace_at);
        }
}

/* While the group was synced, others had the cache. */
static void keep_traces(struct local *l, struct group *g)
{
        struct fetcher fetchers[FETCHERS] = {
                {.fetch = fetch_batches, .ahead = 2},
                {.fetch = fetch_traces, .ahead = 1},
        };
        uint32_t number = 0;

        LIST_FOR_EACH(node, &g->commits) {
                const struct commit *c = LIST_OBJECT(node, struct commit, node);

                fetch_next(l, &g->commits, fetchers);
                for (size_t i = 0; c->result == 0 && i < c->batch_count; i++) {
                        const struct store_batch *b = c->batches[i];

                        if (b->has & BATCH_HAS_TRACE)
                                trace_add_batch(l->trace, buffer_span(&b->record), b->trace_at,
                                                g->behind.group, &number);
                }
        }
        trace_set_position(l->trace, &g->behind);
}

enum { TIMES_STEPS = 8 }; /* within twice as long */

static void note_time(struct local *l, uint64_t us, uint64_t others_us)
{
        unsigned i = 0, shift = 0;

        if (us - others_us > l->own_us_max)
                l->own_us_max = us - others_us;
        while (us >> shift >= 2 * TIMES_STEPS)
                shift++;
        i = shift * TIMES_STEPS + (unsigned) (us >> shift);
        l->times[i < LOCAL_TIMES ? i : LOCAL_TIMES - 1]++;
}

uint64_t local_group_us(const struct local *l, unsigned per_mille)
{
        uint64_t all = 0, so_far = 0;

        for (unsigned i = 0; i < LOCAL_TIMES; i++)
                all += l->times[i];
        for (unsigned i = 0; i < LOCAL_TIMES; i++) {
                const unsigned shift = i < 2 * TIMES_STEPS ? 0 : i / TIMES_STEPS - 1;

                so_far += l->times[i];
                if (all && so_far * 1000 >= all * per_mille)
                        return (uint64_t) (i - shift * TIMES_STEPS + 1) << shift;
        }
        return 0;
}

/* Of one that nothing was beside: so that what the groups do to each other does not
 * look like a slow disk. */
static void note_sync(struct local *l, uint64_t us)
{
        const uint64_t step = l->sync_us / MEDIAN_STEPS + 1;

        if (us > l->sync_us)
                l->sync_us += step;
        else if (us < l->sync_us)
                l->sync_us -= step;
}

/* With the mutex held. */
static void hand_over(struct local *l, struct group *g)
{
        list_append_all(&l->done, &g->commits);
        if (g->applied && g->behind.group > l->done_group) /* it may have been hasty */
                l->done_group = g->behind.group;
}

/* In the order of the groups: one is durable when all before it are. */
static void wait_for_turn(struct local *l, const struct group *g)
{
        pthread_mutex_lock(&l->mutex);
        while (l->answered_count + 1 != g->number)
                pthread_cond_wait(turn_of(l, g->number), &l->mutex);
        pthread_mutex_unlock(&l->mutex);
}

/* With the mutex held. */
static void note_answered(struct local *l, const struct group *g, uint64_t took_us,
                          uint64_t others_us)
{
        l->answered_count++;
        if (g->applied) {
                if (g->under_way == 0 && l->begun_count == g->number)
                        note_sync(l, g->sync_us);
                note_time(l, took_us, g->sync_us + others_us);
        }
        if (g->number >= l->alone)
                l->alone = g->number + (g->sync_us >= atomic_load(&l->slow_us)
                                                ? LOCAL_ALONE_SELDOM : LOCAL_ALONE_OFTEN);
}

/* After a failure nothing is durable. Whoever is woken may have this processor at once: so
 * nobody is while the mutex is held, which all others would then wait for. */
static void answer(struct local *l, struct group *g)
{
        const bool is_hasty = atomic_load(&l->is_hasty);
        uint64_t now_us, others_us = clock_monotonic_us();
        bool is_called;

        if (!is_hasty)
                wait_for_turn(l, g);
        others_us = clock_monotonic_us() - others_us;
        if (atomic_load(&l->has_failed))
                g->result = -EIO;
        if (g->result < 0)
                fail_all(&g->commits, g->result);
        else if (g->applied)
                keep_traces(l, g);
        now_us = clock_monotonic_us();
        pthread_mutex_lock(&l->mutex);
        hand_over(l, g);
        if (is_hasty) {
                pthread_mutex_unlock(&l->mutex);
                waker_wake(l->waker);
                wait_for_turn(l, g);
                pthread_mutex_lock(&l->mutex);
        }
        note_answered(l, g, now_us - g->begun_us, others_us);
        is_called = local_call_leader(l, now_us);
        pthread_mutex_unlock(&l->mutex);
        pthread_cond_signal(turn_of(l, g->number + 1));
        pthread_cond_signal(&l->may_begin);
        if (is_called)
                pthread_cond_signal(&l->may_lead);
        waker_wake(l->waker);
}

/* ---- and the index ---------------------------------------------------------- */

/* Without memory the file stays until the next start. */
static void remember_dead_file(struct local *l, uint64_t blob_id)
{
        uint64_t *grown = reallocarray(l->dead_files, l->dead_file_count + 1, sizeof(uint64_t));

        if (!grown)
                return;
        l->dead_files = grown;
        l->dead_files[l->dead_file_count++] = blob_id;
}

/* What has no reader any more: the files of blobs that are gone. */
static void remove_dead_files(struct local *l, const struct apply_group *applied)
{
        const bool is_pinned = atomic_load(&l->pin) == LOCAL_PIN_BACKUP;
        char path[LOCAL_BLOB_PATH_MAX];

        while (!is_pinned && l->dead_file_count)
                io_unlink(l->io, local_blob_path(l->dead_files[--l->dead_file_count], path));
        for (size_t i = 0; i < applied->blob_count; i++) {
                const struct blob_change *c = &applied->blobs[i];

                if (c->place.references || c->place.kind != BLOB_IN_FILE)
                        continue;
                if (is_pinned)
                        remember_dead_file(l, c->id);
                else
                        io_unlink(l->io, local_blob_path(c->id, path));
        }
}

static int write_index(struct local *l, const struct group *g)
{
        const struct log_position synced = trace_synced(l->trace);
        int r = recover_account(&l->log, l->index, g->applied);

        if (r == 0)
                r = recover_put_position(l->index, &g->behind, &synced);
        return r == 0 ? index_write(l->index) : r;
}

static void announce_applied(struct local *l, const struct group *g)
{
        atomic_store(&l->applied, g->behind.group);
        atomic_fetch_add(&l->applied_count, 1);
        pthread_mutex_lock(&l->mutex);
        if (l->is_waiting)
                pthread_cond_broadcast(&l->has_applied);
        pthread_mutex_unlock(&l->mutex);
        if (atomic_load(&l->has_held))
                waker_wake(l->waker);
}

/* In the order of the groups too. */
static void tell_index(struct local *l, const struct group *g)
{
        pthread_mutex_lock(&l->mutex);
        while (l->ended + 1 != g->number)
                pthread_cond_wait(turn_of(l, g->number), &l->mutex);
        pthread_mutex_unlock(&l->mutex);
        if (g->result == 0 && g->applied) {
                const int r = write_index(l, g);

                if (r < 0)
                        local_fail(l, "writing the index", r);
                else
                        remove_dead_files(l, g->applied);
                announce_applied(l, g);
        }
        pthread_mutex_lock(&l->mutex);
        l->ended++;
        if (l->ended == l->taken)
                pthread_cond_broadcast(&l->has_ended);
        pthread_mutex_unlock(&l->mutex);
        pthread_cond_signal(turn_of(l, g->number + 1));
}

/* ---- the threads -------------------------------------------------------------- */

static bool is_segment_wanted(struct local *l)
{
        bool is_wanted = false;

        pthread_mutex_lock(&l->log.mutex);
        for (int i = 0; i < LOG_STREAMS; i++)
                is_wanted |= l->log.current[i] && !l->log.next[i];
        pthread_mutex_unlock(&l->log.mutex);
        return is_wanted;
}

/* As often as there is another segment, even when the helper thread is busy; the leader's. */
static void look_at_brake(struct local *l)
{
        const uint64_t segments = l->log.position.at[LOG_QUEUE].segment +
                                  l->log.position.at[LOG_MAIL].segment;

        if (segments != l->brake_segments)
                local_set_brake(l);
        l->brake_segments = segments;
}

static void run_group(struct local *l, struct group *g)
{
        look_at_brake(l);
        write_group(l, g);
        follow(l);
        if (g->result == 0 && g->applied)
                sync_group(l, g);
        log_end_group(&l->log, g->slot);
        if (g->result == 0 && g->applied) {
                atomic_fetch_add(&l->commit_count, g->count);
                atomic_fetch_add(&l->group_count, 1);
        }
        answer(l, g);
        tell_index(l, g);
}

/* As many threads as slots, each with its own. */
static struct log_slot *take_slot(struct local *l)
{
        return &l->log.slots[atomic_fetch_add(&l->slots_taken, 1)];
}

void *local_sync_run(void *local)
{
        struct local *l = local;
        struct log_slot *const slot = take_slot(l);

        pthread_setname_np(pthread_self(), "store-sync");
        for (;;) {
                struct group g = {.slot = slot};

                pthread_mutex_lock(&l->mutex);
                if (!lead(l)) {
                        pthread_mutex_unlock(&l->mutex);
                        return NULL;
                }
                take_group(l, &g);
                pthread_mutex_unlock(&l->mutex);
                run_group(l, &g);
                if (is_segment_wanted(l) || atomic_exchange(&l->is_resting, false)) {
                        pthread_mutex_lock(&l->mutex);
                        pthread_cond_signal(&l->has_chores);
                        pthread_mutex_unlock(&l->mutex);
                }
        }
}
