/* STORE, COPY, MOVE, EXPUNGE (RFC 9051 sections 6.4.6 to 6.4.8, 6.4.3). */
#include "wire/imap/imap_server_engine.h"

struct change {
        struct imap_store store;
        struct imap_range *uids;
        size_t uid_count;
        bool is_silent;
};

/* " (UNCHANGEDSINCE n)", RFC 7162 section 3.1.3. */
static bool parse_unchanged_since(struct imap_server *s, struct imap_parser *p,
                                  struct imap_store *st)
{
        if (!imap_parse_char(p, '('))
                return true;
        st->has_unchanged_since = true;
        s->enabled |= IMAP_ENABLED_CONDSTORE;
        return imap_parse_word(p, SPAN_LITERAL("UNCHANGEDSINCE")) && imap_parse_space(p)
               && imap_parse_number(p, INT64_MAX, &st->unchanged_since) && imap_parse_char(p, ')')
               && imap_parse_space(p);
}

static bool parse_store(struct imap_server *s, struct imap_parser *p, struct imap_set *set,
                        struct change *c)
{
        struct imap_flags f;

        if (!imap_parse_space(p) || !imap_parse_set(p, set) || !imap_parse_space(p)
            || !parse_unchanged_since(s, p, &c->store))
                return false;
        if (imap_parse_char(p, '+'))
                c->store.mode = IMAP_STORE_ADD;
        else if (imap_parse_char(p, '-'))
                c->store.mode = IMAP_STORE_REMOVE;
        if (imap_parse_word(p, SPAN_LITERAL("FLAGS.SILENT")))
                c->is_silent = true;
        else if (!imap_parse_word(p, SPAN_LITERAL("FLAGS")))
                return false;
        if (!imap_parse_space(p) || !imap_parse_flags(p, true, &f) || !imap_parse_end(p))
                return false;
        c->store.flags = f.flags;
        c->store.keywords = f.keywords;
        c->store.keyword_count = f.keyword_count;
        return true;
}

/* The bits of the keywords named, by a view's table. */
static uint32_t keyword_bits(const struct imap_view *v, const struct imap_store *st)
{
        uint32_t bits = 0;

        for (size_t i = 0; i < st->keyword_count; i++)
                for (unsigned k = 0; k < v->keyword_count; k++)
                        if (span_equal_nocase(st->keywords[i], v->keywords[k]))
                                bits |= (uint32_t) 1 << k;
        return bits;
}

static uint32_t apply(enum imap_store_mode mode, uint32_t old, uint32_t bits)
{
        if (mode == IMAP_STORE_ADD)
                return old | bits;
        return mode == IMAP_STORE_REMOVE ? old & ~bits : bits;
}

/* The client knows what a silent change did, unless another one came between. */
static void tell_stored(struct imap_server *s, const struct change *c)
{
        const struct imap_view *v = s->newest ? s->newest : s->view;
        struct imap_cursor cursor = IMAP_CURSOR(s->view, c->uids, c->uid_count);
        const uint32_t bits = keyword_bits(v, &c->store);
        struct imap_finger finger = {0};
        const struct imap_message *old;
        size_t index;

        while ((old = imap_cursor_next(&cursor, &index))) {
                const struct imap_message *m = imap_view_forward(v, &finger, old->uid);
                bool is_known;

                if (!m)
                        continue;
                is_known = c->is_silent
                           && m->flags == apply(c->store.mode, old->flags, c->store.flags)
                           && m->keywords == apply(c->store.mode, old->keywords, bits);
                if (is_known && !(s->enabled & IMAP_ENABLED_CONDSTORE))
                        continue;
                imap_server_put_change(s, index, m, v, is_known);
        }
        s->told = c->uids;
        s->told_count = c->uid_count;
}

static void answered_store(struct imap_server *s, const struct imap_answer *a)
{
        const struct change *c = s->work_state;

        if (a->result != IMAP_OK) {
                imap_server_finish_answer(s, a);
                return;
        }
        tell_stored(s, c);
        if (a->uid_count == 0) {
                imap_server_ok(s);
                return;
        }
        /* The numbers of MODIFIED are those the client used (section 3.1.3). */
        {
                struct imap_uid_list numbers = {0};
                struct imap_cursor cursor = IMAP_CURSOR(s->view, a->uids, a->uid_count);
                const struct imap_message *m;
                size_t index;

                while (!s->is_uid && (m = imap_cursor_next(&cursor, &index)))
                        if (!imap_uid_list_add(&numbers, &s->arena, (uint32_t) index + 1))
                                s->is_broken = true;
                imap_server_begin_tagged(s, IMAP_OK);
                imap_server_put(s, "[MODIFIED ");
                if (s->is_uid)
                        imap_server_put_ranges(s, a->uids, a->uid_count);
                else
                        imap_server_put_ranges(s, numbers.ranges, numbers.count);
                imap_server_put(s, "] ");
                imap_server_end_tagged(s, "Some had changed");
        }
}

IMAP_COMMAND_FUNCTION(store)
{
        struct change *c = arena_alloc(&s->arena, sizeof *c);
        struct imap_set set;

        if (!c || !parse_store(s, p, &set, c)
            || !imap_server_resolve(s, &set, s->is_uid, &c->uids, &c->uid_count)) {
                imap_server_bad(s, "Say STORE set [+-]FLAGS[.SILENT] (flags)");
                return;
        }
        if (s->is_read_only) {
                imap_server_no(s, "READ-ONLY", "The mailbox is open for reading only");
                return;
        }
        if (c->uid_count == 0) {
                imap_server_ok(s);
                return;
        }
        ev->store = c->store;
        ev->uids = c->uids;
        ev->uid_count = c->uid_count;
        s->work_state = c;
        imap_server_wait(s, ev, IMAP_EVENT_STORE, answered_store);
}

/* ---- COPY and MOVE ----------------------------------------------------------- */

static void put_copyuid(struct imap_server *s, const struct imap_answer *a)
{
        imap_server_put(s, "[COPYUID ");
        imap_server_put_number(s, a->uid_validity);
        imap_server_put(s, " ");
        imap_server_put_ranges(s, a->source_uids, a->source_uid_count);
        imap_server_put(s, " ");
        imap_server_put_ranges(s, a->uids, a->uid_count);
        imap_server_put(s, "] ");
}

static void answered_copy(struct imap_server *s, const struct imap_answer *a)
{
        if (a->result != IMAP_OK || a->uid_count == 0) {
                imap_server_finish_answer(s, a);
                return;
        }
        imap_server_begin_tagged(s, IMAP_OK);
        put_copyuid(s, a);
        imap_server_end_tagged(s, "Copied");
}

/* COPYUID comes before the EXPUNGEs (RFC 6851 section 4.3). */
static void answered_move(struct imap_server *s, const struct imap_answer *a)
{
        if (a->result == IMAP_OK && a->uid_count) {
                imap_server_put(s, "* OK ");
                put_copyuid(s, a);
                imap_server_put(s, "Moved\r\n");
        }
        imap_server_finish_answer(s, a);
}

static void copy(struct imap_server *s, struct imap_parser *p, struct imap_event *ev, bool is_move)
{
        struct imap_range *uids;
        struct imap_set set;

        if (!imap_parse_space(p) || !imap_parse_set(p, &set) || !imap_parse_space(p)
            || !imap_parse_mailbox(p, &ev->mailbox) || !imap_parse_end(p)
            || !imap_server_resolve(s, &set, s->is_uid, &uids, &ev->uid_count)) {
                imap_server_bad(s, "Say COPY set mailbox");
                return;
        }
        ev->uids = uids;
        if (is_move && s->is_read_only)
                imap_server_no(s, "READ-ONLY", "The mailbox is open for reading only");
        else if (ev->uid_count == 0)
                imap_server_ok(s);
        else if (is_move)
                imap_server_wait(s, ev, IMAP_EVENT_MOVE, answered_move);
        else
                imap_server_wait(s, ev, IMAP_EVENT_COPY, answered_copy);
}

IMAP_COMMAND_FUNCTION(copy)
{
        copy(s, p, ev, false);
}

IMAP_COMMAND_FUNCTION(move)
{
        copy(s, p, ev, true);
}

/* ---- EXPUNGE ----------------------------------------------------------------- */

static void answered_expunge(struct imap_server *s, const struct imap_answer *a)
{
        if (a->result == IMAP_OK && (s->enabled & IMAP_ENABLED_QRESYNC)) {
                const struct imap_view *v = s->newest ? s->newest : s->view;

                imap_server_begin_tagged(s, IMAP_OK);
                imap_server_put(s, "[HIGHESTMODSEQ ");
                imap_server_put_number(s, s->newest ? v->highest_modseq : s->view->highest_modseq);
                imap_server_put(s, "] ");
                imap_server_end_tagged(s, "Expunged");
                return;
        }
        imap_server_finish_answer(s, a);
}

/* Those of the set, or all, that the client knows to be deleted. */
static bool find_deleted(struct imap_server *s, const struct imap_range *r, size_t count,
                         struct imap_uid_list *ret)
{
        struct imap_cursor c = IMAP_CURSOR(s->view, r, count);
        struct imap_finger finger = {0};
        const struct imap_message *m;

        while ((m = imap_cursor_next(&c, NULL))) {
                const struct imap_message *now =
                        s->newest ? imap_view_forward(s->newest, &finger, m->uid) : m;

                if (now && (now->flags & IMAP_FLAG_DELETED)
                    && !imap_uid_list_add(ret, &s->arena, m->uid))
                        return false;
        }
        return true;
}

IMAP_COMMAND_FUNCTION(expunge)
{
        struct imap_range all = {1, UINT32_MAX}, *r = &all;
        struct imap_uid_list deleted = {0};
        size_t count = 1;
        struct imap_set set;

        if (s->is_uid && (!imap_parse_space(p) || !imap_parse_set(p, &set)
                          || !imap_server_resolve(s, &set, true, &r, &count))) {
                imap_server_bad(s, "Say UID EXPUNGE set");
                return;
        }
        if (!imap_parse_end(p))
                imap_server_bad(s, "EXPUNGE takes no arguments");
        else if (s->is_read_only)
                imap_server_no(s, "READ-ONLY", "The mailbox is open for reading only");
        else if (!find_deleted(s, r, count, &deleted))
                imap_server_no(s, "LIMIT", "Too many messages");
        else if (deleted.count == 0)
                imap_server_ok(s);
        else {
                ev->uids = deleted.ranges;
                ev->uid_count = deleted.count;
                imap_server_wait(s, ev, IMAP_EVENT_EXPUNGE, answered_expunge);
        }
}
