/* LIST with RFC 5258 (LIST-EXTENDED), 5819 (LIST-STATUS), 6154 (SPECIAL-USE),
 * 3348 (CHILDREN), and LSUB of RFC 3501. */
#include <stdlib.h>

#include "wire/imap/imap_server_engine.h"
#include "wire/imap/mailbox_name.h"

struct list {
        bool is_lsub;
        bool only_subscribed, only_special, is_recursive;
        bool wants_subscribed, wants_children, wants_special;
        unsigned status_items;
        struct span reference;
        struct span *patterns;
        size_t pattern_count;
};

static bool parse_selection(struct imap_parser *p, struct list *l)
{
        bool has_base;

        if (imap_parse_char(p, ')'))
                return true;
        do {
                if (imap_parse_word(p, SPAN_LITERAL("SUBSCRIBED")))
                        l->only_subscribed = true;
                else if (imap_parse_word(p, SPAN_LITERAL("SPECIAL-USE")))
                        l->only_special = true;
                else if (imap_parse_word(p, SPAN_LITERAL("RECURSIVEMATCH")))
                        l->is_recursive = true;
                else if (!imap_parse_word(p, SPAN_LITERAL("REMOTE")))
                        return false;
        } while (imap_parse_space(p));
        has_base = l->only_subscribed || l->only_special;
        return imap_parse_char(p, ')') && (!l->is_recursive || has_base);
}

static bool parse_return(struct imap_parser *p, struct list *l)
{
        if (!imap_parse_word(p, SPAN_LITERAL("RETURN")) || !imap_parse_space(p)
            || !imap_parse_char(p, '('))
                return false;
        if (imap_parse_char(p, ')'))
                return true;
        do {
                if (imap_parse_word(p, SPAN_LITERAL("SUBSCRIBED"))) {
                        l->wants_subscribed = true;
                } else if (imap_parse_word(p, SPAN_LITERAL("CHILDREN"))) {
                        l->wants_children = true;
                } else if (imap_parse_word(p, SPAN_LITERAL("SPECIAL-USE"))) {
                        l->wants_special = true;
                } else if (!imap_parse_word(p, SPAN_LITERAL("STATUS")) || !imap_parse_space(p)
                           || !imap_server_parse_status_items(p, &l->status_items)) {
                        return false;
                }
        } while (imap_parse_space(p));
        return imap_parse_char(p, ')');
}

static bool add_pattern(struct imap_parser *p, struct list *l)
{
        struct span raw, name;
        char *joined;

        if (l->pattern_count == IMAP_SERVER_LIST_PATTERNS_MAX || !imap_parse_list_mailbox(p, &raw)
            || !imap_parse_decode_name(p, raw, &name))
                return false;
        joined = arena_alloc(p->arena, l->reference.len + name.len + 1);
        if (!joined)
                return false;
        if (l->reference.len)
                memcpy(joined, l->reference.p, l->reference.len);
        if (name.len)
                memcpy(joined + l->reference.len, name.p, name.len);
        l->patterns[l->pattern_count++] = span_make(joined, l->reference.len + name.len);
        return true;
}

static bool parse_patterns(struct imap_parser *p, struct list *l)
{
        l->patterns = arena_alloc(p->arena, IMAP_SERVER_LIST_PATTERNS_MAX * sizeof *l->patterns);
        if (!l->patterns)
                return false;
        if (l->is_lsub || !imap_parse_char(p, '('))
                return add_pattern(p, l);
        do {
                if (!add_pattern(p, l))
                        return false;
        } while (imap_parse_space(p));
        return imap_parse_char(p, ')');
}

static bool parse_list(struct imap_parser *p, struct list *l)
{
        struct span raw;

        if (!imap_parse_space(p))
                return false;
        if (!l->is_lsub && imap_parse_char(p, '(')
            && (!parse_selection(p, l) || !imap_parse_space(p)))
                return false;
        if (!imap_parse_astring(p, &raw) || !imap_parse_decode_name(p, raw, &l->reference)
            || !imap_parse_space(p) || !parse_patterns(p, l))
                return false;
        if (!l->is_lsub && imap_parse_space(p) && !parse_return(p, l))
                return false;
        return imap_parse_end(p);
}

/* ---- answers ----------------------------------------------------------------- */

static bool is_below(struct span name, struct span parent)
{
        return name.len > parent.len && name.p[parent.len] == '/'
               && span_equal(span_first(name, parent.len), parent);
}

struct below {
        bool any, subscribed, special;
};

/* Mailboxes come in any order; with 10,000 of them the square is too much, so
 * the sorted names tell what lies below one. */
static struct below look_below(const struct imap_mailbox *const *sorted, size_t count, size_t at)
{
        struct below b = {false, false, false};

        for (size_t i = at + 1; i < count; i++) {
                if (!is_below(sorted[i]->name, sorted[at]->name))
                        break;
                b.any = b.any || !sorted[i]->is_missing;
                b.subscribed = b.subscribed || sorted[i]->is_subscribed;
                b.special = b.special || sorted[i]->special_use;
        }
        return b;
}

static void put_word(struct imap_server *s, const char **gap, const char *word)
{
        imap_server_put(s, *gap);
        imap_server_put(s, word);
        *gap = " ";
}

static void put_uses(struct imap_server *s, const char **gap, unsigned use)
{
        static const char *const names[] = {"\\All", "\\Archive", "\\Drafts", "\\Flagged",
                                            "\\Junk", "\\Sent", "\\Trash"};

        for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
                if (use >> i & 1)
                        put_word(s, gap, names[i]);
}

static bool matches(const struct list *l, struct span name)
{
        for (size_t i = 0; i < l->pattern_count; i++)
                if (mailbox_name_matches(name, l->patterns[i]))
                        return true;
        return false;
}

static bool is_selected(const struct list *l, const struct imap_mailbox *m)
{
        return (!l->only_subscribed || m->is_subscribed) && (!l->only_special || m->special_use)
               && (!m->is_missing || l->only_subscribed || l->is_lsub);
}

static void put_mailbox(struct imap_server *s, const struct list *l, const struct imap_mailbox *m,
                        struct below below)
{
        const char *gap = "";
        const bool is_child_only = !is_selected(l, m);

        imap_server_put(s, l->is_lsub ? "* LSUB (" : "* LIST (");
        if (m->is_missing)
                put_word(s, &gap, l->is_lsub ? "\\Noselect" : "\\NonExistent");
        put_word(s, &gap, below.any ? "\\HasChildren" : "\\HasNoChildren");
        if (!l->is_lsub && m->is_subscribed && (l->wants_subscribed || l->only_subscribed))
                put_word(s, &gap, "\\Subscribed");
        put_uses(s, &gap, m->special_use);
        imap_server_put(s, ") \"/\" ");
        imap_server_put_mailbox(s, m->name);
        if (l->is_recursive && ((l->only_subscribed && below.subscribed) || is_child_only))
                imap_server_put(s, l->only_subscribed ? " (\"CHILDINFO\" (\"SUBSCRIBED\"))"
                                                      : " (\"CHILDINFO\" (\"SPECIAL-USE\"))");
        imap_server_put(s, "\r\n");
        if (l->status_items && !m->is_missing && !is_child_only)
                imap_server_put_status(s, m, l->status_items);
}

/* By levels: "/" comes before all else, so that what lies below a name follows
 * it at once. */
static int by_name(const void *a, const void *b)
{
        const struct span x = (*(const struct imap_mailbox *const *) a)->name;
        const struct span y = (*(const struct imap_mailbox *const *) b)->name;
        const size_t len = x.len < y.len ? x.len : y.len;

        for (size_t i = 0; i < len; i++) {
                const int c = x.p[i] == '/' ? 0 : (unsigned char) x.p[i];
                const int d = y.p[i] == '/' ? 0 : (unsigned char) y.p[i];

                if (c != d)
                        return c - d;
        }
        return x.len < y.len ? -1 : x.len > y.len;
}

static void answered_list(struct imap_server *s, const struct imap_answer *a)
{
        const struct list *l = s->work_state;
        const struct imap_mailbox **sorted;

        if (a->result != IMAP_OK) {
                imap_server_finish_answer(s, a);
                return;
        }
        sorted = arena_alloc(&s->arena, (a->mailbox_count + 1) * sizeof *sorted);
        if (!sorted) {
                imap_server_no(s, "LIMIT", "Too many mailboxes");
                return;
        }
        for (size_t i = 0; i < a->mailbox_count; i++)
                sorted[i] = &a->mailboxes[i];
        if (a->mailbox_count)
                qsort(sorted, a->mailbox_count, sizeof(struct imap_mailbox *), by_name);
        for (size_t i = 0; i < a->mailbox_count; i++) {
                const struct below below = look_below(sorted, a->mailbox_count, i);
                const bool has_child = l->is_recursive
                                       && ((l->only_subscribed && below.subscribed)
                                           || (l->only_special && below.special));

                if (matches(l, sorted[i]->name) && (is_selected(l, sorted[i]) || has_child))
                        put_mailbox(s, l, sorted[i], below);
        }
        imap_server_ok(s);
}

static void run(struct imap_server *s, struct imap_parser *p, struct imap_event *ev, bool is_lsub)
{
        struct list *l = arena_alloc(&s->arena, sizeof *l);

        if (l)
                l->is_lsub = l->only_subscribed = is_lsub;
        if (!l || !parse_list(p, l)) {
                imap_server_bad(s, "Say LIST reference pattern");
                return;
        }
        /* The empty pattern asks for the delimiter (RFC 9051 section 6.3.9). */
        if (l->pattern_count == 1 && l->patterns[0].len == l->reference.len
            && !l->only_special && (!l->only_subscribed || is_lsub)) {
                imap_server_put(s, is_lsub ? "* LSUB (\\Noselect) \"/\" \"\"\r\n"
                                           : "* LIST (\\Noselect) \"/\" \"\"\r\n");
                imap_server_ok(s);
                return;
        }
        imap_server_want_status(ev, l->status_items);
        s->work_state = l;
        imap_server_wait(s, ev, IMAP_EVENT_LIST, answered_list);
}

IMAP_COMMAND_FUNCTION(list)
{
        run(s, p, ev, false);
}

IMAP_COMMAND_FUNCTION(lsub)
{
        run(s, p, ev, true);
}
