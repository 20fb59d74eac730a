/* Which UIDs went at which modseq (RFC 7162 section 3.2.5.1), the newest of them:
 * a ring of slots, each of some ranges. What is added to the slot at hand
 * rewrites it; a mailbox that was read anew begins the next one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/account.h"

enum { SLOTS = 256, SLOT_RANGES = 32, RANGE_OCTETS = 16 };

struct account_gone {
        unsigned count;
        struct expunged_range ranges[SLOT_RANGES];
};

/* ---- writing ------------------------------------------------------------------ */

static void put_slot(const struct mailbox *b, const struct account_gone *g,
                     struct store_batch *batch)
{
        char key[ACCOUNT_KEY_MAX], value[SLOT_RANGES * RANGE_OCTETS];

        for (unsigned i = 0; i < g->count; i++) {
                key_put_u64(value + i * RANGE_OCTETS, g->ranges[i].modseq);
                key_put_u32(value + i * RANGE_OCTETS + 8, g->ranges[i].first);
                key_put_u32(value + i * RANGE_OCTETS + 12, g->ranges[i].last);
        }
        store_put(batch, account_key_uid(key, 'x', b->id, (b->gone_slots - 1) % SLOTS),
                  span_make(value, g->count * RANGE_OCTETS));
}

void account_put_gone(struct mailbox *b, uint64_t modseq, const struct uid_range *uids,
                      size_t count, struct store_batch *batch)
{
        struct account_gone spare = {.count = SLOT_RANGES}, *g;

        if (!b->gone) {
                b->gone = malloc(sizeof *b->gone);
                if (b->gone)
                        b->gone->count = SLOT_RANGES; /* begin the next slot */
        }
        g = b->gone ? b->gone : &spare; /* without memory: slots that stay as they are */
        for (size_t i = 0; i < count; i++) {
                if (g->count == SLOT_RANGES) {
                        g->count = 0;
                        b->gone_slots++;
                }
                g->ranges[g->count++] =
                        (struct expunged_range) {modseq, uids[i].first, uids[i].last};
                if (g->count == SLOT_RANGES || i + 1 == count)
                        put_slot(b, g, batch);
        }
}

void account_drop_gone(const struct mailbox *b, struct store_batch *batch)
{
        char key[ACCOUNT_KEY_MAX];

        for (uint32_t i = 0; i < b->gone_slots && i < SLOTS; i++)
                store_delete(batch, account_key_uid(key, 'x', b->id, i));
}

/* ---- reading ------------------------------------------------------------------ */

struct question {
        struct account *account;
        uint64_t mailbox_id;
        account_expunged_fn *done;
        void *arg;
};

static int by_modseq(const void *a, const void *b)
{
        const struct expunged_range *x = a, *y = b;

        if (x->modseq != y->modseq)
                return x->modseq < y->modseq ? -1 : 1;
        return (x->first > y->first) - (x->first < y->first);
}

static size_t decode(struct span value, struct expunged_range *out)
{
        const size_t count = value.len / RANGE_OCTETS;

        for (size_t i = 0; i < count; i++)
                out[i] = (struct expunged_range) {key_get_u64(value.p + i * RANGE_OCTETS),
                                                  key_get_u32(value.p + i * RANGE_OCTETS + 8),
                                                  key_get_u32(value.p + i * RANGE_OCTETS + 12)};
        return count;
}

/* Of a ring that went round, the oldest modseq may be there by halves. */
static void answer(const struct question *q, const struct store_entry *entries, size_t count)
{
        const struct mailbox *b = account_find_id(q->account, q->mailbox_id);
        struct expunged_range *list = calloc(SLOTS * SLOT_RANGES, sizeof *list);
        size_t n = 0;
        uint64_t since;

        if (!list || !b) {
                free(list);
                q->done(q->arg, list ? -ENOENT : -ENOMEM, 0, NULL, 0);
                return;
        }
        for (size_t i = 0; i < count; i++)
                if (entries[i].value.len <= SLOT_RANGES * RANGE_OCTETS)
                        n += decode(entries[i].value, list + n);
        qsort(list, n, sizeof *list, by_modseq);
        since = b->gone_slots <= SLOTS ? b->gone_from : n ? list[0].modseq : b->highest_modseq;
        q->done(q->arg, 0, since, list, n);
        free(list);
}

static void got_slots(void *arg, int result, const struct store_entry *entries, size_t count,
                      bool has_more)
{
        struct question *q = arg;

        (void) has_more;
        if (result < 0)
                q->done(q->arg, result, 0, NULL, 0);
        else
                answer(q, entries, count);
        account_release(q->account);
        free(q);
}

void account_expunged(struct account *a, uint64_t mailbox_id, account_expunged_fn *done, void *arg)
{
        struct question *q = malloc(sizeof *q);
        char from[ACCOUNT_KEY_MAX], to[ACCOUNT_KEY_MAX];
        const struct store_range range = {account_key(from, 'x', mailbox_id),
                                          account_key(to, 'x', mailbox_id + 1), SLOTS, false};

        if (!q) {
                done(arg, -ENOMEM, 0, NULL, 0);
                return;
        }
        *q = (struct question) {account_ref(a), mailbox_id, done, arg};
        store_scan(a->mailboxes->store, &a->partition, &range, got_slots, q);
}
