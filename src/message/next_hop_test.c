/* Next hops as they stand in configuration and tables. */
#include <stdio.h>

#include "base/test.h"
#include "message/next_hop.h"

static const struct {
        const char *text;
        const char *want; /* "mailer|host|port|flags", NULL: refused */
} cases[] = {
        { "mx.example.jp", "smtp|mx.example.jp|25|" },
        { "mx.example.jp.", "smtp|mx.example.jp|25|" },
        { "mx.example.jp:2525", "smtp|mx.example.jp|2525|" },
        { "smtp:mx.example.jp", "smtp|mx.example.jp|25|" },
        { "SMTP:mx.example.jp:26", "smtp|mx.example.jp|26|" },
        { "esmtp:[192.0.2.1]", "esmtp|192.0.2.1|25|h" },
        { "[mx.example.jp]", "smtp|mx.example.jp|25|h" },
        { "[mx.example.jp]:587", "smtp|mx.example.jp|587|h" },
        { "[2001:db8::1]:26", "smtp|2001:db8::1|26|h" },
        { "[IPv6:2001:db8::1]", "smtp|2001:db8::1|25|h" },
        { "2001:db8::1", "smtp|2001:db8::1|25|h" },
        { "192.0.2.1", "smtp|192.0.2.1|25|h" },
        { "192.0.2.1:26", "smtp|192.0.2.1|26|h" },
        { "lmtp:[127.0.0.1]", "lmtp|127.0.0.1|24|h" },
        { "lmtp:unix:/run/lmtp", "lmtp|/run/lmtp|0|hu" },
        { "unix:/run/smtp", "smtp|/run/smtp|0|hu" },
        { "local:", "local||0|" },
        { "local:taro", "local|taro|0|" },
        { "discard:", "discard||0|" },
        { "error:5.1.1:550 Gone", "error|5.1.1:550 Gone|0|" },
        { "_dmarc.example.jp", "smtp|_dmarc.example.jp|25|" },
        { "foo:25", "smtp|foo|25|" },
        { "", NULL },
        { "smtp:", NULL },
        { "smtp:25", NULL },
        { "25", NULL },
        { "mx.example.jp:", NULL },
        { "mx.example.jp:0", NULL },
        { "mx.example.jp:65536", NULL },
        { "mx.example.jp:25x", NULL },
        { "mx..example.jp", NULL },
        { ".", NULL },
        { "mx example", NULL },
        { "mx\r\nexample", NULL },
        { "[mx.example.jp", NULL },
        { "[]", NULL },
        { "[192.0.2.1]25", NULL },
        { "unix:", NULL },
        { "unix:relative", NULL },
        { "smtp:smtp:mx.example.jp", NULL },
        { "256.1.1.1", NULL },
        { "user@mx.example.jp", NULL },
};

TEST(next_hops)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct next_hop hop;
                char got[600] = "";
                const int r = next_hop_parse(span_from_string(cases[i].text), &hop);

                CHECK((r == 0) == (cases[i].want != NULL), cases[i].text);
                if (r < 0)
                        continue;
                snprintf(got, sizeof got, "%.*s|%.*s|%u|%s%s", (int) hop.mailer.len, hop.mailer.p,
                         (int) hop.host.len, hop.host.len ? hop.host.p : "", hop.port,
                         hop.is_host ? "h" : "", hop.is_unix ? "u" : "");
                CHECK(strcmp(got, cases[i].want) == 0, cases[i].text);
        }
}

TEST(every_cut_is_survived)
{
        struct next_hop hop;

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (size_t cut = 0; cut <= strlen(cases[i].text); cut++)
                        (void) next_hop_parse(span_make(cases[i].text, cut), &hop);
        CHECK(next_hop_parse(SPAN_LITERAL("[192.0.2.1\0]"), &hop) < 0, "NUL in an address");
        CHECK(next_hop_parse(SPAN_LITERAL("unix:/a\0b"), &hop) < 0, "NUL in a path");
}

TEST_MAIN()
