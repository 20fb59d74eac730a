#include "message/header.h"

#include <errno.h>

#include "base/test.h"

/* What the scanner says: "name=value;" for a field, "!;" for a line that is
 * none, "#;" past a limit; then "|" and what is left. */
static const struct {
        const char *name;
        struct span in;
        const char *want;
} cases[] = {
        { "two", SPAN("A: 1\r\nB:2\r\n\r\nbody"), "A= 1;B=2;|\r\nbody" },
        { "folded", SPAN("A: 1\r\n 2\r\n\t3\r\nB: 4\r\n\r\n"), "A= 1\r\n 2\r\n\t3;B= 4;|\r\n" },
        { "no body", SPAN("A: 1\r\n"), "A= 1;|" },
        { "no line end", SPAN("A: 1"), "A= 1;|" },
        { "no header", SPAN("\r\nbody"), "|\r\nbody" },
        { "nothing", SPAN(""), "|" },
        { "blank before the colon", SPAN("A \t: 1\r\n"), "A= 1;|" },
        { "empty value", SPAN("A:\r\nB:"), "A=;B=;|" },
        { "line without colon", SPAN("A: 1\r\nbody\r\nB: 2\r\n"), "A= 1;!;B= 2;|" },
        { "blank in the name", SPAN("A B: 1\r\n"), "!;|" },
        { "no name", SPAN(": 1\r\n"), "!;|" },
        { "mbox line", SPAN("From a@b Sun Nov 22\r\nA: 1\r\n"), "!;A= 1;|" },
        { "starts with a fold", SPAN(" 1\r\nA: 2\r\n"), "!;A= 2;|" },
        { "bare LF ends nothing", SPAN("A: 1\nB: 2\r\nC: 3\r\n"), "A= 1\nB: 2;C= 3;|" },
        { "bare LF LF ends nothing", SPAN("A: 1\n\nB: 2\r\n"), "A= 1\n\nB: 2;|" },
        { "bare CR ends nothing", SPAN("A: 1\rB: 2\r\n"), "A= 1\rB: 2;|" },
        { "8 bits in the name", SPAN("\xe9: 1\r\n"), "!;|" },
};

TEST(fields_by_row)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct header_scan s = HEADER_SCAN(cases[i].in, 1000, 100);
                struct buffer got = BUFFER_INIT(1000);
                struct header_field f;
                int r;

                while ((r = header_next(&s, &f)) != 0) {
                        if (r > 0)
                                buffer_printf(&got, "%.*s=%.*s;", (int) f.name.len, f.name.p,
                                              (int) f.value.len, f.value.p);
                        else
                                buffer_append_string(&got, r == -EBADMSG ? "!;" : "#;");
                }
                buffer_append_string(&got, "|");
                buffer_append_span(&got, s.rest);
                CHECK(span_equal(buffer_span(&got), span_from_string(cases[i].want)),
                      cases[i].name);
                buffer_done(&got);
        }
}

TEST(the_header_ends_at_the_empty_line)
{
        size_t body;

        CHECK(header_len(SPAN_LITERAL("A: 1\r\n\r\nx"), &body) == 6 && body == 8, "both");
        CHECK(header_len(SPAN_LITERAL("\r\nx"), &body) == 0 && body == 2, "no header");
        CHECK(header_len(SPAN_LITERAL("A: 1\r\n"), &body) == 6 && body == 6, "no body");
        CHECK(header_len(SPAN_LITERAL("A: 1\n\nx\r\n\r\n"), &body) == 9 && body == 11, "bare LF");
}

TEST(limits_end_the_scan)
{
        const struct span text = SPAN("A: 1\r\nB: 2\r\nC: 3\r\n");
        struct header_summary sum;

        CHECK(header_summarize(text, 18, 3, &sum) == 0 && sum.fields == 3, "just fits");
        CHECK(header_summarize(text, 17, 3, &sum) == -EMSGSIZE && sum.fields == 2, "size");
        CHECK(header_summarize(text, 18, 2, &sum) == -EMSGSIZE && sum.fields == 2, "number");
}

TEST(a_summary_has_what_edge_asks_for)
{
        static const struct {
                const char *name;
                struct span in;
                const char *id;
                size_t received;
        } rows[] = {
                { "usual", SPAN("Received: x\r\nRECEIVED: y\r\nMessage-id: <a@b>\r\n"), "<a@b>",
                  2 },
                { "folded id", SPAN("Message-ID:\r\n <a@b>\r\n"), "<a@b>", 0 },
                { "first one counts", SPAN("Message-ID: <a>\r\nMessage-ID: <b>\r\n"), "<a>", 0 },
                { "comment around", SPAN("Message-ID: x <a@b> (c)\r\n"), "<a@b>", 0 },
                { "blank within", SPAN("Message-ID: <a b>\r\n"), "", 0 },
                { "fold within", SPAN("Message-ID: <a\r\n b>\r\n"), "", 0 },
                { "no brackets", SPAN("Message-ID: a@b\r\n"), "", 0 },
                { "empty brackets", SPAN("Message-ID: <>\r\n"), "", 0 },
                { "in the body", SPAN("A: b\r\n\r\nMessage-ID: <a@b>\r\nReceived: x\r\n"), "", 0 },
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                struct header_summary sum;

                CHECK(header_summarize(rows[i].in, 1000, 100, &sum) == 0, rows[i].name);
                CHECK(span_equal(header_message_id(&sum), span_from_string(rows[i].id)),
                      rows[i].name);
                CHECK(sum.received == rows[i].received, rows[i].name);
        }
}

TEST(unfolding_leaves_one_clean_line)
{
        static const struct {
                const char *name;
                struct span in;
                const char *want;
        } rows[] = {
                { "plain", SPAN(" a b "), "a b" },
                { "fold", SPAN(" a\r\n b\r\n\tc"), "a b c" },
                { "bare ones", SPAN("a\nb\rc"), "a b c" },
                { "NUL", SPAN("a\0b"), "a b" },
                { "utf-8", SPAN("\xe6\x97\xa9"), "\xe6\x97\xa9" },
                { "empty", SPAN(" \r\n "), "" },
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                struct buffer out = BUFFER_INIT(100);

                CHECK(header_unfold(rows[i].in, &out) == 0, rows[i].name);
                CHECK(span_equal(buffer_span(&out), span_from_string(rows[i].want)), rows[i].name);
                buffer_done(&out);
        }
}

TEST(find_takes_the_first)
{
        struct header_field f;

        CHECK(header_find(SPAN_LITERAL("x\r\nA: 1\r\na: 2\r\n"), SPAN_LITERAL("a"), &f), "found");
        CHECK(span_equal(f.value, SPAN_LITERAL(" 1")), "first");
        CHECK(!header_find(SPAN_LITERAL("A: 1\r\n\r\nB: 2\r\n"), SPAN_LITERAL("B"), &f), "body");
}

TEST_MAIN()
