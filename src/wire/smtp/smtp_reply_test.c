/* Each reply whole and cut in two at every octet. */
#include "wire/smtp/smtp_reply.h"

#include <errno.h>
#include <stdlib.h>

#include "base/test.h"

static const struct {
        const char *name, *in;
        int want; /* 1, 0, -EBADMSG */
        unsigned code;
        const char *enhanced, *text, *rest;
} cases[] = {
        { "plain", "250 OK\r\n", 1, 250, "", "OK", "" },
        { "pipelined", "250 a\r\n354 b\r\n", 1, 250, "", "a", "354 b\r\n" },
        { "enhanced", "550 5.1.1 No such user\r\n", 1, 550, "5.1.1", "No such user", "" },
        { "enhanced alone", "250 2.0.0\r\n", 1, 250, "2.0.0", "", "" },
        { "enhanced, three digits", "450 4.123.456 x\r\n", 1, 450, "4.123.456", "x", "" },
        { "enhanced, four digits", "450 4.1234.1 x\r\n", 1, 450, "", "4.1234.1 x", "" },
        { "enhanced of another class", "450 5.1.1 x\r\n", 1, 450, "", "5.1.1 x", "" },
        { "like enhanced", "250 2.1.0, we say\r\n", 1, 250, "", "2.1.0, we say", "" },
        { "several lines", "250-a\r\n250-b\r\n250 c\r\n", 1, 250, "", "a\nb\nc", "" },
        { "enhanced on each line", "550-5.7.1 a\r\n550 5.7.1 b\r\n", 1, 550, "5.7.1", "a\nb", "" },
        { "enhanced changes", "550-5.7.1 a\r\n550 5.7.2 b\r\n", 1, 550, "5.7.1", "a\n5.7.2 b", "" },
        { "no text", "250\r\n", 1, 250, "", "", "" },
        { "no text, a blank", "250 \r\n", 1, 250, "", "", "" },
        { "empty line within", "250-\r\n250 b\r\n", 1, 250, "", "\nb", "" },
        { "LF alone", "250-a\n250 b\n", 1, 250, "", "a\nb", "" },
        { "controls", "250 a\tb\033[0m\r\n", 1, 250, "", "a?b?[0m", "" },
        { "unfinished", "250-a\r\n250 b", 0, 0, "", "", "" },
        { "codes differ", "250-a\r\n251 b\r\n", -EBADMSG, 0, "", "", "" },
        { "no code", "hello\r\n", -EBADMSG, 0, "", "", "" },
        { "short code", "25\r\n", -EBADMSG, 0, "", "", "" },
        { "long code", "2500\r\n", -EBADMSG, 0, "", "", "" },
        { "a code of nothing", "199 x\r\n", -EBADMSG, 0, "", "", "" },
        { "six hundred", "600 x\r\n", -EBADMSG, 0, "", "", "" },
        { "empty line", "\r\n", -EBADMSG, 0, "", "", "" },
        { "TLS alert", "\x15\x03\x01", -EBADMSG, 0, "", "", "" },
        { "HTTP", "HTTP/1.1 400 Bad Request\r\n", -EBADMSG, 0, "", "", "" },
};

static void check_cut(size_t i, size_t cut)
{
        struct smtp_reply_parser *p = calloc(1, sizeof *p);
        struct smtp_reply reply;
        struct span in = span_from_string(cases[i].in);
        size_t used = 0, more = 0;
        int r = smtp_reply_parse(p, span_first(in, cut), &used, &reply);

        if (r == 0)
                r = smtp_reply_parse(p, span_skip(in, cut), &more, &reply);
        CHECK(r == cases[i].want, cases[i].name);
        if (r == 1) {
                CHECK(reply.code == cases[i].code && !reply.is_ours, cases[i].name);
                CHECK(span_equal(reply.enhanced, span_from_string(cases[i].enhanced)),
                      cases[i].name);
                CHECK(span_equal(reply.text, span_from_string(cases[i].text)), cases[i].name);
                CHECK(span_equal(span_skip(in, used + more), span_from_string(cases[i].rest)),
                      cases[i].name);
        }
        free(p);
}

TEST(cuts_never_change_the_result)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (size_t cut = 0; cut <= strlen(cases[i].in); cut++)
                        check_cut(i, cut);
}

TEST(one_parser_reads_many_replies)
{
        struct smtp_reply_parser p = {0};
        struct smtp_reply reply;
        struct span in = SPAN("550-5.1.1 a\r\n550 5.1.1 b\r\n250 ok\r\n");
        size_t used;

        CHECK(smtp_reply_parse(&p, in, &used, &reply) == 1 && reply.code == 550, "first");
        in = span_skip(in, used);
        CHECK(smtp_reply_parse(&p, in, &used, &reply) == 1 && reply.code == 250, "second");
        CHECK(reply.enhanced.len == 0 && span_equal(reply.text, SPAN_LITERAL("ok")), "second");
        CHECK(used == in.len, "all");
}

TEST(overlong_replies_are_cut_then_refused)
{
        struct smtp_reply_parser p = {0};
        struct smtp_reply reply;
        struct span line = SPAN("250-a line of many\r\n"), last = SPAN("250 end\r\n");
        size_t used, octets;
        int r = 0;

        for (octets = 0; octets < 50000; octets += line.len)
                CHECK(smtp_reply_parse(&p, line, &used, &reply) == 0, "more");
        CHECK(smtp_reply_parse(&p, last, &used, &reply) == 1, "cut");
        CHECK(reply.text.len == SMTP_REPLY_TEXT_MAX && reply.code == 250, "cut");
        for (octets = 0; octets <= SMTP_REPLY_OCTETS_MAX && r == 0; octets++)
                r = smtp_reply_parse(&p, SPAN_LITERAL("2"), &used, &reply) == 0 ? 0 : -EBADMSG;
        CHECK(r == -EBADMSG, "digits without end");
        p = (struct smtp_reply_parser) {0};
        for (r = 0; r == 0;)
                r = smtp_reply_parse(&p, line, &used, &reply);
        CHECK(r == -EMSGSIZE, "lines without end");
}

TEST_MAIN()
