/* Look-ups in compiled tables: how many random ones a second one core makes, half
 * of which find something, and how many whole decisions of the access table
 * (client, sender and recipient, each by all its keys).
 *
 *     build/bench/table_bench [ROWS [SECONDS]]
 *
 * Prints the time and memory that compiling took, then the rates. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "config/snapshot.h"
#include "config/snapshot_build.h"
#include "config/table.h"
#include "policy/access.h"

enum { KEY_ROOM = 40, KEYS = 1 << 20, BATCH = 1 << 14 };

static uint64_t state = 88172645463325252u;

static uint64_t next_random(void)
{
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
}

static double seconds_since(uint64_t begin_us)
{
        return (double) (clock_monotonic_us() - begin_us) / 1e6;
}

static void fail(const char *what)
{
        fprintf(stderr, "table_bench: %s\n", what);
        exit(1);
}

static struct snapshot *finish(struct snapshot_build *b, uint64_t begin_us, const char *name,
                               unsigned rows)
{
        struct buffer error = BUFFER_INIT(1 << 16);
        struct snapshot *s = NULL;
        struct rusage usage;
        int fd;

        if (snapshot_build_finish(b, &error, &fd) < 0 || snapshot_open(fd, &s) < 0)
                fail("the snapshot could not be made");
        close(fd);
        snapshot_build_free(b);
        buffer_done(&error);
        getrusage(RUSAGE_SELF, &usage);
        printf("%-8s %u rows compiled and opened in %.2f s, %ld MiB at most\n", name, rows,
               seconds_since(begin_us), usage.ru_maxrss / 1024);
        return s;
}

static struct snapshot *make_users(unsigned rows)
{
        const uint64_t begin_us = clock_monotonic_us();
        struct snapshot_build *b;
        char key[KEY_ROOM];

        if (snapshot_build_new(1, next_random(), &b) < 0)
                fail("no memory");
        for (unsigned i = 0; i < rows; i++) {
                const int len = snprintf(key, sizeof key, "user%07u@example.jp", i);

                if (snapshot_build_add(b, SNAPSHOT_USERS, span_make(key, (size_t) len),
                                       span_make(key, (size_t) len), i + 1) < 0)
                        fail("no memory");
        }
        return finish(b, begin_us, "users", rows);
}

static void probe(const struct snapshot *s, unsigned rows, double limit_s)
{
        static char keys[KEYS][KEY_ROOM];
        static uint8_t lens[KEYS];
        uint64_t probes = 0, hits = 0, begin_us;
        struct span value;

        for (unsigned i = 0; i < KEYS; i++)
                lens[i] = (uint8_t) snprintf(keys[i], KEY_ROOM, "%s%07u@example.jp",
                                             i & 1 ? "user" : "nobo",
                                             (unsigned) (next_random() % rows));
        begin_us = clock_monotonic_us();
        while (seconds_since(begin_us) < limit_s)
                for (unsigned n = 0; n < BATCH; n++, probes++)
                        hits += snapshot_get(s, SNAPSHOT_USERS,
                                             span_make(keys[probes % KEYS], lens[probes % KEYS]),
                                             &value, NULL);
        printf("probes   %.2f million a second, %.0f %% found\n",
               (double) probes / seconds_since(begin_us) / 1e6, 100.0 * (double) hits /
               (double) probes);
}

/* Text as an administrator has it: addresses, domains, networks. */
static struct snapshot *make_access(unsigned rows)
{
        const uint64_t begin_us = clock_monotonic_us();
        struct buffer text = BUFFER_INIT((size_t) 1 << 31), error = BUFFER_INIT(1 << 16);
        struct snapshot_build *b;
        int r = snapshot_build_new(1, next_random(), &b);

        for (unsigned i = 0; r == 0 && i < rows; i++) {
                if (i % 3 == 0)
                        r = buffer_printf(&text, "spam%u@host%u.example REJECT\n", i, i);
                else if (i % 3 == 1)
                        r = buffer_printf(&text, "From:domain%u.example REJECT\n", i);
                else
                        r = buffer_printf(&text, "Connect:%u.%u.%u.%u REJECT\n", 1 + i % 200,
                                          i >> 16 & 255, i >> 8 & 255, i & 255);
        }
        if (r == 0)
                r = table_access_parse(buffer_span(&text), SPAN_LITERAL("access"), b, &error);
        if (r < 0)
                fail("the access table could not be made");
        buffer_done(&text);
        buffer_done(&error);
        return finish(b, begin_us, "access", rows);
}

static void decide(const struct snapshot *s, unsigned rows, double limit_s)
{
        struct arena arena = ARENA_INIT(1 << 20);
        uint64_t decisions = 0, refusals = 0, begin_us = clock_monotonic_us();
        struct access_judgement j;
        char sender[64], rcpt[64];

        while (seconds_since(begin_us) < limit_s)
                for (unsigned n = 0; n < 1024; n++, decisions++) {
                        const unsigned i = (unsigned) (next_random() % rows);
                        const unsigned char address[16] = {
                                [10] = 0xff, [11] = 0xff, (unsigned char) (201 + i % 20),
                                (unsigned char) (i >> 16), (unsigned char) (i >> 8),
                                (unsigned char) i};
                        const int sender_len = snprintf(sender, sizeof sender,
                                                        "a%u@mail.domain%u.example", i,
                                                        decisions & 1 ? i : rows + i);
                        const int rcpt_len = snprintf(rcpt, sizeof rcpt,
                                                      "user%07u@example.jp", i);

                        arena_clear(&arena);
                        (void) access_judge_client(s, address, (struct span) {NULL, 0}, &arena,
                                                   &j);
                        refusals += j.verdict.code != 0;
                        (void) access_judge_address(s, ACCESS_FROM,
                                                    span_make(sender, (size_t) sender_len),
                                                    &arena, &j);
                        refusals += j.verdict.code != 0;
                        (void) access_judge_address(s, ACCESS_TO,
                                                    span_make(rcpt, (size_t) rcpt_len), &arena,
                                                    &j);
                        refusals += j.verdict.code != 0;
                }
        printf("access   %.0f thousand whole decisions a second, %.0f %% refused\n",
               (double) decisions / seconds_since(begin_us) / 1e3,
               100.0 * (double) refusals / (double) decisions);
        arena_done(&arena);
}

int main(int argc, char **argv)
{
        const unsigned rows = argc > 1 ? (unsigned) strtoul(argv[1], NULL, 10) : 1000 * 1000;
        const double limit_s = argc > 2 ? strtod(argv[2], NULL) : 3;
        struct snapshot *s;

        if (rows == 0 || limit_s <= 0)
                fail("usage: table_bench [ROWS [SECONDS]]");
        s = make_users(rows);
        probe(s, rows, limit_s);
        snapshot_close(s);
        s = make_access(rows);
        decide(s, rows, limit_s);
        snapshot_close(s);
        return 0;
}
