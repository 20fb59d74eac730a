/* The index that writes behind, beside one in memory: whatever was written, and however
 * much of it waits, both show the same. */
#include "store/index_behind.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/test.h"
#include "store/index_level.h"
#include "store/keys.h"

enum { KEYS = 400, ROUNDS = 3000, VISITED_MAX = 3 * KEYS };

static uint64_t chance = 1;

static unsigned random_below(unsigned n)
{
        chance = chance * 6364136223846793005u + 1442695040888963407u;
        return (unsigned) (chance >> 33) % n;
}

/* Of two partitions, or a short key of none. */
static struct span make_key(unsigned number, char out[64])
{
        int len = snprintf(out, 64, "k%s%04u",
                           number % 2 ? "1111111111111111k" : "2222222222222222k", number);

        if (number % 37 == 0)
                len = snprintf(out, 64, "b%04u", number);
        return span_make(out, (size_t) len);
}

struct seen {
        size_t count, max;
        uint64_t sum;
};

static bool visit(void *arg, struct span key, struct span value)
{
        struct seen *seen = arg;

        for (size_t i = 0; i < key.len; i++)
                seen->sum = seen->sum * 31 + (unsigned char) key.p[i];
        for (size_t i = 0; i < value.len; i++)
                seen->sum = seen->sum * 31 + (unsigned char) value.p[i];
        seen->sum = seen->sum * 31 + key.len;
        return ++seen->count < seen->max;
}

static void check_scan(struct index *a, struct index *b)
{
        char one[64], two[64];
        struct span from = make_key(random_below(KEYS), one);
        struct span to = make_key(random_below(KEYS), two);
        const bool may_block = random_below(2);
        struct index_range range = {.is_reverse = random_below(2)};
        struct seen in_a = {.max = 1 + random_below(VISITED_MAX)}, in_b = {.max = in_a.max};
        const size_t less = from.len < to.len ? from.len : to.len;
        const bool is_up = memcmp(from.p, to.p, less) < 0;
        int r;

        range.from = is_up ? from : to;
        range.to = is_up ? to : from;
        if (random_below(2)) { /* the visitor and the range say the same */
                range.limit = in_a.max;
                in_a.max = SIZE_MAX;
        }
        r = index_scan(a, &range, may_block, visit, &in_a);
        if (r == -EAGAIN && !may_block) { /* begin anew */
                in_a = (struct seen) {.max = in_a.max};
                r = index_scan(a, &range, true, visit, &in_a);
        }
        CHECK(r == 0, "scan");
        range.limit = 0;
        CHECK(index_scan(b, &range, may_block, visit, &in_b) == 0, "scan");
        CHECK(in_a.count == in_b.count && in_a.sum == in_b.sum, "both show the same");
}

static void check_get(struct index *a, struct index *b)
{
        struct buffer in_a = BUFFER_INIT(1024), in_b = BUFFER_INIT(1024);
        char text[64];
        const struct span key = make_key(random_below(KEYS), text);
        const int r = index_get(b, key, true, &in_b);

        CHECK(index_get(a, key, true, &in_a) == r, "there or not");
        CHECK(r < 0 || span_equal(buffer_span(&in_a), buffer_span(&in_b)), "its value");
        buffer_done(&in_a);
        buffer_done(&in_b);
}

static void change(struct index *a, struct index *b)
{
        struct index *both[] = {a, b};
        char text[64], value[64];
        const struct span key = make_key(random_below(KEYS), text);
        const int len = snprintf(value, sizeof value, "%u%s", random_below(1000),
                                 random_below(2) ? "" : " and more");
        const unsigned what = random_below(200);

        for (size_t i = 0; i < 2; i++) {
                struct index *index = both[i];

                if (what == 0)
                        CHECK(index_flush(index) == 0, "flush");
                else if (what == 1)
                        CHECK(index_remove_range(index, key, SPAN_LITERAL("k3")) == 0, "range");
                else if (what == 2)
                        index_rest(index);
                else if (what < 80)
                        CHECK(index_remove(index, key) == 0, "remove");
                else
                        CHECK(index_put(index, key, span_make(value, (size_t) len)) == 0, "put");
        }
}

static void show_the_same(struct index *a, struct index *b)
{
        for (unsigned i = 0; i < ROUNDS; i++) {
                for (unsigned k = random_below(20); k > 0; k--)
                        change(a, b);
                CHECK(index_write(a) == 0 && index_write(b) == 0, "write");
                check_scan(a, b);
                check_get(a, b);
        }
}

TEST(both_show_the_same)
{
        struct index *a = index_behind_new(index_mem_new(0)), *b = index_mem_new(0);

        show_the_same(a, b);
        index_close(a);
        index_close(b);
}

static char folder[] = "/tmp/hayauma-index-XXXXXX";
static char path[64];

static struct index *open_rocksdb(void)
{
        struct index *index;
        char error[256];

        CHECK(index_rocksdb_open(path, &index, error) == 0, error);
        return index;
}

/* The name that a crash leaves between linking a file into the index and forgetting
 * where it was made. */
static void leave_name(void)
{
        char name[512], left[128];
        const struct dirent *e;
        DIR *d = opendir(path);

        CHECK(d != NULL, "the index");
        snprintf(left, sizeof left, "%s/load.new", path);
        while ((e = readdir(d)))
                if (strstr(e->d_name, ".sst"))
                        break;
        CHECK(e != NULL, "a table");
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        CHECK(link(name, left) == 0, "link");
        closedir(d);
}

/* Small pushes go through the engine's memory, larger ones as files; both are there when
 * it is opened again. */
TEST(a_real_one_shows_the_same)
{
        struct index *b = index_mem_new(0);
        char command[128];

        CHECK(mkdtemp(folder) != NULL, "folder");
        snprintf(path, sizeof path, "%s/index", folder);
        index_rocksdb_set_load_min(8);
        for (unsigned i = 0; i < 3; i++) {
                struct index *a = index_behind_new(open_rocksdb());

                for (unsigned k = 0; k < 20; k++) {
                        check_scan(a, b);
                        check_get(a, b);
                }
                show_the_same(a, b);
                CHECK(index_flush(a) == 0, "flush");
                index_close(a);
                leave_name();
        }
        index_close(b);
        snprintf(command, sizeof command, "rm -rf %s", folder);
        CHECK(system(command) == 0, "clean");
}

/* What is new and goes before it was pushed leaves nothing, scanned meanwhile or not. */
TEST(what_is_new_comes_and_goes)
{
        struct index *a = index_behind_new(index_mem_new(0));
        char text[64];

        for (unsigned i = 0; i < 5000; i++) {
                const struct index_range all = {.from = SPAN("k1111111111111111k"),
                                                .to = SPAN("k1111111111111111l")};
                struct seen seen = {.max = SIZE_MAX};
                const struct span key = span_make(
                        text, (size_t) snprintf(text, sizeof text, "k1111111111111111k%u", i));

                CHECK(index_put_new(a, key, SPAN_LITERAL("x")) == 0 && index_write(a) == 0, "put");
                if (i % 3)
                        CHECK(index_scan(a, &all, false, visit, &seen) == 0 && seen.count == 1,
                              "one is there");
                CHECK(index_remove(a, key) == 0 && index_write(a) == 0, "remove");
                seen.count = 0;
                CHECK(index_scan(a, &all, i % 2, visit, &seen) == 0 && seen.count == 0, "none");
        }
        index_close(a);
}

/* Keys of 300 partitions, in one of them far more than elsewhere, and such as have none: also
 * some that begin as a partition does, or are another with zeros behind it. */
static struct span make_any_key(char out[64])
{
        const unsigned partition = random_below(2) ? 7 : random_below(300);
        int len = snprintf(out, 64, "k%016uk%.*s", partition, (int) random_below(3),
                           random_below(2) ? "aa" : "ab");

        if (random_below(4) == 0)
                len = (int) random_below(17); /* of no partition */
        else
                len += snprintf(out + len, 64 - (size_t) len, "%u", random_below(3000));
        for (unsigned zeros = random_below(3); zeros > 0 && random_below(8) == 0; zeros--)
                out[len++] = '\0';
        return span_make(out, (size_t) len);
}

TEST(all_that_waits_is_put_in_order)
{
        const struct level_entry **list = NULL;
        struct level level;
        struct level_entry *e;

        level_init(&level, 1);
        for (unsigned i = 0; i < 20000; i++) {
                char octets[64];
                const struct span key = make_any_key(octets);
                const uint64_t hash = level_hash(&level, key);

                e = level_find(&level, key, hash);
                if (e && random_below(2))
                        level_drop(&level, e);
                else if (!e)
                        CHECK(level_add(&level, key, hash, key, &e) == 0, "added");
        }
        for (unsigned again = 0; again < 2; again++) {
                const size_t count = level.entries.count;

                CHECK(count > 1000, "many");
                CHECK(level_order(&level, 3, &list) == 0, "ordered");
                for (size_t i = 1; i < count; i++)
                        CHECK(level_compare(level_key(list[i - 1]), level_key(list[i])) < 0,
                              "in order");
                CHECK(list[count - 1] && !list[count] && !list[count + 2], "all");
                free(list);
        }
        level_done(&level);
}

TEST_MAIN()
