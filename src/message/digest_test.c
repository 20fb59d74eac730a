/* Envelopes, structures, dates, base subjects, folded text. */
#include "message/digest.h"

#include <errno.h>
#include <stdio.h>

#include "base/test.h"
#include "message/date.h"
#include "message/search_text.h"

static const struct {
        const char *name, *header, *envelope;
} envelopes[] = {
        { "empty", "", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)" },
        { "comments and routes",
          "From: \"A \\\"B\\\" C\" <@x,@y:a@b (c)>, d@e (Dee)\r\nTo: x@y, , z\r\n",
          "(NIL NIL ((\"A \\\"B\\\" C\" NIL \"a\" \"b\")(\"Dee\" NIL \"d\" \"e\")) "
          "((\"A \\\"B\\\" C\" NIL \"a\" \"b\")(\"Dee\" NIL \"d\" \"e\")) "
          "((\"A \\\"B\\\" C\" NIL \"a\" \"b\")(\"Dee\" NIL \"d\" \"e\")) "
          "((NIL NIL \"x\" \"y\")(NIL NIL \"z\" \"\")) NIL NIL NIL NIL)" },
        { "groups", "Cc: g: a@b, c@d;, e@f\r\nBcc: undisclosed:;\r\n",
          "(NIL NIL NIL NIL NIL NIL ((NIL NIL \"g\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")"
          "(NIL NIL NIL NIL)(NIL NIL \"e\" \"f\")) "
          "((NIL NIL \"undisclosed\" NIL)(NIL NIL NIL NIL)) NIL NIL)" },
        { "groups that do not end, or never began", "To: g: a@b, h: c@d\r\nCc: a@b; c@d;\r\n",
          "(NIL NIL NIL NIL NIL ((NIL NIL \"g\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL NIL NIL)"
          "(NIL NIL \"h\" NIL)(NIL NIL \"c\" \"d\")(NIL NIL NIL NIL)) "
          "((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")) NIL NIL NIL)" },
        { "8-bit text is a literal", "Subject: caf\xE9\r\n x\r\n",
          "(NIL {6}\r\ncaf\xE9 x NIL NIL NIL NIL NIL NIL NIL NIL)" },
        { "quoted local part", "To: \"a b\"@[1.2.3.4]\r\n",
          "(NIL NIL NIL NIL NIL ((NIL NIL \"a b\" \"[1.2.3.4]\")) NIL NIL NIL NIL)" },
};

TEST(envelopes_are_as_clients_read_them)
{
        for (size_t i = 0; i < sizeof envelopes / sizeof envelopes[0]; i++) {
                struct arena arena = ARENA_INIT(1000000);
                struct buffer out = BUFFER_INIT(10000);

                CHECK(digest_envelope(span_from_string(envelopes[i].header), &arena, &out) == 0,
                      envelopes[i].name);
                buffer_append(&out, "", 1);
                if (strcmp(out.data, envelopes[i].envelope) != 0)
                        printf("%s\n%s\n", out.data, envelopes[i].envelope);
                CHECK(strcmp(out.data, envelopes[i].envelope) == 0, envelopes[i].name);
                buffer_done(&out);
                arena_done(&arena);
        }
}

TEST(a_digest_is_read_back_and_no_part_of_it)
{
        const struct span message = SPAN("Subject: x\r\nContent-Type: text/html\r\n\r\n"
                                         "<p>Hello\r\n <b>you</b></p>\r\n");
        struct arena arena = ARENA_INIT(1000000);
        struct buffer out = BUFFER_INIT(10000);
        struct digest d;

        assert_int_equal(digest_build(message, &arena, &out), 0);
        assert_int_equal(digest_open(buffer_span(&out), &d), 0);
        assert_true(span_equal(d.preview, SPAN_LITERAL("Hello you")));
        assert_true(span_equal(d.body, SPAN_LITERAL(
                "(\"text\" \"html\" NIL NIL NIL \"7bit\" 27 2)")));
        for (size_t n = 0; n < out.len; n++)
                assert_int_equal(digest_open(span_first(buffer_span(&out), n), &d), -EBADMSG);
        buffer_done(&out);
        arena_done(&arena);
}

static const struct {
        const char *name, *in;
        int64_t at, day;
} dates[] = {
        { "whole", "Mon, 7 Feb 1994 21:52:25 -0800", 760686745, 8803 },
        { "no day, no seconds", "7 Feb 1994 21:52 +0000", 760657920, 8803 },
        { "two digits, a name", "07 Feb 94 21:52:25 JST", 760625545, 8803 },
        { "comments", "Mon (x), 7 (y) Feb 1994 21:52:25 (z) -0800 (PST)", 760686745, 8803 },
        { "epoch", "1 Jan 1970 00:00:00 +0000", 0, 0 },
        { "bad month", "7 Foo 1994 21:52:25", -1, 0 },
        { "empty", "", -1, 0 },
};

TEST(dates_of_headers)
{
        for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
                int64_t at = -1, day = 0;
                const int r = date_parse(span_from_string(dates[i].in), &at, &day);

                CHECK((r == 0) == (dates[i].at >= 0), dates[i].name);
                CHECK(at == dates[i].at && day == dates[i].day, dates[i].name);
        }
}

static const struct {
        const char *name, *in, *out;
        bool is_reply;
} subjects[] = {
        { "plain", "Hello", "hello", false },
        { "reply", "Re: Hello", "hello", true },
        { "all at once", "RE[2]: [list] Re : Hello (fwd)", "hello", true },
        { "blob", "[list] Hello", "hello", false },
        { "a blob alone", "[alone]", "[alone]", false },
        { "forwarded", "[Fwd: Re: Hello]", "hello", true },
        { "a word that begins so", "Regards", "regards", false },
        { "empty", "", "", false },
};

TEST(base_subjects)
{
        for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
                struct buffer out = BUFFER_INIT(1000);
                bool is_reply;

                CHECK(search_text_base_subject(span_from_string(subjects[i].in), &out, &is_reply)
                      == 0, subjects[i].name);
                buffer_append(&out, "", 1);
                CHECK(strcmp(out.data, subjects[i].out) == 0, subjects[i].name);
                CHECK(is_reply == subjects[i].is_reply, subjects[i].name);
                buffer_done(&out);
        }
}

TEST(folding_makes_equal_what_looks_equal)
{
        static const char *const pairs[][3] = {
                { "case", "Hello", "hELLO" },    { "width", "Ａｂ", "ab" },
                { "kana", "ｶﾞ", "ガ" },           { "sharp s", "Straße", "STRASSE" },
                { "number", "①", "1" },          { "accent", "é", "e\xCC\x81" },
        };

        for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
                struct buffer a = BUFFER_INIT(1000), b = BUFFER_INIT(1000);

                CHECK(search_text_fold(span_from_string(pairs[i][1]), &a) == 0, pairs[i][0]);
                CHECK(search_text_fold(span_from_string(pairs[i][2]), &b) == 0, pairs[i][0]);
                CHECK(span_equal(buffer_span(&a), buffer_span(&b)), pairs[i][0]);
                buffer_done(&a);
                buffer_done(&b);
        }
}

static const struct {
        const char *name, *message;
        bool is_plain;
} plains[] = {
        { "no header", "\r\nhello", true },
        { "text", "Content-Type: text/plain; charset=UTF-8\r\n\r\nhello", true },
        { "Japanese in name only", "Content-Type: text/plain; charset=iso-2022-jp\r\n\r\nx", true },
        { "Japanese", "Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1B$B2q\x1B(B",
          false },
        { "8-bit", "\r\ncaf\xC3\xA9", false },
        { "UTF-7", "Content-Type: text/plain; charset=utf-7\r\n\r\n+AGE-", false },
        { "encoded word", "Subject: =?utf-8?q?a?=\r\n\r\nx", false },
        { "base64", "Content-Transfer-Encoding: BASE64\r\n\r\naGVsbG8=", false },
        { "several parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--", false },
        { "a bare line feed", "Subject: he\nllo\r\n\r\nx", false },
};

TEST(plain_messages_are_known)
{
        for (size_t i = 0; i < sizeof plains / sizeof plains[0]; i++) {
                struct arena arena = ARENA_INIT(1000000);

                CHECK(search_text_is_plain(span_from_string(plains[i].message), &arena)
                      == plains[i].is_plain, plains[i].name);
                arena_done(&arena);
        }
        CHECK(span_equal(search_text_word(SPAN_LITERAL("hello")), SPAN_LITERAL("hello")), "word");
        CHECK(span_equal(search_text_word(SPAN_LITERAL("hi there all")), SPAN_LITERAL("there")),
              "the longest of three");
        CHECK(span_equal(search_text_word(SPAN_LITERAL("subject: re")), SPAN_LITERAL("subject")),
              "field");
        CHECK(search_text_word(SPAN_LITERAL(" : ")).len == 0, "none");
        CHECK(search_text_word(SPAN_LITERAL("")).len == 0, "empty");
        for (size_t at = 0; at < 70; at++) { /* every place, needles short and long */
                char hay[128];

                for (size_t len = 1; len <= 40; len++) {
                        const struct span text = span_make(hay, at + len);
                        struct span needle =
                                SPAN_LITERAL("abcabcabdabcabcabdabcabcabdabcabcabdabcz");

                        memset(hay, 'a', sizeof hay);
                        needle.len = len;
                        memcpy(hay + at, needle.p, len);
                        CHECK(search_text_contains(text, needle), "in it");
                        hay[at + len - 1] = '#';
                        CHECK(search_text_contains(text, needle) ==
                              (memmem(hay, text.len, needle.p, len) != NULL), "as memmem says");
                }
        }
}

TEST_MAIN()
