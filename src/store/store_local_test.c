/* The local: driver on a real disk: the conformance suite, and what is its
 * own: the lock, writers of lent files, damage, the reserve. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "store/local.h"
#include "store/store_conformance.c"

static char folder[64];
static const struct store_options small = {
        .segment_size = 8 * 1024 * 1024, .reserve_bytes = 4096, .directory_fd = -1};

static int open_with(const struct store_options *options, struct loop *l, struct store **ret)
{
        char uri[128], error[256];
        int r;

        snprintf(uri, sizeof uri, "local:%s", folder);
        r = store_open(uri, options, l, ret, error);
        if (r < 0)
                print_error("%s\n", error);
        return r;
}

static int conformance_reopen(struct loop *l, struct store **ret)
{
        return open_with(&small, l, ret);
}

static int conformance_open(struct loop *l, struct store **ret)
{
        snprintf(folder, sizeof folder, "/tmp/store-test.XXXXXX");
        CHECK(mkdtemp(folder), "folder");
        return conformance_reopen(l, ret);
}

static void conformance_clean(void)
{
        char command[128];

        snprintf(command, sizeof command, "rm -rf %s", folder);
        CHECK(system(command) == 0, "clean");
}

TEST(one_process_at_a_time)
{
        struct store *second;
        char uri[128], error[256] = "";

        begin();
        snprintf(uri, sizeof uri, "local:%s", folder);
        CHECK(store_open(uri, &small, loop, &second, error) == -EBUSY, "locked");
        CHECK(strstr(error, "another process"), error);
        end();
}

TEST(a_lent_file_that_somebody_still_writes_is_not_adopted)
{
        struct store_batch *b;
        int fd;

        begin();
        CHECK(store_blob_lend(store, 5, &fd) == 0, "lend");
        b = batch_any();
        store_blob_adopt(b, 5, 1, S(""));
        CHECK(commit(b) == -EBUSY, "open for writing");
        close(fd);
        b = batch_any();
        store_blob_adopt(b, 5, 1, S(""));
        CHECK(commit(b) == 0, "closed");
        end();
}

TEST(what_was_lent_and_not_adopted_is_gone_after_a_restart)
{
        char path[128];
        int fd;

        begin();
        CHECK(store_blob_lend(store, 5, &fd) == 0, "lend");
        close(fd);
        snprintf(path, sizeof path, "%s/blobs/0000000000000005", folder);
        CHECK(access(path, F_OK) == 0, "there");
        CHECK(reopen() && access(path, F_OK) < 0, "gone");
        end();
}

/* The index lost, the log whole. */
TEST(a_lost_index_is_rebuilt_from_a_whole_log)
{
        char command[128];

        begin();
        put_one(S("a"), S("1"));
        put_one(S("a"), S("2"));
        store = store_close(store);
        snprintf(command, sizeof command, "rm -rf %s/index", folder);
        CHECK(system(command) == 0 && conformance_reopen(loop, &store) == 0, "reopen");
        CHECK(strcmp(get(&any, S("a")).text, "2") == 0 && get(&any, S("a")).number == 2, "rebuilt");
        end();
}

TEST(many_segments_are_filled_and_recycled)
{
        static char body[200 * 1024];
        const struct span octets = {body, sizeof body};
        struct store_metrics m;

        begin();
        for (uint64_t i = 1; i <= 400; i++) { /* 80 MiB, of which little lives */
                struct store_batch *b = batch_any();

                store_blob_put(b, i, 1, S(""), &octets, 1);
                if (i > 3)
                        store_blob_reference(b, i - 3, -1);
                CHECK(commit(b) == 0, "commit");
        }
        store_get_metrics(store, &m);
        CHECK(m.live_bytes == 3 * sizeof body, "what lives");
        CHECK(m.log_bytes <= (uint64_t) 10 * 8 * 1024 * 1024, "segments were used again");
        CHECK(blob(398, 0, sizeof body).count == sizeof body, "and are read");
        CHECK(reopen() && blob(400, 0, sizeof body).count == sizeof body, "and read again");
        end();
}

/* The index lost, and most of the log used again: the checkpoint says the rest. */
TEST(a_lost_index_is_rebuilt_after_segments_were_used_again)
{
        static char body[200 * 1024];
        const struct span octets = {body, sizeof body};
        char command[256], key[16];

        begin();
        for (uint64_t i = 1; i <= 400; i++) {
                struct store_batch *b = batch_any();

                memset(body, (int) i, sizeof body);
                store_blob_put(b, i, 2, S("d"), &octets, 1);
                store_blob_reference(b, i, -1);
                if (i > 3 && i % 50)
                        store_blob_reference(b, i - 3, -1);
                store_put(b, span_make(key, (size_t) snprintf(key, sizeof key, "%03u",
                                                             (unsigned) i)), S("value"));
                if (i > 1 && i % 100)
                        store_delete(b, span_make(key, (size_t) snprintf(key, sizeof key, "%03u",
                                                                        (unsigned) i - 1)));
                CHECK(commit(b) == 0, "commit");
        }
        CHECK(!log_is_whole(&((struct local *) store)->log), "segments were used again");
        store = store_close(store);
        snprintf(command, sizeof command, "rm -rf %s/index", folder);
        CHECK(system(command) == 0 && conformance_reopen(loop, &store) == 0, "reopen");
        CHECK(get(&any, S("400")).number == 400, "the sequence");
        CHECK(get(&any, S("099")).result == 0 && get(&any, S("100")).result == -ENOENT &&
                      get(&any, S("001")).result == -ENOENT,
              "what was put is there, what was deleted is not");
        CHECK(blob(47, 0, 1).text[0] == 47 && blob(48, 0, 1).result == -ENOENT, "bodies");
        CHECK(blob(397, 0, sizeof body).count == sizeof body, "the last ones");
        put_one(S("more"), S("1"));
        /* Neither is there: that is said, and nothing is made up. */
        store = store_close(store);
        snprintf(command, sizeof command, "rm -rf %s/index %s/checkpoint", folder, folder);
        CHECK(system(command) == 0 && conformance_reopen(loop, &store) == -EBADMSG, "refused");
        snprintf(command, sizeof command, "rm -rf %s/*", folder);
        CHECK(system(command) == 0 && conformance_reopen(loop, &store) == 0, "a new one");
        end();
}

/* What every release must open, as those before it left it without a clean end. With
 * HAYAUMA_MAKE_FIXTURE a new one is made where that says. */
static void make_fixture(const char *path)
{
        static char body[30 * 1024];
        struct store_options options = small;
        struct store_batch *adopting;
        char command[300];
        int fd;

        options.segment_size = 64 * 1024;
        begin();
        store = store_close(store);
        CHECK(open_with(&options, loop, &store) == 0, "open");
        for (uint64_t i = 1; i <= 9; i++) {
                struct store_batch *b = batch_any();
                const struct span octets = {body, i * 2000}, key = S("key");

                memset(body, 'a' + (int) i, sizeof body);
                store_blob_put(b, i, 1, S("description"), &octets, 1);
                store_put(b, S("last"), octets);
                store_put_new(b, span_make(&"123456789"[i - 1], 1), S("value"));
                if (i > 6)
                        store_blob_reference(b, i - 6, -1);
                store_trace(b, &key, 1, S("record"));
                CHECK(commit(b) == 0, "commit");
        }
        CHECK(store_blob_lend(store, 10, &fd) == 0 && write(fd, "lent", 4) == 4, "lend");
        close(fd);
        adopting = batch_any();
        store_blob_adopt(adopting, 10, 1, S(""));
        CHECK(commit(adopting) == 0, "adopt");
        snprintf(command, sizeof command, "tar -C %s -czf %s .", folder, path);
        CHECK(system(command) == 0, "tar");
        end();
}

static void check_fixture(int format)
{
        struct store_options options = small;
        char command[300];

        options.segment_size = 64 * 1024;
        begin();
        store = store_close(store);
        snprintf(command, sizeof command, "rm -rf %s/* && tar -C %s -xzf %s/tests/fixtures/"
                 "store-%d.tar.gz --no-same-owner", folder, folder, HAYAUMA_SOURCE_ROOT, format);
        CHECK(system(command) == 0, "unpack");
        CHECK(open_with(&options, loop, &store) == 0, "open");
        CHECK(get(&any, S("9")).number == 10 && strcmp(get(&any, S("9")).text, "value") == 0,
              "keys and sequence");
        CHECK(blob(3, 0, 9000).result == -ENOENT, "a body that went");
        CHECK(blob(4, 0, 20000).count == 8000 && blob(9, 0, 1).text[0] == 'a' + 9, "bodies");
        CHECK(strncmp(blob(10, 0, 4).text, "lent", 4) == 0, "a file");
        CHECK(trace(S("key")).count == 9, "traces");
        put_one(S("more"), S("1"));
        snprintf(command, sizeof command, "grep -q '^hayauma store %d$' %s/format", LOG_FORMAT,
                 folder);
        CHECK(system(command) == 0, "what is written from now on is of this release");
        end();
}

TEST(stores_of_all_formats_are_opened)
{
        if (getenv("HAYAUMA_MAKE_FIXTURE"))
                make_fixture(getenv("HAYAUMA_MAKE_FIXTURE"));
        for (int format = LOG_FORMAT_FIRST; format <= LOG_FORMAT; format++)
                check_fixture(format);
}

/* Most of what was written is gone, but some lives in every segment. */
TEST(room_is_given_back)
{
        static char body[20 * 1024];
        const struct span octets = {body, sizeof body};
        struct store_options options = small;
        struct store_metrics m = {0};
        struct local *l;

        options.segment_size = 1024 * 1024;
        begin();
        store = store_close(store);
        CHECK(open_with(&options, loop, &store) == 0, "open");
        l = (struct local *) store;
        for (uint64_t i = 1; i <= 2400; i++) { /* 47 MiB, of which a third lives */
                struct store_batch *b = batch_any();

                memset(body, (int) i, sizeof body);
                store_blob_put(b, i, 1, S("d"), &octets, 1);
                if (i > 30 && i % 3)
                        store_blob_reference(b, i - 30, -1);
                CHECK(commit(b) == 0, "commit");
        }
        for (int round = 0; round < 400; round++) {
                loop_run_once(loop, 50);
                store_get_metrics(store, &m);
                if (m.log_bytes <= m.live_bytes * 16 / 10 + 6 * options.segment_size)
                        break;
                pthread_cond_signal(&l->has_chores);
        }
        CHECK(m.live_bytes == (800 + 20) * sizeof body, "what lives");
        CHECK(m.log_bytes <= m.live_bytes * 16 / 10 + 6 * options.segment_size, "what it takes");
        for (uint64_t i = 1; i <= 2400; i++)
                CHECK(blob(i, 0, sizeof body).result == (i > 2370 || i % 3 == 0 ? 0 : -ENOENT),
                      "each is there, or is not");
        CHECK(blob(3, 0, 2).text[0] == 3, "with its own octets");
        store = store_close(store);
        CHECK(open_with(&options, loop, &store) == 0, "open");
        CHECK(blob(3, 0, sizeof body).count == sizeof body, "and after a restart");
        end();
}

static bool has_moved(struct local *l, uint64_t until_us)
{
        uint64_t completed = 0;

        while (!completed && clock_monotonic_us() < until_us) {
                loop_run_once(loop, 20);
                pthread_mutex_lock(&l->mutex);
                completed = l->reclaim.completed;
                pthread_cond_signal(&l->has_chores);
                pthread_mutex_unlock(&l->mutex);
        }
        return completed;
}

/* Commits that wait until there is room wait for what is moved: that must not wait with
 * them. And a store that closes waits for neither. */
TEST(what_is_moved_passes_commits_that_are_held)
{
        enum { HELD_US = 60 * 1000 * 1000 };
        static char body[20 * 1024];
        const struct span octets = {body, sizeof body};
        struct store_options options = small;
        struct local *l;
        struct answer held = {0};
        struct store_batch *b;
        uint64_t begun_us;

        options.segment_size = 1024 * 1024;
        begin();
        store = store_close(store);
        CHECK(open_with(&options, loop, &store) == 0, "open");
        l = (struct local *) store;
        for (uint64_t i = 1; i <= 400; i++) { /* 8 MiB, of which half lives */
                b = batch_any();
                store_blob_put(b, i, 1, S("d"), &octets, 1);
                if (i > 30 && i % 2)
                        store_blob_reference(b, i - 30, -1);
                CHECK(commit(b) == 0, "commit");
        }
        begun_us = clock_monotonic_us();
        pthread_mutex_lock(&l->mutex);
        l->held_until_us = begun_us + HELD_US;
        pthread_mutex_unlock(&l->mutex);
        b = batch_any();
        store_put(b, S("held"), S("1"));
        store_commit(store, &b, 1, 0, done_commit, &held);
        atomic_store(&l->reclaim.is_eager, true);
        CHECK(has_moved(l, begun_us + HELD_US / 2), "moved meanwhile");
        CHECK(!held.is_done, "the commit is held");
        store = store_close(store);
        CHECK(held.is_done && held.result == 0, "and not lost");
        CHECK(clock_monotonic_us() < begun_us + HELD_US, "nor waited for");
        end();
}

/* ---- bodies read by others --------------------------------------------------- */

struct found {
        bool is_done;
        int result;
        size_t count;
        struct store_place places[4];
};

static void done_places(void *arg, int result, const struct store_place *places, size_t count)
{
        struct found *f = arg;

        f->is_done = true;
        f->result = result;
        f->count = count;
        if (count)
                memcpy(f->places, places, count * sizeof *places);
}

static struct found find_places(const uint64_t *ids, size_t count)
{
        struct found f = {0};

        store_blob_places(store, ids, count, done_places, &f);
        while (!f.is_done)
                loop_run_once(loop, 1000);
        return f;
}

static bool lies_there(const struct store_place *p, struct span body)
{
        static char octets[200 * 1024];
        const struct span got = span_make(octets, (size_t) p->size);
        bool is_it;
        int fd;

        if (p->size > sizeof octets || store_segment_open(store, p->segment, &fd) < 0)
                return false;
        is_it = pread(fd, octets, got.len, (off_t) p->offset) == (ssize_t) got.len &&
                (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY &&
                store_blob_checksum(got) == p->checksum && span_equal(got, body);
        close(fd);
        return is_it;
}

/* Whoever holds the descriptor of a segment reads there what is the body as long
 * as it lives, and never takes for it what was written over it. */
TEST(bodies_of_mail_are_read_from_segments)
{
        static const struct partition account = {{PARTITION_ACCOUNT, 1}};
        static char body[200 * 1024];
        const struct span octets = {body, sizeof body}, hello = SPAN("hello");
        const uint64_t ids[] = {1, 2, 3, 4};
        struct store_batch *b;
        struct found f, later;
        int fd;

        begin();
        memset(body, 'b', sizeof body);
        b = batch_at(&account, STORE_ANY_SEQUENCE);
        store_blob_put(b, 1, 1, S(""), &octets, 1);
        store_blob_put(b, 3, 1, S(""), &hello, 1);
        CHECK(commit(b) == 0, "mail");
        b = batch_any();
        store_blob_put(b, 2, 1, S(""), &hello, 1);
        CHECK(commit(b) == 0, "queue");

        f = find_places(ids, 4);
        CHECK(f.result == 0 && f.count == 4 && f.places[2].blob_id == 3, "in their order");
        CHECK(lies_there(&f.places[0], octets) && lies_there(&f.places[2], hello), "of mail");
        CHECK(f.places[1].segment == 0, "what is queued is not for others");
        CHECK(f.places[3].segment == 0, "none of that id");
        CHECK(store_segment_open(store, 4711, &fd) == -ENOENT, "no such segment");
        CHECK(find_places(ids, 0).count == 0, "none asked for");

        for (uint64_t i = 10; i <= 400; i++) { /* until its segment is used again */
                b = batch_at(&account, STORE_ANY_SEQUENCE);
                memset(body, (int) i, sizeof body);
                store_blob_put(b, i, 1, S(""), &octets, 1);
                store_blob_reference(b, i == 10 ? 1 : i - 1, -1);
                CHECK(commit(b) == 0, "commit");
        }
        later = find_places(ids, 4);
        CHECK(later.places[0].segment == 0, "it is gone");
        memset(body, 'b', sizeof body);
        if (f.places[2].segment != later.places[2].segment)
                CHECK(!lies_there(&f.places[0], octets), "its place is another's");
        if (!lies_there(&later.places[2], hello)) /* it was moved just now */
                later = find_places(ids, 4);
        CHECK(lies_there(&later.places[2], hello), "the other lives on");
        end();
}

TEST_MAIN()
