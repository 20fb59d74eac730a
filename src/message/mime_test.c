/* Trees of messages good and bad, each fed whole and cut at every octet: where
 * the cuts lie must not matter. */
#include "message/mime.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/test.h"
#include "message/header.h"

static const struct {
        const char *name, *message, *tree;
} cases[] = {
        { "empty", "", "text/plain[]" },
        { "header only", "Subject: x\r\n", "text/plain[]" },
        { "plain", "Subject: x\r\n\r\nhello\r\n", "text/plain[hello\r\n]" },
        { "no header", "\r\nhello", "text/plain[hello]" },
        { "html",
          "Content-Type: TEXT/Html; charset=\"utf-8\"\r\n\r\n<p>", "text/html[<p>]" },
        { "two parts",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\none\r\n--b\r\n"
          "Content-Type: image/png\r\n\r\ntwo\r\n--b--\r\nepilogue\r\n",
          "multipart/mixed(text/plain[one],image/png[two])" },
        { "no close-delimiter",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n",
          "multipart/mixed(text/plain[one\r\n])" },
        { "no delimiter at all",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\none\r\n", "multipart/mixed()" },
        { "no boundary",
          "Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\none\r\n",
          "multipart/mixed[--b\r\n\r\none\r\n]" },
        { "part without an empty line",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: a/b\r\n--b--\r\n",
          "multipart/mixed(a/b[])" },
        { "outer delimiter ends the inner parts",
          "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n"
          "Content-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n\r\none\r\n--o\r\n\r\n"
          "two\r\n--o--\r\n",
          "multipart/mixed(multipart/alternative(text/plain[one]),text/plain[two])" },
        { "boundary that begins another",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
          "Content-Type: multipart/mixed; boundary=bb\r\n\r\n"
          "--bb\r\n\r\none\r\n--bb--\r\n--b--\r\n",
          "multipart/mixed(multipart/mixed(text/plain[one]))" },
        { "blanks behind a delimiter",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b \t\r\n\r\none\r\n--b-- \r\n",
          "multipart/mixed(text/plain[one])" },
        { "text behind a delimiter is none",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n--bc\r\n--b--\r\n",
          "multipart/mixed(text/plain[--bc])" },
        { "message within",
          "Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\ninner\r\n",
          "message/rfc822(text/plain[inner\r\n])" },
        { "message within a part",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
          "Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\ninner\r\n--b--\r\n",
          "multipart/mixed(message/rfc822(text/plain[inner]))" },
        { "message cut off by a delimiter",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
          "Content-Type: message/rfc822\r\n--b--\r\n",
          "multipart/mixed(message/rfc822(text/plain[]))" },
        { "digest",
          "Content-Type: multipart/digest; boundary=b\r\n\r\n"
          "--b\r\n\r\nSubject: z\r\n\r\nd\r\n--b--",
          "multipart/digest(message/rfc822(text/plain[d]))" },
        { "encoded multipart is not looked into",
          "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n"
          "--b\r\n", "multipart/mixed[--b\r\n]" },
        { "comments and folds in the type",
          "Content-Type: (a(b)c) multipart (x) /\r\n mixed; (y) boundary = \"b\\b\" \r\n\r\n"
          "--bb\r\n\r\none\r\n--bb--\r\n", "multipart/mixed(text/plain[one])" },
        { "bare line feeds end no line",
          "Content-Type: text/html\n\nx\n", "text/html[]" },
        { "a bare line feed before a delimiter",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\n--b--\r\n",
          "multipart/mixed(text/plain[one\n--b--\r\n])" },
        { "too deep",
          "Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\n"
          "Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nx",
          "message/rfc822(message/rfc822(message/rfc822(message/rfc822[x]!)))" },
};

static void print_tree(const char *message, const struct mime_part *part, struct buffer *out)
{
        buffer_printf(out, "%.*s", (int) part->content_type.value.len, part->content_type.value.p);
        if (part->kind == MIME_LEAF) {
                buffer_append_string(out, "[");
                buffer_append(out, message + part->body_at,
                              (size_t) (part->body_end - part->body_at));
                buffer_append_string(out, "]");
        } else {
                buffer_append_string(out, "(");
                for (const struct mime_part *c = part->first_child; c; c = c->next) {
                        print_tree(message, c, out);
                        if (c->next)
                                buffer_append_string(out, ",");
                }
                buffer_append_string(out, ")");
        }
        if (part->is_opaque)
                buffer_append_string(out, "!");
}

static const struct mime_limits narrow = {.depth_max = 3, .parts_max = 20,
                                          .part_header_max = 1000};

static void check_tree(size_t i, size_t cut, const struct mime_part *root)
{
        struct buffer tree = BUFFER_INIT(4096);

        print_tree(cases[i].message, root, &tree);
        if (!span_equal(buffer_span(&tree), span_from_string(cases[i].tree)))
                print_error("cut %zu: %.*s\n", cut, (int) tree.len, tree.data);
        CHECK(span_equal(buffer_span(&tree), span_from_string(cases[i].tree)), cases[i].name);
        buffer_done(&tree);
}

TEST(trees_of_messages_cut_anywhere)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const struct span message = span_from_string(cases[i].message);

                for (size_t cut = 0; cut <= message.len; cut++) {
                        struct arena arena = ARENA_INIT(1024 * 1024);
                        struct mime_parser *p = mime_parser_new(&narrow, &arena);

                        assert_non_null(p);
                        mime_parser_feed(p, span_first(message, cut));
                        mime_parser_feed(p, span_skip(message, cut));
                        check_tree(i, cut, mime_parser_end(p));
                        arena_done(&arena);
                }
        }
}

TEST(trees_of_messages_whose_header_is_known)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const struct span message = span_from_string(cases[i].message);
                struct arena arena = ARENA_INIT(1024 * 1024);
                struct header_summary header;

                CHECK(header_summarize(message, HEADER_SIZE_MAX, HEADER_FIELDS_MAX, &header) == 0,
                      cases[i].name);
                check_tree(i, 0, mime_parse(&narrow, message, &header, &arena));
                arena_done(&arena);
        }
}

TEST(parts_are_found_by_their_numbers)
{
        static const char message[] =
                "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\none\r\n--o\r\n"
                "Content-Type: message/rfc822\r\n\r\n"
                "Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nA\r\n--i\r\n\r\nB\r\n"
                "--i--\r\n--o--\r\n";
        struct arena arena = ARENA_INIT(1024 * 1024);
        struct mime_parser *p = mime_parser_new(&MIME_LIMITS, &arena);
        struct mime_part *root, *part;

        mime_parser_feed(p, SPAN_LITERAL(message));
        root = mime_parser_end(p);
        part = mime_part_by_number(root, (const unsigned[]) {2, 2}, 2);
        assert_non_null(part);
        assert_int_equal('B', message[part->body_at]);
        part = mime_part_by_number(root, (const unsigned[]) {1}, 1);
        assert_int_equal('o', message[part->body_at]);
        assert_null(mime_part_by_number(root, (const unsigned[]) {3}, 1));
        assert_null(mime_part_by_number(root, (const unsigned[]) {1, 2}, 2));
        assert_null(mime_part_by_number(root, (const unsigned[]) {0}, 1));
        arena_done(&arena);
}

TEST_MAIN()
