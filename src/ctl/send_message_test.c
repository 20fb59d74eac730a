#include "ctl/send_message.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/test.h"

static const struct {
        const char *name, *in;
        bool ignores_dots;
        const char *want;
} reads[] = {
        { "LF", "a\nb\n", false, "a\r\nb\r\n" },
        { "CRLF", "a\r\nb\r\n", false, "a\r\nb\r\n" },
        { "no line end", "a", false, "a\r\n" },
        { "nothing", "", false, "" },
        { "empty lines", "\n\n", false, "\r\n\r\n" },
        { "a CR in a line", "a\rb\n", false, "ab\r\n" },
        { "CR CR LF", "a\r\r\n", false, "a\r\n" },
        { "a dot ends it", "a\n.\nb\n", false, "a\r\n" },
        { "a dot and CRLF", "a\r\n.\r\nb\r\n", false, "a\r\n" },
        { "a dot and nothing", "a\n.", false, "a\r\n" },
        { "a dot and more", "a\n.b\n..\n...\n", false, "a\r\n.b\r\n..\r\n...\r\n" },
        { "not with -i", "a\n.\nb\n.", true, "a\r\n.\r\nb\r\n.\r\n" },
        { "a dot at once", ".\n", false, "" },
        { "a dot in a line", "a.\n", false, "a.\r\n" },
};

/* Through a pipe in two parts, which the reader may see as one or as two. */
static void check_read(size_t i, size_t cut)
{
        struct buffer text = BUFFER_INIT(4096);
        const size_t len = strlen(reads[i].in);
        int fds[2];

        CHECK(pipe(fds) == 0, "pipe");
        CHECK(file_write_all(fds[1], reads[i].in, cut) == 0, "write");
        if (fork() == 0) {
                if (cut % 4 == 0)
                        nanosleep(&(struct timespec) {.tv_nsec = 1000000}, NULL);
                file_write_all(fds[1], reads[i].in + cut, len - cut);
                _exit(0);
        }
        close(fds[1]);
        CHECK(send_message_read(fds[0], reads[i].ignores_dots, &text) == 0, reads[i].name);
        CHECK(span_equal(buffer_span(&text), span_from_string(reads[i].want)), reads[i].name);
        close(fds[0]);
        buffer_done(&text);
}

TEST(lines_end_in_crlf)
{
        for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++)
                for (size_t cut = 0; cut <= strlen(reads[i].in); cut++)
                        check_read(i, cut);
}

#define ADDED_FROM "From: Hanako <h@mx1>\r\n"
#define ADDED_DATE "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n"
#define ADDED_ID "Message-ID: <0.0000000000000007@mx1>\r\n"

static const struct {
        const char *name, *in, *full_name, *want;
} completions[] = {
        { "nothing", "", "Hanako", ADDED_FROM ADDED_DATE ADDED_ID "\r\n" },
        { "all there", "from: a\r\nDATE: b\r\nMessage-Id: c\r\n\r\nx\r\n", "Hanako",
          "from: a\r\nDATE: b\r\nMessage-Id: c\r\n\r\nx\r\n" },
        { "some there", "Date: b\r\nSubject: s\r\n\tfold\r\n\r\nFrom: x\r\n", "Hanako",
          "Date: b\r\nSubject: s\r\n\tfold\r\n" ADDED_FROM ADDED_ID "\r\nFrom: x\r\n" },
        { "no header", "hello\r\nworld\r\n", "Hanako",
          ADDED_FROM ADDED_DATE ADDED_ID "\r\nhello\r\nworld\r\n" },
        { "no empty line", "Subject: s\r\nhello\r\nDate: x\r\n", "Hanako",
          "Subject: s\r\n" ADDED_FROM ADDED_DATE ADDED_ID "\r\nhello\r\nDate: x\r\n" },
        { "Bcc", "Bcc: a@x,\r\n b@x\r\nSubject: s\r\nResent-bcc: c\r\n\r\nBcc: text\r\n", "Hanako",
          "Subject: s\r\n" ADDED_FROM ADDED_DATE ADDED_ID "\r\nBcc: text\r\n" },
        { "a From_ line", "From a@x Sun Nov 22 04:25:03 2026\r\nSubject: s\r\n\r\n", "Hanako",
          "Subject: s\r\n" ADDED_FROM ADDED_DATE ADDED_ID "\r\n" },
        { "a name with specials", "Date: b\r\nMessage-ID: c\r\n\r\n", "H. \"x\" \\",
          "Date: b\r\nMessage-ID: c\r\nFrom: \"H. \\\"x\\\" \\\\\" <h@mx1>\r\n\r\n" },
        { "a name that is not ASCII", "Date: b\r\nMessage-ID: c\r\n\r\n", "\xe8\x8a\xb1",
          "Date: b\r\nMessage-ID: c\r\nFrom: =?UTF-8?Q?=E8=8A=B1?= <h@mx1>\r\n\r\n" },
        { "no name", "Date: b\r\nMessage-ID: c\r\n\r\n", "",
          "Date: b\r\nMessage-ID: c\r\nFrom: <h@mx1>\r\n\r\n" },
};

TEST(what_is_missing_is_added)
{
        setenv("TZ", "UTC", 1);
        tzset();
        for (size_t i = 0; i < sizeof completions / sizeof completions[0]; i++) {
                struct buffer out = BUFFER_INIT(4096);
                const struct send_origin origin = {
                        .header_from = SPAN("h@mx1"),
                        .full_name = span_from_string(completions[i].full_name),
                        .hostname = SPAN("mx1"),
                        .unique = 7,
                };

                CHECK(send_message_complete(span_from_string(completions[i].in), true, &origin,
                                            &out) == 0,
                      completions[i].name);
                CHECK(span_equal(buffer_span(&out), span_from_string(completions[i].want)),
                      completions[i].name);
                buffer_done(&out);
        }
}

TEST(recipients_come_from_the_header)
{
        struct send_recipients r = SEND_RECIPIENTS_INIT(SPAN_LITERAL("mx1"));
        struct send_recipients resent = SEND_RECIPIENTS_INIT(SPAN_LITERAL("mx1"));

        CHECK(send_message_recipients(SPAN_LITERAL("To: a@x\r\ncc: b@x\r\nX-To: c@x\r\nBcc: d@x\r\n"
                                                   "\r\nTo: e@x\r\n"),
                                      &r) == 0,
              "plain");
        CHECK(r.count == 3 && span_equal(r.items[2].address, SPAN_LITERAL("d@x")), "plain");
        CHECK(send_message_recipients(SPAN_LITERAL("Resent-To: a@x\r\nTo: b@x\r\n\r\n"), &resent) ==
                      0,
              "resent");
        CHECK(resent.count == 1 && span_equal(resent.items[0].address, SPAN_LITERAL("a@x")),
              "resent");
        send_recipients_done(&r);
        send_recipients_done(&resent);
}

TEST(a_header_without_end_is_refused)
{
        struct buffer in = BUFFER_INIT(1 << 20), out = BUFFER_INIT(1 << 20);

        for (int i = 0; i < 20000; i++)
                CHECK(buffer_append_string(&in, "X-Field: value of it\r\n") == 0, "append");
        CHECK(send_message_complete(buffer_span(&in), true, &(struct send_origin) {0}, &out) ==
                      -EMSGSIZE,
              "refused");
        buffer_done(&in);
        buffer_done(&out);
}

TEST_MAIN()
