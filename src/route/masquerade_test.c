/* Sender addresses under another domain, alone and in headers. */
#include "route/masquerade.h"

#include "config/test_site.h"

static struct snapshot *site;

static const struct snapshot *the_site(void)
{
        struct snapshot_build *b;

        if (site)
                return site;
        b = test_site_begin();
        test_site_add(b, SNAPSHOT_DOMAINS, "iw2001.example.gr.jp", "", 1);
        test_site_table(b, table_genericstable_parse, "genericstable",
                        SPAN_LITERAL("ando  Kazunori.Ando@example.gr.jp\n"
                                     "www@iw2001.example.gr.jp webmaster\n"));
        site = test_site_finish(b);
        return site;
}

#define BASE "hostname = \"iw2001.example.gr.jp\"\ndomains = { \"iw2001.example.gr.jp\" }\n"
#define AS "masquerade { as = \"example.gr.jp\" "
static const char *const configs[] = {
        BASE AS "}\n",
        BASE AS "domains = { \"myhost.example.gr.jp\" } limited = yes }\n",
        BASE AS "domains = { \"example.gr.jp\" } entire_domain = yes "
                "exposed_users = { \"root\", \"postmaster\" } }\n",
        BASE AS "always_add_domain = yes exposed_users = { \"root\" } }\n",
        BASE,
};
enum { PLAIN, LIMITED, ENTIRE, ADD, NONE };

/* want NULL: it stays. */
static const struct {
        int config;
        const char *address, *want;
} addresses[] = {
        { PLAIN, "motonori@iw2001.example.gr.jp", "motonori@example.gr.jp" },
        { PLAIN, "M@IW2001.Example.gr.jp", "M@example.gr.jp" },
        { PLAIN, "m+x@iw2001.example.gr.jp", "m+x@example.gr.jp" },
        { PLAIN, "\"a b\"@iw2001.example.gr.jp", "\"a b\"@example.gr.jp" },
        { PLAIN, "m@other.example", NULL },
        { PLAIN, "m@sub.iw2001.example.gr.jp", NULL },
        { PLAIN, "m", NULL },
        { PLAIN, "m@example.gr.jp", NULL },
        { PLAIN, "ando@iw2001.example.gr.jp", "Kazunori.Ando@example.gr.jp" },
        { PLAIN, "ando+x@iw2001.example.gr.jp", "Kazunori.Ando@example.gr.jp" },
        { PLAIN, "www@iw2001.example.gr.jp", "webmaster@example.gr.jp" },
        { PLAIN, "ando@other.example", NULL },
        { LIMITED, "m@iw2001.example.gr.jp", NULL },
        { LIMITED, "m@myhost.example.gr.jp", "m@example.gr.jp" },
        { LIMITED, "m@a.myhost.example.gr.jp", NULL },
        { ENTIRE, "m@a.b.example.gr.jp", "m@example.gr.jp" },
        { ENTIRE, "m@notexample.gr.jp", NULL },
        { ENTIRE, "root@a.example.gr.jp", NULL },
        { ENTIRE, "Postmaster@iw2001.example.gr.jp", NULL },
        { ADD, "m", "m@example.gr.jp" },
        { ADD, "root", "root@iw2001.example.gr.jp" },
        { ADD, "m@iw2001.example.gr.jp", "m@example.gr.jp" },
        { NONE, "m@iw2001.example.gr.jp", NULL },
        { NONE, "ando@iw2001.example.gr.jp", "Kazunori.Ando@example.gr.jp" },
};

TEST(senders_are_shown_as_the_site)
{
        struct arena arena = ARENA_INIT(64 * 1024);

        for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
                struct config *c = test_site_config(configs[addresses[i].config], "");
                const char *given = addresses[i].address;
                struct masqueraded got = {.address = {NULL, 0}};
                const int r = masquerade_address(c, the_site(), span_make(given, strlen(given)),
                                                 &arena, &got);

                CHECK(r == (addresses[i].want != NULL), given);
                CHECK(span_equal(got.address, span_from_string(addresses[i].want)), given);
                config_free(c);
        }
        arena_done(&arena);
}

#define AT "@iw2001.example.gr.jp"
#define TO "@example.gr.jp"
static const struct {
        const char *name, *header, *want; /* NULL: it stays */
} headers[] = {
        { "bare", "From: m" AT "\r\n", "From: m" TO "\r\n" },
        { "angle", "From: M N <m" AT ">\r\n", "From: M N <m" TO ">\r\n" },
        { "quoted name", "From: \"N, <x" AT ">\" <m" AT ">\r\n",
          "From: \"N, <x" AT ">\" <m" TO ">\r\n" },
        { "comment", "From: m" AT " (x" AT ", N (a))\r\n", "From: m" TO " (x" AT ", N (a))\r\n" },
        { "list", "Reply-To: a" AT ", B <b" AT ">,\r\n c@other.example\r\n",
          "Reply-To: a" TO ", B <b" TO ">,\r\n c@other.example\r\n" },
        { "group", "Reply-To: us: a" AT ", b" AT ";\r\n", "Reply-To: us: a" TO ", b" TO ";\r\n" },
        { "folded", "From: N\r\n <m" AT ">\r\nSubject: m" AT "\r\n",
          "From: N\r\n <m" TO ">\r\nSubject: m" AT "\r\n" },
        { "recipients stay", "To: m" AT "\r\nCc: m" AT "\r\n", NULL },
        { "others stay", "From: m@other.example\r\n", NULL },
        { "all fields of senders",
          "Sender: m" AT "\r\nResent-From: m" AT "\r\nERRORS-TO: m" AT "\r\nX: m" AT "\r\n",
          "Sender: m" TO "\r\nResent-From: m" TO "\r\nERRORS-TO: m" TO "\r\nX: m" AT "\r\n" },
        { "ISO-2022-JP as it is",
          "From: \x1b$B\"<(,\x1b(B <m" AT ">\r\n", "From: \x1b$B\"<(,\x1b(B <m" TO ">\r\n" },
        { "broken", "From: \"m" AT "\r\n", NULL },
        { "never closed", "From: <m" AT "\r\n", NULL },
        { "a line that is no field", "nothing\r\nFrom: m" AT "\r\n",
          "nothing\r\nFrom: m" TO "\r\n" },
        { "empty", "From:\r\n", NULL },
        { "route", "From: <@a.example:m" AT ">\r\n", "From: <m" TO ">\r\n" },
        { "genericstable", "From: ando" AT "\r\n", "From: Kazunori.Ando" TO "\r\n" },
};

TEST(headers_are_rewritten_and_nothing_else)
{
        struct config *c = test_site_config(configs[PLAIN], "");

        for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
                struct buffer out = BUFFER_INIT(4096);
                unsigned changed;
                const int r = masquerade_header(c, the_site(), span_from_string(headers[i].header),
                                                &out, &changed);

                CHECK(r == (headers[i].want != NULL), headers[i].name);
                CHECK(span_equal(buffer_span(&out), span_from_string(headers[i].want)),
                      headers[i].name);
                buffer_done(&out);
        }
        config_free(c);
}

/* A cut header changes nothing but senders: what is left keeps its lines. */
TEST(cut_headers)
{
        struct config *c = test_site_config(configs[PLAIN], "");

        for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
                for (size_t cut = 0; cut < strlen(headers[i].header); cut++) {
                        struct buffer out = BUFFER_INIT(4096);
                        unsigned changed;
                        const int r = masquerade_header(
                                c, the_site(), span_make(headers[i].header, cut), &out, &changed);

                        CHECK(r == (out.len > 0), headers[i].name);
                        buffer_done(&out);
                }
        config_free(c);
}

TEST_MAIN()
