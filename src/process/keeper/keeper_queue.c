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
 * 2. Entries due up to due_cursor_us, and fresh ones up to fresh_cursor, are
 *    active, or changing, or gone: the scans go on behind the cursors. */

enum { SCAN_PAGE = 200 };

/* ---- bodies ------------------------------------------------------------ */

struct keeper_body *keeper_body_new(struct keeper *k, struct buffer *octets)
{
        struct keeper_body *b;

        if (k->body_bytes + octets->room > KEEPER_BODIES_MAX)
                return NULL;
        b = malloc(sizeof *b);
        if (!b)
                return NULL;
        *b = (struct keeper_body) {.keeper = k, .references = 1, .octets = *octets};
        *octets = BUFFER_INIT(octets->size_max);
        k->body_bytes += b->octets.room;
        return b;
}

struct keeper_body *keeper_body_ref(struct keeper_body *b)
{
        b->references++;
        return b;
}

void keeper_body_unref(struct keeper_body *b)
{
        if (!b || --b->references)
                return;
        b->keeper->body_bytes -= b->octets.room;
        buffer_done(&b->octets);
        free(b);
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

/* For the next scan to find. Ids are not committed in their order: the cursor
 * may have passed this one. */
static void leave_in_store(struct keeper *k, const struct queue_entry *e)
{
        if (e->due_us) {
                if (e->due_us < k->due_cursor_us)
                        k->due_cursor_us = e->due_us;
                return;
        }
        k->is_fresh_left = true;
        if (e->message_id < k->fresh_cursor)
                k->fresh_cursor = e->message_id;
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
        place = queue_place_of(&k->queue, key, clock_now_us(), &until_us);
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

static void take_up(struct keeper *k, struct span value)
{
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
        if (queue_entry_owes(e))
                keeper_bounce(k, e, NULL);
        else
                keeper_queue_add(k, e, NULL);
}

static void got_due_entry(void *arg, int result, struct span value, uint64_t sequence)
{
        (void) sequence;
        if (result == 0)
                take_up(arg, value);
}

struct refill {
        struct keeper *keeper;
        size_t len;
        char key[];
};

static void got_refill_page(void *arg, int result, const struct store_entry *entries, size_t count,
                            bool has_more)
{
        struct refill *refill = arg;
        struct keeper *k = refill->keeper;
        const struct span key_of_row = span_make(refill->key, refill->len);
        struct destination *d = queue_find_destination(&k->queue, key_of_row);

        for (size_t i = 0; result == 0 && i < count; i++) {
                char key[QUEUE_KEY_LEN];
                uint64_t hash, message_id;
                uint16_t group;

                if (queue_hop_key_parse(entries[i].key, &hash, &message_id, &group) == 0 &&
                    !queue_find(&k->queue, message_id, group))
                        store_get(k->store, &k->shard, queue_key('e', message_id, group, key),
                                  got_due_entry, k);
        }
        if (d)
                d->is_refilling = false;
        if (d && result == 0 && has_more && count) {
                memcpy(d->refill_from, entries[count - 1].key.p, QUEUE_HOP_KEY_LEN);
                d->refill_from[QUEUE_HOP_KEY_LEN] = '\0'; /* the first key behind it */
                d->refill_len = QUEUE_HOP_KEY_LEN + 1;
        } else if (d) {
                queue_note_stored(&k->queue, key_of_row, false);
        }
        free(refill);
}

void keeper_queue_refill(struct keeper *k, struct span key)
{
        struct destination *d = queue_wants_refill(&k->queue, key, clock_now_us());
        char first[9] = {'n'}, end[QUEUE_HOP_KEY_LEN + 1];
        struct store_range range;
        struct refill *refill;

        if (!d || !queue_has_room(&k->queue) || k->is_stopping)
                return;
        refill = malloc(sizeof *refill + key.len);
        if (!refill)
                return;
        *refill = (struct refill) {.keeper = k, .len = key.len};
        memcpy(refill->key, key.p, key.len);
        key_put_u64(first + 1, queue_hop_hash(key));
        memcpy(end, first, sizeof first);
        memset(end + sizeof first, 0xff, sizeof end - sizeof first); /* behind every id */
        d->is_refilling = true;
        range = (struct store_range) {
                .from = d->refill_len ? span_make(d->refill_from, d->refill_len)
                                      : span_make(first, sizeof first),
                .to = span_make(end, sizeof end), .limit = SCAN_PAGE,
        };
        store_scan(k->store, &k->shard, &range, got_refill_page, refill);
}

static void set_due_timer(struct keeper *k)
{
        const uint64_t now = clock_now_us();
        uint64_t wait_ms;

        if (k->due_next_us == UINT64_MAX) {
                timer_stop(k->due_timer);
                return;
        }
        wait_ms = k->due_next_us > now ? (k->due_next_us - now) / 1000 + 1 : 1;
        timer_set(k->due_timer, wait_ms);
}

static void got_due_page(void *arg, int result, const struct store_entry *entries, size_t count,
                         bool has_more)
{
        struct keeper *k = arg;
        const uint64_t now = clock_now_us();

        k->is_scanning = false;
        k->due_next_us = UINT64_MAX;
        if (result < 0)
                return;
        for (size_t i = 0; i < count; i++) {
                char key[QUEUE_KEY_LEN];
                uint64_t due_us, message_id;
                uint16_t group;

                if (queue_due_key_parse(entries[i].key, &due_us, &message_id, &group) < 0)
                        continue;
                if (due_us > now || !queue_has_room(&k->queue)) {
                        k->due_next_us = due_us > now ? due_us : now + 1000000;
                        has_more = false;
                        break;
                }
                k->due_cursor_us = due_us;
                store_get(k->store, &k->shard, queue_key('e', message_id, group, key),
                          got_due_entry, k);
        }
        if (has_more)
                k->due_next_us = now;
        set_due_timer(k);
}

/* A page of what is due behind the cursor, the first entry beyond now with it. */
static void scan_due(struct keeper *k)
{
        char first[9] = {'d'};
        const struct store_range range = {span_make(first, sizeof first), SPAN_LITERAL("e"),
                                          SCAN_PAGE, false};

        key_put_u64(first + 1, k->due_cursor_us);
        k->is_scanning = true;
        store_scan(k->store, &k->shard, &range, got_due_page, k);
}

static void got_fresh_page(void *arg, int result, const struct store_entry *entries, size_t count,
                           bool has_more)
{
        struct keeper *k = arg;

        k->is_scanning = false;
        if (result < 0)
                return;
        k->is_fresh_left = has_more;
        for (size_t i = 0; i < count; i++) {
                if (!queue_has_room(&k->queue)) {
                        k->is_fresh_left = true;
                        return;
                }
                /* The same message may have further groups: take it up again, the
                 * active queue knows which it has. */
                k->fresh_cursor = key_get_u64(entries[i].key.p + 1);
                take_up(k, entries[i].value);
        }
        if (has_more)
                keeper_queue_pump(k);
}

static void scan_fresh(struct keeper *k)
{
        char first[QUEUE_KEY_LEN];
        const struct store_range range = {queue_key('f', k->fresh_cursor, 0, first),
                                          SPAN_LITERAL("g"), SCAN_PAGE, false};

        k->is_scanning = true;
        store_scan(k->store, &k->shard, &range, got_fresh_page, k);
}

static void on_due(void *arg)
{
        struct keeper *k = arg;

        if (!k->is_scanning && !k->is_stopping)
                scan_due(k);
}

/* Something will be due earlier than the timer knows. */
void keeper_queue_expect(struct keeper *k, uint64_t due_us)
{
        if (due_us < k->due_next_us) {
                k->due_next_us = due_us;
                set_due_timer(k);
        }
}

/* ---- the pump ---------------------------------------------------------- */

static void on_unblock(void *arg)
{
        keeper_queue_pump(arg);
}

static void wait_for_unblock(struct keeper *k)
{
        const uint64_t now = clock_now_us();
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
        while (keeper_job_may_start(k) && (e = queue_take(&k->queue, clock_now_us())))
                keeper_job_start(k, e);
        wait_for_unblock(k);
        /* Half empty, not one free place: a scan passes over all that is active. */
        if (k->is_fresh_left && !k->is_scanning &&
            k->queue.active_count <= k->queue.active_max / 2) {
                k->is_fresh_left = false;
                scan_fresh(k);
        }
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
        k->due_next_us = UINT64_MAX;
        k->is_fresh_left = true;
        if (timer_new(k->process->loop, on_due, k, &k->due_timer) < 0 ||
            timer_new(k->process->loop, on_unblock, k, &k->unblock_timer) < 0)
                return -ENOMEM;
        timer_set(k->due_timer, 1);
        keeper_queue_pump(k);
        return 0;
}

/* ---- administration ---------------------------------------------------- */

struct change {
        struct keeper *keeper;
        struct keeper_queue_change what; /* its next_hop lies behind the struct */
        bool looked_for_fresh;
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

        if (result == 0) {
                keeper_queue_expect(c->keeper, clock_now_us());
                keeper_queue_pump(c->keeper);
        }
        end_change(c, result);
}

static void change_entry(struct change *c, const struct queue_entry *before)
{
        struct keeper *k = c->keeper;
        struct queue_entry changed = *before, *after = NULL;
        struct store_batch *batch;
        int r = 0;

        if (c->what.verb == KEEPER_QUEUE_HOLD || c->what.verb == KEEPER_QUEUE_RELEASE)
                changed.is_held = c->what.verb == KEEPER_QUEUE_HOLD;
        if (c->what.verb == KEEPER_QUEUE_MOVE)
                changed.next_hop = c->what.next_hop;
        changed.waits_for_host = false;
        changed.due_us = changed.is_held ? QUEUE_DUE_NEVER_US : clock_now_us();
        if (c->what.verb != KEEPER_QUEUE_DROP)
                r = queue_entry_update(&changed, &after);
        batch = r == 0 ? store_batch_new(k->store, &k->shard, STORE_ANY_SEQUENCE) : NULL;
        if (!batch) {
                queue_entry_free(after);
                end_change(c, r < 0 ? r : -ENOMEM);
                return;
        }
        keeper_queue_put(batch, before, after);
        keeper_job_trace(batch, before, c->what.verb);
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
