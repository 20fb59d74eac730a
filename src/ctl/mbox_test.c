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
                struct buffer message = BUFFER_INIT(4096);
                uint64_t at_us;
                uint32_t flags;

                CHECK(in && fputs(cases[i].file, in) >= 0, "tmpfile");
                rewind(in);
                for (size_t k = 0; cases[i].messages[k]; k++) {
                        CHECK(mbox_read(&r, &message, &at_us, &flags) == 1, cases[i].name);
                        CHECK(span_equal(buffer_span(&message),
                                         span_from_string(cases[i].messages[k])),
                              cases[i].name);
                        CHECK(at_us == AT_US, cases[i].name);
                        CHECK(flags == (k ? 0 : cases[i].flags), cases[i].name);
                }
                CHECK(mbox_read(&r, &message, &at_us, &flags) == 0, cases[i].name);
                CHECK(mbox_read(&r, &message, &at_us, &flags) == 0, cases[i].name);
                mbox_reader_done(&r);
                buffer_done(&message);
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
        struct buffer message = BUFFER_INIT(4096);
        uint64_t at_us;
        uint32_t flags;
        char line[100];

        for (uint32_t i = 0; i < 4; i++)
                CHECK(mbox_write(file, span_from_string(messages[i]), AT_US, i * 5) == 0, "write");
        rewind(file);
        CHECK(fgets(line, sizeof line, file) &&
                      strcmp(line, "From b@example.jp Sun Nov 22 04:25:03 2026\n") == 0,
              line);
        rewind(file);
        for (uint32_t i = 0; i < 4; i++) {
                CHECK(mbox_read(&r, &message, &at_us, &flags) == 1, messages[i]);
                CHECK(span_equal(buffer_span(&message), span_from_string(messages[i])),
                      messages[i]);
                CHECK(at_us == AT_US && flags == i * 5, messages[i]);
        }
        CHECK(mbox_read(&r, &message, &at_us, &flags) == 0, "end");
        mbox_reader_done(&r);
        buffer_done(&message);
        fclose(file);
}

TEST(what_is_no_mbox_is_refused_and_what_is_too_large_skipped)
{
        FILE *file = tmpfile();
        struct mbox_reader r = MBOX_READER_INIT(file);
        struct buffer message = BUFFER_INIT(19);
        uint64_t at_us;
        uint32_t flags;

        CHECK(fputs("Subject: x\n\ny\n", file) >= 0, "write");
        rewind(file);
        CHECK(mbox_read(&r, &message, &at_us, &flags) == -EBADMSG && r.line_number == 1, "refused");
        mbox_reader_done(&r);
        rewind(file);
        CHECK(fputs(FROM "A: b\n\n0123456789\n\n" FROM "A: b\n\nc\n", file) >= 0, "write");
        rewind(file);
        r = MBOX_READER_INIT(file);
        CHECK(mbox_read(&r, &message, &at_us, &flags) == -EMSGSIZE, "too large");
        CHECK(mbox_read(&r, &message, &at_us, &flags) == 1 && message.len == 11, "the next");
        mbox_reader_done(&r);
        buffer_done(&message);
        fclose(file);
}

TEST_MAIN()
