/* VANISHED (EARLIER) of SELECT and FETCH (RFC 7162 sections 3.2.5.1 and 3.2.6). */
#include "wire/imap/imap_server_engine.h"

struct vanished {
        struct imap_server *s;
        bool is_begun;
};

static void put(struct vanished *out, uint32_t first, uint32_t last)
{
        imap_server_put(out->s, out->is_begun ? "," : "* VANISHED (EARLIER) ");
        out->is_begun = true;
        imap_server_put_ranges(out->s, &(struct imap_range) {first, last}, 1);
}

/* Those of the UIDs that the view does not have. */
static void put_absent(struct vanished *out, struct imap_range uids)
{
        struct imap_cursor c = IMAP_CURSOR(out->s->view, &uids, 1);
        const struct imap_message *m;
        uint32_t next = uids.first;

        while ((m = imap_cursor_next(&c, NULL))) {
                if (m->uid > next)
                        put(out, next, m->uid - 1);
                next = m->uid + 1;
        }
        if (next && next <= uids.last)
                put(out, next, uids.last);
}

/* What went since then, joined; NULL: it is not known that far back. */
static struct imap_range *gone_since(struct imap_server *s, uint64_t modseq, size_t *ret_count)
{
        const struct imap_view *v = s->view;
        struct imap_range *ranges;
        size_t n = 0;

        if (!v->gone || modseq < v->gone->since)
                return NULL;
        ranges = arena_alloc(&s->arena, (v->gone_count + 1) * sizeof *ranges);
        for (size_t i = 0; ranges && i < v->gone_count; i++)
                if (v->gone->ranges[i].modseq > modseq)
                        ranges[n++] = (struct imap_range) {v->gone->ranges[i].first,
                                                           v->gone->ranges[i].last};
        *ret_count = n ? imap_server_normalize(ranges, n) : 0;
        return ranges;
}

static uint32_t lesser(uint32_t a, uint32_t b)
{
        return a < b ? a : b;
}

void imap_server_put_vanished(struct imap_server *s, const struct imap_range *known, size_t count,
                              uint64_t modseq)
{
        const uint32_t end = s->view->uid_next - 1; /* at least 0 */
        const struct imap_range all = {1, end};
        struct vanished out = {.s = s};
        size_t gone_count = 1, at = 0;
        const struct imap_range *gone = gone_since(s, modseq, &gone_count);

        if (!gone)
                gone = &all;
        for (size_t i = 0; i < count && known[i].first <= end;) {
                const uint32_t last = lesser(known[i].last, end);

                if (at == gone_count)
                        break;
                if (gone[at].first <= last && known[i].first <= gone[at].last)
                        put_absent(&out, (struct imap_range) {
                                known[i].first > gone[at].first ? known[i].first : gone[at].first,
                                lesser(last, gone[at].last)});
                if (gone[at].last <= last)
                        at++;
                else
                        i++;
        }
        if (out.is_begun)
                imap_server_put(s, "\r\n");
}
