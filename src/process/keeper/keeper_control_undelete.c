/* mailbox.expunged, mailbox.undelete: what was deleted not long ago. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/number.h"
#include "process/keeper/keeper_control_mailbox.h"

enum { PLACES_MAX = 1000, NAME_MAX_OCTETS = 255 };

/* A mailbox that messages were expunged from. */
struct place {
        uint64_t mailbox_id;
        char name[NAME_MAX_OCTETS]; /* as it is called, or was */
        size_t name_len;
};

struct undelete {
        void (*found)(struct control_session *s, const struct kept_messages *k);
        void (*found_all)(struct control_session *s);
        struct place *places; /* behind this struct */
        size_t count, at;
        uint64_t messages;
        struct kept_place behind;
        uint32_t uid; /* 0: all */
};

static struct undelete *undelete_of(const struct control_session *s)
{
        const struct mailbox_work *w = s->verb;

        return w->undelete;
}

/* What the mailbox is called now, where it is still there. */
static struct span name_now(const struct mailbox_work *w, const struct kept_messages *k)
{
        struct mailbox_status status;

        return account_mailbox_by_id(w->account, k->mailbox_id, &status) == 0 ? status.name
                                                                             : k->name;
}

static bool is_meant(const struct control_session *s, struct span name)
{
        const struct span wanted = control_argument(s, "mailbox");

        return !wanted.len || span_equal(wanted, name) ||
               (span_equal_nocase(wanted, SPAN_LITERAL("INBOX")) &&
                span_equal(name, SPAN_LITERAL("INBOX")));
}

/* ---- all that is kept, page by page ---------------------------------------------- */

static void look_on(struct control_session *s);

static void got_kept(void *arg, int result, const struct kept_messages *list, size_t count,
                     const struct kept_place *last, bool has_more)
{
        struct control_session *s = arg;
        struct undelete *u = undelete_of(s);

        for (size_t i = 0; i < count; i++)
                u->found(s, &list[i]);
        if (result < 0 || !s->channel) {
                control_mailbox_end(s, result, "looking for deleted messages");
        } else if (has_more) {
                u->behind = *last;
                control_go_on(s, look_on);
        } else {
                u->found_all(s);
        }
}

static void look_on(struct control_session *s)
{
        const struct mailbox_work *w = s->verb;

        account_list_kept(w->account, &undelete_of(s)->behind, got_kept, s);
}

/* NULL: it has ended already. */
static struct undelete *begin(struct control_session *s, int result, struct account *a)
{
        struct mailbox_work *w = s->verb;
        const struct span uid_text = control_argument(s, "uid");
        struct undelete *u;
        uint64_t uid = 0;

        if (!control_mailbox_has_account(s, result, a))
                return NULL;
        u = calloc(1, sizeof *u + PLACES_MAX * sizeof(struct place));
        w->undelete = u;
        if (u && uid_text.len &&
            (number_parse(uid_text, UINT32_MAX, &uid) < 0 || uid == 0)) {
                control_mailbox_end(s, -EINVAL, "the UID");
                return NULL;
        }
        if (!u) {
                control_mailbox_end(s, -ENOMEM, "looking for deleted messages");
                return NULL;
        }
        u->places = (struct place *) (void *) (u + 1);
        u->uid = (uint32_t) uid;
        return u;
}

/* ---- expunged: a listing -------------------------------------------------------- */

static void send_rows(struct control_session *s, const struct kept_messages *k)
{
        const struct span name = name_now(s->verb, k);

        if (!is_meant(s, name))
                return;
        for (size_t i = 0; i < k->count; i++) {
                const struct message_entry *e = &k->entries[i];
                json_t *row = json_object();

                json_object_set_new(row, "mailbox", json_stringn(name.p, name.len));
                json_object_set_new(row, "uid", json_integer(e->uid));
                json_object_set_new(row, "flags", json_integer(e->flags));
                json_object_set_new(row, "size", json_integer((json_int_t) e->size));
                json_object_set_new(row, "arrived", json_integer((json_int_t) e->arrived_us));
                json_object_set_new(row, "expunged", json_integer((json_int_t) k->expunged_us));
                control_mailbox_row(s, row);
        }
}

static void end_listing(struct control_session *s)
{
        control_mailbox_end(s, 0, "listing deleted messages");
}

static void list_expunged(void *arg, int result, struct account *a)
{
        struct undelete *u = begin(arg, result, a);

        if (!u)
                return;
        u->found = send_rows;
        u->found_all = end_listing;
        look_on(arg);
}

void control_mailbox_expunged(struct control_session *s)
{
        control_mailbox_open(s, list_expunged);
}

/* ---- undelete --------------------------------------------------------------------- */

static void next_place(struct control_session *s);

static void was_brought_back(void *arg, int result, const struct account_changed *c)
{
        struct control_session *s = arg;
        struct undelete *u = undelete_of(s);
        const struct place *p = &u->places[u->at++];
        uint64_t count = 0;

        for (size_t i = 0; i < c->uid_count; i++)
                count += c->uids[i].last - c->uids[i].first + 1;
        if (result < 0) {
                control_mailbox_end(s, result, "bringing messages back");
                return;
        }
        if (count) {
                json_t *row = json_object();

                json_object_set_new(row, "mailbox", json_stringn(p->name, p->name_len));
                json_object_set_new(row, "messages", json_integer((json_int_t) count));
                control_mailbox_row(s, row);
        }
        u->messages += count;
        control_go_on(s, next_place);
}

static void bring_back(struct control_session *s)
{
        const struct mailbox_work *w = s->verb;
        const struct undelete *u = w->undelete;
        const struct place *p = &u->places[u->at];
        const struct uid_range uids = {u->uid ? u->uid : 1, u->uid ? u->uid : UINT32_MAX};

        account_change(w->account, &(const struct account_change) {
                .kind = ACCOUNT_UNDELETE, .mailbox_id = p->mailbox_id, .uids = &uids,
                .uid_count = 1, .to = {p->name, p->name_len}}, was_brought_back, s);
}

static void was_made(void *arg, int result)
{
        struct control_session *s = arg;
        const struct mailbox_work *w = s->verb;

        if (result < 0) {
                account_forget(w->account);
                control_mailbox_end(s, result, "creating the mailbox");
                return;
        }
        bring_back(s);
}

/* One mailbox after the other; one that was deleted is made again. */
static void next_place(struct control_session *s)
{
        const struct mailbox_work *w = s->verb;
        struct undelete *u = w->undelete;
        struct mailbox_status status;
        const struct place *p = &u->places[u->at];
        struct store_batch *batch;
        int r;

        if (u->at == u->count) {
                control_mailbox_end(s, u->messages ? 0 : -ENOENT, "a deleted message that is kept");
                return;
        }
        if (account_mailbox(w->account, span_make(p->name, p->name_len), &status) == 0) {
                bring_back(s);
                return;
        }
        batch = account_batch(w->account);
        r = batch ? account_create_mailbox(w->account, span_make(p->name, p->name_len), batch)
                  : -ENOMEM;
        if (r < 0) {
                account_forget(w->account);
                store_batch_free(batch);
                control_mailbox_end(s, r, "creating the mailbox");
                return;
        }
        store_commit(s->keeper->store, &batch, 1, 0, was_made, s);
}

static void add_place(struct control_session *s, const struct kept_messages *k)
{
        struct undelete *u = undelete_of(s);
        const struct span name = name_now(s->verb, k);

        if (!is_meant(s, name) || u->count == PLACES_MAX || name.len > NAME_MAX_OCTETS)
                return;
        for (size_t i = 0; i < u->count; i++)
                if (u->places[i].mailbox_id == k->mailbox_id)
                        return;
        u->places[u->count].mailbox_id = k->mailbox_id;
        u->places[u->count].name_len = name.len;
        memcpy(u->places[u->count++].name, name.p, name.len);
}

static void look_for_places(void *arg, int result, struct account *a)
{
        struct undelete *u = begin(arg, result, a);

        if (!u)
                return;
        u->found = add_place;
        u->found_all = next_place;
        look_on(arg);
}

void control_mailbox_undelete(struct control_session *s)
{
        control_mailbox_open(s, look_for_places);
}
