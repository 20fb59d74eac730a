#include "process/keeper/keeper_view.h"

#include <errno.h>
#include <stdlib.h>

#include "ipc/message_row.h"

enum {
        VIEWS_MAX = 100000,           /* of one access process */
        BEHIND_MAX = 4 * 1024 * 1024, /* octets queued for one that does not read */
};

/*  OPENING --account--> WATCHING --ready--> what went --> LISTING --last page--> OPEN
 *
 * In OPENING the store holds on to it: when it ends before, it is only marked. */
struct view {
        struct table_node by_number;
        struct list_node starved;
        struct keeper_peer *peer; /* NULL: ended while OPENING or LISTING */
        uint64_t number, mailbox_id;
        struct account *account;
        struct mailbox_watch *watch;
        struct mailbox_status status; /* when watching began */
        uint32_t uid;                 /* the next to list */
        bool is_asking;               /* the store will call back */
        bool is_listed;
};

struct keeper_asker keeper_asker(struct keeper_peer *peer)
{
        return (struct keeper_asker) {peer, peer->generation};
}

struct channel *keeper_asker_channel(const struct keeper_asker *a)
{
        return a->peer->generation == a->generation ? a->peer->channel : NULL;
}

static struct view *find(struct keeper_peer *peer, uint64_t number)
{
        struct table_node *n = table_first(&peer->views, number);

        return n ? TABLE_OBJECT(n, struct view, by_number) : NULL;
}

/* The view ends: nothing more is said of it. */
static void view_end(struct view *v)
{
        if (v->peer)
                table_remove(&v->peer->views, &v->by_number);
        v->peer = NULL;
        list_remove(&v->starved);
        v->watch = account_unwatch(v->watch);
        if (v->is_asking)
                return;
        if (v->account)
                account_release(v->account);
        free(v);
}

static void end_one(struct table_node *node, void *arg)
{
        (void) arg;
        view_end(TABLE_OBJECT(node, struct view, by_number));
}

void keeper_view_forget(struct keeper_peer *peer)
{
        table_visit(&peer->views, end_one, NULL);
        table_done(&peer->views);
}

static void refuse(struct view *v, int result)
{
        CHANNEL_SEND(v->peer->channel, view_head, -1, .view = v->number,
                     .status = (uint32_t) -result);
        view_end(v);
}

static void say_gone(struct view *v, bool is_deleted)
{
        CHANNEL_SEND(v->peer->channel, view_gone, -1, .view = v->number,
                     .is_deleted = is_deleted);
        view_end(v);
}

struct ipc_items keeper_view_keywords(const struct account *a, uint64_t mailbox_id,
                                      struct buffer *b)
{
        struct span names[MAILBOX_KEYWORDS_MAX];
        const unsigned count = account_keywords(a, mailbox_id, names);
        struct ipc_items items = {0};

        for (unsigned i = 0; i < count; i++)
                ipc_add_keyword(b, &items, &(struct ipc_keyword) {.name = names[i]});
        return items;
}

static int add_rows(struct buffer *b, const struct message_entry *entries, size_t count)
{
        char *to;
        const int r = count ? buffer_reserve(b, count * IPC_ROW_OCTETS, &to) : 0;

        for (size_t i = 0; i < count && r == 0; i++) {
                const struct message_entry *e = &entries[i];

                ipc_put_message_row(to + i * IPC_ROW_OCTETS, &(struct ipc_message_row) {
                        .uid = e->uid, .flags = e->flags, .keywords = e->keywords,
                        .modseq = e->modseq, .arrived_us = e->arrived_us,
                        .saved_us = e->saved_us, .size = e->size, .blob_id = e->blob_id});
        }
        if (r == 0)
                buffer_commit(b, count * IPC_ROW_OCTETS);
        return r;
}

/* ---- what it is --------------------------------------------------------------- */

static void list_on(struct view *v);

static void got_page(void *arg, int result, const struct message_entry *entries, size_t count,
                     bool has_more)
{
        struct view *v = arg;
        struct buffer b = BUFFER_INIT(IPC_PAYLOAD_MAX);

        v->is_asking = false;
        if (!v->peer || result < 0) {
                if (v->peer)
                        say_gone(v, false);
                else
                        view_end(v);
                return;
        }
        result = add_rows(&b, entries, count);
        if (count)
                v->uid = entries[count - 1].uid + 1;
        if (result == 0)
                result = CHANNEL_SEND(v->peer->channel, view_page, -1, .view = v->number,
                                      .is_last = !has_more, .rows = buffer_span(&b));
        buffer_done(&b);
        v->is_listed = !has_more;
        if (result < 0)
                say_gone(v, false);
        else if (has_more)
                list_on(v);
}

static void list_on(struct view *v)
{
        if (!channel_has_credit(v->peer->channel)) {
                list_append(&v->peer->starved, &v->starved);
                return;
        }
        v->is_asking = true;
        account_list(v->account, v->mailbox_id, v->uid, IPC_ROWS_MAX, got_page, v);
}

void keeper_view_credit(struct channel *ch, void *arg)
{
        struct keeper_peer *peer = arg;

        while (!list_is_empty(&peer->starved) && channel_has_credit(ch))
                list_on(LIST_OBJECT(list_take_first(&peer->starved), struct view, starved));
}

static int send_expunged(struct view *v, uint64_t since, const struct expunged_range *list,
                         size_t count)
{
        struct buffer b = BUFFER_INIT(IPC_PAYLOAD_MAX);
        size_t at = 0;
        int r = 0;

        do {
                struct ipc_items items = {0};

                buffer_clear(&b);
                while (at < count && items.count < IPC_EXPUNGED_MAX && r == 0) {
                        const struct expunged_range *e = &list[at++];

                        r = ipc_add_expunged(&b, &items, &(struct ipc_expunged) {
                                e->modseq, e->first, e->last});
                }
                if (r == 0)
                        r = CHANNEL_SEND(v->peer->channel, view_expunged, -1, .view = v->number,
                                         .since = since, .ranges = items);
        } while (r == 0 && at < count);
        buffer_done(&b);
        return r;
}

static void got_expunged(void *arg, int result, uint64_t since, const struct expunged_range *list,
                         size_t count)
{
        struct view *v = arg;

        v->is_asking = false;
        if (!v->peer) {
                view_end(v);
                return;
        }
        if (result == 0)
                result = send_expunged(v, since, list, count);
        if (result < 0)
                say_gone(v, false);
        else
                list_on(v);
}

static void on_ready(void *arg)
{
        struct view *v = arg;
        struct buffer b = BUFFER_INIT(IPC_PAYLOAD_MAX);
        const int r = CHANNEL_SEND(v->peer->channel, view_head, -1, .view = v->number,
                                   .uid_validity = v->status.uid_validity,
                                   .uid_next = v->status.uid_next,
                                   .highest_modseq = v->status.highest_modseq,
                                   .keywords = keeper_view_keywords(v->account, v->mailbox_id, &b));

        buffer_done(&b);
        if (r < 0) {
                say_gone(v, false);
                return;
        }
        v->is_asking = true;
        account_expunged(v->account, v->mailbox_id, got_expunged, v);
}

/* ---- what it becomes ---------------------------------------------------------- */

static int send_change(struct view *v, const struct mailbox_news *n, struct span rows,
                       struct ipc_items gone, bool is_last)
{
        struct buffer b = BUFFER_INIT(IPC_PAYLOAD_MAX);
        const int r = CHANNEL_SEND(v->peer->channel, view_change, -1, .view = v->number,
                                   .is_last = is_last, .uid_next = n->status->uid_next,
                                   .highest_modseq = n->status->highest_modseq,
                                   .keywords = keeper_view_keywords(v->account, v->mailbox_id, &b),
                                   .rows = rows, .gone = gone);

        buffer_done(&b);
        return r;
}

/* UIDs that went, in order, as ranges. */
static int add_gone(struct buffer *b, struct ipc_items *items, const struct mailbox_news *n,
                    size_t *at)
{
        int r = 0;

        while (*at < n->gone_count && items->count < IPC_ROWS_MAX && r == 0) {
                struct ipc_uid_span s = {n->gone[*at], n->gone[*at]};

                while (++*at < n->gone_count && n->gone[*at] == s.last + 1)
                        s.last++;
                r = ipc_add_uid_span(b, items, &s);
        }
        return r;
}

static int tell(struct view *v, const struct mailbox_news *n)
{
        struct buffer row_memory = BUFFER_INIT(IPC_PAYLOAD_MAX),
                      gone_memory = BUFFER_INIT(IPC_PAYLOAD_MAX);
        size_t row = 0, gone_at = 0;
        int r = 0;

        do {
                const size_t left = n->entry_count - row;
                const size_t count = left < IPC_ROWS_MAX ? left : IPC_ROWS_MAX;
                struct ipc_items gone = {0};

                buffer_clear(&row_memory);
                buffer_clear(&gone_memory);
                r = count ? add_rows(&row_memory, n->entries + row, count) : 0;
                row += count;
                if (r == 0)
                        r = add_gone(&gone_memory, &gone, n, &gone_at);
                if (r == 0)
                        r = send_change(v, n, buffer_span(&row_memory), gone,
                                        row == n->entry_count && gone_at == n->gone_count);
        } while (r == 0 && (row < n->entry_count || gone_at < n->gone_count));
        buffer_done(&row_memory);
        buffer_done(&gone_memory);
        return r;
}

static void on_news(void *arg, const struct mailbox_news *n)
{
        struct view *v = arg;

        if (n->is_lost || n->is_deleted)
                say_gone(v, n->is_deleted);
        else if (channel_output_len(v->peer->channel) > BEHIND_MAX || tell(v, n) < 0)
                say_gone(v, false);
}

static const struct mailbox_watch_handler watch_handler = {.ready = on_ready, .news = on_news};

/* ---- opening ------------------------------------------------------------------ */

static void opened(void *arg, int result, struct account *a)
{
        struct view *v = arg;
        struct mailbox_status status[1];
        const struct mailbox_status *found = NULL;

        v->is_asking = false;
        v->account = a;
        if (!v->peer) {
                view_end(v);
                return;
        }
        if (result == 0 && account_mailbox_by_id(a, v->mailbox_id, status) == 0)
                found = status;
        if (result == 0 && !found)
                result = -ENOENT;
        if (result == 0) {
                v->status = *found;
                v->uid = 1;
                result = account_watch(a, v->mailbox_id, &watch_handler, v, &v->watch);
        }
        if (result < 0)
                refuse(v, result);
}

void keeper_on_view_open(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct ipc_view_open *o = &m->view_open;
        struct keeper_peer *peer = arg;
        struct view *v = NULL;

        (void) fd;
        if (peer->views.count < VIEWS_MAX && !find(peer, o->view))
                v = calloc(1, sizeof *v);
        if (!v || table_add(&peer->views, &v->by_number, o->view) < 0) {
                free(v);
                CHANNEL_SEND(ch, view_head, -1, .view = o->view, .status = ENOMEM);
                return;
        }
        v->peer = peer;
        v->number = o->view;
        v->mailbox_id = o->mailbox_id;
        v->is_asking = true;
        account_open(peer->keeper->mailboxes, o->account, opened, v);
}

void keeper_on_view_close(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct view *v = find(arg, m->view_close.view);

        (void) ch;
        (void) fd;
        if (v)
                view_end(v);
}
