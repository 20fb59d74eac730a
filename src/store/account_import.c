/* Many messages at once, with the UIDs they had elsewhere. */
#include <errno.h>

#include "base/clock.h"
#include "store/account.h"

/* Fewer than these are not worth a run of their own. */
enum { RUN_MIN = 64 };

/* The UIDs that are asked for grow and are still to come. */
static int check_uids(const struct mailbox *b, const struct delivery *list, size_t count)
{
        uint64_t next = b->uid_next;

        for (size_t i = 0; i < count; i++) {
                if (list[i].uid && list[i].uid < next)
                        return -EINVAL;
                next = list[i].uid ? (uint64_t) list[i].uid + 1 : next + 1;
        }
        return next > UINT32_MAX ? -EDQUOT : 0;
}

static struct message_entry new_entry(struct account *a, struct mailbox *b,
                                      const struct delivery *d, struct store_batch *batch)
{
        struct message_entry entry = d->entry;

        entry.keywords = 0;
        if (d->keyword_count &&
            account_keyword_bits(b, d->keywords, d->keyword_count, batch, &entry.keywords) < 0)
                entry.keywords = 0; /* the message counts for more than its keywords */
        entry.modseq = ++b->highest_modseq;
        entry.saved_us = clock_now_us();
        if (d->uid)
                b->uid_next = d->uid;
        account_count_new(b, &entry);
        account_note_entry(a, b, &entry, false);
        return entry;
}

int account_import(struct account *a, struct span mailbox, const struct delivery *list,
                   size_t count, struct store_batch *batch)
{
        char name_octets[ACCOUNT_NAME_MAX], key[ACCOUNT_KEY_MAX];
        char run[ACCOUNT_RUN * ACCOUNT_ENTRY_OCTETS];
        struct mailbox *b;
        uint32_t first_uid = 0;
        bool is_run;
        int r;

        if (account_normalize(mailbox, name_octets, &mailbox) < 0)
                return -ENOENT;
        b = account_find_name(a, mailbox);
        if (!b)
                return -ENOENT;
        r = count > ACCOUNT_RUN ? -E2BIG : check_uids(b, list, count);
        if (r < 0 || count == 0)
                return r;
        /* Invariant 1: a run lies before every single entry. */
        is_run = b->single_count == 0 && count >= RUN_MIN;
        for (size_t i = 0; i < count; i++) {
                const struct message_entry entry = new_entry(a, b, &list[i], batch);
                char *const at = run + i * ACCOUNT_ENTRY_OCTETS;

                account_encode_entry(&entry, at);
                if (i == 0)
                        first_uid = entry.uid;
                if (!is_run)
                        store_put_new(batch, account_key_uid(key, 'e', b->id, entry.uid),
                                      span_make(at, ACCOUNT_ENTRY_OCTETS));
        }
        if (is_run)
                store_put(batch, account_key_uid(key, 'r', b->id, first_uid),
                          span_make(run, count * ACCOUNT_ENTRY_OCTETS));
        else
                b->single_count += (uint32_t) count;
        account_put_box(a, b, batch);
        account_look_for_chores(a, b);
        return 0;
}

int account_set_uid_validity(struct account *a, struct span name, uint32_t uid_validity,
                             uint32_t uid_next, struct store_batch *batch)
{
        char octets[ACCOUNT_NAME_MAX];
        struct mailbox *b = NULL;

        if (account_normalize(name, octets, &name) == 0)
                b = account_find_name(a, name);
        if (!b)
                return -ENOENT;
        if (uid_validity == 0)
                return -EINVAL;
        /* RFC 9051 section 2.3.1.1: where UIDs were given it may only grow. */
        if (uid_validity != b->uid_validity &&
            (b->message_count || (b->uid_next > 1 && uid_validity < b->uid_validity)))
                return -EEXIST;
        if (uid_validity != b->uid_validity) {
                b->uid_validity = uid_validity;
                account_put_name(b, batch);
        }
        if (uid_next > b->uid_next)
                b->uid_next = uid_next;
        account_put_box(a, b, batch);
        return 0;
}
