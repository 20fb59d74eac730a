/* What every driver must do: included by the test of each driver, which says
 * how to open one. Each test starts with an empty store.
 *
 *   int conformance_open(struct loop *l, struct store **ret);   a new, empty one
 *   int conformance_reopen(struct loop *l, struct store **ret); the same again;
 *                               -ENOTSUP for a driver that keeps nothing
 *   void conformance_clean(void); */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/test.h"
#include "store/store.h"

static int conformance_open(struct loop *l, struct store **ret);
static int conformance_reopen(struct loop *l, struct store **ret);
static void conformance_clean(void);

static struct loop *loop;
static struct store *store;
static const struct partition any = {{PARTITION_QUEUE, 1}};

#define S(text) SPAN_LITERAL(text)

struct answer {
        bool is_done, has_more;
        int result;
        uint64_t number;
        size_t count;
        char text[4096]; /* entries as "key=value " */
        struct partition last;
};

static void wait_for(const struct answer *a)
{
        for (int rounds = 0; !a->is_done && rounds < 20000; rounds++)
                loop_run_once(loop, 10);
        CHECK(a->is_done, "the callback comes");
}

static void done_commit(void *arg, int result)
{
        struct answer *a = arg;

        CHECK(!a->is_done, "called back once");
        a->is_done = true;
        a->result = result;
}

static void done_get(void *arg, int result, struct span value, uint64_t sequence)
{
        struct answer *a = arg;

        a->is_done = true;
        a->result = result;
        a->number = sequence;
        snprintf(a->text, sizeof a->text, "%.*s", (int) value.len, value.p ? value.p : "");
}

static void done_scan(void *arg, int result, const struct store_entry *entries, size_t count,
                      bool has_more)
{
        struct answer *a = arg;
        size_t at = 0;

        a->is_done = true;
        a->result = result;
        a->count = count;
        a->has_more = has_more;
        a->text[0] = '\0';
        for (size_t i = 0; i < count && at < sizeof a->text - 256; i++)
                at += (size_t) snprintf(a->text + at, sizeof a->text - at, "%.*s=%.*s ",
                                        (int) entries[i].key.len, entries[i].key.p,
                                        (int) entries[i].value.len,
                                        entries[i].value.p ? entries[i].value.p : "");
}

static void done_partitions(void *arg, int result, const struct partition *partitions,
                            size_t count, bool has_more)
{
        struct answer *a = arg;

        a->is_done = true;
        a->result = result;
        a->count = count;
        a->has_more = has_more;
        if (count)
                a->last = partitions[count - 1];
}

static void done_blob(void *arg, int result, struct span octets, uint64_t blob_size)
{
        struct answer *a = arg;

        a->is_done = true;
        a->result = result;
        a->number = blob_size;
        a->count = octets.len;
        snprintf(a->text, sizeof a->text, "%.*s", (int) (octets.len < 4000 ? octets.len : 4000),
                 octets.p ? octets.p : "");
}

static void done_trace(void *arg, int result, const struct span *records, size_t count)
{
        struct answer *a = arg;
        size_t at = 0;

        a->is_done = true;
        a->result = result;
        a->count = count;
        a->text[0] = '\0';
        for (size_t i = 0; i < count && at < 4000; i++)
                at += (size_t) snprintf(a->text + at, sizeof a->text - at, "%.*s ",
                                        (int) records[i].len, records[i].p);
}

static struct store_batch *batch_at(const struct partition *p, uint64_t sequence)
{
        struct store_batch *b = store_batch_new(store, p, sequence);

        CHECK(b, "batch");
        return b;
}

static struct store_batch *batch_any(void)
{
        return batch_at(&any, STORE_ANY_SEQUENCE);
}

static int commit_all(struct store_batch **batches, size_t count)
{
        struct answer a = {0};

        store_commit(store, batches, count, 0, done_commit, &a);
        wait_for(&a);
        return a.result;
}

static int commit(struct store_batch *b)
{
        return commit_all(&b, 1);
}

static struct answer get(const struct partition *p, struct span key)
{
        struct answer a = {0};

        store_get(store, p, key, done_get, &a);
        wait_for(&a);
        return a;
}

static struct answer scan(struct span from, struct span to, size_t limit, bool is_reverse)
{
        const struct store_range range = {from, to, limit, is_reverse};
        struct answer a = {0};

        store_scan(store, &any, &range, done_scan, &a);
        wait_for(&a);
        return a;
}

static struct answer blob(uint64_t id, uint64_t offset, size_t len)
{
        struct answer a = {0};

        store_blob_read(store, id, offset, len, done_blob, &a);
        wait_for(&a);
        return a;
}

static struct answer trace(struct span key)
{
        struct answer a = {0};

        store_trace_find(store, key, 100, done_trace, &a);
        wait_for(&a);
        return a;
}

static void begin(void)
{
        loop = loop_new();
        CHECK(loop && conformance_open(loop, &store) == 0, "open");
}

static void end(void)
{
        store = store_close(store);
        loop = loop_free(loop);
        conformance_clean();
}

/* False for a driver that keeps nothing. */
static bool reopen(void)
{
        struct store *again;
        int r;

        store = store_close(store);
        r = conformance_reopen(loop, &again);
        if (r == -ENOTSUP)
                return false;
        CHECK(r == 0, "reopen");
        store = again;
        return true;
}

static void put_one(struct span key, struct span value)
{
        struct store_batch *b = batch_any();

        store_put(b, key, value);
        CHECK(commit(b) == 0, "put");
}

TEST(what_was_put_is_read)
{
        struct store_batch *b;
        struct answer a;

        begin();
        a = get(&any, S("a"));
        CHECK(a.result == -ENOENT && a.number == 0, "a partition never written");
        b = batch_at(&any, 0);
        store_put(b, S("a"), S("1"));
        store_put(b, S("b"), S(""));
        store_put(b, S("a"), S("2"));
        store_put(b, S("c"), S("3"));
        store_delete(b, S("c"));
        store_delete(b, S("never was"));
        CHECK(commit(b) == 0, "commit");
        do {
                a = get(&any, S("a"));
                CHECK(a.result == 0 && strcmp(a.text, "2") == 0 && a.number == 1, "last put");
                a = get(&any, S("b"));
                CHECK(a.result == 0 && a.text[0] == '\0' && a.number == 1, "empty value");
                a = get(&any, S("c"));
                CHECK(a.result == -ENOENT && a.number == 1, "deleted in the same batch");
        } while (a.is_done && get(&any, S("a")).number == 1 && reopen() &&
                 (b = batch_at(&any, 1), commit(b) == 0) && get(&any, S("b")).number == 1);
        if (store)
                CHECK(get(&any, S("a")).number == 2, "an empty batch counts");
        end();
}

TEST(sequences_are_compared)
{
        const struct partition other = partition_of(PARTITION_ACCOUNT, S("a@example.jp"));
        struct store_batch *b;

        begin();
        CHECK(other.octets[0] == PARTITION_ACCOUNT, "the kind leads");
        for (uint64_t i = 0; i < 3; i++) {
                b = batch_at(&any, i);
                store_put(b, S("k"), S("v"));
                CHECK(commit(b) == 0, "in order");
        }
        b = batch_at(&any, 2);
        store_put(b, S("k"), S("w"));
        CHECK(commit(b) == -ESTALE, "an old one");
        b = batch_at(&any, 4);
        CHECK(commit(b) == -ESTALE, "one too new");
        b = batch_at(&other, 0);
        CHECK(commit(b) == 0, "each partition counts for itself");
        CHECK(strcmp(get(&any, S("k")).text, "v") == 0, "nothing was changed");
        CHECK(get(&any, S("k")).number == 3, "nor counted");
        end();
}

TEST(require_absent_sees_what_is_under_way)
{
        struct answer a[4] = {0};
        struct store_batch *b;

        begin();
        for (size_t i = 0; i < 4; i++) { /* not waited for: they share a group if they can */
                b = batch_any();
                store_require_absent(b, i == 3 ? S("other") : S("once"));
                store_put(b, S("once"), S("x"));
                store_put(b, i == 0 ? S("0") : i == 1 ? S("1") : i == 2 ? S("2") : S("3"), S(""));
                store_commit(store, &b, 1, 0, done_commit, &a[i]);
        }
        for (size_t i = 0; i < 4; i++)
                wait_for(&a[i]);
        CHECK(a[0].result == 0 && a[3].result == 0, "first and other");
        CHECK(a[1].result == -EEXIST && a[2].result == -EEXIST, "again");
        CHECK(strcmp(scan(S("0"), S("9"), 9, false).text, "0= 3= ") == 0, "nothing of the refused");
        b = batch_any();
        store_delete(b, S("once"));
        CHECK(commit(b) == 0, "delete");
        b = batch_any();
        store_require_absent(b, S("once"));
        CHECK(commit(b) == 0, "absent again");
        end();
}

TEST(sequences_under_way_follow_each_other)
{
        enum { COMMITS = 300 };
        static struct answer a[COMMITS];
        char key[16];

        begin();
        memset(a, 0, sizeof a);
        for (uint64_t i = 0; i < COMMITS; i++) {
                struct store_batch *b = batch_at(&any, i);

                snprintf(key, sizeof key, "%03u", (unsigned) i);
                store_put(b, span_from_string(key), S("v"));
                store_commit(store, &b, 1, i % 3 ? 0 : STORE_LAZY, done_commit, &a[i]);
        }
        for (uint64_t i = 0; i < COMMITS; i++) {
                wait_for(&a[i]);
                CHECK(a[i].result == 0, "each follows the one before");
        }
        CHECK(scan(S("0"), S("9"), 1000, false).count == COMMITS, "all are there");
        end();
}

static int order[64];
static size_t order_count;

static void note_order(void *arg, int result)
{
        CHECK(result == 0, "commit");
        order[order_count++] = *(int *) arg;
}

TEST(callbacks_come_in_order)
{
        int numbers[64];

        begin();
        order_count = 0;
        for (int i = 0; i < 64; i++) {
                struct store_batch *b = batch_any();

                numbers[i] = i;
                store_put(b, S("k"), S("v"));
                store_commit(store, &b, 1, 0, note_order, &numbers[i]);
        }
        store = store_close(store); /* waits for what is under way */
        CHECK(order_count == 64, "closing calls back");
        for (int i = 0; i < 64; i++)
                CHECK(order[i] == i, "in order");
        end();
}

TEST(groups_are_atomic)
{
        struct partition p[6];
        struct store_batch *b[6];

        begin();
        if (!store_has_atomic_group(store)) {
                end();
                return;
        }
        for (size_t i = 0; i < 6; i++)
                p[i] = partition_of(i & 1 ? PARTITION_ACCOUNT : PARTITION_QUEUE,
                                    span_make(&"abcdef"[i], 1));
        for (int is_bad = 1; is_bad >= 0; is_bad--) {
                for (size_t i = 0; i < 6; i++) {
                        b[i] = batch_at(&p[i], i == 5 && is_bad ? 7 : 0);
                        store_put(b[i], S("k"), S("v"));
                        if (i == 0)
                                store_blob_put(b[i], 1, 1, S(""), &S("body"), 1);
                        else
                                store_blob_reference(b[i], 1, 1);
                }
                CHECK(commit_all(b, 6) == (is_bad ? -ESTALE : 0), "commit");
                for (size_t i = 0; i < 6; i++) {
                        const struct answer a = get(&p[i], S("k"));

                        CHECK(a.result == (is_bad ? -ENOENT : 0), "all or nothing");
                        CHECK(a.number == !is_bad, "sequence");
                }
                CHECK(blob(1, 0, 9).result == (is_bad ? -ENOENT : 0), "body");
        }
        end();
}

TEST(scans_have_pages_and_directions)
{
        struct answer a;
        struct store_batch *b;

        begin();
        b = batch_any();
        for (char c = 'a'; c <= 'h'; c++)
                store_put(b, span_make(&c, 1), span_make(&c, 1));
        store_put(b, S("\xff\xff"), S("high"));
        CHECK(commit(b) == 0, "commit");
        a = scan(S(""), S(""), 100, false);
        CHECK(a.count == 9 && !a.has_more, "all");
        a = scan(S("b"), S("e"), 100, false);
        CHECK(strcmp(a.text, "b=b c=c d=d ") == 0 && !a.has_more, "from and to");
        a = scan(S("b"), S("e"), 2, false);
        CHECK(strcmp(a.text, "b=b c=c ") == 0 && a.has_more, "a page");
        a = scan(S("b"), S("e"), 2, true);
        CHECK(strcmp(a.text, "d=d c=c ") == 0 && a.has_more, "a page, backwards");
        a = scan(S("b"), S("e"), 3, true);
        CHECK(strcmp(a.text, "d=d c=c b=b ") == 0 && !a.has_more, "the whole page");
        a = scan(S("x"), S("y"), 3, false);
        CHECK(a.result == 0 && a.count == 0 && !a.has_more, "nothing there");
        a = scan(S("g"), S(""), 1, true);
        CHECK(strcmp(a.text, "\xff\xff=high ") == 0 && a.has_more, "last of the partition");
        b = batch_any();
        store_put(b, S("bb"), S("new"));
        store_delete_range(b, S("b"), S("d"));
        store_put(b, S("c"), S("again"));
        CHECK(commit(b) == 0, "range");
        a = scan(S(""), S("f"), 100, false);
        CHECK(strcmp(a.text, "a=a c=again d=d e=e ") == 0, "range is gone, what follows stays");
        b = batch_any();
        store_require_absent(b, S("b"));
        store_delete_range(b, S("d"), S("b"));
        store_delete_range(b, S("d"), S(""));
        CHECK(commit(b) == 0, "empty ranges");
        CHECK(get(&any, S("d")).result == 0, "delete nothing");
        end();
}

TEST(partitions_are_listed)
{
        struct partition behind = {{0}};
        struct answer a = {0};
        size_t seen = 0;

        begin();
        for (char c = 'a'; c < 'a' + 7; c++) {
                const struct partition p = partition_of(PARTITION_ACCOUNT, span_make(&c, 1));
                struct store_batch *b = batch_at(&p, 0);

                CHECK(commit(b) == 0, "commit");
        }
        do {
                a = (struct answer) {0};
                store_partitions(store, &behind, 3, done_partitions, &a);
                wait_for(&a);
                CHECK(a.result == 0 && a.count <= 3, "page");
                seen += a.count;
                behind = a.last;
        } while (a.has_more);
        CHECK(seen == 7, "each once");
        end();
}

TEST(blobs_live_as_long_as_they_are_referenced)
{
        const struct span parts[] = {SPAN("one "), SPAN(""), SPAN("two")};
        struct store_batch *b;
        struct answer a;

        begin();
        b = batch_any();
        store_blob_put(b, 7, 2, S("description"), parts, 3);
        store_blob_put(b, 8, 1, S(""), NULL, 0);
        CHECK(commit(b) == 0, "commit");
        a = blob(7, 0, 100);
        CHECK(a.result == 0 && strcmp(a.text, "one two") == 0 && a.number == 7, "read");
        a = blob(7, 4, 2);
        CHECK(strcmp(a.text, "tw") == 0 && a.number == 7, "a part");
        a = blob(7, 7, 2);
        CHECK(a.result == 0 && a.count == 0 && a.number == 7, "behind the end");
        a = blob(8, 0, 2);
        CHECK(a.result == 0 && a.count == 0 && a.number == 0, "empty");
        CHECK(blob(9, 0, 1).result == -ENOENT, "never was");
        b = batch_any();
        store_blob_put(b, 7, 1, S(""), parts, 1);
        CHECK(commit(b) == -EEXIST, "ids are not reused");
        b = batch_any();
        store_blob_reference(b, 9, 1);
        CHECK(commit(b) == -ENOENT, "a reference to nothing");
        b = batch_any();
        store_blob_reference(b, 7, -3);
        CHECK(commit(b) == -EINVAL, "fewer than nothing");
        b = batch_any();
        store_blob_reference(b, 7, -1);
        CHECK(commit(b) == 0 && blob(7, 0, 9).result == 0, "one left");
        if (reopen()) {
                CHECK(strcmp(blob(7, 0, 100).text, "one two") == 0, "after reopening");
        } else {
                end();
                return;
        }
        b = batch_any();
        store_blob_reference(b, 7, 1);
        store_blob_reference(b, 7, -2);
        CHECK(commit(b) == 0 && blob(7, 0, 9).result == -ENOENT, "gone");
        CHECK(reopen() && blob(7, 0, 9).result == -ENOENT, "still gone");
        end();
}

TEST(a_batch_with_another_owner_stays_after_its_commit)
{
        const struct span parts[] = {S("one "), S("body"), S("")};
        struct store_batch *b;

        begin();
        b = batch_any();
        CHECK(store_batch_blob(b).len == 0, "no blob yet");
        store_blob_put(b, 9, 1, S("description"), parts, 3);
        store_put(b, S("k"), S("v"));
        CHECK(commit(store_batch_ref(b)) == 0, "committed");
        put_one(S("k"), S("a batch of its own"));
        CHECK(span_equal(store_batch_blob(b), S("one body")), "it has its octets");
        CHECK(store_batch_memory(b) > 8, "and its memory");
        store_batch_free(b);
        b = batch_any();
        CHECK(store_batch_blob(b).len == 0, "used again: none");
        store_batch_free(b);
        end();
}

TEST(lent_files_become_blobs)
{
        struct store_batch *b;
        uint64_t size;
        int fd, again;

        begin();
        CHECK(store_blob_lend(store, 5, &fd) == 0, "lend");
        CHECK(store_blob_lend(store, 5, &again) == -EEXIST, "once only");
        CHECK(write(fd, "large", 5) == 5, "write");
        close(fd);
        CHECK(blob(5, 0, 9).result == -ENOENT, "scratch is not readable");
        CHECK(store_blob_open(store, 5, &again, &size) == -ENOENT, "nor to be opened");
        b = batch_any();
        store_blob_adopt(b, 5, 1, S("d"));
        CHECK(commit(b) == 0, "adopt");
        for (int round = 0; round < 2; round++) {
                const struct answer a = blob(5, 1, 3);
                char text[8] = "";

                CHECK(strcmp(a.text, "arg") == 0 && a.number == 5, "read as others");
                CHECK(store_blob_open(store, 5, &fd, &size) == 0 && size == 5, "open");
                CHECK(pread(fd, text, 8, 0) == 5 && strcmp(text, "large") == 0, "as a file");
                CHECK(write(fd, "x", 1) < 0, "read-only");
                close(fd);
                if (round == 0 && !reopen())
                        break;
        }
        if (store) {
                b = batch_any();
                store_blob_reference(b, 5, -1);
                CHECK(commit(b) == 0 && blob(5, 0, 9).result == -ENOENT, "gone");
                CHECK(store_blob_open(store, 5, &fd, &size) == -ENOENT, "not to be opened");
                b = batch_any();
                store_blob_adopt(b, 6, 1, S(""));
                CHECK(commit(b) == -ENOENT, "never lent");
                CHECK(store_blob_lend(store, 6, &fd) == 0, "lend");
                close(fd);
                store_blob_return(store, 6);
                b = batch_any();
                store_blob_adopt(b, 6, 1, S(""));
                CHECK(commit(b) == -ENOENT, "given back");
        }
        end();
}

TEST(traces_are_found_by_each_key)
{
        const struct span keys[] = {SPAN("id1"), SPAN("a@example.jp")};
        const struct span more[] = {SPAN("id2"), SPAN("a@example.jp")};
        struct store_batch *b;

        begin();
        CHECK(trace(S("id1")).count == 0, "none");
        b = batch_any();
        store_trace(b, keys, 2, S("first"));
        store_trace(b, more, 2, S("second"));
        CHECK(commit(b) == 0, "commit");
        store_trace_lazily(store, keys, 1, S("third"));
        put_one(S("k"), S("v")); /* the next group */
        do {
                CHECK(strcmp(trace(S("id1")).text, "first third ") == 0, "by id");
                CHECK(strcmp(trace(S("a@example.jp")).text, "first second ") == 0, "by address");
                CHECK(trace(S("id3")).count == 0, "unknown");
        } while (get(&any, S("again")).result == -ENOENT && reopen() &&
                 (put_one(S("again"), S("")), true));
        end();
}

TEST(what_is_too_large_is_refused)
{
        static char octets[STORE_VALUE_MAX + 1];
        struct store_batch *b;

        begin();
        b = batch_any();
        store_put(b, S("k"), span_make(octets, STORE_VALUE_MAX));
        store_put(b, span_make(octets, STORE_KEY_MAX), S("v"));
        CHECK(commit(b) == 0, "the largest");
        b = batch_any();
        store_put(b, S("k"), span_make(octets, STORE_VALUE_MAX + 1));
        CHECK(commit(b) == -E2BIG, "value");
        b = batch_any();
        store_put(b, S("good"), S("v"));
        store_put(b, span_make(octets, STORE_KEY_MAX + 1), S("v"));
        CHECK(commit(b) == -E2BIG && get(&any, S("good")).result == -ENOENT, "key");
        b = batch_any();
        for (int i = 0; i < 17; i++)
                store_put(b, S("k"), span_make(octets, STORE_VALUE_MAX));
        CHECK(commit(b) == -E2BIG, "batch");
        store_batch_free(batch_any());
        end();
}
