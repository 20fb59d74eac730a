/* mailbox.list, mailbox.messages, mailbox.fetch, mailbox.export */
#include "process/keeper/keeper_control_mailbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "base/number.h"
#include "policy/decision.h"
#include "process/keeper/keeper_commit.h"
#include "process/keeper/keeper_control.h"
#include "route/route.h"

enum { MAILBOXES_MAX = 1000, MESSAGES_PAGE = 500, FETCH_PART = IPC_BODY_PART_MAX,
       EXPORTED_AT_ONCE = 32 };

void control_mailbox_end(struct control_session *s, int result, const char *what)
{
        struct mailbox_work *w = s->verb;

        if (w && w->account)
                account_release(w->account);
        if (w) {
                free(w->page);
                free(w->undelete);
        }
        control_end_errno(s, result, what);
}

void control_mailbox_row(struct control_session *s, json_t *row)
{
        char *text = json_dumps(row, JSON_COMPACT);

        if (text && s->channel)
                CHANNEL_SEND(s->channel, control_row, -1, .json = span_from_string(text));
        free(text);
        json_decref(row);
}

void control_mailbox_open(struct control_session *s, account_open_fn *next)
{
        const struct span address = control_argument(s, "address");
        struct mailbox_work *w = calloc(1, sizeof *w);
        char lower[IPC_ADDRESS_MAX];

        if (!w || !address.len || address.len > sizeof lower) {
                free(w);
                control_end(s, EX_USAGE, "whose mailbox? give an address");
                return;
        }
        s->verb = w;
        ascii_lower_copy(lower, address);
        account_open(s->keeper->mailboxes, span_make(lower, address.len), next, s);
}

bool control_mailbox_has_account(struct control_session *s, int result, struct account *a)
{
        struct mailbox_work *w = s->verb;

        if (result < 0) {
                control_mailbox_end(s, result, "opening the account");
                return false;
        }
        w->account = a;
        return true;
}

bool control_mailbox_has(struct control_session *s, int result, struct account *a)
{
        struct mailbox_work *w = s->verb;

        if (!control_mailbox_has_account(s, result, a))
                return false;
        result = account_mailbox(a, control_argument(s, "mailbox"), &w->mailbox);
        if (result < 0)
                control_mailbox_end(s, result, "this mailbox");
        return result == 0;
}

/* ---- list -------------------------------------------------------------- */

static json_t *mailbox_row(const struct mailbox_status *m)
{
        json_t *row = json_object();

        json_object_set_new(row, "name", json_stringn(m->name.p, m->name.len));
        json_object_set_new(row, "uid_validity", json_integer(m->uid_validity));
        json_object_set_new(row, "uid_next", json_integer(m->uid_next));
        json_object_set_new(row, "messages", json_integer(m->message_count));
        json_object_set_new(row, "unseen", json_integer(m->unseen_count));
        json_object_set_new(row, "size", json_integer((json_int_t) m->size));
        json_object_set_new(row, "special_use", json_integer(m->special_use));
        return row;
}

static void list_mailboxes(void *arg, int result, struct account *a)
{
        struct control_session *s = arg;
        struct mailbox_status *list;
        size_t count;

        if (!control_mailbox_has_account(s, result, a))
                return;
        list = calloc(MAILBOXES_MAX, sizeof *list);
        if (!list) {
                control_mailbox_end(s, -ENOMEM, "listing mailboxes");
                return;
        }
        count = account_mailboxes(a, list, MAILBOXES_MAX);
        for (size_t i = 0; i < count && i < MAILBOXES_MAX; i++) {
                json_t *row = mailbox_row(&list[i]);

                json_object_set_new(row, "subscribed",
                                    json_boolean(account_is_subscribed(a, list[i].name)));
                control_mailbox_row(s, row);
        }
        free(list);
        control_mailbox_end(s, count ? 0 : -ENOENT, "mail for this address");
}

void control_mailbox_list(struct control_session *s)
{
        control_mailbox_open(s, list_mailboxes);
}

/* ---- messages ---------------------------------------------------------- */

static void next_messages(struct control_session *s);

static json_t *keyword_list(const struct mailbox_work *w, uint32_t bits)
{
        struct span names[MAILBOX_KEYWORDS_MAX];
        const unsigned count = account_keywords(w->account, w->mailbox.mailbox_id, names);
        json_t *list = json_array();

        for (unsigned i = 0; i < count; i++)
                if (bits & UINT32_C(1) << i)
                        json_array_append_new(list, json_stringn(names[i].p, names[i].len));
        return list;
}

static void send_message_row(struct control_session *s, const struct message_entry *e)
{
        json_t *row = json_object();

        json_object_set_new(row, "uid", json_integer(e->uid));
        json_object_set_new(row, "flags", json_integer(e->flags));
        json_object_set_new(row, "size", json_integer((json_int_t) e->size));
        json_object_set_new(row, "arrived", json_integer((json_int_t) e->arrived_us));
        if (e->keywords)
                json_object_set_new(row, "keywords", keyword_list(s->verb, e->keywords));
        control_mailbox_row(s, row);
}

static void got_messages(void *arg, int result, const struct message_entry *entries, size_t count,
                         bool has_more)
{
        struct control_session *s = arg;
        struct mailbox_work *w = s->verb;

        for (size_t i = 0; i < count; i++)
                send_message_row(s, &entries[i]);
        if (result < 0 || !has_more || !s->channel) {
                control_mailbox_end(s, result, "listing messages");
                return;
        }
        w->uid = entries[count - 1].uid + 1;
        control_go_on(s, next_messages);
}

static void next_messages(struct control_session *s)
{
        struct mailbox_work *w = s->verb;

        account_list(w->account, w->mailbox.mailbox_id, w->uid, MESSAGES_PAGE, got_messages, s);
}

static void list_messages(void *arg, int result, struct account *a)
{
        struct control_session *s = arg;
        struct mailbox_work *w = s->verb;
        uint64_t uid_from = 1;

        if (!control_mailbox_has(s, result, a))
                return;
        number_parse(control_argument(s, "uid_from"), UINT32_MAX, &uid_from);
        w->uid = (uint32_t) uid_from;
        next_messages(s);
}

void control_mailbox_messages(struct control_session *s)
{
        control_mailbox_open(s, list_messages);
}

/* ---- fetch ------------------------------------------------------------- */

static void next_part(struct control_session *s);

/* Octets of the message to be read next: what lies behind them is not for people. */
static size_t part_len(const struct mailbox_work *w)
{
        return w->size - w->offset < FETCH_PART ? (size_t) (w->size - w->offset) : FETCH_PART;
}

static void got_part(void *arg, int result, struct span octets, uint64_t blob_size)
{
        struct control_session *s = arg;
        struct mailbox_work *w = s->verb;

        if (result == 0 && s->channel && octets.len)
                CHANNEL_SEND(s->channel, control_octets, -1, .octets = octets);
        w->offset += octets.len;
        (void) blob_size;
        if (result < 0 || w->offset >= w->size || !octets.len || !s->channel) {
                control_mailbox_end(s, result, "reading the message");
                return;
        }
        control_go_on(s, next_part);
}

static void next_part(struct control_session *s)
{
        struct mailbox_work *w = s->verb;

        store_blob_read(s->keeper->store, w->blob_id, w->offset, part_len(w), got_part, s);
}

static void got_one(void *arg, int result, const struct message_entry *entries, size_t count,
                    bool has_more)
{
        struct control_session *s = arg;
        struct mailbox_work *w = s->verb;

        (void) has_more;
        if (result == 0 && (count == 0 || entries[0].uid != w->uid))
                result = -ENOENT;
        if (result < 0) {
                control_mailbox_end(s, result, "a message with this UID");
                return;
        }
        w->blob_id = entries[0].blob_id;
        w->size = entries[0].size;
        next_part(s);
}

static void fetch_message(void *arg, int result, struct account *a)
{
        struct control_session *s = arg;
        struct mailbox_work *w = s->verb;
        uint64_t uid;

        if (!control_mailbox_has(s, result, a))
                return;
        if (number_parse(control_argument(s, "uid"), UINT32_MAX, &uid) < 0) {
                control_mailbox_end(s, -EINVAL, "the UID");
                return;
        }
        w->uid = (uint32_t) uid;
        account_list(a, w->mailbox.mailbox_id, w->uid, 1, got_one, s);
}

void control_mailbox_fetch(struct control_session *s)
{
        control_mailbox_open(s, fetch_message);
}

/* ---- export ------------------------------------------------------------ */

static void next_exported_part(struct control_session *s);

static void next_exported(struct control_session *s)
{
        struct mailbox_work *w = s->verb;

        if (!s->channel) {
                control_mailbox_end(s, -EPIPE, "");
        } else if (w->page_at < w->page_count) {
                send_message_row(s, &w->page[w->page_at]);
                w->offset = 0;
                w->size = w->page[w->page_at].size;
                next_exported_part(s);
        } else if (w->has_more) {
                account_list(w->account, w->mailbox.mailbox_id, w->uid, MESSAGES_PAGE,
                             w->got_page, s);
        } else {
                control_mailbox_end(s, 0, "");
        }
}

/* The message's row has gone out; one that was expunged since is told of by
 * another row. */
static void got_exported_part(void *arg, int result, struct span octets, uint64_t blob_size)
{
        struct control_session *s = arg;
        struct mailbox_work *w = s->verb;

        if (result == -ENOENT) {
                control_mailbox_row(s, json_pack("{s:b}", "gone", 1));
                result = 0;
        } else if (result == 0 && s->channel && octets.len) {
                CHANNEL_SEND(s->channel, control_octets, -1, .octets = octets);
        }
        if (result < 0) {
                control_mailbox_end(s, result, "reading a message");
                return;
        }
        w->offset += octets.len;
        (void) blob_size;
        if (octets.len && w->offset < w->size) {
                control_go_on(s, next_exported_part);
                return;
        }
        w->page_at++;
        /* Some in one turn, as long as the client takes them. */
        if (++w->turn % EXPORTED_AT_ONCE && s->channel && channel_has_credit(s->channel))
                next_exported(s);
        else
                control_go_on(s, next_exported);
}

static void next_exported_part(struct control_session *s)
{
        struct mailbox_work *w = s->verb;

        store_blob_read(s->keeper->store, w->page[w->page_at].blob_id, w->offset, part_len(w),
                        got_exported_part, s);
}

static void got_export_page(void *arg, int result, const struct message_entry *entries,
                            size_t count, bool has_more)
{
        struct control_session *s = arg;
        struct mailbox_work *w = s->verb;

        if (result < 0) {
                control_mailbox_end(s, result, "listing messages");
                return;
        }
        if (count)
                memcpy(w->page, entries, count * sizeof *entries);
        w->page_at = 0;
        w->page_count = count;
        w->has_more = has_more && count;
        if (count)
                w->uid = entries[count - 1].uid + 1;
        control_go_on(s, next_exported);
}

static void export_messages(void *arg, int result, struct account *a)
{
        struct control_session *s = arg;
        struct mailbox_work *w = s->verb;

        if (!control_mailbox_has(s, result, a))
                return;
        w->page = calloc(MESSAGES_PAGE, sizeof *w->page);
        if (!w->page) {
                control_mailbox_end(s, -ENOMEM, "listing messages");
                return;
        }
        w->got_page = got_export_page;
        w->has_more = true;
        w->uid = 1;
        control_mailbox_row(s, mailbox_row(&w->mailbox));
        next_exported(s);
}

void control_mailbox_export(struct control_session *s)
{
        control_mailbox_open(s, export_messages);
}
