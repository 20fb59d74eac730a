/* A destination that takes mail again calls for what waits for it in the store.
 *
 * Its rows under 'n' name the entries, in the order of their ids, which is that of the
 * entries themselves ('e'): a long queue for one destination is read as one range. Where
 * others lie between, each is read by itself. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "process/keeper/keeper_queue.h"
#include "process/keeper/keeper_reading.h"

enum {
        PAGE = STORE_SCAN_MAX,
        SPARSE = 8, /* fewer than one in so many entries of the range are its own */
};

struct refill {
        struct keeper_reading *reading;
        uint64_t hash;
        char last[QUEUE_HOP_KEY_LEN]; /* of the page's rows */
        bool has_more;                /* rows behind the page */
        size_t len;
        char key[]; /* of the destination */
};

static struct destination *destination_of(const struct refill *f)
{
        return queue_find_destination(&f->reading->keeper->queue, span_make(f->key, f->len));
}

/* Up to and with this row all is taken up, or was looked at. */
static void end_refill(struct refill *f, const char *last, bool has_more)
{
        struct keeper *k = f->reading->keeper;
        struct destination *d = destination_of(f);

        keeper_reading_end(f->reading);
        if (d)
                d->is_refilling = false;
        if (d && has_more) {
                memcpy(d->refill_from, last, QUEUE_HOP_KEY_LEN);
                d->refill_from[QUEUE_HOP_KEY_LEN] = '\0'; /* the first key behind it */
                d->refill_len = QUEUE_HOP_KEY_LEN + 1;
        } else if (d) {
                queue_note_refilled(&k->queue, span_make(f->key, f->len));
        }
        if (has_more && !k->is_stopping) /* none of them may have been new */
                keeper_queue_refill(k, span_make(f->key, f->len));
        free(f);
}

static void fail_refill(struct refill *f)
{
        struct destination *d = destination_of(f);

        keeper_reading_end(f->reading);
        if (d)
                d->is_refilling = false;
        free(f);
}

static bool is_wanted(const struct refill *f, const struct queue_entry *e)
{
        return e->waits_for_host &&
               (e->hop_hash ? e->hop_hash : queue_hop_hash(e->next_hop)) == f->hash;
}

static void got_entries(void *arg, int result, const struct store_entry *entries, size_t count,
                        bool has_more)
{
        struct refill *f = arg;
        struct destination *d;
        size_t own = 0;
        char last[QUEUE_HOP_KEY_LEN];

        if (result < 0) {
                fail_refill(f);
                return;
        }
        f->reading->keeper->count.queue_rows_read += count;
        for (size_t i = 0; i < count; i++) {
                struct queue_entry *e;

                if (queue_entry_decode(entries[i].value, &e) < 0)
                        continue;
                if (is_wanted(f, e)) {
                        own++;
                        keeper_queue_take_up(f->reading, entries[i].value);
                }
                queue_entry_free(e);
        }
        d = destination_of(f);
        if (d && own * SPARSE < count)
                d->is_sparse = true;
        memcpy(last, f->last, sizeof last);
        if (has_more && count) /* it reached so far */
                memcpy(last + 9, entries[count - 1].key.p + 1, QUEUE_KEY_LEN - 1);
        end_refill(f, last, f->has_more || (has_more && count));
}

static void read_range(struct refill *f, uint64_t first_id, uint16_t first_group)
{
        struct keeper *k = f->reading->keeper;
        char from[QUEUE_KEY_LEN], to[QUEUE_KEY_LEN + 1] = {'e'};
        struct store_range range = {.limit = PAGE};

        memcpy(to + 1, f->last + 9, QUEUE_KEY_LEN - 1); /* and the last with it */
        range.from = queue_key('e', first_id, first_group, from);
        range.to = span_make(to, sizeof to);
        store_scan(k->store, &k->shard, &range, got_entries, f);
}

static void got_rows(void *arg, int result, const struct store_entry *entries, size_t count,
                     bool has_more)
{
        struct refill *f = arg;
        struct keeper *k = f->reading->keeper;
        const struct destination *d = destination_of(f);
        const bool is_sparse = d && d->is_sparse;
        uint64_t hash, message_id;
        uint16_t group;

        if (result < 0) {
                fail_refill(f);
                return;
        }
        k->count.queue_rows_read += count;
        if (!count) {
                end_refill(f, f->last, false);
                return;
        }
        memcpy(f->last, entries[count - 1].key.p, QUEUE_HOP_KEY_LEN);
        f->has_more = has_more;
        for (size_t i = 0; i < count; i++) {
                if (queue_hop_key_parse(entries[i].key, &hash, &message_id, &group) < 0 ||
                    queue_find(&k->queue, message_id, group))
                        continue;
                if (!is_sparse) {
                        read_range(f, message_id, group);
                        return;
                }
                keeper_queue_read(f->reading, message_id, group);
        }
        end_refill(f, f->last, has_more);
}

void keeper_queue_refill(struct keeper *k, struct span key)
{
        struct destination *d = queue_wants_refill(&k->queue, key, keeper_now_us(k));
        char first[9] = {'n'}, end[QUEUE_HOP_KEY_LEN + 1];
        struct store_range range;
        struct refill *f;

        if (!d || !queue_has_room(&k->queue) || k->is_stopping)
                return;
        f = calloc(1, sizeof *f + key.len);
        if (f)
                f->reading = keeper_reading_begin(k);
        if (!f || !f->reading) {
                free(f);
                return;
        }
        f->len = key.len;
        f->hash = queue_hop_hash(key);
        memcpy(f->key, key.p, key.len);
        key_put_u64(first + 1, f->hash);
        memcpy(end, first, sizeof first);
        memset(end + sizeof first, 0xff, sizeof end - sizeof first); /* behind every id */
        d->is_refilling = true;
        range = (struct store_range) {
                .from = d->refill_len ? span_make(d->refill_from, d->refill_len)
                                      : span_make(first, sizeof first),
                .to = span_make(end, sizeof end), .limit = PAGE,
        };
        store_scan(k->store, &k->shard, &range, got_rows, f);
}
