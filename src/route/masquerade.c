#include "route/masquerade.h"

#include <errno.h>

#include "message/header.h"
#include "route/routing.h"

enum { FIELD_MEMORY_MAX = 64 * 1024, FIELD_VALUE_MAX = 16 * 1024 };

bool masquerade_is_on(const struct config *c, const struct snapshot *s)
{
        return c->masquerade.as.len || c->masquerade.always_add_domain ||
               (s && snapshot_count(s, SNAPSHOT_GENERICSTABLE));
}

static bool is_listed(const struct config_list *list, struct span name)
{
        for (size_t i = 0; i < list->count; i++)
                if (span_equal_nocase(list->items[i], name))
                        return true;
        return false;
}

static bool is_of_class(const struct config *c, struct span domain)
{
        const struct config_list *list = &c->masquerade.domains;

        if (is_listed(list, domain))
                return true;
        for (size_t i = 0; c->masquerade.entire_domain && i < list->count; i++) {
                const struct span item = list->items[i];

                if (domain.len > item.len + 1 && domain.p[domain.len - item.len - 1] == '.' &&
                    span_ends_with_nocase(domain, item))
                        return true;
        }
        return false;
}

/* One of `keys` in the genericstable. */
static bool find_generic(const struct routing *t, const struct span *keys, size_t count,
                         struct span *ret_value, uint32_t *ret_line)
{
        for (size_t i = 0; i < count; i++)
                if (keys[i].len && snapshot_get(t->snapshot, SNAPSHOT_GENERICSTABLE, keys[i],
                                                ret_value, ret_line))
                        return true;
        return false;
}

static struct span shown_domain(const struct config *c)
{
        return c->masquerade.as.len ? c->masquerade.as : routing_own_domain(c);
}

/* user+detail@domain, user@domain, user+detail, user. 1, 0, -ENOMEM. */
static int use_generic(struct routing *t, struct masqueraded *ret)
{
        const struct span canonical = address_canonical(&t->address, t->arena);
        const size_t at = span_find_last(canonical, '@');
        const struct span local = span_first(canonical, at);
        const size_t plus = span_find(local, '+');
        const bool has_detail = plus && plus != SIZE_MAX;
        struct span keys[4] = {canonical, {NULL, 0}, local, {NULL, 0}}, value;
        struct address found;
        uint32_t line;

        if (!canonical.p)
                return -ENOMEM;
        if (has_detail) {
                keys[1] = routing_join(t->arena, span_first(local, plus), span_skip(canonical, at),
                                       (struct span) {NULL, 0});
                keys[3] = span_first(local, plus);
        }
        if (!find_generic(t, keys, 4, &value, &line) || address_parse(value, true, &found) < 0)
                return 0;
        if (found.domain.len == 0)
                found.domain = shown_domain(t->config);
        ret->address = address_format(&found, t->arena);
        ret->origin = routing_table_origin(t, SNAPSHOT_GENERICSTABLE, line);
        return ret->address.p && ret->origin.p ? 1 : -ENOMEM;
}

static int change(struct routing *t, struct span domain, const char *option,
                  struct masqueraded *ret)
{
        t->address.domain = domain;
        ret->address = address_format(&t->address, t->arena);
        ret->origin = routing_origin_of(t, option);
        return ret->address.p ? 1 : -ENOMEM;
}

int masquerade_address(const struct config *c, const struct snapshot *s, struct span address,
                       struct arena *arena, struct masqueraded *ret)
{
        struct routing t = {.config = c, .snapshot = s, .arena = arena};
        const char *option = "masquerade.as";
        struct span given;
        bool is_own, is_class;
        int r;

        if (!s || address_parse(address, true, &t.address) < 0 || t.address.is_literal)
                return 0;
        if (t.address.domain.len == 0) {
                if (!c->masquerade.always_add_domain)
                        return 0;
                option = "masquerade.always_add_domain";
        }
        given = t.address.domain;
        r = routing_settle_domain(&t);
        if (r)
                return r < 0 ? r : 0;
        is_own = t.is_local;
        is_class = is_of_class(c, t.address.domain);
        if ((is_own || is_class) && snapshot_count(s, SNAPSHOT_GENERICSTABLE)) {
                r = use_generic(&t, ret);
                if (r)
                        return r;
        }
        if (given.len == 0)
                return change(&t, is_listed(&c->masquerade.exposed_users, t.address.local)
                                          ? t.address.domain : shown_domain(c),
                              option, ret);
        if (c->masquerade.as.len == 0 || !(is_class || (is_own && !c->masquerade.limited)) ||
            is_listed(&c->masquerade.exposed_users, t.address.local) ||
            span_equal_nocase(given, c->masquerade.as))
                return 0;
        return change(&t, c->masquerade.as, option, ret);
}

/* ---- headers ---- */

static bool is_sender_field(struct span name)
{
        static const struct span names[] = {
                SPAN("From"),        SPAN("Sender"),        SPAN("Reply-To"),
                SPAN("Resent-From"), SPAN("Resent-Sender"), SPAN("Resent-Reply-To"),
                SPAN("Errors-To"),   SPAN("Return-Receipt-To"), SPAN("Disposition-Notification-To"),
        };

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                if (span_equal_nocase(name, names[i]))
                        return true;
        return false;
}

/* The octets of a list of mailboxes that may be one address: from `begin` to
 * `end` in the value. */
struct place {
        size_t begin, end;
};

/* Behind what begins at `i`: a quoted string, a comment, or text in two-octet
 * characters (ESC "$" … ESC "("), whose octets mean nothing here. */
static size_t skip_opaque(struct span v, size_t i)
{
        const char first = v.p[i];
        unsigned depth = 0;

        if (first == '\x1b') {
                for (i += 2; i + 1 < v.len; i++)
                        if (v.p[i] == '\x1b' && v.p[i + 1] == '(')
                                return i + 3 < v.len ? i + 3 : v.len;
                return v.len;
        }
        for (; i < v.len; i++) {
                if (v.p[i] == '\\')
                        i++;
                else if (first == '"' && v.p[i] == '"' && depth++)
                        return i + 1;
                else if (first == '(' && v.p[i] == '(')
                        depth++;
                else if (first == '(' && v.p[i] == ')' && --depth == 0)
                        return i + 1;
        }
        return v.len;
}

static bool is_opaque(struct span v, size_t i)
{
        return v.p[i] == '(' || v.p[i] == '"' ||
               (v.p[i] == '\x1b' && i + 1 < v.len && v.p[i + 1] == '$');
}

/* The next address: between "<" and ">", or a whole member of the list without
 * its comments. False at the end. `*at` moves on behind it. */
static bool next_place(struct span v, size_t *at, struct place *ret)
{
        struct place plain = {SIZE_MAX, 0};
        size_t i = *at;

        while (i < v.len) {
                const char c = v.p[i];

                if (is_opaque(v, i)) {
                        const size_t end = skip_opaque(v, i);

                        if (c == '"' && plain.begin == SIZE_MAX)
                                plain.begin = i;
                        if (c == '"')
                                plain.end = end;
                        i = end;
                        continue;
                }
                i++;
                if (c == '<') {
                        const size_t end = span_find(span_skip(v, i), '>');

                        if (end == SIZE_MAX)
                                return false;
                        *ret = (struct place) {i, i + end};
                        *at = i + end + 1;
                        return true;
                }
                if (c == ',' || c == ';' || c == ':') {
                        if (c != ':' && plain.begin != SIZE_MAX)
                                break;
                        plain = (struct place) {SIZE_MAX, 0};
                } else if (c != ' ' && c != '\t' && c != '\r' && c != '\n' && c != '>') {
                        if (plain.begin == SIZE_MAX)
                                plain.begin = i - 1;
                        plain.end = i;
                }
        }
        *at = i;
        *ret = plain;
        return plain.begin != SIZE_MAX;
}

struct rewrite {
        const struct config *config;
        const struct snapshot *snapshot;
        struct buffer *out;
        struct arena arena;
        unsigned changed;
};

/* The value with its addresses rewritten. */
static int put_value(struct rewrite *w, struct span value)
{
        struct masqueraded got;
        struct place place;
        size_t at = 0, copied = 0;
        int r = 0;

        while (r == 0 && next_place(value, &at, &place)) {
                const struct span given = span_trim(span_make(value.p + place.begin,
                                                              place.end - place.begin));

                arena_clear(&w->arena);
                r = masquerade_address(w->config, w->snapshot, given, &w->arena, &got);
                if (r <= 0)
                        continue;
                r = buffer_append(w->out, value.p + copied, (size_t) (given.p - value.p) - copied);
                if (r == 0)
                        r = buffer_append_span(w->out, got.address);
                copied = (size_t) (given.p + given.len - value.p);
                w->changed++;
        }
        return r < 0 ? r : buffer_append_span(w->out, span_skip(value, copied));
}

static int put_field(struct rewrite *w, const struct header_field *field)
{
        const size_t before = (size_t) (field->value.p - field->raw.p);
        int r;

        if (field->name.len == 0 || field->value.len > FIELD_VALUE_MAX ||
            !is_sender_field(field->name))
                return buffer_append_span(w->out, field->raw);
        r = buffer_append_span(w->out, span_first(field->raw, before));
        if (r == 0)
                r = put_value(w, field->value);
        if (r == 0)
                r = buffer_append_span(w->out, span_skip(field->raw, before + field->value.len));
        return r;
}

int masquerade_header(const struct config *c, const struct snapshot *s, struct span header,
                      struct buffer *out, unsigned *ret_changed)
{
        struct rewrite w = {.config = c, .snapshot = s, .out = out,
                            .arena = ARENA_INIT(FIELD_MEMORY_MAX)};
        struct header_scan scan = HEADER_SCAN(header, HEADER_SIZE_MAX, HEADER_FIELDS_MAX);
        const size_t before = out->len;
        struct header_field field;
        int r = 0, next;

        while (r == 0 && (next = header_next(&scan, &field)) != 0) {
                if (next < 0 && next != -EBADMSG)
                        r = next;
                else
                        r = put_field(&w, &field);
        }
        arena_done(&w.arena);
        if (r < 0 || w.changed == 0)
                out->len = before;
        *ret_changed = w.changed;
        return r < 0 ? r : w.changed > 0;
}
