#include "config/tls_policy.h"

#include <string.h>

#include "base/test.h"

#define HEX8 "0123456789abcdef"
#define HEX HEX8 HEX8 HEX8 HEX8

static const struct {
        char text[160];
        const char *host;
        uint16_t port;
        enum tls_level level;
        const char *match;
} good[] = {
        { "example.jp verify", "example.jp", 0, TLS_LEVEL_VERIFY, "" },
        { "  example.jp   NONE ", "example.jp", 0, TLS_LEVEL_NONE, "" },
        { "* dane", "*", 0, TLS_LEVEL_DANE, "" },
        { ".example.jp encrypt", ".example.jp", 0, TLS_LEVEL_ENCRYPT, "" },
        { "[gw.example.jp]:587 dane-only", "gw.example.jp", 587, TLS_LEVEL_DANE_ONLY, "" },
        { "gw.example.jp:26 may", "gw.example.jp", 26, TLS_LEVEL_MAY, "" },
        { "[2001:db8::1]:25 may", "2001:db8::1", 25, TLS_LEVEL_MAY, "" },
        { "a.jp verify match=mx.a.jp,.b.jp", "a.jp", 0, TLS_LEVEL_VERIFY, "mx.a.jp,.b.jp" },
        { "a.jp fingerprint " HEX, "a.jp", 0, TLS_LEVEL_FINGERPRINT, "" },
        { "a.jp fingerprint " HEX "," HEX, "a.jp", 0, TLS_LEVEL_FINGERPRINT, "" },
};

static const char bad[][160] = {
        "", " ", "example.jp", "example.jp maybe", "[example.jp verify", "*:25 may", ". may",
        "example.jp. may", "a.jp:0 may", "a.jp:x may", "a.jp:65536 may", "a.jp may match=b",
        "a.jp verify match=", "a.jp verify match=b,", "a.jp verify match=b match=c",
        "a.jp fingerprint", "a.jp fingerprint 00", "a.jp fingerprint " HEX "0",
        "a.jp fingerprint " HEX ",", "a.jp fingerprint " HEX " " HEX, "a.jp none x", "a/b none",
};

TEST(rows)
{
        for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
                struct tls_policy p = {0};
                const char *why = "", *name = good[i].text;

                CHECK(tls_policy_parse(span_from_string(name), &p, &why) == 0, name);
                CHECK(span_equal(p.host, span_from_string(good[i].host)), name);
                CHECK(p.port == good[i].port && p.level == good[i].level, name);
                CHECK(span_equal(p.match, span_from_string(good[i].match)), name);
                for (size_t cut = 0; cut < strlen(name); cut++) /* none may read beyond */
                        (void) tls_policy_parse(span_make(name, cut), &p, &why);
        }
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                struct tls_policy p;
                const char *why = NULL;

                CHECK(tls_policy_parse(span_from_string(bad[i]), &p, &why) < 0, bad[i]);
                CHECK(why && why[0], bad[i]);
        }
}

TEST(fingerprints)
{
        struct span rest = SPAN_LITERAL("01:02:" "03" HEX8 HEX8 HEX8 "0123456789,"
                                        "AAaa" HEX8 HEX8 HEX8 "0123456789ab");
        unsigned char out[TLS_FINGERPRINT_LEN];

        CHECK(tls_policy_next_fingerprint(&rest, out), "first");
        CHECK(out[0] == 1 && out[1] == 2 && out[2] == 3 && out[31] == 0x89, "its octets");
        CHECK(tls_policy_next_fingerprint(&rest, out), "second");
        CHECK(out[0] == 0xaa && out[1] == 0xaa && out[31] == 0xab, "its octets");
        CHECK(!tls_policy_next_fingerprint(&rest, out), "the end");
}

TEST(the_row_that_says_most)
{
        static struct span rows[] = {
                SPAN("* may"), SPAN(".example.jp encrypt"), SPAN(".mail.example.jp none"),
                SPAN("gw.example.jp verify"), SPAN("gw.example.jp:587 dane-only"),
        };
        static const struct {
                const char *host;
                uint16_t port;
                enum tls_level level;
        } cases[] = {
                { "other.example", 25, TLS_LEVEL_MAY },
                { "a.example.jp", 25, TLS_LEVEL_ENCRYPT },
                { "example.jp", 25, TLS_LEVEL_MAY },
                { "a.mail.example.jp", 25, TLS_LEVEL_NONE },
                { "GW.example.jp", 25, TLS_LEVEL_VERIFY },
                { "gw.example.jp", 587, TLS_LEVEL_DANE_ONLY },
        };
        const struct config_list list = {rows, sizeof rows / sizeof rows[0]};
        const struct config_list none = {0};

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const struct span host = span_from_string(cases[i].host);

                CHECK(tls_policy_find(&list, host, cases[i].port).level == cases[i].level,
                      cases[i].host);
        }
        CHECK(tls_policy_find(&none, SPAN_LITERAL("a"), 25).level == TLS_LEVEL_DANE, "no row");
}

TEST_MAIN()
