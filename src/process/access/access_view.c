#include "process/access/access_view.h"

#include <errno.h>
#include <stdlib.h>

#include "ipc/message_row.h"
#include "process/access/access.h"

enum {
        IDLE_VIEWS_MAX = 256,
        IDLE_MESSAGES_MAX = 500000,
        ROWS_MEMORY_MAX = 1 << 30,
};

/*  LOADING --last page--> THERE --gone or keeper gone--> LOADING (opened anew)
 *
 * A view that was there before keeps it until the new one is: sessions are told
 * the differences. */
struct access_view {
        struct table_node by_number;
        struct list_node in_account, idle;
        struct access_account *account;
        uint64_t mailbox_id, number; /* number 0: not opened now */
        struct list_node viewers;
        struct imap_view *current; /* NULL: never was there yet */
        bool is_loading, is_telling;
        struct imap_view_head head;
        struct span keywords[IMAP_KEYWORDS_MAX];
        char keyword_octets[IMAP_KEYWORDS_MAX][IMAP_KEYWORD_LENGTH_MAX];
        struct buffer rows;    /* LOADING: struct imap_message */
        struct buffer changes; /* struct imap_view_change, of frames not yet applied */
};

static struct access *access_of(const struct access_view *v)
{
        return v->account->access;
}

static struct access_view *find(struct access *a, uint64_t number)
{
        struct table_node *n = table_first(&a->views, number);

        return n ? TABLE_OBJECT(n, struct access_view, by_number) : NULL;
}

static void leave_idle(struct access_view *v)
{
        struct access *a = access_of(v);

        if (!list_is_linked(&v->idle))
                return;
        list_remove(&v->idle);
        a->idle_view_count--;
        a->idle_messages -= v->current ? v->current->count : 0;
}

/* The keeper need tell no more. */
static void close_number(struct access_view *v)
{
        struct access *a = access_of(v);

        if (!v->number)
                return;
        table_remove(&a->views, &v->by_number);
        if (a->keeper.channel)
                CHANNEL_SEND(a->keeper.channel, view_close, -1, .view = v->number);
        v->number = 0;
}

static void view_free(struct access_view *v)
{
        struct access_account *account = v->account;

        leave_idle(v);
        close_number(v);
        list_remove(&v->in_account);
        account->view_count--;
        v->current = imap_view_unref(v->current);
        imap_gone_unref(v->head.gone);
        buffer_done(&v->rows);
        buffer_done(&v->changes);
        free(v);
        access_account_settle(account);
}

static int open_number(struct access_view *v)
{
        struct access *a = access_of(v);
        int r = a->keeper.channel ? 0 : -EPIPE;

        if (r == 0)
                r = table_add(&a->views, &v->by_number, a->last_view + 1);
        if (r < 0)
                return r;
        v->number = ++a->last_view;
        v->is_loading = true;
        buffer_done(&v->rows);
        buffer_done(&v->changes);
        return CHANNEL_SEND(a->keeper.channel, view_open, -1, .view = v->number,
                            .account = access_account_name(v->account),
                            .mailbox_id = v->mailbox_id);
}

/* ---- viewers ------------------------------------------------------------------ */

static void end_viewers(struct access_view *v, int reason)
{
        struct list_node *node;

        while ((node = list_take_first(&v->viewers))) {
                struct access_viewer *w = LIST_OBJECT(node, struct access_viewer, node);

                w->view = NULL;
                w->ended(w, reason);
        }
        view_free(v);
}

/* A viewer may go while others are told; the view itself stays. */
static void tell_viewers(struct access_view *v)
{
        struct list_node told;

        list_init(&told);
        v->is_telling = true;
        while (!list_is_empty(&v->viewers)) {
                struct access_viewer *w =
                        LIST_OBJECT(list_take_first(&v->viewers), struct access_viewer, node);

                list_append(&told, &w->node);
                w->changed(w, v->current);
        }
        while (!list_is_empty(&told))
                list_append(&v->viewers, list_take_first(&told));
        v->is_telling = false;
}

static void trim_idle(struct access *a)
{
        while (a->idle_view_count > IDLE_VIEWS_MAX || a->idle_messages > IDLE_MESSAGES_MAX)
                view_free(LIST_OBJECT(a->idle_views.next, struct access_view, idle));
}

/* Nobody looks: it is kept for a while. */
static void rest(struct access_view *v)
{
        struct access *a = access_of(v);

        if (v->is_telling || !list_is_empty(&v->viewers))
                return;
        if (!v->current || v->is_loading) {
                view_free(v);
                return;
        }
        list_append(&a->idle_views, &v->idle);
        a->idle_view_count++;
        a->idle_messages += v->current->count;
        trim_idle(a);
}

static struct access_view *find_mailbox(const struct access_account *account, uint64_t mailbox_id)
{
        LIST_FOR_EACH(node, &account->views) {
                struct access_view *v = LIST_OBJECT(node, struct access_view, in_account);

                if (v->mailbox_id == mailbox_id)
                        return v;
        }
        return NULL;
}

int access_view_attach(struct access_account *account, uint64_t mailbox_id,
                       struct access_viewer *w)
{
        struct access_view *v = find_mailbox(account, mailbox_id);
        int r;

        if (!v) {
                v = calloc(1, sizeof *v);
                if (!v)
                        return -ENOMEM;
                v->account = account;
                v->mailbox_id = mailbox_id;
                v->rows = BUFFER_INIT(ROWS_MEMORY_MAX);
                v->changes = BUFFER_INIT(ROWS_MEMORY_MAX);
                list_init(&v->viewers);
                list_append(&account->views, &v->in_account);
                account->view_count++;
                r = open_number(v);
                if (r < 0) {
                        view_free(v);
                        return r;
                }
        }
        leave_idle(v);
        w->view = v;
        list_append(&v->viewers, &w->node);
        /* What was told before a keeper died may lack what that did last: who had a change
         * unanswered and looks whether it was made must not be shown the time before. */
        if (v->current && !v->is_loading)
                w->changed(w, v->current);
        return 0;
}

void access_view_detach(struct access_viewer *w)
{
        struct access_view *v = w->view;

        if (!v)
                return;
        list_remove(&w->node);
        w->view = NULL;
        rest(v);
}

struct imap_view *access_view_current(const struct access_viewer *w)
{
        return w->view ? w->view->current : NULL;
}

uint64_t access_view_mailbox_id(const struct access_viewer *w)
{
        return w->view ? w->view->mailbox_id : 0;
}

/* ---- what the keeper says ------------------------------------------------------ */

/* It cannot go on: opened anew, or ended where even that fails. */
static void resynchronise(struct access_view *v)
{
        access_of(v)->counters.views_lost++;
        if (list_is_empty(&v->viewers) && !v->is_telling) {
                view_free(v);
                return;
        }
        close_number(v);
        if (open_number(v) < 0 && access_of(v)->keeper.channel)
                end_viewers(v, -EIO);
}

static void set_keywords(struct access_view *v, struct ipc_items items)
{
        struct reader each = ipc_items_read(items);
        struct ipc_keyword k;
        unsigned count = 0;

        while (count < IMAP_KEYWORDS_MAX && ipc_next_keyword(&each, &k)) {
                memcpy(v->keyword_octets[count], k.name.p, k.name.len);
                v->keywords[count] = span_make(v->keyword_octets[count], k.name.len);
                count++;
        }
        v->head.keywords = v->keywords;
        v->head.keyword_count = count;
}

static struct imap_message message_of(const char *row)
{
        const struct ipc_message_row r = ipc_get_message_row(row);

        return (struct imap_message) {
                .uid = r.uid, .flags = r.flags, .keywords = r.keywords, .modseq = r.modseq,
                .arrived_us = r.arrived_us, .saved_us = r.saved_us, .size = r.size,
                .body_id = r.blob_id,
        };
}

/* By UID; of one UID what counts comes last: gone, else the highest modseq. */
static int by_uid(const void *a, const void *b)
{
        const struct imap_view_change *x = a, *y = b;

        if (x->message.uid != y->message.uid)
                return x->message.uid < y->message.uid ? -1 : 1;
        if (x->is_gone != y->is_gone)
                return x->is_gone ? 1 : -1;
        return x->message.modseq < y->message.modseq ? -1 : x->message.modseq > y->message.modseq;
}

/* Leaves one change a UID, and none that is older than what is known. */
static size_t reduce(const struct imap_view *base, struct imap_view_change *c, size_t count)
{
        struct imap_finger finger = {0};
        bool is_sorted = true;
        size_t kept = 0;

        for (size_t i = 1; i < count && is_sorted; i++)
                is_sorted = by_uid(&c[i - 1], &c[i]) <= 0;
        if (!is_sorted)
                qsort(c, count, sizeof *c, by_uid);
        for (size_t i = 0; i < count; i++) {
                const struct imap_message *known;

                if (i + 1 < count && c[i + 1].message.uid == c[i].message.uid)
                        continue;
                known = imap_view_forward(base, &finger, c[i].message.uid);
                if (!c[i].is_gone && known && known->modseq > c[i].message.modseq)
                        continue;
                c[kept++] = c[i];
        }
        return kept;
}

/* `base` with the changes becomes the current view. */
static void apply(struct access_view *v, struct imap_view *base)
{
        const struct span octets = buffer_span(&v->changes);
        struct imap_view_change none = {.is_gone = true}; /* a place to point at */
        struct imap_view_change *changes = octets.len ? (void *) (uintptr_t) octets.p : &none;
        struct imap_view *next;
        size_t count = 0;

        if (octets.len)
                count = reduce(base, changes, octets.len / sizeof *changes);
        if (v->head.highest_modseq < base->highest_modseq)
                v->head.highest_modseq = base->highest_modseq;
        next = imap_view_apply(base, &v->head, changes, count);
        buffer_shrink(&v->changes, 4096);
        if (!next) {
                resynchronise(v);
                return;
        }
        imap_view_unref(v->current);
        v->current = next;
        access_of(v)->counters.view_changes++;
        tell_viewers(v);
        if (list_is_linked(&v->idle))
                return;
        rest(v);
}

void access_view_on_head(struct access *a, const struct ipc_view_head *m)
{
        struct access_view *v = find(a, m->view);

        if (!v)
                return;
        if (m->status) {
                close_number(v);
                end_viewers(v, m->status < 4096 ? -(int) m->status : -EIO);
                return;
        }
        imap_gone_unref(v->head.gone);
        v->head = (struct imap_view_head) {.uid_validity = m->uid_validity,
                                           .uid_next = m->uid_next,
                                           .highest_modseq = m->highest_modseq,
                                           .mailbox_id = v->mailbox_id,
                                           /* changes add to it from now on, but it is known
                                            * only when view_expunged has come */
                                           .gone = imap_gone_new(UINT64_MAX, NULL, 0)};
        set_keywords(v, m->keywords);
}

void access_view_on_expunged(struct access *a, const struct ipc_view_expunged *m)
{
        struct access_view *v = find(a, m->view);
        struct reader each = ipc_items_read(m->ranges);
        struct ipc_expunged e;

        if (!v || !v->is_loading)
                return;
        if (v->head.gone)
                v->head.gone->since = m->since;
        while (ipc_next_expunged(&each, &e))
                imap_gone_add(&v->head.gone, &(struct imap_gone_range) {e.modseq, e.first, e.last});
}

void access_view_on_page(struct access *a, const struct ipc_view_page *m)
{
        struct access_view *v = find(a, m->view);
        struct span rows = m->rows;
        struct imap_view *base;
        int r = 0;

        if (!v || !v->is_loading)
                return;
        for (; r == 0 && rows.len >= IPC_ROW_OCTETS; rows = span_skip(rows, IPC_ROW_OCTETS)) {
                const struct imap_message message = message_of(rows.p);

                r = buffer_append(&v->rows, &message, sizeof message);
        }
        if (r < 0) {
                end_viewers(v, r);
                return;
        }
        if (!m->is_last)
                return;
        base = imap_view_new(&v->head,
                             (const struct imap_message *) (const void *) buffer_span(&v->rows).p,
                             v->rows.len / sizeof(struct imap_message));
        buffer_done(&v->rows);
        v->is_loading = false;
        if (!base) {
                end_viewers(v, -EIO);
                return;
        }
        if (v->current)
                leave_idle(v);
        apply(v, base);
        imap_view_unref(base);
}

void access_view_on_change(struct access *a, const struct ipc_view_change *m)
{
        struct access_view *v = find(a, m->view);
        struct reader gone = ipc_items_read(m->gone);
        struct span rows = m->rows;
        struct ipc_uid_span s;
        int r = 0;

        if (!v)
                return;
        for (; r == 0 && rows.len >= IPC_ROW_OCTETS; rows = span_skip(rows, IPC_ROW_OCTETS)) {
                const struct imap_view_change c = {.message = message_of(rows.p)};

                r = buffer_append(&v->changes, &c, sizeof c);
        }
        while (r == 0 && ipc_next_uid_span(&gone, &s)) {
                imap_gone_add(&v->head.gone,
                              &(struct imap_gone_range) {m->highest_modseq, s.first, s.last});
                for (uint64_t uid = s.first; uid <= s.last && r == 0; uid++) {
                        const struct imap_view_change c = {.message = {.uid = (uint32_t) uid},
                                                           .is_gone = true};

                        r = buffer_append(&v->changes, &c, sizeof c);
                }
        }
        if (r < 0) {
                resynchronise(v);
                return;
        }
        if (v->head.uid_next < m->uid_next)
                v->head.uid_next = m->uid_next;
        if (v->head.highest_modseq < m->highest_modseq)
                v->head.highest_modseq = m->highest_modseq;
        set_keywords(v, m->keywords);
        if (m->is_last && !v->is_loading) {
                leave_idle(v);
                apply(v, v->current);
        }
}

void access_view_on_gone(struct access *a, const struct ipc_view_gone *m)
{
        struct access_view *v = find(a, m->view);

        if (!v)
                return;
        if (m->is_deleted)
                end_viewers(v, -ENOENT);
        else
                resynchronise(v);
}

/* ---- a new keeper --------------------------------------------------------------- */

struct collection {
        struct access_view *items[64];
        size_t count;
};

static void collect(struct table_node *node, void *arg)
{
        struct collection *c = arg;

        if (c->count < sizeof c->items / sizeof c->items[0])
                c->items[c->count++] = TABLE_OBJECT(node, struct access_view, by_number);
}

void access_view_reopen_all(struct access *a)
{
        struct table old = a->views;
        struct collection c = {.count = 0};

        a->views = TABLE_INIT;
        do {
                c.count = 0;
                table_visit(&old, collect, &c);
                for (size_t i = 0; i < c.count; i++) {
                        table_remove(&old, &c.items[i]->by_number);
                        c.items[i]->number = 0;
                        resynchronise(c.items[i]);
                }
        } while (c.count);
        table_done(&old);
}
