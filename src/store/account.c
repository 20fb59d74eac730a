#include "store/account.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/hash.h"

/* An account with one mailbox takes some 600 bytes. */
enum { CACHED_MAX = 128 * 1024, MODSEQ_FIRST = 1 };

/* One that waits for an account to be read. */
struct opening {
        struct list_node node;
        account_open_fn *done;
        void *arg;
};

int mailboxes_new(struct store *s, struct mailboxes **ret_m)
{
        struct mailboxes *m = calloc(1, sizeof(struct mailboxes));

        if (!m)
                return -ENOMEM;
        m->store = s;
        list_init(&m->recently_used);
        list_init(&m->leaving);
        *ret_m = m;
        return 0;
}

/* ---- keys and values ------------------------------------------------------- */

struct span account_key(char *out, char letter, uint64_t mailbox_id)
{
        out[0] = letter;
        key_put_u64(out + 1, mailbox_id);
        return span_make(out, 9);
}

struct span account_key_uid(char *out, char letter, uint64_t mailbox_id, uint32_t uid)
{
        account_key(out, letter, mailbox_id);
        key_put_u32(out + 9, uid);
        return span_make(out, 13);
}

void account_encode_entry(const struct message_entry *e, char *out)
{
        key_put_u32(out, e->uid);
        key_put_u32(out + 4, e->flags);
        key_put_u64(out + 8, e->modseq);
        key_put_u64(out + 16, e->arrived_us);
        key_put_u64(out + 24, e->saved_us);
        key_put_u64(out + 32, e->blob_id);
        key_put_u64(out + 40, e->size);
        key_put_u32(out + 48, e->keywords);
}

int account_decode_entry(struct reader *r, struct message_entry *ret_e)
{
        const struct span s = read_raw(r, ACCOUNT_ENTRY_OCTETS);

        if (r->failed)
                return -EBADMSG;
        *ret_e = (struct message_entry) {
                .uid = key_get_u32(s.p),
                .flags = key_get_u32(s.p + 4),
                .modseq = key_get_u64(s.p + 8),
                .arrived_us = key_get_u64(s.p + 16),
                .saved_us = key_get_u64(s.p + 24),
                .blob_id = key_get_u64(s.p + 32),
                .size = key_get_u64(s.p + 40),
                .keywords = key_get_u32(s.p + 48),
        };
        return 0;
}

void account_put_header(const struct account *a, struct store_batch *batch)
{
        char value[9];

        value[0] = ACCOUNT_FORMAT;
        key_put_u64(value + 1, a->next_mailbox_id);
        store_put(batch, SPAN_LITERAL("h"), span_make(value, sizeof value));
}

void account_put_box(struct account *a, const struct mailbox *b, struct store_batch *batch)
{
        char key[ACCOUNT_KEY_MAX], value[48];

        key_put_u32(value, b->uid_next);
        key_put_u32(value + 4, b->message_count);
        key_put_u32(value + 8, b->unseen_count);
        key_put_u32(value + 12, b->single_count);
        key_put_u64(value + 16, b->highest_modseq);
        key_put_u64(value + 24, b->size);
        key_put_u32(value + 32, b->deleted_count);
        key_put_u64(value + 36, b->gone_from);
        key_put_u32(value + 44, b->gone_slots);
        account_note_box(a, b);
        store_put(batch, account_key(key, 'm', b->id), span_make(value, sizeof value));
}

void account_put_name(const struct mailbox *b, struct store_batch *batch)
{
        char key[ACCOUNT_KEY_MAX], value[4 + ACCOUNT_NAME_MAX];

        key_put_u32(value, b->uid_validity);
        memcpy(value + 4, b->name, b->name_len);
        store_put(batch, account_key(key, 'n', b->id), span_make(value, 4 + b->name_len));
}

/* ---- the cache -------------------------------------------------------------- */

static uint64_t hash_of(struct span address)
{
        return hash_span(address, hash_seed());
}

static struct account *find(const struct mailboxes *m, struct span address)
{
        struct table_node *n = table_first(&m->by_address, hash_of(address));

        for (; n; n = table_next(n)) {
                struct account *a = TABLE_OBJECT(n, struct account, by_address);

                if (span_equal(span_make(a->address, a->address_len), address))
                        return a;
        }
        return NULL;
}

static void account_free(struct account *a)
{
        for (size_t i = 0; i < a->box_count; i++) {
                free(a->boxes[i].name);
                free(a->boxes[i].keywords);
                free(a->boxes[i].gone);
        }
        account_free_subscriptions(a);
        free(a->boxes);
        free(a->purged);
        free(a->sweep_behind);
        buffer_done(&a->chore.octets);
        free(a->address);
        free(a);
}

void account_leave_cache(struct account *a)
{
        if (a->is_forgotten)
                return;
        a->is_forgotten = true;
        account_tell_lost(a);
        table_remove(&a->mailboxes->by_address, &a->by_address);
        if (list_is_linked(&a->recently_used)) {
                list_remove(&a->recently_used);
                a->mailboxes->cached--;
        }
        if (a->batches_ended < a->batches_made)
                list_append(&a->mailboxes->leaving, &a->leaving);
}

struct account *account_ref(struct account *a)
{
        if (a->references++ == 0 && list_is_linked(&a->recently_used)) {
                list_remove(&a->recently_used);
                a->mailboxes->cached--;
        }
        return a;
}

void account_release(struct account *a)
{
        struct mailboxes *m = a->mailboxes;

        assert(a->references);
        if (--a->references)
                return;
        if (a->is_forgotten) {
                account_free(a);
                return;
        }
        list_append(&m->recently_used, &a->recently_used);
        if (++m->cached > CACHED_MAX) {
                struct account *oldest =
                        LIST_OBJECT(m->recently_used.next, struct account, recently_used);

                account_leave_cache(oldest);
                account_free(oldest);
        }
}

void account_forget(struct account *a)
{
        account_leave_cache(a);
        if (a->references == 0)
                account_free(a);
}

static void forget_visit(struct table_node *node, void *arg)
{
        struct account *a = TABLE_OBJECT(node, struct account, by_address);

        (void) arg;
        assert(a->references == 0); /* close the store first: it calls back */
        account_forget(a);
}

struct mailboxes *mailboxes_free(struct mailboxes *m)
{
        if (!m)
                return NULL;
        table_visit(&m->by_address, forget_visit, NULL);
        table_done(&m->by_address);
        free(m);
        return NULL;
}

static struct account *account_new(struct mailboxes *m, struct span address)
{
        struct account *a = calloc(1, sizeof(struct account));

        if (!a)
                return NULL;
        a->mailboxes = m;
        a->partition = partition_of(PARTITION_ACCOUNT, address);
        a->address = malloc(address.len + 1);
        a->address_len = address.len;
        a->next_mailbox_id = 1;
        a->chore.octets = BUFFER_INIT(4 * 1024 * 1024);
        list_init(&a->waiting);
        list_init(&a->changes);
        list_init(&a->watches);
        list_init(&a->news);
        list_init(&a->settling);
        if (!a->address || table_add(&m->by_address, &a->by_address, hash_of(address)) < 0) {
                free(a->address);
                free(a);
                return NULL;
        }
        memcpy(a->address, address.p ? address.p : "", address.len);
        return a;
}

/* ---- opening ---------------------------------------------------------------- */

struct mailbox *account_find_id(const struct account *a, uint64_t id)
{
        for (size_t i = 0; i < a->box_count; i++)
                if (a->boxes[i].id == id)
                        return &a->boxes[i];
        return NULL;
}

struct mailbox *account_add_box(struct account *a, uint64_t id)
{
        struct mailbox *b = account_find_id(a, id);

        if (b || a->box_count >= ACCOUNT_MAILBOXES_MAX)
                return b;
        if (a->box_count == a->box_room) {
                const size_t room = a->box_room ? a->box_room * 2 : 2;
                struct mailbox *grown = realloc(a->boxes, room * sizeof(struct mailbox));

                if (!grown)
                        return NULL;
                a->boxes = grown;
                a->box_room = room;
        }
        b = &a->boxes[a->box_count++];
        *b = (struct mailbox) {.id = id, .uid_next = 1, .highest_modseq = MODSEQ_FIRST,
                               .fold_at = ACCOUNT_FOLD_AT};
        return b;
}

void account_remove_box(struct account *a, struct mailbox *b)
{
        const size_t i = (size_t) (b - a->boxes);

        free(b->name);
        free(b->keywords);
        free(b->gone);
        memmove(b, b + 1, (a->box_count - i - 1) * sizeof(struct mailbox));
        a->box_count--;
}

static int read_box(struct account *a, uint64_t id, struct span value)
{
        struct mailbox *b = account_add_box(a, id);

        if (!b)
                return -ENOMEM;
        if (value.len != 32 && value.len != 36 && value.len != 48)
                return -EBADMSG;
        b->uid_next = key_get_u32(value.p);
        b->message_count = key_get_u32(value.p + 4);
        b->unseen_count = key_get_u32(value.p + 8);
        b->single_count = key_get_u32(value.p + 12);
        b->highest_modseq = key_get_u64(value.p + 16);
        b->size = key_get_u64(value.p + 24);
        if (value.len >= 36)
                b->deleted_count = key_get_u32(value.p + 32);
        b->gone_from = value.len == 48 ? key_get_u64(value.p + 36) : b->highest_modseq;
        if (value.len == 48)
                b->gone_slots = key_get_u32(value.p + 44);
        return 0;
}

static int read_name(struct account *a, uint64_t id, struct span value)
{
        struct mailbox *b = account_add_box(a, id);

        if (!b)
                return -ENOMEM;
        if (value.len <= 4 || value.len > 4 + ACCOUNT_NAME_MAX)
                return -EBADMSG;
        free(b->name);
        b->name_len = value.len - 4;
        b->name = malloc(b->name_len);
        if (!b->name)
                return -ENOMEM;
        memcpy(b->name, value.p + 4, b->name_len);
        b->uid_validity = key_get_u32(value.p);
        return 0;
}

static int read_use(struct account *a, uint64_t id, struct span value)
{
        struct mailbox *b = account_add_box(a, id);

        if (!b)
                return -ENOMEM;
        if (value.len != 4)
                return -EBADMSG;
        b->special_use = key_get_u32(value.p);
        return 0;
}

static int read_keywords(struct account *a, uint64_t id, struct span value)
{
        struct mailbox *b = account_add_box(a, id);

        return b ? account_read_keywords(b, value) : -ENOMEM;
}

static int read_entry(struct account *a, const struct store_entry *e)
{
        const char letter = e->key.len ? e->key.p[0] : '\0';

        if (letter == 'h' && e->key.len == 1) {
                if (e->value.len != 9 || e->value.p[0] != ACCOUNT_FORMAT)
                        return -EBADMSG;
                a->next_mailbox_id = key_get_u64(e->value.p + 1);
                return 0;
        }
        if (span_equal(e->key, SPAN_LITERAL("ht")))
                return account_read_kept(a, e->value);
        if (letter == 'j')
                return account_read_subscription(a, span_skip(e->key, 1));
        if (e->key.len != 9)
                return 0;
        switch (letter) {
        case 'i':
                return read_use(a, key_get_u64(e->key.p + 1), e->value);
        case 'k':
                return read_keywords(a, key_get_u64(e->key.p + 1), e->value);
        case 'm':
                return read_box(a, key_get_u64(e->key.p + 1), e->value);
        case 'n':
                return read_name(a, key_get_u64(e->key.p + 1), e->value);
        case 'l':
                return account_add_purged(a, key_get_u64(e->key.p + 1), e->value) ? 0 : -ENOMEM;
        default:
                return 0; /* of a later release */
        }
}

static void end_opening(struct account *a, int result)
{
        struct list_node *node;

        for (size_t i = 0; i < a->box_count && result == 0; i++)
                if (!a->boxes[i].name)
                        result = -EBADMSG;
        a->is_reading = false;
        a->is_open = result == 0;
        if (result < 0)
                account_leave_cache(a);
        while ((node = list_take_first(&a->waiting))) {
                struct opening *o = LIST_OBJECT(node, struct opening, node);

                if (result == 0)
                        account_ref(a);
                o->done(o->arg, result, result == 0 ? a : NULL);
                free(o);
        }
        if (result == 0)
                account_look_for_chores(a, NULL);
        account_release(a); /* reading held one */
}

static void read_on(struct account *a, struct span from);

/* Entries of the letters h to n; d, e and r lie elsewhere. */
static void got_page(void *arg, int result, const struct store_entry *entries, size_t count,
                     bool has_more)
{
        struct account *a = arg;
        char behind[STORE_KEY_MAX + 1];
        struct span last = {NULL, 0};

        for (size_t i = 0; i < count && result == 0; i++) {
                result = read_entry(a, &entries[i]);
                last = entries[i].key;
        }
        if (result == 0 && has_more && count && last.len < sizeof behind) {
                memcpy(behind, last.p, last.len);
                behind[last.len] = '\0'; /* the least key behind the last */
                read_on(a, span_make(behind, last.len + 1));
        } else {
                end_opening(a, result);
        }
}

static void read_on(struct account *a, struct span from)
{
        const struct store_range range = {from, SPAN_LITERAL("o"), STORE_SCAN_MAX, false};

        store_scan(a->mailboxes->store, &a->partition, &range, got_page, a);
}

static void got_sequence(void *arg, int result, struct span value, uint64_t sequence)
{
        struct account *a = arg;

        (void) value;
        a->sequence = sequence;
        if (result == -ENOENT) /* a new one */
                end_opening(a, 0);
        else if (result < 0)
                end_opening(a, result);
        else
                read_on(a, SPAN_LITERAL("h"));
}

/* Does one of this address still have batches on their way? They may become visible, and be
 * acknowledged, at any moment: what is read before that is not what there is. */
static bool is_one_leaving(const struct account *a)
{
        LIST_FOR_EACH(node, &a->mailboxes->leaving) {
                const struct account *other = LIST_OBJECT(node, struct account, leaving);

                if (span_equal(span_make(other->address, other->address_len),
                               span_make(a->address, a->address_len)))
                        return true;
        }
        return false;
}

static void begin_reading(struct account *a)
{
        a->is_delayed = is_one_leaving(a);
        /* The sequence first: a commit in between makes ours fail, not lie. */
        if (!a->is_delayed)
                store_get(a->mailboxes->store, &a->partition, SPAN_LITERAL("h"), got_sequence, a);
}

void account_left(struct account *a)
{
        struct account *next = find(a->mailboxes, span_make(a->address, a->address_len));

        list_remove(&a->leaving);
        if (next && next->is_delayed)
                begin_reading(next);
}

void account_open(struct mailboxes *m, struct span address, account_open_fn *done, void *arg)
{
        struct account *a = find(m, address);
        struct opening *o;

        if (a && a->is_open) {
                done(arg, 0, account_ref(a));
                return;
        }
        o = calloc(1, sizeof(struct opening));
        if (o && !a)
                a = account_new(m, address);
        if (!o || !a) {
                free(o);
                done(arg, -ENOMEM, NULL);
                return;
        }
        o->done = done;
        o->arg = arg;
        list_append(&a->waiting, &o->node);
        if (a->is_reading)
                return;
        a->is_reading = true;
        account_ref(a);
        begin_reading(a);
}

struct account *account_cached(struct mailboxes *m, struct span address)
{
        struct account *a = find(m, address);

        return a && a->is_open ? account_ref(a) : NULL;
}

/* ---- batches ---------------------------------------------------------------- */

struct store_batch *account_batch(struct account *a)
{
        struct store_batch *b = NULL;

        if (!a->is_forgotten)
                b = store_batch_new(a->mailboxes->store, &a->partition, a->sequence);
        if (!b)
                return NULL;
        a->sequence++;
        account_begin_news(a, b);
        account_do_chores(a, b);
        if (a->purged_count || account_is_kept_due(a))
                account_look_for_chores(a, NULL);
        return b;
}

void account_count_new(struct mailbox *b, struct message_entry *e)
{
        e->uid = b->uid_next++;
        b->message_count++;
        b->unseen_count += !(e->flags & MESSAGE_SEEN);
        b->deleted_count += !!(e->flags & MESSAGE_DELETED);
        b->size += e->size;
}

static bool was_recent(const struct account *a, uint64_t hash)
{
        for (size_t i = 0; i < ACCOUNT_RECENT_KEYS; i++)
                if (a->recent_keys[i] == hash)
                        return true;
        return false;
}

/* Notes that it was delivered, and requires that it was not. */
static int claim_delivery_key(struct account *a, struct span delivery_key,
                              struct store_batch *batch)
{
        const uint64_t hash = hash_span(delivery_key, hash_seed());
        char key[2 + ACCOUNT_DELIVERY_KEY_MAX], value[8];

        if (delivery_key.len == 0)
                return 0;
        if (delivery_key.len > ACCOUNT_DELIVERY_KEY_MAX)
                return -EINVAL;
        if (was_recent(a, hash))
                return -EEXIST;
        a->recent_keys[a->recent_at++ % ACCOUNT_RECENT_KEYS] = hash;
        memcpy(key, "d/", 2);
        memcpy(key + 2, delivery_key.p, delivery_key.len);
        key_put_u64(value, clock_now_us() + ACCOUNT_DELIVERY_KEPT_US);
        store_require_absent(batch, span_make(key, 2 + delivery_key.len));
        store_put(batch, span_make(key, 2 + delivery_key.len), span_make(value, sizeof value));
        return 0;
}

int account_deliver(struct account *a, const struct delivery *d, struct store_batch *batch,
                    uint32_t *ret_uid)
{
        char name_octets[ACCOUNT_NAME_MAX], key[ACCOUNT_KEY_MAX], value[ACCOUNT_ENTRY_OCTETS];
        struct message_entry entry = d->entry;
        struct span name;
        struct mailbox *b;
        int r = account_normalize(d->mailbox, name_octets, &name);

        if (r < 0)
                return -ENOENT;
        b = account_find_name(a, name);
        if (!b && !d->may_create && !span_equal(name, SPAN_LITERAL("INBOX")))
                return -ENOENT;
        if (b && b->uid_next == UINT32_MAX)
                return -EDQUOT; /* RFC 9051 section 2.3.1.1: UIDs are used up */
        r = claim_delivery_key(a, d->delivery_key, batch);
        if (r < 0)
                return r;
        if (!b)
                b = account_new_box(a, name, batch);
        if (!b)
                return -ENOMEM;
        if (d->keyword_count &&
            account_keyword_bits(b, d->keywords, d->keyword_count, batch, &entry.keywords) < 0)
                entry.keywords = 0; /* the message counts for more than its keywords */
        entry.modseq = ++b->highest_modseq;
        entry.saved_us = clock_now_us();
        account_count_new(b, &entry);
        b->single_count++;
        account_encode_entry(&entry, value);
        store_put_new(batch, account_key_uid(key, 'e', b->id, entry.uid),
                      span_make(value, sizeof value));
        account_note_entry(a, b, &entry, false);
        account_put_box(a, b, batch);
        a->deliveries_since_sweep++;
        account_look_for_chores(a, b);
        *ret_uid = entry.uid;
        return 0;
}
