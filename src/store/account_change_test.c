/* Changes of messages against a model, with a mirror that knows only what a
 * watch tells: at every rest, model, mirror and store say the same. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/test.h"
#include "store/account.h"
#include "store/store_mem.h"

#define S(text) SPAN_LITERAL(text)

enum { BOXES = 3, MESSAGES_MAX = 6000 };

static const char *const box_names[BOXES] = {"INBOX", "Archive", "Trash"};

struct copy_of_box {
        struct message_entry entries[MESSAGES_MAX];
        size_t count;
        uint32_t uid_next;
};

static struct loop *loop;
static struct store *store;
static struct mailboxes *boxes;
static struct account *account;
static struct copy_of_box model[BOXES], mirror[BOXES];
static struct mailbox_watch *watches[BOXES];
static uint64_t box_ids[BOXES], seed, next_blob, told_modseq[BOXES];
static bool is_ready[BOXES], is_done;
static int last_result;
static struct uid_range last_uids[MESSAGES_MAX];
static size_t last_uid_count;
static unsigned lost;

static unsigned pick(unsigned n)
{
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        return (unsigned) (seed >> 33) % n;
}

static void run_until(const bool *flag)
{
        for (int i = 0; !*flag && i < 10000; i++)
                loop_run_once(loop, 10);
        CHECK(*flag, "called back");
}

static void was_committed(void *arg, int result)
{
        (void) arg;
        last_result = result;
        is_done = true;
}

static int commit(struct store_batch *b)
{
        is_done = false;
        store_commit(store, &b, 1, 0, was_committed, NULL);
        run_until(&is_done);
        return last_result;
}

static void opened(void *arg, int result, struct account *a)
{
        (void) arg;
        last_result = result;
        account = a;
        is_done = true;
}

static void was_changed(void *arg, int result, const struct account_changed *c)
{
        (void) arg;
        last_result = result;
        last_uid_count = c->uid_count;
        if (c->uid_count)
                memcpy(last_uids, c->uids, c->uid_count * sizeof c->uids[0]);
        is_done = true;
}

static int change(const struct account_change *c)
{
        is_done = false;
        account_change(account, c, was_changed, NULL);
        run_until(&is_done);
        return last_result;
}

/* ---- the copies --------------------------------------------------------------- */

static struct message_entry *find(struct copy_of_box *b, uint32_t uid)
{
        for (size_t i = 0; i < b->count; i++)
                if (b->entries[i].uid == uid)
                        return &b->entries[i];
        return NULL;
}

static void drop(struct copy_of_box *b, uint32_t uid)
{
        struct message_entry *e = find(b, uid);

        if (!e)
                return;
        memmove(e, e + 1, (size_t) (b->entries + b->count - e - 1) * sizeof *e);
        b->count--;
}

static void put(struct copy_of_box *b, const struct message_entry *e)
{
        struct message_entry *known = find(b, e->uid);

        if (known) {
                *known = *e;
                return;
        }
        CHECK(b->count < MESSAGES_MAX, "room");
        b->entries[b->count++] = *e;
}

static void on_ready(void *arg)
{
        is_ready[(const uint64_t *) arg - box_ids] = true;
}

static void on_news(void *arg, const struct mailbox_news *n)
{
        const long i = (const uint64_t *) arg - box_ids;

        lost += n->is_lost;
        for (size_t k = 0; k < n->entry_count; k++) {
                CHECK(n->entries[k].modseq > told_modseq[i], "modseqs grow");
                told_modseq[i] = n->entries[k].modseq;
                put(&mirror[i], &n->entries[k]);
        }
        for (size_t k = 0; k < n->gone_count; k++)
                drop(&mirror[i], n->gone[k]);
        if (n->status) {
                CHECK(n->status->message_count == mirror[i].count, "counted as of this change");
                CHECK(n->status->highest_modseq >= told_modseq[i], "highest as of this change");
        }
}

static const struct mailbox_watch_handler handler = {.ready = on_ready, .news = on_news};

static struct message_entry listed[MESSAGES_MAX];
static size_t listed_count;
static bool listed_more;

static void on_list(void *arg, int result, const struct message_entry *entries, size_t count,
                    bool has_more)
{
        (void) arg;
        CHECK(result == 0, "list");
        memcpy(listed + listed_count, entries ? entries : listed, count * sizeof entries[0]);
        listed_count += count;
        listed_more = has_more;
        is_done = true;
}

static void list(uint64_t mailbox_id)
{
        listed_count = 0;
        do {
                is_done = false;
                account_list(account, mailbox_id,
                             listed_count ? listed[listed_count - 1].uid + 1 : 1, 1 + pick(700),
                             on_list, NULL);
                run_until(&is_done);
        } while (listed_more);
}

static bool is_same(const struct message_entry *a, const struct message_entry *b)
{
        char octets[2][ACCOUNT_ENTRY_OCTETS];

        account_encode_entry(a, octets[0]);
        account_encode_entry(b, octets[1]);
        return memcmp(octets[0], octets[1], sizeof octets[0]) == 0;
}

static void check_box(int i)
{
        struct mailbox_status status;
        uint32_t unseen = 0, deleted = 0;
        uint64_t size = 0;

        list(box_ids[i]);
        CHECK(listed_count == model[i].count && listed_count == mirror[i].count, box_names[i]);
        for (size_t k = 0; k < listed_count; k++) {
                const struct message_entry *e = &listed[k], *m = &model[i].entries[k];

                CHECK(e->uid == m->uid && e->flags == m->flags && e->blob_id == m->blob_id &&
                              e->keywords == m->keywords,
                      "as the model has it");
                CHECK(is_same(e, &mirror[i].entries[k]), "as the mirror was told");
                unseen += !(e->flags & MESSAGE_SEEN);
                deleted += !!(e->flags & MESSAGE_DELETED);
                size += e->size;
        }
        CHECK(account_mailbox(account, span_from_string(box_names[i]), &status) == 0, "status");
        CHECK(status.message_count == listed_count && status.unseen_count == unseen &&
                      status.deleted_count == deleted && status.size == size &&
                      status.uid_next == model[i].uid_next,
              "numbers");
}

/* ---- steps -------------------------------------------------------------------- */

static void deliver(int i, unsigned count)
{
        struct store_batch *b = account_batch(account);

        for (unsigned k = 0; k < count && model[i].count < MESSAGES_MAX / 2; k++) {
                struct delivery d = {.mailbox = span_from_string(box_names[i]),
                                     .entry = {.blob_id = ++next_blob, .size = pick(9),
                                               .flags = pick(32)}};

                store_blob_put(b, next_blob, 1, S("d"), &S("0123456789"), 1);
                CHECK(account_deliver(account, &d, b, &d.entry.uid) == 0, "deliver");
                CHECK(d.entry.uid == model[i].uid_next++, "uid");
                put(&model[i], &d.entry);
        }
        CHECK(commit(b) == 0, "commit");
}

static size_t pick_ranges(int i, struct uid_range ranges[8])
{
        uint32_t uid = 1 + pick(model[i].uid_next);
        size_t n = 0;

        while (n < 1 + (size_t) pick(7)) {
                const uint32_t len = pick(8) ? pick(5) : pick(1500);

                ranges[n++] = (struct uid_range) {uid, uid + len};
                uid += len + 2 + pick(pick(4) ? 20 : 900);
        }
        return n;
}

static bool is_in(const struct uid_range *ranges, size_t n, uint32_t uid)
{
        for (size_t i = 0; i < n; i++)
                if (ranges[i].first <= uid && uid <= ranges[i].last)
                        return true;
        return false;
}

static void store_flags(int i, struct account_change *c)
{
        const struct span keyword = S("$Junk");
        const bool with_keyword = pick(2);

        c->kind = ACCOUNT_FLAGS;
        c->mode = (enum account_flags_mode) pick(3);
        c->flags = pick(32);
        c->keywords = &keyword;
        c->keyword_count = with_keyword;
        CHECK(change(c) == 0, "store");
        for (size_t k = 0; k < model[i].count; k++) {
                struct message_entry *e = &model[i].entries[k];

                if (!is_in(c->uids, c->uid_count, e->uid))
                        continue;
                if (c->mode == ACCOUNT_FLAGS_REPLACE) {
                        e->flags = c->flags;
                        e->keywords = with_keyword;
                } else if (c->mode == ACCOUNT_FLAGS_ADD) {
                        e->flags |= c->flags;
                        e->keywords |= with_keyword;
                } else {
                        e->flags &= ~c->flags;
                        e->keywords &= ~(uint32_t) with_keyword;
                }
        }
}

static void expunge(int i, struct account_change *c)
{
        c->kind = ACCOUNT_EXPUNGE;
        c->only_deleted = pick(2);
        CHECK(change(c) == 0, "expunge");
        for (size_t k = model[i].count; k-- > 0;) {
                const struct message_entry e = model[i].entries[k];

                if (is_in(c->uids, c->uid_count, e.uid) &&
                    (!c->only_deleted || (e.flags & MESSAGE_DELETED))) {
                        CHECK(is_in(last_uids, last_uid_count, e.uid), "it says which went");
                        drop(&model[i], e.uid);
                }
        }
}

static void copy_or_move(int i, struct account_change *c)
{
        const int to = (int) pick(BOXES);
        const size_t count = model[i].count;
        static struct message_entry source[MESSAGES_MAX];

        if (model[to].count + count > MESSAGES_MAX - 2000)
                return;
        c->kind = pick(2) ? ACCOUNT_COPY : ACCOUNT_MOVE;
        c->to = span_from_string(box_names[to]);
        CHECK(change(c) == 0, "copy");
        memcpy(source, model[i].entries, count * sizeof source[0]);
        for (size_t k = 0; k < count; k++) {
                struct message_entry made = source[k];

                if (!is_in(c->uids, c->uid_count, made.uid))
                        continue;
                if (c->kind == ACCOUNT_MOVE)
                        drop(&model[i], made.uid);
                made.uid = model[to].uid_next++;
                CHECK(is_in(last_uids, last_uid_count, made.uid), "it says where they are");
                put(&model[to], &made);
        }
}

static void step(void)
{
        struct uid_range ranges[8];
        const int i = (int) pick(BOXES);
        struct account_change c = {.mailbox_id = box_ids[i], .uids = ranges};

        c.uid_count = pick_ranges(i, ranges);
        switch (pick(10)) {
        case 0:
        case 1:
        case 2:
        case 3:
                deliver(i, pick(4) ? 1 + pick(5) : pick(300));
                break;
        case 4:
        case 5:
        case 6:
                store_flags(i, &c);
                break;
        case 7:
                expunge(i, &c);
                break;
        default:
                copy_or_move(i, &c);
        }
}

static void begin(void)
{
        const struct store_options options = {
                .segment_size = 1024 * 1024, .reserve_bytes = 4096, .directory_fd = -1};
        char error[256];
        struct store_batch *b;

        loop = loop_new();
        CHECK(store_open("mem:", &options, loop, &store, error) == 0, "open");
        CHECK(mailboxes_new(store, &boxes) == 0, "new");
        memset(model, 0, sizeof model);
        memset(mirror, 0, sizeof mirror);
        memset(told_modseq, 0, sizeof told_modseq);
        lost = 0;
        is_done = false;
        account_open(boxes, S("a@example.jp"), opened, NULL);
        run_until(&is_done);
        b = account_batch(account);
        for (int i = 0; i < BOXES; i++) {
                struct mailbox_status status;
                const struct span name = span_from_string(box_names[i]), keyword = S("$Junk");
                struct mailbox *box;

                CHECK(account_create_mailbox(account, name, b) == 0, "create");
                CHECK(account_mailbox(account, name, &status) == 0, "there");
                box = account_find_id(account, status.mailbox_id);
                uint32_t bits;
                CHECK(account_keyword_bits(box, &keyword, 1, b, &bits) == 0 && bits == 1, "bit");
                box_ids[i] = status.mailbox_id;
                model[i].uid_next = 1;
        }
        CHECK(commit(b) == 0, "commit");
        for (int i = 0; i < BOXES; i++) {
                is_ready[i] = false;
                CHECK(account_watch(account, box_ids[i], &handler, &box_ids[i], &watches[i]) == 0,
                      "watch");
                run_until(&is_ready[i]);
        }
}

static void end(void)
{
        for (int i = 0; i < BOXES; i++)
                watches[i] = account_unwatch(watches[i]);
        account_release(account);
        store = store_close(store);
        boxes = mailboxes_free(boxes);
        loop = loop_free(loop);
}

TEST(model_mirror_and_store_agree)
{
        for (seed = 1; seed < 4; seed += 1) {
                const uint64_t kept = seed;

                begin();
                for (int i = 0; i < 400; i++) {
                        step();
                        if (pick(40) == 0)
                                check_box((int) pick(BOXES));
                }
                for (int i = 0; i < BOXES; i++)
                        check_box(i);
                CHECK(lost == 0, "nothing was lost on the way");
                end();
                seed = kept;
        }
}

TEST(unchanged_since_leaves_alone_what_has_changed)
{
        const struct uid_range all = {1, 3}, two = {2, 2};
        struct account_change c = {.kind = ACCOUNT_FLAGS, .uids = &two, .uid_count = 1,
                                   .mode = ACCOUNT_FLAGS_ADD, .flags = MESSAGE_FLAGGED};

        begin();
        c.mailbox_id = box_ids[0];
        deliver(0, 3);
        c.mode = ACCOUNT_FLAGS_REMOVE;
        CHECK(change(&c) == 0, "so that the next one is a change");
        c.mode = ACCOUNT_FLAGS_ADD;
        list(box_ids[0]);
        c.has_unchanged_since = true;
        c.unchanged_since = listed[1].modseq;
        CHECK(change(&c) == 0 && last_uid_count == 0, "unchanged so far");
        c.uids = &all;
        c.mode = ACCOUNT_FLAGS_REPLACE;
        c.flags = MESSAGE_SEEN;
        CHECK(change(&c) == 0 && last_uid_count == 1 && last_uids[0].first == 2, "2 has changed");
        list(box_ids[0]);
        CHECK(listed[0].flags == MESSAGE_SEEN && listed[2].flags == MESSAGE_SEEN &&
                      (listed[1].flags & MESSAGE_FLAGGED),
              "the others were changed");
        end();
}

TEST(bodies_live_as_long_as_one_copy)
{
        const struct uid_range one = {1, 1};
        struct account_change c = {.kind = ACCOUNT_COPY, .uids = &one, .uid_count = 1,
                                   .to = S("Archive")};
        const struct uid_range *none = &one;

        begin();
        deliver(0, 1);
        c.mailbox_id = box_ids[0];
        CHECK(change(&c) == 0, "copy");
        c.kind = ACCOUNT_EXPUNGE;
        CHECK(change(&c) == 0, "expunge");
        c.mailbox_id = box_ids[1];
        CHECK(change(&c) == 0, "the last one goes, too");
        CHECK(change(&c) == 0 && last_uid_count == 0, "nothing left");
        c.kind = ACCOUNT_MOVE;
        c.to = S("None");
        c.uids = none;
        CHECK(change(&c) == -ENOENT, "no such mailbox");
        end();
}

TEST(a_failed_batch_is_told_as_lost)
{
        const struct delivery d = {.mailbox = S("INBOX"), .delivery_key = S("k")};
        struct store_batch *b;
        uint32_t uid;

        begin();
        b = account_batch(account);
        CHECK(account_deliver(account, &d, b, &uid) == 0, "deliver");
        store_batch_free(b);
        CHECK(lost == BOXES, "everybody was told");
        CHECK(account_watch(account, box_ids[0], &handler, &box_ids[0], &watches[0]) == -ESTALE,
              "open it anew");
        end();
}

TEST(folders_keep_what_they_are)
{
        struct mailbox_status status;
        struct span names[4];
        struct store_batch *b;

        begin();
        b = account_batch(account);
        CHECK(account_subscribe(account, S("Archive"), true, b) == 0, "subscribe");
        CHECK(account_subscribe(account, S("inbox"), true, b) == 0, "subscribe");
        CHECK(account_subscribe(account, S("Gone"), true, b) == 0, "one that is not there");
        CHECK(account_subscribe(account, S("Gone"), false, b) == 0, "unsubscribe");
        CHECK(account_subscribe(account, S("a//b"), true, b) == -EINVAL, "no name");
        CHECK(account_set_special_use(account, S("Trash"), 64, b) == 0, "use");
        CHECK(account_set_special_use(account, S("None"), 64, b) == -ENOENT, "no mailbox");
        CHECK(commit(b) == 0, "commit");
        for (int i = 0; i < BOXES; i++)
                watches[i] = account_unwatch(watches[i]);
        account_forget(account);
        account_release(account);
        is_done = false;
        account_open(boxes, S("a@example.jp"), opened, NULL);
        run_until(&is_done);
        CHECK(account_subscriptions(account, names, 4) == 2, "two");
        CHECK(account_is_subscribed(account, S("INBOX")), "INBOX");
        CHECK(account_mailbox(account, S("Trash"), &status) == 0 && status.special_use == 64,
              "its use");
        CHECK(account_keywords(account, box_ids[0], names) == 1 && span_equal(names[0], S("$Junk")),
              "its keyword");
        end();
}

TEST_MAIN()
