/* mailbox.create, mailbox.append, mailbox.import: what is added to mailboxes. */
#include <errno.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/number.h"
#include "message/digest.h"
#include "process/keeper/keeper_control_mailbox.h"
#include "process/keeper/keeper_view.h"

enum { IMPORT_MAX = 256, IN_MEMORY_MAX = 1024 * 1024 };

/* A number of the arguments, or `otherwise`. */
static uint64_t number_argument(const struct control_session *s, const char *name, uint64_t max,
                                uint64_t otherwise)
{
        uint64_t number = otherwise;

        return number_parse(control_argument(s, name), max, &number) < 0 ? otherwise : number;
}

static void commit(struct control_session *s, struct store_batch *batch,
                   void (*done)(void *arg, int result))
{
        store_commit(s->keeper->store, &batch, 1, 0, done, s);
}

/* ---- create ------------------------------------------------------------ */

static void send_state(struct control_session *s)
{
        const struct mailbox_work *w = s->verb;
        struct mailbox_status m = {0};
        json_t *row;

        if (account_mailbox(w->account, control_argument(s, "mailbox"), &m) < 0)
                return;
        row = json_object();
        json_object_set_new(row, "uid_validity", json_integer(m.uid_validity));
        json_object_set_new(row, "uid_next", json_integer(m.uid_next));
        json_object_set_new(row, "messages", json_integer(m.message_count));
        control_mailbox_row(s, row);
}

static void was_created(void *arg, int result)
{
        struct control_session *s = arg;
        struct mailbox_work *w = s->verb;

        if (result < 0)
                account_forget(w->account);
        else
                send_state(s);
        control_mailbox_end(s, result, "creating the mailbox");
}

/* Makes the mailbox if it is not there, and what the arguments say of it so. */
static int create(struct control_session *s, struct account *a, struct store_batch *batch)
{
        const struct span name = control_argument(s, "mailbox");
        const uint32_t validity = (uint32_t) number_argument(s, "uid_validity", UINT32_MAX, 0);
        const uint32_t uid_next = (uint32_t) number_argument(s, "uid_next", UINT32_MAX, 1);
        int r = account_create_mailbox(a, name, batch);

        if (r == -EEXIST)
                r = 0;
        if (r == 0 && validity)
                r = account_set_uid_validity(a, name, validity, uid_next, batch);
        if (r == -EEXIST)
                r = 0; /* the row tells what it has */
        if (r == 0 && control_argument(s, "subscribed").len)
                r = account_subscribe(a, name, true, batch);
        return r;
}

static void create_mailbox(void *arg, int result, struct account *a)
{
        struct control_session *s = arg;
        struct store_batch *batch;

        if (!control_mailbox_has_account(s, result, a))
                return;
        batch = account_batch(a);
        result = batch ? create(s, a, batch) : -ENOMEM;
        if (result < 0) {
                account_forget(a);
                store_batch_free(batch);
                control_mailbox_end(s, result, "creating the mailbox");
                return;
        }
        commit(s, batch, was_created);
}

void control_mailbox_create(struct control_session *s)
{
        control_mailbox_open(s, create_mailbox);
}

/* ---- append ------------------------------------------------------------ */

/* Large messages go into a file that becomes the body. */
int control_mailbox_append_part(struct control_session *s, struct span part)
{
        int r = 0;

        if (s->lent_fd < 0 && s->input.len + part.len > IN_MEMORY_MAX) {
                s->lent_id = id_next(&s->keeper->ids, clock_now_us());
                r = store_blob_lend(s->keeper->store, s->lent_id, &s->lent_fd);
                if (r == 0)
                        r = file_write_all(s->lent_fd, buffer_span(&s->input).p, s->input.len);
                if (r < 0)
                        return r;
                s->lent_size = s->input.len;
                buffer_shrink(&s->input, 0);
        }
        if (s->lent_fd < 0)
                return buffer_append_span(&s->input, part);
        if (s->lent_size + part.len > CONTROL_MESSAGE_MAX)
                return -EMSGSIZE;
        s->lent_size += part.len;
        return file_write_all(s->lent_fd, part.p, part.len);
}

static void was_stored(void *arg, int result)
{
        struct control_session *s = arg;
        struct mailbox_work *w = s->verb;

        if (result < 0)
                account_forget(w->account);
        else
                s->lent_id = 0; /* it is the store's now */
        control_mailbox_end(s, result, "storing the message");
}

/* Puts what is to be stored into the batch. */
static int append(struct control_session *s, struct account *a, struct store_batch *batch)
{
        const struct span body = buffer_span(&s->input), owner = control_argument(s, "address");
        struct span keywords[IPC_KEYWORDS_MAX];
        const struct delivery d = {
                .entry = {.arrived_us = number_argument(s, "arrived", UINT64_MAX, clock_now_us()),
                          .flags = (uint32_t) number_argument(s, "flags", 31, 0),
                          .blob_id = s->lent_id ? s->lent_id
                                                : id_next(&s->keeper->ids, clock_now_us()),
                          .size = s->lent_id ? s->lent_size : body.len},
                .keywords = keywords,
                .keyword_count = keeper_split_keywords(control_argument(s, "keywords"), keywords),
                .uid = (uint32_t) number_argument(s, "uid", UINT32_MAX, 0),
        };
        int r = account_create_mailbox(a, control_argument(s, "mailbox"), batch);

        if (r == 0 || r == -EEXIST)
                r = account_import(a, control_argument(s, "mailbox"), &d, 1, batch);
        if (r == 0 && s->lent_id)
                store_blob_adopt(batch, d.entry.blob_id, 1, owner);
        else if (r == 0)
                store_blob_put(batch, d.entry.blob_id, 1, owner, &body, 1);
        return r;
}

/* Commits what `put` puts into a batch. */
static void store(struct control_session *s, int result, struct account *a,
                  int (*put)(struct control_session *s, struct account *a,
                             struct store_batch *batch))
{
        struct store_batch *batch;

        if (!control_mailbox_has_account(s, result, a))
                return;
        batch = account_batch(a);
        result = batch ? put(s, a, batch) : -ENOMEM;
        if (result == 0) {
                commit(s, batch, was_stored);
                return;
        }
        account_forget(a);
        store_batch_free(batch);
        control_mailbox_end(s, result, "storing the message");
}

static void append_message(void *arg, int result, struct account *a)
{
        store(arg, result, a, append);
}

void control_mailbox_append(struct control_session *s)
{
        if (s->lent_fd >= 0)
                close(s->lent_fd);
        s->lent_fd = -1;
        if (!s->input.len && !s->lent_id)
                control_end(s, EX_DATAERR, "the message is empty");
        else
                control_mailbox_open(s, append_message);
}

/* ---- import ------------------------------------------------------------ */

/* The message, and behind it what was made of it, under the id it has now. */
static void put_body(struct store_batch *batch, uint64_t id, struct span owner,
                     const struct ipc_import_message *m)
{
        char head[DIGEST_HEAD];
        const struct span parts[] = {m->octets, span_make(head, sizeof head),
                                     span_skip(m->digest, sizeof head)};

        store_blob_put(batch, id, 1, owner, parts, digest_seal(m->digest, id, head) ? 3 : 1);
}

/* The items of the input into `list`; all or none is stored. */
static int read_messages(struct control_session *s, struct delivery *list, struct span *keywords,
                         struct store_batch *batch, size_t *ret_count)
{
        struct reader each = READER(buffer_span(&s->input));
        struct ipc_import_message m;
        size_t count = 0;

        while (each.rest.len && count < IMPORT_MAX) {
                struct delivery *const d = &list[count];

                if (!ipc_next_import_message(&each, &m))
                        return -EBADMSG;
                *d = (struct delivery) {
                        .entry = {.arrived_us = m.arrived_us ? m.arrived_us : clock_now_us(),
                                  .flags = m.flags & 31,
                                  .blob_id = id_next(&s->keeper->ids, clock_now_us()),
                                  .size = m.octets.len},
                        .keywords = keywords + count * IPC_KEYWORDS_MAX,
                        .uid = m.uid,
                };
                d->keyword_count = keeper_split_keywords(m.keywords,
                                                         keywords + count * IPC_KEYWORDS_MAX);
                put_body(batch, d->entry.blob_id, control_argument(s, "address"), &m);
                count++;
        }
        *ret_count = count;
        return each.rest.len ? -E2BIG : 0;
}

static int import(struct control_session *s, struct account *a, struct store_batch *batch)
{
        struct delivery *list = calloc(IMPORT_MAX, sizeof *list);
        struct span *keywords = calloc((size_t) IMPORT_MAX * IPC_KEYWORDS_MAX, sizeof *keywords);
        size_t count = 0;
        int r = list && keywords ? 0 : -ENOMEM;

        if (r == 0)
                r = read_messages(s, list, keywords, batch, &count);
        if (r == 0)
                r = account_import(a, control_argument(s, "mailbox"), list, count, batch);
        free(keywords);
        free(list);
        return r;
}

static void import_messages(void *arg, int result, struct account *a)
{
        store(arg, result, a, import);
}

void control_mailbox_import(struct control_session *s)
{
        control_mailbox_open(s, import_messages);
}
