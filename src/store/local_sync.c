#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "store/local.h"
#include "store/recover.h"

enum { PACE_WAIT_MAX_US = 20 * 1000 };

/* ---- taking a group ------------------------------------------------------ */

/* Waits until something must be written; false when all is done and closing.
 * With the mutex held. */
static bool wait_for_commits(struct local *l)
{
        while (!l->is_closing && l->urgent == 0) {
                struct timespec until;
                const struct commit *first;
                uint64_t due_us;

                if (list_is_empty(&l->commits)) {
                        pthread_cond_wait(&l->has_commits, &l->mutex);
                        continue;
                }
                first = LIST_OBJECT(l->commits.next, struct commit, node);
                due_us = first->begun_us + LOCAL_LAZY_US;
                if (clock_monotonic_us() >= due_us)
                        break;
                until.tv_sec = (time_t) (due_us / 1000000);
                until.tv_nsec = (long) (due_us % 1000000) * 1000;
                pthread_cond_timedwait(&l->has_commits, &l->mutex, &until);
        }
        return !list_is_empty(&l->commits) || !l->is_closing;
}

/* Adds to the octets of each stream what is in a commit, unless a segment is to be
 * filled before. */
static bool add_sizes(const struct local *l, const struct commit *c, uint64_t sizes[LOG_STREAMS])
{
        uint64_t more[LOG_STREAMS] = {0};

        for (size_t i = 0; i < c->batch_count && !c->result; i++)
                more[local_stream_of(c->batches[i])] += c->batches[i]->record.len;
        for (enum log_stream i = 0; i < LOG_STREAMS; i++)
                if (!log_may_add(&l->log, i, sizes[i], more[i]))
                        return false;
        for (enum log_stream i = 0; i < LOG_STREAMS; i++)
                sizes[i] += more[i];
        return true;
}

/* A batch with a range begins a group, because the overlay cannot tell which
 * keys of its own group a range hits (apply.c). */
static void take_group(struct local *l, struct list_node *group, uint64_t sizes[LOG_STREAMS])
{
        uint64_t total = 0;

        list_init(group);
        sizes[LOG_QUEUE] = sizes[LOG_MAIL] = 0;
        LIST_FOR_EACH(node, &l->commits) {
                struct commit *c = LIST_OBJECT(node, struct commit, node);

                if (total && (total + c->size > LOCAL_GROUP_MAX ||
                              total + c->size > l->commit_max || c->has & BATCH_HAS_RANGE))
                        break;
                if (!add_sizes(l, c, sizes))
                        break;
                if (!(c->flags & STORE_LAZY))
                        l->urgent--;
                list_remove(node);
                list_append(group, node);
                total += c->size;
        }
}

void local_fail(struct local *l, const char *what, int r)
{
        if (atomic_load(&l->has_failed))
                return;
        snprintf(l->failure, sizeof l->failure, "%s: %s", what, strerror(-r));
        atomic_store(&l->has_failed, true);
}

/* Writing the group failed: what of it is durable, nobody knows. */
static void fail_write(struct local *l, int r)
{
        char what[LOG_PATH_MAX + 32];

        snprintf(what, sizeof what, "%s: %s", l->log.failed_path, l->log.failed_call);
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

/* ---- the group ------------------------------------------------------------ */

static void keep_traces(struct local *l, struct list_node *group)
{
        uint32_t number = 0;

        LIST_FOR_EACH(node, group) {
                const struct commit *c = LIST_OBJECT(node, struct commit, node);

                if (c->result < 0 || !(c->has & BATCH_HAS_TRACE))
                        continue;
                for (size_t i = 0; i < c->batch_count; i++)
                        trace_add_batch(l->trace, buffer_span(&c->batches[i]->record),
                                        l->log.position.group, &number);
        }
        trace_set_position(l->trace, &l->log.position);
}

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
static void remove_dead_files(struct local *l)
{
        const bool is_pinned = atomic_load(&l->pin) == LOCAL_PIN_BACKUP;
        char path[LOCAL_BLOB_PATH_MAX];

        while (!is_pinned && l->dead_file_count)
                io_unlink(l->io, local_blob_path(l->dead_files[--l->dead_file_count], path));
        for (size_t i = 0; i < l->apply->blob_count; i++) {
                const struct blob_change *c = &l->apply->blobs[i];

                if (c->place.references || c->place.kind != BLOB_IN_FILE)
                        continue;
                if (is_pinned)
                        remember_dead_file(l, c->id);
                else
                        io_unlink(l->io, local_blob_path(c->id, path));
        }
}

static int write_index(struct local *l)
{
        const struct log_position synced = trace_synced(l->trace);
        int r = apply_end_group(l->apply);

        if (r == 0)
                r = recover_account(&l->log, l->apply);
        if (r == 0)
                r = recover_put_position(l->index, &l->log.position, &synced);
        return r == 0 ? index_write(l->index) : r;
}

static void answer(struct local *l, struct list_node *group)
{
        struct list_node *node;

        pthread_mutex_lock(&l->mutex);
        while ((node = list_take_first(group)))
                list_append(&l->done, node);
        l->done_group = l->log.position.group;
        pthread_mutex_unlock(&l->mutex);
        waker_wake(l->waker);
}

static void fail_all(struct list_node *group, int result)
{
        LIST_FOR_EACH(node, group) {
                struct commit *c = LIST_OBJECT(node, struct commit, node);

                if (c->result == 0)
                        c->result = result;
        }
}

static void announce_applied(struct local *l)
{
        atomic_store(&l->applied, l->log.position.group);
        pthread_mutex_lock(&l->mutex);
        if (l->is_waiting)
                pthread_cond_broadcast(&l->has_applied);
        pthread_mutex_unlock(&l->mutex);
        if (atomic_load(&l->has_held))
                waker_wake(l->waker);
}

static void run_group(struct local *l, struct list_node *group, const uint64_t sizes[LOG_STREAMS])
{
        uint32_t number = 0;
        uint64_t count = 0;
        int r = atomic_load(&l->has_failed) ? -EIO : log_begin_group(&l->log, sizes);

        if (r == 0) {
                LIST_FOR_EACH(node, group) {
                        admit(l, LIST_OBJECT(node, struct commit, node), &number);
                        count++;
                }
                if (!log_group_is_empty(&l->log))
                        r = log_write_group(&l->log, clock_now_us());
                if (r < 0)
                        fail_write(l, r);
        } else if (!atomic_load(&l->has_failed) && r != -EIO) {
                fail_all(group, r); /* no room, no descriptor: nothing was written yet */
                r = 0;
        } else {
                local_fail(l, "making a new segment", r);
        }
        if (r < 0)
                fail_all(group, -EIO);
        if (r < 0 || log_group_is_empty(&l->log)) {
                apply_forget_group(l->apply);
                answer(l, group);
                return;
        }
        keep_traces(l, group);
        atomic_fetch_add(&l->commit_count, count);
        atomic_fetch_add(&l->group_count, 1);
        answer(l, group);
        r = write_index(l);
        if (r < 0)
                local_fail(l, "writing the index", r);
        else
                remove_dead_files(l);
        apply_forget_group(l->apply);
        announce_applied(l);
}

static bool is_segment_wanted(struct local *l)
{
        bool is_wanted = false;

        pthread_mutex_lock(&l->log.mutex);
        for (int i = 0; i < LOG_STREAMS; i++)
                is_wanted |= l->log.current[i] && !l->log.next[i];
        pthread_mutex_unlock(&l->log.mutex);
        return is_wanted;
}

/* Where more is written than can be moved meanwhile, the next group waits. */
static void keep_pace(struct local *l, const uint64_t sizes[LOG_STREAMS])
{
        const uint64_t segments = l->log.position.at[LOG_QUEUE].segment +
                                  l->log.position.at[LOG_MAIL].segment;
        uint64_t wait_us;
        struct timespec pause = {0};

        if (segments != l->paced_segments)
                local_set_pace(l);
        l->paced_segments = segments;
        wait_us = (sizes[LOG_QUEUE] + sizes[LOG_MAIL]) * atomic_load(&l->pace_us) / (1 << 20);
        pause.tv_nsec = (long) (wait_us < PACE_WAIT_MAX_US ? wait_us : PACE_WAIT_MAX_US) * 1000;
        if (wait_us)
                clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

void *local_sync_run(void *local)
{
        struct local *l = local;

        for (;;) {
                struct list_node group;
                uint64_t sizes[LOG_STREAMS];

                pthread_mutex_lock(&l->mutex);
                if (!wait_for_commits(l)) {
                        pthread_mutex_unlock(&l->mutex);
                        return NULL;
                }
                take_group(l, &group, sizes);
                pthread_mutex_unlock(&l->mutex);
                run_group(l, &group, sizes);
                keep_pace(l, sizes);
                if (is_segment_wanted(l) || atomic_exchange(&l->is_resting, false)) {
                        pthread_mutex_lock(&l->mutex);
                        pthread_cond_signal(&l->has_chores);
                        pthread_mutex_unlock(&l->mutex);
                }
        }
}
