#include "process/keeper/keeper_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "process/keeper/keeper_bounce.h"
#include "process/keeper/keeper_hosts.h"
#include "process/keeper/keeper_job.h"
#include "process/keeper/keeper_outcome.h"
#include "process/keeper/keeper_reading.h"

/* The life of an entry:
 *
 *   fresh ('f') ──attempt──► done: deleted
 *        │                     ▲
 *        └──► due ('e', 'd') ──┤ each attempt: deleted, or put with a later due time
 *                              └ recipients given up: put as FAILED, then keeper_bounce
 *
 * Invariants
 * 1. An entry stays in the active queue until the commit that says what became
 *    of it is durable; so it is never taken up twice, and never tried from a
 *    stale form.
 *    What was read of it before, and comes later, is dropped (keeper_reading.h).
 * 2. Entries due up to due_cursor_us, and fresh ones up to fresh_cursor, are
 *    active, or changing, or gone: the scans go on behind the cursors. */

enum {
        SCAN_PAGE = 200,
        READ_AGAIN_US = 100000,
        SCAN_AGAIN_US = 1000 * 1000,
        BODIES_FREE_MAX = 256,
};

/* ---- bodies ------------------------------------------------------------ */

struct keeper_body *keeper_body_new(struct keeper *k, struct store_batch *batch, size_t body_len)
{
        const size_t held = store_batch_memory(batch);
        struct list_node *freed;
        struct keeper_body *b;

        if (k->body_bytes + held > KEEPER_BODIES_MAX)
                return NULL;
        freed = list_take_first(&k->free_bodies);
        b = freed ? LIST_OBJECT(freed, struct keeper_body, free) : malloc(sizeof *b);
        if (!b)
                return NULL;
        k->free_body_count -= freed != NULL;
        *b = (struct keeper_body) {.keeper = k, .references = 1, .batch = store_batch_ref(batch),
                                   .octets = span_first(store_batch_blob(batch), body_len)};
        k->body_bytes += held;
        return b;
}

struct keeper_body *keeper_body_ref(struct keeper_body *b)
{
        b->references++;
        return b;
}

void keeper_body_unref(struct keeper_body *b)
{
        struct keeper *k;

        if (!b || --b->references)
                return;
        k = b->keeper;
        k->body_bytes -= store_batch_memory(b->batch);
        store_batch_free(b->batch);
        if (k->free_body_count == BODIES_FREE_MAX) {
                free(b);
                return;
        }
        list_prepend(&k->free_bodies, &b->free);
        k->free_body_count++;
}

static void drop_body(struct queue_entry *e)
{
        keeper_body_unref(e->body);
        e->body = NULL;
}

/* ---- storing ----------------------------------------------------------- */

static void delete_keys(struct store_batch *batch, const struct queue_entry *e)
{
        char key[QUEUE_KEY_LEN], due_key[QUEUE_DUE_KEY_LEN], hop_key[QUEUE_HOP_KEY_LEN];

        store_delete(batch, queue_entry_key(e, key));
        if (e->due_us)
                store_delete(batch, queue_entry_due_key(e, due_key));
        if (e->waits_for_host)
                store_delete(batch, queue_entry_hop_key(e, hop_key));
}

void keeper_queue_put(struct store_batch *batch, const struct queue_entry *before,
                      const struct queue_entry *after)
{
        char key[QUEUE_KEY_LEN], due_key[QUEUE_DUE_KEY_LEN], hop_key[QUEUE_HOP_KEY_LEN];

        if (before)
                delete_keys(batch, before);
        if (!after) {
                store_blob_reference(batch, before->blob_id, -1);
                return;
        }
        if (!after->due_us) { /* message ids are never reused */
                store_put_new(batch, queue_entry_key(after, key), after->encoded);
                return;
        }
        store_put(batch, queue_entry_key(after, key), after->encoded);
        store_put(batch, queue_entry_due_key(after, due_key), span_make(NULL, 0));
        if (after->waits_for_host)
                store_put(batch, queue_entry_hop_key(after, hop_key), span_make(NULL, 0));
}

/* ---- the active queue -------------------------------------------------- */

/* There may be entries from here on that the scan under way does not show. */
static void lower_due_cursor(struct keeper *k, uint64_t due_us)
{
        if (due_us < k->due_cursor_us)
                k->due_cursor_us = due_us;
        if (due_us < k->due_lowest_us)
                k->due_lowest_us = due_us;
}

static void lower_fresh_cursor(struct keeper *k, uint64_t message_id)
{
        k->is_fresh_left = true;
        if (message_id < k->fresh_cursor)
                k->fresh_cursor = message_id;
        if (message_id < k->fresh_lowest)
                k->fresh_lowest = message_id;
}

void keeper_queue_scan_again(struct keeper *k)
{
        lower_fresh_cursor(k, 0);
        lower_due_cursor(k, 0);
        keeper_queue_expect(k, keeper_now_us(k) + SCAN_AGAIN_US);
}

/* For the next scan to find. Ids are not committed in their order: the cursor
 * may have passed this one. */
static void leave_in_store(struct keeper *k, const struct queue_entry *e)
{
        if (e->due_us) {
                lower_due_cursor(k, e->due_us);
                return;
        }
        lower_fresh_cursor(k, e->message_id);
}

void keeper_queue_add(struct keeper *k, struct queue_entry *e, struct keeper_body *body)
{
        enum queue_place place;
        struct span key;
        uint64_t until_us;
        bool is_asked;
        int r;

        if (queue_entry_owes(e)) {
                keeper_bounce(k, e, body);
                return;
        }
        key = keeper_hosts_key(k, e->next_hop, &is_asked);
        place = queue_place_of(&k->queue, key, keeper_now_us(k), &until_us);
        if (place == QUEUE_IN_STORE && e->due_us) /* the due index is not read again and again */
                place = QUEUE_PUT_OFF;
        if (place == QUEUE_PUT_OFF && !e->is_held) {
                keeper_body_unref(body);
                outcome_put_off(k, e, until_us);
                return;
        }
        if (e->is_held || place == QUEUE_IN_STORE || !queue_has_room(&k->queue)) {
                leave_in_store(k, e);
                keeper_body_unref(body);
                queue_entry_free(e);
                return;
        }
        e->body = body;
        r = queue_add(&k->queue, e, key);
        if (r < 0) { /* active already, or no memory: the store has it */
                if (r == -ENOMEM)
                        leave_in_store(k, e);
                drop_body(e);
                queue_entry_free(e);
                return;
        }
        if (is_asked)
                queue_set_unknown(&k->queue, key, true);
        keeper_queue_pump(k);
}

void keeper_queue_pump(struct keeper *k)
{
        loop_defer(k->process->loop, &k->pump);
}

/* ---- taking entries up from the store ---------------------------------- */

static void set_due_timer(struct keeper *k)
{
        const uint64_t now = keeper_now_us(k);
        uint64_t wait_ms;

        if (k->due_next_us == UINT64_MAX) {
                timer_stop(k->due_timer);
                return;
        }
        wait_ms = k->due_next_us > now ? (k->due_next_us - now) / 1000 + 1 : 1;
        timer_set(k->due_timer, wait_ms);
}

/* Something will be due earlier than the timer knows, or than the scans are. */
void keeper_queue_expect(struct keeper *k, uint64_t due_us)
{
        lower_due_cursor(k, due_us);
        if (due_us < k->due_next_us) {
                k->due_next_us = due_us;
                set_due_timer(k);
        }
}

/* The scans go on at that time; the cursors stay. */
static void scan_again(struct keeper *k, uint64_t at_us)
{
        if (at_us < k->due_next_us)
                k->due_next_us = at_us;
        set_due_timer(k);
}

void keeper_queue_take_up(struct keeper_reading *reading, struct span value)
{
        struct keeper *k = reading->keeper;
        struct queue_entry *e;
        int r = queue_entry_decode(value, &e);

        if (r < 0) {
                log_event(LOG_ERROR, "queue_entry_damaged", LOG_ERRNO("error", r));
                return;
        }
        if (queue_find(&k->queue, e->message_id, e->group) || e->is_held) {
                queue_entry_free(e);
                return;
        }
        if (keeper_reading_is_old(reading, e->message_id, e->group)) { /* or not: read again */
                leave_in_store(k, e);
                if (e->due_us)
                        keeper_queue_expect(k, e->due_us);
                queue_entry_free(e);
                return;
        }
        if (queue_entry_owes(e))
                keeper_bounce(k, e, NULL);
        else
                keeper_queue_add(k, e, NULL);
}

static void got_entry(void *arg, int result, struct span value, uint64_t sequence)
{
        struct keeper_reading *reading = arg;

        (void) sequence;
        reading->keeper->count.queue_rows_read++;
        if (result == 0)
                keeper_queue_take_up(reading, value);
        keeper_reading_end(reading);
}

void keeper_queue_read(struct keeper_reading *reading, uint64_t message_id, uint16_t group)
{
        struct keeper *k = reading->keeper;
        char key[QUEUE_KEY_LEN];

        if (queue_find(&k->queue, message_id, group))
                return;
        keeper_reading_add(reading);
        store_get(k->store, &k->shard, queue_key('e', message_id, group, key), got_entry, reading);
}

static void got_due_page(void *arg, int result, const struct store_entry *entries, size_t count,
                         bool has_more)
{
        struct keeper_reading *reading = arg;
        struct keeper *k = reading->keeper;
        const uint64_t now = keeper_now_us(k);
        const uint64_t lowest_us = k->due_lowest_us;
        uint64_t next_us = result < 0 ? now + READ_AGAIN_US : UINT64_MAX;

        k->count.queue_rows_read += count;
        k->is_scanning = false;
        for (size_t i = 0; i < count && result == 0; i++) {
                uint64_t due_us, message_id;
                uint16_t group;

                if (queue_due_key_parse(entries[i].key, &due_us, &message_id, &group) < 0)
                        continue;
                if (due_us > now || !queue_has_room(&k->queue)) {
                        next_us = due_us > now ? due_us : now + 1000000;
                        has_more = false;
                        break;
                }
                k->due_cursor_us = due_us;
                keeper_queue_read(reading, message_id, group);
        }
        keeper_reading_end(reading);
        if (k->due_cursor_us > lowest_us)
                k->due_cursor_us = lowest_us;
        scan_again(k, has_more ? now : next_us);
        if (k->is_fresh_left)
                keeper_queue_pump(k);
}

/* A page of what is due behind the cursor, the first entry beyond now with it. */
static void scan_due(struct keeper *k)
{
        struct keeper_reading *reading = keeper_reading_begin(k);
        char first[9] = {'d'};
        const struct store_range range = {span_make(first, sizeof first), SPAN_LITERAL("e"),
                                          SCAN_PAGE, false};

        if (!reading) { /* soon */
                scan_again(k, keeper_now_us(k) + READ_AGAIN_US);
                return;
        }
        key_put_u64(first + 1, k->due_cursor_us);
        k->is_scanning = true;
        k->due_next_us = k->due_lowest_us = UINT64_MAX; /* what comes meanwhile counts anew */
        store_scan(k->store, &k->shard, &range, got_due_page, reading);
}

static void got_fresh_page(void *arg, int result, const struct store_entry *entries, size_t count,
                           bool has_more)
{
        struct keeper_reading *reading = arg;
        struct keeper *k = reading->keeper;
        const uint64_t lowest = k->fresh_lowest;

        k->count.queue_rows_read += count;
        k->is_scanning = false;
        k->is_fresh_left |= has_more && result == 0;
        for (size_t i = 0; i < count && result == 0; i++) {
                if (!queue_has_room(&k->queue)) {
                        k->is_fresh_left = true;
                        break;
                }
                /* The same message may have further groups: take it up again, the
                 * active queue knows which it has. */
                k->fresh_cursor = key_get_u64(entries[i].key.p + 1);
                keeper_queue_take_up(reading, entries[i].value);
        }
        keeper_reading_end(reading);
        if (k->fresh_cursor > lowest)
                k->fresh_cursor = lowest;
        if (k->is_fresh_left)
                keeper_queue_pump(k);
        if (result < 0) {
                k->is_fresh_left = true;
                scan_again(k, keeper_now_us(k) + READ_AGAIN_US);
        }
}

static void scan_fresh(struct keeper *k)
{
        struct keeper_reading *reading = keeper_reading_begin(k);
        char first[QUEUE_KEY_LEN];
        const struct store_range range = {queue_key('f', k->fresh_cursor, 0, first),
                                          SPAN_LITERAL("g"), SCAN_PAGE, false};

        if (!reading)
                return;
        k->is_scanning = true;
        k->is_fresh_left = false;
        k->fresh_lowest = UINT64_MAX;
        store_scan(k->store, &k->shard, &range, got_fresh_page, reading);
}

static void on_due(void *arg)
{
        struct keeper *k = arg;

        if (k->is_stopping)
                return;
        k->due_next_us = UINT64_MAX;
        if (k->is_scanning) /* the fresh ones: that is over soon */
                scan_again(k, keeper_now_us(k) + READ_AGAIN_US);
        else
                scan_due(k);
}

/* ---- the pump ---------------------------------------------------------- */

static void on_unblock(void *arg)
{
        keeper_queue_pump(arg);
}

static void wait_for_unblock(struct keeper *k)
{
        const uint64_t now = keeper_now_us(k);
        const uint64_t at = queue_next_unblock_us(&k->queue, now);

        if (at == UINT64_MAX)
                timer_stop(k->unblock_timer);
        else
                timer_set(k->unblock_timer, (at - now) / 1000 + 1);
}

static void run_pump(struct deferred *d)
{
        struct keeper *k = LIST_OBJECT(d, struct keeper, pump);
        struct queue_entry *e;

        if (k->is_stopping)
                return;
        while (keeper_job_may_start(k) && (e = queue_take(&k->queue, keeper_now_us(k))))
                keeper_job_start(k, e);
        wait_for_unblock(k);
        /* Half empty, not one free place: a scan passes over all that is active. */
        if (k->is_fresh_left && !k->is_scanning &&
            k->queue.active_count <= k->queue.active_max / 2)
                scan_fresh(k);
}

int keeper_queue_start(struct keeper *k)
{
        const struct config *c = k->process->config;

        const struct queue_options options = {
                .active_max = KEEPER_ACTIVE_MAX,
                .concurrency_max = c->queue.concurrency_per_destination,
                .block_min_us = c->queue.retry_min_ms * 1000,
                .block_max_us = c->queue.retry_max_ms * 1000,
        };

        queue_init(&k->queue, &options);
        k->retry = (struct retry_times) {c->queue.retry_min_ms, c->queue.retry_max_ms};
        k->pump.run = run_pump;
        k->due_next_us = k->due_lowest_us = UINT64_MAX;
        k->is_fresh_left = true;
        if (timer_new(k->process->loop, on_due, k, &k->due_timer) < 0 ||
            timer_new(k->process->loop, on_unblock, k, &k->unblock_timer) < 0)
                return -ENOMEM;
        scan_again(k, keeper_now_us(k));
        keeper_queue_pump(k);
        return 0;
}

/* ---- administration ---------------------------------------------------- */

struct change {
        struct keeper *keeper;
        struct keeper_queue_change what; /* its next_hop lies behind the struct */
        bool looked_for_fresh;
        uint64_t due_us;
        void (*done)(void *arg, int result);
        void *arg;
};

static void end_change(struct change *c, int result)
{
        c->done(c->arg, result);
        free(c);
}

static void change_is_durable(void *arg, int result)
{
        struct change *c = arg;

        keeper_reading_left(c->keeper, c->what.message_id, c->what.group);
        if (result == 0) {
                keeper_queue_expect(c->keeper, c->due_us);
                keeper_queue_pump(c->keeper);
        }
        end_change(c, result);
}

static void change_entry(struct change *c, const struct queue_entry *before)
{
        struct keeper *k = c->keeper;
        struct queue_entry changed = *before, *after = NULL;
        struct outcome_trace trace;
        struct store_batch *batch;
        int r = 0;

        if (c->what.verb == KEEPER_QUEUE_HOLD || c->what.verb == KEEPER_QUEUE_RELEASE)
                changed.is_held = c->what.verb == KEEPER_QUEUE_HOLD;
        if (c->what.verb == KEEPER_QUEUE_MOVE)
                changed.next_hop = c->what.next_hop;
        changed.waits_for_host = false;
        c->due_us = keeper_now_us(k);
        changed.due_us = changed.is_held ? QUEUE_DUE_NEVER_US : c->due_us;
        if (c->what.verb != KEEPER_QUEUE_DROP)
                r = queue_entry_update(&changed, &after);
        batch = r == 0 ? store_batch_new(k->store, &k->shard, STORE_ANY_SEQUENCE) : NULL;
        if (!batch) {
                queue_entry_free(after);
                end_change(c, r < 0 ? r : -ENOMEM);
                return;
        }
        keeper_queue_put(batch, before, after);
        trace = (struct outcome_trace) {.batch = batch, .now_us = c->due_us};
        keeper_job_trace(&trace, before, c->what.verb);
        outcome_trace_end(&trace);
        queue_entry_free(after);
        queue_unblock(&k->queue, keeper_hosts_known(k, before->next_hop));
        store_commit(k->store, &batch, 1, 0, change_is_durable, c);
}

static void got_entry_to_change(void *arg, int result, struct span value, uint64_t sequence)
{
        struct change *c = arg;
        struct keeper *k = c->keeper;
        struct queue_entry *e;
        char key[QUEUE_KEY_LEN];

        (void) sequence;
        if (result == -ENOENT && !c->looked_for_fresh) {
                c->looked_for_fresh = true;
                store_get(k->store, &k->shard,
                          queue_key('f', c->what.message_id, c->what.group, key),
                          got_entry_to_change, c);
                return;
        }
        if (result == 0)
                result = queue_entry_decode(value, &e);
        if (result < 0) {
                end_change(c, result);
                return;
        }
        change_entry(c, e);
        queue_entry_free(e);
}

static struct change *change_new(struct keeper *k, const struct keeper_queue_change *what)
{
        const size_t len = what->next_hop.len;
        struct change *c = calloc(1, sizeof *c + len);

        if (!c)
                return NULL;
        c->keeper = k;
        c->what = *what;
        c->what.next_hop = span_make((char *) (c + 1), len);
        if (len)
                memcpy(c + 1, what->next_hop.p, len);
        return c;
}

void keeper_queue_change(struct keeper *k, const struct keeper_queue_change *what,
                         void (*done)(void *arg, int result), void *arg)
{
        struct queue_entry *active = queue_find(&k->queue, what->message_id, what->group);
        struct change *c = change_new(k, what);
        char key[QUEUE_KEY_LEN];

        if (!c) {
                done(arg, -ENOMEM);
                return;
        }
        c->done = done;
        c->arg = arg;
        if (active && !list_is_linked(&active->in_destination)) {
                end_change(c, -EBUSY); /* being delivered, or its outcome being stored */
                return;
        }
        if (active) { /* out of the active queue: the change decides what comes next */
                queue_remove(&k->queue, active);
                drop_body(active);
                queue_entry_free(active);
        }
        store_get(k->store, &k->shard, queue_key('e', what->message_id, what->group, key),
                  got_entry_to_change, c);
}
