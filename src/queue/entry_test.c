/* What is stored is read back; what is damaged is refused. */
#include "queue/entry.h"

#include <errno.h>

#include "base/test.h"

static struct queue_recipient recipients[] = {
        { .index = 0, .state = RECIPIENT_WAITING, .rcpt_to = SPAN("a@example.net"), .notify = 2 },
        { .index = 4, .state = RECIPIENT_FAILED, .rcpt_to = SPAN("b@example.net"), .code = 550,
          .orcpt = SPAN("rfc822;b@example.org"), .enhanced = SPAN("5.1.1"),
          .text = SPAN("no such user"), .host = SPAN("mx.example.net [192.0.2.1]:25") },
        { .index = 5, .state = RECIPIENT_DONE, .rcpt_to = SPAN("c@example.net"),
          .account = SPAN("c@example.net") },
};

static struct queue_entry sample(void)
{
        return (struct queue_entry) {
                .message_id = 0x0102030405060708, .group = 3, .is_held = true, .flags = 5,
                .attempts = 2, .arrived_us = 1700000000000000, .due_us = 1700000900000000,
                .blob_id = 77, .body_len = 4096, .local_prefix_len = 30,
                .mail_from = SPAN("s@example.jp"), .envid = SPAN("e1"), .deliver_by_us = 777,
                .header_message_id = SPAN("<x@y>"), .next_hop = SPAN("smtp:[192.0.2.1]"),
                .recipients = recipients, .recipient_count = 3,
        };
}

TEST(an_entry_survives_being_stored)
{
        const struct queue_entry given = sample();
        struct queue_entry *e;

        assert_int_equal(0, queue_entry_update(&given, &e));
        assert_true(e->message_id == given.message_id && e->group == 3 && e->is_held);
        assert_true(!e->delay_told && e->attempts == 2 && e->due_us == given.due_us);
        assert_true(span_equal(e->next_hop, given.next_hop));
        assert_true(span_equal(e->mail_from, given.mail_from));
        assert_int_equal(3, e->recipient_count);
        assert_int_equal(1, queue_entry_count(e, RECIPIENT_FAILED));
        assert_true(span_equal(e->recipients[1].text, recipients[1].text));
        assert_true(span_equal(e->recipients[1].host, recipients[1].host));
        assert_true(span_equal(e->recipients[2].account, recipients[2].account));
        queue_entry_free(e);
}

static void check_same(const struct queue_entry *a, const struct queue_entry *b, const char *name)
{
        const struct span texts[][2] = {
                {a->mail_from, b->mail_from}, {a->envid, b->envid}, {a->next_hop, b->next_hop},
                {a->header_message_id, b->header_message_id}, {a->encoded, b->encoded},
        };
        const uint64_t numbers[][2] = {
                {a->message_id, b->message_id}, {a->group, b->group}, {a->flags, b->flags},
                {a->is_held, b->is_held}, {a->delay_told, b->delay_told},
                {a->delay_owed, b->delay_owed}, {a->waits_for_host, b->waits_for_host},
                {a->hop_hash, b->hop_hash}, {a->attempts, b->attempts},
                {a->arrived_us, b->arrived_us}, {a->deliver_by_us, b->deliver_by_us},
                {a->due_us, b->due_us}, {a->blob_id, b->blob_id}, {a->body_len, b->body_len},
                {a->local_prefix_len, b->local_prefix_len},
                {a->recipient_count, b->recipient_count},
        };

        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
                CHECK(span_equal(texts[i][0], texts[i][1]), name);
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
                CHECK(numbers[i][0] == numbers[i][1], name);
        for (size_t i = 0; i < a->recipient_count; i++) {
                const struct queue_recipient *p = &a->recipients[i], *q = &b->recipients[i];

                CHECK(p->index == q->index && p->state == q->state && p->code == q->code, name);
                CHECK(p->notify == q->notify && span_equal(p->rcpt_to, q->rcpt_to), name);
                CHECK(span_equal(p->orcpt, q->orcpt) && span_equal(p->host, q->host), name);
                CHECK(span_equal(p->account, q->account) && span_equal(p->text, q->text), name);
                CHECK(span_equal(p->enhanced, q->enhanced), name);
        }
}

TEST(what_is_in_memory_is_what_is_stored)
{
        static const struct {
                const char *name;
                bool waits;
                uint64_t hop_hash, deliver_by_us;
                size_t recipient_count;
        } rows[] = {
                { "all of it",             true,  99, 777, 3 },
                { "waits for its own hop", true,  0,  777, 3 },
                { "waits for nobody",      false, 99, 777, 3 },
                { "no time to keep",       true,  99, 0,   3 },
                { "one recipient",         false, 0,  0,   1 },
                { "no recipient",          false, 0,  0,   0 },
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                struct queue_entry given = sample(), *e, *read;

                given.waits_for_host = rows[i].waits;
                given.hop_hash = rows[i].hop_hash;
                given.deliver_by_us = rows[i].deliver_by_us;
                given.recipient_count = rows[i].recipient_count;
                assert_int_equal(0, queue_entry_update(&given, &e));
                assert_int_equal(0, queue_entry_decode(e->encoded, &read));
                check_same(e, read, rows[i].name);
                CHECK(read->encoded.p != e->encoded.p, rows[i].name);
                queue_entry_free(e);
                queue_entry_free(read);
        }
}

TEST(every_cut_is_refused)
{
        const struct queue_entry given = sample();
        struct queue_entry *e, *cut;

        assert_int_equal(0, queue_entry_update(&given, &e));
        for (size_t len = 0; len < e->encoded.len; len++)
                assert_int_equal(-EBADMSG, queue_entry_decode(span_first(e->encoded, len), &cut));
        queue_entry_free(e);
}

TEST(a_long_reply_is_kept_in_part)
{
        static char text[4 * QUEUE_REPLY_MAX];
        struct queue_recipient one = {.state = RECIPIENT_WAITING, .text = {text, sizeof text}};
        struct queue_entry given = {.recipients = &one, .recipient_count = 1}, *e;

        memset(text, 'x', sizeof text);
        assert_int_equal(0, queue_entry_update(&given, &e));
        assert_int_equal(QUEUE_REPLY_MAX, e->recipients[0].text.len);
        queue_entry_free(e);
}

TEST(keys_sort_by_time_and_are_read_back)
{
        struct queue_entry early = sample(), late = sample();
        char a[QUEUE_DUE_KEY_LEN], b[QUEUE_DUE_KEY_LEN];
        uint64_t due_us, message_id;
        uint16_t group;

        late.due_us++;
        late.message_id = 1;
        struct span early_key = queue_entry_due_key(&early, a);
        struct span late_key = queue_entry_due_key(&late, b);
        assert_true(memcmp(early_key.p, late_key.p, QUEUE_DUE_KEY_LEN) < 0);
        assert_int_equal(0, queue_due_key_parse(early_key, &due_us, &message_id, &group));
        assert_true(due_us == early.due_us && message_id == early.message_id && group == 3);
        assert_int_equal(-EINVAL, queue_due_key_parse(span_first(early_key, 18), &due_us,
                                                      &message_id, &group));
}

TEST_MAIN()
