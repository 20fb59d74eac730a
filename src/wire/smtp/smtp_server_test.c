/* What transcripts cannot show: replies made of foreign text, limits on what is
 * not read, memory, states that a role asks for. */
#include "wire/smtp/smtp_server.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/test.h"
#include "wire/smtp/smtp_server_engine.h"

static const struct smtp_server_options usual = {
        .offers = SMTP_OFFER_STARTTLS | SMTP_OFFER_DSN | SMTP_OFFER_SMTPUTF8,
        .hostname = SPAN("mx"), .message_size_max = 1000000, .recipients_max = 1000,
        .command_length_max = 2048, .errors_max = 20, .commands_max = 1000,
};

static struct smtp_server *new_server(const struct smtp_server_options *o)
{
        struct smtp_server *s = smtp_server_new(o);

        assert_true(s != NULL);
        smtp_server_greet(s, 220, NULL);
        buffer_clear(smtp_server_output(s));
        return s;
}

/* Feeds all of `text`, answering 250 (354 to DATA), up to the event `stop`. */
static void feed(struct smtp_server *s, const char *text, enum smtp_event_kind stop)
{
        struct span in = span_from_string(text);

        for (;;) {
                struct smtp_event e;

                in = span_skip(in, smtp_server_feed(s, in, &e));
                if (e.kind == stop)
                        return;
                CHECK(e.kind != SMTP_EVENT_NONE && e.kind != SMTP_EVENT_WAIT, text);
                CHECK(e.kind != SMTP_EVENT_CLOSE, text);
                if (e.kind == SMTP_EVENT_FLUSH)
                        buffer_clear(smtp_server_output(s));
                else if (e.kind != SMTP_EVENT_BODY && e.kind != SMTP_EVENT_RESET)
                        smtp_server_reply(s, e.kind == SMTP_EVENT_DATA ? 354 : 250, NULL, NULL);
        }
}

static void check_output(struct smtp_server *s, const char *want, const char *name)
{
        struct buffer *out = smtp_server_output(s);

        if (!span_equal(buffer_span(out), span_from_string(want)))
                print_error("got: %.*s\n", (int) out->len, buffer_span(out).p);
        CHECK(span_equal(buffer_span(out), span_from_string(want)), name);
        buffer_clear(out);
}

TEST(foreign_text_cannot_forge_a_reply)
{
        static const struct {
                const char *name, *parameter;
                unsigned code;
                const char *enhanced, *text, *want;
        } rows[] = {
                { "plain", "", 550, "5.1.1", "no", "550 5.1.1 no\r\n" },
                { "lines", "", 550, "5.1.1", "a\nb\nc",
                  "550-5.1.1 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n" },
                { "line end at the end", "", 550, "5.1.1", "a\n", "550 5.1.1 a\r\n" },
                { "CR", "", 550, "5.1.1", "a\r250 ok", "550 5.1.1 a 250 ok\r\n" },
                { "CRLF", "", 550, "5.1.1", "a\r\n250 ok", "550-5.1.1 a \r\n550 5.1.1 250 ok\r\n" },
                { "escape", "", 550, "5.1.1", "\033[2Jx\177", "550 5.1.1  [2Jx \r\n" },
                { "8 bits", "", 550, "5.1.1", "\xe6\x97\xa9", "550 5.1.1 ???\r\n" },
                { "utf-8", " SMTPUTF8", 550, "5.1.1", "\xe6\x97\xa9",
                  "550 5.1.1 \xe6\x97\xa9\r\n" },
                { "latin-1", " SMTPUTF8", 550, "5.1.1", "\xe9", "550 5.1.1 ?\r\n" },
                { "no enhanced", "", 550, NULL, "no", "550 5.0.0 no\r\n" },
                { "enhanced of another class", "", 450, "5.1.1", "no", "450 4.0.0 no\r\n" },
                { "enhanced with CR", "", 550, "5.1.\r1", "no", "550 5.0.0 no\r\n" },
                { "enhanced too short", "", 550, "5.1", "no", "550 5.0.0 no\r\n" },
                { "enhanced with words", "", 550, "5.1.1 x", "no", "550 5.0.0 no\r\n" },
                { "no text", "", 550, "5.1.1", NULL, "550 5.1.1 Refused\r\n" },
                { "empty text", "", 550, "5.1.1", "", "550 5.1.1 Refused\r\n" },
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                struct smtp_server *s = new_server(&usual);
                char text[200];

                feed(s, "HELO x\r\n", SMTP_EVENT_NONE);
                snprintf(text, sizeof text, "MAIL FROM:<a@b>%s\r\n", rows[i].parameter);
                feed(s, text, SMTP_EVENT_NONE);
                feed(s, "RCPT TO:<c@d>\r\n", SMTP_EVENT_RCPT);
                buffer_clear(smtp_server_output(s));
                smtp_server_reply(s, rows[i].code, rows[i].enhanced, rows[i].text);
                check_output(s, rows[i].want, rows[i].name);
                smtp_server_free(s);
        }
}

TEST(replies_have_a_limit)
{
        struct smtp_server *s = new_server(&usual);
        static char text[20000];
        struct span out, line;
        size_t lines = 0;

        memset(text, 'x', sizeof text - 1);
        feed(s, "VRFY x\r\n", SMTP_EVENT_VRFY);
        smtp_server_reply(s, 252, "2.0.0", text);
        CHECK(smtp_server_output(s)->len == 512, "a line of 512 octets");
        buffer_clear(smtp_server_output(s));

        for (size_t i = 0; i < sizeof text - 1; i++)
                text[i] = i % 2 ? '\n' : 'x';
        feed(s, "VRFY x\r\n", SMTP_EVENT_VRFY);
        smtp_server_reply(s, 252, "2.0.0", text);
        out = buffer_span(smtp_server_output(s));
        while (span_split(&out, '\n', &line) && line.len) {
                lines++;
                CHECK(line.p[3] == (lines == SMTP_SERVER_REPLY_LINES_MAX ? ' ' : '-'), "last line");
        }
        CHECK(lines == SMTP_SERVER_REPLY_LINES_MAX, "lines");
        smtp_server_free(s);
}

TEST(who_does_not_read_is_not_served)
{
        struct smtp_server *s = new_server(&usual);
        struct smtp_event e = {0};
        size_t octets = 0;

        while (octets < 1000000 && e.kind != SMTP_EVENT_FLUSH)
                octets += smtp_server_feed(s, SPAN_LITERAL("HELP\r\n"), &e);
        CHECK(e.kind == SMTP_EVENT_FLUSH, "flush");
        CHECK(smtp_server_output(s)->len < SMTP_SERVER_OUTPUT_PAUSE + 1000, "bounded");
        CHECK(smtp_server_feed(s, SPAN_LITERAL("HELP\r\n"), &e) == 0, "takes nothing");
        buffer_clear(smtp_server_output(s));
        CHECK(smtp_server_feed(s, SPAN_LITERAL("HELP\r\n"), &e) == 6, "goes on");
        smtp_server_free(s);
}

TEST(commands_without_mail_have_an_end)
{
        struct smtp_server *s = new_server(&usual);
        struct smtp_event e = {0};
        unsigned count = 0;

        while (e.kind != SMTP_EVENT_CLOSE && count < 5000) {
                smtp_server_feed(s, SPAN_LITERAL("NOOP\r\n"), &e);
                buffer_clear(smtp_server_output(s));
                count++;
        }
        CHECK(count == usual.commands_max + 1, "end");
        CHECK(smtp_server_take_fault(s) == SMTP_FAULT_COMMANDS, "why");
        CHECK(smtp_server_take_fault(s) == SMTP_FAULT_NONE, "told once");
        smtp_server_free(s);
}

TEST(refused_recipients_do_not_eat_memory)
{
        struct smtp_server_options o = usual;
        struct smtp_server *s;
        char text[2000];
        unsigned refused = 0;

        o.errors_max = o.commands_max = 0;
        s = new_server(&o);
        feed(s, "HELO x\r\nMAIL FROM:<a@b>\r\n", SMTP_EVENT_NONE);
        snprintf(text, sizeof text, "RCPT TO:<%0240d@d> ORCPT=rfc822;%0480d\r\n", 1, 2);
        for (int i = 0; i < 5000; i++) {
                struct smtp_event e;

                smtp_server_feed(s, span_from_string(text), &e);
                if (e.kind == SMTP_EVENT_RCPT)
                        smtp_server_reply(s, 550, "5.1.1", "no");
                else
                        refused++;
                CHECK(s->arena.held <= SMTP_SERVER_ARENA_MAX, "arena");
                buffer_clear(smtp_server_output(s));
        }
        CHECK(refused > 0, "452 in the end");
        feed(s, "RSET\r\n", SMTP_EVENT_RESET);
        feed(s, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", SMTP_EVENT_NONE);
        CHECK(smtp_server_recipients(s) == 1, "and all is well again");
        smtp_server_free(s);
}

/* RFC 5321 section 4.5.3.1.8: 100 recipients always fit. */
TEST(a_hundred_of_the_longest_recipients_fit)
{
        struct smtp_server *s = new_server(&usual);
        char text[2000];

        feed(s, "HELO x\r\nMAIL FROM:<a@b>\r\n", SMTP_EVENT_NONE);
        for (int i = 0; i < 100; i++) {
                snprintf(text, sizeof text,
                         "RCPT TO:<%0256d@%063d.%063d.%063d.%063d> ORCPT=rfc822;%0493d "
                         "NOTIFY=SUCCESS,FAILURE,DELAY\r\n", 1, 2, 3, 4, 5, 6);
                feed(s, text, SMTP_EVENT_NONE);
                buffer_clear(smtp_server_output(s));
        }
        CHECK(smtp_server_recipients(s) == 100, "hundred");
        smtp_server_free(s);
}

TEST(an_idle_session_is_small)
{
        struct smtp_server *s = new_server(&usual);
        size_t held;

        feed(s, "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n",
             SMTP_EVENT_NONE);
        feed(s, "NO", SMTP_EVENT_NONE);
        feed(s, "OP\r\n", SMTP_EVENT_NONE);
        buffer_clear(smtp_server_output(s));
        smtp_server_trim(s);
        held = malloc_usable_size(s) + s->line.room + s->output.room
               + malloc_usable_size(s->helo_name);
        CHECK(s->arena.blocks == NULL, "no arena");
        CHECK(held <= 1024, "1 KiB");
        feed(s, "MAIL FROM:<a@b>\r\n", SMTP_EVENT_NONE);
        smtp_server_trim(s);
        CHECK(s->arena.blocks != NULL, "a transaction keeps its memory");
        smtp_server_free(s);
}

TEST(idle_is_between_transactions)
{
        struct smtp_server *s = new_server(&usual);

        CHECK(smtp_server_is_idle(s), "greeted");
        feed(s, "HELO x\r\n", SMTP_EVENT_HELO);
        CHECK(!smtp_server_is_idle(s), "an answer is owed");
        smtp_server_reply(s, 250, NULL, NULL);
        CHECK(smtp_server_is_idle(s), "helo");
        feed(s, "MAIL FROM:<a@b>\r\n", SMTP_EVENT_NONE);
        CHECK(!smtp_server_is_idle(s), "mail");
        feed(s, "RCPT TO:<c@d>\r\nDATA\r\n", SMTP_EVENT_NONE);
        CHECK(!smtp_server_is_idle(s), "data");
        feed(s, "x\r\n.\r\n", SMTP_EVENT_END);
        CHECK(!smtp_server_is_idle(s), "end");
        smtp_server_reply(s, 250, NULL, NULL);
        CHECK(smtp_server_is_idle(s), "done");
        smtp_server_free(s);
}

TEST(greetings_that_refuse)
{
        struct smtp_server *s = smtp_server_new(&usual);
        struct smtp_event e;

        smtp_server_greet(s, 554, "No\r\nservice");
        feed(s, "EHLO x\r\nMAIL FROM:<a@b>\r\n", SMTP_EVENT_NONE);
        smtp_server_feed(s, SPAN_LITERAL("QUIT\r\n"), &e);
        CHECK(e.kind == SMTP_EVENT_NONE || e.kind == SMTP_EVENT_CLOSE, "quit");
        smtp_server_feed(s, SPAN_LITERAL(""), &e);
        CHECK(e.kind == SMTP_EVENT_CLOSE, "closed");
        check_output(s, "554 mx No  service\r\n503 5.5.1 No service for you here: say QUIT\r\n"
                        "503 5.5.1 No service for you here: say QUIT\r\n221 2.0.0 Goodbye\r\n",
                     "554");
        smtp_server_free(s);

        s = smtp_server_new(&usual);
        smtp_server_greet(s, 421, "Later");
        smtp_server_feed(s, SPAN_LITERAL("EHLO x\r\n"), &e);
        CHECK(e.kind == SMTP_EVENT_CLOSE, "421");
        check_output(s, "421 mx Later\r\n", "421");
        smtp_server_free(s);
}

TEST(shutting_down)
{
        struct smtp_server *s = new_server(&usual);
        struct smtp_event e;

        smtp_server_shut(s, NULL);
        check_output(s, "421 4.3.2 Going down, try again\r\n", "at once");
        CHECK(smtp_server_feed(s, SPAN_LITERAL("NOOP\r\n"), &e) == 0, "nothing is taken");
        CHECK(e.kind == SMTP_EVENT_CLOSE, "close");
        smtp_server_free(s);

        s = new_server(&usual);
        feed(s, "HELO x\r\n", SMTP_EVENT_HELO);
        smtp_server_shut(s, "421 4.3.2 Bye");
        check_output(s, "", "an answer is owed");
        smtp_server_reply(s, 250, NULL, "hi");
        check_output(s, "250 mx hi\r\n421 4.3.2 Bye\r\n", "behind it");
        smtp_server_free(s);
}

TEST(protocol_names)
{
        static const struct {
                enum smtp_dialect dialect;
                const char *text, *want;
                bool is_secured;
        } rows[] = {
                { SMTP_DIALECT_SMTP, "HELO x\r\n", "SMTP", false },
                { SMTP_DIALECT_SMTP, "HELO x\r\n", "SMTP", true },
                { SMTP_DIALECT_SMTP, "EHLO x\r\n", "ESMTP", false },
                { SMTP_DIALECT_SMTP, "EHLO x\r\n", "ESMTPS", true },
                { SMTP_DIALECT_SMTP, "EHLO x\r\nMAIL FROM:<a@b> SMTPUTF8\r\n", "UTF8SMTP", false },
                { SMTP_DIALECT_SMTP, "EHLO x\r\nMAIL FROM:<a@b> SMTPUTF8\r\n", "UTF8SMTPS", true },
                { SMTP_DIALECT_SMTP, "EHLO x\r\nMAIL FROM:<a@b> SMTPUTF8\r\nRSET\r\n", "ESMTP",
                  false },
                { SMTP_DIALECT_LMTP, "LHLO x\r\n", "LMTP", false },
                { SMTP_DIALECT_LMTP, "LHLO x\r\n", "LMTPS", true },
                { SMTP_DIALECT_LMTP, "LHLO x\r\nMAIL FROM:<a@b> SMTPUTF8\r\n", "UTF8LMTP", false },
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                struct smtp_server_options o = usual;
                struct smtp_server *s;

                o.dialect = rows[i].dialect;
                s = new_server(&o);
                if (rows[i].is_secured)
                        smtp_server_secured(s);
                feed(s, rows[i].text, SMTP_EVENT_NONE);
                CHECK(strcmp(smtp_server_protocol(s), rows[i].want) == 0, rows[i].want);
                smtp_server_free(s);
        }
}

TEST(reply_texts_in_their_parts)
{
        static const struct {
                const char *in;
                unsigned code;
                const char *enhanced, *text;
        } rows[] = {
                { "552 5.3.4 Message too big", 552, "5.3.4", "Message too big" },
                { "550 no", 550, "", "no" },
                { "550", 550, "", "" },
                { "550 5.7.1", 550, "5.7.1", "" },
                { "550 4.7.1 no", 550, "", "4.7.1 no" },
                { "no", 451, "", "no" },
                { "999 no", 451, "", "999 no" },
                { "100 no", 451, "", "100 no" },
                { "", 451, "", "" },
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                struct smtp_reply_text t;

                smtp_server_split_reply(rows[i].in, &t);
                CHECK(t.code == rows[i].code, rows[i].in);
                CHECK(strcmp(t.enhanced, rows[i].enhanced) == 0, rows[i].in);
                CHECK(strcmp(t.text, rows[i].text) == 0, rows[i].in);
        }
}

/* Spans of a transaction stay as they were until it is over. */
TEST(spans_live_as_long_as_the_transaction)
{
        struct smtp_server *s = new_server(&usual);
        struct smtp_event mail, rcpt, e;
        char text[] = "MAIL FROM:<a@b> ENVID=x\r\n", more[] = "RCPT TO:<c@d> ORCPT=rfc822;y\r\n";

        feed(s, "EHLO x\r\n", SMTP_EVENT_NONE);
        smtp_server_feed(s, span_make(text, sizeof text - 1), &mail);
        memset(text, '#', sizeof text);
        smtp_server_reply(s, 250, NULL, NULL);
        smtp_server_feed(s, span_make(more, sizeof more - 1), &rcpt);
        memset(more, '#', sizeof more);
        smtp_server_reply(s, 250, NULL, NULL);
        feed(s, "DATA\r\nx\r\n.\r\n", SMTP_EVENT_END);
        CHECK(span_equal(mail.mail.path, SPAN_LITERAL("a@b")), "path");
        CHECK(span_equal(mail.mail.address.local, SPAN_LITERAL("a")), "local");
        CHECK(span_equal(mail.mail.envid, SPAN_LITERAL("x")), "envid");
        CHECK(span_equal(rcpt.rcpt.address.domain, SPAN_LITERAL("d")), "domain");
        CHECK(span_equal(rcpt.rcpt.orcpt, SPAN_LITERAL("rfc822;y")), "orcpt");
        smtp_server_reply(s, 250, NULL, NULL);
        CHECK(span_equal(mail.mail.path, SPAN_LITERAL("a@b")), "still, until the next feed");
        smtp_server_feed(s, SPAN_LITERAL(""), &e);
        smtp_server_free(s);
}

/* Half a reply must not go out: the session ends instead. */
TEST(no_memory_for_a_reply_ends_the_session)
{
        struct smtp_server *s = new_server(&usual);
        struct smtp_event e;

        feed(s, "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", SMTP_EVENT_NONE);
        buffer_clear(smtp_server_output(s));
        feed(s, "DATA\r\n", SMTP_EVENT_DATA);
        s->output.size_max = 5;
        smtp_server_reply(s, 354, NULL, NULL);
        CHECK(smtp_server_output(s)->len == 0, "nothing");
        CHECK(smtp_server_feed(s, SPAN_LITERAL("x\r\n"), &e) == 0, "takes nothing");
        CHECK(e.kind == SMTP_EVENT_CLOSE, "close");
        smtp_server_free(s);
}

TEST(no_limits_means_none_are_named)
{
        struct smtp_server_options o = usual;
        struct smtp_server *s;

        o.recipients_max = o.offers = 0;
        o.message_size_max = 0;
        s = new_server(&o);
        feed(s, "EHLO x\r\n", SMTP_EVENT_NONE);
        check_output(s, "250-mx at your service\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
                        "250-ENHANCEDSTATUSCODES\r\n250 SIZE 0\r\n", "EHLO");
        feed(s, "MAIL FROM:<a@b> SIZE=18446744073709551615\r\n", SMTP_EVENT_NONE);
        for (int i = 0; i < 200; i++)
                feed(s, "RCPT TO:<c@d>\r\n", SMTP_EVENT_NONE);
        CHECK(smtp_server_recipients(s) == 200, "recipients");
        smtp_server_free(s);
}

TEST_MAIN()
