#include "message/status_code.h"

#include "base/test.h"

TEST(codes_by_row)
{
        static const struct {
                struct span in;
                const char *want; /* NULL: none */
        } rows[] = {
                { SPAN("5.1.1"), "5.1.1" },    { SPAN("2.0.0"), "2.0.0" },
                { SPAN("4.999.999"), "4.999.999" }, { SPAN("5.1.10"), "5.1.10" },
                { SPAN("3.0.0"), NULL },       { SPAN("5.1"), NULL },
                { SPAN("5.1."), NULL },        { SPAN("5..1"), NULL },
                { SPAN("5.1.1 x"), NULL },     { SPAN("5.1.1000"), NULL },
                { SPAN("5.01.1"), NULL },      { SPAN(""), NULL },
                { SPAN("55.1.1"), NULL },      { SPAN("5.1.1\0"), NULL },
        };
        char text[STATUS_CODE_TEXT_MAX];

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                struct status_code c;
                const int r = status_code_parse(rows[i].in, &c);

                CHECK((r == 0) == (rows[i].want != NULL), rows[i].in.p);
                if (r == 0)
                        CHECK(strcmp(status_code_format(c, text), rows[i].want) == 0, rows[i].in.p);
        }
}

TEST(codes_are_taken_off_replies)
{
        static const struct {
                struct span in;
                unsigned reply_code;
                bool is_taken;
                const char *rest;
        } rows[] = {
                { SPAN("5.1.1 No such user"), 550, true, "No such user" },
                { SPAN("5.1.1"), 550, true, "" },
                { SPAN("5.1.1"), 0, true, "" },
                { SPAN("4.1.1 x"), 550, false, "4.1.1 x" },
                { SPAN("5.1.1x"), 550, false, "5.1.1x" },
                { SPAN("no"), 550, false, "no" },
                { SPAN(""), 550, false, "" },
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                struct span text = rows[i].in;
                struct status_code c;

                CHECK(status_code_take(&text, rows[i].reply_code, &c) == rows[i].is_taken,
                      rows[i].in.p);
                CHECK(span_equal(text, span_from_string(rows[i].rest)), rows[i].in.p);
        }
}

TEST(replies_have_a_class)
{
        for (unsigned code = 200; code < 600; code++) {
                const struct status_code c = status_code_of_reply(code);

                CHECK(c.class == (code < 300 ? 2 : code < 500 ? 4 : 5), "class");
        }
}

TEST_MAIN()
