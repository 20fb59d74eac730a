#include "route/routing.h"

#include <errno.h>

static const struct span inbox = SPAN("INBOX");

static int set_next_hop(struct routing *t, const char *option, struct span hop)
{
        struct next_hop parsed;
        struct span prefix = SPAN("smtp:");

        if (next_hop_parse(hop, &parsed) < 0)
                return routing_refuse(t, 451, "4.3.5",
                                      "Next hop in the configuration cannot be read");
        if (span_starts_with_nocase(hop, parsed.mailer) && hop.len > parsed.mailer.len &&
            hop.p[parsed.mailer.len] == ':')
                prefix = SPAN_LITERAL("");
        t->route.kind = ROUTE_RELAY;
        t->route.rule = span_from_string(option);
        t->route.origin = routing_origin_of(t, option);
        t->route.next_hop = routing_join(t->arena, prefix, hop, SPAN_LITERAL(""));
        return t->route.next_hop.p ? 0 : -ENOMEM;
}

/* To the MX of the domain, or to the address of a literal. */
static int set_mx(struct routing *t)
{
        t->route.kind = ROUTE_RELAY;
        t->route.rule = SPAN_LITERAL("mx");
        t->route.origin = SPAN_LITERAL("default");
        t->route.next_hop = routing_join(t->arena, SPAN_LITERAL("smtp:"), t->address.domain,
                                         SPAN_LITERAL(""));
        return t->route.next_hop.p ? 0 : -ENOMEM;
}

static int route_elsewhere(struct routing *t)
{
        const struct config *c = t->config;
        unsigned char address[16];

        if (t->address.is_literal && !routing_literal_address(t->address.domain, address))
                return routing_refuse(t, 553, "5.1.2", "Address literal of an unknown kind");
        if (c->smart_host.len)
                return set_next_hop(t, "smart_host", c->smart_host);
        return set_mx(t);
}

static int route_relay_domain(struct routing *t)
{
        int r;

        t->route.is_ours = true;
        if (t->config->local_relay.len)
                r = set_next_hop(t, "local_relay", t->config->local_relay);
        else
                r = route_elsewhere(t);
        /* Why it is accepted weighs more than how it is passed on, which
         * `next_hop` shows anyway. */
        if (r == 0 && t->route.kind == ROUTE_RELAY) {
                t->route.rule = SPAN_LITERAL("relay_domains");
                t->route.origin = routing_origin_of(t, "relay_domains");
        }
        return r;
}

static int set_local(struct routing *t, struct span account, const char *rule)
{
        t->route.kind = ROUTE_LOCAL;
        t->route.account = account;
        t->route.mailbox = inbox;
        t->route.rule = span_from_string(rule);
        return 0;
}

/* Local parts that get a mailbox without being listed. The ways in which old
 * systems wrote routes into a local part ("user%host", "host!user",
 * "user@host") never do: who tries them is looking for a relay. Nor does what
 * would look like a path or hide in a listing. */
static bool may_be_created(struct span local)
{
        static const uint64_t bad[2] = { /* a bit for each octet of ASCII */
                0x1ffffffffULL | 1ULL << '%' | 1ULL << '!' | 1ULL << '/' | 1ULL << ':' |
                1ULL << ',' | 1ULL << ';' | 1ULL << '<' | 1ULL << '>' | 1ULL << '"' |
                1ULL << '(' | 1ULL << ')',
                1ULL << ('@' - 64) | 1ULL << ('\\' - 64) | 1ULL << ('[' - 64) |
                1ULL << (']' - 64) | 1ULL << (127 - 64),
        };

        if (local.len == 0 || local.len > 64)
                return false;
        for (size_t i = 0; i < local.len; i++) {
                const unsigned char c = (unsigned char) local.p[i];

                if (c < 128 && bad[c / 64] >> c % 64 & 1)
                        return false;
        }
        return true;
}

/* What a local address may stand for: its own name, and that without "+detail". */
struct names {
        struct span whole, local; /* canonical, and what is in front of the domain */
        struct span name;         /* local without the detail */
        struct span account;      /* whole without it */
};

/* 0 or -ENOMEM. */
static int find_names(const struct routing *t, struct names *ret)
{
        const struct span whole = address_canonical(&t->address, t->arena);
        const struct span local = span_first(whole, span_find_last(whole, '@'));
        const struct span name = span_first(local, span_find(local, '+'));

        *ret = (struct names) {whole, local, name, whole};
        if (whole.p && name.len < local.len)
                ret->account = routing_join(t->arena, name, span_skip(whole, local.len),
                                            SPAN_LITERAL(""));
        return ret->account.p ? 0 : -ENOMEM;
}

static int find_user(struct routing *t, const struct names *names)
{
        struct span key = names->whole, value;
        uint32_t line;

        for (int i = 0; i < 2; i++) {
                if (snapshot_get(t->snapshot, SNAPSHOT_USERS, key, &value, &line)) {
                        (void) set_local(t, value.len ? value : key, "local user");
                        t->route.is_ours = true;
                        t->route.origin = routing_table_origin(t, SNAPSHOT_USERS, line);
                        return t->route.origin.p ? 1 : -ENOMEM;
                }
                if (names->name.len == 0 || names->name.len == names->local.len)
                        break;
                key = names->account;
        }
        return 0;
}

int routing_find_user(struct routing *t)
{
        struct names names;
        const int r = find_names(t, &names);

        return r < 0 ? r : find_user(t, &names);
}

int routing_local(struct routing *t)
{
        struct names names;
        struct span account, name;
        int r = find_names(t, &names);

        if (r == 0)
                r = find_user(t, &names);
        if (r)
                return r < 0 ? r : 0;
        account = names.account;
        name = names.name;
        t->route.is_ours = true;
        t->route.origin = SPAN_LITERAL("default");
        if (span_equal(name, SPAN_LITERAL("postmaster")))
                return set_local(t, account, "postmaster");
        if (span_equal(name, SPAN_LITERAL("abuse")))
                return set_local(t, account, "abuse");
        if (t->config->users.auto_create && name.len && may_be_created(names.local)) {
                t->route.origin = routing_origin_of(t, "users.auto_create");
                return set_local(t, account, "users.auto_create");
        }
        if (t->config->local_relay.len)
                return set_next_hop(t, "local_relay", t->config->local_relay);
        t->route.rule = SPAN_LITERAL("local user");
        t->route.origin = routing_origin_of(t, "users.file");
        return routing_refuse(t, 550, "5.1.1", "No such user here");
}

/* A wider key of the mailertable also sends what we accept for a relay domain;
 * that it is one is why it is accepted, so that stays the rule. */
static int finish_relay_domain(struct routing *t)
{
        const int found = routing_mailertable(t, false);
        struct route *route = &t->route;

        if (found < 0)
                return found;
        route->is_ours = true;
        return found ? 0 : route_relay_domain(t);
}

int routing_finish(struct routing *t)
{
        int found;

        if (t->address.is_literal)
                return route_elsewhere(t);
        found = routing_mailertable(t, true);
        if (found) {
                t->route.is_ours |= t->is_local ||
                                    routing_is_relay_domain(t->snapshot, t->address.domain);
                return found < 0 ? found : 0;
        }
        if (t->is_local)
                return routing_local(t);
        if (routing_is_relay_domain(t->snapshot, t->address.domain))
                return finish_relay_domain(t);
        found = routing_mailertable(t, false);
        if (found)
                return found < 0 ? found : 0;
        return route_elsewhere(t);
}

int route_recipient(const struct config *c, const struct snapshot *s, struct span rcpt_to,
                    struct arena *arena, struct route *ret_route)
{
        struct route_list list;
        const int r = route_expand(c, s, rcpt_to, NULL, arena, &list);

        if (r == 0)
                *ret_route = list.items[0];
        return r;
}
