/* Changes of messages, and new ones. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "process/keeper/keeper_commit.h"
#include "process/keeper/keeper_view.h"

/* One order, until it is answered. */
struct order {
        struct keeper *keeper;
        struct keeper_asker asker;
        uint64_t number;
        struct account *account;
        size_t held; /* credit for bodies */
        union ipc_message m; /* its spans point into `octets` */
        struct buffer octets;
        struct uid_range *uids;
        struct span keywords[IPC_KEYWORDS_MAX];
        size_t keyword_count;
        struct buffer *bodies; /* APPEND */
        size_t body_count;
        uint32_t first_uid, last_uid;
};

static void order_free(struct order *o)
{
        struct channel *ch = keeper_asker_channel(&o->asker);

        if (ch && o->held)
                channel_release(ch, o->held);
        if (o->account)
                account_release(o->account);
        for (size_t i = 0; i < o->body_count; i++)
                buffer_done(&o->bodies[i]);
        free(o->bodies);
        free(o->uids);
        buffer_done(&o->octets);
        free(o);
}

static struct ipc_items as_items(const struct uid_range *ranges, size_t count, struct buffer *b)
{
        struct ipc_items items = {0};

        for (size_t i = 0; i < count; i++)
                ipc_add_uid_span(b, &items,
                                 &(struct ipc_uid_span) {ranges[i].first, ranges[i].last});
        return items;
}

static void answer(struct order *o, int result, const struct account_changed *c)
{
        struct channel *ch = keeper_asker_channel(&o->asker);
        struct buffer source = BUFFER_INIT(IPC_PAYLOAD_MAX), uids = BUFFER_INIT(IPC_PAYLOAD_MAX);

        if (ch && CHANNEL_SEND(ch, change_done, -1, .order = o->number,
                               .status = (uint32_t) -result, .uid_validity = c->uid_validity,
                               .source = as_items(c->source, c->source_count, &source),
                               .uids = as_items(c->uids, c->uid_count, &uids)) == -EMSGSIZE)
                /* It is done, but where everything is does not fit. */
                CHANNEL_SEND(ch, change_done, -1, .order = o->number,
                             .status = (uint32_t) -result);
        buffer_done(&source);
        buffer_done(&uids);
        order_free(o);
}

static void fail(struct order *o, int result)
{
        answer(o, result, &(struct account_changed) {0});
}

/* The order as its own message: decoded again from a copy, so that its spans
 * live as long as it does. */
static struct order *order_new(struct keeper_peer *peer, unsigned type, const union ipc_message *m,
                               uint64_t number)
{
        struct order *o = calloc(1, sizeof *o);

        if (!o)
                return NULL;
        o->keeper = peer->keeper;
        o->asker = keeper_asker(peer);
        o->number = number;
        o->octets = BUFFER_INIT(IPC_PAYLOAD_MAX);
        if (ipc_encode(&o->octets, type, m) < 0 ||
            ipc_decode(type, buffer_span(&o->octets), &o->m) < 0) {
                order_free(o);
                return NULL;
        }
        return o;
}

/* ---- changes ------------------------------------------------------------------ */

static void was_changed(void *arg, int result, const struct account_changed *c)
{
        answer(arg, result, c);
}

static int read_uids(struct order *o)
{
        struct reader each = ipc_items_read(o->m.change_order.uids);
        const size_t count = o->m.change_order.uids.count;
        struct ipc_uid_span s;
        size_t i = 0;

        o->uids = calloc(count ? count : 1, sizeof *o->uids);
        if (!o->uids)
                return -ENOMEM;
        while (ipc_next_uid_span(&each, &s)) {
                const uint32_t behind = i ? o->uids[i - 1].last : 0;

                if (s.first <= behind || s.last < s.first)
                        return -EINVAL;
                o->uids[i++] = (struct uid_range) {s.first, s.last};
        }
        return 0;
}

/* All mailboxes of the account together, with what is to come. */
static int check_quota(struct account *a, uint64_t quota, uint64_t more)
{
        if (quota == 0 || more == 0)
                return 0;
        return more > quota || account_size(a) > quota - more ? -EOVERFLOW : 0;
}

static void inbox_is_there(void *arg, int result)
{
        (void) arg;
        (void) result; /* a failure is that of the change behind it, too */
}

/* INBOX is always there (RFC 9051 section 5.1), for who copies into it too. */
static int ensure_inbox(struct order *o, struct span name)
{
        struct mailbox_status s;
        struct store_batch *batch;
        int r;

        if (!span_equal_nocase(name, SPAN_LITERAL("INBOX")) ||
            account_mailbox(o->account, name, &s) == 0)
                return 0;
        batch = account_batch(o->account);
        r = batch ? account_create_mailbox(o->account, name, batch) : -ENOMEM;
        if (r < 0) {
                store_batch_free(batch);
                return r;
        }
        store_commit(o->keeper->store, &batch, 1, 0, inbox_is_there, NULL);
        return 0;
}

static void change_opened(void *arg, int result, struct account *a)
{
        struct order *o = arg;
        const struct ipc_change_order *m = &o->m.change_order;
        struct reader each = ipc_items_read(m->keywords);
        struct ipc_keyword keyword;

        o->account = a;
        if (result == 0)
                result = read_uids(o);
        if (result == 0)
                result = ensure_inbox(o, m->to);
        if (result == 0)
                result = check_quota(a, m->quota, m->size);
        if (result == 0 && (m->kind > ACCOUNT_MOVE || m->mode > ACCOUNT_FLAGS_REMOVE))
                result = -EINVAL;
        while (o->keyword_count < IPC_KEYWORDS_MAX && ipc_next_keyword(&each, &keyword))
                o->keywords[o->keyword_count++] = keyword.name;
        if (result < 0) {
                fail(o, result);
                return;
        }
        account_change(a, &(const struct account_change) {
                .kind = (enum account_change_kind) m->kind, .mailbox_id = m->mailbox_id,
                .uids = o->uids, .uid_count = m->uids.count,
                .mode = (enum account_flags_mode) m->mode, .flags = m->flags,
                .keywords = o->keywords, .keyword_count = o->keyword_count,
                .has_unchanged_since = m->has_unchanged_since,
                .unchanged_since = m->unchanged_since, .only_deleted = m->only_deleted,
                .to = m->to}, was_changed, o);
}

void keeper_on_change_order(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct keeper_peer *peer = arg;
        struct order *o = order_new(peer, IPC_change_order, m, m->change_order.order);

        (void) fd;
        if (o)
                account_open(peer->keeper->mailboxes, o->m.change_order.account, change_opened, o);
        else
                CHANNEL_SEND(ch, change_done, -1, .order = m->change_order.order,
                             .status = ENOMEM);
}

/* ---- appends ------------------------------------------------------------------ */

/* Files that were lent and are not needed. */
static void return_bodies(struct order *o)
{
        struct reader each = ipc_items_read(o->m.append_order.messages);
        struct ipc_append_message m;

        while (ipc_next_append_message(&each, &m))
                if (m.is_lent)
                        store_blob_return(o->keeper->store, m.message_id);
}

static void was_appended(void *arg, int result)
{
        struct order *o = arg;
        struct mailbox_status s = {0};
        const struct uid_range uids = {o->first_uid, o->last_uid};

        if (result < 0) {
                account_forget(o->account);
                return_bodies(o);
                fail(o, result);
                return;
        }
        (void) account_mailbox(o->account, o->m.append_order.mailbox, &s);
        answer(o, 0, &(struct account_changed) {.uid_validity = s.uid_validity, .uids = &uids,
                                                .uid_count = 1});
}

size_t keeper_split_keywords(struct span text, struct span *ret)
{
        struct span word;
        size_t count = 0;

        while (text.len && count < IPC_KEYWORDS_MAX && span_split(&text, '\0', &word))
                if (word.len)
                        ret[count++] = word;
        return count;
}

static int append_one(struct order *o, const struct ipc_append_message *m, size_t i,
                      struct store_batch *batch)
{
        struct span keywords[IPC_KEYWORDS_MAX], body = buffer_span(&o->bodies[i]);
        const struct delivery d = {
                .mailbox = o->m.append_order.mailbox,
                .entry = {.arrived_us = m->arrived_us ? m->arrived_us : clock_now_us(),
                          .flags = m->flags & 31, .blob_id = m->message_id, .size = m->size},
                .keywords = keywords,
                .keyword_count = keeper_split_keywords(m->keywords, keywords),
        };
        uint32_t uid;
        int r = account_deliver(o->account, &d, batch, &uid);

        if (r < 0)
                return r;
        if (m->is_lent)
                store_blob_adopt(batch, m->message_id, 1, o->m.append_order.account);
        else
                store_blob_put(batch, m->message_id, 1, o->m.append_order.account, &body, 1);
        if (i == 0)
                o->first_uid = uid;
        o->last_uid = uid;
        return 0;
}

static uint64_t appended_size(const struct order *o)
{
        struct reader each = ipc_items_read(o->m.append_order.messages);
        struct ipc_append_message m;
        uint64_t size = 0;

        while (ipc_next_append_message(&each, &m))
                size += m.size;
        return size;
}

static void append_opened(void *arg, int result, struct account *a)
{
        struct order *o = arg;
        struct reader each = ipc_items_read(o->m.append_order.messages);
        struct store_batch *batch = NULL;
        struct ipc_append_message m;
        struct mailbox_status s;

        o->account = a;
        if (result == 0)
                result = ensure_inbox(o, o->m.append_order.mailbox);
        if (result == 0)
                result = account_mailbox(a, o->m.append_order.mailbox, &s);
        if (result == 0)
                result = check_quota(a, o->m.append_order.quota, appended_size(o));
        if (result == 0) {
                batch = account_batch(a);
                result = batch ? 0 : -ENOMEM;
        }
        for (size_t i = 0; result == 0 && ipc_next_append_message(&each, &m); i++)
                result = append_one(o, &m, i, batch);
        if (result < 0) {
                /* What is in the account's state already never happens. */
                if (batch)
                        account_forget(a);
                store_batch_free(batch);
                return_bodies(o);
                fail(o, result);
                return;
        }
        store_commit(o->keeper->store, &batch, 1, 0, was_appended, o);
}

/* Takes the bodies that came before. */
static int take_bodies(struct order *o, struct keeper_peer *peer)
{
        struct reader each = ipc_items_read(o->m.append_order.messages);
        struct ipc_append_message m;
        int r = 0;

        o->bodies = calloc(o->m.append_order.messages.count + 1, sizeof *o->bodies);
        if (!o->bodies)
                return -ENOMEM;
        while (ipc_next_append_message(&each, &m)) {
                struct buffer *body = &o->bodies[o->body_count++];
                bool is_lent;
                size_t held;

                if (!keeper_take_incoming(peer, m.message_id, body, &is_lent, &held)) {
                        r = -EBADMSG;
                        continue;
                }
                o->held += held;
                if (is_lent != m.is_lent ||
                    (!is_lent && (body->len < m.size || body->len - m.size > IPC_DIGEST_MAX)))
                        r = -EBADMSG;
                if (is_lent && !m.is_lent)
                        store_blob_return(peer->keeper->store, m.message_id);
        }
        return o->body_count ? r : -EINVAL;
}

void keeper_on_append_order(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct keeper_peer *peer = arg;
        struct order *o = order_new(peer, IPC_append_order, m, m->append_order.order);
        int r;

        (void) fd;
        if (!o) {
                CHANNEL_SEND(ch, change_done, -1, .order = m->append_order.order,
                             .status = ENOMEM);
                return;
        }
        r = take_bodies(o, peer);
        if (r < 0) {
                return_bodies(o);
                fail(o, r);
                return;
        }
        account_open(peer->keeper->mailboxes, o->m.append_order.account, append_opened, o);
}
