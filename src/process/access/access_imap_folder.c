/* Mailboxes by name: LIST, STATUS, SELECT, and what changes names. */
#include <errno.h>
#include <stdlib.h>

#include "process/access/access_imap.h"

enum { MAILBOXES_MAX = 20000 };

static void clear_rows(struct access_imap *imap)
{
        arena_clear(&imap->arena);
        free(imap->mailboxes);
        imap->mailboxes = NULL;
        imap->mailbox_count = imap->mailbox_room = 0;
}

static int add_row(struct access_imap *imap, const struct ipc_folder_row *row)
{
        struct span name;

        if (imap->mailbox_count == imap->mailbox_room) {
                const size_t room = imap->mailbox_room ? imap->mailbox_room * 2 : 8;
                struct imap_mailbox *grown =
                        room <= MAILBOXES_MAX * 2
                                ? realloc(imap->mailboxes, room * sizeof *grown) : NULL;

                if (!grown)
                        return -ENOMEM;
                imap->mailboxes = grown;
                imap->mailbox_room = room;
        }
        name = arena_copy(&imap->arena, row->name);
        if (!name.p)
                return -ENOMEM;
        imap->mailboxes[imap->mailbox_count++] = (struct imap_mailbox) {
                .name = name, .is_missing = row->is_missing, .is_subscribed = row->is_subscribed,
                .special_use = row->special_use, .mailbox_id = row->mailbox_id,
                .uid_validity = row->uid_validity, .uid_next = row->uid_next,
                .message_count = row->message_count, .unseen_count = row->unseen_count,
                .deleted_count = row->deleted_count, .highest_modseq = row->highest_modseq,
                .size = row->size, .deleted_size = row->deleted_size,
        };
        return 0;
}

/* True for the last word of the order: `*ret` is its status, 0 or negative errno. */
static bool is_listed(struct access_session *s, unsigned type, const union ipc_message *m,
                      int *ret)
{
        struct reader each;
        struct ipc_folder_row row;

        *ret = 0; /* compilers do not see that it is not read then */
        if (!m || type != IPC_folder_rows) {
                s->order = NULL;
                *ret = access_imap_status(m, m ? m->folder_done.status : 0);
                return true;
        }
        each = ipc_items_read(m->folder_rows.rows);
        while (ipc_next_folder_row(&each, &row) && add_row(access_imap_of(s), &row) == 0)
                ;
        return false;
}

static void refuse(struct access_session *s, int result)
{
        clear_rows(access_imap_of(s));
        access_imap_answer(s, result, "NONEXISTENT");
}

static void give(struct access_session *s, const struct imap_answer *answer)
{
        struct access_imap *imap = access_imap_of(s);

        imap_server_answer(imap->engine, answer);
        clear_rows(imap);
        access_session_fed(s);
}

static void folder_answered(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        struct access_session *s = arg;
        const struct access_imap *imap = access_imap_of(s);
        int r;

        (void) fd;
        if (!is_listed(s, type, m, &r))
                return;
        if (r < 0)
                refuse(s, r);
        else
                give(s, &(const struct imap_answer) {
                        .result = IMAP_OK, .mailboxes = imap->mailboxes,
                        .mailbox_count = imap->mailbox_count,
                        .mailbox_id = m->folder_done.mailbox_id});
}

/* One root for all mailboxes of the account (RFC 9208 section 3.2). */
static void quota_answered(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        struct access_session *s = arg;
        const struct access_imap *imap = access_imap_of(s);
        struct imap_answer a = {.result = IMAP_OK, .quota = {.storage_limit = s->account->quota}};
        bool is_there = imap->quota_of.len == 0 ||
                        span_equal(imap->quota_of, SPAN_LITERAL("INBOX"));
        int r;

        (void) fd;
        if (!is_listed(s, type, m, &r))
                return;
        for (size_t i = 0; i < imap->mailbox_count; i++) {
                const struct imap_mailbox *box = &imap->mailboxes[i];

                a.quota.storage_used += box->size;
                is_there = is_there || (!box->is_missing && span_equal(box->name, imap->quota_of));
        }
        if (r == 0 && !is_there)
                r = -ENOENT;
        if (r < 0)
                refuse(s, r);
        else
                give(s, &a);
}

static enum folder_verb verb_of(enum imap_event_kind kind)
{
        switch (kind) {
        case IMAP_EVENT_STATUS:
        case IMAP_EVENT_SELECT:
                return FOLDER_STATUS;
        case IMAP_EVENT_CREATE:
                return FOLDER_CREATE;
        case IMAP_EVENT_DELETE:
                return FOLDER_DELETE;
        case IMAP_EVENT_RENAME:
                return FOLDER_RENAME;
        case IMAP_EVENT_SUBSCRIBE:
                return FOLDER_SUBSCRIBE;
        case IMAP_EVENT_UNSUBSCRIBE:
                return FOLDER_UNSUBSCRIBE;
        default:
                return FOLDER_LIST;
        }
}

static void order(struct access_session *s, const struct imap_event *ev, access_answer_fn *answer)
{
        const uint64_t number = access_keeper_number(&s->access->keeper);
        const union ipc_message m = {.folder_order = {
                .order = number, .verb = (uint8_t) verb_of(ev->kind),
                .account = access_account_name(s->account), .mailbox = ev->mailbox,
                .new_name = ev->new_name, .special_use = ev->special_use,
                .wants_deleted_size = ev->wants_deleted_size}};

        clear_rows(access_imap_of(s));
        access_imap_order(s, IPC_folder_order, &m, number, answer);
}

void access_imap_folder(struct access_session *s, const struct imap_event *ev)
{
        access_imap_of(s)->quota_of = ev->mailbox;
        order(s, ev, ev->kind == IMAP_EVENT_QUOTA ? quota_answered : folder_answered);
}

/* The name is known by its id now: that is what is looked at. */
static void select_answered(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        struct access_session *s = arg;
        struct access_imap *imap = access_imap_of(s);
        int r;

        (void) fd;
        if (!is_listed(s, type, m, &r))
                return;
        if (r == 0 && imap->mailbox_count != 1)
                r = -ENOENT;
        if (r == 0) {
                const uint64_t mailbox_id = imap->mailboxes[0].mailbox_id;

                clear_rows(imap);
                imap->is_selecting = true;
                r = access_view_attach(s->account, mailbox_id, &imap->viewer);
        }
        if (r < 0) {
                imap->is_selecting = false;
                refuse(s, r);
        }
}

void access_imap_select(struct access_session *s, const struct imap_event *ev)
{
        struct access_imap *imap = access_imap_of(s);

        access_view_detach(&imap->viewer);
        imap->is_read_only = ev->is_read_only;
        order(s, ev, select_answered);
}
