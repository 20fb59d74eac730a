/* Decision records: what was written is read back, every cut and every damaged
 * octet is survived, an ordinary record stays small. */
#include "policy/decision.h"

#include <errno.h>

#include "base/test.h"

static const struct {
        const char *name;
        struct decision_step step;
} cases[] = {
        { "nothing but a kind", {.kind = DECISION_HELD, .recipient = DECISION_MESSAGE} },
        { "received",
          {.at_us = 1795310703123456, .recipient = DECISION_MESSAGE, .kind = DECISION_RECEIVED,
           .host = SPAN("[192.0.2.1]:40001"),
           .detail = SPAN("helo_name=mail.example.jp protocol=ESMTPS mail_from=a@example.jp")} },
        { "accepted, recipient 0",
          {.at_us = 1795310703123456, .recipient = 0, .kind = DECISION_ACCEPTED, .code = 250,
           .rule = SPAN("local user"), .origin = SPAN("users:17"),
           .rcpt_to = SPAN("taro@example.jp"), .next = SPAN("taro@example.jp")} },
        { "refused",
          {.at_us = 1, .recipient = 7, .kind = DECISION_REFUSED, .code = 550,
           .enhanced = SPAN("5.1.1"), .text = SPAN("No such user here")} },
        { "octets, NUL too",
          {.at_us = UINT64_MAX, .recipient = UINT32_MAX - 1, .kind = UINT16_MAX,
           .code = UINT16_MAX, .text = SPAN("a\0b\r\n\xff")} },
};
enum { CASES = sizeof cases / sizeof cases[0] };

static bool step_equal(const struct decision_step *a, const struct decision_step *b)
{
        return a->at_us == b->at_us && a->recipient == b->recipient && a->kind == b->kind &&
               a->code == b->code && span_equal(a->rule, b->rule) &&
               span_equal(a->origin, b->origin) && span_equal(a->rcpt_to, b->rcpt_to) &&
               span_equal(a->enhanced, b->enhanced) && span_equal(a->text, b->text) &&
               span_equal(a->next, b->next) && span_equal(a->host, b->host) &&
               span_equal(a->detail, b->detail);
}

static void build(struct buffer *b)
{
        CHECK(decision_begin(b, 0x0123456789abcdef) == 0, "begin");
        for (size_t i = 0; i < CASES; i++)
                CHECK(decision_add(b, &cases[i].step) == 0, cases[i].name);
}

TEST(what_was_written_is_read_back)
{
        struct buffer b = BUFFER_INIT(4096);
        struct decision_step step;
        struct reader r;
        uint64_t id = 0;

        build(&b);
        CHECK(decision_open(buffer_span(&b), &id, &r) == 0, "open");
        CHECK(id == 0x0123456789abcdef, "id");
        for (size_t i = 0; i < CASES; i++) {
                CHECK(decision_next(&r, &step), cases[i].name);
                CHECK(step_equal(&step, &cases[i].step), cases[i].name);
        }
        CHECK(!decision_next(&r, &step) && !r.failed, "end");
        buffer_done(&b);
}

TEST(a_cut_record_gives_whole_steps_only)
{
        struct buffer b = BUFFER_INIT(4096);
        struct decision_step step;
        struct reader r;
        uint64_t id;

        build(&b);
        for (size_t cut = 0; cut < b.len; cut++) {
                size_t n = 0;

                if (decision_open(span_first(buffer_span(&b), cut), &id, &r) < 0) {
                        CHECK(cut < 10, "head");
                        continue;
                }
                CHECK(cut >= 10, "head");
                while (decision_next(&r, &step))
                        CHECK(step_equal(&step, &cases[n++].step), "step of a cut record");
                CHECK(n < CASES, "a cut record is not whole");
        }
        buffer_done(&b);
}

TEST(bounds)
{
        static const char long_text[DECISION_STRING_MAX + 1];
        struct decision_step step = {.kind = DECISION_RULE, .recipient = DECISION_MESSAGE};
        struct buffer b = BUFFER_INIT(64);

        CHECK(decision_begin(&b, 1) == 0, "begin");
        step.text = span_make(long_text, sizeof long_text);
        CHECK(decision_add(&b, &step) == -EMSGSIZE, "text too long");
        CHECK(b.len == 10, "nothing added");
        step.text = span_make(long_text, 60);
        CHECK(decision_add(&b, &step) == -EMSGSIZE, "buffer full");
        CHECK(b.len == 10, "nothing added");
        buffer_done(&b);
}

TEST(an_ordinary_record_is_small)
{
        struct buffer b = BUFFER_INIT(4096);

        CHECK(decision_begin(&b, 1) == 0, "begin");
        CHECK(decision_add(&b, &cases[1].step) == 0, "received");
        CHECK(decision_add(&b, &cases[2].step) == 0, "accepted");
        CHECK(b.len <= 400, "at most 400 octets");
        buffer_done(&b);
}

TEST(kinds_have_names)
{
        for (unsigned kind = DECISION_RECEIVED; kind <= DECISION_NOTIFIED; kind++)
                CHECK(strcmp(decision_kind_name(kind), "unknown") != 0, "named");
        CHECK(strcmp(decision_kind_name(0), "unknown") == 0, "0");
        CHECK(strcmp(decision_kind_name(DECISION_NOTIFIED + 1), "unknown") == 0, "later");
        CHECK(strcmp(decision_kind_name(UINT32_MAX), "unknown") == 0, "largest");
}

TEST_MAIN()
