/* Threads of small mailboxes, and of many random ones: each message is written
 * once. */
#include "wire/imap/imap_thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/test.h"

enum { MESSAGES_MAX = 12, REFERENCES_MAX = 4 };

struct row {
        int sent_at;
        uint64_t id, subject;
        bool is_reply;
        uint64_t references[REFERENCES_MAX]; /* ends with 0 */
};

static const struct {
        const char *name;
        enum imap_thread_kind kind;
        struct row rows[MESSAGES_MAX]; /* ends where sent_at is 0 */
        const char *out;
} cases[] = {
        { "empty", IMAP_THREAD_REFERENCES, {{0}}, "" },
        { "by subject", IMAP_THREAD_ORDEREDSUBJECT,
          {{5, 0, 1, false, {0}}, {3, 0, 2, false, {0}}, {2, 0, 1, true, {0}}, {9, 0, 1, true, {0}},
           {4, 0, 0, false, {0}}, {6, 0, 0, false, {0}}},
          "(3 (1)(4))(2)(5 6)" },
        { "a chain", IMAP_THREAD_REFERENCES,
          {{1, 11, 1, false, {0}}, {2, 12, 1, true, {11}}, {3, 13, 1, true, {11, 12}}}, "(1 2 3)" },
        { "a chain backwards", IMAP_THREAD_REFERENCES,
          {{3, 13, 1, true, {11, 12}}, {2, 12, 1, true, {11}}, {1, 11, 1, false, {0}}}, "(3 2 1)" },
        { "branches", IMAP_THREAD_REFERENCES,
          {{1, 11, 1, false, {0}}, {3, 12, 1, true, {11}}, {2, 13, 1, true, {11}},
           {4, 14, 1, true, {11, 13}}},
          "(1 (3 4)(2))" },
        { "one missing in the middle", IMAP_THREAD_REFERENCES,
          {{1, 11, 1, false, {0}}, {3, 13, 1, true, {11, 12}}, {2, 14, 1, true, {11, 12}}},
          "(1 (3)(2))" },
        { "the root is missing", IMAP_THREAD_REFERENCES,
          {{3, 13, 1, true, {11}}, {2, 14, 1, true, {11}}, {1, 15, 2, false, {0}}}, "(3)((2)(1))" },
        { "the root of one is missing", IMAP_THREAD_REFERENCES,
          {{3, 13, 1, true, {10, 11, 12}}}, "(1)" },
        { "a loop", IMAP_THREAD_REFERENCES,
          {{1, 11, 1, false, {12}}, {2, 12, 2, false, {11}}}, "(2 1)" },
        { "itself", IMAP_THREAD_REFS, {{1, 11, 1, false, {11}}, {2, 11, 1, false, {11}}}, "(1 2)" },
        { "one id twice", IMAP_THREAD_REFERENCES,
          {{1, 11, 1, false, {0}}, {2, 11, 2, false, {0}}, {3, 12, 3, false, {11}}}, "(1 3)(2)" },
        { "a reply by its subject", IMAP_THREAD_REFERENCES,
          {{2, 11, 1, true, {0}}, {3, 12, 1, false, {0}}, {4, 13, 1, true, {0}}}, "(2 (1)(3))" },
        { "two of a subject", IMAP_THREAD_REFERENCES,
          {{2, 11, 1, false, {0}}, {3, 12, 1, false, {0}}, {4, 13, 1, false, {0}}},
          "((1)(2)(3))" },
        { "subjects of two lost roots", IMAP_THREAD_REFERENCES,
          {{1, 11, 1, true, {5}}, {2, 12, 1, true, {5}}, {3, 13, 1, true, {6}},
           {4, 14, 1, true, {6}}, {5, 15, 1, true, {0}}},
          "((1)(2)(3)(4)(5))" },
        { "without subjects", IMAP_THREAD_REFS,
          {{2, 11, 1, false, {0}}, {3, 12, 1, true, {0}}}, "(1)(2)" },
        { "the last to get one is the last", IMAP_THREAD_REFS,
          {{1, 11, 1, false, {0}}, {2, 12, 1, false, {0}}, {3, 13, 1, true, {11}}}, "(2)(1 3)" },
};

static size_t count_of(const uint64_t *references)
{
        size_t n = 0;

        while (n < REFERENCES_MAX && references[n])
                n++;
        return n;
}

TEST(threads_are_as_the_rules_say)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct arena arena = ARENA_INIT(1024 * 1024);
                struct imap_threads t = IMAP_THREADS(&arena);
                struct buffer out = BUFFER_INIT(4096);

                for (uint32_t k = 0; k < MESSAGES_MAX && cases[i].rows[k].sent_at; k++) {
                        const struct row *row = &cases[i].rows[k];
                        const struct imap_thread_message m = {
                                .number = k + 1, .sent_at = row->sent_at, .arrived_at = k,
                                .id = row->id, .subject = row->subject, .is_reply = row->is_reply,
                        };

                        CHECK(imap_thread_add(&t, &m, row->references, count_of(row->references))
                                      == 0, cases[i].name);
                }
                CHECK(imap_thread_format(&t, cases[i].kind, &out) == 0, cases[i].name);
                buffer_append(&out, "", 1);
                if (strcmp(buffer_span(&out).p, cases[i].out) != 0)
                        printf("%s: %s\n", cases[i].name, buffer_span(&out).p);
                CHECK(strcmp(buffer_span(&out).p, cases[i].out) == 0, cases[i].name);
                buffer_done(&out);
                arena_done(&arena);
        }
}

/* Each number once, parentheses in balance and never empty. */
static void check_whole(struct span out, uint32_t count)
{
        bool seen[256] = {false};
        unsigned depth = 0, found = 0;

        for (size_t i = 0; i < out.len; i++) {
                unsigned n = 0;

                depth += out.p[i] == '(';
                assert_false(out.p[i] == ')' && (depth == 0 || out.p[i - 1] == '('));
                depth -= out.p[i] == ')';
                while (i < out.len && out.p[i] >= '0' && out.p[i] <= '9')
                        n = n * 10 + (unsigned) (out.p[i++] - '0');
                if (n == 0)
                        continue;
                assert_true(n <= count && !seen[n] && depth > 0);
                seen[n] = true;
                found++;
                i--;
        }
        assert_int_equal(depth, 0);
        assert_int_equal(found, count);
}

TEST(each_message_is_in_one_thread)
{
        srand(1);
        for (unsigned round = 0; round < 3000; round++) {
                struct arena arena = ARENA_INIT(1024 * 1024);
                struct imap_threads t = IMAP_THREADS(&arena);
                struct buffer out = BUFFER_INIT(64 * 1024);
                const uint32_t count = (uint32_t) rand() % 60;

                for (uint32_t k = 1; k <= count; k++) {
                        uint64_t references[8];
                        const size_t n = (size_t) rand() % 8;
                        const struct imap_thread_message m = {
                                .number = k, .sent_at = rand() % 20, .arrived_at = rand() % 20,
                                .id = (uint64_t) rand() % 40, .subject = (uint64_t) rand() % 5,
                                .is_reply = rand() % 2,
                        };

                        for (size_t i = 0; i < n; i++)
                                references[i] = 1 + (uint64_t) rand() % 40;
                        assert_int_equal(imap_thread_add(&t, &m, references, n), 0);
                }
                assert_int_equal(imap_thread_format(&t, round % 3, &out), 0);
                check_whole(buffer_span(&out), count);
                buffer_done(&out);
                arena_done(&arena);
        }
}

/* A mailbox that is one chain, told from its end: neither the stack nor the time
 * grows with its depth. */
TEST(a_deep_thread_is_no_burden)
{
        enum { DEPTH = 50000 };
        struct arena arena = ARENA_INIT(64 * 1024 * 1024);
        struct imap_threads t = IMAP_THREADS(&arena);
        struct buffer out = BUFFER_INIT(4 * 1024 * 1024);

        for (uint32_t k = 1; k <= DEPTH; k++) {
                const struct imap_thread_message m = {
                        .number = k, .sent_at = DEPTH - k, .id = DEPTH + 1 - k};
                const uint64_t references[2] = {DEPTH - k ? DEPTH - k : 1, 0};

                assert_int_equal(imap_thread_add(&t, &m, references, k < DEPTH), 0);
        }
        assert_int_equal(imap_thread_format(&t, IMAP_THREAD_REFERENCES, &out), 0);
        assert_memory_equal(buffer_span(&out).p, "(50000 49999 49998 ", 19);
        buffer_done(&out);
        arena_done(&arena);
}

TEST_MAIN()
