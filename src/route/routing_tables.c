/* Looking addresses up in mailertable and virtusertable. */
#include <errno.h>

#include "config/table.h"
#include "route/routing.h"

enum { FILLED_MAX = 1000 }; /* octets of a next hop or address with its parts filled in */

static const struct span error_prefix = SPAN("error:");

/* `text` with parts[0] in place of "%1", and so on. p == NULL without memory,
 * or when it becomes too long. */
static struct span fill_in(struct span text, const struct span *parts, unsigned count,
                           struct arena *arena)
{
        struct buffer out = BUFFER_INIT(FILLED_MAX);
        struct span filled = {NULL, 0};
        int r = 0;

        for (size_t i = 0; r == 0 && i < text.len; i++) {
                const char digit = i + 1 < text.len ? text.p[i + 1] : '\0';

                if (text.p[i] == '%' && digit > '0' && digit <= (char) ('0' + count)) {
                        r = buffer_append_span(&out, parts[digit - '1']);
                        i++;
                } else {
                        r = buffer_append(&out, text.p + i, 1);
                }
        }
        if (r == 0)
                filled = arena_copy(arena, buffer_span(&out));
        buffer_done(&out);
        return filled;
}

/* "error:550 5.1.2 text" as the table has it. */
static int refuse_as(struct routing *t, struct span value)
{
        uint16_t code;
        struct span enhanced, text;

        if (!table_reply_split(span_skip(value, error_prefix.len), &code, &enhanced, &text))
                return routing_refuse(t, 451, "4.3.5", "A table cannot be read");
        t->route.kind = ROUTE_ERROR;
        t->route.code = code;
        t->route.enhanced = enhanced;
        t->route.text = text;
        return 0;
}

/* "local:" is a mailbox of that very address, "local:taro" is taro's. */
static int deliver_locally(struct routing *t, struct span name)
{
        const struct span rule = t->route.rule, origin = t->route.origin;
        int r;

        if (name.len) {
                if (address_parse(name, true, &t->address) < 0)
                        return routing_refuse(t, 451, "4.3.5", "A table cannot be read");
                r = routing_settle_domain(t);
                if (r)
                        return r < 0 ? r : 0;
        }
        r = routing_add_step(t, rule, origin, SPAN_LITERAL("local:"));
        return r < 0 ? r : routing_local(t);
}

static int send_to(struct routing *t, struct span value, struct span part)
{
        struct next_hop hop;
        struct span text = fill_in(value, &part, 1, t->arena);

        if (!text.p)
                return -ENOMEM;
        if (next_hop_parse(span_first(text, span_find(text, ',')), &hop) < 0)
                return routing_refuse(t, 550, "5.1.2", "No such host");
        if (span_equal(hop.mailer, SPAN_LITERAL("discard"))) {
                t->route.kind = ROUTE_DISCARD;
                return 0;
        }
        if (span_equal(hop.mailer, SPAN_LITERAL("local")))
                return deliver_locally(t, hop.host);
        if (!span_starts_with_nocase(text, hop.mailer) || text.len == hop.mailer.len ||
            text.p[hop.mailer.len] != ':')
                text = routing_join(t->arena, SPAN_LITERAL("smtp:"), text, SPAN_LITERAL(""));
        t->route.kind = ROUTE_RELAY;
        t->route.next_hop = text;
        return text.p ? 0 : -ENOMEM;
}

static int use_mailertable(struct routing *t, struct span value, uint32_t line, struct span part)
{
        int r;

        t->route.rule = SPAN_LITERAL("mailertable");
        t->route.origin = routing_table_origin(t, SNAPSHOT_MAILERTABLE, line);
        if (!t->route.origin.p)
                return -ENOMEM;
        r = span_starts_with_nocase(value, error_prefix) ? refuse_as(t, value)
                                                         : send_to(t, value, part);
        return r < 0 ? r : 1;
}

int routing_mailertable(struct routing *t, bool is_exact)
{
        const struct span domain = t->address.domain;
        struct span value;
        uint32_t line;

        if (snapshot_count(t->snapshot, SNAPSHOT_MAILERTABLE) == 0)
                return 0;
        if (is_exact) {
                if (!snapshot_get(t->snapshot, SNAPSHOT_MAILERTABLE, domain, &value, &line))
                        return 0;
                return use_mailertable(t, value, line, SPAN_LITERAL(""));
        }
        /* From left to right: the longest key comes first. */
        for (size_t i = 1; i < domain.len; i++)
                if (domain.p[i] == '.' &&
                    snapshot_get(t->snapshot, SNAPSHOT_MAILERTABLE, span_skip(domain, i), &value,
                                 &line))
                        return use_mailertable(t, value, line, span_first(domain, i));
        if (snapshot_get(t->snapshot, SNAPSHOT_MAILERTABLE, SPAN_LITERAL("."), &value, &line))
                return use_mailertable(t, value, line, domain);
        return 0;
}

/* The keys that an address may stand under, the narrowest first, as sendmail
 * tries them. "%" stands for the user, "*" after "+" for any detail, "+" after
 * it for one that is not empty. */
struct virtual_key {
        bool has_detail; /* only for user+detail */
        bool has_user;
        struct span ending; /* behind the user; {NULL, 0}: the detail itself */
};

static const struct virtual_key keys[] = {
        { false, true, {NULL, 0} },    { true, true, SPAN("++") }, { true, true, SPAN("+*") },
        { true, true, SPAN("") },      { true, false, SPAN("++") }, { true, false, SPAN("+*") },
        { false, false, SPAN("") },
};

static bool get_virtual(const struct routing *t, struct span local, const struct virtual_key *k,
                        struct span *ret_value, uint32_t *ret_line)
{
        const size_t plus = span_find(local, '+');
        const bool has_detail = plus != SIZE_MAX && plus > 0 && !t->address.is_quoted;
        const struct span user = has_detail ? span_first(local, plus) : local;
        const struct span parts[] = {k->has_user ? (k->ending.p ? user : local)
                                                 : (struct span) {NULL, 0},
                                     k->ending, SPAN("@"), t->address.domain};
        char key[SNAPSHOT_KEY_MAX];
        size_t len = 0;

        if (k->has_detail && (!has_detail || (span_equal(k->ending, SPAN_LITERAL("++")) &&
                                              plus + 1 == local.len)))
                return false;
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
                if (parts[i].len > sizeof key - len)
                        return false;
                if (parts[i].len)
                        memcpy(key + len, parts[i].p, parts[i].len);
                len += parts[i].len;
        }
        return snapshot_get(t->snapshot, SNAPSHOT_VIRTUSERTABLE, span_make(key, len), ret_value,
                            ret_line);
}

int routing_virtual(struct routing *t, struct span *ret_target, uint32_t *ret_line)
{
        const struct span local = t->address.local;
        const size_t plus = t->address.is_quoted ? SIZE_MAX : span_find(local, '+');
        const struct span parts[] = {
                span_first(local, plus && plus != SIZE_MAX ? plus : local.len),
                plus && plus != SIZE_MAX ? span_skip(local, plus + 1) : (struct span) {NULL, 0},
                plus && plus != SIZE_MAX ? span_skip(local, plus) : (struct span) {NULL, 0},
        };
        struct span value;

        if (snapshot_count(t->snapshot, SNAPSHOT_VIRTUSERTABLE) == 0)
                return 0;
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
                if (!get_virtual(t, local, &keys[i], &value, ret_line))
                        continue;
                *ret_target = (struct span) {NULL, 0};
                if (span_starts_with_nocase(value, error_prefix))
                        return refuse_as(t, value) < 0 ? -ENOMEM : 1;
                *ret_target = fill_in(value, parts, 3, t->arena);
                return ret_target->p ? 1 : -ENOMEM;
        }
        return 0;
}
