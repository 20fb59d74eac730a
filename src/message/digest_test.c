/* Envelopes, structures, dates, base subjects, folded text. */
#include "message/digest.h"

#include <errno.h>
#include <stdio.h>

#include "base/codec.h"
#include "base/hash.h"
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
                struct buffer out = BUFFER_INIT(10000), made = BUFFER_INIT(10000);
                struct digest d;

                CHECK(digest_make_fields(span_from_string(envelopes[i].header), &arena, &made)
                      == 0, envelopes[i].name);
                CHECK(digest_open(buffer_span(&made), &d) == 0, envelopes[i].name);
                CHECK(digest_put_envelope(&d, &out) == 0, envelopes[i].name);
                buffer_done(&made);
                buffer_append(&out, "", 1);
                if (strcmp(out.data, envelopes[i].envelope) != 0)
                        printf("%s\n%s\n", out.data, envelopes[i].envelope);
                CHECK(strcmp(out.data, envelopes[i].envelope) == 0, envelopes[i].name);
                buffer_done(&out);
                arena_done(&arena);
        }
}

static const char *const texts[][3] = {
        { "one address", "From: A B <a@b>\r\n", "A B <a@b>" },
        { "no name", "From: a@b\r\n", "a@b" },
        { "in brackets", "From: <a@b>\r\n", "<a@b>" },
        { "quotes and comments", "From: \"A B\" <a@b> (c)\r\n", "\"A B\" <a@b> (c)" },
        { "folded", "From: A\r\n B <a@b>\r\n", "A B <a@b>" },
        { "several", "From: a@b, c@d\r\n", "a@b, c@d" },
        { "encoded", "From: =?utf-8?q?caf=C3=A9?= <a@b>\r\n", "caf\xC3\xA9 <a@b>" },
        { "group", "From: g: a@b;\r\n", "g: a@b;" },
        { "none", "To: a@b\r\n", NULL },
        { "empty", "From:\r\n", "" },
        { "blanks", "From: \t \r\n  \r\n", "" },
        { "two that are empty", "From:\r\nFrom: \r\n", "" },
        { "encoded emptiness", "From: =?iso-2022-jp?b?GyhC?=\r\n", "" },
        { "no address", "From: ,\r\n", "," },
};

TEST(texts_are_what_people_wrote)
{
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
                struct arena arena = ARENA_INIT(1000000);
                struct buffer out = BUFFER_INIT(10000);
                struct digest d;
                struct span text;

                CHECK(digest_make_fields(span_from_string(texts[i][1]), &arena, &out) == 0,
                      texts[i][0]);
                CHECK(digest_open(buffer_span(&out), &d) == 0, texts[i][0]);
                text = digest_text(&d, DIGEST_TEXT_FROM, &arena);
                CHECK(span_equal(text, span_from_string(texts[i][2])), texts[i][0]);
                CHECK((text.p == NULL) == (texts[i][2] == NULL), texts[i][0]);
                buffer_done(&out);
                arena_done(&arena);
        }
}

static const struct span nested = SPAN(
        "Subject: =?iso-2022-jp?b?GyRCMnE1RBsoQg==?=\r\nSubject: two\r\n"
        "Sender: a@b\r\nFrom: a@b\r\nReferences: <1@a>\r\n <2@b>\r\n"
        "Content-Type: multipart/mixed; boundary=b\r\nContent-Language: en, ja\r\n\r\n"
        "--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: c@d\r\n\r\ntext\r\n"
        "--b\r\nContent-Type: text/html; name=\"a(b\"\r\nContent-MD5: x\r\n\r\n<p>Hello <b>you"
        "--b--\r\n");

TEST(a_digest_is_read_back_and_no_part_of_it)
{
        const struct span message = SPAN("Subject: x\r\nContent-Type: text/html\r\n\r\n"
                                         "<p>Hello\r\n <b>you</b></p>\r\n");
        struct arena arena = ARENA_INIT(1000000);
        struct buffer out = BUFFER_INIT(10000), body = BUFFER_INIT(10000);
        struct digest d;

        assert_int_equal(digest_make(message, &arena, &out), 0);
        assert_int_equal(digest_open(buffer_span(&out), &d), 0);
        assert_true(d.has_preview && span_equal(d.preview, SPAN_LITERAL("Hello you")));
        assert_int_equal(digest_put_structure(&d, false, &body), 0);
        assert_true(span_equal(buffer_span(&body), SPAN_LITERAL(
                "(\"text\" \"html\" NIL NIL NIL \"7bit\" 27 2)")));
        for (size_t n = 0; n < out.len; n++)
                assert_int_equal(digest_open(span_first(buffer_span(&out), n), &d), -EBADMSG);
        buffer_done(&out);
        buffer_done(&body);
        arena_done(&arena);
}

TEST(what_is_stored_says_the_same)
{
        struct arena arena = ARENA_INIT(1000000);
        struct buffer made = BUFFER_INIT(10000), stored = BUFFER_INIT(10000),
                      a = BUFFER_INIT(10000), b = BUFFER_INIT(10000);
        struct digest x, y;

        assert_int_equal(digest_make(nested, &arena, &made), 0);
        assert_int_equal(digest_open(buffer_span(&made), &x), 0);
        assert_int_equal(digest_make_stored(nested, 77, NULL, &arena, &stored), 0);
        assert_int_equal(digest_check(buffer_span(&stored), 77), 0);
        assert_int_equal(digest_check(buffer_span(&stored), 78), -EBADMSG);
        assert_int_equal(digest_make_stored(nested, 0, NULL, &arena, &a), 0);
        assert_true(digest_seal(buffer_span(&a), 77, a.data));
        assert_true(span_equal(buffer_span(&a), buffer_span(&stored)));
        assert_false(digest_seal(span_first(buffer_span(&a), DIGEST_HEAD - 1), 77, a.data));
        buffer_clear(&a);
        assert_int_equal(digest_open(buffer_span(&stored), &y), 0);
        assert_true(!y.has_preview && !y.preview.p);
        assert_true(y.fields[DIGEST_SENDER].len == 0);
        assert_true(span_equal(y.references, SPAN_LITERAL("<1@a> <2@b>")));
        assert_true(span_equal(digest_text(&y, DIGEST_TEXT_SUBJECT, &arena),
                               (struct span) SPAN("\xE4\xBC\x9A\xE8\xAD\xB0\0two")));
        for (unsigned with_extension = 0; with_extension < 2; with_extension++) {
                assert_int_equal(digest_put_structure(&x, with_extension, &a), 0);
                assert_int_equal(digest_put_structure(&y, with_extension, &b), 0);
        }
        assert_true(span_equal(buffer_span(&a), buffer_span(&b)));
        assert_true(span_find(buffer_span(&a), 'x') != SIZE_MAX);
        for (size_t i = 0; i < stored.len; i++) { /* one octet wrong, or missing */
                stored.data[i] ^= 1;
                assert_int_equal(digest_check(buffer_span(&stored), 77), -EBADMSG);
                stored.data[i] ^= 1;
                assert_int_equal(digest_check(span_first(buffer_span(&stored), i), 77), -EBADMSG);
        }
        buffer_done(&made);
        buffer_done(&stored);
        buffer_done(&a);
        buffer_done(&b);
        arena_done(&arena);
}

/* Deep, or of many parts: those that arrive get none. */
TEST(what_would_cost_too_much_is_not_stored)
{
        struct arena arena = ARENA_INIT(DIGEST_STORED_MEMORY);
        struct buffer message = BUFFER_INIT(1000000), out = BUFFER_INIT(1000000);

        for (int i = 0; i < DIGEST_STORED_DEPTH_MAX + 1; i++)
                buffer_printf(&message, "Content-Type: message/rfc822\r\n\r\n");
        assert_int_equal(digest_make_stored(buffer_span(&message), 1, NULL, &arena, &out), -E2BIG);
        buffer_clear(&message);
        buffer_printf(&message, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
        for (int i = 0; i < DIGEST_STORED_PARTS_MAX + 1; i++)
                buffer_printf(&message, "--b\r\n\r\n");
        assert_int_equal(digest_make_stored(buffer_span(&message), 1, NULL, &arena, &out), -E2BIG);
        buffer_clear(&message);
        buffer_printf(&message, "Subject: %0*d\r\n\r\n", DIGEST_STORED_MAX, 1);
        assert_int_equal(digest_make_stored(buffer_span(&message), 1, NULL, &arena, &out), -E2BIG);
        assert_int_equal(out.len, 0);
        buffer_done(&message);
        buffer_done(&out);
        arena_done(&arena);
}

/* By somebody who knows how: the lengths of sections, then the sections. */
static const struct {
        const char *name;
        unsigned section;
        const char *octets;
        bool is_good;
} forged[] = {
        { "nothing", 0, "", true },
        { "date", DIGEST_DATE, "\"x\"", true },
        { "a literal", DIGEST_DATE, "{3}\r\na\r\n", true },
        { "a literal too long", DIGEST_DATE, "{4}\r\na\r\n", false },
        { "a literal with more behind it", DIGEST_DATE, "{2}\r\na\r\n", false },
        { "a line end", DIGEST_DATE, "\"x\r\n* BYE\"", false },
        { "two strings", DIGEST_DATE, "\"x\" \"y\"", false },
        { "an atom", DIGEST_DATE, "NIL", false },
        { "an open string", DIGEST_DATE, "\"x\\\"", false },
        { "8-bit", DIGEST_DATE, "\"\xC3\xA9\"", false },
        { "a list for a string", DIGEST_DATE, "(\"x\")", false },
        { "addresses", DIGEST_TO, "((NIL NIL \"a\" \"b\"))", true },
        { "an open list", DIGEST_TO, "((NIL NIL \"a\" \"b\")", false },
        { "a list that ends too early", DIGEST_TO, "()) (", false },
        { "a line end in a list", DIGEST_TO, "(\r\n)", false },
        { "structure", DIGEST_FIELDS + DIGEST_TEXTS + 1, "(\"a\" ((1) 2))", true },
        { "no list", DIGEST_FIELDS + DIGEST_TEXTS + 1, "\"a\"", false },
        { "extensions of nothing", DIGEST_FIELDS + DIGEST_TEXTS + 2, "\1\1", false },
        { "preview", DIGEST_FIELDS + DIGEST_TEXTS + 3, " \xC3\xA9", true },
        { "preview that is no text", DIGEST_FIELDS + DIGEST_TEXTS + 3, " \xC3", false },
};

static int check_forged(const char *octets, unsigned section, const char *more)
{
        struct buffer b = BUFFER_INIT(1000);
        int r;

        buffer_printf(&b, "HyD2........");
        for (unsigned i = 0; i < DIGEST_FIELDS + DIGEST_TEXTS + 4; i++)
                write_u8(&b, (uint8_t) (i == section       ? strlen(octets)
                                        : i == section + 1 ? strlen(more)
                                                           : 0));
        buffer_append_string(&b, octets);
        buffer_append_string(&b, more);
        codec_put_u64(b.data + 4, hash_span(span_skip(buffer_span(&b), 12), 5));
        r = digest_check(buffer_span(&b), 5);
        buffer_done(&b);
        return r;
}

TEST(what_would_shift_the_wire_is_no_digest)
{
        const unsigned structure = DIGEST_FIELDS + DIGEST_TEXTS + 1;

        for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++)
                CHECK(check_forged(forged[i].octets, forged[i].section, "")
                      == (forged[i].is_good ? 0 : -EBADMSG), forged[i].name);
        CHECK(check_forged("(\"a\" (b) c)", structure, "\4\4") == 0, "one run");
        CHECK(check_forged("(\"a\" (b) c)", structure, "\4\3") == -EBADMSG, "half a list");
        CHECK(check_forged("(\"a\" (b) c)", structure, "\2\1") == 0, "within a string");
        CHECK(check_forged("(\"a\" (b) c)", structure, "\3\1") == -EBADMSG, "the end of it");
        CHECK(check_forged("(\"a\" (b) c)", structure, "\4\100") == -EBADMSG, "past the end");
        CHECK(check_forged("(\"a\" (b) c)", structure, "\4") == -EBADMSG, "half a run");
        CHECK(check_forged("(\"a\" (b) c)", structure, "\200\200\200\200\200") == -EBADMSG,
              "a length without end");
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
