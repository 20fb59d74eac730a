/* Whole notifications, and what must never be in one. */
#include "message/dsn.h"

#include <stdlib.h>

#include "base/test.h"
#include "base/utf8.h"
#include "message/dsn_text.h"
#include "message/header.h"

static const struct dsn_recipient unknown_user = {
        .rcpt_to = SPAN("taro@example.jp"),
        .orcpt = SPAN("rfc822;Taro+2Bx@example.jp"),
        .host = SPAN("mx.example.jp [192.0.2.1]:25"),
        .code = 550,
        .enhanced = SPAN("5.1.1"),
        .text = SPAN("No such user\nReally"),
};

static struct dsn usual(void)
{
        return (struct dsn) {
                .action = DSN_FAILED,
                .now_us = 1795300000000000,
                .arrived_us = 1795200000000000,
                .id = SPAN("03m9w8q2j0001"),
                .message_id = SPAN("03m9w8q2j0000"),
                .hostname = SPAN("mail.example.net"),
                .mail_from = SPAN("hanako@example.net"),
                .envid = SPAN("QQ+2B1"),
                .recipients = &unknown_user,
                .recipient_count = 1,
                .original = SPAN("From: hanako@example.net\r\nMessage-ID: <a@b>\r\n\r\nbody "
                                 "text\r\n"),
        };
}

static struct span format(const struct dsn *d, struct buffer *out)
{
        CHECK(dsn_format(d, out) == 0, "formatted");
        CHECK(buffer_append(out, "", 1) == 0, "NUL behind");
        out->len--;
        return buffer_span(out);
}

static bool holds(struct span text, const char *part)
{
        return memmem(text.p, text.len, part, strlen(part)) != NULL;
}

/* 7 bits, CRLF alone, lines within the limit. */
static void check_clean(struct span text, const char *name)
{
        struct span line, rest = text;

        CHECK(utf8_is_ascii(text), name);
        CHECK(!memchr(text.p, '\0', text.len), name);
        while (span_split(&rest, '\n', &line)) {
                CHECK(line.len <= 999, name);
                CHECK(!rest.p || (line.len && line.p[line.len - 1] == '\r'), name);
                CHECK(!line.len || !memchr(line.p, '\r', line.len - 1), name);
        }
}

TEST(a_failure_says_what_programs_and_people_need)
{
        static const char *const parts[] = {
                "From: Mail Delivery System <MAILER-DAEMON@mail.example.net>\r\n",
                "\r\nTo: <hanako@example.net>\r\n",
                "\r\nSubject: Your message was not delivered\r\n",
                "\r\nMessage-ID: <03m9w8q2j0001.dsn@mail.example.net>\r\n",
                "\r\nReferences: <a@b>\r\n",
                "\r\nAuto-Submitted: auto-replied\r\n",
                "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=",
                "Content-Type: text/plain; charset=us-ascii\r\n",
                "\r\n<taro@example.jp>\r\n  That address does not exist there.",
                "\r\n  mx.example.jp [192.0.2.1]:25 answered:\r\n    550 5.1.1 No such user\r\n"
                "    550 5.1.1 Really\r\n",
                "known as 03m9w8q2j0000\r\n",
                "\r\nContent-Type: message/delivery-status\r\n\r\nOriginal-Envelope-Id: QQ+1\r\n"
                "Reporting-MTA: dns; mail.example.net\r\n",
                "\r\n\r\nOriginal-Recipient: rfc822; Taro+x@example.jp\r\n"
                "Final-Recipient: rfc822; taro@example.jp\r\nAction: failed\r\nStatus: 5.1.1\r\n"
                "Remote-MTA: dns; mx.example.jp\r\nDiagnostic-Code: smtp; 550 5.1.1 No such user "
                "Really\r\n",
                "\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: hanako@example.net\r\n"
                "Message-ID: <a@b>\r\n\r\n--=_03m9w8q2j0001_0--\r\n",
        };
        struct dsn d = usual();
        struct buffer out = BUFFER_INIT(1 << 20);
        const struct span text = format(&d, &out);

        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
                CHECK(holds(text, parts[i]), parts[i]);
        CHECK(!holds(text, "body text"), "header alone is returned");
        check_clean(text, "clean");
        buffer_done(&out);
}

static const struct {
        const char *name;
        struct dsn_recipient recipient;
        enum dsn_action action;
        const char *want; /* a part of the report */
} rows[] = {
        { "no reply", { .rcpt_to = SPAN("a@b"), .enhanced = SPAN("4.4.1"),
                        .text = SPAN("timed out") },
          DSN_DELAYED, "Action: delayed\r\nStatus: 4.4.1\r\nDiagnostic-Code: x-hayauma; timed "
                       "out\r\n" },
        { "no reply, no Remote-MTA", { .rcpt_to = SPAN("a@b"), .host = SPAN("mx [1.2.3.4]:25") },
          DSN_FAILED, "Status: 5.0.0\r\nLast-Attempt-Date: " },
        { "enhanced in the text", { .rcpt_to = SPAN("a@b"), .code = 550, .text = SPAN("5.7.1 no") },
          DSN_FAILED, "Status: 5.7.1\r\nDiagnostic-Code: smtp; 550 5.7.1 no\r\n" },
        { "no enhanced at all", { .rcpt_to = SPAN("a@b"), .code = 552, .text = SPAN("full") },
          DSN_FAILED, "Status: 5.2.2\r\n" },
        { "delivered", { .rcpt_to = SPAN("a@b") }, DSN_DELIVERED,
          "Action: delivered\r\nStatus: 2.0.0\r\n" },
        { "relayed", { .rcpt_to = SPAN("a@b"), .code = 250, .text = SPAN("2.1.5 Ok") }, DSN_RELAYED,
          "Action: relayed\r\nStatus: 2.1.5\r\n" },
        { "expanded", { .rcpt_to = SPAN("a@b") }, DSN_EXPANDED,
          "Action: expanded\r\nStatus: 2.0.0\r\n" },
        { "controls in a reply", { .rcpt_to = SPAN("a@b"), .code = 550,
                                   .text = SPAN("x\r\nAction: delivered\r\n\r\n--=_") },
          DSN_FAILED, "Diagnostic-Code: smtp; 550 x  Action: delivered    --=_\r\n" },
        { "8 bits in a reply", { .rcpt_to = SPAN("a@b"), .code = 550, .text = SPAN("\xe9") },
          DSN_FAILED, "Diagnostic-Code: smtp; 550 ?\r\n" },
        { "utf-8 address", { .rcpt_to = SPAN("\xe6\x97\xa9@b") }, DSN_FAILED,
          "Final-Recipient: utf-8; \\x{65E9}@b\r\n" },
        { "horse outside of plane 0", { .rcpt_to = SPAN("\xf0\x9f\x90\xb4@b") }, DSN_FAILED,
          "Final-Recipient: utf-8; \\x{1F434}@b\r\n" },
        { "orcpt with a line end", { .rcpt_to = SPAN("a@b"),
                                     .orcpt = SPAN("rfc822;a+0D+0AStatus:x") },
          DSN_FAILED, "Original-Recipient: rfc822; a  Status:x\r\n" },
        { "orcpt of utf-8", { .rcpt_to = SPAN("a@b"), .orcpt = SPAN("utf-8;\\x{65E9}@b") },
          DSN_FAILED, "Original-Recipient: utf-8; \\x{65E9}@b\r\n" },
        { "orcpt malformed", { .rcpt_to = SPAN("a@b"), .orcpt = SPAN("rfc822") }, DSN_FAILED,
          "\r\n\r\nFinal-Recipient: rfc822; a@b\r\n" },
        { "line end in an address", { .rcpt_to = SPAN("\"a\r\nb\"@b") }, DSN_FAILED,
          "Final-Recipient: rfc822; \"a  b\"@b\r\n" },
};

TEST(reports_by_row)
{
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                struct dsn d = usual();
                struct buffer out = BUFFER_INIT(1 << 20);
                struct span text;

                d.recipients = &rows[i].recipient;
                d.action = rows[i].action;
                text = format(&d, &out);
                CHECK(holds(text, rows[i].want), rows[i].name);
                CHECK(rows[i].recipient.code || !holds(text, "Remote-MTA"), rows[i].name);
                check_clean(text, rows[i].name);
                buffer_done(&out);
        }
}

TEST(long_words_and_texts_are_cut_or_folded)
{
        static char word[5000];
        struct dsn_recipient r = unknown_user;
        struct dsn d = usual();
        struct buffer out = BUFFER_INIT(1 << 20);

        memset(word, 'x', sizeof word);
        r.text = r.rcpt_to = r.host = r.enhanced = span_make(word, sizeof word);
        d.recipients = &r;
        check_clean(format(&d, &out), "long");
        buffer_done(&out);
}

TEST(the_original_is_returned_as_asked_and_as_may_be)
{
        static const struct {
                const char *name;
                struct span original;
                bool full, is_cut, may_8bit, utf8;
                const char *want, *not;
        } cases[] = {
                { "full", SPAN("A: b\r\n\r\ntext\r\n"), true, false, false, false,
                  "message/rfc822\r\n\r\nA: b\r\n\r\ntext\r\n\r\n--", NULL },
                { "full, no last line end", SPAN("A: b\r\n\r\ntext"), true, false, false, false,
                  "\r\n\r\ntext\r\n\r\n--", NULL },
                { "cut", SPAN("A: b\r\n\r\ntext\r\n"), true, true, false, false,
                  "text/rfc822-headers\r\n\r\nA: b\r\n\r\n--", "text\r\n\r\n--" },
                { "8 bits not allowed", SPAN("A: b\r\n\r\n\xe9\r\n"), true, false, false, false,
                  "text/rfc822-headers", "\xe9" },
                { "8 bits allowed", SPAN("A: b\r\n\r\n\xe9\r\n"), true, false, true, false,
                  "message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA: b\r\n\r\n\xe9\r\n",
                                  NULL },
                { "8 bits in the header", SPAN("A: \xe9=\r\n\r\nx\r\n"), true, false, true, false,
                  "text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nA: "
                  "=E9=3D\r\n",
                  "\xe9" },
                { "smtputf8, header", SPAN("A: \xe6\x97\xa9\r\n\r\nx\r\n"), false, false, false,
                  true,
                  "message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA: "
                  "\xe6\x97\xa9\r\n",
                  NULL },
                { "smtputf8, full", SPAN("A: \xe6\x97\xa9\r\n\r\nx\r\n"), true, false, false, true,
                  "message/global\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA: "
                  "\xe6\x97\xa9\r\n\r\nx\r\n",
                  NULL },
                { "bare LF", SPAN("A: b\r\n\r\nx\ny\r\n"), true, false, false, false,
                  "text/rfc822-headers", "x\ny" },
                { "NUL", SPAN("A: b\r\n\r\nx\0y\r\n"), true, false, false, false,
                  "text/rfc822-headers", NULL },
                { "nothing", SPAN(""), true, false, false, false, "message/rfc822\r\n\r\n\r\n--",
                  NULL },
                { "our boundary within", SPAN("A: --=_03m9w8q2j0001_0\r\n"), false, false, false,
                  false,
                  "\r\n--=_03m9w8q2j0001_1--\r\n", NULL },
        };

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct dsn d = usual();
                struct buffer out = BUFFER_INIT(1 << 20);
                struct span text;

                d.original = cases[i].original;
                d.returns_full = cases[i].full;
                d.is_original_cut = cases[i].is_cut;
                d.may_be_8bit = cases[i].may_8bit;
                d.is_smtputf8 = cases[i].utf8;
                text = format(&d, &out);
                CHECK(holds(text, cases[i].want), cases[i].name);
                CHECK(!cases[i].not || !holds(text, cases[i].not), cases[i].name);
                CHECK(cases[i].may_8bit || cases[i].utf8 || utf8_is_ascii(text), cases[i].name);
                buffer_done(&out);
        }
}

TEST(japanese_is_of_7_bits_and_every_code_is_explained)
{
        struct dsn d = usual();
        struct buffer out = BUFFER_INIT(1 << 20), words = BUFFER_INIT(1 << 16);
        struct span text;

        d.language = STATUS_JAPANESE;
        text = format(&d, &out);
        check_clean(text, "japanese");
        CHECK(holds(text, "\r\nSubject: =?UTF-8?B?"), "subject");
        CHECK(holds(text, "charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n"), "base64");
        CHECK(dsn_text_format(&d, &words) == 0, "words");
        CHECK(utf8_is_valid(buffer_span(&words)), "words are UTF-8");
        for (uint16_t subject = 0; subject < 9; subject++)
                for (uint16_t detail = 0; detail < 40; detail++)
                        for (int language = 0; language < 2; language++) {
                                const struct span s = span_from_string(status_code_explain(
                                        (struct status_code) {5, subject, detail},
                                        (enum status_language) language));

                                CHECK(s.len > 0 && utf8_is_valid(s), "explained");
                                CHECK(language || utf8_is_ascii(s), "English is ASCII");
                        }
        buffer_done(&out);
        buffer_done(&words);
}

TEST(without_room_nothing_is_left_behind)
{
        struct dsn d = usual();

        for (size_t max = 0; max < 3000; max += 100) {
                struct buffer out = BUFFER_INIT(max);
                const int r = dsn_format(&d, &out);

                CHECK(r == 0 || out.len == 0, "room");
                buffer_done(&out);
        }
}

TEST_MAIN()
