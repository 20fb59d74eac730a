#include "store/index_behind.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/hash.h"
#include "base/prefetch.h"
#include "base/thread.h"
#include "store/index_level.h"

/*   put, remove ──► ops ──write──► waiting ──start──► pushing ──thread──► below
 *
 * Invariants
 * 1. `waiting` changes only in write(), under the lock, by whole writes: so
 *    what is pushed is always a prefix of the writes.
 * 2. `pushing` does not change while it is pushed; it is forgotten, under the
 *    lock, when all of it is below. Reads look at waiting, then pushing, then
 *    below.
 * 3. Of a write that is closed only the one who writes it knows; the open one is the
 *    collector's. When none is closed, both are the same thread.
 * 4. Only the push thread writes below, but for ranges, while it rests. Whoever
 *    starts it or writes past it holds start_lock.
 *
 * The push is a thread's work so that the group behind it does not wait: its
 * size decides how much is saved, not how long a commit takes. */

enum {
        WAITING_MAX = 64 * 1024,         /* entries; then a push */
        WAITING_BYTES_MAX = 12 * 1024 * 1024,
        WAITING_US_MAX = 1000 * 1000,    /* looked at when something is written */
        OVERRUN = 2,                     /* so many times the above: the writer waits */
        OPS_MAX = 64 * 1024 * 1024,      /* of one group */
        NAP_MS = 20,                     /* without memory, so often: */
        NAPS = 100,
        AHEAD = 16,                      /* operations */
        WRITTEN_SOON = 512,              /* octets */
        PUSHED_SOON = 12,                /* entries; each is fetched as far as */
        FETCHED = 4 * PREFETCH_LINE,
};

enum op_kind { OP_PUT, OP_PUT_NEW, OP_REMOVE, OP_REMOVE_RANGE };

enum { OP_LENGTH = 4 }; /* octets of one: kind 1, key 4+n, value 4+n */

struct op {
        enum op_kind kind;
        struct span key, value; /* REMOVE: no value */
        uint64_t hash;          /* of the key, in the levels */
        uint64_t head_hash;     /* 0: the head is that of the key before */
};

struct write { /* collected, not yet written */
        struct buffer ops;
        bool has_range;
};

struct behind {
        struct index index;
        struct index *below;
        struct write writes[INDEX_CLOSED_MAX + 1]; /* a ring: the closed ones, the open one */
        size_t first;
        _Atomic size_t closed_count;
        size_t open, ops_mark; /* the open one's place in the ring; the collector's */
        pthread_mutex_t lock; /* of what follows */
        pthread_cond_t changed;
        bool is_broken, is_pushing, is_closing, is_resting;
        struct level *waiting, *pushing;
        struct level levels[3]; /* those two, and one that the push thread empties */
        pthread_mutex_t start_lock;
        pthread_t thread;
};

static struct behind *behind_of(struct index *i)
{
        return (struct behind *) (void *) i;
}

/* ---- what waits --------------------------------------------------------- */

static void nap(void)
{
        const struct timespec t = {.tv_nsec = NAP_MS * 1000000L};

        nanosleep(&t, NULL);
}

/* What is written here is durable in the log already: without memory there is only
 * waiting for some, and after that no going on. */
static int add_patiently(struct behind *b, const struct op *op, struct level_entry **ret_e)
{
        int r = level_add(b->waiting, op->key, op->hash, op->value, ret_e);

        for (int i = 0; i < NAPS && r == -ENOMEM; i++) {
                nap();
                r = level_add(b->waiting, op->key, op->hash, op->value, ret_e);
        }
        return r;
}

static int wait_put(struct behind *b, const struct op *op)
{
        struct level_entry *old = level_find(b->waiting, op->key, op->hash), *e;
        bool is_new = op->kind == OP_PUT_NEW;
        int r;

        if (old && !old->is_removed && old->value_len == op->value.len) {
                if (op->value.len)
                        memcpy(old->octets + old->key_len, op->value.p, op->value.len);
                return 0;
        }
        if (old) {
                is_new = old->is_new;
                level_drop(b->waiting, old);
        }
        r = add_patiently(b, op, &e);
        if (r == 0)
                e->is_new = is_new;
        return r;
}

static int wait_remove(struct behind *b, const struct op *op)
{
        struct level_entry *e = level_find(b->waiting, op->key, op->hash);
        int r;

        if (e && e->is_new) { /* it never was below, and never will be */
                level_drop(b->waiting, e);
                return 0;
        }
        if (e)
                level_drop(b->waiting, e);
        r = add_patiently(b, op, &e);
        if (r == 0)
                e->is_removed = true;
        return r;
}

/* ---- pushing ------------------------------------------------------------ */

static void change_at(const void *changes, size_t i, struct index_change *ret_change)
{
        const struct level_entry *const *list = changes, *e = list[i];
        const struct level_entry *soon = list[i + PUSHED_SOON]; /* behind the last: NULL */

        if (soon)
                prefetch_octets(soon, FETCHED);
        *ret_change = (struct index_change) {level_key(e), level_value(e), e->is_removed};
}

/* In the order of the keys: the engine's own structure is walked once, not
 * entered anew for each. */
static int put_all_below(struct behind *b)
{
        const struct level_entry **list = NULL;
        int r = level_order(b->pushing, PUSHED_SOON, &list);

        for (int i = 0; i < NAPS && r == -ENOMEM; i++) {
                nap();
                r = level_order(b->pushing, PUSHED_SOON, &list);
        }
        if (r == 0)
                r = index_load(b->below, list, b->pushing->entries.count, change_at);
        free(list);
        return r;
}

/* A failure leaves the engine broken, as index.h says. */
static void *push_thread(void *arg)
{
        struct behind *b = arg;
        struct level *empty = &b->levels[2];

        pthread_setname_np(pthread_self(), "store-index");
        thread_give_way();
        pthread_mutex_lock(&b->lock);
        for (;;) {
                struct level *pushed;
                int r;

                while (!b->is_pushing && !b->is_closing) {
                        if (b->is_resting)
                                level_done(empty);
                        b->is_resting = false;
                        pthread_cond_wait(&b->changed, &b->lock);
                }
                if (!b->is_pushing)
                        break;
                pushed = b->pushing;
                pthread_mutex_unlock(&b->lock);
                r = put_all_below(b);
                pthread_mutex_lock(&b->lock);
                b->pushing = empty;
                b->is_pushing = false;
                b->is_broken |= r < 0;
                pthread_cond_broadcast(&b->changed);
                pthread_mutex_unlock(&b->lock);
                level_clear(pushed); /* out of the lock: that takes a while */
                empty = pushed;
                pthread_mutex_lock(&b->lock);
        }
        pthread_mutex_unlock(&b->lock);
        return NULL;
}

/* With start_lock and lock held. */
static void wait_for_push(struct behind *b)
{
        while (b->is_pushing)
                pthread_cond_wait(&b->changed, &b->lock);
}

static void start_push(struct behind *b)
{
        struct level *pushed;

        wait_for_push(b);
        if (b->waiting->entries.count == 0 || b->is_broken)
                return; /* broken: a half of a group may wait, which must never get below */
        pushed = b->waiting;
        b->waiting = b->pushing;
        b->pushing = pushed;
        b->is_pushing = true;
        pthread_cond_broadcast(&b->changed);
}

/* Everything that waits is below when it returns. With start_lock held. */
static int push_all(struct behind *b)
{
        bool is_broken;

        pthread_mutex_lock(&b->lock);
        start_push(b);
        wait_for_push(b);
        is_broken = b->is_broken;
        pthread_mutex_unlock(&b->lock);
        return is_broken ? -EIO : 0;
}

static bool is_full(const struct behind *b, unsigned times)
{
        return b->waiting->entries.count > WAITING_MAX * times ||
               b->waiting->bytes > (size_t) WAITING_BYTES_MAX * times;
}

static bool should_push(const struct behind *b)
{
        return is_full(b, 1) || (b->waiting->entries.count &&
                                 clock_monotonic_us() - b->waiting->since_us > WAITING_US_MAX);
}

/* ---- writing ------------------------------------------------------------ */

static int make_room(struct buffer *ops, size_t n, char **ret_room)
{
        int r = buffer_reserve(ops, n, ret_room);

        for (int i = 0; i < NAPS && r == -ENOMEM; i++) {
                nap();
                r = buffer_reserve(ops, n, ret_room);
        }
        return r;
}

static char *put_octets(char *out, struct span octets)
{
        codec_put_u32(out, (uint32_t) octets.len);
        if (octets.len)
                memcpy(out + OP_LENGTH, octets.p, octets.len);
        return out + OP_LENGTH + octets.len;
}

/* The threads take turns, so that what is written to lies in another processor's cache. */
static int collect(struct buffer *ops, enum op_kind kind, struct span key, struct span value)
{
        const size_t n = 1 + 2 * OP_LENGTH + key.len + value.len;
        char *room;
        const int r = make_room(ops, n, &room);

        if (r < 0)
                return r;
        prefetch_octets_to_write(room + WRITTEN_SOON, n);
        room[0] = (char) kind;
        put_octets(put_octets(room + 1, key), value);
        buffer_commit(ops, n);
        return 0;
}

static struct write *open_write(struct index *i)
{
        return &behind_of(i)->writes[behind_of(i)->open];
}

static int behind_put(struct index *i, struct span key, struct span value)
{
        return collect(&open_write(i)->ops, OP_PUT, key, value);
}

static int behind_put_new(struct index *i, struct span key, struct span value)
{
        return collect(&open_write(i)->ops, OP_PUT_NEW, key, value);
}

static int behind_put_late(struct index *i, struct span key, struct span value)
{
        struct behind *b = behind_of(i);

        return collect(&b->writes[b->first].ops, OP_PUT, key, value);
}

static int behind_remove(struct index *i, struct span key)
{
        return collect(&open_write(i)->ops, OP_REMOVE, key, span_make(NULL, 0));
}

static int behind_remove_range(struct index *i, struct span from, struct span to)
{
        open_write(i)->has_range = true;
        return collect(&open_write(i)->ops, OP_REMOVE_RANGE, from, to);
}

static void behind_mark(struct index *i)
{
        behind_of(i)->ops_mark = open_write(i)->ops.len;
}

static void behind_rollback(struct index *i)
{
        open_write(i)->ops.len = behind_of(i)->ops_mark;
}

static int behind_close_write(struct index *i)
{
        struct behind *b = behind_of(i);

        if (atomic_load(&b->closed_count) == INDEX_CLOSED_MAX)
                return -EBUSY;
        b->open = (b->open + 1) % (INDEX_CLOSED_MAX + 1);
        b->ops_mark = 0;
        atomic_fetch_add(&b->closed_count, 1);
        return 0;
}

static int take_op(struct reader *in, struct op *ret_op)
{
        ret_op->kind = (enum op_kind) read_u8(in);
        ret_op->key = read_octets(in, UINT32_MAX);
        ret_op->value = read_octets(in, UINT32_MAX);
        return in->failed ? -EIO : 0;
}

static void fetch_slots(const struct behind *b, struct op *op, struct span key_before)
{
        op->hash = level_hash(b->waiting, op->key);
        level_fetch(b->waiting, op->hash);
        op->head_hash = level_has_same_head(op->key, key_before)
                                ? 0 : level_fetch_head(b->waiting, op->key);
}

static void fetch_entries(const struct behind *b, const struct op *op)
{
        level_fetch_entry(b->waiting, op->hash);
        if (op->head_hash)
                level_fetch_head_entry(b->waiting, op->head_hash);
}

static void fetch_others(const struct behind *b, const struct op *op)
{
        level_fetch_next(b->waiting, op->hash);
        if (op->head_hash)
                level_fetch_head_last(b->waiting, op->head_hash);
}

/* Nearly every key is somewhere in memory where nobody has been for long: so each is
 * fetched while those before it are dealt with. */
static int let_wait(struct behind *b, const struct write *w)
{
        struct reader in = READER(buffer_span(&w->ops));
        struct op ahead[AHEAD];
        struct span key_before = {NULL, 0};
        size_t taken = 0;
        int r = 0;

        for (size_t done = 0; r == 0 && (in.rest.len || done < taken);) {
                struct op *op = &ahead[taken % AHEAD];

                if (in.rest.len) {
                        r = take_op(&in, op);
                        if (r < 0)
                                break;
                        fetch_slots(b, op, key_before);
                        key_before = op->key;
                        taken++;
                        if (taken >= AHEAD / 2)
                                fetch_entries(b, &ahead[(taken - AHEAD / 2) % AHEAD]);
                        if (taken >= AHEAD * 3 / 4)
                                fetch_others(b, &ahead[(taken - AHEAD * 3 / 4) % AHEAD]);
                        if (taken < done + AHEAD)
                                continue;
                }
                op = &ahead[done++ % AHEAD];
                r = op->kind == OP_REMOVE ? wait_remove(b, op) : wait_put(b, op);
        }
        return r;
}

/* A range does not know what waits: everything goes below, in order. With
 * start_lock held. */
static int write_through(struct behind *b, const struct write *w)
{
        struct reader in = READER(buffer_span(&w->ops));
        int r = push_all(b);

        while (in.rest.len && r == 0) {
                struct op op;

                r = take_op(&in, &op);
                if (r < 0)
                        break;
                if (op.kind == OP_REMOVE_RANGE)
                        r = index_remove_range(b->below, op.key, op.value);
                else if (op.kind == OP_REMOVE)
                        r = index_remove(b->below, op.key);
                else
                        r = index_put(b->below, op.key, op.value);
        }
        return r == 0 ? index_write(b->below) : r;
}

/* Starts a push if it is time for one, without waiting for one under way
 * unless far too much waits. */
static void push_when_due(struct behind *b)
{
        bool is_due, is_urgent;

        pthread_mutex_lock(&b->lock);
        is_urgent = is_full(b, OVERRUN);
        is_due = is_urgent || (!b->is_pushing && should_push(b));
        pthread_mutex_unlock(&b->lock);
        if (!is_due)
                return;
        if (is_urgent)
                pthread_mutex_lock(&b->start_lock);
        else if (pthread_mutex_trylock(&b->start_lock) != 0)
                return; /* a flush is at it */
        pthread_mutex_lock(&b->lock);
        start_push(b);
        pthread_mutex_unlock(&b->lock);
        pthread_mutex_unlock(&b->start_lock);
}

static int behind_write(struct index *i)
{
        struct behind *b = behind_of(i);
        struct write *w = &b->writes[b->first];
        bool is_broken;
        int r;

        if (w->has_range) {
                pthread_mutex_lock(&b->start_lock);
                r = write_through(b, w);
                pthread_mutex_unlock(&b->start_lock);
        } else {
                pthread_mutex_lock(&b->lock);
                r = let_wait(b, w);
                b->is_broken |= r < 0;
                pthread_mutex_unlock(&b->lock);
                push_when_due(b);
        }
        buffer_clear(&w->ops);
        w->has_range = false;
        if (atomic_load(&b->closed_count)) {
                b->first = (b->first + 1) % (INDEX_CLOSED_MAX + 1);
                atomic_fetch_sub(&b->closed_count, 1);
        } else {
                b->ops_mark = 0;
        }
        pthread_mutex_lock(&b->lock);
        b->is_broken |= r < 0;
        is_broken = b->is_broken;
        pthread_mutex_unlock(&b->lock);
        return is_broken ? -EIO : 0;
}

static int behind_flush(struct index *i)
{
        struct behind *b = behind_of(i);
        int r;

        pthread_mutex_lock(&b->start_lock);
        r = push_all(b);
        pthread_mutex_unlock(&b->start_lock);
        return r == 0 ? index_flush(b->below) : r;
}

/* The empty ones keep memory for as much again; one of the three is the push thread's. */
static void behind_rest(struct index *i)
{
        struct behind *b = behind_of(i);

        pthread_mutex_lock(&b->start_lock);
        push_all(b);
        pthread_mutex_lock(&b->lock);
        if (b->waiting->entries.count == 0)
                level_done(b->waiting);
        level_done(b->pushing);
        b->is_resting = true;
        pthread_cond_broadcast(&b->changed);
        pthread_mutex_unlock(&b->lock);
        pthread_mutex_unlock(&b->start_lock);
        index_rest(b->below);
}

/* ---- reading ------------------------------------------------------------ */

static int behind_get(struct index *i, struct span key, bool may_block, struct buffer *ret_value)
{
        struct behind *b = behind_of(i);
        const uint64_t hash = level_hash(&b->levels[0], key); /* all have one seed */
        const struct level_entry *e;
        int r = 1;

        pthread_mutex_lock(&b->lock);
        level_fetch(b->pushing, hash);
        level_fetch_entry(b->waiting, hash);
        level_fetch_entry(b->pushing, hash);
        e = level_find(b->waiting, key, hash);
        if (!e)
                e = level_find(b->pushing, key, hash);
        if (e && e->is_removed) {
                r = -ENOENT;
        } else if (e) {
                buffer_clear(ret_value);
                r = buffer_append_span(ret_value, level_value(e));
        }
        pthread_mutex_unlock(&b->lock);
        /* Between the unlock and this, what waits may have moved below: found there. */
        return r <= 0 ? r : index_get(b->below, key, may_block, ret_value);
}

/* What waits is a heap, its root the next of the scan; or, of one partition, a list in
 * the order of the scan. */
struct merge {
        const struct level_entry **heap; /* count of them; behind those the ones that were taken */
        size_t count, all, room;
        size_t at; /* in the list */
        bool is_list;
        bool are_copies;
        bool is_reverse, has_ended;
        int result;
        size_t given, given_max; /* entries; 0: the visitor says */
        index_visit_fn *visit;
        void *arg;
};

static bool give(struct merge *m, struct span key, struct span value)
{
        if (!m->has_ended && (!m->visit(m->arg, key, value) || ++m->given == m->given_max))
                m->has_ended = true;
        return !m->has_ended;
}

static bool comes_before(const struct merge *m, size_t a, size_t b)
{
        const int c = level_compare(level_key(m->heap[a]), level_key(m->heap[b]));

        return m->is_reverse ? c > 0 : c < 0;
}

static void sift_down(struct merge *m, size_t i)
{
        for (;;) {
                size_t first = i;
                const struct level_entry *e = m->heap[i];

                for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < m->count; child++)
                        if (comes_before(m, child, first))
                                first = child;
                if (first == i)
                        return;
                m->heap[i] = m->heap[first];
                m->heap[first] = e;
                i = first;
        }
}

static const struct level_entry *next_of(const struct merge *m)
{
        return m->heap[m->at];
}

static const struct level_entry *take_next(struct merge *m)
{
        const struct level_entry *e = next_of(m);

        m->count--;
        if (m->is_list) {
                m->at++;
                return e;
        }
        m->heap[0] = m->heap[m->count];
        m->heap[m->count] = e;
        sift_down(m, 0);
        return e;
}

/* Gives what waits and comes before `key`; true when it has `key` itself. */
static bool give_until(struct merge *m, struct span key)
{
        while (m->count && !m->has_ended) {
                const struct level_entry *e = next_of(m);
                const int c = level_compare(level_key(e), key) * (m->is_reverse ? -1 : 1);

                if (c > 0)
                        return false;
                take_next(m);
                if (!e->is_removed)
                        give(m, level_key(e), level_value(e));
                if (c == 0)
                        return true;
        }
        return false;
}

static bool visit_below(void *arg, struct span key, struct span value)
{
        struct merge *m = arg;

        if (!give_until(m, key))
                give(m, key, value);
        return !m->has_ended;
}

static bool is_within(const struct index_range *range, struct span key)
{
        return level_compare(key, range->from) >= 0 && level_compare(key, range->to) < 0;
}

static int add_entry(struct merge *m, const struct level_entry *e)
{
        struct level_entry *copy = NULL;

        if (m->count == m->room) {
                const size_t room = m->room ? m->room * 2 : 64;
                const struct level_entry **heap = realloc(m->heap, room * sizeof *heap);

                if (!heap)
                        return -ENOMEM;
                m->heap = heap;
                m->room = room;
        }
        if (m->are_copies) {
                copy = malloc(sizeof *e + e->key_len + e->value_len);
                if (!copy)
                        return -ENOMEM;
                memcpy(copy, e, sizeof *e + e->key_len + e->value_len);
        }
        m->heap[m->count++] = copy ? copy : e;
        m->all = m->count;
        return 0;
}

/* Nearly always the range lies in one partition, of which little waits. */
static bool is_of_one_head(const struct index_range *range)
{
        return range->from.len >= LEVEL_HEAD_OCTETS && range->to.len >= LEVEL_HEAD_OCTETS &&
               memcmp(range->from.p, range->to.p, LEVEL_HEAD_OCTETS) == 0;
}

static int make_heap(struct behind *b, const struct level *level, const struct index_range *range,
                     struct merge *m)
{
        int r = 0;

        LIST_FOR_EACH(node, &level->order) {
                const struct level_entry *e = LIST_OBJECT(node, struct level_entry, node);

                if (!is_within(range, level_key(e)) ||
                    (level == b->pushing &&
                         level_find(b->waiting, level_key(e), e->by_key.hash)))
                        continue;
                r = add_entry(m, e);
                if (r < 0)
                        break;
        }
        return r;
}

/* As much as the scan can reach: all that is gone on the way, and as many others as
 * it may give. */
static int make_list(struct merge *m, struct level_run *waiting, struct level_run *pushing)
{
        size_t reached = 0;
        int r = 0;

        while (r == 0 && (!m->given_max || reached < m->given_max)) {
                const struct level_entry *w = level_run_peek(waiting);
                const struct level_entry *p = level_run_peek(pushing), *e;
                const int c = !w || !p ? 0 : level_compare(level_key(w), level_key(p)) *
                                                     (m->is_reverse ? -1 : 1);

                if (!w && !p)
                        break;
                e = w && (!p || c <= 0) ? w : p;
                if (e == p || (p && c == 0)) /* both have the key: what waits is newer */
                        level_run_skip(pushing);
                if (e == w)
                        level_run_skip(waiting);
                reached += !e->is_removed;
                r = add_entry(m, e);
        }
        return r;
}

static int start_merge(struct behind *b, const struct index_range *range, struct merge *m)
{
        struct level_run waiting, pushing;
        int r;

        m->is_reverse = range->is_reverse;
        m->given_max = range->limit;
        m->is_list = is_of_one_head(range);
        if (m->is_list) {
                r = level_run_init(b->waiting, range, &waiting);
                if (r == 0)
                        r = level_run_init(b->pushing, range, &pushing);
                return r == 0 ? make_list(m, &waiting, &pushing) : r;
        }
        r = make_heap(b, b->waiting, range, m);
        if (r == 0)
                r = make_heap(b, b->pushing, range, m);
        for (size_t i = m->count / 2; i-- > 0;)
                sift_down(m, i);
        return r;
}

static void unlock(void *arg)
{
        struct behind *b = arg;

        pthread_mutex_unlock(&b->lock);
}

/* For a scan that may read the disk, what waits is copied and the engine's moment settled
 * under the lock: then it keeps nobody from writing. Others are over soon. */
static int behind_scan(struct index *i, const struct index_range *range, bool may_block,
                       index_visit_fn *visit, void *arg)
{
        struct behind *b = behind_of(i);
        struct merge m = {.visit = visit, .arg = arg, .are_copies = may_block};
        struct index_range below = *range;
        int r;

        below.begun = may_block ? unlock : NULL;
        below.begun_arg = b;
        pthread_mutex_lock(&b->lock);
        r = start_merge(b, range, &m);
        if (r == 0)
                r = index_scan(b->below, &below, may_block, visit_below, &m);
        else if (may_block)
                pthread_mutex_unlock(&b->lock);
        while (r == 0 && m.count && !m.has_ended) {
                const struct level_entry *e = take_next(&m);

                if (!e->is_removed)
                        give(&m, level_key(e), level_value(e));
        }
        if (!may_block)
                pthread_mutex_unlock(&b->lock);
        for (size_t k = 0; k < m.all && may_block; k++)
                free((struct level_entry *) (uintptr_t) m.heap[k]);
        free(m.heap);
        return r;
}

static int behind_get_flushed(struct index *i, struct span key, struct buffer *ret_value)
{
        return index_get_flushed(behind_of(i)->below, key, ret_value);
}

static void behind_close(struct index *i)
{
        struct behind *b = behind_of(i);

        pthread_mutex_lock(&b->lock);
        b->is_closing = true;
        pthread_cond_broadcast(&b->changed);
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->thread, NULL);
        for (size_t k = 0; k < 3; k++)
                level_done(&b->levels[k]);
        for (size_t k = 0; k <= INDEX_CLOSED_MAX; k++)
                buffer_done(&b->writes[k].ops);
        index_close(b->below);
        pthread_mutex_destroy(&b->lock);
        pthread_mutex_destroy(&b->start_lock);
        pthread_cond_destroy(&b->changed);
        free(b);
}

static const struct index_driver driver = {
        .get = behind_get,
        .scan = behind_scan,
        .put = behind_put,
        .put_new = behind_put_new,
        .remove = behind_remove,
        .remove_range = behind_remove_range,
        .mark = behind_mark,
        .rollback = behind_rollback,
        .close_write = behind_close_write,
        .put_late = behind_put_late,
        .write = behind_write,
        .flush = behind_flush,
        .rest = behind_rest,
        .get_flushed = behind_get_flushed,
        .close = behind_close,
};

struct index *index_behind_new(struct index *below)
{
        struct behind *b = calloc(1, sizeof *b);

        if (!b)
                return NULL;
        b->index.driver = &driver;
        b->below = below;
        for (size_t k = 0; k <= INDEX_CLOSED_MAX; k++)
                b->writes[k].ops = BUFFER_INIT(OPS_MAX);
        for (size_t k = 0; k < 3; k++)
                level_init(&b->levels[k], hash_seed());
        b->waiting = &b->levels[0];
        b->pushing = &b->levels[1];
        pthread_mutex_init(&b->lock, NULL);
        pthread_mutex_init(&b->start_lock, NULL);
        pthread_cond_init(&b->changed, NULL);
        if (pthread_create(&b->thread, NULL, push_thread, b) != 0) {
                free(b);
                return NULL;
        }
        return &b->index;
}
