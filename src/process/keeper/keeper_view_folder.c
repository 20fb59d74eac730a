/* Mailboxes by name. */
#include <errno.h>
#include <stdlib.h>

#include "process/keeper/keeper_view.h"

enum { FOLDERS_MAX = 10000, ROWS_A_FRAME = 500, MESSAGES_PAGE = 1000 };

/* What the messages with \Deleted of one mailbox have together. */
struct deleted_sum {
        uint64_t mailbox_id, size;
};

struct order {
        struct keeper *keeper;
        struct keeper_asker asker;
        uint64_t number;
        enum folder_verb verb;
        uint32_t special_use;
        struct account *account;
        bool wants_deleted_size;
        struct deleted_sum *sums; /* of the mailboxes that have such messages, by id */
        size_t sum_count, sum_at; /* sum_at: the one being added up, */
        uint32_t uid;             /* from this message on */
        size_t mailbox_len, new_name_len;
        char octets[]; /* mailbox, new_name */
};

static struct span mailbox_of(const struct order *o)
{
        return span_make(o->octets, o->mailbox_len);
}

static struct span new_name_of(const struct order *o)
{
        return span_make(o->octets + o->mailbox_len, o->new_name_len);
}

static void finish(struct order *o, int result)
{
        struct channel *ch = keeper_asker_channel(&o->asker);
        struct mailbox_status status = {0};

        if (result == 0 && o->account)
                (void) account_mailbox(o->account, mailbox_of(o), &status);
        if (ch)
                CHANNEL_SEND(ch, folder_done, -1, .order = o->number, .status = (uint32_t) -result,
                             .mailbox_id = status.mailbox_id);
        if (o->account)
                account_release(o->account);
        free(o->sums);
        free(o);
}

/* ---- rows --------------------------------------------------------------------- */

struct frame {
        struct order *order;
        struct buffer memory;
        struct ipc_items rows;
};

static void send_rows(struct frame *f)
{
        struct channel *ch = keeper_asker_channel(&f->order->asker);

        if (ch && f->rows.count)
                CHANNEL_SEND(ch, folder_rows, -1, .order = f->order->number, .rows = f->rows);
        buffer_clear(&f->memory);
        f->rows = (struct ipc_items) {0};
}

static void add_row(struct frame *f, const struct ipc_folder_row *row)
{
        ipc_add_folder_row(&f->memory, &f->rows, row);
        if (f->rows.count == ROWS_A_FRAME)
                send_rows(f);
}

static int compare_sums(const void *a, const void *b)
{
        const struct deleted_sum *x = a, *y = b;

        return (x->mailbox_id > y->mailbox_id) - (x->mailbox_id < y->mailbox_id);
}

/* Those that came since the sums were begun are in the next answer. */
static uint64_t deleted_size_of(const struct order *o, const struct mailbox_status *s)
{
        const struct deleted_sum key = {.mailbox_id = s->mailbox_id}, *found = NULL;

        if (s->deleted_count && o->sum_count)
                found = bsearch(&key, o->sums, o->sum_count, sizeof key, compare_sums);
        return found ? found->size : 0;
}

static void add_mailbox(struct frame *f, const struct mailbox_status *s)
{
        add_row(f, &(struct ipc_folder_row) {
                .name = s->name, .is_subscribed = account_is_subscribed(f->order->account, s->name),
                .special_use = s->special_use, .mailbox_id = s->mailbox_id,
                .uid_validity = s->uid_validity, .uid_next = s->uid_next,
                .message_count = s->message_count, .unseen_count = s->unseen_count,
                .deleted_count = s->deleted_count, .highest_modseq = s->highest_modseq,
                .size = s->size, .deleted_size = deleted_size_of(f->order, s)});
}

static int send_list(struct order *o)
{
        struct frame f = {.order = o, .memory = BUFFER_INIT(IPC_PAYLOAD_MAX)};
        struct mailbox_status *list = calloc(FOLDERS_MAX, sizeof *list), one;
        struct span *names = calloc(FOLDERS_MAX, sizeof *names);
        size_t count;

        if (!list || !names) {
                free(list);
                free(names);
                return -ENOMEM;
        }
        count = account_mailboxes(o->account, list, FOLDERS_MAX);
        for (size_t i = 0; i < count && i < FOLDERS_MAX; i++)
                add_mailbox(&f, &list[i]);
        count = account_subscriptions(o->account, names, FOLDERS_MAX);
        for (size_t i = 0; i < count && i < FOLDERS_MAX; i++)
                if (account_mailbox(o->account, names[i], &one) == -ENOENT)
                        add_row(&f, &(struct ipc_folder_row) {
                                .name = names[i], .is_missing = true, .is_subscribed = true});
        send_rows(&f);
        buffer_done(&f.memory);
        free(list);
        free(names);
        return 0;
}

static int send_one(struct order *o)
{
        struct frame f = {.order = o, .memory = BUFFER_INIT(IPC_PAYLOAD_MAX)};
        struct mailbox_status s;
        const int r = account_mailbox(o->account, mailbox_of(o), &s);

        if (r == 0)
                add_mailbox(&f, &s);
        send_rows(&f);
        buffer_done(&f.memory);
        return r;
}

/* ---- what changes ------------------------------------------------------------- */

/* RFC 9051 section 6.3.4: the levels above a new name come into being, too. */
static int create_above(struct account *a, struct span name, struct store_batch *batch)
{
        int r = 0;

        for (size_t i = 1; i < name.len && r == 0; i++) {
                if (name.p[i] != '/')
                        continue;
                r = account_create_mailbox(a, span_first(name, i), batch);
                if (r == -EEXIST)
                        r = 0;
        }
        return r;
}

/* Checked before anything is put: a failure leaves the batch empty. */
static int create(struct order *o, struct store_batch *batch)
{
        struct mailbox_status s;
        struct account *a = o->account;
        int r = account_check_name(mailbox_of(o));

        if (r == 0 && account_mailbox(a, mailbox_of(o), &s) == 0)
                r = -EEXIST;
        if (r < 0)
                return r;
        r = create_above(a, mailbox_of(o), batch);
        if (r == 0)
                r = account_create_mailbox(a, mailbox_of(o), batch);
        if (r == 0 && o->special_use)
                r = account_set_special_use(a, mailbox_of(o), o->special_use, batch);
        return r < 0 ? -ENOMEM : 0;
}

static int put(struct order *o, struct store_batch *batch)
{
        struct account *a = o->account;

        switch (o->verb) {
        case FOLDER_CREATE:
                return create(o, batch);
        case FOLDER_DELETE:
                return account_delete_mailbox(a, mailbox_of(o), batch);
        case FOLDER_RENAME:
                return account_rename_mailbox(a, mailbox_of(o), new_name_of(o), batch);
        case FOLDER_SUBSCRIBE:
                return account_subscribe(a, mailbox_of(o), true, batch);
        case FOLDER_UNSUBSCRIBE:
                return account_subscribe(a, mailbox_of(o), false, batch);
        case FOLDER_LIST:
        case FOLDER_STATUS: /* INBOX is always there (RFC 9051 section 5.1) */
                return account_create_mailbox(a, SPAN_LITERAL("INBOX"), batch);
        }
        return -EINVAL;
}

/* ---- what is \Deleted ----------------------------------------------------------- */

/* No record keeps these sums: few ask for them, and most mailboxes have no such
 * message, which their count tells. */
static int find_deleted(struct order *o)
{
        const size_t room = account_mailboxes(o->account, NULL, 0) + 1;
        struct mailbox_status *list = calloc(room, sizeof *list);
        size_t count = 0;

        o->sums = calloc(room, sizeof *o->sums);
        if (!list || !o->sums) {
                free(list);
                return -ENOMEM;
        }
        if (o->verb == FOLDER_LIST)
                count = account_mailboxes(o->account, list, room);
        else if (account_mailbox(o->account, mailbox_of(o), list) == 0)
                count = 1;
        for (size_t i = 0; i < count; i++)
                if (list[i].deleted_count)
                        o->sums[o->sum_count++].mailbox_id = list[i].mailbox_id;
        free(list);
        if (o->sum_count)
                qsort(o->sums, o->sum_count, sizeof *o->sums, compare_sums);
        return 0;
}

static void send_out(struct order *o)
{
        finish(o, o->verb == FOLDER_LIST ? send_list(o) : send_one(o));
}

static void add_up(struct order *o);

static void got_page(void *arg, int result, const struct message_entry *entries, size_t count,
                     bool has_more)
{
        struct order *o = arg;

        if (result < 0 || !keeper_asker_channel(&o->asker)) {
                finish(o, result < 0 ? result : -EPIPE);
                return;
        }
        for (size_t i = 0; i < count; i++)
                if (entries[i].flags & MESSAGE_DELETED)
                        o->sums[o->sum_at].size += entries[i].size;
        if (has_more && count) {
                o->uid = entries[count - 1].uid + 1;
        } else {
                o->sum_at++;
                o->uid = 1;
        }
        add_up(o);
}

/* Page by page: the loop serves others between them. */
static void add_up(struct order *o)
{
        if (o->sum_at == o->sum_count)
                send_out(o);
        else
                account_list(o->account, o->sums[o->sum_at].mailbox_id, o->uid, MESSAGES_PAGE,
                             got_page, o);
}

static void read_out(struct order *o)
{
        const int r = o->wants_deleted_size ? find_deleted(o) : 0;

        o->uid = 1;
        if (r < 0)
                finish(o, r);
        else
                add_up(o);
}

static void was_committed(void *arg, int result)
{
        struct order *o = arg;

        if (result < 0)
                account_forget(o->account);
        if (result == 0 && (o->verb == FOLDER_LIST || o->verb == FOLDER_STATUS))
                read_out(o);
        else
                finish(o, result);
}

/* The refusal was said already. */
static void was_refused(void *arg, int result)
{
        (void) arg;
        (void) result;
}

static bool only_reads(const struct order *o)
{
        struct mailbox_status s;

        return (o->verb == FOLDER_LIST || o->verb == FOLDER_STATUS) &&
               account_mailbox(o->account, SPAN_LITERAL("INBOX"), &s) == 0;
}

static void opened(void *arg, int result, struct account *a)
{
        struct order *o = arg;
        struct store_batch *batch;
        int r;

        o->account = a;
        if (result < 0) {
                finish(o, result);
                return;
        }
        if (only_reads(o)) {
                read_out(o);
                return;
        }
        batch = account_batch(a);
        r = batch ? put(o, batch) : -ENOMEM;
        if (!batch || r == -ENOMEM) {
                account_forget(a);
                store_batch_free(batch);
                finish(o, -ENOMEM);
                return;
        }
        if (r < 0) {
                /* Nothing was put; the batch keeps the account's sequence whole. */
                store_commit(o->keeper->store, &batch, 1, STORE_LAZY, was_refused, NULL);
                finish(o, r);
                return;
        }
        store_commit(o->keeper->store, &batch, 1, 0, was_committed, o);
}

void keeper_on_folder_order(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct ipc_folder_order *f = &m->folder_order;
        struct keeper_peer *peer = arg;
        struct order *o = calloc(1, sizeof *o + f->mailbox.len + f->new_name.len + 1);

        (void) fd;
        if (!o) {
                CHANNEL_SEND(ch, folder_done, -1, .order = f->order, .status = ENOMEM);
                return;
        }
        o->keeper = peer->keeper;
        o->asker = keeper_asker(peer);
        o->number = f->order;
        o->verb = (enum folder_verb) f->verb;
        o->special_use = f->special_use;
        o->wants_deleted_size = f->wants_deleted_size;
        o->mailbox_len = f->mailbox.len;
        o->new_name_len = f->new_name.len;
        if (f->mailbox.len)
                memcpy(o->octets, f->mailbox.p, f->mailbox.len);
        if (f->new_name.len)
                memcpy(o->octets + f->mailbox.len, f->new_name.p, f->new_name.len);
        account_open(peer->keeper->mailboxes, f->account, opened, o);
}
