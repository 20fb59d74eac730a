/* The decoder takes exactly what the encoder makes: every cut, every changed
 * place octet, every overlong field is refused. */
#include "ipc/message.h"

#include <errno.h>
#include <stdio.h>

#include "base/test.h"

static void fill_commit(struct ipc_commit *c, struct buffer *items)
{
        *c = (struct ipc_commit) {
                .message_id = 42,
                .arrived_us = 1700000000000000,
                .flags = 3,
                .mail_from = SPAN("a@example.jp"),
                .header_message_id = SPAN("<1@example.jp>"),
                .body_len = 5,
                .record = SPAN("record"),
                .octets = SPAN("hello"),
        };
        for (unsigned i = 0; i < 3; i++) {
                const struct ipc_recipient r = {
                        .index = i, .kind = 1, .rcpt_to = SPAN("b@example.jp"),
                        .account = SPAN("b@example.jp"), .mailbox = SPAN("INBOX"),
                };
                assert_int_equal(0, ipc_add_recipient(items, &c->recipients, &r));
        }
}

TEST(what_is_encoded_is_decoded)
{
        struct buffer items = BUFFER_INIT(4096), payload = BUFFER_INIT(4096);
        struct ipc_commit c;
        union ipc_message m;
        struct ipc_recipient r;
        unsigned count = 0;

        fill_commit(&c, &items);
        assert_int_equal(0, ipc_encode_commit(&payload, &c));
        assert_int_equal(0, ipc_decode(IPC_commit, buffer_span(&payload), &m));
        assert_true(m.commit.message_id == 42 && m.commit.flags == 3);
        assert_true(span_equal(m.commit.mail_from, c.mail_from));
        assert_true(span_equal(m.commit.octets, c.octets));
        struct reader each = ipc_items_read(m.commit.recipients);
        while (ipc_next_recipient(&each, &r))
                assert_true(r.index == count++ && span_equal(r.mailbox, SPAN_LITERAL("INBOX")));
        assert_int_equal(3, count);
        buffer_done(&items);
        buffer_done(&payload);
}

TEST(a_cut_or_longer_payload_is_refused)
{
        struct buffer items = BUFFER_INIT(4096), payload = BUFFER_INIT(4096);
        struct ipc_commit c;
        union ipc_message m;

        fill_commit(&c, &items);
        assert_int_equal(0, ipc_encode_commit(&payload, &c));
        for (size_t len = 0; len < payload.len; len++)
                assert_int_equal(-EBADMSG,
                                 ipc_decode(IPC_commit, span_first(buffer_span(&payload), len),
                                            &m));
        assert_int_equal(0, buffer_append(&payload, "", 1));
        assert_int_equal(-EBADMSG, ipc_decode(IPC_commit, buffer_span(&payload), &m));
        buffer_done(&items);
        buffer_done(&payload);
}

static const struct {
        const char *name;
        unsigned type;
        struct span payload;
} bad[] = {
        { "unknown type",          999, SPAN("") },
        { "type 0 is no message",  0, SPAN("") },
        { "a field missing",       IPC_drop, SPAN("") },
        { "wrong place",           IPC_drop, SPAN("\x02" "12345678") },
        { "a field twice",         IPC_drop, SPAN("\x01" "12345678" "\x01" "12345678") },
        { "BOOL of 2",             IPC_intake, SPAN("\x01\x02\x02\0\0\0\0") },
        { "OCTETS over the limit", IPC_listener, SPAN("\x01\x01\x01\0\0") },
        { "more items than told",  IPC_control, SPAN("\x01\0\0\0\0\x02\0\0\0\0\x01\0\0\0x") },
        { "fewer items than told", IPC_control, SPAN("\x01\0\0\0\0\x02\x01\0\0\0\0\0\0\0") },
};

TEST(nonsense_is_refused)
{
        union ipc_message m;

        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
                CHECK(ipc_decode(bad[i].type, bad[i].payload, &m) == -EBADMSG, bad[i].name);
}

TEST(a_field_over_its_limit_is_not_encoded)
{
        static char text[IPC_TEXT_MAX + 1];
        struct buffer payload = BUFFER_INIT(4096);
        const struct ipc_intake m = {.reason = {text, sizeof text}};

        assert_int_equal(-EMSGSIZE, ipc_encode_intake(&payload, &m));
        assert_int_equal(0, payload.len);
        buffer_done(&payload);
}

TEST_MAIN()
