/* Turns, concurrency and blocks of destinations. */
#include "queue/queue.h"

#include <stdio.h>

#include "base/test.h"

enum { SECOND = 1000000 };

static struct queue_entry *entry(uint64_t id, struct span next_hop)
{
        struct queue_recipient one = {.state = RECIPIENT_WAITING, .rcpt_to = SPAN("a@b")};
        const struct queue_entry given = {.message_id = id, .next_hop = next_hop,
                                          .recipients = &one, .recipient_count = 1};
        struct queue_entry *e;

        assert_int_equal(0, queue_entry_update(&given, &e));
        return e;
}

static void add(struct queue *q, uint64_t id, const char *next_hop)
{
        assert_int_equal(0, queue_add(q, entry(id, span_from_string(next_hop)),
                                       span_from_string(next_hop)));
}

static uint64_t take(struct queue *q, uint64_t now_us)
{
        struct queue_entry *e = queue_take(q, now_us);

        return e ? e->message_id : 0;
}

static void finish(struct queue *q, uint64_t id, enum queue_health health, uint64_t now_us)
{
        struct queue_entry *e = queue_find(q, id, 0);

        assert_non_null(e);
        queue_report(q, e, health, now_us);
        queue_remove(q, e);
        queue_entry_free(e);
}

TEST(destinations_take_turns)
{
        struct queue q;

        queue_init(&q, &(struct queue_options) {100, 20, 15 * SECOND, 900ULL * SECOND});
        for (uint64_t id = 1; id <= 4; id++)
                add(&q, id, "busy");
        add(&q, 10, "quiet");
        assert_int_equal(1, take(&q, 0));
        assert_int_equal(10, take(&q, 0));
        assert_int_equal(2, take(&q, 0));
        queue_done(&q, NULL);
}

TEST(the_same_entry_is_not_taken_twice)
{
        struct queue q;
        struct queue_entry *again = entry(1, SPAN_LITERAL("h"));

        queue_init(&q, &(struct queue_options) {100, 20, 15 * SECOND, 900ULL * SECOND});
        add(&q, 1, "h");
        assert_true(queue_add(&q, again, SPAN_LITERAL("h")) < 0);
        assert_true(queue_park(&q, again) < 0);
        queue_entry_free(again);
        assert_int_equal(1, take(&q, 0));
        assert_int_equal(0, take(&q, 0));
        queue_done(&q, NULL);
}

TEST(concurrency_is_kept_and_grows_with_success)
{
        struct queue q;
        unsigned started = 0;

        queue_init(&q, &(struct queue_options) {100, 7, 15 * SECOND, 900ULL * SECOND});
        for (uint64_t id = 1; id <= 20; id++)
                add(&q, id, "h");
        while (take(&q, 0))
                started++;
        assert_int_equal(5, started);
        finish(&q, 1, QUEUE_HOST_GOOD, 0);
        finish(&q, 2, QUEUE_HOST_GOOD, 0);
        finish(&q, 3, QUEUE_HOST_GOOD, 0);
        for (started = 0; take(&q, 0);)
                started++;
        assert_int_equal(7 - 2, started); /* never above the option */
        queue_done(&q, NULL);
}

TEST(a_dead_host_blocks_only_itself)
{
        struct queue q;
        struct destination *d;
        struct queue_entry *e;
        unsigned blocked = 0;

        queue_init(&q, &(struct queue_options) {100, 20, 15 * SECOND, 900ULL * SECOND});
        for (uint64_t id = 1; id <= 8; id++)
                add(&q, id, "dead");
        add(&q, 20, "alive");
        assert_int_equal(1, take(&q, SECOND));
        d = queue_find(&q, 1, 0)->destination;
        finish(&q, 1, QUEUE_HOST_FAILED, SECOND);
        assert_int_equal(20, take(&q, SECOND));
        assert_int_equal(0, take(&q, SECOND));
        while ((e = queue_blocked(&q, d, SECOND))) {
                blocked++;
                queue_remove(&q, e);
                queue_entry_free(e);
        }
        assert_int_equal(7, blocked);
        assert_int_equal(1, q.active_count);
        add(&q, 30, "dead");
        assert_int_equal(0, take(&q, SECOND));
        assert_true(queue_next_unblock_us(&q, SECOND) == d->blocked_until_us);
        assert_int_equal(30, take(&q, d->blocked_until_us));
        finish(&q, 30, QUEUE_HOST_GOOD, d->blocked_until_us);
        queue_done(&q, NULL);
}

/* Entry `id` for `next_hop` that waits for its host, or a notification of ours. */
static void add_marked(struct queue *q, uint64_t id, bool waits_for_host, uint32_t flags)
{
        struct queue_entry *e = entry(id, SPAN_LITERAL("h"));

        e->waits_for_host = waits_for_host;
        e->flags = flags;
        assert_int_equal(0, queue_add(q, e, e->next_hop));
}

TEST(no_row_takes_the_room_of_others)
{
        const struct span a = SPAN_LITERAL("a"), b = SPAN_LITERAL("b");
        uint64_t until_us = 0;
        struct queue q;

        queue_init(&q, &(struct queue_options) {40, 20, 15 * SECOND, 900ULL * SECOND});
        for (uint64_t id = 1; id <= 30; id++) {
                assert_int_equal(QUEUE_IN_ROW, queue_place_of(&q, a, 0, &until_us));
                add(&q, id, "a");
        }
        assert_int_equal(QUEUE_IN_STORE, queue_place_of(&q, a, 0, &until_us));
        assert_int_equal(QUEUE_IN_ROW, queue_place_of(&q, b, 0, &until_us));
        add(&q, 100, "b");
        assert_int_equal(QUEUE_PUT_OFF, queue_place_of(&q, a, 7, &until_us));
        assert_true(until_us == 7);
        assert_int_equal(QUEUE_IN_ROW, queue_place_of(&q, b, 0, &until_us));
        assert_int_equal(1, take(&q, SECOND));
        finish(&q, 1, QUEUE_HOST_FAILED, SECOND);
        assert_int_equal(QUEUE_PUT_OFF, queue_place_of(&q, a, SECOND, &until_us));
        assert_true(until_us == 16 * SECOND);
        queue_done(&q, NULL);
}

TEST(a_host_that_is_back_wants_what_lies_in_the_store)
{
        const struct span h = SPAN_LITERAL("h");
        struct queue q;

        queue_init(&q, &(struct queue_options) {1000, 20, 15 * SECOND, 900ULL * SECOND});
        add(&q, 1, "h");
        assert_null(queue_wants_refill(&q, h, 0));
        assert_int_equal(1, take(&q, SECOND));
        finish(&q, 1, QUEUE_HOST_FAILED, SECOND);
        assert_null(queue_wants_refill(&q, h, SECOND));
        add(&q, 2, "h");
        assert_int_equal(2, take(&q, 100ULL * SECOND));
        finish(&q, 2, QUEUE_HOST_GOOD, 100ULL * SECOND);
        assert_non_null(queue_wants_refill(&q, h, 100ULL * SECOND));
        queue_find_destination(&q, h)->refill_len = 1; /* some were looked at */
        queue_note_stored(&q, h);
        queue_note_refilled(&q, h);
        assert_non_null(queue_wants_refill(&q, h, 100ULL * SECOND)); /* for the one behind */
        queue_note_refilled(&q, h);
        assert_int_equal(0, q.destinations.count);
        add_marked(&q, 3, true, 0); /* as after a restart */
        assert_non_null(queue_wants_refill(&q, h, 0));
        queue_done(&q, NULL);
}

TEST(notifications_go_behind_mail_and_are_not_forgotten)
{
        struct queue q;
        uint64_t order[10];

        queue_init(&q, &(struct queue_options) {100, 20, 15 * SECOND, 900ULL * SECOND});
        for (uint64_t id = 1; id <= 2; id++)
                add_marked(&q, id, false, QUEUE_FLAGS_LAST);
        for (uint64_t id = 10; id <= 18; id++)
                add_marked(&q, id, false, 0);
        for (size_t i = 0; i < 10; i++) {
                order[i] = take(&q, 0);
                assert_true(order[i] != 0);
                finish(&q, order[i], QUEUE_HOST_GOOD, 0);
        }
        for (size_t i = 0; i < 7; i++)
                assert_int_equal(10 + i, order[i]);
        assert_int_equal(1, order[7]);
        assert_int_equal(17, order[8]);
        queue_done(&q, NULL);
}

TEST(an_idle_destination_is_forgotten)
{
        struct queue q;

        queue_init(&q, &(struct queue_options) {100, 20, 15 * SECOND, 900ULL * SECOND});
        add(&q, 1, "good");
        add(&q, 2, "bad");
        assert_int_equal(1, take(&q, SECOND));
        assert_int_equal(2, take(&q, SECOND));
        finish(&q, 1, QUEUE_HOST_GOOD, SECOND);
        assert_int_equal(1, q.destinations.count);
        finish(&q, 2, QUEUE_HOST_FAILED, SECOND);
        queue_sweep(&q, 2 * SECOND);
        assert_int_equal(1, q.destinations.count);
        queue_sweep(&q, 86400ULL * SECOND);
        assert_int_equal(0, q.destinations.count);
        queue_done(&q, NULL);
}

TEST_MAIN()
