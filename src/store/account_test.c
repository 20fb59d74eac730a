/* Accounts: rows for the rules of names and delivery, and random operations
 * against a simple model, on the mem: driver and, reopened now and then, on
 * local:. */
#include "store/mailbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/test.h"
#include "store/store_mem.h"

#define S(text) SPAN_LITERAL(text)

static struct loop *loop;
static struct store *store;
static struct mailboxes *boxes;
static char folder[64];
static const struct store_options small = {
        .segment_size = 1024 * 1024, .reserve_bytes = 4096, .directory_fd = -1};

static void open_store(void)
{
        char uri[128], error[256];

        snprintf(uri, sizeof uri, folder[0] ? "local:%s" : "mem:", folder);
        CHECK(store_open(uri, &small, loop, &store, error) == 0, "open");
        CHECK(mailboxes_new(store, &boxes) == 0, "new");
}

static void close_store(void)
{
        store = store_close(store);
        boxes = mailboxes_free(boxes);
}

static void begin(const char *local_folder)
{
        snprintf(folder, sizeof folder, "%s", local_folder);
        CHECK(!folder[0] || mkdtemp(folder), "folder");
        loop = loop_new();
        open_store();
}

static void end(void)
{
        char command[128];

        close_store();
        loop = loop_free(loop);
        snprintf(command, sizeof command, "rm -rf %s", folder);
        CHECK(!folder[0] || system(command) == 0, "clean");
}

struct waiting {
        bool is_done, has_more;
        int result;
        struct account *account;
        struct message_entry entries[1000];
        size_t count;
};

static void wait_for(const struct waiting *w)
{
        for (int i = 0; !w->is_done && i < 10000; i++)
                loop_run_once(loop, 10);
        CHECK(w->is_done, "called back");
}

static void opened(void *arg, int result, struct account *a)
{
        struct waiting *w = arg;

        w->is_done = true;
        w->result = result;
        w->account = a;
}

static void committed(void *arg, int result)
{
        struct waiting *w = arg;

        w->is_done = true;
        w->result = result;
}

static void listed(void *arg, int result, const struct message_entry *entries, size_t count,
                   bool has_more)
{
        struct waiting *w = arg;

        w->is_done = true;
        w->result = result;
        w->count = count;
        w->has_more = has_more;
        if (count)
                memcpy(w->entries, entries, count * sizeof entries[0]);
}

static struct account *open_account(const char *address)
{
        static struct waiting w;

        w = (struct waiting) {0};
        account_open(boxes, span_from_string(address), opened, &w);
        wait_for(&w);
        CHECK(w.result == 0, "open account");
        return w.account;
}

static int commit(struct store_batch *b)
{
        static struct waiting w;

        w.is_done = false;
        store_commit(store, &b, 1, 0, committed, &w);
        wait_for(&w);
        return w.result;
}

static const struct {
        const char *name, *stored;
        int result;
        const char *label;
} names[] = {
        {"Sent", "Sent", 0, "plain"},
        {"inbox", "INBOX", 0, "INBOX in any case"},
        {"Inbox/Sub", "INBOX/Sub", 0, "below INBOX"},
        {"inboxes", "inboxes", 0, "only begins so"},
        {"\xe4\xb8\x8b\xe6\x9b\xb8", "\xe4\xb8\x8b\xe6\x9b\xb8", 0, "UTF-8"},
        {"", NULL, -EINVAL, "empty"},
        {"/a", NULL, -EINVAL, "empty first level"},
        {"a/", NULL, -EINVAL, "empty last level"},
        {"a//b", NULL, -EINVAL, "empty level"},
        {"a\nb", NULL, -EINVAL, "control"},
        {"a\x7f", NULL, -EINVAL, "DEL"},
        {"\xc2\x85", NULL, -EINVAL, "C1 control"},
        {"\xff", NULL, -EINVAL, "not UTF-8"},
        {"\xc0\xaf", NULL, -EINVAL, "overlong"},
        {"\xed\xa0\x80", NULL, -EINVAL, "surrogate"},
        {"\xe3\x81", NULL, -EINVAL, "cut"},
};

TEST(names_are_checked)
{
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
                struct mailbox_status status;
                struct store_batch *b;
                struct account *a;

                begin("");
                a = open_account("a@example.jp");
                b = account_batch(a);
                CHECK(account_create_mailbox(a, span_from_string(names[i].name), b) ==
                              names[i].result,
                      names[i].label);
                CHECK(commit(b) == 0, names[i].label);
                if (names[i].stored) {
                        CHECK(account_mailboxes(a, &status, 1) == 1 &&
                                      span_equal(status.name, span_from_string(names[i].stored)),
                              names[i].label);
                }
                account_release(a);
                end();
        }
}

static uint32_t deliver(struct account *a, struct store_batch *b, const char *name, uint64_t blob)
{
        const struct delivery d = {
                .mailbox = span_from_string(name), .may_create = true,
                .entry = {.blob_id = blob, .size = 10}};
        uint32_t uid;

        store_blob_put(b, blob, 1, S("d"), &S("0123456789"), 1);
        CHECK(account_deliver(a, &d, b, &uid) == 0, "deliver");
        return uid;
}

TEST(deliveries_get_uids_and_keys_count_once)
{
        const struct delivery d = {.mailbox = S("inbox"), .delivery_key = S("id1"),
                                   .entry = {.size = 5}};
        const struct delivery elsewhere = {.mailbox = S("Other")};
        struct mailbox_status status;
        struct store_batch *b, *second;
        struct account *a;
        uint32_t uid;

        begin("");
        a = open_account("a@example.jp");
        CHECK(account_mailboxes(a, NULL, 0) == 0, "empty");
        b = account_batch(a);
        CHECK(account_deliver(a, &elsewhere, b, &uid) == -ENOENT, "no such mailbox");
        CHECK(account_deliver(a, &d, b, &uid) == 0 && uid == 1, "first");
        CHECK(account_deliver(a, &d, b, &uid) == -EEXIST, "the key is used");
        second = account_batch(a); /* of the same group: not yet committed */
        CHECK(deliver(a, second, "INBOX", 7) == 2, "second");
        CHECK(commit(b) == 0 && commit(second) == 0, "in order");
        CHECK(account_mailbox(a, S("Inbox"), &status) == 0 && status.message_count == 2 &&
                      status.uid_next == 3 && status.size == 15 && status.unseen_count == 2,
              "status");
        account_forget(a);
        account_release(a);
        a = open_account("a@example.jp");
        b = account_batch(a);
        CHECK(account_deliver(a, &d, b, &uid) == 0 && uid == 3, "not known without asking");
        CHECK(commit(b) == -EEXIST, "the store knows");
        account_forget(a);
        account_release(a);
        a = open_account("a@example.jp");
        CHECK(account_mailbox(a, S("INBOX"), &status) == 0 && status.uid_next == 3, "as before");
        account_release(a);
        CHECK((a = account_cached(boxes, S("a@example.jp"))), "cached");
        account_release(a);
        CHECK(!account_cached(boxes, S("b@example.jp")), "not cached");
        end();
}

/* Forgotten while a delivery is on its way: who opens the account then sees it. */
static void forget_on_the_way(const char *local_folder, unsigned on_the_way)
{
        struct waiting first[3] = {0}, again = {0}, list = {0};
        struct account *a;

        begin(local_folder);
        a = open_account("a@example.jp");
        for (unsigned i = 0; i < on_the_way; i++) {
                struct store_batch *b = account_batch(a);

                CHECK(b && deliver(a, b, "INBOX", i + 1) == i + 1, "delivered");
                store_commit(store, &b, 1, 0, committed, &first[i]);
        }
        account_forget(a);
        CHECK(on_the_way == 0 || !account_batch(a), "no more batches of that one");
        account_release(a);
        account_open(boxes, S("a@example.jp"), opened, &again);
        wait_for(&again);
        for (unsigned i = 0; i < on_the_way; i++)
                CHECK(first[i].is_done && first[i].result == 0, "it was in time");
        a = again.account;
        if (on_the_way) {
                account_list(a, 1, 1, 1000, listed, &list);
                wait_for(&list);
        }
        CHECK(list.count == on_the_way, "all that was delivered");
        {
                struct store_batch *b = account_batch(a);

                CHECK(deliver(a, b, "INBOX", 9) == on_the_way + 1, "the next UID");
                CHECK(commit(b) == 0, "and its sequence is right");
        }
        account_release(a);
        end();
}

TEST(who_opens_an_account_anew_sees_what_is_on_its_way)
{
        for (unsigned i = 0; i <= 3; i++) {
                forget_on_the_way("", i);
                forget_on_the_way("/tmp/account_test.XXXXXX", i);
        }
}

TEST(delivery_keys_are_forgotten_after_their_time)
{
        uint64_t now_us = 1800000000ull * 1000000;
        struct store_batch *b;
        struct account *a;
        char key[16];
        uint32_t uid;

        begin("");
        a = open_account("a@example.jp");
        for (int i = 0; i < 400; i++) {
                struct delivery d = {.mailbox = S("INBOX")};

                snprintf(key, sizeof key, "%d", i);
                d.delivery_key = span_from_string(key);
                clock_fake(now_us);
                now_us += i == 99 ? (uint64_t) 8 * 86400 * 1000000 : 1;
                b = account_batch(a);
                CHECK(account_deliver(a, &d, b, &uid) == 0 && commit(b) == 0, key);
        }
        for (int i = 0; i < 400; i += 399) {
                b = store_batch_new(store, &(struct partition) {{0}}, STORE_ANY_SEQUENCE);
                store_batch_free(b);
                const struct partition p = partition_of(PARTITION_ACCOUNT, S("a@example.jp"));

                snprintf(key, sizeof key, "d/%d", i);
                b = store_batch_new(store, &p, STORE_ANY_SEQUENCE);
                store_require_absent(b, span_from_string(key));
                CHECK(commit(b) == (i == 0 ? 0 : -EEXIST), key);
        }
        clock_fake(0);
        account_release(a);
        end();
}

/* ---- the model --------------------------------------------------------------- */

enum { MODEL_BOXES = 6, MODEL_MESSAGES = 4000 };

struct model_box {
        bool is_there;
        char name[16];
        uint32_t uid_next, count;
        uint64_t blobs[MODEL_MESSAGES];
};

static struct model_box model[MODEL_BOXES];
static uint64_t next_blob, seed;

static unsigned pick(unsigned n)
{
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        return (unsigned) (seed >> 33) % n;
}

static struct model_box *model_find(const char *name)
{
        for (int i = 0; i < MODEL_BOXES; i++)
                if (model[i].is_there && strcmp(model[i].name, name) == 0)
                        return &model[i];
        return NULL;
}

static struct model_box *model_new(const char *name)
{
        for (int i = 0; i < MODEL_BOXES; i++) {
                if (model[i].is_there)
                        continue;
                model[i] = (struct model_box) {.is_there = true, .uid_next = 1};
                snprintf(model[i].name, sizeof model[i].name, "%s", name);
                return &model[i];
        }
        return NULL;
}

static void check_box(struct account *a, const struct model_box *m)
{
        static struct waiting w;
        struct mailbox_status status;
        uint32_t uid = 1 + pick(m->uid_next), seen = 0;
        const uint32_t first = uid;

        CHECK(account_mailbox(a, span_from_string(m->name), &status) == 0, m->name);
        CHECK(status.uid_next == m->uid_next && status.message_count == m->count, m->name);
        do {
                w = (struct waiting) {0};
                account_list(a, status.mailbox_id, uid, 1 + pick(700), listed, &w);
                wait_for(&w);
                CHECK(w.result == 0, "list");
                for (size_t i = 0; i < w.count; i++, seen++) {
                        CHECK(w.entries[i].uid == first + seen, "each once, in order");
                        CHECK(w.entries[i].blob_id == m->blobs[first + seen - 1], "its body");
                        uid = w.entries[i].uid + 1;
                }
                CHECK(!w.has_more || w.count, "pages go on");
        } while (w.has_more);
        CHECK(first + seen == m->uid_next, "all of them");
}

static void step(struct account *a)
{
        static const char *const some[] = {"INBOX", "A", "A/B", "C", "D", "E"};
        const char *name = some[pick(6)], *other = some[1 + pick(5)];
        struct model_box *m = model_find(name);
        const unsigned what = pick(1000);
        struct store_batch *b = account_batch(a);

        if (what < 985) {
                const unsigned count = 1 + pick(3);

                name = pick(4) ? "INBOX" : name;
                m = model_find(name);
                if (!m)
                        m = model_new(name);
                for (unsigned i = 0; i < count && m->count < MODEL_MESSAGES; i++) {
                        m->blobs[m->count++] = ++next_blob;
                        CHECK(deliver(a, b, name, next_blob) == m->uid_next++, "uid");
                }
        } else if (what < 990) {
                CHECK(account_create_mailbox(a, span_from_string(name), b) == (m ? -EEXIST : 0),
                      "create");
                if (!m)
                        model_new(name);
        } else if (what < 995 && strcmp(name, "A") != 0) {
                const int r = !m                           ? -ENOENT
                              : strcmp(name, "INBOX") == 0 ? -EINVAL
                                                           : 0;

                CHECK(account_delete_mailbox(a, span_from_string(name), b) == r, "delete");
                if (r == 0)
                        m->is_there = false;
        } else if (strcmp(name, "A") != 0 && strncmp(other, "A", 1) != 0) {
                const int r = !m ? -ENOENT : model_find(other) ? -EEXIST : 0;

                CHECK(account_rename_mailbox(a, span_from_string(name), span_from_string(other),
                                             b) == r,
                      "rename");
                if (r == 0)
                        snprintf(m->name, sizeof m->name, "%s", other);
        }
        CHECK(commit(b) == 0, "commit");
}

static void run_model(const char *local_folder, int steps)
{
        struct account *a;

        begin(local_folder);
        memset(model, 0, sizeof model);
        next_blob = 0;
        seed = 42;
        a = open_account("a@example.jp");
        for (int i = 0; i < steps; i++) {
                step(a);
                if (pick(100) == 0)
                        for (int k = 0; k < MODEL_BOXES; k++)
                                if (model[k].is_there)
                                        check_box(a, &model[k]);
                if (pick(300) == 0) {
                        if (pick(2))
                                account_forget(a);
                        account_release(a);
                        if (folder[0]) {
                                close_store();
                                open_store();
                        }
                        a = open_account("a@example.jp");
                }
        }
        for (int k = 0; k < MODEL_BOXES; k++)
                if (model[k].is_there)
                        check_box(a, &model[k]);
        account_release(a);
        end();
}

TEST(random_operations_follow_the_model_in_memory)
{
        run_model("", 3000);
}

TEST(random_operations_follow_the_model_on_disk)
{
        run_model("/tmp/account-test.XXXXXX", 500);
}

static void got_blob(void *arg, int result, struct span octets, uint64_t size)
{
        struct waiting *w = arg;

        (void) octets;
        (void) size;
        w->is_done = true;
        w->result = result;
}

TEST(a_deleted_mailbox_lets_go_of_its_bodies)
{
        struct store_batch *b;
        struct account *a;

        begin("");
        a = open_account("a@example.jp");
        for (uint64_t i = 1; i <= 400; i++) { /* a run, and singles */
                b = account_batch(a);
                deliver(a, b, "Gone", i);
                CHECK(commit(b) == 0, "commit");
        }
        b = account_batch(a);
        CHECK(account_delete_mailbox(a, S("Gone"), b) == 0 && commit(b) == 0, "delete");
        account_forget(a);
        account_release(a);
        a = open_account("a@example.jp");
        for (int i = 0; i < 20 && account_has_chores(a); i++) {
                b = account_batch(a);
                deliver(a, b, "INBOX", 1000 + (uint64_t) i);
                CHECK(commit(b) == 0, "commit");
        }
        for (uint64_t i = 1; i <= 400; i++) {
                static struct waiting w;

                w.is_done = false;
                store_blob_read(store, i, 0, 1, got_blob, &w);
                wait_for(&w);
                CHECK(w.result == -ENOENT, "the body is gone");
        }
        account_release(a);
        end();
}

/* `count` messages whose UIDs begin at `first` (0: the next) and grow by `step`. */
static int import(struct account *a, uint32_t first, uint32_t step, size_t count)
{
        static struct delivery list[257];
        const struct span keyword = S("$Kept");
        struct store_batch *b = account_batch(a);
        int r;

        for (size_t i = 0; i < count; i++)
                list[i] = (struct delivery) {.uid = first ? first + (uint32_t) i * step : 0,
                                             .keywords = &keyword, .keyword_count = i % 2,
                                             .entry = {.size = 10, .arrived_us = i}};
        r = account_import(a, S("In"), list, count, b);
        if (r == 0)
                return commit(b);
        CHECK(commit(b) == 0, "nothing was put");
        return r;
}

/* Runs at first, singles once there are any: listed as one row either way. */
TEST(imported_messages_keep_their_uids)
{
        static struct waiting w;
        struct mailbox_status status;
        struct store_batch *b;
        struct account *a;

        begin("");
        a = open_account("a@example.jp");
        CHECK(import(a, 1, 1, 1) == -ENOENT, "no mailbox");
        b = account_batch(a);
        CHECK(account_create_mailbox(a, S("In"), b) == 0, "create");
        CHECK(account_set_uid_validity(a, S("In"), 0, 1, b) == -EINVAL, "no UIDVALIDITY");
        CHECK(account_set_uid_validity(a, S("In"), 77, 1, b) == 0 && commit(b) == 0, "validity");
        CHECK(import(a, 10, 3, 256) == 0, "a run");
        CHECK(import(a, 900, 1, 257) == -E2BIG, "too many");
        CHECK(import(a, 775, 1, 5) == -EINVAL, "used already");
        CHECK(import(a, 900, 0, 2) == -EINVAL, "does not grow");
        CHECK(import(a, UINT32_MAX, 1, 1) == -EDQUOT, "used up");
        CHECK(import(a, 900, 2, 3) == 0, "singles");
        CHECK(import(a, 0, 0, 200) == 0, "the next, behind singles");
        b = account_batch(a);
        CHECK(account_set_uid_validity(a, S("In"), 78, 1, b) == -EEXIST, "it has messages");
        CHECK(account_set_uid_validity(a, S("In"), 77, 5000, b) == 0 && commit(b) == 0, "next");
        account_forget(a);
        account_release(a);
        a = open_account("a@example.jp");
        CHECK(account_mailbox(a, S("In"), &status) == 0 && status.uid_validity == 77 &&
              status.uid_next == 5000 && status.message_count == 459, "status");
        w = (struct waiting) {0};
        account_list(a, status.mailbox_id, 1, 1000, listed, &w);
        wait_for(&w);
        CHECK(w.result == 0 && w.count == 459 && !w.has_more, "list");
        for (size_t i = 0; i < w.count; i++) {
                const size_t at = i < 256 ? i : i < 259 ? i - 256 : i - 259;

                CHECK(w.entries[i].uid == (i < 256 ? 10 + 3 * i : i < 259 ? 900 + 2 * (i - 256)
                                                                            : 905 + (i - 259)),
                      "uid");
                CHECK(w.entries[i].keywords == at % 2, "keyword");
        }
        account_release(a);
        end();
}

TEST_MAIN()
