#include "message/address_list.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/octets.h"

struct list {
        struct span rest;
        struct arena *arena;
        struct address_entry *entries;
        size_t count, room;
        char *text; /* the words being gathered, with a NUL where blanks were */
        size_t len;
        bool has_gap, has_text;
        struct span comment; /* the last one: "a@b (Name)" */
        bool is_broken, in_group;
};

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\0';
}

static void append(struct list *l, const struct address_entry *e)
{
        if (l->count == l->room) {
                const size_t room = l->room ? 2 * l->room : 4;
                struct address_entry *grown = arena_take(l->arena, room * sizeof *grown);

                if (!grown) {
                        l->is_broken = true;
                        return;
                }
                if (l->count)
                        memcpy(grown, l->entries, l->count * sizeof *grown);
                l->entries = grown;
                l->room = room;
        }
        l->entries[l->count++] = *e;
}

static void end_group(struct list *l)
{
        if (l->in_group)
                append(l, &(struct address_entry) {.kind = ADDRESS_GROUP_END});
        l->in_group = false;
}

/* Groups lie side by side, whatever was sent: one that begins ends the one
 * before, and what is not open does not end. */
static void add(struct list *l, const struct address_entry *e)
{
        if (e->kind != ADDRESS_MAILBOX)
                end_group(l);
        if (e->kind == ADDRESS_GROUP_END)
                return;
        append(l, e);
        l->in_group = l->in_group || e->kind == ADDRESS_GROUP_BEGIN;
}

/* Octets up to the mark that closes `open`, nested for comments; the text
 * without escapes is put into `out`, if there is one. Returns what was taken. */
static size_t take_quoted(struct span s, char close, char *out, size_t *ret_len)
{
        const char open = s.p[0];
        unsigned depth = 1;
        size_t i = 1, len = 0;

        for (; i < s.len; i++) {
                char c = s.p[i];

                if (c == '\\' && i + 1 < s.len)
                        c = s.p[++i];
                else if (c == close && --depth == 0)
                        break;
                else if (c == open && close == ')')
                        depth++;
                if (c != '\r' && c != '\n' && c != '\0')
                        out[len++] = c;
        }
        *ret_len = len;
        return i < s.len ? i + 1 : i;
}

static void begin_word(struct list *l)
{
        if (l->has_gap && l->len)
                l->text[l->len++] = '\0';
        l->has_gap = false;
        l->has_text = true;
}

static void put(struct list *l, struct span octets)
{
        begin_word(l);
        if (octets.len)
                memcpy(l->text + l->len, octets.p, octets.len);
        l->len += octets.len;
}

static void take_string(struct list *l)
{
        size_t len;

        begin_word(l);
        l->rest = span_skip(l->rest, take_quoted(l->rest, '"', l->text + l->len, &len));
        l->len += len;
}

static void take_comment(struct list *l)
{
        char *out = arena_alloc(l->arena, l->rest.len + 1);
        size_t len;

        if (!out) {
                l->is_broken = true;
                l->rest.len = 0;
                return;
        }
        l->rest = span_skip(l->rest, take_quoted(l->rest, ')', out, &len));
        l->comment = span_make(out, len);
        l->has_gap = true;
}

/* What was gathered, and nothing is gathered then: as a name, or as a part of an
 * address, where blanks between words mean nothing. */
static struct span take_text(struct list *l, bool is_name)
{
        struct span s = {NULL, 0};
        size_t len = 0;

        if (l->len && !memchr(l->text, '\0', l->len))
                len = l->len;
        for (size_t i = len; i < l->len; i++) {
                if (l->text[i])
                        l->text[len++] = l->text[i];
                else if (is_name)
                        l->text[len++] = ' ';
        }
        if (l->has_text) {
                s = arena_copy(l->arena, span_make(l->text, len));
                l->is_broken = l->is_broken || !s.p;
        }
        l->len = 0;
        l->has_text = l->has_gap = false;
        return s;
}

/* What has no meaning but itself anywhere in a list, as nearly all that comes. */
static octets16 not_ordinary(octets16 x)
{
        return octets_beyond_names(x) & ~octets_equal(x, '_');
}

static size_t ordinary_len(struct span s)
{
        return octets_until(s, not_ordinary);
}

/* Of ordinary octets, with single blanks between them. */
static bool is_plain_words(struct span s)
{
        size_t len;

        while ((len = ordinary_len(s)) > 0 && len < s.len && s.p[len] == ' ')
                s = span_skip(s, len + 1);
        return len > 0 && len == s.len;
}

/* "Some Name <local@domain>", "<local@domain>" or "local@domain" with nothing in it that has a
 * meaning, as nearly every list is: it stays where it lies. */
static bool take_plain(struct span value, struct address_entry *ret)
{
        struct span rest = span_trim(value), name = {NULL, 0};
        const size_t angle = span_find(rest, '<');
        size_t len;

        if (angle != SIZE_MAX) {
                if (rest.p[rest.len - 1] != '>')
                        return false;
                name = span_trim(span_first(rest, angle));
                if (name.len && !is_plain_words(name))
                        return false;
                rest = span_make(rest.p + angle + 1, rest.len - angle - 2);
        }
        len = ordinary_len(rest);
        if (len == 0 || len + 1 >= rest.len || rest.p[len] != '@' ||
            ordinary_len(span_skip(rest, len + 1)) != rest.len - len - 1)
                return false;
        *ret = (struct address_entry) {
                .kind = ADDRESS_MAILBOX,
                .name = name.len ? name : (struct span) {NULL, 0},
                .local = span_first(rest, len),
                .domain = span_skip(rest, len + 1),
        };
        return true;
}

/* Gathers words until one of the octets in `until`, which is not taken; '\0' at
 * the end. */
static char gather(struct list *l, const char *until)
{
        while (l->rest.len) {
                const char c = l->rest.p[0];
                const size_t len = ordinary_len(l->rest);

                if (len) {
                        put(l, span_first(l->rest, len));
                        l->rest = span_skip(l->rest, len);
                        continue;
                }
                if (c && strchr(until, c))
                        return c;
                if (c == '"') {
                        take_string(l);
                } else if (c == '(') {
                        take_comment(l);
                } else {
                        if (is_blank(c))
                                l->has_gap = true;
                        else
                                put(l, span_first(l->rest, 1));
                        l->rest = span_skip(l->rest, 1);
                }
        }
        return '\0';
}

/* A domain up to one of `until`; the "@" was taken. */
static struct span take_domain(struct list *l, const char *until)
{
        gather(l, until);
        return take_text(l, false);
}

/* Behind "<": a route is passed over (RFC 5322 section 4.4). */
static void take_angle(struct list *l, struct address_entry *e)
{
        char c;

        l->rest = span_skip(l->rest, 1);
        c = gather(l, "@>:,");
        while ((c == '@' && !l->has_text) || c == ':' || c == ',') {
                l->rest = span_skip(l->rest, 1);
                c = gather(l, c == '@' ? ":>," : "@>:,");
                if (c == ':' || c == ',')
                        take_text(l, false);
        }
        e->local = take_text(l, false);
        if (c == '@') {
                l->rest = span_skip(l->rest, 1);
                e->domain = take_domain(l, ">");
        }
        l->rest = span_skip(l->rest, 1);
        if (!e->local.p)
                e->local = SPAN_LITERAL("");
}

static void take_entry(struct list *l)
{
        struct address_entry e = {.kind = ADDRESS_MAILBOX};
        const char c = gather(l, "<@,:;");
        const bool is_name = c == '<' || c == ':';
        const struct span text = take_text(l, is_name);

        if (c == '<') {
                e.name = text;
                take_angle(l, &e);
                gather(l, ",;"); /* what follows has no meaning */
                take_text(l, false);
        } else if (c == '@') {
                l->rest = span_skip(l->rest, 1);
                e.local = text.p ? text : SPAN_LITERAL("");
                e.domain = take_domain(l, ",;<");
                gather(l, ",;");
                take_text(l, false);
        } else if (c == ':') {
                e.kind = ADDRESS_GROUP_BEGIN;
                e.name = text.p ? text : SPAN_LITERAL("");
                l->rest = span_skip(l->rest, 1);
                add(l, &e);
                l->comment.p = NULL;
                return;
        } else {
                e.local = text;
        }
        if (!e.name.p && l->comment.p && l->comment.len)
                e.name = l->comment;
        l->comment = (struct span) {NULL, 0};
        if (e.local.p)
                add(l, &e);
        if (l->rest.len && l->rest.p[0] == ';')
                add(l, &(struct address_entry) {.kind = ADDRESS_GROUP_END});
        l->rest = span_skip(l->rest, 1);
}

int address_list_parse(struct span value, struct arena *arena, struct address_entry **ret,
                       size_t *ret_count)
{
        struct list l = {.rest = value, .arena = arena};
        struct address_entry *plain = arena_take(arena, sizeof *plain);

        if (!plain)
                return -ENOMEM;
        if (take_plain(value, plain)) {
                *ret = plain;
                *ret_count = 1;
                return 0;
        }
        l.text = arena_take(arena, 2 * value.len + 2);
        if (!l.text)
                return -ENOMEM;
        while (l.rest.len && !l.is_broken && l.count < ADDRESS_LIST_MAX)
                take_entry(&l);
        end_group(&l);
        if (l.is_broken)
                return -ENOMEM;
        *ret = l.entries;
        *ret_count = l.count;
        return 0;
}
