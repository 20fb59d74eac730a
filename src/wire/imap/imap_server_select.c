/* SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 sections 6.3.2, 6.3.3, 6.4.1,
 * 6.4.2), with CONDSTORE and QRESYNC (RFC 7162). */
#include "wire/imap/imap_server_engine.h"

struct selection {
        struct span mailbox;
        bool is_read_only;
        bool has_qresync;
        uint64_t uid_validity, modseq;
        struct imap_set known; /* UIDs the client has */
};

/* "(uidvalidity modseq [known-uids [(seqs uids)]])", section 3.2.5. The hint of
 * the last is not needed: the view knows all UIDs there are. */
static bool parse_qresync(struct imap_parser *p, struct selection *sel)
{
        struct imap_set seqs, uids;

        if (!imap_parse_space(p) || !imap_parse_char(p, '(')
            || !imap_parse_number(p, UINT32_MAX, &sel->uid_validity) || !imap_parse_space(p)
            || !imap_parse_number(p, INT64_MAX, &sel->modseq))
                return false;
        sel->has_qresync = true;
        if (imap_parse_char(p, ')'))
                return true;
        if (!imap_parse_space(p))
                return false;
        if (imap_parse_peek(p) != '(') {
                if (!imap_parse_set(p, &sel->known) || sel->known.is_saved)
                        return false;
                if (imap_parse_char(p, ')'))
                        return true;
                if (!imap_parse_space(p))
                        return false;
        }
        return imap_parse_char(p, '(') && imap_parse_set(p, &seqs) && imap_parse_space(p)
               && imap_parse_set(p, &uids) && imap_parse_char(p, ')') && imap_parse_char(p, ')');
}

static bool parse_parameters(struct imap_server *s, struct imap_parser *p, struct selection *sel)
{
        if (imap_parse_end(p))
                return true;
        if (!imap_parse_space(p) || !imap_parse_char(p, '('))
                return false;
        do {
                if (imap_parse_word(p, SPAN_LITERAL("CONDSTORE")))
                        s->enabled |= IMAP_ENABLED_CONDSTORE;
                else if (!(s->enabled & IMAP_ENABLED_QRESYNC)
                         || !imap_parse_word(p, SPAN_LITERAL("QRESYNC"))
                         || !parse_qresync(p, sel))
                        return false;
        } while (imap_parse_space(p));
        return imap_parse_char(p, ')') && imap_parse_end(p);
}

static void put_code(struct imap_server *s, const char *name, uint64_t value, const char *text)
{
        imap_server_put(s, "* OK [");
        imap_server_put(s, name);
        imap_server_put(s, " ");
        imap_server_put_number(s, value);
        imap_server_put(s, "] ");
        imap_server_put(s, text);
        imap_server_put(s, "\r\n");
}

static void put_unseen(struct imap_server *s)
{
        const size_t index = imap_view_next_without(s->view, 0, IMAP_FLAG_SEEN);

        if (index < s->view->count)
                put_code(s, "UNSEEN", index + 1, "First");
}

static void put_mailbox(struct imap_server *s, struct span name)
{
        const struct imap_view *v = s->view;

        imap_server_put(s, "* FLAGS ");
        imap_server_put_flag_names(s, v);
        imap_server_put(s, ")\r\n* OK [PERMANENTFLAGS ");
        if (s->is_read_only) {
                imap_server_put(s, "()");
        } else {
                imap_server_put_flag_names(s, v);
                imap_server_put(s, v->keyword_count < IMAP_KEYWORDS_MAX ? " \\*)" : ")");
        }
        imap_server_put(s, "] Kept\r\n* ");
        imap_server_put_number(s, v->count);
        imap_server_put(s, " EXISTS\r\n");
        if (!(s->enabled & IMAP_ENABLED_REV2)) {
                imap_server_put(s, "* 0 RECENT\r\n");
                put_unseen(s);
        }
        if (s->enabled & IMAP_ENABLED_REV2) { /* RFC 9051 section 6.3.2 */
                imap_server_put(s, "* LIST () \"/\" ");
                imap_server_put_mailbox(s, name);
                imap_server_put(s, "\r\n");
        }
        put_code(s, "UIDVALIDITY", v->uid_validity, "Valid");
        put_code(s, "UIDNEXT", v->uid_next, "Next");
        put_code(s, "HIGHESTMODSEQ", v->highest_modseq, "Highest");
        imap_server_put(s, "* OK [MAILBOXID (F");
        imap_server_put_number(s, v->mailbox_id);
        imap_server_put(s, ")] Id\r\n");
}

/* ---- QRESYNC ----------------------------------------------------------------- */

static void put_resync(struct imap_server *s, struct selection *sel)
{
        struct imap_range all = {1, s->view->uid_next - 1};
        struct imap_range *known = sel->known.count ? sel->known.ranges : &all;
        const size_t count = imap_server_normalize(known, sel->known.count ? sel->known.count : 1);

        if (s->view->uid_next <= 1)
                return;
        imap_server_put_vanished(s, known, count, sel->modseq);
        for (size_t i = 0; (i = imap_view_next_since(s->view, i, sel->modseq)) < s->view->count;
             i++) {
                const struct imap_message *m = imap_view_at(s->view, i);

                if (imap_server_in_ranges(known, count, m->uid))
                        imap_server_put_change(s, i, m, s->view, false);
        }
}

/* ---- commands ---------------------------------------------------------------- */

static void answered_select(struct imap_server *s, const struct imap_answer *a)
{
        struct selection *sel = s->work_state;

        if (a->result != IMAP_OK || !a->view) {
                imap_server_no(s, a->code, a->text);
                return;
        }
        s->view = imap_view_ref(a->view);
        s->state = IMAP_STATE_SELECTED;
        s->is_read_only = sel->is_read_only || a->is_read_only;
        put_mailbox(s, sel->mailbox);
        if (sel->has_qresync && sel->uid_validity == s->view->uid_validity)
                put_resync(s, sel);
        imap_server_finish(s, IMAP_OK, s->is_read_only ? "READ-ONLY" : "READ-WRITE", "Selected");
}

static void ask_select(struct imap_server *s, struct imap_event *ev)
{
        struct imap_event *kept = s->work_state;
        struct selection *sel = (struct selection *) (kept + 1);

        *ev = *kept;
        s->work = NULL;
        s->work_state = sel;
        imap_server_wait(s, ev, IMAP_EVENT_SELECT, answered_select);
}

static void select_mailbox(struct imap_server *s, struct imap_parser *p, bool is_read_only)
{
        struct imap_event *kept = arena_alloc(&s->arena, sizeof *kept + sizeof(struct selection));
        struct selection *sel = (struct selection *) (kept + 1);

        if (!kept || !imap_parse_space(p) || !imap_parse_mailbox(p, &kept->mailbox)
            || !parse_parameters(s, p, sel)) {
                imap_server_bad(s, "Say SELECT mailbox [(CONDSTORE)]");
                return;
        }
        kept->is_read_only = sel->is_read_only = is_read_only;
        sel->mailbox = kept->mailbox;
        if (s->state == IMAP_STATE_SELECTED) {
                imap_server_deselect(s);
                imap_server_put(s, "* OK [CLOSED] Closed\r\n");
        }
        /* DESELECT is told first. */
        s->work = ask_select;
        s->work_state = kept;
}

IMAP_COMMAND_FUNCTION(select)
{
        select_mailbox(s, p, false);
}

IMAP_COMMAND_FUNCTION(examine)
{
        select_mailbox(s, p, true);
}

IMAP_COMMAND_FUNCTION(unselect)
{
        if (!imap_parse_end(p)) {
                imap_server_bad(s, "UNSELECT takes no arguments");
                return;
        }
        imap_server_deselect(s);
        imap_server_ok(s);
}

static void answered_close(struct imap_server *s, const struct imap_answer *a)
{
        imap_server_deselect(s);
        imap_server_finish_answer(s, a);
}

/* CLOSE removes what is deleted, and tells of none (section 6.4.1). */
IMAP_COMMAND_FUNCTION(close)
{
        struct imap_uid_list deleted = {0};

        if (!imap_parse_end(p)) {
                imap_server_bad(s, "CLOSE takes no arguments");
                return;
        }
        for (size_t i = 0; !s->is_read_only; i++) {
                i = imap_view_next_with(s->view, i, IMAP_FLAG_DELETED);
                if (i == s->view->count)
                        break;
                if (!imap_uid_list_add(&deleted, &s->arena, imap_view_at(s->view, i)->uid)) {
                        imap_server_no(s, "LIMIT", "Too many messages");
                        return;
                }
        }
        if (deleted.count == 0) {
                imap_server_deselect(s);
                imap_server_ok(s);
                return;
        }
        ev->uids = deleted.ranges;
        ev->uid_count = deleted.count;
        imap_server_wait(s, ev, IMAP_EVENT_EXPUNGE, answered_close);
}
