/* From one address to all places it leads to: virtual users and aliases.
 *
 *              ┌──────────────── the address that takes its place ◄─┐
 *   address ──►│ virtusertable ──► aliases ──► each recipient ──────┘
 *              └──► neither, or an alias that names itself ──► routing_finish()
 *
 * `frames` are the names on the way to here: what comes up again is a loop. */
#include <errno.h>
#include <stdio.h>

#include "route/routing.h"

enum { WORK_MAX = 4 * ROUTES_MAX, LOOP_TEXT_MAX = 400, LIST_ROOM_FIRST = 4,
       QUEUED_TEXT_MAX = 400 };

static const struct span include = SPAN(":include:");

struct frame {
        const struct frame *up;
        struct span name; /* the canonical address, or ":include:/path" */
        struct span key;  /* of its row, which an agent is told */
        struct span list; /* its recipients, a line each */
};

/* A row of the aliases. */
struct alias {
        struct span key, list;
        uint32_t line;
};

struct expansion {
        const struct config *config;
        const struct snapshot *snapshot;
        struct arena *arena;
        struct route_list out;
        size_t room;
        unsigned work;       /* addresses looked at */
        bool is_too_many;
        bool has_loop;
        struct route loop; /* what to say when nothing else is left */
};

/* An address on its way. */
struct step {
        struct span text;
        const struct address *address; /* what the text is, where that is known; or NULL */
        struct span domain; /* what a missing one means; empty: our own */
        const struct frame *frame; /* the alias it comes from */
        const struct route_step *steps;
        bool is_final;   /* "\taro": no alias any more */
        bool no_virtual; /* it was one already */
        unsigned depth;
};

static int expand(struct expansion *x, struct step step);

static int add(struct expansion *x, const struct route *route)
{
        const size_t room = x->room ? 2 * x->room : LIST_ROOM_FIRST;
        struct route *items;

        if (x->out.count == ROUTES_MAX) {
                x->is_too_many = true;
                return 0;
        }
        if (x->out.count == x->room) {
                items = arena_alloc(x->arena, room * sizeof *items);
                if (!items)
                        return -ENOMEM;
                if (x->out.count)
                        memcpy(items, x->out.items, x->out.count * sizeof *items);
                x->out.items = items;
                x->room = room;
        }
        x->out.items[x->out.count++] = *route;
        return 0;
}

/* ---- loops ---- */

/* An address that leads back to itself says nothing new, as with sendmail; only
 * when nobody else is left is it an error, "staff -> all -> staff". */
static int note_loop(struct expansion *x, struct routing *t, const struct frame *from,
                     struct span name)
{
        struct buffer text = BUFFER_INIT(LOOP_TEXT_MAX);
        struct span names[ROUTE_DEPTH_MAX + 2];
        size_t count = 0;
        const struct frame *f;

        for (f = from; f && count < ROUTE_DEPTH_MAX; f = f->up) {
                names[count++] = f->name;
                if (span_equal(f->name, name))
                        break;
        }
        (void) buffer_append_string(&text, "Aliases go in a circle: ");
        while (count-- > 0) {
                (void) buffer_append_span(&text, names[count]);
                (void) buffer_append_string(&text, " -> ");
        }
        (void) buffer_append_span(&text, name);
        (void) routing_refuse(t, 554, "5.4.6", "");
        t->route.text = arena_copy(x->arena, buffer_span(&text));
        buffer_done(&text);
        x->loop = t->route;
        x->has_loop = true;
        return t->route.text.p ? 0 : -ENOMEM;
}

static const struct frame *find_frame(const struct frame *from, struct span name)
{
        while (from && !span_equal(from->name, name))
                from = from->up;
        return from;
}

/* ---- aliases ---- */

/* `ret->key` has no octets where there was no memory. */
static bool get_alias(const struct routing *t, struct span a, struct span b, struct span domain,
                      struct alias *ret)
{
        const struct span parts[] = {a, b, domain};
        char key[SNAPSHOT_KEY_MAX];
        size_t len = 0;

        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
                if (parts[i].len > sizeof key - len)
                        return false;
                if (parts[i].len)
                        memcpy(key + len, parts[i].p, parts[i].len);
                len += parts[i].len;
        }
        if (!len || key[0] == ':' || !snapshot_get(t->snapshot, SNAPSHOT_ALIASES,
                                                   span_make(key, len), &ret->list, &ret->line))
                return false;
        ret->key = arena_copy(t->arena, span_make(key, len));
        return true;
}

/* The narrowest first, with the domain before without. `canonical` is
 * local@domain in lower case. */
static bool find_alias(const struct routing *t, struct span canonical, struct alias *ret)
{
        const struct span none = {NULL, 0}, star = SPAN("+*");
        const size_t at = span_find_last(canonical, '@');
        const struct span local = span_first(canonical, at), domain = span_skip(canonical, at);
        const size_t plus = span_find(local, '+');
        const struct span name = span_first(local, plus);

        if (get_alias(t, local, none, domain, ret) || get_alias(t, local, none, none, ret))
                return true;
        if (plus == SIZE_MAX || plus == 0)
                return false;
        return get_alias(t, name, star, domain, ret) || get_alias(t, name, star, none, ret) ||
               get_alias(t, name, none, domain, ret) || get_alias(t, name, none, none, ret);
}

/* "owner-staff" is who is told of failures: the one it names, or itself where
 * it names several. */
static int find_owner(struct expansion *x, const struct routing *t, struct span canonical)
{
        const struct span request = SPAN("-request");
        const size_t at = span_find_last(canonical, '@');
        struct span name = span_first(canonical, at), owner;
        struct routing o = {.config = x->config, .snapshot = x->snapshot, .arena = x->arena};
        struct alias alias;
        int r;

        if (x->out.return_path.len)
                return 0;
        if (span_ends_with_nocase(name, request))
                name.len -= request.len;
        if (!get_alias(t, SPAN_LITERAL("owner-"), name, span_skip(canonical, at), &alias) &&
            !get_alias(t, SPAN_LITERAL("owner-"), name, (struct span) {NULL, 0}, &alias))
                return 0;
        owner = span_first(alias.list, span_find(alias.list, '\n'));
        if (owner.len && owner.p[0] == '\\')
                owner = span_skip(owner, 1);
        if (owner.len + 1 < alias.list.len || strchr(":|/", owner.p[0]))
                owner = routing_join(x->arena, SPAN_LITERAL("owner-"), name,
                                     (struct span) {NULL, 0});
        if (!owner.p)
                return -ENOMEM;
        if (address_parse(owner, true, &o.address) < 0)
                return 0;
        if (o.address.domain.len == 0)
                o.address.domain = span_skip(canonical, at + 1);
        r = routing_settle_domain(&o);
        if (r)
                return r < 0 ? r : 0;
        x->out.return_path = address_format(&o.address, x->arena);
        return x->out.return_path.p ? 0 : -ENOMEM;
}

/* "|program" or "/file": an agent sees to it when the message is delivered. The
 * next hop names the row and which of those in it, "agent:0:staff", never the
 * command. */
static int add_agent(struct expansion *x, const struct frame *frame, const struct step *from,
                     unsigned number)
{
        enum { KEY_MAX = 480 }; /* what a next hop has room for */
        struct routing t = {.config = x->config, .snapshot = x->snapshot, .arena = x->arena};
        char prefix[] = "agent:0000:";
        const struct frame *named = frame;

        while (named->up && named->name.p[0] == ':')
                named = named->up; /* of a list: the alias that includes it */
        t.route.kind = ROUTE_RELAY;
        t.route.rule = SPAN_LITERAL("aliases");
        t.route.origin = from->steps->origin;
        t.route.steps = from->steps;
        t.route.rcpt_to = named->name;
        t.route.is_ours = true;
        for (size_t i = 9; number; i--, number /= 10)
                prefix[i] = (char) ('0' + number % 10);
        if (frame->key.len > KEY_MAX) {
                (void) routing_refuse(&t, 550, "5.3.5", "The alias's name is too long for a "
                                      "program");
                return add(x, &t.route);
        }
        t.route.next_hop = routing_join(x->arena, span_from_string(prefix), frame->key,
                                        (struct span) {NULL, 0});
        return frame->key.p && t.route.next_hop.p ? add(x, &t.route) : -ENOMEM;
}

/* Each recipient of a list. */
static int expand_list(struct expansion *x, const struct frame *frame, const struct step *from,
                       struct span domain)
{
        struct span rest = frame->list, word;
        unsigned agents = 0;
        int r = 0;

        while (r == 0 && !x->is_too_many && rest.len && span_split(&rest, '\n', &word)) {
                struct step step = {.text = word, .domain = domain, .frame = frame,
                                    .steps = from->steps, .depth = from->depth + 1};

                if (word.len == 0)
                        continue;
                if (word.p[0] == '|' || word.p[0] == '/') {
                        r = add_agent(x, frame, from, agents++);
                        continue;
                }
                if (word.p[0] == '\\') {
                        step.is_final = true;
                        step.text = span_skip(word, 1);
                }
                r = expand(x, step);
        }
        return r;
}

/* The recipients as one text, for people: "taro, hanako, …". */
static struct span list_text(struct arena *arena, struct span list)
{
        enum { SHOWN = 100 };
        struct span shown = arena_copy(arena, span_first(list, SHOWN));
        char *p = (char *) (uintptr_t) shown.p;

        for (size_t i = 0; p && i < shown.len; i++)
                if (p[i] == '\n')
                        p[i] = i + 1 == shown.len ? ' ' : ',';
        return shown.len < SHOWN ? span_trim(shown) : shown;
}

static int use_alias(struct expansion *x, struct routing *t, struct step *step, struct span name,
                     const struct alias *alias)
{
        const struct frame frame = {.up = step->frame, .name = name, .key = alias->key,
                                    .list = alias->list};
        const size_t at = span_find_last(name, '@');
        const struct span next = list_text(x->arena, alias->list);
        int r = next.p ? routing_add_step(t, SPAN_LITERAL("aliases"), t->route.origin, next)
                       : -ENOMEM;

        if (r < 0)
                return r;
        step->steps = t->route.steps;
        return expand_list(x, &frame, step,
                           at == SIZE_MAX ? step->domain : span_skip(name, at + 1));
}

/* A file that an alias names: a list under the name of its path. */
static int expand_include(struct expansion *x, struct routing *t, struct step *step)
{
        struct alias alias = {.key = step->text};

        t->route.origin = routing_join(x->arena, span_skip(step->text, include.len),
                                       (struct span) {NULL, 0}, (struct span) {NULL, 0});
        if (!t->route.origin.p)
                return -ENOMEM;
        if (find_frame(step->frame, step->text))
                return note_loop(x, t, step->frame, step->text);
        if (!snapshot_get(x->snapshot, SNAPSHOT_ALIASES, step->text, &alias.list, &alias.line)) {
                (void) routing_refuse(t, 451, "4.3.5", "A list that an alias includes is missing");
                return add(x, &t->route);
        }
        return use_alias(x, t, step, step->text, &alias);
}

/* ---- one address ---- */

/* Does the name mean something in this domain, as alias or user? */
static int is_known(struct routing *t)
{
        const struct span canonical = address_canonical(&t->address, t->arena);
        struct alias alias;

        if (!canonical.p)
                return -ENOMEM;
        if (find_alias(t, canonical, &alias))
                return 1;
        return routing_find_user(t);
}

/* A name without a domain, in an alias: in the domain that was addressed, if
 * it is known there ("\\name": has a mailbox), else in our own. 1: refused,
 * -ENOMEM. */
static int settle(struct routing *t, const struct step *step)
{
        const struct span own = routing_own_domain(t->config);
        int r;

        if (t->address.domain.len || step->domain.len == 0 ||
            span_equal_nocase(step->domain, own))
                return routing_settle_domain(t);
        t->address.domain = step->domain;
        r = routing_settle_domain(t);
        if (r == 0 && t->is_local) {
                struct routing look = *t;

                r = step->is_final ? routing_find_user(&look) : is_known(&look);
                if (r)
                        return r < 0 ? r : 0;
        }
        t->address.domain = own;
        return routing_settle_domain(t);
}

/* 1: it was one, and all is done; 0; -ENOMEM. */
static int try_virtual(struct expansion *x, struct routing *t, struct step *step)
{
        struct span target;
        uint32_t line;
        int r = routing_virtual(t, &target, &line);

        if (r <= 0)
                return r;
        t->route.rule = SPAN_LITERAL("virtusertable");
        t->route.origin = routing_table_origin(t, SNAPSHOT_VIRTUSERTABLE, line);
        t->route.is_ours = true;
        if (!t->route.origin.p)
                return -ENOMEM;
        if (target.len == 0) {
                r = add(x, &t->route);
                return r < 0 ? r : 1;
        }
        r = routing_add_step(t, t->route.rule, t->route.origin, target);
        if (r == 0)
                r = expand(x, (struct step) {.text = target, .domain = t->address.domain,
                                             .frame = step->frame, .steps = t->route.steps,
                                             .no_virtual = span_equal_nocase(
                                                     target, t->route.rcpt_to),
                                             .depth = step->depth + 1});
        return r < 0 ? r : 1;
}

/* The alias names itself, which means the mailbox of that name: where the domain
 * that was addressed has none, that of our own domain. */
static int settle_mailbox(struct routing *t, const struct step *step)
{
        struct routing look = *t;
        int r = span_find(step->text, '@') == SIZE_MAX ? routing_find_user(&look) : 1;

        if (r)
                return r < 0 ? r : 0;
        t->address.domain = routing_own_domain(t->config);
        r = routing_settle_domain(t);
        if (r == 0)
                t->route.rcpt_to = address_format(&t->address, t->arena);
        return r < 0 || !t->route.rcpt_to.p ? -ENOMEM : 0;
}

/* 1: it was one, and all is done; 0; -ENOMEM. */
static int try_alias(struct expansion *x, struct routing *t, struct step *step)
{
        const struct span canonical = address_canonical(&t->address, t->arena);
        const struct frame *frame;
        struct alias alias;
        int r;

        if (!canonical.p)
                return -ENOMEM;
        if (!find_alias(t, canonical, &alias))
                return 0;
        frame = find_frame(step->frame, canonical);
        if (frame && frame == step->frame)
                return settle_mailbox(t, step);
        t->route.rule = SPAN_LITERAL("aliases");
        t->route.origin = routing_table_origin(t, SNAPSHOT_ALIASES, alias.line);
        if (!t->route.origin.p)
                return -ENOMEM;
        t->route.is_ours = true;
        r = frame ? note_loop(x, t, step->frame, canonical) : find_owner(x, t, canonical);
        if (r == 0 && !frame)
                r = use_alias(x, t, step, canonical, &alias);
        return r < 0 ? r : 1;
}

/* A mailbox here whose user may have a .forward: an agent reads it first, and
 * says where the message goes. */
static int heed_forward(struct expansion *x, struct routing *t)
{
        const struct span account = t->route.account;

        if (!x->config->agent.forward || t->route.kind != ROUTE_LOCAL ||
            !span_equal(t->route.rule, SPAN_LITERAL("local user")))
                return 0;
        t->route.kind = ROUTE_RELAY;
        t->route.next_hop = routing_join(x->arena, SPAN_LITERAL("agent:0000::forward:"),
                                         span_first(account, span_find_last(account, '@')),
                                         (struct span) {NULL, 0});
        return t->route.next_hop.p ? 0 : -ENOMEM;
}

static int expand_parsed(struct expansion *x, struct routing *t, struct step *step)
{
        /* A bare name within a table is a local one, as it is to sendmail. */
        const bool is_bare = step->depth && t->address.domain.len == 0;
        int r = settle(t, step);

        if (r != 0)
                return r < 0 ? r : add(x, &t->route);
        t->route.rcpt_to = address_format(&t->address, x->arena);
        if (!t->route.rcpt_to.p)
                return -ENOMEM;
        if (step->depth == 0) {
                x->out.rcpt_to = t->route.rcpt_to;
                x->out.is_ours = t->is_local || (!t->address.is_literal && routing_is_relay_domain(
                                                      x->snapshot, t->address.domain));
        }
        if (!step->is_final && !step->no_virtual && !is_bare && !t->address.is_literal &&
            (t->is_local || routing_is_relay_domain(x->snapshot, t->address.domain)))
                r = try_virtual(x, t, step);
        if (r == 0 && !step->is_final && t->is_local &&
            snapshot_count(x->snapshot, SNAPSHOT_ALIASES))
                r = try_alias(x, t, step);
        if (r)
                return r < 0 ? r : 0;
        r = routing_finish(t);
        if (r == 0 && !step->is_final)
                r = heed_forward(x, t);
        if (r < 0)
                return r;
        if (step->depth == 0)
                x->out.is_ours |= t->route.is_ours;
        return add(x, &t->route);
}

static int expand(struct expansion *x, struct step step)
{
        struct routing t = {.config = x->config, .snapshot = x->snapshot, .arena = x->arena};

        t.route.rcpt_to = step.text;
        t.route.steps = step.steps;
        if (x->is_too_many || ++x->work > WORK_MAX) {
                x->is_too_many = true;
                return 0;
        }
        if (step.depth > ROUTE_DEPTH_MAX) {
                (void) routing_refuse(&t, 554, "5.4.6", "Too many aliases behind one another");
                return add(x, &t.route);
        }
        if (step.address) {
                t.address = *step.address;
                return expand_parsed(x, &t, &step);
        }
        if (span_starts_with_nocase(step.text, include))
                return expand_include(x, &t, &step);
        if (address_parse(step.text, true, &t.address) < 0) {
                (void) routing_refuse(&t, 553, "5.1.3", "Not a mailbox address");
                return add(x, &t.route);
        }
        return expand_parsed(x, &t, &step);
}

/* ---- the whole ---- */

static int keep_one(struct expansion *x, const struct route *route)
{
        x->out.count = 0;
        return add(x, route);
}

static int keep_error(struct expansion *x, const char *enhanced, const char *text)
{
        return keep_one(x, &(struct route) {
                .kind = ROUTE_ERROR, .code = 554, .enhanced = span_from_string(enhanced),
                .text = span_from_string(text), .rule = SPAN("aliases"), .origin = SPAN("default"),
                .rcpt_to = x->out.rcpt_to});
}

/* "error:550 5.1.1 text": what the queue returns to the sender. */
static int queue_error(struct expansion *x, struct route *route)
{
        char code[16];
        struct span head;

        if (route->text.len > QUEUED_TEXT_MAX)
                route->text.len = QUEUED_TEXT_MAX;
        snprintf(code, sizeof code, "error:%u ", route->code);
        head = routing_join(x->arena, span_from_string(code), route->enhanced, SPAN_LITERAL(" "));
        if (!head.p)
                return -ENOMEM;
        route->kind = ROUTE_RELAY;
        route->next_hop = routing_join(x->arena, head, route->text, (struct span) {NULL, 0});
        return route->next_hop.p ? 0 : -ENOMEM;
}

static int settle_errors(struct expansion *x)
{
        struct route *items = x->out.items;
        size_t errors = 0;
        int r = 0;

        for (size_t i = 0; i < x->out.count; i++)
                errors += items[i].kind == ROUTE_ERROR;
        if (errors == x->out.count)
                return keep_one(x, &(struct route) {
                        .kind = ROUTE_ERROR, .code = items[0].code, .enhanced = items[0].enhanced,
                        .text = items[0].text, .rule = items[0].rule, .origin = items[0].origin,
                        .rcpt_to = items[0].rcpt_to, .is_ours = x->out.is_ours,
                        .steps = items[0].steps});
        for (size_t i = 0; r == 0 && i < x->out.count; i++)
                if (items[i].kind == ROUTE_ERROR)
                        r = queue_error(x, &items[i]);
        return r;
}

/* postmaster is reached whatever an alias says (RFC 5321 section 4.5.1). */
static int rescue_postmaster(struct expansion *x, struct span rcpt_to)
{
        struct expansion again = {.config = x->config, .snapshot = x->snapshot,
                                  .arena = x->arena};
        struct route *route = &x->out.items[0];
        struct address address;
        int r;

        if (route->kind != ROUTE_ERROR || !route->steps || route->code < 500 ||
            address_parse(rcpt_to, true, &address) < 0 ||
            !span_equal_nocase(address.local, SPAN_LITERAL("postmaster")))
                return 0;
        r = expand(&again, (struct step) {.text = rcpt_to, .is_final = true});
        if (r == 0) {
                again.out.rcpt_to = x->out.rcpt_to;
                x->out = again.out;
        }
        return r;
}

int route_expand(const struct config *c, const struct snapshot *s, struct span rcpt_to,
                 const struct address *address, struct arena *arena, struct route_list *ret_list)
{
        struct expansion x = {.config = c, .snapshot = s, .arena = arena,
                              .out.rcpt_to = rcpt_to};
        struct routing t = {.config = c, .arena = arena};
        struct address parsed;
        int r;

        t.route.rcpt_to = rcpt_to;
        /* "example.jp." is no Domain in mail, but what it means is plain. */
        if (rcpt_to.len && rcpt_to.p[rcpt_to.len - 1] == '.' && span_find(rcpt_to, '@') != SIZE_MAX)
                rcpt_to.len--;
        if (!address && address_parse(rcpt_to, true, &parsed) < 0) {
                (void) routing_refuse(&t, 553, "5.1.3", "Not a mailbox address");
                r = add(&x, &t.route);
        } else if (!s) {
                (void) routing_refuse(&t, 451, "4.3.0", "Tables are not loaded yet");
                r = add(&x, &t.route);
        } else {
                r = expand(&x, (struct step) {.text = rcpt_to,
                                              .address = address ? address : &parsed});
        }
        if (r == 0 && x.is_too_many)
                r = keep_error(&x, "5.3.4", "The alias has too many recipients");
        else if (r == 0 && x.out.count == 0 && x.has_loop)
                r = keep_one(&x, &x.loop);
        else if (r == 0 && x.out.count == 0)
                r = keep_error(&x, "5.1.1", "The alias leads to nobody");
        if (r == 0)
                r = settle_errors(&x);
        if (r == 0 && s)
                r = rescue_postmaster(&x, rcpt_to);
        for (size_t i = 0; r == 0 && i < x.out.count; i++)
                x.out.items[i].is_ours = x.out.is_ours;
        if (r == 0)
                *ret_list = x.out;
        return r;
}
