/* The rdata that strangers send: every row also cut at every octet. */
#include "net/dns/dns.h"

#include <errno.h>
#include <stdio.h>

#include "base/test.h"

static const struct {
        const char *name;
        struct span rdata;
        int r;
        uint16_t preference;
        const char *exchange;
} mx_cases[] = {
        { "plain", SPAN("\0\x0a\2mx\7example\3net\0"), 0, 10, "mx.example.net" },
        { "upper case", SPAN("\1\0\2MX\7Example\3NET\0"), 0, 256, "mx.example.net" },
        { "null MX", SPAN("\0\0\0"), 0, 0, "" },
        { "root with a preference", SPAN("\0\x0a\0"), 0, 10, "" },
        { "underscore", SPAN("\0\1\3_mx\0"), 0, 1, "_mx" },
        { "empty", SPAN(""), -EBADMSG, 0, "" },
        { "preference only", SPAN("\0\x0a"), -EBADMSG, 0, "" },
        { "no root label", SPAN("\0\x0a\2mx"), -EBADMSG, 0, "" },
        { "octets behind", SPAN("\0\x0a\2mx\0x"), -EBADMSG, 0, "" },
        { "compression pointer", SPAN("\0\x0a\xc0\x0c"), -EBADMSG, 0, "" },
        { "label past the end", SPAN("\0\x0a\7mx\0"), -EBADMSG, 0, "" },
        { "dot in a label", SPAN("\0\x0a\3a.b\0"), -EBADMSG, 0, "" },
        { "line end in a label", SPAN("\0\x0a\3a\rb\0"), -EBADMSG, 0, "" },
        { "blank in a label", SPAN("\0\x0a\3a b\0"), -EBADMSG, 0, "" },
        { "octet 255 in a label", SPAN("\0\x0a\2\xff\xff\0"), -EBADMSG, 0, "" },
};

TEST(mx_rdata)
{
        for (size_t i = 0; i < sizeof mx_cases / sizeof mx_cases[0]; i++) {
                const char *name = mx_cases[i].name;
                struct dns_mx mx;
                int r = dns_mx_parse(mx_cases[i].rdata, &mx);

                CHECK(r == mx_cases[i].r, name);
                if (r < 0)
                        continue;
                CHECK(mx.preference == mx_cases[i].preference, name);
                CHECK(strcmp(mx.exchange, mx_cases[i].exchange) == 0, name);
                for (size_t cut = 0; cut < mx_cases[i].rdata.len; cut++)
                        CHECK(dns_mx_parse(span_first(mx_cases[i].rdata, cut), &mx) < 0, name);
        }
}

#define D32 "0123456789abcdef0123456789abcdef"

static const struct {
        const char *name;
        struct span rdata;
        int r;
} tlsa_cases[] = {
        { "DANE-EE, key, SHA-256", SPAN("\3\1\1" D32), 0 },
        { "DANE-TA, certificate, SHA-512", SPAN("\2\0\2" D32 D32), 0 },
        { "a whole key", SPAN("\3\1\0x"), 0 },
        { "PKIX-EE", SPAN("\1\1\1" D32), -EBADMSG },
        { "unknown usage", SPAN("\4\1\1" D32), -EBADMSG },
        { "unknown selector", SPAN("\3\2\1" D32), -EBADMSG },
        { "unknown matching type", SPAN("\3\1\3" D32), -EBADMSG },
        { "a digest too long", SPAN("\3\1\1" D32 "0"), -EBADMSG },
        { "no data", SPAN("\3\1\0"), -EBADMSG },
};

TEST(tlsa_rdata)
{
        for (size_t i = 0; i < sizeof tlsa_cases / sizeof tlsa_cases[0]; i++) {
                const struct span rdata = tlsa_cases[i].rdata;
                const char *name = tlsa_cases[i].name;
                struct dns_tlsa t;
                int r = dns_tlsa_parse(rdata, &t);

                CHECK(r == tlsa_cases[i].r, name);
                if (r == 0)
                        CHECK(t.usage == rdata.p[0] && t.data.len == rdata.len - 3, name);
                for (size_t cut = 0; r == 0 && cut < rdata.len; cut++)
                        CHECK(dns_tlsa_parse(span_first(rdata, cut), &t) < 0, name);
        }
}

TEST(mx_names_up_to_the_limit)
{
        char rdata[2 + 4 * (1 + 63) + 1]; /* the longest ones made here */

        /* Labels of 63: three and one of 61 make 253 octets of text. */
        for (size_t last = 1; last <= 63; last++) {
                const size_t lengths[] = {63, 63, 63, last};
                size_t at = 2;
                struct dns_mx mx;

                memset(rdata, 0, sizeof rdata);
                for (size_t i = 0; i < 4; i++) {
                        rdata[at++] = (char) lengths[i];
                        memset(rdata + at, 'a', lengths[i]);
                        at += lengths[i];
                }
                rdata[at++] = 0;
                CHECK((dns_mx_parse(span_make(rdata, at), &mx) == 0) == (last <= 61), "length");
        }
}

static const struct {
        const char *name;
        struct span rdata;
        int size; /* 4 or 16: which reader */
        bool good;
} address_cases[] = {
        { "IPv4", SPAN("\xc0\0\2\1"), 4, true },
        { "loopback", SPAN("\x7f\0\0\1"), 4, true },
        { "unspecified", SPAN("\0\0\0\0"), 4, false },
        { "multicast", SPAN("\xe0\0\0\1"), 4, false },
        { "broadcast", SPAN("\xff\xff\xff\xff"), 4, false },
        { "short", SPAN("\xc0\0\2"), 4, false },
        { "long", SPAN("\xc0\0\2\1\1"), 4, false },
        { "IPv6", SPAN("\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"), 16, true },
        { "IPv6 loopback", SPAN("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"), 16, true },
        { "IPv6 unspecified", SPAN("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), 16, false },
        { "IPv6 multicast", SPAN("\xff\2\0\0\0\0\0\0\0\0\0\0\0\0\0\1"), 16, false },
        { "mapped IPv4", SPAN("\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1"), 16, false },
        { "IPv4 to the IPv6 reader", SPAN("\xc0\0\2\1"), 16, false },
};

TEST(address_rdata)
{
        for (size_t i = 0; i < sizeof address_cases / sizeof address_cases[0]; i++) {
                unsigned char address[16];
                const int r = address_cases[i].size == 4
                                      ? dns_a_parse(address_cases[i].rdata, address)
                                      : dns_aaaa_parse(address_cases[i].rdata, address);

                CHECK((r == 0) == address_cases[i].good, address_cases[i].name);
        }
}

static const struct {
        const char *name;
        struct span text;
        bool good;
} name_cases[] = {
        { "host", SPAN("mx.example.net"), true },
        { "one label", SPAN("localhost"), true },
        { "A-label", SPAN("xn--r8jz45g.jp"), true },
        { "empty", SPAN(""), false },
        { "dot", SPAN("."), false },
        { "dot at the end", SPAN("example.net."), false },
        { "two dots", SPAN("a..b"), false },
        { "octet 128", SPAN("\x80.jp"), false },
        { "NUL", SPAN("a\0b"), false },
        { "label of 64", SPAN("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
          false },
};

TEST(names)
{
        for (size_t i = 0; i < sizeof name_cases / sizeof name_cases[0]; i++)
                CHECK(dns_name_is_valid(name_cases[i].text) == name_cases[i].good,
                      name_cases[i].name);
}

TEST(what_is_temporary)
{
        CHECK(dns_status_is_temporary(DNS_BOGUS), "a forged answer never bounces mail");
        CHECK(dns_status_is_temporary(DNS_SERVFAIL), "servfail");
        CHECK(dns_status_is_temporary(DNS_TIMEOUT), "timeout");
        CHECK(!dns_status_is_temporary(DNS_NXDOMAIN), "nxdomain");
        CHECK(!dns_status_is_temporary(DNS_NULL_MX), "null mx");
}

TEST_MAIN()
