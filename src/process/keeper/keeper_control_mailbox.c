/* mailbox.list, mailbox.messages, mailbox.fetch, mailbox.append, mailbox.create */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/number.h"
#include "policy/decision.h"
#include "process/keeper/keeper_commit.h"
#include "process/keeper/keeper_control.h"
#include "route/route.h"

enum { MAILBOXES_MAX = 1000, MESSAGES_PAGE = 500, FETCH_PART = IPC_BODY_PART_MAX };

/* What a mailbox verb is at. */
struct work {
        struct control_session *session;
        struct account *account;
        struct mailbox_status mailbox;
        uint32_t uid;
        uint64_t blob_id, offset, size;
        char row[512];
};

static void end_work(struct control_session *s, int result, const char *what)
{
        struct work *w = s->verb;

        if (w && w->account)
                account_release(w->account);
        control_end_errno(s, result, what);
}

static void send_json(struct control_session *s, json_t *row)
{
        char *text = json_dumps(row, JSON_COMPACT);

        if (text && s->channel)
                CHANNEL_SEND(s->channel, control_row, -1, .json = span_from_string(text));
        free(text);
        json_decref(row);
}

/* Opens the account that the arguments name, then goes on with `next`. */
static void open_account(struct control_session *s, account_open_fn *next)
{
        const struct span address = control_argument(s, "address");
        struct work *w = calloc(1, sizeof *w);
        char lower[IPC_ADDRESS_MAX];

        if (!w || !address.len || address.len > sizeof lower) {
                free(w);
                control_end(s, EX_USAGE, "whose mailbox? give an address");
                return;
        }
        w->session = s;
        s->verb = w;
        ascii_lower_copy(lower, address);
        account_open(s->keeper->mailboxes, span_make(lower, address.len), next, s);
}

/* Keeps what account_open() gave; false when the verb has ended. */
static bool has_account(struct control_session *s, int result, struct account *a)
{
        struct work *w = s->verb;

        if (result < 0) {
                end_work(s, result, "opening the account");
                return false;
        }
        w->account = a;
        return true;
}

static bool has_mailbox(struct control_session *s, int result, struct account *a)
{
        struct work *w = s->verb;

        if (!has_account(s, result, a))
                return false;
        result = account_mailbox(a, control_argument(s, "mailbox"), &w->mailbox);
        if (result < 0)
                end_work(s, result, "this mailbox");
        return result == 0;
}

/* ---- list, create ------------------------------------------------------ */

static json_t *mailbox_row(const struct mailbox_status *m)
{
        json_t *row = json_object();

        json_object_set_new(row, "name", json_stringn(m->name.p, m->name.len));
        json_object_set_new(row, "uid_validity", json_integer(m->uid_validity));
        json_object_set_new(row, "uid_next", json_integer(m->uid_next));
        json_object_set_new(row, "messages", json_integer(m->message_count));
        json_object_set_new(row, "unseen", json_integer(m->unseen_count));
        json_object_set_new(row, "size", json_integer((json_int_t) m->size));
        return row;
}

static void list_mailboxes(void *arg, int result, struct account *a)
{
        struct control_session *s = arg;
        struct mailbox_status *list;
        size_t count;

        if (!has_account(s, result, a))
                return;
        list = calloc(MAILBOXES_MAX, sizeof *list);
        if (!list) {
                end_work(s, -ENOMEM, "listing mailboxes");
                return;
        }
        count = account_mailboxes(a, list, MAILBOXES_MAX);
        for (size_t i = 0; i < count && i < MAILBOXES_MAX; i++)
                send_json(s, mailbox_row(&list[i]));
        free(list);
        end_work(s, count ? 0 : -ENOENT, "mail for this address");
}

void control_mailbox_list(struct control_session *s)
{
        open_account(s, list_mailboxes);
}

static void was_created(void *arg, int result)
{
        struct control_session *s = arg;
        struct work *w = s->verb;

        if (result < 0)
                account_forget(w->account);
        end_work(s, result, "creating the mailbox");
}

static void create_mailbox(void *arg, int result, struct account *a)
{
        struct control_session *s = arg;
        struct store_batch *batch;

        if (!has_account(s, result, a))
                return;
        batch = account_batch(a);
        result = batch ? account_create_mailbox(a, control_argument(s, "mailbox"), batch) : -ENOMEM;
        if (result < 0) {
                store_batch_free(batch);
                end_work(s, result == -EEXIST ? 0 : result, "creating the mailbox");
                return;
        }
        store_commit(s->keeper->store, &batch, 1, 0, was_created, s);
}

void control_mailbox_create(struct control_session *s)
{
        open_account(s, create_mailbox);
}

/* ---- messages ---------------------------------------------------------- */

static void next_messages(struct control_session *s);

static void send_message_row(struct control_session *s, const struct message_entry *e)
{
        json_t *row = json_object();

        json_object_set_new(row, "uid", json_integer(e->uid));
        json_object_set_new(row, "flags", json_integer(e->flags));
        json_object_set_new(row, "size", json_integer((json_int_t) e->size));
        json_object_set_new(row, "arrived", json_integer((json_int_t) e->arrived_us));
        send_json(s, row);
}

static void got_messages(void *arg, int result, const struct message_entry *entries, size_t count,
                         bool has_more)
{
        struct control_session *s = arg;
        struct work *w = s->verb;

        for (size_t i = 0; i < count; i++)
                send_message_row(s, &entries[i]);
        if (result < 0 || !has_more || !s->channel) {
                end_work(s, result, "listing messages");
                return;
        }
        w->uid = entries[count - 1].uid + 1;
        control_go_on(s, next_messages);
}

static void next_messages(struct control_session *s)
{
        struct work *w = s->verb;

        account_list(w->account, w->mailbox.mailbox_id, w->uid, MESSAGES_PAGE, got_messages, s);
}

static void list_messages(void *arg, int result, struct account *a)
{
        struct control_session *s = arg;
        struct work *w = s->verb;
        uint64_t uid_from = 1;

        if (!has_mailbox(s, result, a))
                return;
        number_parse(control_argument(s, "uid_from"), UINT32_MAX, &uid_from);
        w->uid = (uint32_t) uid_from;
        next_messages(s);
}

void control_mailbox_messages(struct control_session *s)
{
        open_account(s, list_messages);
}

/* ---- fetch ------------------------------------------------------------- */

static void next_part(struct control_session *s);

static void got_part(void *arg, int result, struct span octets, uint64_t blob_size)
{
        struct control_session *s = arg;
        struct work *w = s->verb;

        if (result == 0 && s->channel && octets.len)
                CHANNEL_SEND(s->channel, control_octets, -1, .octets = octets);
        w->offset += octets.len;
        if (result < 0 || w->offset >= blob_size || !octets.len || !s->channel) {
                end_work(s, result, "reading the message");
                return;
        }
        control_go_on(s, next_part);
}

static void next_part(struct control_session *s)
{
        struct work *w = s->verb;

        store_blob_read(s->keeper->store, w->blob_id, w->offset, FETCH_PART, got_part, s);
}

static void got_one(void *arg, int result, const struct message_entry *entries, size_t count,
                    bool has_more)
{
        struct control_session *s = arg;
        struct work *w = s->verb;

        (void) has_more;
        if (result == 0 && (count == 0 || entries[0].uid != w->uid))
                result = -ENOENT;
        if (result < 0) {
                end_work(s, result, "a message with this UID");
                return;
        }
        w->blob_id = entries[0].blob_id;
        next_part(s);
}

static void fetch_message(void *arg, int result, struct account *a)
{
        struct control_session *s = arg;
        struct work *w = s->verb;
        uint64_t uid;

        if (!has_mailbox(s, result, a))
                return;
        if (number_parse(control_argument(s, "uid"), UINT32_MAX, &uid) < 0) {
                end_work(s, -EINVAL, "the UID");
                return;
        }
        w->uid = (uint32_t) uid;
        account_list(a, w->mailbox.mailbox_id, w->uid, 1, got_one, s);
}

void control_mailbox_fetch(struct control_session *s)
{
        open_account(s, fetch_message);
}

/* ---- append ------------------------------------------------------------ */

static void was_appended(void *arg, int result)
{
        struct control_session *s = arg;
        struct work *w = s->verb;

        if (result < 0)
                account_forget(w->account);
        if (result == 0) {
                json_t *row = json_object();

                json_object_set_new(row, "uid", json_integer(w->uid));
                send_json(s, row);
        }
        end_work(s, result, "storing the message");
}

static void append_message(void *arg, int result, struct account *a)
{
        struct control_session *s = arg;
        struct keeper *k = s->keeper;
        const struct span body = buffer_span(&s->input);
        struct delivery d = {.mailbox = control_argument(s, "mailbox"), .may_create = true};
        uint64_t arrived_us = clock_now_us(), flags = 0;
        struct store_batch *batch;
        struct work *w = s->verb;

        if (!has_account(s, result, a))
                return;
        number_parse(control_argument(s, "arrived"), UINT64_MAX, &arrived_us);
        number_parse(control_argument(s, "flags"), 31, &flags);
        d.entry = (struct message_entry) {.arrived_us = arrived_us, .flags = (uint32_t) flags,
                                          .blob_id = id_next(&k->ids, clock_now_us()),
                                          .size = body.len};
        batch = account_batch(a);
        result = batch ? account_deliver(a, &d, batch, &w->uid) : -ENOMEM;
        if (result < 0) {
                store_batch_free(batch);
                end_work(s, result, "storing the message");
                return;
        }
        store_blob_put(batch, d.entry.blob_id, 1, control_argument(s, "address"), &body, 1);
        store_commit(k->store, &batch, 1, 0, was_appended, s);
}

void control_mailbox_append(struct control_session *s)
{
        if (!s->input.len)
                control_end(s, EX_DATAERR, "the message is empty");
        else
                open_account(s, append_message);
}
