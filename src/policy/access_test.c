/* The access table, and with it who may send where: every pair of inside and
 * outside, over both families, with the tricks that are tried. */
#include "policy/access.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "config/test_site.h"
#include "policy/relay_control.h"

static const char table[] =
        "spammers.net                REJECT\n"                          /* 1 */
        "spammer@ube.com             ERROR:5.7.1:551 Relay denied\n"    /* 2 */
        "spam@uce.uce.com            DISCARD\n"                         /* 3 */
        "example.gr.jp               RELAY\n"                           /* 4 */
        "localhost                   RELAY\n"                           /* 5 */
        "Connect:203.0.113.7         RELAY\n"                           /* 6 */
        "bogus_user@                 REJECT\n"                          /* 7 */
        "bogus.example.jp            ERROR:550 Bogus host\n"            /* 8 */
        "junk@example.jp             ERROR:550 Mailbox unavailable\n"   /* 9 */
        "Connect:203.0.113           REJECT\n"                          /* 10 */
        "Connect:IPv6:2001:db8:bad   REJECT\n"                          /* 11 */
        "Connect:IPv6:2001:db8:bad::7 OK\n"                             /* 12 */
        "To:friend.example           RELAY\n"                           /* 13 */
        "From:friend.example         OK\n"                              /* 14 */
        ".sub.example                REJECT\n"                          /* 15 */
        "From:good@spammers.net      OK\n"                              /* 16 */
        "From:ok.spammers.net        SKIP\n"                            /* 17 */
        "From:<>                     DISCARD\n"                         /* 18 */
        "198.51.100.0/25             ERROR:450 4.7.1 Later\n"           /* 19 */
        "look.example                OK\n"                              /* 20 */
        "xn--wgv71a.example          REJECT\n"                          /* 21 */
        "Connect:mail.friend.example RELAY\n"                           /* 22 */
        "From:odd.example            QUARANTINE:looks  odd\n";          /* 23 */

static struct snapshot *site;

static const struct snapshot *the_site(void)
{
        struct snapshot_build *b;

        if (site)
                return site;
        b = test_site_begin();
        test_site_add(b, SNAPSHOT_DOMAINS, "example.jp", "", 1);
        test_site_table(b, table_users_parse, "users", SPAN_LITERAL("taro@example.jp:{X}y\n"));
        test_site_table(b, table_access_parse, "access", span_from_string(table));
        site = test_site_finish(b);
        return site;
}

static void parse_ip(const char *text, unsigned char out[16])
{
        static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

        memcpy(out, mapped, sizeof mapped);
        if (inet_pton(AF_INET, text, out + 12) != 1)
                CHECK(inet_pton(AF_INET6, text, out) == 1, text);
}

/* want: "letter origin" or "code enhanced text origin"; "": nothing is said. */
static void check(const char *name, const struct access_judgement *j, const char *want)
{
        char got[300] = "";

        if (j->verdict.code)
                snprintf(got, sizeof got, "%u %.*s %.*s %.*s", j->verdict.code,
                         (int) j->verdict.enhanced.len, j->verdict.enhanced.p,
                         (int) j->verdict.text.len, j->verdict.text.p,
                         (int) j->verdict.origin.len, j->verdict.origin.p);
        else if (j->letter)
                snprintf(got, sizeof got, "%c %.*s%s%.*s", j->letter, (int) j->verdict.origin.len,
                         j->verdict.origin.p, j->verdict.text.len ? " " : "",
                         (int) j->verdict.text.len,
                         j->verdict.text.len ? j->verdict.text.p : "");
        if (strcmp(got, want) != 0)
                print_error("got: %s\n", got);
        CHECK(strcmp(got, want) == 0, name);
}

static const struct {
        const char *address, *name, *want;
} clients[] = {
        { "127.0.0.1", "", "L access:5" },
        { "::1", "", "L access:5" },
        { "203.0.113.7", "", "L access:6" },
        { "203.0.113.8", "", "550 5.7.1 Access denied access:10" },
        { "203.0.114.8", "", "" },
        { "2001:db8:bad::1", "", "550 5.7.1 Access denied access:11" },
        { "2001:db8:bad::7", "", "O access:12" },
        { "2001:db8:bae::1", "", "" },
        { "198.51.100.127", "", "450 4.7.1 Later access:19" },
        { "198.51.100.128", "", "" },
        { "192.0.2.1", "mx.spammers.net", "550 5.7.1 Access denied access:1" },
        { "192.0.2.1", "notspammers.net", "" },
        { "192.0.2.1", "a.sub.example", "550 5.7.1 Access denied access:15" },
        { "192.0.2.1", "sub.example", "" },
        { "203.0.113.8", "mail.friend.example", "L access:22" },
        { "192.0.2.1", "friend.example", "" },
};

TEST(clients_are_found_by_name_and_network)
{
        struct arena arena = ARENA_INIT(64 * 1024);

        for (size_t i = 0; i < sizeof clients / sizeof clients[0]; i++) {
                struct access_judgement j;
                unsigned char ip[16];

                parse_ip(clients[i].address, ip);
                CHECK(access_judge_client(the_site(), ip, span_from_string(clients[i].name),
                                          &arena, &j) == 0, clients[i].address);
                check(clients[i].address, &j, clients[i].want);
        }
        arena_done(&arena);
}

static const struct {
        enum access_about about;
        const char *address, *want;
} addresses[] = {
        { ACCESS_FROM, "x@spammers.net", "550 5.7.1 Access denied access:1" },
        { ACCESS_FROM, "X@Mail.Spammers.NET.", "550 5.7.1 Access denied access:1" },
        { ACCESS_FROM, "good@spammers.net", "O access:16" },
        { ACCESS_FROM, "x@ok.spammers.net", "S access:17" },
        { ACCESS_FROM, "x@a.ok.spammers.net", "S access:17" },
        { ACCESS_FROM, "spammer@ube.com", "551 5.7.1 Relay denied access:2" },
        { ACCESS_FROM, "\"spammer\"@UBE.com", "551 5.7.1 Relay denied access:2" },
        { ACCESS_FROM, "spammer+x@ube.com", "551 5.7.1 Relay denied access:2" },
        { ACCESS_FROM, "other@ube.com", "" },
        { ACCESS_FROM, "spam@uce.uce.com", "D access:3" },
        { ACCESS_FROM, "bogus_user@anywhere.example", "550 5.7.1 Access denied access:7" },
        { ACCESS_FROM, "", "D access:18" },
        { ACCESS_FROM, "x@friend.example", "O access:14" },
        { ACCESS_FROM, "x@\xe6\x97\xa5\xe6\x9c\xac.example", "550 5.7.1 Access denied access:21" },
        { ACCESS_FROM, "x@XN--WGV71A.example", "550 5.7.1 Access denied access:21" },
        { ACCESS_FROM, "x@[203.0.113.8]", "" },
        { ACCESS_FROM, "x@odd.example", "Q access:23 looks  odd" },
        { ACCESS_TO, "x@odd.example", "" },
        { ACCESS_FROM, "taro", "" },
        { ACCESS_TO, "bogus_user@example.jp", "550 5.7.1 Recipient refused access:7" },
        { ACCESS_TO, "bogus_user+x@example.jp", "550 5.7.1 Recipient refused access:7" },
        { ACCESS_TO, "x@bogus.example.jp", "550 5.7.1 Bogus host access:8" },
        { ACCESS_TO, "junk@example.jp", "550 5.7.1 Mailbox unavailable access:9" },
        { ACCESS_TO, "junk@other.example.jp", "" },
        { ACCESS_TO, "x@friend.example", "L access:13" },
        { ACCESS_TO, "x@a.example.gr.jp", "L access:4" },
        { ACCESS_TO, "x@look.example", "O access:20" },
        { ACCESS_TO, "", "" },
};

TEST(addresses_are_found_the_narrowest_first)
{
        struct arena arena = ARENA_INIT(64 * 1024);

        for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
                struct access_judgement j;

                CHECK(access_judge_address(the_site(), addresses[i].about,
                                           span_make(addresses[i].address,
                                                     strlen(addresses[i].address)),
                                           &arena, &j) == 0, addresses[i].address);
                check(addresses[i].address, &j, addresses[i].want);
        }
        arena_done(&arena);
}

/* ---- the four cells: {inside, outside} to {inside, outside} ---- */

static const char site_conf[] =
        "hostname = \"mx1.example.jp\"\n"
        "domains = { \"example.jp\" }\n"
        "relay_networks = { \"192.0.2.0/24\", \"2001:db8:1::/48\" }\n"
        "listen = { \"smtp://192.0.2.25:25\", \"smtp://[2001:db8:1::25]:25\" }\n";
static const char strict_conf[] =
        "relay_mail_from = { \"example.jp\", \".example.jp\" }\n";

enum { NETWORKS, COMBINED };
enum { ALLOWED = 0, DENIED = 550 };

static const struct {
        int config;
        const char *client, *mail_from, *rcpt_to;
        unsigned code;
        const char *rule;
} cells[] = {
        /* from inside */
        { NETWORKS, "192.0.2.9", "taro@example.jp", "taro@example.jp", ALLOWED, "local user" },
        { NETWORKS, "2001:db8:1::9", "taro@example.jp", "taro@example.jp", ALLOWED, "local user" },
        { NETWORKS, "192.0.2.9", "taro@example.jp", "x@other.example", ALLOWED, "relay_networks" },
        { NETWORKS, "2001:db8:1::9", "taro@example.jp", "x@other.example", ALLOWED,
          "relay_networks" },
        { NETWORKS, "203.0.113.7", "x@other.example", "y@other.example", ALLOWED, "access" },
        { NETWORKS, "127.0.0.1", "", "y@other.example", ALLOWED, "access" },
        { NETWORKS, "::1", "", "y@other.example", ALLOWED, "access" },
        /* from outside */
        { NETWORKS, "198.51.100.200", "x@other.example", "taro@example.jp", ALLOWED, "local user" },
        { NETWORKS, "2001:db8:2::9", "x@other.example", "taro@example.jp", ALLOWED, "local user" },
        { NETWORKS, "198.51.100.200", "x@other.example", "y@other.example", DENIED,
          "relay_networks" },
        { NETWORKS, "2001:db8:2::9", "x@other.example", "y@other.example", DENIED,
          "relay_networks" },
        /* who claims to be of us is no less outside */
        { NETWORKS, "198.51.100.200", "taro@example.jp", "y@other.example", DENIED,
          "relay_networks" },
        { NETWORKS, "198.51.100.200", "x@example.gr.jp", "y@other.example", DENIED,
          "relay_networks" },
        { NETWORKS, "198.51.100.200", "", "y@other.example", DENIED, "relay_networks" },
        { NETWORKS, "198.51.100.200", "x@other.example", "x@sub.example.gr.jp", ALLOWED,
          "access" },
        { NETWORKS, "198.51.100.200", "x@other.example", "x@friend.example", ALLOWED, "access" },
        /* network and sender's domain */
        { COMBINED, "192.0.2.9", "taro@example.jp", "x@other.example", ALLOWED, "relay_networks" },
        { COMBINED, "192.0.2.9", "taro@PC.Example.JP.", "x@other.example", ALLOWED,
          "relay_networks" },
        { COMBINED, "2001:db8:1::9", "x@other.example", "y@other.example", DENIED,
          "relay_mail_from" },
        { COMBINED, "192.0.2.9", "x@notexample.jp", "y@other.example", DENIED, "relay_mail_from" },
        { COMBINED, "192.0.2.9", "taro@example.jp@other.example", "y@other.example", DENIED,
          "relay_mail_from" },
        { COMBINED, "192.0.2.9", "", "y@other.example", ALLOWED, "relay_networks" },
        { COMBINED, "198.51.100.200", "taro@example.jp", "y@other.example", DENIED,
          "relay_networks" },
        { COMBINED, "203.0.113.7", "x@other.example", "y@other.example", DENIED,
          "relay_mail_from" },
        { COMBINED, "203.0.113.7", "taro@example.jp", "y@other.example", ALLOWED, "access" },
        { COMBINED, "192.0.2.9", "x@other.example", "taro@example.jp", ALLOWED, "local user" },
};

/* What strangers try: each must end at nobody's mailbox here or be denied. */
static const struct {
        struct span rcpt_to;
        unsigned code; /* ALLOWED: to a mailbox of ours */
} tricks[] = {
        { SPAN("victim%other.example@example.jp"), 550 },
        { SPAN("other.example!victim@example.jp"), 550 },
        { SPAN("\"victim@other.example\"@example.jp"), 550 },
        { SPAN("@example.jp:victim@other.example"), 550 },
        { SPAN("@example.jp,@mx1.example.jp:victim@other.example"), 550 },
        { SPAN("victim@other.example@example.jp"), 550 },
        { SPAN("victim@other.example."), 550 },
        { SPAN("victim@OTHER.Example"), 550 },
        { SPAN("victim@example.jp.other.example"), 550 },
        { SPAN("victim@xexample.jp"), 550 },
        { SPAN("victim@[198.51.100.9]"), 550 },
        { SPAN("victim@[192.0.2.25]"), 550 },
        { SPAN("victim@[IPv6:2001:db8:1::25]"), 550 },
        { SPAN("victim%other.example@[192.0.2.25]"), 550 },
        { SPAN("victim%other.example"), 550 },
        { SPAN("victim\0@example.jp"), 550 },
        { SPAN("taro@example.jp\0.other.example"), 550 },
        { SPAN("victim@other.example\0@example.jp"), 550 },
        { SPAN("taro@example.jp\r\nRCPT TO:<victim@other.example>"), 550 },
        { SPAN("\"taro\0\"@example.jp"), 550 },
        { SPAN("taro@\xef\xbd\x85xample.jp"), ALLOWED }, /* fullwidth e: the same name */
        { SPAN("victim@\xef\xbd\x8fther.example"), 550 },
        { SPAN("taro@[192.0.2.25]"), ALLOWED },
        { SPAN("taro@EXAMPLE.jp."), ALLOWED },
        { SPAN("taro"), ALLOWED },
        { SPAN("victim@[IPv6:::ffff:198.51.100.9]"), 550 },
        { SPAN("victim@[3325256713]"), 550 },
};

/* As edge asks: access about the client, route, access about the recipient,
 * relay control; the route's own error last. */
static struct verdict decide(const struct config *c, const char *ip, const char *mail_from,
                             struct span rcpt_to, struct arena *arena, struct route *ret_route)
{
        struct relay_client client = {.mail_from = span_from_string(mail_from)};
        struct access_judgement j;
        struct route_list list;
        struct verdict v;

        parse_ip(ip, client.address);
        CHECK(access_judge_client(the_site(), client.address, (struct span) {NULL, 0}, arena,
                                  &j) == 0, ip);
        if (j.letter == ACCESS_RELAY)
                client.access_relay = j.verdict.origin;
        CHECK(route_expand(c, the_site(), rcpt_to, NULL, arena, &list) == 0, "route");
        *ret_route = list.items[0];
        CHECK(access_judge_address(the_site(), ACCESS_TO, list.rcpt_to, arena, &j) == 0, "to");
        if (j.verdict.code)
                return j.verdict;
        if (j.letter == ACCESS_RELAY) {
                ret_route->is_ours = true;
                ret_route->rule = j.verdict.rule;
        }
        v = relay_control_judge(c, &client, ret_route);
        if (!v.code && ret_route->kind == ROUTE_ERROR)
                v.code = ret_route->code;
        return v;
}

TEST(the_four_cells)
{
        struct arena arena = ARENA_INIT(64 * 1024);
        struct config *configs[] = {test_site_config(site_conf, ""),
                                    test_site_config(site_conf, strict_conf)};

        for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
                char name[200];
                struct route route;
                struct verdict v;

                arena_clear(&arena);
                snprintf(name, sizeof name, "%s <%s> to %s", cells[i].client, cells[i].mail_from,
                         cells[i].rcpt_to);
                v = decide(configs[cells[i].config], cells[i].client, cells[i].mail_from,
                           span_from_string(cells[i].rcpt_to), &arena, &route);
                if (!span_equal(v.rule, span_from_string(cells[i].rule)))
                        print_error("rule %.*s\n", (int) v.rule.len, v.rule.p);
                CHECK(v.code == cells[i].code, name);
                CHECK(span_equal(v.rule, span_from_string(cells[i].rule)), name);
        }
        config_free(configs[0]);
        config_free(configs[1]);
        arena_done(&arena);
}

TEST(tricks_fail_for_strangers_of_both_families)
{
        static const char *const strangers[] = {"198.51.100.200", "2001:db8:2::9"};
        struct arena arena = ARENA_INIT(64 * 1024);
        struct config *c = test_site_config(site_conf, "");

        for (size_t i = 0; i < sizeof tricks / sizeof tricks[0]; i++)
                for (size_t k = 0; k < 2; k++) {
                        struct route route;
                        struct verdict v;

                        arena_clear(&arena);
                        v = decide(c, strangers[k], "x@other.example", tricks[i].rcpt_to, &arena,
                                   &route);
                        CHECK(v.code == tricks[i].code || (tricks[i].code && v.code == 553),
                              tricks[i].rcpt_to.p);
                        CHECK(v.code || (route.kind == ROUTE_LOCAL &&
                                         span_equal(route.account,
                                                    SPAN_LITERAL("taro@example.jp"))),
                              tricks[i].rcpt_to.p);
                }
        config_free(c);
        arena_done(&arena);
}

TEST_MAIN()
