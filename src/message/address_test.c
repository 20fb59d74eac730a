#include "message/address.h"

#include <errno.h>
#include <stdlib.h>

#include "base/test.h"

enum { DOMAIN_NEEDED, DOMAIN_MAY_LACK };

/* `format` NULL: refused. `key` NULL: as `format`. */
static const struct {
        const char *name;
        struct span in;
        int may_lack;
        const char *format, *key;
} cases[] = {
        { "plain", SPAN("a@example.jp"), 0, "a@example.jp", NULL },
        { "domain in capitals", SPAN("Taro@EXAMPLE.jp"), 0, "Taro@example.jp", "taro@example.jp" },
        { "every atext", SPAN("!#$%&'*+-/=?^_`{|}~@x"), 0, "!#$%&'*+-/=?^_`{|}~@x", NULL },
        { "dots", SPAN("a.b.c@x.y"), 0, "a.b.c@x.y", NULL },
        { "carrier: doubled dot", SPAN("a..b@docomo.example"), 0, "\"a..b\"@docomo.example",
          "a..b@docomo.example" },
        { "carrier: dot before @", SPAN("a.@docomo.example"), 0, "\"a.\"@docomo.example",
          "a.@docomo.example" },
        { "carrier: dot first", SPAN(".a@x"), 0, "\".a\"@x", ".a@x" },
        { "dot alone", SPAN(".@x"), 0, "\".\"@x", ".@x" },
        { "quoted, needless", SPAN("\"abc\"@x"), 0, "abc@x", NULL },
        { "quoted blank", SPAN("\"a b\"@x"), 0, "\"a b\"@x", "a b@x" },
        { "quoted at sign", SPAN("\"a@b\"@x"), 0, "\"a@b\"@x", "a@b@x" },
        { "quoted pair", SPAN("\"a\\\"b\\\\c\\d\"@x"), 0, "\"a\\\"b\\\\cd\"@x", "a\"b\\cd@x" },
        { "quoted empty", SPAN("\"\"@x"), 0, "\"\"@x", "@x" },
        { "quoted >", SPAN("\">\"@x"), 0, "\">\"@x", ">@x" },
        { "ipv4", SPAN("a@[192.0.2.1]"), 0, "a@[192.0.2.1]", NULL },
        { "ipv4 with zeros", SPAN("a@[192.000.002.001]"), 0, "a@[192.0.2.1]", NULL },
        { "ipv6", SPAN("a@[IPv6:2001:DB8::1]"), 0, "a@[IPv6:2001:db8::1]", NULL },
        { "ipv6 long form", SPAN("a@[ipv6:2001:db8:0:0:0:0:0:1]"), 0, "a@[IPv6:2001:db8::1]",
          NULL },
        { "ipv6 with ipv4", SPAN("a@[IPv6:::ffff:192.0.2.1]"), 0, "a@[IPv6:::ffff:192.0.2.1]",
          NULL },
        { "source route", SPAN("@a.example,@b.example:c@d.example"), 0, "c@d.example", NULL },
        { "source route of one", SPAN("@a:c@d"), 0, "c@d", NULL },
        { "utf-8 local", SPAN("\xe6\x97\xa9@x"), 0, "\xe6\x97\xa9@x", NULL },
        { "utf-8 domain", SPAN("a@\xe6\x97\xa9.jp"), 0, "a@\xe6\x97\xa9.jp", NULL },
        { "utf-8 quoted", SPAN("\"\xe6\x97\xa9 a\"@x"), 0, "\"\xe6\x97\xa9 a\"@x",
          "\xe6\x97\xa9 a@x" },
        { "postmaster alone", SPAN("Postmaster"), 1, "Postmaster", "postmaster" },
        { "quoted alone", SPAN("\"a b\""), 1, "\"a b\"", "a b" },
        { "no domain", SPAN("postmaster"), 0, NULL, NULL },
        { "empty", SPAN(""), 1, NULL, NULL },
        { "at sign alone", SPAN("@"), 1, NULL, NULL },
        { "domain alone", SPAN("@x"), 1, NULL, NULL },
        { "empty domain", SPAN("a@"), 1, NULL, NULL },
        { "two at signs", SPAN("a@b@c"), 0, NULL, NULL },
        { "blank within", SPAN("a b@x"), 0, NULL, NULL },
        { "blank behind", SPAN("a@x "), 0, NULL, NULL },
        { "blank in front", SPAN(" a@x"), 0, NULL, NULL },
        { "comment", SPAN("a(c)@x"), 0, NULL, NULL },
        { "open quote", SPAN("\"a@x"), 0, NULL, NULL },
        { "quote alone", SPAN("\""), 1, NULL, NULL },
        { "quoted, then more", SPAN("\"a\"b@x"), 0, NULL, NULL },
        { "backslash before the end", SPAN("\"a\\"), 1, NULL, NULL },
        { "backslash before a control", SPAN("\"a\\\r\"@x"), 0, NULL, NULL },
        { "NUL in local", SPAN("a\0b@x"), 0, NULL, NULL },
        { "NUL in quotes", SPAN("\"a\0b\"@x"), 0, NULL, NULL },
        { "NUL in domain", SPAN("a@x\0"), 0, NULL, NULL },
        { "LF in quotes", SPAN("\"a\nb\"@x"), 0, NULL, NULL },
        { "DEL", SPAN("a\177@x"), 0, NULL, NULL },
        { "label starts with -", SPAN("a@-x"), 0, NULL, NULL },
        { "label ends with -", SPAN("a@x-.y"), 0, NULL, NULL },
        { "empty label", SPAN("a@x..y"), 0, NULL, NULL },
        { "dot behind domain", SPAN("a@x.y."), 0, NULL, NULL },
        { "underscore in domain", SPAN("a@x_y"), 0, NULL, NULL },
        { "label of 63", SPAN("a@aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"),
          0,
          "a@aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg", NULL },
        { "label of 64", SPAN("a@aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg"),
          0,
          NULL, NULL },
        { "latin-1", SPAN("\xe9@x"), 0, NULL, NULL },
        { "overlong utf-8", SPAN("\xc0\xae@x"), 0, NULL, NULL },
        { "latin-1 domain", SPAN("a@\xe9.fr"), 0, NULL, NULL },
        { "ipv4 of three", SPAN("a@[192.0.2]"), 0, NULL, NULL },
        { "ipv4 of five", SPAN("a@[1.2.3.4.5]"), 0, NULL, NULL },
        { "ipv4 256", SPAN("a@[1.2.3.256]"), 0, NULL, NULL },
        { "ipv4 empty number", SPAN("a@[1..3.4]"), 0, NULL, NULL },
        { "ipv4 open", SPAN("a@[1.2.3.4"), 0, NULL, NULL },
        { "empty literal", SPAN("a@[]"), 0, NULL, NULL },
        { "ipv6 without tag", SPAN("a@[2001:db8::1]"), 0, NULL, NULL },
        { "ipv6 broken", SPAN("a@[IPv6:2001::db8::1]"), 0, NULL, NULL },
        { "ipv6 zone", SPAN("a@[IPv6:fe80::1%eth0]"), 0, NULL, NULL },
        { "ipv6 with NUL", SPAN("a@[IPv6:::1\0]"), 0, NULL, NULL },
        { "unknown tag", SPAN("a@[X400:c=jp]"), 0, NULL, NULL },
        { "route without colon", SPAN("@a,@b"), 0, NULL, NULL },
        { "route with empty domain", SPAN("@:c@d"), 0, NULL, NULL },
        { "route, comma then local", SPAN("@a,c@d"), 0, NULL, NULL },
        { "route, comma at the end", SPAN("@a,"), 1, NULL, NULL },
};

static void check_accepted(size_t i, const struct address *a)
{
        struct arena arena = ARENA_INIT(65536);
        const struct span text = address_format(a, &arena), key = address_canonical(a, &arena);
        const char *want_key = cases[i].key ? cases[i].key : cases[i].format;
        struct address again = {0};

        CHECK(span_equal(text, span_from_string(cases[i].format)), cases[i].name);
        CHECK(span_equal(key, span_from_string(want_key)), cases[i].name);
        CHECK(address_parse(text, cases[i].may_lack, &again) == 0, cases[i].name);
        CHECK(span_equal(address_format(&again, &arena), text), cases[i].name);
        CHECK(again.has_utf8 == a->has_utf8, cases[i].name);
        arena_done(&arena);
}

TEST(addresses_are_taken_as_rfc_5321_has_them)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct address a = { .is_literal = true, .is_quoted = true };
                const int r = address_parse(cases[i].in, cases[i].may_lack, &a);

                CHECK(r == (cases[i].format ? 0 : -EINVAL), cases[i].name);
                if (r == 0)
                        check_accepted(i, &a);
                else
                        CHECK(a.is_literal && a.is_quoted, "written on success only");
        }
}

/* Runs under ASan with each prefix in memory of its own: nothing reads on. */
TEST(prefixes_are_read_within_their_bounds)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (size_t n = 0; n <= cases[i].in.len; n++) {
                        char *copy = malloc(n ? n : 1);
                        struct address a;

                        memcpy(copy, cases[i].in.p, n);
                        address_parse(span_make(copy, n), true, &a);
                        address_parse(span_make(copy, n), false, &a);
                        free(copy);
                }
}

TEST(lengths_have_limits)
{
        enum { LOCAL = 2 * ADDRESS_LOCAL_MAX + 2 };
        char text[1000];
        struct arena arena = ARENA_INIT(65536);
        struct address a;

        memset(text, 'a', sizeof text);
        memcpy(text + ADDRESS_LOCAL_MAX, "@x", 2);
        CHECK(address_parse(span_make(text, ADDRESS_LOCAL_MAX + 2), false, &a) == 0,
              "longest local");
        memcpy(text + ADDRESS_LOCAL_MAX, "a@x", 3);
        CHECK(address_parse(span_make(text, ADDRESS_LOCAL_MAX + 3), false, &a) == -EINVAL,
              "too long");

        /* Every octet quoted: 2 quotes, 256 pairs. Without quotes it is as long as may be. */
        memset(text, '"', sizeof text);
        for (size_t i = 1; i < LOCAL - 1; i += 2)
                text[i] = '\\';
        text[LOCAL] = '@';
        for (size_t i = 0; i < ADDRESS_DOMAIN_MAX; i++)
                text[LOCAL + 1 + i] = i % 64 == 63 ? '.' : 'a';
        CHECK(address_parse(span_make(text, LOCAL + 1 + ADDRESS_DOMAIN_MAX), false, &a) == 0,
              "longest");
        CHECK(address_format(&a, &arena).len == ADDRESS_FORMAT_MAX, "longest");
        text[LOCAL + 1 + ADDRESS_DOMAIN_MAX] = 'a';
        CHECK(address_parse(span_make(text, LOCAL + 2 + ADDRESS_DOMAIN_MAX), false, &a) == -EINVAL,
              "domain too long");

        /* Dots that make it quoted must not make it too long to be read again. */
        memset(text, '.', ADDRESS_LOCAL_MAX);
        memcpy(text + ADDRESS_LOCAL_MAX, "@x", 2);
        CHECK(address_parse(span_make(text, ADDRESS_LOCAL_MAX + 2), false, &a) == 0, "dots");
        CHECK(address_parse(address_format(&a, &arena), false, &a) == 0, "dots, quoted");
        arena_done(&arena);
}

TEST(no_memory_gives_null)
{
        struct arena arena = ARENA_INIT(2);
        struct address a;

        CHECK(address_parse(SPAN_LITERAL("abc@x"), false, &a) == 0, "parsed");
        CHECK(address_format(&a, &arena).p == NULL, "format");
        CHECK(address_canonical(&a, &arena).p == NULL, "canonical");
        arena_done(&arena);
}

/* Label by label, as section 4.1.2 has it. */
static bool is_domain(struct span s)
{
        struct span label;

        while (span_split(&s, '.', &label)) {
                if (label.len == 0 || label.p[0] == '-' || label.p[label.len - 1] == '-')
                        return false;
                if (memchr(label.p, '_', label.len))
                        return false;
        }
        return true;
}

TEST(domains_of_every_form)
{
        static const char octets[] = "a.-_";
        char text[40];

        for (size_t front = 0; front <= 30; front += 15) { /* so that they lie across blocks */
                for (unsigned n = 0; n < 1U << 14; n++) {
                        const size_t len = front + 1 + n % 7;

                        memset(text, 'x', front);
                        for (size_t i = front; i < len; i++)
                                text[i] = octets[n >> 2 * (i - front) & 3];
                        assert_true(address_is_domain(span_make(text, len)) ==
                                    is_domain(span_make(text, len)));
                }
        }
}

TEST_MAIN()
