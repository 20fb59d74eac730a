#include "store/store_mem.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <fcntl.h>

#include "base/hash.h"
#include "base/table.h"
#include "store/apply.h"
#include "store/driver.h"
#include "store/query.h"

struct mem_blob {
        struct table_node node;
        uint64_t id;
        char *octets; /* NULL: it is a file */
        size_t size;
        int fd;
        bool is_lent; /* not yet adopted */
};

struct mem_trace {
        struct list_node node;
        struct store_batch *batch; /* a copy that holds nothing else */
};

struct waiting { /* commit or query, in the order they came */
        struct list_node node;
        struct commit *commit;
        struct query *query;
        uint64_t at_ms;
};

struct store_mem {
        struct store store;
        struct index *index;
        struct apply *apply;
        struct list_node waiting, traces;
        struct deferred work;
        struct timer *timer;
        struct table blobs;
        uint64_t delay_ms;
        unsigned fail_skip, fail_count;
        int fail_result;
        bool is_held, is_full, has_failed, is_running;
        struct store_metrics metrics;
};

static struct store_mem *mem_of(const struct store *s)
{
        assert(s->driver == &store_mem_driver);
        return (struct store_mem *) (uintptr_t) s;
}

/* ---- blobs -------------------------------------------------------------- */

static uint64_t blob_hash(uint64_t id)
{
        return hash_span(span_make((const char *) &id, sizeof id), hash_seed());
}

static struct mem_blob *blob_find(const struct store_mem *m, uint64_t id)
{
        for (struct table_node *n = table_first(&m->blobs, blob_hash(id)); n; n = table_next(n)) {
                struct mem_blob *b = TABLE_OBJECT(n, struct mem_blob, node);

                if (b->id == id)
                        return b;
        }
        return NULL;
}

static struct mem_blob *blob_new(struct store_mem *m, uint64_t id)
{
        struct mem_blob *b = calloc(1, sizeof(struct mem_blob));

        if (b && table_add(&m->blobs, &b->node, blob_hash(id)) < 0) {
                free(b);
                return NULL;
        }
        if (b) {
                b->id = id;
                b->fd = -1;
        }
        return b;
}

static void blob_free(struct store_mem *m, struct mem_blob *b)
{
        if (!b)
                return;
        table_remove(&m->blobs, &b->node);
        if (b->fd >= 0)
                close(b->fd);
        free(b->octets);
        free(b);
}

static int blob_keep(struct store_mem *m, const struct batch_op *op)
{
        struct mem_blob *b;

        if (op->kind == BATCH_BLOB_ADOPT) {
                b = blob_find(m, op->number);
                b->is_lent = false;
                return 0;
        }
        b = blob_new(m, op->number);
        if (!b)
                return -ENOMEM;
        b->octets = malloc(op->value.len + 1);
        if (!b->octets) {
                blob_free(m, b);
                return -ENOMEM;
        }
        if (op->value.len)
                memcpy(b->octets, op->value.p, op->value.len);
        b->size = op->value.len;
        return 0;
}

/* The octets of the blobs a commit brings, once it is known to be good. */
static void keep_all(struct store_mem *m, struct commit *c)
{
        for (size_t i = 0; i < c->batch_count; i++) {
                struct span in = buffer_span(&c->batches[i]->record), record;
                struct batch_view view;
                struct batch_op op;
                int r = batch_open(&in, &view, &record);

                while (r == 0 && batch_next(&view, &op))
                        if (op.kind == BATCH_BLOB_PUT || op.kind == BATCH_BLOB_ADOPT)
                                r = blob_keep(m, &op);
        }
}

/* Sizes of lent files, and that they are there. */
static int measure_adopted(struct store_mem *m, struct store_batch *batch)
{
        struct span in = buffer_span(&batch->record), record;
        struct batch_view view;
        struct batch_op op;
        int r = batch_open(&in, &view, &record);

        while (r == 0 && batch_next(&view, &op)) {
                struct mem_blob *b = op.kind == BATCH_BLOB_ADOPT ? blob_find(m, op.number) : NULL;
                struct stat st;

                if (op.kind != BATCH_BLOB_ADOPT)
                        continue;
                if (!b || !b->is_lent || fstat(b->fd, &st) < 0)
                        return -ENOENT;
                b->size = (size_t) st.st_size;
                batch_set_adopted_size(batch, op.number, b->size);
        }
        return r;
}

/* ---- traces ------------------------------------------------------------- */

static void keep_trace(struct store_mem *m, const struct batch_op *op)
{
        static const struct partition nobody;
        struct mem_trace *t = calloc(1, sizeof(struct mem_trace));
        struct store_batch *b = t ? store_batch_new(&m->store, &nobody, STORE_ANY_SEQUENCE) : NULL;
        char count = (char) op->count;
        uint32_t len = (uint32_t) op->value.len;
        char head[2] = {BATCH_TRACE, count};

        if (!b || buffer_append(&b->record, head, 2) < 0 ||
            buffer_append_span(&b->record, op->hashes) < 0 || write_u32(&b->record, len) < 0 ||
            buffer_append_span(&b->record, op->value) < 0) {
                store_batch_free(b);
                free(t);
                return;
        }
        batch_seal(b, 0);
        t->batch = b;
        list_append(&m->traces, &t->node);
}

static void keep_traces(struct store_mem *m, struct store_batch *batch)
{
        struct span in = buffer_span(&batch->record), record;
        struct batch_view view;
        struct batch_op op;

        if (!(batch->has & BATCH_HAS_TRACE) || batch_open(&in, &view, &record) < 0)
                return;
        while (batch_next(&view, &op))
                if (op.kind == BATCH_TRACE)
                        keep_trace(m, &op);
}

static void mem_trace_lazily(struct store *s, struct store_batch *b)
{
        keep_traces(mem_of(s), b);
        store_batch_free(b);
}

static void find_traces(struct store_mem *m, struct query *q)
{
        LIST_FOR_EACH(node, &m->traces) {
                const struct mem_trace *t = LIST_OBJECT(node, struct mem_trace, node);
                struct span in = buffer_span(&t->batch->record), record;
                struct batch_view view;
                struct batch_op op;
                bool is_wanted = false;

                if (batch_open(&in, &view, &record) < 0 || !batch_next(&view, &op))
                        continue;
                for (size_t i = 0; i < (size_t) op.count; i++)
                        is_wanted |= batch_hash(&op, i) == q->number;
                if (is_wanted && q->entry_count < q->limit && q->result == 0)
                        q->result = query_give_entry(q, span_make(NULL, 0), op.value);
        }
}

/* ---- commits and queries ------------------------------------------------ */

static int apply_commit(struct store_mem *m, struct commit *c)
{
        int r = c->result;

        if (r == 0 && m->is_full && (c->has & BATCH_HAS_BLOB))
                r = -ENOSPC;
        apply_begin_commit(m->apply);
        for (size_t i = 0; i < c->batch_count && r == 0; i++) {
                struct store_batch *b = c->batches[i];
                uint64_t sequence;

                if (b->has & BATCH_HAS_ADOPT)
                        r = measure_adopted(m, b);
                if (r == 0)
                        r = apply_record(m->apply, buffer_span(&b->record), b->expected_sequence,
                                         (struct record_place) {0, 0}, &sequence);
        }
        if (r < 0)
                apply_abort_commit(m->apply);
        return r;
}

static int take_effect(struct store_mem *m, struct commit *c)
{
        const struct apply_group *g = apply_oldest_group(m->apply);
        int r;

        if (m->has_failed)
                return -EIO;
        if (m->fail_skip) {
                m->fail_skip--;
        } else if (m->fail_count) {
                m->fail_count--;
                m->has_failed = m->fail_result == -EIO;
                return m->fail_result;
        }
        r = apply_commit(m, c);
        if (r == 0)
                r = apply_end_group(m->apply);
        if (r == 0)
                r = index_write(m->index);
        if (r == 0) {
                keep_all(m, c);
                for (size_t i = 0; i < g->blob_count; i++)
                        if (g->blobs[i].place.references == 0)
                                blob_free(m, blob_find(m, g->blobs[i].id));
                for (size_t i = 0; i < c->batch_count; i++)
                        keep_traces(m, c->batches[i]);
                m->metrics.commits++;
                m->metrics.octets_written += c->size;
        }
        apply_forget_group(m->apply);
        return r;
}

static void read_blob(struct store_mem *m, struct query *q)
{
        const struct mem_blob *b = blob_find(m, q->number);
        size_t len;
        char *to;

        if (!b || b->is_lent) {
                q->result = -ENOENT;
                return;
        }
        q->answer = b->size;
        if (q->offset >= b->size)
                return;
        len = b->size - (size_t) q->offset < q->limit ? b->size - (size_t) q->offset : q->limit;
        q->result = buffer_reserve(&q->octets, len, &to);
        if (q->result < 0)
                return;
        if (b->octets)
                memcpy(to, b->octets + q->offset, len);
        else if (pread(b->fd, to, len, (off_t) q->offset) != (ssize_t) len)
                q->result = -EIO;
        buffer_commit(&q->octets, len);
}

static void answer(struct store_mem *m, struct query *q)
{
        if (q->kind == QUERY_BACKUP)
                q->result = -EOPNOTSUPP;
        else if (q->kind == QUERY_BLOB)
                read_blob(m, q);
        else if (q->kind == QUERY_PLACES)
                q->result = 0; /* there are no segments */
        else if (q->kind == QUERY_TRACE)
                find_traces(m, q);
        else
                query_run(q, m->index, true);
        query_done(q);
}

static void run_one(struct store_mem *m, struct waiting *w)
{
        struct commit *const c = w->commit;
        struct query *const q = w->query;

        list_remove(&w->node);
        free(w);
        if (c)
                store_commit_done(&m->store, c, take_effect(m, c));
        else
                answer(m, q);
}

static void run_waiting(struct store_mem *m, bool is_closing)
{
        struct list_node *node;

        if (m->is_running)
                return; /* called from a callback: the outer call goes on */
        m->is_running = true;
        while ((node = m->waiting.next) != &m->waiting) {
                struct waiting *w = LIST_OBJECT(node, struct waiting, node);
                const uint64_t now_ms = loop_now_ms(m->store.loop);

                if (!is_closing && (m->is_held || w->at_ms > now_ms)) {
                        if (!m->is_held)
                                timer_set(m->timer, w->at_ms - now_ms);
                        break;
                }
                run_one(m, w);
        }
        m->is_running = false;
}

static void run_deferred(struct deferred *d)
{
        run_waiting((struct store_mem *) (void *) ((char *) d - offsetof(struct store_mem, work)),
                    false);
}

static void run_timer(void *arg)
{
        run_waiting(arg, false);
}

static bool wait_for_turn(struct store_mem *m, struct commit *c, struct query *q)
{
        struct waiting *w = calloc(1, sizeof(struct waiting));

        if (!w)
                return false;
        w->commit = c;
        w->query = q;
        w->at_ms = m->delay_ms ? loop_now_ms(m->store.loop) + m->delay_ms : 0;
        list_append(&m->waiting, &w->node);
        loop_defer(m->store.loop, &m->work);
        return true;
}

static void mem_commit(struct store *s, struct commit *c)
{
        if (!wait_for_turn(mem_of(s), c, NULL))
                store_commit_done(s, c, -ENOMEM);
}

static void mem_query(struct store *s, struct query *q)
{
        struct store_mem *m = mem_of(s);

        if ((!m->is_held && m->delay_ms == 0) || !wait_for_turn(m, NULL, q))
                answer(m, q);
}

/* ---- lent files --------------------------------------------------------- */

static int mem_blob_lend(struct store *s, uint64_t blob_id, int *ret_fd)
{
        struct store_mem *m = mem_of(s);
        struct mem_blob *b;

        if (blob_find(m, blob_id))
                return -EEXIST;
        if (m->is_full)
                return -ENOSPC;
        b = blob_new(m, blob_id);
        if (!b)
                return -ENOMEM;
        b->is_lent = true;
        b->fd = memfd_create("blob", MFD_CLOEXEC);
        *ret_fd = b->fd < 0 ? -1 : fcntl(b->fd, F_DUPFD_CLOEXEC, 0);
        if (*ret_fd < 0) {
                const int r = -errno;

                blob_free(m, b);
                return r;
        }
        return 0;
}

static void mem_blob_return(struct store *s, uint64_t blob_id)
{
        struct mem_blob *b = blob_find(mem_of(s), blob_id);

        if (b && b->is_lent)
                blob_free(mem_of(s), b);
}

static int mem_blob_open(struct store *s, uint64_t blob_id, int *ret_fd, uint64_t *ret_size)
{
        const struct mem_blob *b = blob_find(mem_of(s), blob_id);
        char path[64];
        int fd;

        if (!b || b->is_lent || b->octets)
                return -ENOENT;
        snprintf(path, sizeof path, "/proc/self/fd/%d", b->fd);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        *ret_size = b->size;
        return 0;
}

/* ---- the driver --------------------------------------------------------- */

static void free_blob_visit(struct table_node *node, void *arg)
{
        blob_free(arg, TABLE_OBJECT(node, struct mem_blob, node));
}

static void mem_close(struct store *s)
{
        struct store_mem *m = mem_of(s);
        struct list_node *node;

        run_waiting(m, true);
        deferred_cancel(&m->work);
        timer_free(m->timer);
        while ((node = list_take_first(&m->traces))) {
                struct mem_trace *t = LIST_OBJECT(node, struct mem_trace, node);

                store_batch_free(t->batch);
                free(t);
        }
        table_visit(&m->blobs, free_blob_visit, m);
        table_done(&m->blobs);
        apply_free(m->apply);
        index_close(m->index);
        store_done(s);
        free(m);
}

static int mem_open(const char *path, const struct store_options *options, struct loop *loop,
                    struct store **ret_store, char *error)
{
        struct store_mem *m = calloc(1, sizeof(struct store_mem));
        int r = -ENOMEM;

        (void) path;
        (void) options;
        if (m) {
                store_init(&m->store, &store_mem_driver, loop);
                m->store.trace_seed = hash_seed();
                list_init(&m->waiting);
                list_init(&m->traces);
                m->work.run = run_deferred;
                m->index = index_mem_new(0);
                m->apply = m->index ? apply_new(m->index) : NULL;
                r = m->apply ? apply_learn_newest(m->apply) : -ENOMEM;
                if (r == 0)
                        r = timer_new(loop, run_timer, m, &m->timer);
        }
        if (r < 0) {
                snprintf(error, 256, "mem: %s", strerror(-r));
                if (m) {
                        apply_free(m->apply);
                        index_close(m->index);
                }
                free(m);
                return r;
        }
        *ret_store = &m->store;
        return 0;
}

static enum store_state mem_state(const struct store *s)
{
        const struct store_mem *m = mem_of(s);

        return m->has_failed ? STORE_FAILED : m->is_full ? STORE_FULL : STORE_GOOD;
}

static void mem_metrics(const struct store *s, struct store_metrics *ret)
{
        *ret = mem_of(s)->metrics;
        ret->groups = ret->commits;
}

void store_mem_set_delay(struct store *s, uint64_t ms)
{
        mem_of(s)->delay_ms = ms;
}

void store_mem_hold(struct store *s, bool is_held)
{
        mem_of(s)->is_held = is_held;
        loop_defer(s->loop, &mem_of(s)->work);
}

void store_mem_fail(struct store *s, unsigned skip, unsigned count, int result)
{
        struct store_mem *m = mem_of(s);

        assert(result < 0);
        m->fail_skip = skip;
        m->fail_count = count;
        m->fail_result = result;
}

void store_mem_set_full(struct store *s, bool is_full)
{
        mem_of(s)->is_full = is_full;
}

const struct store_driver store_mem_driver = {
        .scheme = "mem",
        .has_atomic_group = true,
        .open = mem_open,
        .close = mem_close,
        .state = mem_state,
        .commit = mem_commit,
        .trace_lazily = mem_trace_lazily,
        .query = mem_query,
        .blob_lend = mem_blob_lend,
        .blob_return = mem_blob_return,
        .blob_open = mem_blob_open,
        .metrics = mem_metrics,
};
