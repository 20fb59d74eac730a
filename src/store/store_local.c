#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/hash.h"
#include "store/keys.h"
#include "store/index_behind.h"
#include "store/local.h"
#include "store/recover.h"

enum {
        FORMAT_TEXT_MAX = 128,
        PATH_TEXT_MAX = 4096,
        GATHERED_MAX = 8, /* commits of a round, so that the disk does not wait for more */
};

static struct local *local_of(const struct store *s)
{
        return (struct local *) (uintptr_t) s;
}

/* ---- on the loop ---------------------------------------------------------- */

void local_hand_over(struct local *l)
{
        bool is_called;

        deferred_cancel(&l->hand_over);
        if (!l->gathered_count)
                return;
        pthread_mutex_lock(&l->mutex);
        list_append_all(&l->commits, &l->gathered);
        l->urgent += l->gathered_urgent;
        is_called = local_call_leader(l, loop_monotonic_us(l->store.loop));
        pthread_mutex_unlock(&l->mutex);
        pthread_cond_signal(is_called ? &l->may_lead : &l->has_commits);
        l->gathered_count = l->gathered_urgent = 0;
}

static void hand_over_deferred(struct deferred *d)
{
        local_hand_over(LIST_OBJECT(d, struct local, hand_over));
}

static void local_commit(struct store *s, struct commit *c)
{
        struct local *l = local_of(s);

        if (l->is_closing_loop) {
                store_commit_done(s, c, -ESHUTDOWN);
                return;
        }
        if (c->size > l->commit_max)
                c->result = -E2BIG;
        if (c->result < 0)
                c->size = 0; /* it only passes through, to be answered in order */
        else
                local_measure(c);
        c->begun_us = loop_monotonic_us(s->loop);
        list_append(&l->gathered, &c->node);
        l->gathered_urgent += !(c->flags & STORE_LAZY);
        if (++l->gathered_count == GATHERED_MAX)
                local_hand_over(l);
        else
                loop_defer(s->loop, &l->hand_over);
}

static void local_trace_lazily(struct store *s, struct store_batch *b)
{
        uint32_t number = 0;

        trace_add_batch(local_of(s)->trace, buffer_span(&b->record), b->trace_at, 0,
                        &number);
        store_batch_free(b);
}

/* From the loop's own thread, where it does not wait, or by the readers. */
static void ask(struct local *l, struct query *q)
{
        const bool is_of_index = q->kind < QUERY_BLOB;

        if (is_of_index && query_run(q, l->index, false) == 0) {
                query_done(q);
                return;
        }
        pthread_mutex_lock(&l->mutex);
        list_append(&l->queries, &q->node);
        pthread_cond_signal(&l->has_queries);
        pthread_mutex_unlock(&l->mutex);
}

static bool has_caught_up(const struct local *l)
{
        return atomic_load(&l->applied) >= l->acknowledged || atomic_load(&l->has_failed);
}

static void local_query(struct store *s, struct query *q)
{
        struct local *l = local_of(s);

        if (list_is_empty(&l->held) && has_caught_up(l)) {
                ask(l, q);
                return;
        }
        list_append(&l->held, &q->node);
        atomic_store(&l->has_held, true);
        if (has_caught_up(l)) /* just now, perhaps unaware that somebody waits */
                waker_wake(l->waker);
}

static void run_held(struct local *l)
{
        struct list_node held, *node;

        if (list_is_empty(&l->held) || !has_caught_up(l))
                return;
        atomic_store(&l->has_held, false);
        list_init(&held);
        list_append_all(&held, &l->held);
        while ((node = list_take_first(&held)))
                local_query(&l->store, LIST_OBJECT(node, struct query, node));
}

static void woken(void *arg)
{
        struct local *l = arg;
        struct list_node done, answered, *node;

        list_init(&done);
        list_init(&answered);
        pthread_mutex_lock(&l->mutex);
        list_append_all(&done, &l->done);
        list_append_all(&answered, &l->answered);
        l->acknowledged = l->done_group;
        pthread_mutex_unlock(&l->mutex);
        while ((node = list_take_first(&done))) {
                struct commit *c = LIST_OBJECT(node, struct commit, node);

                store_commit_done(&l->store, c, c->result);
        }
        while ((node = list_take_first(&answered)))
                query_done(LIST_OBJECT(node, struct query, node));
        run_held(l);
}

/* For what must be answered within the call: a millisecond at most. */
static void wait_applied(struct local *l)
{
        pthread_mutex_lock(&l->mutex);
        l->is_waiting = true;
        while (!has_caught_up(l)) {
                struct timespec until;

                /* A failure does not announce itself. */
                clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_sec++;
                pthread_cond_timedwait(&l->has_applied, &l->mutex, &until);
        }
        l->is_waiting = false;
        pthread_mutex_unlock(&l->mutex);
}

/* ---- lent files ----------------------------------------------------------- */

static int find_blob(struct local *l, uint64_t blob_id, struct blob_place *ret_place)
{
        struct buffer scratch = BUFFER_INIT(1024);
        int r;

        wait_applied(l);
        r = apply_find_blob(l->index, blob_id, true, &scratch, ret_place);
        buffer_done(&scratch);
        return r;
}

static int local_blob_lend(struct store *s, uint64_t blob_id, int *ret_fd)
{
        struct local *l = local_of(s);
        char path[LOCAL_BLOB_PATH_MAX];
        struct blob_place place;
        int r;

        if (!l->io->has_descriptors)
                return -EOPNOTSUPP;
        if (atomic_load(&l->is_full))
                return -ENOSPC;
        if (atomic_load(&l->has_failed))
                return -EIO;
        if (find_blob(l, blob_id, &place) == 0)
                return -EEXIST;
        r = io_open(l->io, local_blob_path(blob_id, path),
                    IO_CREATE | IO_EXCLUSIVE | IO_WRITE_ONLY);
        if (r < 0)
                return r;
        *ret_fd = r;
        return 0;
}

static void local_blob_return(struct store *s, uint64_t blob_id)
{
        struct local *l = local_of(s);
        char path[LOCAL_BLOB_PATH_MAX];
        struct blob_place place;

        if (find_blob(l, blob_id, &place) == -ENOENT)
                io_unlink(l->io, local_blob_path(blob_id, path));
}

static int local_blob_open(struct store *s, uint64_t blob_id, int *ret_fd, uint64_t *ret_size)
{
        struct local *l = local_of(s);
        char path[LOCAL_BLOB_PATH_MAX];
        struct blob_place place;
        int r = find_blob(l, blob_id, &place);

        if (r == 0 && (place.kind != BLOB_IN_FILE || !l->io->has_descriptors))
                r = -ENOENT;
        if (r == 0)
                r = io_open(l->io, local_blob_path(blob_id, path), IO_READ_ONLY);
        if (r < 0)
                return r;
        *ret_fd = r;
        *ret_size = place.size;
        return 0;
}

static int local_segment_open(struct store *s, uint64_t segment, int *ret_fd)
{
        struct local *l = local_of(s);
        const int file = l->io->has_descriptors ? log_open_mail(&l->log, segment) : -ENOENT;

        if (file < 0)
                return file;
        *ret_fd = file;
        return 0;
}

/* ---- closing -------------------------------------------------------------- */

static void stop_threads(struct local *l)
{
        pthread_mutex_lock(&l->mutex);
        l->is_closing = true;
        pthread_cond_broadcast(&l->has_commits);
        pthread_cond_broadcast(&l->has_queries);
        pthread_cond_broadcast(&l->has_chores);
        pthread_cond_broadcast(&l->may_lead);
        pthread_cond_broadcast(&l->may_begin);
        pthread_mutex_unlock(&l->mutex);
        for (int i = 0; i < l->sync_count; i++)
                pthread_join(l->sync_threads[i], NULL);
        for (int i = 0; i < l->reader_count; i++)
                pthread_join(l->reader_threads[i], NULL);
        if (l->has_helper_thread)
                pthread_join(l->helper_thread, NULL);
}

/* Everything is in the log already; this makes the next start a short one. */
static void settle(struct local *l)
{
        if (atomic_load(&l->has_failed) || trace_write(l->trace, clock_now_us()) < 0)
                return;
        if (l->log.position.group) {
                trace_set_position(l->trace, &l->log.position);
                recover_put_position(l->index, &l->log.position, &l->log.position);
                index_write(l->index);
        }
        index_flush(l->index);
}

static void free_all(struct local *l)
{
        waker_free(l->waker);
        local_reclaim_done(l);
        free(l->dead_files);
        free(l->backup_path);
        trace_free(l->trace);
        apply_free(l->apply);
        index_close(l->index);
        log_done(&l->log);
        io_free(l->io);
        store_done(&l->store);
        pthread_mutex_destroy(&l->chores);
        pthread_mutex_destroy(&l->mutex);
        pthread_cond_destroy(&l->has_commits);
        pthread_cond_destroy(&l->has_queries);
        pthread_cond_destroy(&l->has_chores);
        pthread_cond_destroy(&l->has_applied);
        pthread_cond_destroy(&l->may_lead);
        pthread_cond_destroy(&l->may_begin);
        pthread_cond_destroy(&l->has_ended);
        for (size_t i = 0; i < LOG_SLOTS; i++)
                pthread_cond_destroy(&l->has_turn[i]);
        free(l);
}

static void local_close(struct store *s)
{
        struct local *l = local_of(s);
        struct list_node *node;

        l->is_closing_loop = true;
        local_hand_over(l);
        stop_threads(l);
        woken(l);
        /* What callbacks asked since, now that nobody else answers. */
        for (;;) {
                pthread_mutex_lock(&l->mutex);
                node = list_take_first(&l->queries);
                pthread_mutex_unlock(&l->mutex);
                if (!node)
                        node = list_take_first(&l->held);
                if (!node)
                        break;
                local_answer(l, LIST_OBJECT(node, struct query, node));
                query_done(LIST_OBJECT(node, struct query, node));
        }
        settle(l);
        free_all(l);
}

/* ---- opening -------------------------------------------------------------- */

static int say(char *error, int r, const char *what)
{
        snprintf(error, 256, "%s: %s", what, strerror(-r));
        return r;
}

static int write_format(struct io *io, const unsigned char *store_id)
{
        char text[FORMAT_TEXT_MAX];
        int len = snprintf(text, sizeof text, "hayauma store %d\n", LOG_FORMAT);
        struct iovec part = {text, 0};
        int file = io_open(io, "format.new", IO_CREATE), r;

        for (int i = 0; i < LOG_STORE_ID; i++)
                len += snprintf(text + len, sizeof text - (size_t) len, "%02x", store_id[i]);
        part.iov_len = (size_t) len;
        if (file < 0)
                return file;
        r = io_truncate(io, file, 0);
        if (r == 0)
                r = io_pwritev(io, file, &part, 1, 0);
        if (r == 0)
                r = io_sync(io, file);
        io_close(io, file);
        if (r == 0)
                r = io_rename(io, "format.new", "format");
        return r == 0 ? io_sync_directory(io, "") : r;
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_format(const char *text, int *ret_format, unsigned char *ret_store_id)
{
        char first[FORMAT_TEXT_MAX];
        int len = 0, format = LOG_FORMAT + 1;

        do {
                if (--format < LOG_FORMAT_FIRST)
                        return -EPROTONOSUPPORT;
                len = snprintf(first, sizeof first, "hayauma store %d\n", format);
        } while (strncmp(text, first, (size_t) len) != 0);
        *ret_format = format;
        for (int i = 0; i < LOG_STORE_ID; i++) {
                const int high = hex_digit(text[len + 2 * i]);
                const int low = high < 0 ? -1 : hex_digit(text[len + 2 * i + 1]);

                if (low < 0)
                        return -EBADMSG;
                ret_store_id[i] = (unsigned char) (high << 4 | low);
        }
        return 0;
}

/* The store's id: from its format file, or a new one in an empty folder. What an
 * earlier release wrote stays as it is; but what we add to it that one cannot read. */
static int identify(struct io *io, unsigned char *ret_store_id, char *error)
{
        char text[FORMAT_TEXT_MAX] = "";
        int format = 0;
        int file = io_open(io, "format", IO_READ_ONLY), r;

        if (file == -ENOENT) {
                if (getrandom(ret_store_id, LOG_STORE_ID, 0) != LOG_STORE_ID)
                        return say(error, -EIO, "getrandom");
                r = write_format(io, ret_store_id);
                return r < 0 ? say(error, r, "format") : 0;
        }
        if (file < 0)
                return say(error, file, "format");
        r = (int) io_pread(io, file, text, sizeof text - 1, 0);
        io_close(io, file);
        if (r >= 0)
                r = parse_format(text, &format, ret_store_id);
        if (r == 0 && format != LOG_FORMAT)
                r = write_format(io, ret_store_id);
        if (r == -EPROTONOSUPPORT)
                snprintf(error, 256, "format: written by another release: %.40s", text);
        else if (r < 0)
                say(error, r, "format");
        return r;
}

static int make_folders(struct io *io, char *error)
{
        static const char *const folders[] = {"queue", "mail", "trace", "blobs"};
        int r = io_lock(io, "lock");

        if (r == -EWOULDBLOCK) {
                snprintf(error, 256, "lock: another process has this store open");
                return -EBUSY;
        }
        for (size_t i = 0; i < sizeof folders / sizeof folders[0] && r == 0; i++)
                r = io_mkdir(io, folders[i]);
        if (r == 0)
                r = io_sync_directory(io, "");
        return r < 0 ? say(error, r, "state folder") : 0;
}

/* An empty index: that of a new store, or one that was lost. */
static int fill_index(struct local *l, char *error)
{
        const struct span id = span_make((const char *) l->log.store_id, LOG_STORE_ID);
        const char key = KEYS_FORMAT;
        int r = checkpoint_load(l->io, l->log.store_id, l->engine);

        if (r == 0)
                return 0;
        if (r == -ENOENT || (r == -EBADMSG && log_is_whole(&l->log))) {
                r = index_put(l->index, span_make(&key, 1), id);
                return r == 0 ? index_write(l->index) : r;
        }
        if (r == -EBADMSG)
                snprintf(error, 256, "checkpoint: damaged, and the index is lost");
        return r;
}

/* The index is of this store, or filled. */
static int check_index(struct local *l, char *error)
{
        const struct span id = span_make((const char *) l->log.store_id, LOG_STORE_ID);
        struct buffer value = BUFFER_INIT(1024);
        const char key = KEYS_FORMAT;
        int r = index_get(l->index, span_make(&key, 1), true, &value);

        if (r == -ENOENT) {
                r = fill_index(l, error);
        } else if (r == 0 && !span_equal(buffer_span(&value), id)) {
                snprintf(error, 256, "index: it belongs to another store");
                r = -EBADMSG;
        }
        buffer_done(&value);
        if (r < 0 && !error[0])
                say(error, r, "index");
        return r;
}

struct scratch {
        struct local *local;
        struct buffer value;
};

/* A file that no commit adopted before the last stop. */
static void remove_scratch(void *arg, const char *name)
{
        struct scratch *s = arg;
        struct blob_place place;
        char path[LOCAL_BLOB_PATH_MAX], *end;
        const uint64_t id = strtoull(name, &end, 16);

        if (strlen(name) != 16 || *end)
                return;
        if (apply_find_blob(s->local->index, id, true, &s->value, &place) == -ENOENT)
                io_unlink(s->local->io, local_blob_path(id, path));
}

static int bring_up(struct local *l, const struct store_options *options, char *error)
{
        struct trace_limits limits = {options->trace_days ? options->trace_days : 30,
                                      options->trace_size_max, 0};
        struct scratch scratch = {l, BUFFER_INIT(1024)};
        unsigned char store_id[LOG_STORE_ID] = {0};
        uint64_t free_bytes, total;
        int r = make_folders(l->io, error);

        if (r == 0)
                r = identify(l->io, store_id, error);
        log_init(&l->log, l->io, store_id,
                 options->segment_size ? options->segment_size : LOCAL_SEGMENT_DEFAULT);
        l->log.segment_size = l->log.segment_size / LOG_BLOCK * LOG_BLOCK;
        l->commit_max = l->log.segment_size - 3 * LOG_BLOCK;
        if (l->commit_max > LOCAL_COMMIT_MAX)
                l->commit_max = LOCAL_COMMIT_MAX;
        if (r < 0)
                return r;
        l->store.trace_seed = hash_span(span_make((const char *) store_id, LOG_STORE_ID), 1);
        if (!limits.size_max)
                limits.size_max = io_space(l->io, &free_bytes, &total) == 0 ? total / 50 : 1 << 30;
        r = log_find_segments(&l->log, error);
        if (r == 0)
                r = check_index(l, error);
        if (r == 0)
                r = trace_open(l->io, &limits, &l->trace, error);
        if (r == 0) {
                l->apply = apply_new(l->index);
                r = l->apply ? recover(&l->log, l->apply, l->trace, error)
                             : say(error, -ENOMEM, "store");
        }
        if (r == 0)
                r = apply_learn_newest(l->apply);
        if (r == 0 && !l->is_quiet)
                io_list(l->io, "blobs", remove_scratch, &scratch);
        if (r == 0)
                local_check_space(l);
        if (r == 0)
                local_checkpoint_find(l);
        buffer_done(&scratch.value);
        return r;
}

static int start_threads(struct local *l, char *error)
{
        int r = waker_new(l->store.loop, woken, l, &l->waker);

        while (r == 0 && l->sync_count < LOG_SLOTS) {
                r = -pthread_create(&l->sync_threads[l->sync_count], NULL, local_sync_run, l);
                l->sync_count += r == 0;
        }
        if (r == 0) {
                r = -pthread_create(&l->helper_thread, NULL, local_helper_run, l);
                l->has_helper_thread = r == 0;
        }
        while (r == 0 && l->reader_count < LOCAL_READERS) {
                r = -pthread_create(&l->reader_threads[l->reader_count], NULL, local_reader_run, l);
                l->reader_count += r == 0;
        }
        if (r < 0) {
                stop_threads(l);
                return say(error, r, "threads");
        }
        return 0;
}

static void init_waiting(struct local *l)
{
        pthread_condattr_t monotonic;

        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_mutex_init(&l->chores, NULL);
        pthread_mutex_init(&l->mutex, NULL);
        pthread_cond_init(&l->has_commits, &monotonic);
        pthread_cond_init(&l->has_queries, &monotonic);
        pthread_cond_init(&l->has_chores, &monotonic);
        pthread_cond_init(&l->has_applied, &monotonic);
        pthread_cond_init(&l->may_lead, &monotonic);
        pthread_cond_init(&l->may_begin, &monotonic);
        pthread_cond_init(&l->has_ended, &monotonic);
        for (size_t i = 0; i < LOG_SLOTS; i++)
                pthread_cond_init(&l->has_turn[i], &monotonic);
        pthread_condattr_destroy(&monotonic);
        list_init(&l->commits);
        list_init(&l->gathered);
        l->hand_over.run = hand_over_deferred;
        list_init(&l->moves);
        list_init(&l->done);
        list_init(&l->queries);
        list_init(&l->answered);
        list_init(&l->held);
}

int local_open_with(struct io *io, struct index *index, const struct store_options *options,
                    struct loop *loop, struct store **ret_store, char *error)
{
        struct index *behind = index_behind_new(index);
        struct local *l = behind ? calloc(1, sizeof(struct local)) : NULL;
        int r;

        if (!l) {
                index_close(behind ? behind : index);
                io_free(io);
                return say(error, -ENOMEM, "store");
        }
        store_init(&l->store, &store_local_driver, loop);
        l->io = io;
        l->index = behind;
        l->reserve_bytes = options->reserve_bytes;
        l->slow_us = LOCAL_SLOW_US;
        l->is_quiet = options->is_quiet;
        l->engine = index;
        init_waiting(l);
        error[0] = '\0';
        r = bring_up(l, options, error);
        if (r == 0) {
                l->acknowledged = l->done_group = l->log.position.group;
                atomic_store(&l->applied, l->log.position.group);
                r = start_threads(l, error);
        }
        if (r < 0) {
                free_all(l);
                return r;
        }
        *ret_store = &l->store;
        return 0;
}

static int local_open(const char *path, const struct store_options *options, struct loop *loop,
                      struct store **ret_store, char *error)
{
        char index_path[PATH_TEXT_MAX];
        struct index *index;
        struct io *io;
        int r = io_real_new(path, options->directory_fd, &io);

        if (r < 0) {
                snprintf(error, 256, "%.200s: %s", path, strerror(-r));
                return r;
        }
        r = io_lock(io, "lock"); /* before the index engine touches its files */
        if (r < 0) {
                snprintf(error, 256, "%.180s: %s", path,
                         r == -EWOULDBLOCK ? "another process has this store open" : strerror(-r));
                io_free(io);
                return r == -EWOULDBLOCK ? -EBUSY : r;
        }
        if (options->index_path)
                snprintf(index_path, sizeof index_path, "%s", options->index_path);
        else
                snprintf(index_path, sizeof index_path, "%s/index", path);
        r = index_rocksdb_open(index_path, &index, error);
        if (r < 0) {
                io_free(io);
                return r;
        }
        r = local_open_with(io, index, options, loop, ret_store, error);
        if (r == 0) {
                struct local *l = local_of(*ret_store);

                if (asprintf(&l->backup_path, "%s.backup", index_path) < 0)
                        l->backup_path = NULL;
        }
        return r;
}

static enum store_state local_state(const struct store *s)
{
        struct local *l = local_of(s);

        if (atomic_load(&l->has_failed))
                return STORE_FAILED;
        return atomic_load(&l->is_full) ? STORE_FULL : STORE_GOOD;
}

static const char *local_failure(const struct store *s)
{
        return local_of(s)->failure;
}

static void local_backup_end_of(struct store *s)
{
        local_backup_end(local_of(s));
}

static void local_metrics(const struct store *s, struct store_metrics *ret)
{
        struct local *l = local_of(s);

        ret->commits = atomic_load(&l->commit_count);
        ret->groups = atomic_load(&l->group_count);
        ret->octets_written = atomic_load(&l->log.octets_written);
        ret->syncs = atomic_load(&l->log.syncs);
        ret->sync_us_total = atomic_load(&l->log.sync_us_total);
        ret->sync_us_max = atomic_load(&l->log.sync_us_max);
        ret->free_disk_bytes = atomic_load(&l->free_bytes);
        pthread_mutex_lock(&l->mutex);
        ret->group_us_p50 = local_group_us(l, 500);
        ret->group_us_p99 = local_group_us(l, 990);
        ret->group_us_max = local_group_us(l, 1000);
        ret->group_us_max_own = l->own_us_max;
        pthread_mutex_unlock(&l->mutex);
        pthread_mutex_lock(&l->log.mutex);
        for (int i = 0; i < LOG_STREAMS; i++) {
                LIST_FOR_EACH(node, &l->log.streams[i]) {
                        ret->log_bytes += LIST_OBJECT(node, struct segment, node)->size;
                        ret->live_bytes += LIST_OBJECT(node, struct segment, node)->live_octets;
                }
        }
        pthread_mutex_unlock(&l->log.mutex);
}

const struct store_driver store_local_driver = {
        .scheme = "local",
        .has_atomic_group = true,
        .open = local_open,
        .close = local_close,
        .state = local_state,
        .failure = local_failure,
        .commit = local_commit,
        .trace_lazily = local_trace_lazily,
        .query = local_query,
        .blob_lend = local_blob_lend,
        .blob_return = local_blob_return,
        .blob_open = local_blob_open,
        .segment_open = local_segment_open,
        .backup_end = local_backup_end_of,
        .metrics = local_metrics,
};
