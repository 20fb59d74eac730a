#include "queue/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"
#include "route/route.h"

enum {
        CONCURRENCY_START = 5,
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
        free(TABLE_OBJECT(node, struct destination, by_next_hop));
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

static struct destination *find_destination(const struct queue *q, struct span next_hop)
{
        struct table_node *n = table_first(&q->destinations, hash_span(next_hop, hash_seed()));

        for (; n; n = table_next(n)) {
                struct destination *d = TABLE_OBJECT(n, struct destination, by_next_hop);

                if (span_equal(d->next_hop, next_hop))
                        return d;
        }
        return NULL;
}

static struct destination *get_destination(struct queue *q, struct span next_hop)
{
        struct destination *d = find_destination(q, next_hop);
        char *text;

        if (d)
                return d;
        d = calloc(1, sizeof *d + next_hop.len);
        if (!d)
                return NULL;
        text = (char *) (d + 1);
        if (next_hop.len)
                memcpy(text, next_hop.p, next_hop.len);
        d->next_hop = span_make(text, next_hop.len);
        d->concurrency = CONCURRENCY_START < q->concurrency_max ? CONCURRENCY_START
                                                                 : q->concurrency_max;
        list_init(&d->waiting);
        if (table_add(&q->destinations, &d->by_next_hop, hash_span(next_hop, hash_seed())) < 0) {
                free(d);
                return NULL;
        }
        return d;
}

/* In turn exactly while it has an entry that may start (a block is looked at
 * when its turn comes). Forgotten once it is idle and in good health. */
static void settle(struct queue *q, struct destination *d)
{
        const bool may_start = d->waiting_count && d->in_flight < d->concurrency;

        if (may_start && !list_is_linked(&d->in_turn))
                list_append(&q->turn, &d->in_turn);
        if (!may_start)
                list_remove(&d->in_turn);
        if (!d->waiting_count && !d->in_flight && !d->failures) {
                table_remove(&q->destinations, &d->by_next_hop);
                free(d);
        }
}

/* ---- entries ----------------------------------------------------------- */

/* In order of arrival, but the urgent in front (RFC 6710 section 5). */
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
        list_append(&d->waiting, &e->in_destination);
}

int queue_add(struct queue *q, struct queue_entry *e, uint64_t now_us)
{
        struct destination *d;
        int r;

        (void) now_us;
        if (queue_find(q, e->message_id, e->group))
                return -EEXIST;
        d = get_destination(q, e->next_hop);
        if (!d)
                return -ENOMEM;
        r = table_add(&q->entries, &e->by_key, key_hash(e->message_id, e->group));
        if (r < 0) {
                settle(q, d);
                return r;
        }
        e->destination = d;
        enqueue(d, e);
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

struct queue_entry *queue_take(struct queue *q, uint64_t now_us)
{
        LIST_FOR_EACH (node, &q->turn) {
                struct destination *d = LIST_OBJECT(node, struct destination, in_turn);
                struct queue_entry *e;

                if (d->blocked_until_us > now_us)
                        continue;
                e = LIST_OBJECT(list_take_first(&d->waiting), struct queue_entry, in_destination);
                d->waiting_count--;
                d->in_flight++;
                list_remove(&d->in_turn); /* to the end of the turn, if it has more */
                settle(q, d);
                return e;
        }
        return NULL;
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

        if (d->blocked_until_us <= now_us || list_is_empty(&d->waiting))
                return NULL;
        e = LIST_OBJECT(list_take_first(&d->waiting), struct queue_entry, in_destination);
        d->waiting_count--;
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
        struct destination *d = TABLE_OBJECT(node, struct destination, by_next_hop);
        const struct sweep *s = arg;

        if (!d->waiting_count && !d->in_flight &&
            d->blocked_until_us + s->queue->block_max_us < s->now_us) {
                table_remove(&s->queue->destinations, &d->by_next_hop);
                free(d);
        }
}

void queue_sweep(struct queue *q, uint64_t now_us)
{
        table_visit(&q->destinations, sweep_one, &(struct sweep) {q, now_us});
}

void queue_unblock(struct queue *q, struct span next_hop)
{
        struct destination *d = find_destination(q, next_hop);

        if (d) {
                d->blocked_until_us = 0;
                d->failures = 0;
                settle(q, d);
        }
}
