#include "queue/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"
#include "route/route.h"

enum {
        CONCURRENCY_START = 5,
        ROW_SHARE = 4,    /* of active_max: what one destination's row may take beside
                           * others, and what it leaves them when it is alone */
        REFILL_BELOW = 500,
        LAST_EVERY = 8,
        URGENT_WALK_MAX = 1000, /* urgent entries that a more urgent one passes, at most */
};

void queue_init(struct queue *q, const struct queue_options *o)
{
        *q = (struct queue) {
                .active_max = o->active_max,
                .concurrency_max = o->concurrency_max ? o->concurrency_max : 1,
                .block_min_us = o->block_min_us,
                .block_max_us = o->block_max_us,
        };
        list_init(&q->turn);
}

static void free_entry(struct table_node *node, void *arg)
{
        struct queue_entry *e = TABLE_OBJECT(node, struct queue_entry, by_key);
        void (**drop_body)(struct queue_entry *) = arg;

        if (*drop_body)
                (*drop_body)(e);
        queue_entry_free(e);
}

static void free_destination(struct table_node *node, void *arg)
{
        (void) arg;
        free(TABLE_OBJECT(node, struct destination, by_key));
}

void queue_done(struct queue *q, void (*drop_body)(struct queue_entry *e))
{
        table_visit(&q->entries, free_entry, &drop_body);
        table_visit(&q->destinations, free_destination, NULL);
        table_done(&q->entries);
        table_done(&q->destinations);
}

static uint64_t key_hash(uint64_t message_id, uint16_t group)
{
        char key[QUEUE_KEY_LEN];

        return hash_span(queue_key('e', message_id, group, key), hash_seed());
}

struct queue_entry *queue_find(const struct queue *q, uint64_t message_id, uint16_t group)
{
        struct table_node *n = table_first(&q->entries, key_hash(message_id, group));

        for (; n; n = table_next(n)) {
                struct queue_entry *e = TABLE_OBJECT(n, struct queue_entry, by_key);

                if (e->message_id == message_id && e->group == group)
                        return e;
        }
        return NULL;
}

/* ---- destinations ------------------------------------------------------ */

struct destination *queue_find_destination(const struct queue *q, struct span key)
{
        struct table_node *n = table_first(&q->destinations, hash_span(key, hash_seed()));

        for (; n; n = table_next(n)) {
                struct destination *d = TABLE_OBJECT(n, struct destination, by_key);

                if (span_equal(d->key, key))
                        return d;
        }
        return NULL;
}

static struct destination *get_destination(struct queue *q, struct span key)
{
        struct destination *d = queue_find_destination(q, key);
        char *text;

        if (d)
                return d;
        d = calloc(1, sizeof *d + key.len);
        if (!d)
                return NULL;
        text = (char *) (d + 1);
        if (key.len)
                memcpy(text, key.p, key.len);
        d->key = span_make(text, key.len);
        d->concurrency = CONCURRENCY_START < q->concurrency_max ? CONCURRENCY_START
                                                                 : q->concurrency_max;
        list_init(&d->waiting);
        list_init(&d->waiting_last);
        if (table_add(&q->destinations, &d->by_key, hash_span(key, hash_seed())) < 0) {
                free(d);
                return NULL;
        }
        return d;
}

/* In turn exactly while it has an entry that may start (a block is looked at
 * when its turn comes). Forgotten once it is idle and in good health. */
static void settle(struct queue *q, struct destination *d)
{
        const bool may_start = d->waiting_count && d->in_flight < d->concurrency && !d->is_unknown;

        if (may_start && !list_is_linked(&d->in_turn))
                list_append(&q->turn, &d->in_turn);
        if (!may_start)
                list_remove(&d->in_turn);
        if (!d->waiting_count && !d->in_flight && !d->failures && !d->has_stored) {
                table_remove(&q->destinations, &d->by_key);
                free(d);
        }
}

/* ---- entries ----------------------------------------------------------- */

/* Groups of a message are added one after another: a neighbour leads to all. */
static void join_siblings(const struct queue *q, struct queue_entry *e)
{
        struct queue_entry *other = NULL;

        list_init(&e->siblings);
        if (e->group > 0)
                other = queue_find(q, e->message_id, (uint16_t) (e->group - 1));
        if (!other && e->group < UINT16_MAX)
                other = queue_find(q, e->message_id, (uint16_t) (e->group + 1));
        if (other && list_is_linked(&other->siblings))
                list_append(&other->siblings, &e->siblings);
}

/* In order of arrival, but the urgent in front (RFC 6710 section 5) and what
 * can wait behind. */
static void enqueue(struct destination *d, struct queue_entry *e)
{
        const int priority = envelope_priority(e->flags);
        unsigned steps = 0;

        if (priority > 0) {
                LIST_FOR_EACH (node, &d->waiting) {
                        const struct queue_entry *other =
                                LIST_OBJECT(node, struct queue_entry, in_destination);

                        if (envelope_priority(other->flags) >= priority &&
                            ++steps < URGENT_WALK_MAX)
                                continue;
                        list_append(node, &e->in_destination); /* in front of it */
                        return;
                }
        }
        list_append(e->flags & QUEUE_FLAGS_LAST ? &d->waiting_last : &d->waiting,
                    &e->in_destination);
}

int queue_add(struct queue *q, struct queue_entry *e, struct span key)
{
        struct destination *d;
        int r;

        if (queue_find(q, e->message_id, e->group))
                return -EEXIST;
        d = get_destination(q, key);
        if (!d)
                return -ENOMEM;
        r = table_add(&q->entries, &e->by_key, key_hash(e->message_id, e->group));
        if (r < 0) {
                settle(q, d);
                return r;
        }
        e->destination = d;
        join_siblings(q, e);
        enqueue(d, e);
        d->has_stored = d->has_stored || e->waits_for_host;
        d->waiting_count++;
        q->active_count++;
        settle(q, d);
        return 0;
}

int queue_park(struct queue *q, struct queue_entry *e)
{
        int r;

        if (queue_find(q, e->message_id, e->group))
                return -EEXIST;
        r = table_add(&q->entries, &e->by_key, key_hash(e->message_id, e->group));
        if (r == 0)
                q->active_count++;
        return r;
}

static struct queue_entry *take_waiting(struct destination *d)
{
        const bool is_last = list_is_empty(&d->waiting) ||
                             (++d->turns % LAST_EVERY == 0 && !list_is_empty(&d->waiting_last));
        struct list_node *node = list_take_first(is_last ? &d->waiting_last : &d->waiting);

        d->waiting_count--;
        return LIST_OBJECT(node, struct queue_entry, in_destination);
}

enum queue_place queue_place_of(const struct queue *q, struct span key, uint64_t now_us,
                                uint64_t *ret_until_us)
{
        const struct destination *d = queue_find_destination(q, key);

        const size_t share = q->active_max / ROW_SHARE;

        if (!d)
                return QUEUE_IN_ROW;
        *ret_until_us = d->blocked_until_us > now_us ? d->blocked_until_us : now_us;
        if (d->blocked_until_us > now_us)
                return QUEUE_PUT_OFF;
        if (q->destinations.count == 1)
                return d->waiting_count < q->active_max - share ? QUEUE_IN_ROW : QUEUE_IN_STORE;
        return d->waiting_count < share ? QUEUE_IN_ROW : QUEUE_PUT_OFF;
}

struct destination *queue_wants_refill(const struct queue *q, struct span key, uint64_t now_us)
{
        struct destination *d = queue_find_destination(q, key);

        if (!d || !d->has_stored || d->is_refilling || d->failures ||
            d->blocked_until_us > now_us || d->waiting_count > REFILL_BELOW)
                return NULL;
        return d;
}

void queue_note_stored(struct queue *q, struct span key)
{
        struct destination *d = queue_find_destination(q, key);

        if (!d)
                return;
        d->has_stored = true;
        d->refill_again = d->refill_again || d->is_refilling || d->refill_len > 0;
}

void queue_note_refilled(struct queue *q, struct span key)
{
        struct destination *d = queue_find_destination(q, key);

        if (!d)
                return;
        d->has_stored = d->refill_again;
        d->refill_again = false;
        d->refill_len = 0;
        settle(q, d);
}

uint64_t queue_count_put_off(struct queue *q, struct span key)
{
        struct destination *d = queue_find_destination(q, key);

        return d ? ++d->put_off : 1;
}

struct queue_entry *queue_take(struct queue *q, uint64_t now_us)
{
        LIST_FOR_EACH (node, &q->turn) {
                struct destination *d = LIST_OBJECT(node, struct destination, in_turn);
                struct queue_entry *e;

                if (d->blocked_until_us > now_us)
                        continue;
                e = take_waiting(d);
                d->in_flight++;
                list_remove(&d->in_turn); /* to the end of the turn, if it has more */
                settle(q, d);
                return e;
        }
        return NULL;
}

static size_t waiting_recipients(const struct queue_entry *e)
{
        return queue_entry_count(e, RECIPIENT_WAITING);
}

struct queue_entry *queue_take_sibling(struct queue *q, struct queue_entry *e,
                                       size_t recipients_max)
{
        struct destination *d = e->destination;

        LIST_FOR_EACH (node, &e->siblings) {
                struct queue_entry *s = LIST_OBJECT(node, struct queue_entry, siblings);

                if (s->destination != d || !list_is_linked(&s->in_destination) ||
                    waiting_recipients(s) > recipients_max)
                        continue;
                list_remove(&s->in_destination);
                list_remove(&s->siblings);
                d->waiting_count--;
                s->destination = NULL;
                settle(q, d);
                return s;
        }
        return NULL;
}

void queue_set_unknown(struct queue *q, struct span key, bool is_unknown)
{
        struct destination *d = queue_find_destination(q, key);

        if (!d)
                return;
        d->is_unknown = is_unknown;
        settle(q, d);
}

bool queue_has_siblings(const struct queue *q, struct span key)
{
        const struct destination *d = queue_find_destination(q, key);

        if (!d)
                return false;
        LIST_FOR_EACH (node, &d->waiting) {
                const struct queue_entry *e =
                        LIST_OBJECT(node, struct queue_entry, in_destination);

                if (!list_is_empty(&e->siblings))
                        return true;
        }
        return false;
}

struct queue_entry *queue_take_out(struct queue *q, struct span key)
{
        struct destination *d = queue_find_destination(q, key);
        struct list_node *node;
        struct queue_entry *e;

        if (!d || !d->waiting_count)
                return NULL;
        node = list_is_empty(&d->waiting) ? d->waiting_last.next : d->waiting.next;
        e = LIST_OBJECT(node, struct queue_entry, in_destination);
        queue_remove(q, e);
        return e;
}

uint64_t queue_next_unblock_us(const struct queue *q, uint64_t now_us)
{
        uint64_t first = UINT64_MAX;

        LIST_FOR_EACH (node, &q->turn) {
                const struct destination *d = LIST_OBJECT(node, struct destination, in_turn);

                if (d->blocked_until_us > now_us && d->blocked_until_us < first)
                        first = d->blocked_until_us;
        }
        return first;
}

void queue_remove(struct queue *q, struct queue_entry *e)
{
        struct destination *d = e->destination;

        table_remove(&q->entries, &e->by_key);
        q->active_count--;
        list_remove(&e->siblings);
        if (!d)
                return; /* reported already */
        if (list_is_linked(&e->in_destination)) {
                list_remove(&e->in_destination);
                d->waiting_count--;
        } else {
                d->in_flight--;
        }
        e->destination = NULL;
        settle(q, d);
}

static void host_failed(struct queue *q, struct destination *d, uint64_t now_us)
{
        uint64_t block = q->block_min_us;

        for (unsigned i = 0; i < d->failures && block < q->block_max_us; i++)
                block *= 2;
        if (block > q->block_max_us)
                block = q->block_max_us;
        if (d->blocked_until_us < now_us) /* several jobs fail at once: one failure */
                d->failures++;
        d->blocked_until_us = now_us + block;
        d->concurrency = d->concurrency > 1 ? d->concurrency / 2 : 1;
        d->has_stored = true; /* what is put off now may go when it is back */
        d->refill_len = 0;
}

void queue_report(struct queue *q, struct queue_entry *e, enum queue_health health,
                  uint64_t now_us)
{
        struct destination *d = e->destination;

        assert(d && !list_is_linked(&e->in_destination));
        e->destination = NULL;
        d->in_flight--;
        if (health == QUEUE_HOST_GOOD) {
                d->failures = 0;
                d->put_off = 0;
                d->blocked_until_us = 0;
                if (d->concurrency < q->concurrency_max)
                        d->concurrency++;
        } else if (health == QUEUE_HOST_FAILED) {
                host_failed(q, d, now_us);
        }
        settle(q, d);
}

struct queue_entry *queue_blocked(struct queue *q, struct destination *d, uint64_t now_us)
{
        struct queue_entry *e;

        if (d->blocked_until_us <= now_us || !d->waiting_count)
                return NULL;
        e = take_waiting(d);
        e->destination = NULL;
        settle(q, d);
        return e;
}

struct sweep {
        struct queue *queue;
        uint64_t now_us;
};

static void sweep_one(struct table_node *node, void *arg)
{
        struct destination *d = TABLE_OBJECT(node, struct destination, by_key);
        const struct sweep *s = arg;

        if (!d->waiting_count && !d->in_flight &&
            d->blocked_until_us + s->queue->block_max_us < s->now_us) {
                table_remove(&s->queue->destinations, &d->by_key);
                free(d);
        }
}

void queue_sweep(struct queue *q, uint64_t now_us)
{
        table_visit(&q->destinations, sweep_one, &(struct sweep) {q, now_us});
}

void queue_unblock(struct queue *q, struct span key)
{
        struct destination *d = queue_find_destination(q, key);

        if (d) {
                d->blocked_until_us = 0;
                d->failures = 0;
                settle(q, d);
        }
}
