#include "ctl/story.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/test.h"
#include "policy/decision.h"

static void add(struct story *s, uint64_t message_id, const struct decision_step *steps,
                size_t count)
{
        struct buffer b = BUFFER_INIT(4096);

        CHECK(decision_begin(&b, message_id) == 0, "begin");
        for (size_t i = 0; i < count; i++)
                CHECK(decision_add(&b, &steps[i]) == 0, "add");
        CHECK(story_add(s, buffer_span(&b)) == 0, "story");
        buffer_done(&b);
}

/* Parts of two messages, the later ones first. */
static struct story *make_story(void)
{
        static const struct decision_step late[] = {
                { .at_us = 3000000, .recipient = 1, .kind = DECISION_RELAYED, .code = 250,
                  .host = SPAN("mx.example.net"), .text = SPAN("Ok\x1b[31m") },
        };
        static const struct decision_step early[] = {
                { .at_us = 1000000, .recipient = DECISION_MESSAGE, .kind = DECISION_RECEIVED,
                  .host = SPAN("[192.0.2.1]:40001") },
                { .at_us = 1000000, .recipient = 0, .kind = DECISION_ACCEPTED,
                  .rule = SPAN("local user"), .origin = SPAN("users:17"),
                  .rcpt_to = SPAN("taro@example.jp"), .next = SPAN("taro@example.jp") },
                { .at_us = 1000000, .recipient = 1, .kind = DECISION_ACCEPTED,
                  .rcpt_to = SPAN("b@example.net"), .next = SPAN("smtp:example.net") },
                { .at_us = 2000000, .recipient = 0, .kind = DECISION_STORED,
                  .next = SPAN("taro@example.jp"), .detail = SPAN("uid=1") },
        };
        static const struct decision_step other[] = {
                { .at_us = 500000, .recipient = 0, .kind = DECISION_REFUSED, .code = 550,
                  .enhanced = SPAN("5.1.1"), .text = SPAN("no \xff"), .rcpt_to = SPAN("x@y") },
        };
        struct story *s = story_new();

        CHECK(s != NULL, "new");
        add(s, 7, late, 1);
        add(s, 5, other, 1);
        add(s, 7, early, 4);
        return s;
}

/* What `print` writes to standard output. */
static struct buffer capture(struct story *s, const char *about)
{
        struct buffer text = BUFFER_INIT(1 << 20);
        FILE *file = tmpfile();
        const int saved = dup(STDOUT_FILENO);

        CHECK(file && saved >= 0, "capture");
        fflush(stdout);
        dup2(fileno(file), STDOUT_FILENO);
        if (about)
                story_print(s, span_from_string(about));
        else
                story_print_json(s);
        fflush(stdout);
        dup2(saved, STDOUT_FILENO);
        close(saved);
        lseek(fileno(file), 0, SEEK_SET);
        CHECK(file_read_fd(fileno(file), &text) == 0 && buffer_append(&text, "", 1) == 0, "read");
        fclose(file);
        return text;
}

/* Where `part` stands in the text, which ends in NUL; SIZE_MAX: nowhere. */
static size_t place(const struct buffer *b, const char *part)
{
        const char *text = buffer_span(b).p, *found = text ? strstr(text, part) : NULL;

        return found ? (size_t) (found - text) : SIZE_MAX;
}

TEST(parts_become_one_story_in_the_order_of_time)
{
        struct story *s = make_story();
        struct buffer text = capture(s, "");
        uint64_t ids[4];

        CHECK(story_ids(s, ids, 4) == 2, "ids");
        CHECK(place(&text, "Message 0000000000005") < place(&text, "Message 0000000000007"),
              "oldest first");
        CHECK(place(&text, "from [192.0.2.1]:40001") < place(&text, "to taro@example.jp: stored"),
              "who sent it first");
        CHECK(place(&text, "by local user (users:17), goes to taro@example.jp") != SIZE_MAX,
              "rule");
        CHECK(place(&text, "to b@example.net: relayed") != SIZE_MAX, "final place");
        CHECK(place(&text, "taken by mx.example.net, which said 250 Ok?[31m") != SIZE_MAX,
              "the remote's words, without what a terminal would obey");
        buffer_done(&text);
        story_free(s);
}

TEST(one_recipient_is_told_alone)
{
        struct story *s = make_story();
        struct buffer text = capture(s, "B@example.net");

        CHECK(place(&text, "to b@example.net: relayed") != SIZE_MAX, "the one");
        CHECK(place(&text, "taro@example.jp") == SIZE_MAX, "not the other");
        CHECK(place(&text, "to x@y: refused") != SIZE_MAX, "a message that is not to it: whole");
        buffer_done(&text);
        story_free(s);
}

TEST(json_has_one_object_a_message)
{
        struct story *s = make_story();
        struct buffer text = capture(s, NULL);

        CHECK(place(&text, "{\"id\":\"0000000000005\"") == 0, "first");
        CHECK(place(&text, "\n{\"id\":\"0000000000007\"") != SIZE_MAX, "second");
        CHECK(place(&text, "\"text\":\"no ?\"") != SIZE_MAX, "octets that are not UTF-8");
        CHECK(place(&text, "\"kind\":\"relayed\"") > place(&text, "\"kind\":\"stored\""), "order");
        buffer_done(&text);
        story_free(s);
}

TEST(what_is_no_record_is_refused)
{
        struct story *s = story_new();

        CHECK(story_add(s, SPAN_LITERAL("nonsense")) == -EBADMSG, "refused");
        CHECK(story_add(s, (struct span) {0}) < 0, "empty");
        story_free(s);
}

TEST_MAIN()
