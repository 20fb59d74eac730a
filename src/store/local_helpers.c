#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "base/resident.h"
#include "base/thread.h"
#include "store/local.h"

enum {
        CHORES_EVERY_US = 1000 * 1000,
        CHORES_IDLE_US = 4 * 1000 * 1000, /* where nothing was committed meanwhile */
        CHORES_REST_US = 10 * 1000 * 1000, /* where nothing was for long */
        REST_AFTER = 2, REST_AGAIN = 5, /* idle rounds; what the first began is over then */
        RECLAIM_EVERY_US = 10 * 1000 * 1000,
        RECLAIM_PAUSE_US = 1000, /* between two pieces of moving */
        READ_AT_ONCE = 8, /* questions a reader takes: they come in rows, and wake the loop once */
};

/* ---- chores ---------------------------------------------------------------- */

void local_check_space(struct local *l)
{
        uint64_t free_bytes, total;
        uint64_t reserve = l->reserve_bytes;

        if (io_space(l->io, &free_bytes, &total) < 0)
                return;
        if (!reserve)
                reserve = total / 100 * 3 > 1 << 30 ? total / 100 * 3 : 1 << 30;
        atomic_store(&l->free_bytes, free_bytes);
        atomic_store(&l->is_full, free_bytes < reserve);
        atomic_store(&l->is_exhausted, free_bytes < reserve / 4);
}

void local_prepare(struct local *l)
{
        bool is_wanted[LOG_STREAMS];

        pthread_mutex_lock(&l->log.mutex);
        for (enum log_stream i = 0; i < LOG_STREAMS; i++)
                is_wanted[i] = l->log.current[i] && !l->log.next[i];
        pthread_mutex_unlock(&l->log.mutex);
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                if (!is_wanted[i])
                        continue;
                /* A failure is none yet: the sync thread makes its own when it
                 * must. */
                if (!atomic_load(&l->is_full) || log_has_dead(&l->log))
                        log_prepare(&l->log, i, &l->safe);
        }
}

/* Room is given back now and then only: what is kept saves making new ones. */
static void reclaim(struct local *l, uint64_t *reclaimed_at_us)
{
        const uint64_t now_us = clock_monotonic_us();

        if (now_us - *reclaimed_at_us < RECLAIM_EVERY_US)
                return;
        *reclaimed_at_us = now_us;
        log_reclaim(&l->log, &l->safe, local_dead_kept(l));
}

static void wait_for_chores(struct local *l, uint64_t us)
{
        const uint64_t due_us = clock_monotonic_us() + us;
        const struct timespec until = {(time_t) (due_us / 1000000),
                                       (long) (due_us % 1000000) * 1000};

        pthread_mutex_lock(&l->mutex);
        if (!l->is_closing)
                pthread_cond_timedwait(&l->has_chores, &l->mutex, &until);
        pthread_mutex_unlock(&l->mutex);
}

/* After a round, in which nothing was committed or something was. */
static void rest_when_idle(struct local *l, unsigned *idle_rounds, bool is_idle)
{
        *idle_rounds = is_idle ? *idle_rounds + 1 : 0;
        if (*idle_rounds != REST_AFTER && *idle_rounds != REST_AGAIN)
                return;
        index_rest(l->index);
        resident_give_back();
}

void local_pause(struct local *l)
{
        local_hand_over(l);
        pthread_mutex_lock(&l->chores);
        pthread_mutex_lock(&l->mutex);
        while (!list_is_empty(&l->commits) || !list_is_empty(&l->moves) || l->ended != l->taken)
                pthread_cond_wait(&l->has_ended, &l->mutex);
        pthread_mutex_unlock(&l->mutex);
}

void local_go_on(struct local *l)
{
        pthread_mutex_unlock(&l->chores);
}

/* Shorter the pause when there is more to move. */
static void do_chores(struct local *l, uint64_t *pause_us, uint64_t *reclaimed_at_us)
{
        uint64_t emptied;

        local_backup_clean(l);
        /* First, since the log is kept as long as traces need it. */
        if (trace_has_work(l->trace))
                trace_write(l->trace, clock_now_us());
        local_checkpoint(l);
        local_prepare(l);
        emptied = l->reclaim.emptied;
        if (local_reclaim(l))
                *pause_us = RECLAIM_PAUSE_US;
        if (emptied && !l->reclaim.emptied)
                *reclaimed_at_us = 0;
        reclaim(l, reclaimed_at_us);
}

/* A disk that is full is looked at more often: mail waits for it. */
static uint64_t pause_for(const struct local *l, uint64_t committed_at_us, unsigned idle_rounds)
{
        if (clock_monotonic_us() - committed_at_us < CHORES_EVERY_US)
                return CHORES_EVERY_US;
        return idle_rounds > REST_AGAIN && !atomic_load(&l->is_full) ? CHORES_REST_US
                                                                     : CHORES_IDLE_US;
}

void *local_helper_run(void *local)
{
        struct local *l = local;
        uint64_t reclaimed_at_us = clock_monotonic_us(), pause_us = CHORES_EVERY_US;
        uint64_t committed_at_us = reclaimed_at_us;
        unsigned idle_rounds = 0;
        bool is_closing = false;

        pthread_setname_np(pthread_self(), "store-helper");
        thread_be_interrupted();
        while (!is_closing) {
                const uint64_t commits = atomic_load(&l->commit_count);

                atomic_store(&l->is_resting, pause_us >= CHORES_IDLE_US);
                wait_for_chores(l, pause_us);
                if (commits != atomic_load(&l->commit_count))
                        committed_at_us = clock_monotonic_us();
                pause_us = pause_for(l, committed_at_us, idle_rounds);
                pthread_mutex_lock(&l->mutex);
                is_closing = l->is_closing;
                pthread_mutex_unlock(&l->mutex);
                if (is_closing || atomic_load(&l->has_failed))
                        continue;
                rest_when_idle(l, &idle_rounds, pause_us >= CHORES_IDLE_US);
                local_check_space(l);
                if (l->is_quiet)
                        continue;
                pthread_mutex_lock(&l->chores);
                do_chores(l, &pause_us, &reclaimed_at_us);
                pthread_mutex_unlock(&l->chores);
        }
        return NULL;
}

/* ---- readers --------------------------------------------------------------- */

static int read_octets_of(struct local *l, struct query *q, const struct blob_place *place,
                          size_t len, char *to)
{
        char path[LOCAL_BLOB_PATH_MAX];
        int64_t got;
        int file, r;

        if (place->kind == BLOB_IN_SEGMENT) {
                r = log_read(&l->log, place->segment, place->offset + q->offset, to, len);
                if (r == -ENOENT)
                        r = -ESTALE; /* not the body is gone, but the place */
                if (r == 0 && q->offset == 0 && len == place->size &&
                    apply_checksum(span_make(to, len)) != place->checksum)
                        r = -EBADMSG;
                return r;
        }
        file = io_open(l->io, local_blob_path(q->number, path), IO_READ_ONLY);
        if (file < 0)
                return file;
        got = io_pread(l->io, file, to, len, q->offset);
        io_close(l->io, file);
        return got == (int64_t) len ? 0 : got < 0 ? (int) got : -EBADMSG;
}

static int find_and_read(struct local *l, struct query *q, struct blob_place *place)
{
        size_t len;
        char *to;
        int r = apply_find_blob(l->index, q->number, true, &q->octets, place);

        buffer_clear(&q->octets);
        if (r < 0)
                return r;
        q->answer = place->size;
        if (q->offset >= place->size)
                return 0;
        len = place->size - q->offset < q->limit ? (size_t) (place->size - q->offset) : q->limit;
        r = buffer_reserve(&q->octets, len, &to);
        if (r == 0)
                r = read_octets_of(l, q, place, len, to);
        if (r == 0)
                buffer_commit(&q->octets, len);
        return r;
}

/* A body may be moved or go while we read it: then what was found anew counts. */
static void answer_blob(struct local *l, struct query *q)
{
        struct blob_place place = {0}, before;

        do {
                before = place;
                q->result = find_and_read(l, q, &place);
        } while (q->result < 0 && q->result != -ENOENT && q->result != -ENOMEM &&
                 (before.segment != place.segment || before.offset != place.offset));
        if (q->result < 0)
                buffer_clear(&q->octets);
        if (q->result == -ESTALE)
                q->result = -EBADMSG;
}

/* Those that lie in a segment of mail; what is in the queue is not for others. */
static void answer_places(struct local *l, struct query *q)
{
        struct store_place *places = query_places(q);

        for (size_t i = 0; i < q->limit; i++) {
                struct store_place *p = &places[i];
                struct blob_place found;

                if (apply_find_blob(l->index, p->blob_id, true, &q->octets, &found) < 0 ||
                    found.kind != BLOB_IN_SEGMENT || !log_is_mail(&l->log, found.segment))
                        continue;
                p->segment = found.segment;
                p->offset = found.offset;
                p->size = found.size;
                p->checksum = found.checksum;
        }
}

static bool give(void *arg, struct span text)
{
        struct query *q = arg;

        q->result = query_give_entry(q, span_make(NULL, 0), text);
        return q->result == 0 && q->entry_count < q->limit;
}

void local_answer(struct local *l, struct query *q)
{
        if (q->kind == QUERY_BACKUP) {
                const int r = local_backup_begin(l, q);

                if (r < 0)
                        q->result = r;
        } else if (q->kind == QUERY_BLOB) {
                answer_blob(l, q);
        } else if (q->kind == QUERY_PLACES) {
                answer_places(l, q);
        } else if (q->kind == QUERY_TRACE) {
                const int r = q->limit ? trace_find(l->trace, q->number, give, q) : 0;

                if (r < 0)
                        q->result = r;
        } else {
                query_run(q, l->index, true);
        }
}

void *local_reader_run(void *local)
{
        struct local *l = local;

        pthread_setname_np(pthread_self(), "store-reader");
        for (;;) {
                struct list_node mine;

                list_init(&mine);
                pthread_mutex_lock(&l->mutex);
                while (!l->is_closing && list_is_empty(&l->queries))
                        pthread_cond_wait(&l->has_queries, &l->mutex);
                for (unsigned i = 0; i < READ_AT_ONCE && !list_is_empty(&l->queries); i++)
                        list_append(&mine, list_take_first(&l->queries));
                pthread_mutex_unlock(&l->mutex);
                if (list_is_empty(&mine))
                        return NULL;
                LIST_FOR_EACH(node, &mine)
                        local_answer(l, LIST_OBJECT(node, struct query, node));
                pthread_mutex_lock(&l->mutex);
                while (!list_is_empty(&mine))
                        list_append(&l->answered, list_take_first(&mine));
                pthread_mutex_unlock(&l->mutex);
                waker_wake(l->waker);
        }
}
