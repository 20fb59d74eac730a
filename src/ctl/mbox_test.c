#include "ctl/mbox.h"

#include <errno.h>

#include "base/test.h"
#include "store/mailbox.h"

#define FROM "From a@example.jp Sun Nov 22 04:25:03 2026\n"
#define AT_US (UINT64_C(1795321503) * 1000000)

static const struct {
        const char *name, *file;
        const char *messages[3]; /* as read */
        uint32_t flags;          /* of the first */
} cases[] = {
        { "nothing", "", { NULL }, 0 },
        { "blank lines only", "\n\n", { NULL }, 0 },
        { "one", FROM "A: b\n\nc\n\n", { "A: b\r\n\r\nc\r\n" }, 0 },
        { "two",
          FROM "A: b\n\nc\n\n" FROM "D: e\n\nf\n", { "A: b\r\n\r\nc\r\n", "D: e\r\n\r\nf\r\n" },
          0 },
        { "no line feed at the end", FROM "A: b\n\nc", { "A: b\r\n\r\nc\r\n" }, 0 },
        { "CRLF in the file", FROM "A: b\r\n\r\nc\r\n", { "A: b\r\n\r\nc\r\n" }, 0 },
        { "blank lines at the end of the text", FROM "A: b\n\nc\n\n\n\n",
          { "A: b\r\n\r\nc\r\n\r\n\r\n" }, 0 },
        { "no text", FROM "A: b\n\n" FROM "D: e\n\n\n", { "A: b\r\n\r\n", "D: e\r\n\r\n" }, 0 },
        { "quoted lines", FROM "A: b\n\n>From x\n>>From y\n> From z\n>>Fromage\n",
          { "A: b\r\n\r\nFrom x\r\n>From y\r\n> From z\r\n>>Fromage\r\n" }, 0 },
        { "From without a date is text",
          FROM "A: b\n\nc\n\nFrom here to there\n\n" FROM "D: e\n\nf\n",
          { "A: b\r\n\r\nc\r\n\r\nFrom here to there\r\n", "D: e\r\n\r\nf\r\n" }, 0 },
        { "From_ line without an empty line before it is text", FROM "A: b\n\nc\n" FROM "d\n",
          { "A: b\r\n\r\nc\r\nFrom a@example.jp Sun Nov 22 04:25:03 2026\r\nd\r\n" }, 0 },
        { "flags", FROM "Status: RO\nA: b\nx-status: AF\n\nStatus: T\n",
          { "A: b\r\n\r\nStatus: T\r\n" }, MESSAGE_SEEN | MESSAGE_ANSWERED | MESSAGE_FLAGGED },
        { "blanks in the address", "From \"a b\"@x Sun Nov 22 04:25:03 2026\nA: b\n\n",
          { "A: b\r\n\r\n" }, 0 },
        { "a zone", "From a Sun Nov 22 13:25:03 2026 +0900\nA: b\n\n", { "A: b\r\n\r\n" }, 0 },
        { "a zone before the year", "From a Sun Nov 22 13:25:03 +0900 2026\nA: b\n\n",
          { "A: b\r\n\r\n" }, 0 },
};

TEST(messages_are_read)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                FILE *in = tmpfile();
                struct mbox_reader r = MBOX_READER_INIT(in);
                struct transfer_message message = TRANSFER_MESSAGE_INIT(4096);

                CHECK(in && fputs(cases[i].file, in) >= 0, "tmpfile");
                rewind(in);
                for (size_t k = 0; cases[i].messages[k]; k++) {
                        CHECK(mbox_read(&r, &message) == 1, cases[i].name);
                        CHECK(span_equal(buffer_span(&message.octets),
                                         span_from_string(cases[i].messages[k])),
                              cases[i].name);
                        CHECK(message.arrived_us == AT_US, cases[i].name);
                        CHECK(message.flags == (k ? 0 : cases[i].flags), cases[i].name);
                }
                CHECK(mbox_read(&r, &message) == 0, cases[i].name);
                CHECK(mbox_read(&r, &message) == 0, cases[i].name);
                mbox_reader_done(&r);
                transfer_message_done(&message);
                fclose(in);
        }
}

TEST(what_is_written_is_read_back)
{
        static const char *const messages[] = {
                "Return-Path: <b@example.jp>\r\nA: b\r\n\r\nFrom x Sun Nov 22 04:25:03 2026\r\n",
                "A: b\r\n\r\n\r\n\r\nFrom \r\n>From \r\n>>>From\r\n\r\n",
                "A: b\r\n\r\n",
                "\r\nno header\r\n",
        };
        FILE *file = tmpfile();
        struct mbox_reader r = MBOX_READER_INIT(file);
        struct transfer_message message = TRANSFER_MESSAGE_INIT(4096);
        struct mbox_writer writer = {.out = file, .uid_validity = 1700000000, .uid_next = 9};
        char line[100];

        for (uint32_t i = 0; i < 4; i++) {
                transfer_message_clear(&message);
                message.arrived_us = AT_US;
                message.flags = i * 5;
                message.uid = 3 + i;
                transfer_message_add_keyword(&message, SPAN_LITERAL("$Forwarded"));
                transfer_message_add_keyword(&message, SPAN_LITERAL("Work"));
                CHECK(buffer_append_string(&message.octets, messages[i]) == 0, "text");
                CHECK(mbox_write(&writer, &message) == 0, "write");
        }
        rewind(file);
        CHECK(fgets(line, sizeof line, file) &&
                      strcmp(line, "From b@example.jp Sun Nov 22 04:25:03 2026\n") == 0,
              line);
        rewind(file);
        for (uint32_t i = 0; i < 4; i++) {
                CHECK(mbox_read(&r, &message) == 1, messages[i]);
                CHECK(span_equal(buffer_span(&message.octets), span_from_string(messages[i])),
                      messages[i]);
                CHECK(message.arrived_us == AT_US && message.flags == i * 5, messages[i]);
                CHECK(r.uid_validity == 1700000000 && r.uid_last == 8, "UIDVALIDITY");
                CHECK(message.uid == 3 + i, "UID");
                CHECK(span_equal(buffer_span(&message.keywords),
                                 SPAN_LITERAL("$Forwarded\0Work\0")),
                      "keywords");
        }
        CHECK(mbox_read(&r, &message) == 0, "end");
        mbox_reader_done(&r);
        transfer_message_done(&message);
        fclose(file);
}

TEST(what_programs_keep_in_the_file_is_no_message)
{
        FILE *file = tmpfile();
        struct mbox_reader r = MBOX_READER_INIT(file);
        struct transfer_message message = TRANSFER_MESSAGE_INIT(4096);

        CHECK(fputs(FROM "Subject: FOLDER INTERNAL DATA\nX-IMAP: 1234567890 0000000007\n\nx\n\n"
                    FROM "X-UID: 5\nA: b\n\nc\n", file) >= 0, "write");
        rewind(file);
        CHECK(mbox_read(&r, &message) == 1 && r.is_folder_data, "data");
        CHECK(r.uid_validity == 1234567890 && r.uid_last == 7, "numbers");
        CHECK(mbox_read(&r, &message) == 1 && !r.is_folder_data && message.uid == 5, "message");
        mbox_reader_done(&r);
        transfer_message_done(&message);
        fclose(file);
}

TEST(what_is_no_mbox_is_refused_and_what_is_too_large_skipped)
{
        FILE *file = tmpfile();
        struct mbox_reader r = MBOX_READER_INIT(file);
        struct transfer_message message = TRANSFER_MESSAGE_INIT(19);

        CHECK(fputs("Subject: x\n\ny\n", file) >= 0, "write");
        rewind(file);
        CHECK(mbox_read(&r, &message) == -EBADMSG && r.line_number == 1, "refused");
        mbox_reader_done(&r);
        rewind(file);
        CHECK(fputs(FROM "A: b\n\n0123456789\n\n" FROM "A: b\n\nc\n", file) >= 0, "write");
        rewind(file);
        r = MBOX_READER_INIT(file);
        CHECK(mbox_read(&r, &message) == -EMSGSIZE, "too large");
        CHECK(mbox_read(&r, &message) == 1 && message.octets.len == 11, "the next");
        mbox_reader_done(&r);
        transfer_message_done(&message);
        fclose(file);
}

TEST_MAIN()
