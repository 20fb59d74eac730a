#include <errno.h>
#include <stdlib.h>

#include "base/codec.h"
#include "store/account.h"

/* A listing under way. Singles are read before runs: should a fold happen in
 * between, they are seen twice, which shows, and not missed, which would not. */
struct listing {
        struct account *account;
        uint64_t mailbox_id;
        uint32_t uid_from;
        size_t limit;
        account_list_fn *done;
        void *arg;
        struct message_entry *entries; /* runs, limit + 256 at most */
        size_t count;
        struct message_entry *singles;
        size_t single_count;
        bool has_more_singles;
};

enum { PAGE_MAX = STORE_SCAN_MAX };

uint32_t account_singles_from(const struct account *a, uint64_t mailbox_id, uint32_t uid)
{
        const struct mailbox *b = account_find_id(a, mailbox_id);

        return b && b->singles_from > uid ? b->singles_from : uid;
}

/* What was looked through and held none need not be looked through again: what is not
 * yet visible has higher UIDs. */
static void learn_first(const struct listing *l)
{
        struct mailbox *b = account_find_id(l->account, l->mailbox_id);

        if (b && l->single_count && l->singles[0].uid > b->singles_from &&
            (l->uid_from <= 1 || l->uid_from <= b->singles_from))
                b->singles_from = l->singles[0].uid;
}

static void finish(struct listing *l, int result, bool has_more)
{
        if (result < 0)
                l->done(l->arg, result, NULL, 0, false);
        else
                l->done(l->arg, 0, l->entries, l->count, has_more);
        account_release(l->account);
        free(l->entries);
        free(l->singles);
        free(l);
}

/* Behind the runs come the singles that are in none of them. */
static void merge(struct listing *l)
{
        const uint32_t last = l->count ? l->entries[l->count - 1].uid : 0;
        bool has_more = l->has_more_singles;

        for (size_t i = 0; i < l->single_count; i++) {
                if (l->singles[i].uid <= last)
                        continue;
                if (l->count >= l->limit) {
                        has_more = true;
                        break;
                }
                l->entries[l->count++] = l->singles[i];
        }
        if (l->count > l->limit) {
                l->count = l->limit;
                has_more = true;
        }
        finish(l, 0, has_more);
}

static void got_runs(void *arg, int result, const struct store_entry *entries, size_t count,
                     bool has_more)
{
        struct listing *l = arg;

        for (size_t i = 0; i < count && result == 0; i++) {
                struct reader r = READER(entries[i].value);

                if (r.rest.len > ACCOUNT_RUN * ACCOUNT_ENTRY_OCTETS ||
                    r.rest.len % ACCOUNT_ENTRY_OCTETS)
                        result = -EBADMSG;
                while (r.rest.len && result == 0 && l->count < l->limit + ACCOUNT_RUN) {
                        struct message_entry e;

                        result = account_decode_entry(&r, &e);
                        if (result == 0 && e.uid >= l->uid_from)
                                l->entries[l->count++] = e;
                }
        }
        if (result < 0) {
                finish(l, result, false);
        } else if (has_more || l->count > l->limit) {
                if (l->count > l->limit)
                        l->count = l->limit;
                finish(l, 0, true);
        } else {
                merge(l);
        }
}

static void got_first_run(void *arg, int result, const struct store_entry *entries, size_t count,
                          bool has_more)
{
        struct listing *l = arg;
        char from[ACCOUNT_KEY_MAX], to[ACCOUNT_KEY_MAX];
        uint32_t first = l->uid_from;
        struct store_range range;

        (void) has_more;
        if (result < 0) {
                finish(l, result, false);
                return;
        }
        if (count && entries[0].key.len == 13)
                first = key_get_u32(entries[0].key.p + 9);
        range = (struct store_range) {account_key_uid(from, 'r', l->mailbox_id, first),
                                      account_key(to, 'r', l->mailbox_id + 1),
                                      l->limit / ACCOUNT_RUN + 2, false};
        store_scan(l->account->mailboxes->store, &l->account->partition, &range, got_runs, l);
}

static void got_singles(void *arg, int result, const struct store_entry *entries, size_t count,
                        bool has_more)
{
        struct listing *l = arg;
        char from[ACCOUNT_KEY_MAX], to[ACCOUNT_KEY_MAX];
        struct store_range range = {.limit = 1, .is_reverse = true};

        for (size_t i = 0; i < count && i < l->limit && result == 0; i++) {
                struct reader r = READER(entries[i].value);

                result = account_decode_entry(&r, &l->singles[l->single_count++]);
        }
        l->has_more_singles = has_more;
        if (result < 0) {
                finish(l, result, false);
                return;
        }
        learn_first(l);
        /* The run that holds uid_from, if any, begins at or before it. */
        range.from = account_key(from, 'r', l->mailbox_id);
        range.to = l->uid_from == UINT32_MAX
                           ? account_key(to, 'r', l->mailbox_id + 1)
                           : account_key_uid(to, 'r', l->mailbox_id, l->uid_from + 1);
        store_scan(l->account->mailboxes->store, &l->account->partition, &range, got_first_run, l);
}

void account_list(struct account *a, uint64_t mailbox_id, uint32_t uid_from, size_t limit,
                  account_list_fn *done, void *arg)
{
        struct listing *l = calloc(1, sizeof(struct listing));
        char from[ACCOUNT_KEY_MAX], to[ACCOUNT_KEY_MAX];
        struct store_range range;

        limit = limit == 0 ? 1 : limit < PAGE_MAX ? limit : PAGE_MAX;
        if (l) {
                l->entries = calloc(limit + ACCOUNT_RUN, sizeof(struct message_entry));
                l->singles = calloc(limit, sizeof(struct message_entry));
        }
        if (!l || !l->entries || !l->singles) {
                if (l) {
                        free(l->entries);
                        free(l->singles);
                }
                free(l);
                done(arg, -ENOMEM, NULL, 0, false);
                return;
        }
        l->account = account_ref(a);
        l->mailbox_id = mailbox_id;
        l->uid_from = uid_from;
        l->limit = limit;
        l->done = done;
        l->arg = arg;
        range = (struct store_range) {
                account_key_uid(from, 'e', mailbox_id,
                                account_singles_from(a, mailbox_id, uid_from)),
                account_key(to, 'e', mailbox_id + 1), limit, false};
        store_scan(a->mailboxes->store, &a->partition, &range, got_singles, l);
}
