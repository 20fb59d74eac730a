#include "route/route.h"

#include <errno.h>

#include <arpa/inet.h>
#include <unicode/uidna.h>

#include "message/address.h"

/* One recipient on its way. */
struct routing {
        const struct config *config;
        const struct snapshot *snapshot;
        struct arena *arena;
        struct address address; /* the domain normalised */
        struct route route;
};

enum { DOMAIN_MAX = 255 };

static const struct span inbox = SPAN("INBOX");

static struct span origin_of(const struct routing *t, const char *option)
{
        return span_from_string(config_origin(t->config, option));
}

static int refuse(struct routing *t, uint16_t code, const char *enhanced, const char *text)
{
        t->route.kind = ROUTE_ERROR;
        t->route.code = code;
        t->route.enhanced = span_from_string(enhanced);
        t->route.text = span_from_string(text);
        return 0;
}

/* "users:17" */
static int set_table_origin(struct routing *t, enum snapshot_table table, uint32_t line)
{
        const struct span name = snapshot_source(t->snapshot, table);
        char digits[11];
        size_t at = sizeof digits;
        char *text = arena_alloc(t->arena, name.len + sizeof digits);

        if (!text)
                return -ENOMEM;
        do {
                digits[--at] = (char) ('0' + line % 10);
                line /= 10;
        } while (line);
        digits[--at] = ':';
        if (name.len)
                memcpy(text, name.p, name.len);
        memcpy(text + name.len, digits + at, sizeof digits - at);
        t->route.origin = span_make(text, name.len + sizeof digits - at);
        return 0;
}

/* Puts the parts one behind the other. p == NULL without memory. */
static struct span join(struct arena *arena, struct span a, struct span b, struct span c)
{
        char *p = arena_alloc(arena, a.len + b.len + c.len + 1);
        char *at = p;

        if (!p)
                return (struct span) {NULL, 0};
        for (int i = 0; i < 3; i++) {
                const struct span part = i == 0 ? a : i == 1 ? b : c;

                if (part.len)
                        memcpy(at, part.p, part.len);
                at += part.len;
        }
        return span_make(p, a.len + b.len + c.len);
}

/* The address inside "[…]", 16 octets, IPv4 mapped. */
static bool literal_address(struct span literal, unsigned char *out)
{
        static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
        char text[INET6_ADDRSTRLEN];
        struct span inner;

        if (literal.len < 2 || literal.p[0] != '[' || literal.p[literal.len - 1] != ']')
                return false;
        inner = span_skip(span_first(literal, literal.len - 1), 1);
        if (span_starts_with_nocase(inner, SPAN_LITERAL("IPv6:")))
                inner = span_skip(inner, 5);
        if (inner.len >= sizeof text || span_find(inner, '\0') != SIZE_MAX)
                return false;
        memcpy(text, inner.p, inner.len);
        text[inner.len] = '\0';
        if (inet_pton(AF_INET, text, out + 12) == 1) {
                memcpy(out, mapped, sizeof mapped);
                return true;
        }
        return inet_pton(AF_INET6, text, out) == 1;
}

bool route_literal_is(struct span literal, const unsigned char address[16])
{
        unsigned char got[16];

        return literal_address(literal, got) && memcmp(got, address, sizeof got) == 0;
}

/* Loopback, and addresses that stand in the option listen. */
static bool is_own_literal(const struct config *c, struct span literal)
{
        unsigned char address[16];

        if (!literal_address(literal, address))
                return false;
        if (memcmp(address, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f", 13) == 0 ||
            memcmp(address, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16) == 0)
                return true;
        for (size_t i = 0; i < c->listen.count; i++) {
                char text[INET6_ADDRSTRLEN + 2];
                const struct span host = c->listen.items[i].host;

                if (c->listen.items[i].is_unix || host.len + 2 > sizeof text)
                        continue;
                text[0] = '[';
                memcpy(text + 1, host.p, host.len);
                text[host.len + 1] = ']';
                if (route_literal_is(span_make(text, host.len + 2), address))
                        return true;
        }
        return false;
}

static UIDNA *idna(void)
{
        static UIDNA *converter;
        UErrorCode status = U_ZERO_ERROR;

        if (!converter)
                converter = uidna_openUTS46(UIDNA_CHECK_BIDI | UIDNA_CHECK_CONTEXTJ |
                                                    UIDNA_NONTRANSITIONAL_TO_ASCII |
                                                    UIDNA_USE_STD3_RULES,
                                            &status);
        return U_SUCCESS(status) ? converter : NULL;
}

int route_warm_up(void)
{
        UIDNAInfo info = UIDNA_INFO_INITIALIZER;
        UErrorCode status = U_ZERO_ERROR;
        char out[64];

        if (!idna())
                return -EIO;
        (void) uidna_nameToASCII_UTF8(idna(), "\xe6\x97\xa9\xe9\xa6\xac.example", -1, out,
                                      sizeof out, &info, &status);
        return U_SUCCESS(status) ? 0 : -EIO;
}

/* A-labels, lower case, without the root's dot. False: not a domain name. */
static bool normalise_domain(struct span domain, char *out, size_t *ret_len)
{
        UIDNAInfo info = UIDNA_INFO_INITIALIZER;
        UErrorCode status = U_ZERO_ERROR;
        bool is_ascii = true;
        int32_t len;

        if (domain.len && domain.p[domain.len - 1] == '.')
                domain.len--;
        if (domain.len == 0 || domain.len > 4 * DOMAIN_MAX)
                return false;
        for (size_t i = 0; i < domain.len; i++)
                is_ascii &= (unsigned char) domain.p[i] < 128;
        if (is_ascii) {
                if (domain.len > DOMAIN_MAX)
                        return false;
                ascii_lower_copy(out, domain);
                *ret_len = domain.len;
                return true;
        }
        if (!idna())
                return false;
        len = uidna_nameToASCII_UTF8(idna(), domain.p, (int32_t) domain.len, out, DOMAIN_MAX,
                                     &info, &status);
        if (U_FAILURE(status) || info.errors || len <= 0 || len > DOMAIN_MAX)
                return false;
        *ret_len = (size_t) len;
        return true;
}

/* What a missing domain means: the first of our domains, or our own name. */
static struct span own_domain(const struct config *c)
{
        return c->domains.count ? c->domains.items[0] : c->hostname;
}

/* Writes the domain as everything below compares it. 1: refused. */
static int settle_domain(struct routing *t)
{
        struct address *a = &t->address;
        char out[DOMAIN_MAX + 1];
        size_t len;

        if (a->domain.len == 0 || span_equal_nocase(a->domain, SPAN_LITERAL("localhost")) ||
            (a->is_literal && is_own_literal(t->config, a->domain))) {
                a->domain = own_domain(t->config);
                a->is_literal = false;
        }
        if (a->is_literal)
                return 0;
        if (!normalise_domain(a->domain, out, &len)) {
                (void) refuse(t, 553, "5.1.2", "Not a domain name");
                return 1;
        }
        a->domain = arena_copy(t->arena, span_make(out, len));
        return a->domain.p ? 0 : -ENOMEM;
}

static bool is_relay_domain(const struct snapshot *s, struct span domain)
{
        struct span value;

        if (snapshot_get(s, SNAPSHOT_RELAY_DOMAINS, domain, &value, NULL))
                return true;
        /* ".example.jp" stands for every name below it, at any depth. */
        for (size_t i = 1; i < domain.len; i++)
                if (domain.p[i] == '.' &&
                    snapshot_get(s, SNAPSHOT_RELAY_DOMAINS, span_skip(domain, i), &value, NULL))
                        return true;
        return false;
}

static int set_next_hop(struct routing *t, const char *option, struct span hop)
{
        struct next_hop parsed;
        struct span prefix = SPAN("smtp:");

        if (next_hop_parse(hop, &parsed) < 0)
                return refuse(t, 451, "4.3.5", "Next hop in the configuration cannot be read");
        if (span_starts_with_nocase(hop, parsed.mailer) && hop.len > parsed.mailer.len &&
            hop.p[parsed.mailer.len] == ':')
                prefix = SPAN_LITERAL("");
        t->route.kind = ROUTE_RELAY;
        t->route.rule = span_from_string(option);
        t->route.origin = origin_of(t, option);
        t->route.next_hop = join(t->arena, prefix, hop, SPAN_LITERAL(""));
        return t->route.next_hop.p ? 0 : -ENOMEM;
}

/* To the MX of the domain, or to the address of a literal. */
static int set_mx(struct routing *t)
{
        t->route.kind = ROUTE_RELAY;
        t->route.rule = SPAN_LITERAL("mx");
        t->route.origin = SPAN_LITERAL("default");
        t->route.next_hop = join(t->arena, SPAN_LITERAL("smtp:"), t->address.domain,
                                 SPAN_LITERAL(""));
        return t->route.next_hop.p ? 0 : -ENOMEM;
}

static int route_elsewhere(struct routing *t)
{
        const struct config *c = t->config;
        unsigned char address[16];

        if (t->address.is_literal && !literal_address(t->address.domain, address))
                return refuse(t, 553, "5.1.2", "Address literal of an unknown kind");
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
                t->route.origin = origin_of(t, "relay_domains");
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
        if (local.len == 0 || local.len > 64)
                return false;
        for (size_t i = 0; i < local.len; i++) {
                const unsigned char c = (unsigned char) local.p[i];

                if (c <= ' ' || c == 127 || strchr("%!@/:,;<>\"\\()[]", c))
                        return false;
        }
        return true;
}

/* A user of a local domain. `canonical` is local@domain in lower case. */
static int route_local(struct routing *t)
{
        const struct span canonical = address_canonical(&t->address, t->arena);
        const struct span at_domain = span_skip(canonical, span_find_last(canonical, '@'));
        struct span local, name, value;
        uint32_t line;

        if (!canonical.p)
                return -ENOMEM;
        t->route.is_ours = true;
        local = span_first(canonical, canonical.len - at_domain.len);
        name = span_first(local, span_find(local, '+'));
        for (int i = 0; i < 2; i++) {
                const struct span key =
                        i == 0 ? canonical : join(t->arena, name, at_domain, SPAN_LITERAL(""));

                if (!key.p)
                        return -ENOMEM;
                if (snapshot_get(t->snapshot, SNAPSHOT_USERS, key, &value, &line)) {
                        (void) set_local(t, value.len ? value : key, "local user");
                        return set_table_origin(t, SNAPSHOT_USERS, line);
                }
                if (name.len == 0 || name.len == local.len)
                        break;
        }

        const struct span account = join(t->arena, name, at_domain, SPAN_LITERAL(""));

        if (!account.p)
                return -ENOMEM;
        t->route.origin = SPAN_LITERAL("default");
        if (span_equal(name, SPAN_LITERAL("postmaster")))
                return set_local(t, account, "postmaster");
        if (span_equal(name, SPAN_LITERAL("abuse")))
                return set_local(t, account, "abuse");
        if (t->config->users.auto_create && may_be_created(name) && may_be_created(local)) {
                t->route.origin = origin_of(t, "users.auto_create");
                return set_local(t, account, "users.auto_create");
        }
        if (t->config->local_relay.len)
                return set_next_hop(t, "local_relay", t->config->local_relay);
        t->route.rule = SPAN_LITERAL("local user");
        t->route.origin = origin_of(t, "users.file");
        return refuse(t, 550, "5.1.1", "No such user here");
}

static int route_parsed(struct routing *t)
{
        const struct address *a = &t->address;
        struct span value;
        int r;

        if (!t->snapshot)
                return refuse(t, 451, "4.3.0", "Tables are not loaded yet");
        r = settle_domain(t);
        if (r != 0)
                return r < 0 ? r : 0;
        t->route.rcpt_to = address_format(a, t->arena);
        if (!t->route.rcpt_to.p)
                return -ENOMEM;
        if (a->is_literal)
                return route_elsewhere(t);
        /* Our own name is a local domain unless it is listed as one to relay. */
        if (snapshot_get(t->snapshot, SNAPSHOT_DOMAINS, a->domain, &value, NULL))
                return route_local(t);
        if (is_relay_domain(t->snapshot, a->domain))
                return route_relay_domain(t);
        if (span_equal_nocase(a->domain, t->config->hostname))
                return route_local(t);
        return route_elsewhere(t);
}

int route_recipient(const struct config *c, const struct snapshot *s, struct span rcpt_to,
                    struct arena *arena, struct route *ret_route)
{
        struct routing t = {.config = c, .snapshot = s, .arena = arena};
        int r;

        t.route.rcpt_to = rcpt_to;
        /* "example.jp." is no Domain in mail, but what it means is plain. */
        if (rcpt_to.len && rcpt_to.p[rcpt_to.len - 1] == '.' && span_find(rcpt_to, '@') != SIZE_MAX)
                rcpt_to.len--;
        if (address_parse(rcpt_to, true, &t.address) < 0)
                r = refuse(&t, 553, "5.1.3", "Not a mailbox address");
        else
                r = route_parsed(&t);
        if (r < 0)
                return r;
        *ret_route = t.route;
        return 0;
}
