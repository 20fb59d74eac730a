/* Look-ups in a table snapshot of a million rows, on one core.
 *
 *     snapshot_bench [ROWS [SECONDS]]
 *
 * probes: single keys of the users table in random order, every second one
 * there. decisions: what an edge asks the access table about one message: client
 * by name and address, sender, recipient; one in two has an entry for its sender's
 * domain or client's network, and most search through every wider name. Prints a
 * line of JSON: rates a second, and the seconds and memory (MiB at most, of the
 * text, the builder and the snapshot) that compiling took. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/snapshot_build.h"
#include "config/table.h"
#include "policy/access.h"

enum { KEY_ROOM = 48, KEYS = 1 << 21 };

static uint64_t dice = 88172645463325252u;

static uint64_t random_next(void)
{
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        return dice;
}

static void fail(const char *what)
{
        fprintf(stderr, "snapshot_bench: %s\n", what);
        exit(1);
}

/* Users user0@example.jp and on; an access table with as many rows: half of
 * them domains of senders, a quarter addresses, a quarter networks. */
static struct snapshot *build(uint64_t rows)
{
        struct buffer text = BUFFER_INIT((size_t) 256 << 20), error = BUFFER_INIT(4096);
        struct snapshot_build *b;
        struct snapshot *s = NULL;
        int fd = -1, r = snapshot_build_new(1, 42, &b);

        for (uint64_t i = 0; r == 0 && i < rows; i++) {
                char key[64];
                int len = snprintf(key, sizeof key, "user%" PRIu64 "@example.jp", i);

                r = snapshot_build_add(b, SNAPSHOT_USERS, span_make(key, (size_t) len),
                                       span_make(key, (size_t) len), (uint32_t) i + 1);
        }
        for (uint64_t i = 0; r == 0 && i < rows; i++)
                r = i % 4 < 2 ? buffer_printf(&text, "From:d%" PRIu64 ".example.com REJECT\n", i)
                    : i % 4 == 2
                        ? buffer_printf(&text, "u%" PRIu64 "@example.org ERROR:550 no\n", i)
                        : buffer_printf(&text, "Connect:%u.%u.%u OK\n", (unsigned) (i >> 16) & 127,
                                        (unsigned) (i >> 8) & 255, (unsigned) i & 255);
        if (r == 0)
                r = table_access_parse(buffer_span(&text), SPAN_LITERAL("access"), b, &error);
        if (r == 0)
                r = snapshot_build_finish(b, &error, &fd);
        if (r < 0 || snapshot_open(fd, &s) < 0)
                fail("the snapshot cannot be built");
        close(fd);
        snapshot_build_free(b);
        buffer_done(&text);
        buffer_done(&error);
        return s;
}

static double probe(const struct snapshot *s, uint64_t rows, double seconds)
{
        char (*keys)[KEY_ROOM] = malloc(sizeof *keys * KEYS);
        uint64_t begin, now, count = 0, hits = 0;

        if (!keys)
                fail("there is no memory");
        for (size_t i = 0; i < KEYS; i++)
                snprintf(keys[i], KEY_ROOM, "user%" PRIu64 "@example.jp",
                         random_next() % rows + (i & 1 ? rows : 0));
        begin = clock_monotonic_us();
        do {
                for (size_t i = 0; i < KEYS; i++) {
                        struct span value;

                        hits += snapshot_get(s, SNAPSHOT_USERS, span_from_string(keys[i]), &value,
                                             NULL);
                }
                count += KEYS;
                now = clock_monotonic_us();
        } while ((double) (now - begin) < seconds * 1e6);
        if (hits * 2 != count)
                fail("not every second key was found");
        free(keys);
        return (double) count / (double) (now - begin) * 1e6;
}

struct question {
        unsigned char client[16];
        char client_name[KEY_ROOM], mail_from[KEY_ROOM], rcpt_to[KEY_ROOM];
};

static void ask_about(struct question *q, uint64_t rows)
{
        uint64_t n = random_next() % rows, client = random_next() % rows;

        *q = (struct question) {.client = {[10] = 0xff, [11] = 0xff}};
        q->client[12] = (unsigned char) (client >> 16 & 127);
        q->client[13] = (unsigned char) (client >> 8);
        q->client[14] = (unsigned char) client;
        q->client[15] = 7;
        snprintf(q->client_name, KEY_ROOM, "mail%" PRIu64 ".isp.example.net", client);
        snprintf(q->mail_from, KEY_ROOM, "someone@d%" PRIu64 ".example.com", n);
        snprintf(q->rcpt_to, KEY_ROOM, "user%" PRIu64 "@example.jp", n);
}

static double decide(const struct snapshot *s, uint64_t rows, double seconds)
{
        enum { QUESTIONS = KEYS / 8 };
        struct question *all = malloc(sizeof *all * QUESTIONS);
        struct arena arena = ARENA_INIT(1 << 20);
        uint64_t begin, now, count = 0, said = 0;

        if (!all)
                fail("there is no memory");
        for (size_t i = 0; i < QUESTIONS; i++)
                ask_about(&all[i], rows);
        begin = clock_monotonic_us();
        do {
                for (size_t i = 0; i < QUESTIONS; i++) {
                        const struct question *q = &all[i];
                        struct access_judgement j[3];

                        if (access_judge_client(s, q->client, span_from_string(q->client_name),
                                                &arena, &j[0]) < 0 ||
                            access_judge_address(s, ACCESS_FROM, span_from_string(q->mail_from),
                                                 &arena, &j[1]) < 0 ||
                            access_judge_address(s, ACCESS_TO, span_from_string(q->rcpt_to),
                                                 &arena, &j[2]) < 0)
                                fail("no judgement");
                        said += j[0].letter || j[1].letter || j[2].letter;
                        arena_clear(&arena);
                }
                count += QUESTIONS;
                now = clock_monotonic_us();
        } while ((double) (now - begin) < seconds * 1e6);
        if (said == 0 || said == count)
                fail("all judgements are the same");
        arena_done(&arena);
        free(all);
        return (double) count / (double) (now - begin) * 1e6;
}

int main(int argc, char **argv)
{
        const uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
        const double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
        const uint64_t begin = clock_monotonic_us();
        struct snapshot *s = build(rows ? rows : 1);
        const double compile_s = (double) (clock_monotonic_us() - begin) / 1e6;
        struct rusage usage = {.ru_maxrss = 0};
        double probes, decisions;

        getrusage(RUSAGE_SELF, &usage); /* before the questions, which need more */
        probes = probe(s, rows, seconds);
        decisions = decide(s, rows, seconds);
        printf("{\"rows\": %" PRIu64 ", \"probes\": %.0f, \"decisions\": %.0f, "
               "\"compile_s\": %.2f, \"memory_mib\": %ld}\n", rows, probes, decisions, compile_s,
               usage.ru_maxrss / 1024);
        snapshot_close(s);
        return 0;
}
