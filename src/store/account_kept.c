/* Expunged messages that can still be brought back.
 *
 * They keep the reference to their body that they had in their mailbox. What
 * went in one batch lies together under the time when it went, so the oldest
 * are the first, and a chore (account_chores.c) gives them up page by page. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/account.h"

enum { LISTED_AT_ONCE = 16, KEPT_KEY = 21, KEPT_HEAD = 24, ADDRESS_MAX = 512 };

void mailboxes_keep_expunged(struct mailboxes *m, const struct expunge_keep *keep)
{
        m->keep = *keep;
}

/* ---- keys and values ---------------------------------------------------------- */

struct span account_kept_key(char *out, const struct kept_key *k)
{
        out[0] = 't';
        key_put_u64(out + 1, k->expunged_us);
        key_put_u64(out + 9, k->mailbox_id);
        key_put_u32(out + 17, k->first_uid);
        return span_make(out, KEPT_KEY);
}

int account_kept_decode(const struct store_entry *e, struct kept_key *ret_key,
                        struct span *ret_name, struct reader *ret_entries)
{
        const size_t name_len = e->value.len ? (unsigned char) e->value.p[0] : 0;
        const size_t entries_len = e->value.len - 1 - name_len;

        if (e->key.len != KEPT_KEY || e->value.len < 1 + name_len ||
            entries_len % ACCOUNT_ENTRY_OCTETS ||
            entries_len > (size_t) ACCOUNT_RUN * ACCOUNT_ENTRY_OCTETS)
                return -EBADMSG;
        *ret_key = (struct kept_key) {key_get_u64(e->key.p + 1), key_get_u64(e->key.p + 9),
                                      key_get_u32(e->key.p + 17)};
        *ret_name = span_make(e->value.p + 1, name_len);
        *ret_entries = READER(span_skip(e->value, 1 + name_len));
        return 0;
}

void account_put_kept(const struct account *a, struct store_batch *batch)
{
        char value[KEPT_HEAD + ADDRESS_MAX];

        if (a->kept_count == 0) {
                store_delete(batch, SPAN_LITERAL("ht"));
                return;
        }
        key_put_u64(value, a->kept_count);
        key_put_u64(value + 8, a->kept_size);
        key_put_u64(value + 16, a->kept_from_us);
        memcpy(value + KEPT_HEAD, a->address, a->address_len);
        store_put(batch, SPAN_LITERAL("ht"), span_make(value, KEPT_HEAD + a->address_len));
}

int account_read_kept(struct account *a, struct span value)
{
        if (value.len < KEPT_HEAD)
                return -EBADMSG;
        a->kept_count = key_get_u64(value.p);
        a->kept_size = key_get_u64(value.p + 8);
        a->kept_from_us = key_get_u64(value.p + 16);
        return 0;
}

/* ---- keeping ------------------------------------------------------------------ */

void account_keep_begin(struct kept_page *k, uint64_t mailbox_id, struct span name)
{
        *k = (struct kept_page) {.mailbox_id = mailbox_id, .expunged_us = clock_now_us(),
                                 .name_len = name.len,
                                 .octets = BUFFER_INIT(STORE_VALUE_MAX)};
        assert(name.len <= sizeof k->name);
        if (name.len)
                memcpy(k->name, name.p, name.len);
}

static void put_page(struct kept_page *k, struct store_batch *batch)
{
        const struct kept_key key = {k->expunged_us, k->mailbox_id, k->first_uid};
        char octets[ACCOUNT_KEY_MAX];

        if (k->count)
                store_put(batch, account_kept_key(octets, &key), buffer_span(&k->octets));
        buffer_clear(&k->octets);
        k->count = 0;
}

/* Chores give up what is too much, but only as fast as batches come: nobody gets
 * more than twice the bound by being quick. */
static bool is_too_much(const struct account *a, uint64_t size)
{
        const struct expunge_keep *keep = &a->mailboxes->keep;

        return keep->octets && a->kept_size + size > keep->octets &&
               a->kept_size + size - keep->octets > keep->octets;
}

static int add_head(struct kept_page *k, uint32_t uid)
{
        const char name_len = (char) k->name_len;
        int r = buffer_append(&k->octets, &name_len, 1);

        k->first_uid = uid;
        return r < 0 ? r : buffer_append(&k->octets, k->name, k->name_len);
}

int account_keep(struct account *a, struct kept_page *k, const struct message_entry *e,
                 struct store_batch *batch)
{
        const uint64_t age_us = a->mailboxes->keep.age_us;
        char octets[ACCOUNT_ENTRY_OCTETS];
        int r = 0;

        if (!e->blob_id)
                return 0;
        if (!age_us || a->address_len > ADDRESS_MAX || is_too_much(a, e->size)) {
                store_blob_reference(batch, e->blob_id, -1);
                return 0;
        }
        if (k->count == 0)
                r = add_head(k, e->uid);
        account_encode_entry(e, octets);
        if (r == 0)
                r = buffer_append(&k->octets, octets, sizeof octets);
        if (r < 0)
                return r;
        if (a->kept_count++ == 0)
                a->kept_from_us = k->expunged_us;
        a->kept_size += e->size;
        k->has_kept = true;
        if (++k->count == ACCOUNT_RUN)
                put_page(k, batch);
        return 0;
}

void account_keep_end(struct account *a, struct kept_page *k, struct store_batch *batch)
{
        if (batch && k->has_kept) {
                put_page(k, batch);
                account_put_kept(a, batch);
        }
        buffer_done(&k->octets);
}

static bool is_over(const struct expunge_keep *keep, uint64_t from_us, uint64_t size)
{
        return clock_now_us() >= from_us + keep->age_us || (keep->octets && size > keep->octets);
}

bool account_is_kept_due(const struct account *a)
{
        return a->kept_count && is_over(&a->mailboxes->keep, a->kept_from_us, a->kept_size) &&
               clock_now_us() >= a->kept_look_us;
}

bool account_has_expired(const struct account *a)
{
        return a->chore.kind == CHORE_EXPIRE || account_is_kept_due(a);
}

/* ---- telling ------------------------------------------------------------------- */

struct keeps_question {
        const struct mailboxes *mailboxes;
        account_keeps_fn *done;
        void *arg;
};

static void got_keeps(void *arg, int result, struct span value, uint64_t sequence)
{
        struct keeps_question q = *(struct keeps_question *) arg;

        (void) sequence;
        free(arg);
        if (result == 0 && value.len < KEPT_HEAD)
                result = -EBADMSG;
        if (result == 0 && !is_over(&q.mailboxes->keep, key_get_u64(value.p + 16),
                                    key_get_u64(value.p + 8)))
                result = -EAGAIN;
        q.done(q.arg, result, result == 0 ? span_skip(value, KEPT_HEAD) : span_make(NULL, 0));
}

void account_keeps(struct mailboxes *m, const struct partition *p, account_keeps_fn *done,
                   void *arg)
{
        struct keeps_question *q = malloc(sizeof *q);

        if (!q) {
                done(arg, -ENOMEM, span_make(NULL, 0));
                return;
        }
        *q = (struct keeps_question) {m, done, arg};
        store_get(m->store, p, SPAN_LITERAL("ht"), got_keeps, q);
}

struct kept_question {
        struct account *account;
        account_kept_fn *done;
        void *arg;
};

/* One page: its entries decoded, side by side. */
struct listing {
        struct kept_messages list[LISTED_AT_ONCE];
        struct message_entry entries[LISTED_AT_ONCE * ACCOUNT_RUN];
        size_t count, entry_count;
        struct kept_place last;
};

static int take(struct listing *l, const struct store_entry *e)
{
        struct kept_messages *m = &l->list[l->count];
        struct kept_key key;
        struct reader r;
        int result = account_kept_decode(e, &key, &m->name, &r);

        if (result < 0)
                return result;
        m->mailbox_id = key.mailbox_id;
        m->expunged_us = key.expunged_us;
        m->entries = &l->entries[l->entry_count];
        m->count = 0;
        while (r.rest.len) /* whole entries, so none fails */
                result |= account_decode_entry(&r, &l->entries[l->entry_count + m->count++]);
        l->entry_count += m->count;
        l->count++;
        l->last = (struct kept_place) {key.expunged_us, key.mailbox_id, key.first_uid};
        return result;
}

static void got_kept(void *arg, int result, const struct store_entry *entries, size_t count,
                     bool has_more)
{
        struct kept_question *q = arg;
        struct listing *l = calloc(1, sizeof *l);

        if (!l && result == 0)
                result = -ENOMEM;
        for (size_t i = 0; i < count && result == 0; i++)
                result = take(l, &entries[i]);
        if (result == 0)
                q->done(q->arg, 0, l->list, l->count, &l->last, has_more && count);
        else
                q->done(q->arg, result, NULL, 0, NULL, false);
        free(l);
        account_release(q->account);
        free(q);
}

void account_list_kept(struct account *a, const struct kept_place *behind, account_kept_fn *done,
                       void *arg)
{
        const struct kept_key key = {behind->expunged_us, behind->mailbox_id, behind->uid};
        struct kept_question *q = malloc(sizeof *q);
        char from[ACCOUNT_KEY_MAX + 1];
        struct store_range range = {.to = SPAN("u"), .limit = LISTED_AT_ONCE};

        if (!q) {
                done(arg, -ENOMEM, NULL, 0, NULL, false);
                return;
        }
        *q = (struct kept_question) {account_ref(a), done, arg};
        range.from = account_kept_key(from, &key);
        if (behind->expunged_us)
                from[range.from.len++] = '\0'; /* the least key behind it */
        store_scan(a->mailboxes->store, &a->partition, &range, got_kept, q);
}
