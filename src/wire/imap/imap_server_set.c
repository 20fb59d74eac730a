/* Sets of messages: numbers become UIDs at once, since numbers move. */
#include <stdlib.h>

#include "wire/imap/imap_server_engine.h"

static int by_first(const void *a, const void *b)
{
        const struct imap_range *x = a, *y = b;

        return x->first < y->first ? -1 : x->first > y->first;
}

size_t imap_server_normalize(struct imap_range *r, size_t count)
{
        size_t n = 0;

        if (count == 0)
                return 0;
        qsort(r, count, sizeof *r, by_first);
        for (size_t i = 1; i < count; i++) {
                if (r[n].last == UINT32_MAX || r[i].first <= r[n].last + 1) {
                        if (r[i].last > r[n].last)
                                r[n].last = r[i].last;
                } else {
                        r[++n] = r[i];
                }
        }
        return n + 1;
}

static bool resolve_number(const struct imap_view *v, struct imap_range *r)
{
        /* "*" alone, or as an end, is the last number (RFC 9051 section 9, seq-number). */
        if (r->last == UINT32_MAX)
                r->last = (uint32_t) v->count;
        if (r->first == UINT32_MAX)
                r->first = (uint32_t) v->count;
        if (r->first > r->last) {
                const uint32_t first = r->first;

                r->first = r->last;
                r->last = first;
        }
        if (r->first == 0 || r->last > v->count)
                return false;
        r->first = imap_view_at(v, r->first - 1)->uid;
        r->last = imap_view_at(v, r->last - 1)->uid;
        return true;
}

/* A UID that no message has is no error (RFC 9051 section 6.4.9); "100:*" has
 * the last message even where all UIDs are smaller. */
static void resolve_uid(const struct imap_view *v, struct imap_range *r)
{
        const uint32_t last = v->count ? imap_view_at(v, v->count - 1)->uid : 0;

        if (r->last == UINT32_MAX) {
                r->last = last;
                if (r->first > last)
                        r->first = last;
        }
        if (r->last > last)
                r->last = last;
}

size_t imap_server_only_existing(const struct imap_view *v, struct imap_range *r, size_t count)
{
        size_t n = 0;

        for (size_t i = 0; i < count; i++) {
                const size_t at = imap_view_find(v, r[i].first);

                if (at < v->count && imap_view_at(v, at)->uid <= r[i].last)
                        r[n++] = r[i];
        }
        return n;
}

bool imap_server_resolve_in(const struct imap_view *v, struct arena *arena,
                            const struct imap_set *set, bool is_uid, struct imap_range **ret,
                            size_t *ret_count)
{
        const struct imap_range *from = set->ranges;
        const size_t from_count = set->count;
        struct imap_range *r = arena_alloc(arena, (from_count + 1) * sizeof *r);
        size_t n = 0;

        if (!r)
                return false;
        for (size_t i = 0; i < from_count; i++) {
                r[n] = from[i];
                if (is_uid || set->is_saved)
                        resolve_uid(v, &r[n]);
                else if (!resolve_number(v, &r[n]))
                        return false;
                if (r[n].first <= r[n].last && r[n].first)
                        n++;
        }
        n = imap_server_normalize(r, n);
        *ret_count = imap_server_only_existing(v, r, n);
        *ret = r;
        return true;
}

bool imap_server_resolve(struct imap_server *s, const struct imap_set *set, bool is_uid,
                         struct imap_range **ret, size_t *ret_count)
{
        const struct imap_set saved = {.ranges = s->saved, .count = s->saved_count,
                                       .is_saved = true};

        return imap_server_resolve_in(s->view, &s->arena, set->is_saved ? &saved : set, is_uid,
                                      ret, ret_count);
}

bool imap_server_in_ranges(const struct imap_range *r, size_t count, uint32_t uid)
{
        size_t low = 0, high = count;

        while (low < high) {
                const size_t middle = low + (high - low) / 2;

                if (r[middle].last < uid)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < count && r[low].first <= uid;
}

/* Where the first message of range `at` stands. */
static bool enter(struct imap_cursor *c)
{
        const size_t index = imap_view_find(c->view, c->ranges[c->at].first);

        if (index == c->view->count)
                return false;
        for (c->row = 0; c->row + 1 < c->view->row_count
                         && c->view->rows[c->row + 1].first <= index;)
                c->row++;
        c->in_row = (unsigned) (index - c->view->rows[c->row].first);
        c->is_within = true;
        return true;
}

const struct imap_message *imap_cursor_next(struct imap_cursor *c, size_t *ret_index)
{
        while (c->at < c->count) {
                const struct imap_view_row *row;
                const struct imap_message *m;

                if (!c->is_within && !enter(c))
                        return NULL;
                if (c->row == c->view->row_count)
                        return NULL;
                row = &c->view->rows[c->row];
                m = &row->chunk->messages[c->in_row];
                if (m->uid > c->ranges[c->at].last) {
                        c->at++;
                        c->is_within = false;
                        continue;
                }
                if (ret_index)
                        *ret_index = row->first + c->in_row;
                if (++c->in_row == row->chunk->count) {
                        c->in_row = 0;
                        c->row++;
                }
                return m;
        }
        return NULL;
}

bool imap_uid_list_add(struct imap_uid_list *l, struct arena *arena, uint32_t uid)
{
        if (l->count && l->ranges[l->count - 1].last + 1 == uid) {
                l->ranges[l->count - 1].last = uid;
                return true;
        }
        if (l->count == l->room) {
                const size_t room = l->room ? 2 * l->room : 16;
                struct imap_range *grown = arena_alloc(arena, room * sizeof *grown);

                if (!grown)
                        return false;
                if (l->count)
                        memcpy(grown, l->ranges, l->count * sizeof *grown);
                l->ranges = grown;
                l->room = room;
        }
        l->ranges[l->count++] = (struct imap_range) {uid, uid};
        return true;
}
