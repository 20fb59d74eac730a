#include "config/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/test.h"
#include "config/snapshot_build.h"
#include "config/snapshot_format.h"

#define S(text) SPAN_LITERAL(text)

static struct snapshot *finish_and_open(struct snapshot_build *b)
{
        struct buffer error = BUFFER_INIT(65536);
        struct snapshot *s = NULL;
        int fd = -1;

        assert_int_equal(snapshot_build_finish(b, &error, &fd), 0);
        assert_int_equal(error.len, 0);
        assert_int_equal(snapshot_open(fd, &s), 0);
        close(fd);
        snapshot_build_free(b);
        return s;
}

TEST(keys_are_found_in_any_case_with_value_and_line)
{
        struct snapshot_build *b = NULL;
        struct snapshot *s;
        struct span value;
        uint32_t line = 0;

        assert_int_equal(snapshot_build_new(7, 99, &b), 0);
        assert_int_equal(snapshot_build_source(b, SNAPSHOT_USERS, S("users")), 0);
        assert_int_equal(snapshot_build_add(b, SNAPSHOT_USERS, S("Taro@Example.JP"),
                                            S("taro@example.jp"), 17), 0);
        assert_int_equal(snapshot_build_add(b, SNAPSHOT_DOMAINS, S("example.jp"),
                                            (struct span) {NULL, 0}, 1), 0);
        s = finish_and_open(b);

        assert_int_equal(snapshot_generation(s), 7);
        assert_int_equal(snapshot_count(s, SNAPSHOT_USERS), 1);
        assert_int_equal(snapshot_count(s, SNAPSHOT_ALIASES), 0);
        assert_true(snapshot_get(s, SNAPSHOT_USERS, S("TARO@example.jp"), &value, &line));
        assert_true(span_equal(value, S("taro@example.jp")));
        assert_int_equal(line, 17);
        assert_true(span_equal(snapshot_source(s, SNAPSHOT_USERS), S("users")));
        assert_int_equal(snapshot_source(s, SNAPSHOT_ALIASES).len, 0);
        assert_true(snapshot_get(s, SNAPSHOT_DOMAINS, S("EXAMPLE.jp"), &value, NULL));
        assert_int_equal(value.len, 0);
        assert_false(snapshot_get(s, SNAPSHOT_USERS, S("example.jp"), &value, &line));
        assert_false(snapshot_get(s, SNAPSHOT_USERS, S(""), &value, &line));
        assert_false(snapshot_get(s, SNAPSHOT_ALIASES, S("taro@example.jp"), &value, &line));
        snapshot_close(s);
}

TEST(doubled_keys_are_refused_with_both_lines)
{
        struct buffer error = BUFFER_INIT(65536);
        struct snapshot_build *b = NULL;
        int fd = -1;

        assert_int_equal(snapshot_build_new(1, 5, &b), 0);
        snapshot_build_source(b, SNAPSHOT_USERS, S("users"));
        snapshot_build_add(b, SNAPSHOT_USERS, S("a@x.jp"), S("a@x.jp"), 3);
        snapshot_build_add(b, SNAPSHOT_USERS, S("b@x.jp"), S("b@x.jp"), 4);
        snapshot_build_add(b, SNAPSHOT_USERS, S("A@x.jp"), S("a@x.jp"), 9);
        assert_int_equal(snapshot_build_finish(b, &error, &fd), -EEXIST);
        assert_int_equal(fd, -1);
        assert_true(span_equal(buffer_span(&error), S("users:9: \"a@x.jp\" is there a second time, "
                                                      "after line 3; remove one\n")));
        buffer_done(&error);
        snapshot_build_free(b);
}

TEST(limits_of_keys_and_values)
{
        static char long_text[SNAPSHOT_VALUE_MAX + 1];
        struct snapshot_build *b = NULL;

        memset(long_text, 'x', sizeof long_text);
        assert_int_equal(snapshot_build_new(1, 5, &b), 0);
        assert_int_equal(snapshot_build_add(b, SNAPSHOT_ALIASES, S(""), S("v"), 1), -EINVAL);
        assert_int_equal(snapshot_build_add(b, SNAPSHOT_ALIASES,
                                            span_make(long_text, SNAPSHOT_KEY_MAX + 1), S("v"), 1),
                         -EINVAL);
        assert_int_equal(snapshot_build_add(b, SNAPSHOT_ALIASES, S("k"),
                                            span_make(long_text, sizeof long_text), 1), -EMSGSIZE);
        assert_int_equal(snapshot_build_add(b, SNAPSHOT_ALIASES,
                                            span_make(long_text, SNAPSHOT_KEY_MAX),
                                            span_make(long_text, SNAPSHOT_VALUE_MAX), 1), 0);
        snapshot_build_free(b);
}

static struct span key_of(unsigned i, char *out, size_t out_len)
{
        return span_make(out, (size_t) snprintf(out, out_len, "user%u@example%u.jp", i, i % 10));
}

TEST(case_is_folded_for_ascii_letters_and_nothing_else)
{
        for (unsigned octet = 0; octet < 256; octet++) {
                /* Once among whole words, once behind them. */
                char key[11] = "abcdefgh..", other[11];
                struct snapshot_build *b = NULL;
                struct snapshot *s;
                struct span value;

                key[3] = key[9] = (char) octet;
                assert_int_equal(snapshot_build_new(1, octet, &b), 0);
                assert_int_equal(snapshot_build_add(b, SNAPSHOT_ACCESS, span_make(key, 10), S(""),
                                                    1), 0);
                s = finish_and_open(b);
                for (unsigned instead = 0; instead < 256; instead++) {
                        const bool same = ascii_lower((char) instead) == ascii_lower((char) octet);

                        memcpy(other, key, sizeof other);
                        other[3] = (char) instead;
                        assert_int_equal(snapshot_get(s, SNAPSHOT_ACCESS, span_make(other, 10),
                                                      &value, NULL), same);
                        other[3] = key[3];
                        other[9] = (char) instead;
                        assert_int_equal(snapshot_get(s, SNAPSHOT_ACCESS, span_make(other, 10),
                                                      &value, NULL), same);
                }
                snapshot_close(s);
        }
}

/* Random probes a second; the keys are ready before, and read in order. */
static void measure(const struct snapshot *s, unsigned rows)
{
        enum { KEYS = 1 << 20, ROUNDS = 10 };
        char(*keys)[32] = malloc(KEYS * sizeof *keys);
        struct span value;
        unsigned found = 0;
        uint64_t took;

        assert_non_null(keys);
        for (unsigned i = 0; i < KEYS; i++)
                key_of(i * 2654435761U % rows, keys[i], sizeof keys[i]);
        took = clock_monotonic_us();
        for (unsigned i = 0; i < KEYS * ROUNDS; i++) {
                const char *key = keys[i % KEYS];

                found += snapshot_get(s, SNAPSHOT_USERS, span_make(key, strlen(key)), &value, NULL);
        }
        took = clock_monotonic_us() - took;
        print_message("%u found, %.1f M probes/s\n", found, KEYS * (double) ROUNDS / (double) took);
        free(keys);
}

/* A million rows, when HAYAUMA_BENCH is set; else enough to fill many slots. */
TEST(many_rows_are_all_found_and_no_others)
{
        const bool bench = getenv("HAYAUMA_BENCH") != NULL;
        const unsigned rows = bench ? 1000000 : 20000;
        struct snapshot_build *b = NULL;
        struct snapshot *s;
        struct span value;
        char text[64];

        assert_int_equal(snapshot_build_new(1, 0x1234567, &b), 0);
        for (unsigned i = 0; i < rows; i++)
                assert_int_equal(snapshot_build_add(b, SNAPSHOT_USERS,
                                                    key_of(i, text, sizeof text), S("value"), i),
                                 0);
        s = finish_and_open(b);
        for (unsigned i = 0; i < rows; i++) {
                uint32_t line = 0;

                assert_true(snapshot_get(s, SNAPSHOT_USERS, key_of(i, text, sizeof text), &value,
                                         &line));
                assert_int_equal(line, i);
        }
        for (unsigned i = rows; i < 2 * rows; i++)
                assert_false(snapshot_get(s, SNAPSHOT_USERS, key_of(i, text, sizeof text), &value,
                                          NULL));
        if (bench)
                measure(s, rows);
        snapshot_close(s);
}

/* A sealed copy of `whole`, or one that lacks a seal. */
static int sealed(struct span whole, int seals)
{
        const int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        assert_int_equal(file_write_all(fd, whole.p, whole.len), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

static int open_copy(struct span whole, int seals)
{
        struct snapshot *s = NULL;
        const int fd = sealed(whole, seals);
        const int r = snapshot_open(fd, &s);

        close(fd);
        snapshot_close(s);
        return r;
}

TEST(damage_is_noticed_wherever_it_is)
{
        const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
        struct buffer error = BUFFER_INIT(100), whole = BUFFER_INIT(65536);
        struct snapshot_build *b = NULL;
        int fd = -1;

        assert_int_equal(snapshot_build_new(1, 5, &b), 0);
        snapshot_build_add(b, SNAPSHOT_USERS, S("a@x.jp"), S("a@x.jp"), 3);
        assert_int_equal(snapshot_build_finish(b, &error, &fd), 0);
        lseek(fd, 0, SEEK_SET);
        assert_int_equal(file_read_fd(fd, &whole), 0);
        assert_int_equal(open_copy(buffer_span(&whole), seals), 0);
        assert_int_equal(open_copy(buffer_span(&whole), F_SEAL_SHRINK), -EBADMSG);
        assert_int_equal(open_copy(buffer_span(&whole), F_SEAL_WRITE), -EBADMSG);
        for (size_t i = 0; i < whole.len; i++) {
                whole.data[i] ^= 0x41;
                assert_int_equal(open_copy(buffer_span(&whole), seals), -EBADMSG);
                whole.data[i] ^= 0x41;
                assert_int_equal(open_copy(span_first(buffer_span(&whole), i), seals), -EBADMSG);
        }
        close(fd);
        buffer_done(&whole);
        snapshot_build_free(b);
}

TEST_MAIN()
