/* What a client is told of changes: the differences of the view it knows and
 * the newest one. */
#include "wire/imap/imap_server_engine.h"

/* Steps through two views at once; chunks that both share are passed over. */
struct difference {
        const struct imap_view *old, *new;
        size_t old_row, new_row;
        unsigned old_at, new_at; /* within the rows */
};

struct pair {
        const struct imap_message *old, *new; /* of one UID; NULL: not in that view */
        size_t old_index;
};

static void step(const struct imap_view *v, size_t *row, unsigned *at)
{
        if (++*at == v->rows[*row].chunk->count) {
                *at = 0;
                ++*row;
        }
}

static bool next_pair(struct difference *d, struct pair *ret)
{
        for (;;) {
                const bool has_old = d->old_row < d->old->row_count;
                const bool has_new = d->new_row < d->new->row_count;
                const struct imap_message *o = NULL, *n = NULL;

                if (!has_old && !has_new)
                        return false;
                if (has_old && has_new && d->old_at == 0 && d->new_at == 0
                    && d->old->rows[d->old_row].chunk == d->new->rows[d->new_row].chunk) {
                        d->old_row++;
                        d->new_row++;
                        continue;
                }
                if (has_old)
                        o = &d->old->rows[d->old_row].chunk->messages[d->old_at];
                if (has_new)
                        n = &d->new->rows[d->new_row].chunk->messages[d->new_at];
                if (o && n && o->uid != n->uid) {
                        if (o->uid < n->uid)
                                n = NULL;
                        else
                                o = NULL;
                }
                ret->old = o;
                ret->new = n;
                ret->old_index = o ? d->old->rows[d->old_row].first + d->old_at : 0;
                if (o)
                        step(d->old, &d->old_row, &d->old_at);
                if (n)
                        step(d->new, &d->new_row, &d->new_at);
                return true;
        }
}

void imap_server_put_change(struct imap_server *s, size_t index, const struct imap_message *m,
                            const struct imap_view *v, bool only_modseq)
{
        const bool has_modseq = s->enabled & IMAP_ENABLED_CONDSTORE;

        imap_server_put(s, "* ");
        imap_server_put_number(s, index + 1);
        imap_server_put(s, " FETCH (");
        if (s->is_uid || (s->enabled & (IMAP_ENABLED_QRESYNC | IMAP_ENABLED_REV2))) {
                imap_server_put(s, "UID ");
                imap_server_put_number(s, m->uid);
                imap_server_put(s, " ");
        }
        if (!only_modseq) {
                imap_server_put(s, "FLAGS ");
                imap_server_put_flags(s, m, v);
        }
        if (has_modseq) {
                imap_server_put(s, only_modseq ? "MODSEQ (" : " MODSEQ (");
                imap_server_put_number(s, m->modseq);
                imap_server_put(s, ")");
        }
        imap_server_put(s, ")\r\n");
}

static bool has_new_keywords(const struct imap_view *old, const struct imap_view *new)
{
        if (old->keyword_count != new->keyword_count)
                return true;
        for (unsigned i = 0; i < new->keyword_count; i++)
                if (!span_equal(old->keywords[i], new->keywords[i]))
                        return true;
        return false;
}

/* Returns how many are gone, of which nothing is said here. */
static size_t tell_flags(struct imap_server *s)
{
        struct difference d = {.old = s->view, .new = s->newest};
        const bool has_modseq = s->enabled & IMAP_ENABLED_CONDSTORE;
        size_t gone = 0;
        struct pair p;

        if (has_new_keywords(s->view, s->newest)) {
                imap_server_put(s, "* FLAGS ");
                imap_server_put_flag_names(s, s->newest);
                imap_server_put(s, ")\r\n");
        }
        while (next_pair(&d, &p)) {
                gone += p.old && !p.new;
                if (!p.old || !p.new)
                        continue;
                if (p.old->flags == p.new->flags && p.old->keywords == p.new->keywords
                    && (!has_modseq || p.old->modseq == p.new->modseq))
                        continue;
                if (imap_server_in_ranges(s->told, s->told_count, p.new->uid))
                        continue;
                imap_server_put_change(s, p.old_index, p.new, s->newest, false);
        }
        return gone;
}

static void tell_expunged(struct imap_server *s)
{
        struct difference d = {.old = s->view, .new = s->newest};
        const bool is_vanished = s->enabled & IMAP_ENABLED_QRESYNC;
        struct imap_range open = {0, 0}; /* UIDs not yet written */
        size_t gone = 0;
        struct pair p;

        while (next_pair(&d, &p)) {
                if (!p.old || p.new)
                        continue;
                if (!is_vanished) {
                        imap_server_put(s, "* ");
                        imap_server_put_number(s, p.old_index + 1 - gone);
                        imap_server_put(s, " EXPUNGE\r\n");
                } else if (gone == 0) {
                        imap_server_put(s, "* VANISHED ");
                        open.first = p.old->uid;
                } else if (p.old->uid != open.last + 1) {
                        imap_server_put_ranges(s, &open, 1);
                        imap_server_put(s, ",");
                        open.first = p.old->uid;
                }
                open.last = p.old->uid;
                gone++;
        }
        if (is_vanished && gone) {
                imap_server_put_ranges(s, &open, 1);
                imap_server_put(s, "\r\n");
        }
}

void imap_server_sync(struct imap_server *s, bool may_expunge)
{
        size_t gone;

        if (s->state != IMAP_STATE_SELECTED || !s->newest)
                return;
        gone = tell_flags(s);
        if (gone && !may_expunge)
                return; /* its numbers still stand: all of it is told after a later command */
        if (gone)
                tell_expunged(s);
        if (s->newest->count != s->view->count - gone) {
                imap_server_put(s, "* ");
                imap_server_put_number(s, s->newest->count);
                imap_server_put(s, " EXISTS\r\n");
        }
        imap_view_unref(s->view);
        s->view = s->newest;
        s->newest = NULL;
}
