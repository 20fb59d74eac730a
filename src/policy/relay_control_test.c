/* Who may send where, and the limits: verdicts with their rule and its place. */
#include "policy/relay_control.h"

#include "config/test_site.h"
#include "policy/limits.h"

static const char text[] =
        "hostname = \"mx1.example.jp\"\n"
        "domains = { \"example.jp\" }\n"
        "relay_networks = { \"192.0.2.0/24\", \"2001:db8::/32\" }\n"
        "limits { received_hops = 20 connections_per_client = 5 }\n";

#define V4(a, b, c, d) {[10] = 0xff, [11] = 0xff, a, b, c, d}

static const struct {
        const char *name;
        struct relay_client client;
        struct route route;
        unsigned code;
        const char *rule;
} cases[] = {
        { "stranger to us", {.address = V4(198, 51, 100, 1)},
          {.kind = ROUTE_LOCAL, .is_ours = true, .rule = SPAN("local user")}, 0, "local user" },
        { "stranger to nobody of ours", {.address = V4(198, 51, 100, 1)},
          {.kind = ROUTE_ERROR, .is_ours = true, .rule = SPAN("local user")}, 0, "local user" },
        { "stranger to a relay domain", {.address = V4(198, 51, 100, 1)},
          {.kind = ROUTE_RELAY, .is_ours = true, .rule = SPAN("relay_domains")}, 0,
          "relay_domains" },
        { "stranger elsewhere", {.address = V4(198, 51, 100, 1)},
          {.kind = ROUTE_RELAY, .rule = SPAN("mx")}, 550, "relay_networks" },
        { "stranger to an impossible place", {.address = V4(198, 51, 100, 1)},
          {.kind = ROUTE_ERROR, .code = 553}, 550, "relay_networks" },
        { "known network", {.address = V4(192, 0, 2, 200)},
          {.kind = ROUTE_RELAY, .rule = SPAN("mx")}, 0, "relay_networks" },
        { "next to the known network", {.address = V4(192, 0, 3, 0)},
          {.kind = ROUTE_RELAY, .rule = SPAN("mx")}, 550, "relay_networks" },
        { "known network, IPv6", {.address = {0x20, 1, 0xd, 0xb8, [15] = 9}},
          {.kind = ROUTE_RELAY, .rule = SPAN("mx")}, 0, "relay_networks" },
        { "a socket that is no address", {.address = {0}},
          {.kind = ROUTE_RELAY, .rule = SPAN("mx")}, 550, "relay_networks" },
        { "local user", {.is_local_user = true},
          {.kind = ROUTE_RELAY, .rule = SPAN("mx")}, 0, "local submission" },
        { "has read mail", {.has_read_mail = true, .address = V4(198, 51, 100, 1)},
          {.kind = ROUTE_RELAY, .rule = SPAN("mx")}, 0, "pop_before_smtp" },
        { "shows a certificate", {.has_certificate = true, .address = V4(198, 51, 100, 1)},
          {.kind = ROUTE_RELAY, .rule = SPAN("mx")}, 0, "relay_certificates" },
        { "logged in", {.is_logged_in = true, .address = V4(198, 51, 100, 1)},
          {.kind = ROUTE_RELAY, .rule = SPAN("mx")}, 0, "login" },
};

TEST(relaying)
{
        struct config *c = test_site_config(text, "");

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const struct verdict v =
                        relay_control_judge(c, &cases[i].client, &cases[i].route);

                CHECK(v.code == cases[i].code, cases[i].name);
                CHECK(span_equal(v.rule, span_from_string(cases[i].rule)), cases[i].name);
                CHECK(!v.code || span_equal(v.enhanced, SPAN_LITERAL("5.7.1")), cases[i].name);
                CHECK(!v.code || span_equal(v.origin, SPAN_LITERAL("hayauma.conf:3")),
                      cases[i].name);
        }
        config_free(c);
}

TEST(limits)
{
        struct config *c = test_site_config(text, "");
        struct verdict v;

        CHECK(!limits_hops(c, 20).code, "20 hops");
        v = limits_hops(c, 21);
        CHECK(v.code == 554 && span_equal(v.enhanced, SPAN_LITERAL("5.4.6")), "21 hops");
        CHECK(span_equal(v.origin, SPAN_LITERAL("hayauma.conf:4")), "where it stands");
        CHECK(v.text.len && v.text.p[0] != ' ', "words");
        CHECK(!limits_connection(c, 10, 10, 5).code, "at the limits");
        CHECK(!limits_connection(c, 1000, 0, 0).code, "no limit");
        v = limits_connection(c, 11, 10, 1);
        CHECK(v.code == 421 && span_equal(v.enhanced, SPAN_LITERAL("4.3.2")), "all clients");
        v = limits_connection(c, 1, 10, 6);
        CHECK(v.code == 421 && span_equal(v.enhanced, SPAN_LITERAL("4.7.0")), "one client");
        CHECK(limits_header(c).code == 552, "header");
        config_free(c);
}

TEST_MAIN()
