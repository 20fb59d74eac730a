#include "process/worker/notification.h"

#include "base/test.h"
#include "message/dsn.h"
#include "route/route.h"

static bool contains(const struct buffer *b, const char *text)
{
        const struct span s = buffer_span(b);

        return s.p && memmem(s.p, s.len, text, strlen(text)) != NULL;
}

static struct ipc_dsn_order make_order(struct buffer *items, size_t count, struct span text)
{
        struct ipc_dsn_order order = {
                .order = 1,
                .message_id = 12345678,
                .action = DSN_FAILED,
                .mail_from = SPAN("hanako@example.jp"),
                .original = SPAN("Subject: lost\r\nX-Other: y\r\n\r\nbody text\r\n"),
        };

        for (size_t i = 0; i < count; i++)
                CHECK(ipc_add_dsn_recipient(items, &order.recipients, &(struct ipc_dsn_recipient) {
                              .rcpt_to = SPAN("nobody@example.net"),
                              .host = SPAN("mx.example.net [192.0.2.1]:25"),
                              .code = 550,
                              .enhanced = SPAN("5.1.1"),
                              .text = text}) == 0,
                      "recipient");
        return order;
}

static int format_order(const struct ipc_dsn_order *order, struct buffer *out)
{
        return notification_format(order, SPAN_LITERAL("mx1.example.jp"), STATUS_ENGLISH,
                                   1795310703000000, out);
}

TEST(what_an_order_asks_for_is_written)
{
        struct buffer items = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct buffer out = BUFFER_INIT(NOTIFICATION_SIZE_MAX);
        struct ipc_dsn_order order = make_order(&items, 1, SPAN_LITERAL("no such person"));

        CHECK(format_order(&order, &out) == 0,
              "format");
        CHECK(contains(&out, "multipart/report"), "report");
        CHECK(contains(&out, "nobody@example.net"), "recipient");
        CHECK(contains(&out, "\r\nStatus: 5.1.1\r\n"), "status");
        CHECK(contains(&out, "Subject: lost"), "header of the original");
        CHECK(!contains(&out, "body text"), "not its text");
        order.flags = ENVELOPE_RET_FULL;
        CHECK(format_order(&order, &out) == 0,
              "format");
        CHECK(contains(&out, "body text"), "its text, where RET=FULL");
        CHECK(notification_flags(&order, buffer_span(&out)) == 0, "ASCII");
        order.original = SPAN_LITERAL("Subject: lost\r\n\r\nbody \xe3\x81\x82\r\n");
        CHECK(format_order(&order, &out) == 0 && contains(&out, "body \xe3"), "8-bit");
        CHECK(notification_flags(&order, buffer_span(&out)) == ENVELOPE_8BIT, "8-bit envelope");
        order.action = DSN_RELAYED;
        CHECK(format_order(&order, &out) == 0 && !contains(&out, "body \xe3"), "RET is for failures");
        order.mail_from = SPAN_LITERAL("\xe8\x8a\xb1@example.jp");
        CHECK(format_order(&order, &out) == 0, "SMTPUTF8");
        CHECK(notification_flags(&order, buffer_span(&out)) == (ENVELOPE_8BIT | ENVELOPE_SMTPUTF8),
              "UTF-8 envelope");
        buffer_done(&items);
        buffer_done(&out);
}

TEST(however_much_is_asked_for_an_answer_comes)
{
        static char reply[IPC_TEXT_MAX], original[IPC_BODY_PART_MAX];
        struct buffer items = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct buffer out = BUFFER_INIT(NOTIFICATION_SIZE_MAX);
        struct ipc_dsn_order order;

        memset(reply, '\xff', sizeof reply);
        memset(original, 'A', sizeof original);
        order = make_order(&items, 100, span_make(reply, sizeof reply));
        order.original = span_make(original, sizeof original);
        order.flags = ENVELOPE_RET_FULL;
        CHECK(format_order(&order, &out) == 0,
              "format");
        CHECK(out.len <= NOTIFICATION_SIZE_MAX && contains(&out, "nobody@example.net"), "told");
        buffer_done(&items);
        buffer_done(&out);
}

TEST_MAIN()
