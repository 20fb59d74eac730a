#include "auth/relay_logins.h"

#include <stdlib.h>

#include "base/test.h"

static const char good[] =
        "# what we log in with\n\n"
        "[gw.example.jp]:587 site@example.jp  correct-horse\r\n"
        "gw.example.jp \"a b\" \"qu\\\"ote\\\\\" mechanisms=SCRAM-SHA-256,PLAIN\n"
        "\t[2001:db8::1]:25 six six6";

TEST(lines)
{
        struct buffer error = BUFFER_INIT(1024);
        const struct relay_login *l;
        struct relay_logins *all;

        CHECK(relay_logins_parse(span_from_string(good), "logins", &all, &error) == 0, "parse");
        CHECK(relay_logins_count(all) == 3 && error.len == 0, "count");
        l = relay_logins_find(all, SPAN_LITERAL("GW.example.jp"), 587);
        CHECK(l && span_equal(l->password, SPAN_LITERAL("correct-horse")), "with the port");
        l = relay_logins_find(all, SPAN_LITERAL("gw.example.jp"), 25);
        CHECK(l && span_equal(l->login_name, SPAN_LITERAL("a b")), "quoted");
        CHECK(l && span_equal(l->password, SPAN_LITERAL("qu\"ote\\")), "escaped");
        CHECK(l && span_equal(l->mechanisms, SPAN_LITERAL("SCRAM-SHA-256 PLAIN")), "mechanisms");
        l = relay_logins_find(all, SPAN_LITERAL("2001:db8::1"), 25);
        CHECK(l && span_equal(l->password, SPAN_LITERAL("six6")), "IPv6");
        CHECK(!relay_logins_find(all, SPAN_LITERAL("2001:db8::1"), 26), "another port");
        CHECK(!relay_logins_find(all, SPAN_LITERAL("example.jp"), 25), "another host");
        relay_logins_free(all);
        buffer_done(&error);
}

TEST(wrong_lines)
{
        static const char bad[][48] = {
                "host", "host name", "host name \"pass", "[host name pass", "host:0 name pass",
                "host:x name pass", ":25 name pass", "host name pass what", "[] name pass",
                "host name pass mechanisms=", "host name pass mechanisms=A more",
        };

        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                struct buffer error = BUFFER_INIT(1024);
                struct relay_logins *all;

                CHECK(relay_logins_parse(span_from_string(bad[i]), "logins", &all, &error) < 0,
                      bad[i]);
                CHECK(error.len > 9 && memcmp(error.data, "logins:1:", 9) == 0, bad[i]);
                CHECK(!memmem(error.data, error.len, "pass ", 5), "the password is not told");
                buffer_done(&error);
        }
}

/* In memory that ends where the text does. */
TEST(cut_anywhere)
{
        for (size_t cut = 0; cut < sizeof good; cut++) {
                struct buffer error = BUFFER_INIT(4096);
                struct relay_logins *all;
                char *copy = malloc(cut ? cut : 1);

                memcpy(copy, good, cut);
                if (relay_logins_parse(span_make(copy, cut), "logins", &all, &error) == 0)
                        relay_logins_free(all);
                free(copy);
                buffer_done(&error);
        }
}

TEST_MAIN()
