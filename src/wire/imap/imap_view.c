#include "wire/imap/imap_view.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void sum_up(struct imap_chunk *c)
{
        c->flags_of_all = UINT32_MAX;
        c->flags_of_any = 0;
        c->highest_modseq = 0;
        for (unsigned i = 0; i < c->count; i++) {
                const struct imap_message *m = &c->messages[i];

                c->flags_of_all &= m->flags;
                c->flags_of_any |= m->flags;
                if (m->modseq > c->highest_modseq)
                        c->highest_modseq = m->modseq;
        }
}

static struct imap_chunk *chunk_new(const struct imap_message *messages, unsigned count)
{
        struct imap_chunk *c = malloc(sizeof *c + count * sizeof c->messages[0]);

        if (!c)
                return NULL;
        c->references = 1;
        c->count = count;
        memcpy(c->messages, messages, count * sizeof c->messages[0]);
        sum_up(c);
        return c;
}

static void chunk_unref(struct imap_chunk *c)
{
        if (--c->references == 0)
                free(c);
}

/* The view, its rows and the keywords' text in one piece of memory. */
static struct imap_view *view_new(const struct imap_view_head *head, size_t row_max)
{
        struct imap_view *v;
        size_t text = 0;
        char *at;

        if (head->keyword_count > IMAP_KEYWORDS_MAX)
                return NULL;
        for (unsigned i = 0; i < head->keyword_count; i++)
                text += head->keywords[i].len;
        v = calloc(1, sizeof *v + row_max * sizeof v->rows[0] + text);
        if (!v)
                return NULL;
        v->references = 1;
        v->uid_validity = head->uid_validity;
        v->uid_next = head->uid_next;
        v->highest_modseq = head->highest_modseq;
        v->mailbox_id = head->mailbox_id;
        v->gone = imap_gone_ref(head->gone);
        v->gone_count = head->gone ? head->gone->count : 0;
        v->keyword_count = head->keyword_count;
        v->rows = (struct imap_view_row *) (v + 1);
        at = (char *) (v->rows + row_max);
        for (unsigned i = 0; i < head->keyword_count; i++) {
                const struct span name = head->keywords[i];

                if (name.len)
                        memcpy(at, name.p, name.len);
                v->keywords[i] = span_make(at, name.len);
                at += name.len;
        }
        return v;
}

static void add_row(struct imap_view *v, struct imap_chunk *c)
{
        v->rows[v->row_count].chunk = c;
        v->rows[v->row_count++].first = v->count;
        v->count += c->count;
}

static bool add_messages(struct imap_view *v, const struct imap_message *messages, size_t count)
{
        while (count) {
                const unsigned n = (unsigned) (count < IMAP_VIEW_CHUNK ? count : IMAP_VIEW_CHUNK);
                struct imap_chunk *c = chunk_new(messages, n);

                if (!c)
                        return false;
                add_row(v, c);
                messages += n;
                count -= n;
        }
        return true;
}

struct imap_view *imap_view_new(const struct imap_view_head *head,
                                const struct imap_message *messages, size_t count)
{
        struct imap_view *v;

        for (size_t i = 0; i < count; i++)
                if (messages[i].uid <= (i ? messages[i - 1].uid : 0))
                        return NULL;
        v = view_new(head, count / IMAP_VIEW_CHUNK + 1);
        if (v && !add_messages(v, messages, count))
                return imap_view_unref(v);
        return v;
}

struct imap_view *imap_view_ref(struct imap_view *v)
{
        v->references++;
        return v;
}

struct imap_view *imap_view_unref(struct imap_view *v)
{
        if (!v)
                return NULL;
        assert(v->references);
        if (--v->references == 0) {
                for (size_t i = 0; i < v->row_count; i++)
                        chunk_unref(v->rows[i].chunk);
                imap_gone_unref(v->gone);
                free(v);
        }
        return NULL;
}

/* The row an index lies in. */
static size_t row_of(const struct imap_view *v, size_t index)
{
        size_t low = 0, high = v->row_count;

        while (high - low > 1) {
                const size_t middle = low + (high - low) / 2;

                if (v->rows[middle].first <= index)
                        low = middle;
                else
                        high = middle;
        }
        return low;
}

const struct imap_message *imap_view_at(const struct imap_view *v, size_t index)
{
        const struct imap_view_row *row;

        assert(index < v->count);
        row = &v->rows[row_of(v, index)];
        return &row->chunk->messages[index - row->first];
}

/* What one of three functions looks for. */
struct wanted {
        uint32_t without, with; /* flags; 0: no matter */
        uint64_t since;         /* UINT64_MAX: no matter */
};

static bool may_hold(const struct imap_chunk *c, const struct wanted *w)
{
        return (~c->flags_of_all & w->without) || (c->flags_of_any & w->with) ||
               c->highest_modseq > w->since;
}

static bool is_wanted(const struct imap_message *m, const struct wanted *w)
{
        return (~m->flags & w->without) || (m->flags & w->with) || m->modseq > w->since;
}

static size_t next_of(const struct imap_view *v, size_t index, const struct wanted *w)
{
        for (size_t row = row_of(v, index); row < v->row_count && index < v->count; row++) {
                const struct imap_chunk *c = v->rows[row].chunk;
                const size_t first = v->rows[row].first;

                if (may_hold(c, w))
                        for (; index - first < c->count; index++)
                                if (is_wanted(&c->messages[index - first], w))
                                        return index;
                index = first + c->count;
        }
        return v->count;
}

size_t imap_view_next_without(const struct imap_view *v, size_t index, uint32_t flags)
{
        return next_of(v, index, &(const struct wanted) {.without = flags, .since = UINT64_MAX});
}

size_t imap_view_next_with(const struct imap_view *v, size_t index, uint32_t flags)
{
        return next_of(v, index, &(const struct wanted) {.with = flags, .since = UINT64_MAX});
}

size_t imap_view_next_since(const struct imap_view *v, size_t index, uint64_t modseq)
{
        return next_of(v, index, &(const struct wanted) {.since = modseq});
}

static uint32_t last_uid(const struct imap_chunk *c)
{
        return c->messages[c->count - 1].uid;
}

/* The first row whose last UID is at least `uid`. */
static size_t row_of_uid(const struct imap_view *v, uint32_t uid)
{
        size_t low = 0, high = v->row_count;

        while (low < high) {
                const size_t middle = low + (high - low) / 2;

                if (last_uid(v->rows[middle].chunk) < uid)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

size_t imap_view_find(const struct imap_view *v, uint32_t uid)
{
        const size_t row = row_of_uid(v, uid);
        unsigned low = 0, high;

        if (row == v->row_count)
                return v->count;
        high = v->rows[row].chunk->count;
        while (low < high) {
                const unsigned middle = low + (high - low) / 2;

                if (v->rows[row].chunk->messages[middle].uid < uid)
                        low = middle + 1;
                else
                        high = middle;
        }
        return v->rows[row].first + low;
}

const struct imap_message *imap_view_forward(const struct imap_view *v, struct imap_finger *f,
                                             uint32_t uid)
{
        const struct imap_chunk *c;

        while (f->row < v->row_count && last_uid(v->rows[f->row].chunk) < uid) {
                f->row++;
                f->at = 0;
        }
        if (f->row == v->row_count)
                return NULL;
        c = v->rows[f->row].chunk;
        while (c->messages[f->at].uid < uid)
                f->at++;
        return c->messages[f->at].uid == uid ? &c->messages[f->at] : NULL;
}

const struct imap_message *imap_view_message(const struct imap_view *v, uint32_t uid,
                                             size_t *ret_index)
{
        const size_t index = imap_view_find(v, uid);
        const struct imap_message *m;

        if (index == v->count)
                return NULL;
        m = imap_view_at(v, index);
        if (m->uid != uid)
                return NULL;
        if (ret_index)
                *ret_index = index;
        return m;
}

/* Takes a chunk with room for more than its `n` messages over. */
static bool add_merged(struct imap_view *v, struct imap_chunk *chunk, size_t n)
{
        struct imap_chunk *shrunk = NULL;
        bool ok;

        if (n && n <= IMAP_VIEW_CHUNK)
                shrunk = realloc(chunk, sizeof *chunk + n * sizeof chunk->messages[0]);
        if (shrunk) {
                shrunk->references = 1;
                shrunk->count = (unsigned) n;
                sum_up(shrunk);
                add_row(v, shrunk);
                return true;
        }
        ok = add_messages(v, chunk->messages, n);
        free(chunk);
        return ok;
}

/* One chunk with the changes that fall into it: up to two chunks' worth. */
static bool merge_chunk(struct imap_view *v, const struct imap_chunk *c,
                        const struct imap_view_change *changes, size_t count)
{
        const size_t room = (c ? c->count : 0) + count;
        struct imap_chunk *chunk = malloc(sizeof *chunk + room * sizeof chunk->messages[0]);
        struct imap_message *merged;
        size_t n = 0, i = 0, k = 0;

        if (!chunk)
                return false;
        merged = chunk->messages;
        while ((c && i < c->count) || k < count) {
                if (k == count
                    || (c && i < c->count && c->messages[i].uid < changes[k].message.uid)) {
                        merged[n++] = c->messages[i++];
                        continue;
                }
                if (c && i < c->count && c->messages[i].uid == changes[k].message.uid)
                        i++;
                if (!changes[k].is_gone)
                        merged[n++] = changes[k].message;
                k++;
        }
        return add_merged(v, chunk, n);
}

/* The changes from `from` on that belong into the chunk of a row: up to its
 * last UID, and behind the last row all. A last chunk that is not full takes
 * what is new. */
static size_t changes_of(const struct imap_view *old, size_t row,
                         const struct imap_view_change *changes, size_t count)
{
        const bool is_last = row + 1 == old->row_count;
        const struct imap_chunk *c = old->rows[row].chunk;
        size_t n = 0;

        while (n < count && (changes[n].message.uid <= last_uid(c)
                             || (is_last && c->count < IMAP_VIEW_CHUNK)))
                n++;
        return n;
}

struct imap_view *imap_view_apply(const struct imap_view *old, const struct imap_view_head *head,
                                  const struct imap_view_change *changes, size_t count)
{
        static const struct imap_view_change none;
        struct imap_view *v;
        size_t done = 0;

        if (!changes) /* no arithmetic on a null pointer */
                changes = &none;

        for (size_t i = 0; i < count; i++)
                if (changes[i].message.uid <= (i ? changes[i - 1].message.uid : 0))
                        return NULL;
        /* Each row may become two, and what is new needs its own. */
        v = view_new(head, 2 * old->row_count + 2 * (count / IMAP_VIEW_CHUNK) + 2);
        if (!v)
                return NULL;
        for (size_t row = 0; row < old->row_count; row++) {
                const size_t n = changes_of(old, row, changes + done, count - done);

                if (n == 0) {
                        old->rows[row].chunk->references++;
                        add_row(v, old->rows[row].chunk);
                } else if (!merge_chunk(v, old->rows[row].chunk, changes + done, n)) {
                        return imap_view_unref(v);
                }
                done += n;
        }
        if (done < count && !merge_chunk(v, NULL, changes + done, count - done))
                return imap_view_unref(v);
        return v;
}
