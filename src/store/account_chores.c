/* Work that is not urgent and goes along with a later batch of the account:
 *
 *   fold    the 256 oldest single entries of a mailbox become one run, so that
 *           a delivery never rewrites a run
 *   sweep   delivery keys that are old enough are forgotten
 *   purge   the messages of a deleted mailbox go, page by page
 *   expire  expunged messages were kept long enough
 *
 * What a chore needs is read from the store first, and only when the store
 * shows the batch that took the one before along: else the same entries would
 * be folded or purged twice. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "store/account.h"

enum { SWEEP_PAGE = 200, PURGE_PAGE = 100, EXPIRE_PAGE = 64, FOLD_RETRY = 64 };

/* When nothing was found that must be there: it is under way, or the clock jumped. */
#define EXPIRE_RETRY_US ((uint64_t) 1000000)

static void drop(struct account *a)
{
        a->chore.kind = CHORE_NONE;
        buffer_shrink(&a->chore.octets, 0);
}

static void end_reading(struct account *a, bool is_ready)
{
        a->is_chore_asked = false;
        if (!is_ready || a->chore_read_in != a->chore_epoch)
                drop(a);
        account_release(a);
}

/* ---- reading ---------------------------------------------------------------- */

static void got_fold(void *arg, int result, const struct store_entry *entries, size_t count,
                     bool has_more)
{
        struct account *a = arg;
        struct mailbox *b = account_find_id(a, a->chore.mailbox_id);

        (void) has_more;
        if (b && result == 0 && count < ACCOUNT_RUN) {
                b->fold_at = b->single_count + FOLD_RETRY; /* they are under way */
                if (count == 0) /* whatever is counted lies before: look everywhere */
                        b->singles_from = b->folded_to = 0;
        }
        if (!b || count < ACCOUNT_RUN)
                result = -ENOENT;
        for (size_t i = 0; i < ACCOUNT_RUN && result == 0; i++)
                result = entries[i].value.len == ACCOUNT_ENTRY_OCTETS
                                 ? buffer_append_span(&a->chore.octets, entries[i].value)
                                 : -EBADMSG;
        end_reading(a, result == 0);
}

static void go_on_behind(struct account *a, struct span key)
{
        if (!a->sweep_behind)
                a->sweep_behind = malloc(STORE_KEY_MAX + 1);
        if (!a->sweep_behind)
                return; /* from the beginning, then */
        memcpy(a->sweep_behind, key.p, key.len);
        a->sweep_behind[key.len] = '\0';
        a->sweep_behind_len = key.len + 1;
}

static void got_sweep(void *arg, int result, const struct store_entry *entries, size_t count,
                      bool has_more)
{
        const uint64_t now_us = clock_now_us();
        struct account *a = arg;

        a->sweep_behind_len = 0;
        for (size_t i = 0; i < count && result == 0; i++) {
                const struct store_entry *e = &entries[i];

                if (e->value.len != 8 || key_get_u64(e->value.p) < now_us)
                        result = write_octets(&a->chore.octets, e->key);
                if (i + 1 == count && has_more)
                        go_on_behind(a, e->key);
        }
        end_reading(a, result == 0 && a->chore.octets.len);
}

/* Keys and values of one page of a deleted mailbox. */
static int take_page(struct account *a, int result, const struct store_entry *entries, size_t count)
{
        for (size_t i = 0; i < count && result == 0; i++) {
                result = write_octets(&a->chore.octets, entries[i].key);
                if (result == 0)
                        result = write_octets(&a->chore.octets, entries[i].value);
        }
        return result;
}

static void got_purged_runs(void *arg, int result, const struct store_entry *entries, size_t count,
                            bool has_more)
{
        struct account *a = arg;

        (void) has_more;
        result = take_page(a, result, entries, count);
        end_reading(a, result == 0); /* an empty page: it is all gone */
}

static void got_purged_singles(void *arg, int result, const struct store_entry *entries,
                               size_t count, bool has_more)
{
        struct account *a = arg;
        char from[ACCOUNT_KEY_MAX], to[ACCOUNT_KEY_MAX];
        struct store_range range;

        (void) has_more;
        result = take_page(a, result, entries, count);
        if (result < 0 || count) {
                end_reading(a, result == 0);
                return;
        }
        range = (struct store_range) {account_key(from, 'r', a->chore.mailbox_id),
                                      account_key(to, 'r', a->chore.mailbox_id + 1), 1, false};
        store_scan(a->mailboxes->store, &a->partition, &range, got_purged_runs, a);
}

/* Takes the page's keys and values as long as they are kept too long, or too many. */
static int take_expired(struct account *a, const struct store_entry *entries, size_t count)
{
        const struct expunge_keep *keep = &a->mailboxes->keep;
        const uint64_t now_us = clock_now_us();
        uint64_t left = a->kept_size;
        int result = 0;

        for (size_t i = 0; i < count && result == 0; i++) {
                struct message_entry e;
                struct kept_key key;
                struct span name;
                struct reader r;

                result = account_kept_decode(&entries[i], &key, &name, &r);
                if (result < 0)
                        return result;
                a->kept_from_us = key.expunged_us;
                if (key.expunged_us + keep->age_us > now_us &&
                    !(keep->octets && left > keep->octets))
                        break;
                while (r.rest.len && account_decode_entry(&r, &e) == 0)
                        left -= e.size;
                result = take_page(a, 0, &entries[i], 1);
        }
        return result;
}

static void got_expired(void *arg, int result, const struct store_entry *entries, size_t count,
                        bool has_more)
{
        struct account *a = arg;

        (void) has_more;
        if (result == 0)
                result = take_expired(a, entries, count);
        if (result < 0 || !a->chore.octets.len)
                a->kept_look_us = clock_now_us() + EXPIRE_RETRY_US;
        end_reading(a, result == 0 && a->chore.octets.len);
}

static void read_chore(struct account *a)
{
        struct store *s = a->mailboxes->store;
        const uint64_t id = a->chore.mailbox_id;
        char from[ACCOUNT_KEY_MAX], to[ACCOUNT_KEY_MAX];
        struct store_range range = {
                account_key_uid(from, 'e', id, account_singles_from(a, id, 0)),
                account_key(to, 'e', id + 1), ACCOUNT_RUN, false};

        if (a->chore.kind == CHORE_FOLD) {
                store_scan(s, &a->partition, &range, got_fold, a);
        } else if (a->chore.kind == CHORE_PURGE) {
                range.limit = PURGE_PAGE;
                store_scan(s, &a->partition, &range, got_purged_singles, a);
        } else if (a->chore.kind == CHORE_EXPIRE) {
                range = (struct store_range) {SPAN_LITERAL("t"), SPAN_LITERAL("u"), EXPIRE_PAGE,
                                              false};
                store_scan(s, &a->partition, &range, got_expired, a);
        } else {
                range = (struct store_range) {SPAN_LITERAL("d/"), SPAN_LITERAL("d0"), SWEEP_PAGE,
                                              false};
                if (a->sweep_behind_len)
                        range.from = span_make(a->sweep_behind, a->sweep_behind_len);
                store_scan(s, &a->partition, &range, got_sweep, a);
        }
}

/* The last chore is visible: so is what it folded. */
static void note_folded(struct account *a)
{
        for (size_t i = 0; i < a->box_count; i++)
                if (a->boxes[i].folded_to > a->boxes[i].singles_from)
                        a->boxes[i].singles_from = a->boxes[i].folded_to;
}

static void got_chore_sequence(void *arg, int result, struct span value, uint64_t sequence)
{
        struct account *a = arg;

        (void) value;
        if (a->is_forgotten || (result < 0 && result != -ENOENT) || sequence < a->chore_sequence) {
                end_reading(a, false);
                return;
        }
        note_folded(a);
        read_chore(a);
}

static enum chore_kind choose(struct account *a, const struct mailbox *b, uint64_t *ret_mailbox_id)
{
        if (a->purged_count) {
                *ret_mailbox_id = a->purged[0].id;
                return CHORE_PURGE;
        }
        if (account_is_kept_due(a))
                return CHORE_EXPIRE;
        for (size_t i = 0; i < a->box_count; i++) {
                const struct mailbox *box = b ? b : &a->boxes[i];

                if (box->single_count >= box->fold_at) {
                        *ret_mailbox_id = box->id;
                        return CHORE_FOLD;
                }
                if (b)
                        break;
        }
        if (a->deliveries_since_sweep >= ACCOUNT_SWEEP_EVERY) {
                a->deliveries_since_sweep = 0;
                return CHORE_SWEEP;
        }
        return CHORE_NONE;
}

void account_look_for_chores(struct account *a, const struct mailbox *b)
{
        if (a->chore.kind != CHORE_NONE || a->is_chore_asked || a->is_forgotten ||
            !list_is_empty(&a->changes))
                return;
        a->chore.kind = choose(a, b, &a->chore.mailbox_id);
        if (a->chore.kind == CHORE_NONE)
                return;
        a->is_chore_asked = true;
        a->chore_read_in = a->chore_epoch;
        account_ref(a);
        store_get(a->mailboxes->store, &a->partition, SPAN_LITERAL("h"), got_chore_sequence, a);
}

/* ---- doing ------------------------------------------------------------------ */

static void fold(struct account *a, struct store_batch *batch)
{
        struct mailbox *b = account_find_id(a, a->chore.mailbox_id);
        const struct span run = buffer_span(&a->chore.octets);
        struct reader r = READER(run);
        struct message_entry entry;
        char key[ACCOUNT_KEY_MAX];
        uint32_t first_uid = 0, last_uid = 0;

        if (!b)
                return;
        while (account_decode_entry(&r, &entry) == 0) {
                last_uid = entry.uid;
                if (!first_uid)
                        first_uid = entry.uid;
                store_delete(batch, account_key_uid(key, 'e', b->id, entry.uid));
        }
        store_put(batch, account_key_uid(key, 'r', b->id, first_uid), run);
        b->folded_to = last_uid + 1;
        b->single_count -= ACCOUNT_RUN;
        b->fold_at = ACCOUNT_FOLD_AT;
        account_put_box(a, b, batch);
}

static void sweep(struct account *a, struct store_batch *batch)
{
        struct reader r = READER(buffer_span(&a->chore.octets));

        while (r.rest.len && !r.failed)
                store_delete(batch, read_octets(&r, STORE_KEY_MAX));
}

static void end_purge(struct account *a, struct store_batch *batch)
{
        char key[ACCOUNT_KEY_MAX];

        store_delete(batch, account_key(key, 'l', a->chore.mailbox_id));
        a->purged_count--;
        memmove(a->purged, a->purged + 1, a->purged_count * sizeof a->purged[0]);
}

/* Without memory the batch has failed already, or the message is not kept. */
static void purge(struct account *a, struct store_batch *batch)
{
        const struct purged *p = a->purged;
        struct reader r = READER(buffer_span(&a->chore.octets));
        struct kept_page kept;

        if (r.rest.len == 0) {
                end_purge(a, batch);
                return;
        }
        account_keep_begin(&kept, p->id, span_make(p->name, p->name_len));
        while (r.rest.len && !r.failed) {
                struct message_entry entry;
                struct reader run;

                store_delete(batch, read_octets(&r, STORE_KEY_MAX));
                run = READER(read_octets(&r, STORE_VALUE_MAX));
                while (run.rest.len && account_decode_entry(&run, &entry) == 0)
                        if (!p->name_len || account_keep(a, &kept, &entry, batch) < 0)
                                store_blob_reference(batch, entry.blob_id, -1);
        }
        account_keep_end(a, &kept, batch);
}

static void expire(struct account *a, struct store_batch *batch)
{
        struct reader r = READER(buffer_span(&a->chore.octets));

        while (r.rest.len && !r.failed) {
                const struct span key = read_octets(&r, STORE_KEY_MAX);
                const struct store_entry e = {key, read_octets(&r, STORE_VALUE_MAX)};
                struct message_entry entry;
                struct reader entries;
                struct kept_key place;
                struct span name;

                store_delete(batch, key);
                if (account_kept_decode(&e, &place, &name, &entries) < 0)
                        continue;
                while (entries.rest.len && account_decode_entry(&entries, &entry) == 0) {
                        store_blob_reference(batch, entry.blob_id, -1);
                        a->kept_count--;
                        a->kept_size -= entry.size;
                }
        }
        account_put_kept(a, batch);
}

static bool is_ready(const struct account *a)
{
        return a->chore.kind != CHORE_NONE && !a->is_chore_asked;
}

void account_drop_chores(struct account *a)
{
        a->chore_epoch++;
        if (is_ready(a))
                drop(a);
}

bool account_has_chores(const struct account *a)
{
        return is_ready(a) || a->purged_count;
}

void account_do_chores(struct account *a, struct store_batch *batch)
{
        if (!is_ready(a))
                return;
        if (a->chore.kind == CHORE_FOLD)
                fold(a, batch);
        else if (a->chore.kind == CHORE_SWEEP)
                sweep(a, batch);
        else if (a->chore.kind == CHORE_PURGE)
                purge(a, batch);
        else
                expire(a, batch);
        a->chore_sequence = a->sequence;
        drop(a);
}
