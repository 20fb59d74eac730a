#include "route/routing.h"

#include <errno.h>

#include <arpa/inet.h>
#include <unicode/uidna.h>

enum { DOMAIN_MAX = ROUTE_DOMAIN_ROOM - 1 };

struct span routing_origin_of(const struct routing *t, const char *option)
{
        return span_from_string(config_origin(t->config, option));
}

int routing_refuse(struct routing *t, uint16_t code, const char *enhanced, const char *text)
{
        t->route.kind = ROUTE_ERROR;
        t->route.code = code;
        t->route.enhanced = span_from_string(enhanced);
        t->route.text = span_from_string(text);
        return 0;
}

struct span routing_join(struct arena *arena, struct span a, struct span b, struct span c)
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

/* "users:17" */
struct span routing_table_origin(const struct routing *t, enum snapshot_table table, uint32_t line)
{
        const struct span name = snapshot_source(t->snapshot, table);
        char digits[11];
        size_t at = sizeof digits;

        do {
                digits[--at] = (char) ('0' + line % 10);
                line /= 10;
        } while (line);
        digits[--at] = ':';
        return routing_join(t->arena, name, span_make(digits + at, sizeof digits - at),
                            (struct span) {NULL, 0});
}

bool routing_literal_address(struct span literal, unsigned char *out)
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

        return routing_literal_address(literal, got) && memcmp(got, address, sizeof got) == 0;
}

/* Loopback, and addresses that stand in the option listen. */
static bool is_own_literal(const struct config *c, struct span literal)
{
        unsigned char address[16];

        if (!routing_literal_address(literal, address))
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

bool route_normalise_domain(struct span domain, char *out, size_t *ret_len)
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
        len -= out[len - 1] == '.'; /* of an ideographic one, too */
        if (len == 0)
                return false;
        *ret_len = (size_t) len;
        return true;
}

struct span routing_own_domain(const struct config *c)
{
        return c->domains.count ? c->domains.items[0] : c->hostname;
}

bool routing_is_relay_domain(const struct snapshot *s, struct span domain)
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

static bool is_local_domain(const struct routing *t)
{
        struct span value;

        if (snapshot_get(t->snapshot, SNAPSHOT_DOMAINS, t->address.domain, &value, NULL))
                return true;
        return span_equal_nocase(t->address.domain, t->config->hostname) &&
               !routing_is_relay_domain(t->snapshot, t->address.domain);
}

bool route_is_own_domain(const struct config *c, const struct snapshot *s, struct span domain)
{
        struct span value;

        return span_equal_nocase(domain, c->hostname) ||
               (s && (snapshot_get(s, SNAPSHOT_DOMAINS, domain, &value, NULL) ||
                      routing_is_relay_domain(s, domain)));
}

int routing_add_step(struct routing *t, struct span rule, struct span origin, struct span next)
{
        struct route_step *step = arena_alloc(t->arena, sizeof *step);

        if (!step)
                return -ENOMEM;
        *step = (struct route_step) {
                .earlier = t->route.steps,
                .rule = rule,
                .origin = origin,
                .rcpt_to = t->route.rcpt_to,
                .next = next,
        };
        t->route.steps = step;
        return 0;
}

int routing_settle_domain(struct routing *t)
{
        struct address *a = &t->address;
        char out[ROUTE_DOMAIN_ROOM];
        size_t len;

        if (a->domain.len == 0 || span_equal_nocase(a->domain, SPAN_LITERAL("localhost")) ||
            (a->is_literal && is_own_literal(t->config, a->domain))) {
                a->domain = routing_own_domain(t->config);
                a->is_literal = false;
        }
        t->is_local = false;
        if (a->is_literal)
                return 0;
        if (!route_normalise_domain(a->domain, out, &len)) {
                (void) routing_refuse(t, 553, "5.1.2", "Not a domain name");
                return 1;
        }
        a->domain = arena_copy(t->arena, span_make(out, len));
        if (!a->domain.p)
                return -ENOMEM;
        t->is_local = is_local_domain(t);
        return 0;
}
