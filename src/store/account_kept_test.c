/* Expunged messages are kept for a while, and come back. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/test.h"
#include "store/account.h"
#include "store/store_mem.h"

#define S(text) SPAN_LITERAL(text)
#define DAY_US ((uint64_t) 86400 * 1000000)

enum { SIZE = 10, LISTED_MAX = 2000 };

static struct loop *loop;
static struct store *store;
static struct mailboxes *boxes;
static struct account *account;
static bool is_done;
static int last_result;
static uint64_t next_blob, now_us;
static struct span kept_address;
static char kept_octets[64];

struct kept_row {
        uint64_t mailbox_id, blob_id;
        uint32_t uid;
};
static struct kept_row kept[LISTED_MAX];
static size_t kept_count;
static struct kept_place kept_behind;
static bool kept_more;
static struct message_entry listed[LISTED_MAX];
static size_t listed_count;

static void wait(void)
{
        for (int i = 0; !is_done && i < 10000; i++)
                loop_run_once(loop, 10);
        CHECK(is_done, "called back");
        is_done = false;
}

static void was_committed(void *arg, int result)
{
        (void) arg;
        last_result = result;
        is_done = true;
}

static int commit(struct store_batch *b)
{
        store_commit(store, &b, 1, 0, was_committed, NULL);
        wait();
        return last_result;
}

static void opened(void *arg, int result, struct account *a)
{
        (void) arg;
        last_result = result;
        account = a;
        is_done = true;
}

static void open_account(void)
{
        account_open(boxes, S("a@example.jp"), opened, NULL);
        wait();
        CHECK(last_result == 0, "open");
}

static void reopen(void)
{
        account_forget(account);
        account_release(account);
        open_account();
}

static void was_changed(void *arg, int result, const struct account_changed *c)
{
        (void) arg;
        (void) c;
        last_result = result;
        is_done = true;
}

static int change(enum account_change_kind kind, uint64_t mailbox_id, uint32_t first, uint32_t last,
                  struct span to)
{
        const struct uid_range uids = {first, last};

        account_change(account, &(struct account_change) {
                .kind = kind, .mailbox_id = mailbox_id, .uids = &uids, .uid_count = 1, .to = to,
                .flags = MESSAGE_DELETED, .mode = ACCOUNT_FLAGS_ADD}, was_changed, NULL);
        wait();
        return last_result;
}

static struct mailbox_status status_of(struct span name)
{
        struct mailbox_status s = {0};

        CHECK(account_mailbox(account, name, &s) == 0, "the mailbox is there");
        return s;
}

static void deliver(struct span mailbox, unsigned count)
{
        static const struct span keyword = SPAN("$Junk");
        struct store_batch *b = account_batch(account);

        for (unsigned i = 0; i < count; i++) {
                const uint64_t id = ++next_blob;
                struct delivery d = {.mailbox = mailbox, .may_create = true,
                                     .entry = {.blob_id = id, .size = SIZE, .arrived_us = id,
                                               .flags = MESSAGE_FLAGGED},
                                     .keywords = &keyword, .keyword_count = 1};
                uint32_t uid;

                store_blob_put(b, id, 1, S("d"), &S("0123456789"), 1);
                CHECK(account_deliver(account, &d, b, &uid) == 0, "deliver");
        }
        CHECK(commit(b) == 0, "commit");
}

static void got_kept(void *arg, int result, const struct kept_messages *list, size_t count,
                     const struct kept_place *last, bool has_more)
{
        (void) arg;
        CHECK(result == 0, "list what is kept");
        for (size_t i = 0; i < count; i++) {
                for (size_t k = 0; k < list[i].count; k++)
                        kept[kept_count++] = (struct kept_row) {
                                list[i].mailbox_id, list[i].entries[k].blob_id,
                                list[i].entries[k].uid};
        }
        kept_more = has_more;
        if (count)
                kept_behind = *last;
        is_done = true;
}

static size_t list_kept(void)
{
        kept_count = 0;
        kept_behind = (struct kept_place) {0};
        do {
                account_list_kept(account, &kept_behind, got_kept, NULL);
                wait();
        } while (kept_more);
        CHECK(kept_count == account->kept_count && kept_count * SIZE == account->kept_size,
              "and it is counted");
        return kept_count;
}

static void got_list(void *arg, int result, const struct message_entry *entries, size_t count,
                     bool has_more)
{
        (void) arg;
        (void) has_more;
        CHECK(result == 0, "list");
        if (count)
                memcpy(listed, entries, count * sizeof listed[0]);
        listed_count = count;
        is_done = true;
}

static size_t list(struct span mailbox)
{
        account_list(account, status_of(mailbox).mailbox_id, 1, 1000, got_list, NULL);
        wait();
        return listed_count;
}

static void got_keeps(void *arg, int result, struct span address)
{
        (void) arg;
        last_result = result;
        memcpy(kept_octets, address.p ? address.p : "", address.len);
        kept_address = span_make(kept_octets, address.len);
        is_done = true;
}

static int keeps(void)
{
        account_keeps(boxes, &account->partition, got_keeps, NULL);
        wait();
        return last_result;
}

static void got_blob(void *arg, int result, struct span octets, uint64_t size)
{
        (void) arg;
        (void) octets;
        (void) size;
        last_result = result;
        is_done = true;
}

static int read_body(uint64_t id)
{
        store_blob_read(store, id, 0, 100, got_blob, NULL);
        wait();
        return last_result;
}

/* Empty batches, until nothing waits that could go along. */
static void do_chores(void)
{
        for (int i = 0; i < 100; i++) {
                struct store_batch *b = account_batch(account);

                CHECK(commit(b) == 0, "an empty batch");
                for (int k = 0; k < 5; k++)
                        loop_run_once(loop, 0);
        }
        CHECK(!account_has_expired(account), "nothing waits any more");
}

static void begin(uint64_t age_us, uint64_t octets)
{
        const struct store_options options = {
                .segment_size = 1024 * 1024, .reserve_bytes = 4096, .directory_fd = -1};
        char error[256];

        now_us = 1000 * DAY_US;
        clock_fake(now_us);
        next_blob = 0;
        is_done = false;
        loop = loop_new();
        CHECK(store_open("mem:", &options, loop, &store, error) == 0, "open");
        CHECK(mailboxes_new(store, &boxes) == 0, "new");
        mailboxes_keep_expunged(boxes, &(struct expunge_keep) {age_us, octets});
        open_account();
}

static void end(void)
{
        account_release(account);
        store = store_close(store);
        boxes = mailboxes_free(boxes);
        loop = loop_free(loop);
        clock_fake(0);
}

TEST(they_come_back)
{
        uint64_t id;

        begin(7 * DAY_US, 0);
        deliver(S("INBOX"), 700); /* runs and single ones */
        id = status_of(S("INBOX")).mailbox_id;
        CHECK(change(ACCOUNT_FLAGS, id, 100, 699, S("")) == 0, "deleted, as one says");
        CHECK(change(ACCOUNT_EXPUNGE, id, 100, 699, S("")) == 0, "expunge");
        CHECK(list_kept() == 600 && account_size(account) == 100 * SIZE, "out of the quota");
        clock_fake(now_us + 8 * DAY_US);
        CHECK(keeps() == 0 && span_equal(kept_address, S("a@example.jp")), "and whose they are");
        clock_fake(now_us);
        CHECK(keeps() == -EAGAIN, "not yet");
        reopen();
        CHECK(list_kept() == 600 && kept[0].mailbox_id == id, "known when opened again");
        CHECK(change(ACCOUNT_UNDELETE, id, 150, 152, S("INBOX")) == 0, "three");
        CHECK(list_kept() == 597 && list(S("INBOX")) == 103, "are back");
        CHECK(listed[100].uid == 701 && listed[102].uid == 703, "with new UIDs");
        CHECK(listed[100].blob_id == 150 && listed[100].flags == MESSAGE_FLAGGED &&
                      listed[100].keywords == 1 && listed[100].arrived_us == 150,
              "and what they had, but for \\Deleted");
        CHECK(change(ACCOUNT_UNDELETE, id, 1, UINT32_MAX, S("INBOX")) == 0, "the rest");
        CHECK(list_kept() == 0 && keeps() == -ENOENT && list(S("INBOX")) == 700, "is back");
        CHECK(status_of(S("INBOX")).uid_next == 1301, "each once");
        CHECK(account_size(account) == 700 * SIZE && status_of(S("INBOX")).deleted_count == 0,
              "and counted");
        for (uint64_t i = 1; i <= 700; i++)
                CHECK(read_body(i) == 0, "with its body");
        CHECK(change(ACCOUNT_UNDELETE, id, 1, 9, S("None")) == -ENOENT, "no such mailbox");
        end();
}

TEST(they_go_when_their_time_is_over)
{
        uint64_t id;

        begin(7 * DAY_US, 0);
        deliver(S("INBOX"), 300);
        id = status_of(S("INBOX")).mailbox_id;
        CHECK(change(ACCOUNT_EXPUNGE, id, 1, 100, S("")) == 0, "expunge");
        clock_fake(now_us += 5 * DAY_US);
        CHECK(change(ACCOUNT_EXPUNGE, id, 101, 200, S("")) == 0, "later");
        do_chores();
        CHECK(list_kept() == 200, "none so far");
        clock_fake(now_us += 2 * DAY_US);
        do_chores();
        CHECK(list_kept() == 100 && kept[0].uid == 101, "the older ones");
        CHECK(read_body(100) == -ENOENT && read_body(101) == 0, "with their bodies");
        clock_fake(now_us += 5 * DAY_US);
        reopen();
        do_chores();
        CHECK(list_kept() == 0 && keeps() == -ENOENT && read_body(200) == -ENOENT, "all");
        CHECK(read_body(201) == 0 && account_size(account) == 100 * SIZE, "nothing else");
        end();
}

TEST(an_account_keeps_so_many_octets)
{
        uint64_t id;

        begin(7 * DAY_US, 100 * SIZE);
        deliver(S("INBOX"), 600);
        id = status_of(S("INBOX")).mailbox_id;
        for (uint32_t uid = 1; uid <= 150; uid++) {
                clock_fake(++now_us);
                CHECK(change(ACCOUNT_EXPUNGE, id, uid, uid, S("")) == 0, "expunge");
        }
        clock_fake(now_us += DAY_US);
        do_chores();
        CHECK(list_kept() == 100 && kept[0].uid == 51, "the newest");
        CHECK(change(ACCOUNT_EXPUNGE, id, 1, 600, S("")) == 0, "more at once than twice as much");
        CHECK(list_kept() == 200, "is not kept, even until somebody looks");
        clock_fake(now_us += DAY_US);
        do_chores();
        CHECK(list_kept() <= 100, "then it is what may be");
        for (uint64_t i = 1; i <= 600; i++) {
                bool is_kept = false;

                for (size_t k = 0; k < kept_count; k++)
                        is_kept = is_kept || kept[k].blob_id == i;
                CHECK(read_body(i) == (is_kept ? 0 : -ENOENT), "no body more, none less");
        }
        end();
}

TEST(nothing_is_kept_unless_said)
{
        begin(0, 0);
        deliver(S("INBOX"), 3);
        CHECK(change(ACCOUNT_EXPUNGE, status_of(S("INBOX")).mailbox_id, 1, 2, S("")) == 0,
              "expunge");
        CHECK(list_kept() == 0 && read_body(1) == -ENOENT && keeps() == -ENOENT, "gone");
        end();
}

TEST(a_deleted_mailbox_is_kept_too)
{
        struct store_batch *b;
        uint64_t id;

        begin(7 * DAY_US, 0);
        deliver(S("Old"), 400);
        deliver(S("INBOX"), 1);
        id = status_of(S("Old")).mailbox_id;
        b = account_batch(account);
        CHECK(account_delete_mailbox(account, S("Old"), b) == 0 && commit(b) == 0, "delete");
        reopen(); /* its name stands in the store */
        do_chores();
        CHECK(list_kept() == 400 && kept[0].mailbox_id == id, "its messages");
        CHECK(change(ACCOUNT_UNDELETE, id, 1, UINT32_MAX, S("INBOX")) == 0, "come back elsewhere");
        CHECK(list(S("INBOX")) == 401 && listed[400].keywords == 0, "without its keywords");
        CHECK(list_kept() == 0 && account_size(account) == 401 * SIZE, "all");
        end();
}

TEST(what_moves_is_not_kept)
{
        begin(7 * DAY_US, 0);
        deliver(S("Old"), 3);
        deliver(S("INBOX"), 1);
        CHECK(change(ACCOUNT_MOVE, status_of(S("Old")).mailbox_id, 1, 3, S("INBOX")) == 0, "move");
        CHECK(list_kept() == 0 && list(S("INBOX")) == 4, "it is there");
        end();
}

/* ---- which UIDs went ---------------------------------------------------------- */

static struct expunged_range went[16384];
static size_t went_count;
static uint64_t went_since;

static void got_went(void *arg, int result, uint64_t since, const struct expunged_range *ranges,
                     size_t count)
{
        (void) arg;
        CHECK(result == 0 && count <= 16384, "which went");
        if (count)
                memcpy(went, ranges, count * sizeof went[0]);
        went_count = count;
        went_since = since;
        is_done = true;
}

static bool has_gone(uint64_t modseq, uint32_t uid)
{
        for (size_t i = 0; i < went_count; i++)
                if (went[i].modseq > modseq && went[i].first <= uid && uid <= went[i].last)
                        return true;
        return false;
}

/* Expunges message by message, UID n at the nth turn, some of them in a page with
 * others; what is told for each modseq is what went since. */
static void check_went(unsigned turns, unsigned reopen_every)
{
        static uint64_t modseq_at[2000];
        const uint64_t id = status_of(S("INBOX")).mailbox_id;

        for (unsigned i = 0; i < turns; i++) {
                modseq_at[i] = status_of(S("INBOX")).highest_modseq;
                CHECK(change(ACCOUNT_EXPUNGE, id, i * 2 + 1, i * 2 + 1, S("")) == 0, "expunge");
                CHECK(status_of(S("INBOX")).highest_modseq > modseq_at[i], "a change as others");
                if (i % reopen_every == reopen_every - 1)
                        reopen();
        }
        account_expunged(account, id, got_went, NULL);
        wait();
        for (unsigned i = 0; i < turns; i++) {
                if (modseq_at[i] < went_since)
                        continue;
                for (unsigned k = 0; k < turns; k++)
                        CHECK(has_gone(modseq_at[i], k * 2 + 1) == (k >= i) &&
                                      !has_gone(modseq_at[i], k * 2 + 2),
                              "exactly what went");
        }
}

TEST(it_says_what_went_since_when)
{
        begin(0, 0);
        deliver(S("INBOX"), 200);
        check_went(100, 1000);
        CHECK(went_since == 0 && went_count == 100, "all of it");
        end();
        begin(0, 0);
        deliver(S("INBOX"), 700);
        check_went(350, 1); /* a slot each: the ring goes round */
        CHECK(went_since > 0 && went_count == 256, "the newest");
        end();
}

TEST(a_deleted_mailbox_leaves_no_slots)
{
        struct store_batch *b;
        uint64_t id;

        begin(0, 0);
        deliver(S("Old"), 3);
        id = status_of(S("Old")).mailbox_id;
        CHECK(change(ACCOUNT_EXPUNGE, id, 2, 2, S("")) == 0, "expunge");
        b = account_batch(account);
        CHECK(account_delete_mailbox(account, S("Old"), b) == 0 && commit(b) == 0, "delete");
        do_chores();
        CHECK(account_create_mailbox(account, S("Old"), b = account_batch(account)) == 0, "again");
        CHECK(commit(b) == 0, "commit");
        account_expunged(account, status_of(S("Old")).mailbox_id, got_went, NULL);
        wait();
        CHECK(went_count == 0 && went_since == 0, "another one");
        end();
}

TEST_MAIN()
