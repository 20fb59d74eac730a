/* Routes against a small site: two local domains, relay domains with and
 * without subdomains, users, smart host or none. */
#include "route/route.h"

#include <stdio.h>
#include <stdlib.h>

#include "config/test_site.h"

static struct snapshot *site;

static const struct snapshot *the_site(void)
{
        struct snapshot_build *b;

        if (site)
                return site;
        b = test_site_begin();
        CHECK(snapshot_build_source(b, SNAPSHOT_USERS, SPAN_LITERAL("users")) == 0, "source");
        test_site_add(b, SNAPSHOT_DOMAINS, "example.jp", "", 0);
        test_site_add(b, SNAPSHOT_DOMAINS, "xn--wgv71a119e.jp", "", 0);
        test_site_add(b, SNAPSHOT_RELAY_DOMAINS, "partner.example", "", 0);
        test_site_add(b, SNAPSHOT_RELAY_DOMAINS, ".branch.example", "", 0);
        test_site_add(b, SNAPSHOT_USERS, "taro@example.jp", "taro@example.jp", 17);
        test_site_add(b, SNAPSHOT_USERS, "hanako+list@example.jp", "hanako@example.jp", 4294967295);
        test_site_add(b, SNAPSHOT_USERS, "a..b@example.jp", "a..b@example.jp", 3);
        test_site_add(b, SNAPSHOT_USERS, "taro@xn--wgv71a119e.jp", "taro@xn--wgv71a119e.jp", 4);
        site = test_site_finish(b);
        return site;
}

#define BASE "hostname = \"mx1.example.jp\"\ndomains = { \"example.jp\" }\n"
static const char *const configs[] = {
        BASE "relay_domains = { \"partner.example\" }\n",
        BASE "users { auto_create = true }\n",
        BASE "smart_host = \"[192.0.2.25]:26\"\n",
        BASE "local_relay = \"esmtp:hub.example.jp\"\nsmart_host = \"gw.example.net\"\n",
};
enum { PLAIN, AUTO, SMART, HUB };

/* want: "local account rule origin", "relay next_hop rule[ ours]", "error code enhanced" */
static const struct {
        int config;
        const char *rcpt_to, *want;
} cases[] = {
        { PLAIN, "taro@example.jp", "local taro@example.jp local user users:17" },
        { PLAIN, "Taro@EXAMPLE.JP.", "local taro@example.jp local user users:17" },
        { PLAIN, "\"taro\"@example.jp", "local taro@example.jp local user users:17" },
        { PLAIN, "taro+detail@example.jp", "local taro@example.jp local user users:17" },
        { PLAIN, "taro+a+b@example.jp", "local taro@example.jp local user users:17" },
        { PLAIN, "hanako+list@example.jp",
          "local hanako@example.jp local user users:4294967295" },
        { PLAIN, "hanako+other@example.jp", "error 550 5.1.1" },
        { PLAIN, "+taro@example.jp", "error 550 5.1.1" },
        { PLAIN, "a..b@example.jp", "local a..b@example.jp local user users:3" },
        { PLAIN, "taro@\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e.jp",
          "local taro@xn--wgv71a119e.jp local user users:4" },
        { PLAIN, "taro", "local taro@example.jp local user users:17" },
        { PLAIN, "taro@localhost", "local taro@example.jp local user users:17" },
        { PLAIN, "taro@[127.0.0.1]", "local taro@example.jp local user users:17" },
        { PLAIN, "taro@[IPv6:::1]", "local taro@example.jp local user users:17" },
        { PLAIN, "@relay.example,@x.example:taro@example.jp",
          "local taro@example.jp local user users:17" },
        { PLAIN, "postmaster@example.jp", "local postmaster@example.jp postmaster default" },
        { PLAIN, "PostMaster", "local postmaster@example.jp postmaster default" },
        { PLAIN, "Postmaster@[127.0.0.1]", "local postmaster@example.jp postmaster default" },
        { PLAIN, "abuse+x@example.jp", "local abuse@example.jp abuse default" },
        { PLAIN, "postmaster@mx1.example.jp",
          "local postmaster@mx1.example.jp postmaster default" },
        { PLAIN, "jiro@example.jp", "error 550 5.1.1" },
        { PLAIN, "taro@mx1.example.jp", "error 550 5.1.1" },
        /* Routes hidden in a local part are local parts. */
        { PLAIN, "victim%outside.example@example.jp", "error 550 5.1.1" },
        { PLAIN, "outside.example!victim@example.jp", "error 550 5.1.1" },
        { PLAIN, "\"victim@outside.example\"@example.jp", "error 550 5.1.1" },
        { PLAIN, "@example.jp:victim@outside.example", "relay smtp:outside.example mx" },
        { AUTO, "victim%outside.example@example.jp", "error 550 5.1.1" },
        { AUTO, "outside.example!victim@example.jp", "error 550 5.1.1" },
        { AUTO, "\"victim@outside.example\"@example.jp", "error 550 5.1.1" },
        { AUTO, "\"../../etc\"@example.jp", "error 550 5.1.1" },
        { AUTO, "\"a b\"@example.jp", "error 550 5.1.1" },
        { AUTO, "Jiro+x@example.jp", "local jiro@example.jp users.auto_create hayauma.conf:3" },
        { AUTO, "taro@example.jp", "local taro@example.jp local user users:17" },
        { AUTO, "jiro@other.example", "relay smtp:other.example mx" },
        { PLAIN, "x@partner.example", "relay smtp:partner.example relay_domains ours" },
        { PLAIN, "x@sub.partner.example", "relay smtp:sub.partner.example mx" },
        { PLAIN, "x@branch.example", "relay smtp:branch.example mx" },
        { PLAIN, "x@a.b.branch.example", "relay smtp:a.b.branch.example relay_domains ours" },
        { PLAIN, "x@notbranch.example", "relay smtp:notbranch.example mx" },
        { PLAIN, "X@Other.Example.", "relay smtp:other.example mx" },
        { PLAIN, "x@\xe6\x97\xa5\xe6\x9c\xac.example", "relay smtp:xn--wgv71a.example mx" },
        { PLAIN, "x@[192.0.2.9]", "relay smtp:[192.0.2.9] mx" },
        { PLAIN, "x@[IPv6:2001:db8::9]", "relay smtp:[IPv6:2001:db8::9] mx" },
        { PLAIN, "x@a..b", "error 553 5.1.3" },
        { PLAIN, "", "error 553 5.1.3" },
        { PLAIN, "@", "error 553 5.1.3" },
        { SMART, "x@other.example", "relay smtp:[192.0.2.25]:26 smart_host" },
        { SMART, "x@partner.example", "relay smtp:[192.0.2.25]:26 relay_domains ours" },
        { SMART, "taro@example.jp", "local taro@example.jp local user users:17" },
        { SMART, "jiro@example.jp", "error 550 5.1.1" },
        { HUB, "taro@example.jp", "local taro@example.jp local user users:17" },
        { HUB, "jiro@example.jp", "relay esmtp:hub.example.jp local_relay ours" },
        { HUB, "postmaster@example.jp", "local postmaster@example.jp postmaster default" },
        { HUB, "x@partner.example", "relay esmtp:hub.example.jp relay_domains ours" },
        { HUB, "x@other.example", "relay smtp:gw.example.net smart_host" },
};
enum { CASES = sizeof cases / sizeof cases[0] };

#define TEXT(span) (int) (span).len, (span).len ? (span).p : ""

static void describe(const struct route *r, char *out, size_t size)
{
        if (r->kind == ROUTE_LOCAL)
                snprintf(out, size, "local %.*s %.*s %.*s", TEXT(r->account), TEXT(r->rule),
                         TEXT(r->origin));
        else if (r->kind == ROUTE_RELAY)
                snprintf(out, size, "relay %.*s %.*s%s", TEXT(r->next_hop), TEXT(r->rule),
                         r->is_ours ? " ours" : "");
        else
                snprintf(out, size, "error %u %.*s", r->code, TEXT(r->enhanced));
}

TEST(routes)
{
        struct arena arena = ARENA_INIT(64 * 1024);

        for (size_t i = 0; i < CASES; i++) {
                struct config *c = test_site_config(configs[cases[i].config], "");
                const struct span rcpt_to = span_make(cases[i].rcpt_to, strlen(cases[i].rcpt_to));
                struct next_hop hop;
                struct route r;
                char got[600];

                arena_clear(&arena);
                CHECK(route_recipient(c, the_site(), rcpt_to, &arena, &r) == 0, cases[i].rcpt_to);
                describe(&r, got, sizeof got);
                if (strcmp(got, cases[i].want) != 0)
                        print_error("got: %s\n", got);
                CHECK(strcmp(got, cases[i].want) == 0, cases[i].rcpt_to);
                CHECK(r.kind != ROUTE_LOCAL || span_equal(r.mailbox, SPAN_LITERAL("INBOX")),
                      cases[i].rcpt_to);
                CHECK(r.kind != ROUTE_RELAY || next_hop_parse(r.next_hop, &hop) == 0,
                      cases[i].rcpt_to);
                config_free(c);
        }
        arena_done(&arena);
}

TEST(without_tables_it_is_later)
{
        struct arena arena = ARENA_INIT(4096);
        struct config *c = test_site_config(configs[PLAIN], "");
        struct route r;

        CHECK(route_recipient(c, NULL, SPAN_LITERAL("taro@example.jp"), &arena, &r) == 0, "route");
        CHECK(r.kind == ROUTE_ERROR && r.code == 451, "451");
        config_free(c);
        arena_done(&arena);
}

TEST(without_memory_it_says_so)
{
        struct arena arena = ARENA_INIT(8);
        struct config *c = test_site_config(configs[PLAIN], "");
        struct route r;

        CHECK(route_recipient(c, the_site(), SPAN_LITERAL("taro@example.jp"), &arena, &r) < 0,
              "arena full");
        config_free(c);
        arena_done(&arena);
}

TEST(an_own_literal_is_recognised)
{
        static const unsigned char v4[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1};
        static const unsigned char v6[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};

        CHECK(route_literal_is(SPAN_LITERAL("[192.0.2.1]"), v4), "IPv4");
        CHECK(!route_literal_is(SPAN_LITERAL("[192.0.2.2]"), v4), "another");
        CHECK(route_literal_is(SPAN_LITERAL("[IPv6:2001:db8::1]"), v6), "IPv6");
        CHECK(route_literal_is(SPAN_LITERAL("[ipv6:2001:DB8:0::1]"), v6), "written otherwise");
        CHECK(!route_literal_is(SPAN_LITERAL("192.0.2.1"), v4), "no brackets");
        CHECK(!route_literal_is(SPAN_LITERAL("["), v4), "half");
        CHECK(!route_literal_is(SPAN_LITERAL("[192.0.2.1\0]"), v4), "NUL");
}

TEST_MAIN()
