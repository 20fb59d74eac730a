#include "process/keeper/keeper_change.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "process/keeper/keeper_hosts.h"
#include "process/keeper/keeper_job.h"
#include "process/keeper/keeper_outcome.h"
#include "process/keeper/keeper_reading.h"

enum {
        FIRST_MAX = 1000,    /* due at once */
        SPREAD_US = 200,     /* between two of the others */
};

/* An entry that is being changed stands in the active queue as a stand-in: nobody
 * takes it up, and what the scan then reads of it is what is stored. */
struct change {
        struct keeper *keeper;
        struct keeper_change_page page; /* its next_hop lies behind the struct */
        struct queue_entry *stand_ins[KEEPER_CHANGE_MAX]; /* NULL: being delivered */
        size_t changed, busy;
        uint64_t now_us;
        keeper_change_fn *done;
        void *arg;
};

static void end_change(struct change *c, int result)
{
        struct keeper *k = c->keeper;

        for (size_t i = 0; i < c->page.count; i++) {
                if (!c->stand_ins[i])
                        continue;
                keeper_reading_left(k, c->stand_ins[i]->message_id, c->stand_ins[i]->group);
                queue_remove(&k->queue, c->stand_ins[i]);
                free(c->stand_ins[i]);
        }
        if (c->changed) {
                keeper_queue_expect(k, c->now_us);
                keeper_queue_pump(k);
        }
        c->done(c->arg, result, result < 0 ? 0 : c->changed, c->busy);
        free(c);
}

static void is_durable(void *arg, int result)
{
        end_change(arg, result);
}

/* One of the first is due at once. The others wait for their destination, which
 * calls for them when it takes mail; should it not, they come by and by. */
static void set_due(struct change *c, struct queue_entry *e)
{
        const uint64_t number = c->page.before_count + c->changed;
        const struct span key = keeper_hosts_known(c->keeper, e->next_hop);

        e->waits_for_host = !e->is_held;
        e->hop_hash = span_equal(key, e->next_hop) ? 0 : queue_hop_hash(key);
        e->due_us = c->now_us;
        if (number >= FIRST_MAX)
                e->due_us += (number - FIRST_MAX) * SPREAD_US;
        if (e->is_held)
                e->due_us = QUEUE_DUE_NEVER_US;
        else
                queue_unblock(&c->keeper->queue, key);
}

static int change_entry(struct change *c, struct outcome_trace *trace,
                        const struct queue_entry *before)
{
        struct queue_entry changed = *before, *after = NULL;
        int r = 0;

        if (c->page.verb == KEEPER_QUEUE_HOLD || c->page.verb == KEEPER_QUEUE_RELEASE)
                changed.is_held = c->page.verb == KEEPER_QUEUE_HOLD;
        if (c->page.verb == KEEPER_QUEUE_MOVE)
                changed.next_hop = c->page.next_hop;
        if (c->page.verb != KEEPER_QUEUE_DROP) {
                set_due(c, &changed);
                r = queue_entry_update(&changed, &after);
        }
        if (r < 0)
                return r;
        keeper_queue_put(trace->batch, before, after);
        keeper_job_trace(trace, before, c->page.verb);
        queue_entry_free(after);
        c->changed++;
        return 0;
}

/* Entries and keys are in one order: the next key that this one may be. */
static bool is_wanted(const struct change *c, size_t *at, struct span key)
{
        while (*at < c->page.count) {
                const int order = key.len == QUEUE_KEY_LEN
                                          ? memcmp(c->page.keys[*at], key.p, QUEUE_KEY_LEN) : 1;

                if (order >= 0)
                        return order == 0 && c->stand_ins[*at];
                ++*at;
        }
        return false;
}

static void got_entries(void *arg, int result, const struct store_entry *entries, size_t count,
                        bool has_more)
{
        struct change *c = arg;
        struct keeper *k = c->keeper;
        struct outcome_trace trace = {.now_us = c->now_us};
        size_t at = 0;

        (void) has_more; /* what came between them since is left alone */
        if (result == 0) {
                trace.batch = store_batch_new(k->store, &k->shard, STORE_ANY_SEQUENCE);
                result = trace.batch ? 0 : -ENOMEM;
        }
        for (size_t i = 0; i < count && result == 0; i++) {
                struct queue_entry *e;

                if (!is_wanted(c, &at, entries[i].key))
                        continue;
                result = queue_entry_decode(entries[i].value, &e);
                if (result < 0)
                        break;
                result = change_entry(c, &trace, e);
                queue_entry_free(e);
        }
        if (trace.batch)
                outcome_trace_end(&trace);
        if (result < 0 || !c->changed) {
                store_batch_free(trace.batch);
                end_change(c, result == -ENOENT ? 0 : result);
                return;
        }
        store_commit(k->store, &trace.batch, 1, 0, is_durable, c);
}

/* Out of the active queue, where it may not be tried meanwhile. */
static int park(struct change *c, size_t i)
{
        struct keeper *k = c->keeper;
        const uint64_t message_id = key_get_u64(c->page.keys[i] + 1);
        const unsigned char *group = (const unsigned char *) c->page.keys[i] + 9;
        const uint16_t number = (uint16_t) (group[0] << 8 | group[1]);
        struct queue_entry *active = queue_find(&k->queue, message_id, number), *stand_in;
        int r;

        if (active && !list_is_linked(&active->in_destination)) {
                c->busy++;
                return 0;
        }
        stand_in = calloc(1, sizeof *stand_in);
        if (!stand_in)
                return -ENOMEM;
        if (active) {
                queue_remove(&k->queue, active);
                keeper_body_unref(active->body);
                queue_entry_free(active);
        }
        stand_in->message_id = message_id;
        stand_in->group = number;
        r = queue_park(&k->queue, stand_in);
        if (r < 0)
                free(stand_in);
        else
                c->stand_ins[i] = stand_in;
        return r;
}

int keeper_change_page(struct keeper *k, const struct keeper_change_page *page,
                       keeper_change_fn *done, void *arg)
{
        struct change *c = calloc(1, sizeof *c + page->next_hop.len);
        char *next_hop = c ? (char *) (c + 1) : NULL;
        struct store_range range;
        char end[QUEUE_KEY_LEN + 1] = {0};
        int r = 0;

        if (!c)
                return -ENOMEM;
        c->keeper = k;
        c->page = *page;
        c->page.next_hop = span_make(next_hop, page->next_hop.len);
        if (page->next_hop.len)
                memcpy(next_hop, page->next_hop.p, page->next_hop.len);
        c->now_us = clock_now_us();
        c->done = done;
        c->arg = arg;
        for (size_t i = 0; i < page->count && r == 0; i++)
                r = park(c, i);
        if (r < 0 || !page->count) {
                end_change(c, r);
                return 0;
        }
        memcpy(end, page->keys[page->count - 1], QUEUE_KEY_LEN); /* and the last with it */
        range = (struct store_range) {span_make(c->page.keys[0], QUEUE_KEY_LEN),
                                      span_make(end, sizeof end), STORE_SCAN_MAX, false};
        store_scan(k->store, &k->shard, &range, got_entries, c);
        return 0;
}
