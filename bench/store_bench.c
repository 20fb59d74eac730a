/* Deliveries into a local: store: rate and latency of a commit.
 *
 *   store_bench FOLDER [DELIVERIES [OUTSTANDING [MAILBOXES [OCTETS]]]]
 *
 * Each delivery is one commit: a body, and an entry in the INBOX of one of the
 * accounts, with a delivery key. The folder must not exist. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "store/mailbox.h"

struct bench {
        struct loop *loop;
        struct store *store;
        struct mailboxes *mailboxes;
        unsigned deliveries, accounts, begun, done, failed;
        size_t octets;
        char *body;
        uint32_t *latencies;
        uint64_t random;
};

struct slot { /* one commit under way */
        struct bench *bench;
        struct account *account;
        uint64_t begun_us;
        unsigned number;
        struct deferred again;
};

static void deliver(struct slot *s);

static void die(const char *what)
{
        fprintf(stderr, "store_bench: %s\n", what);
        exit(EXIT_FAILURE);
}

static void committed(void *arg, int result)
{
        struct slot *s = arg;
        struct bench *b = s->bench;

        b->latencies[b->done++] = (uint32_t) (clock_monotonic_us() - s->begun_us);
        b->failed += result < 0;
        account_release(s->account);
        if (b->begun < b->deliveries)
                loop_defer(b->loop, &s->again);
        else if (b->done == b->deliveries)
                loop_stop(b->loop);
}

static void opened(void *arg, int result, struct account *a)
{
        struct slot *s = arg;
        struct bench *b = s->bench;
        struct store_batch *batch;
        char key[32];
        const struct span body = {b->body, b->octets};
        struct delivery d = {.mailbox = SPAN("INBOX")};
        uint32_t uid;

        if (result < 0)
                die("an account cannot be opened");
        s->account = a;
        batch = account_batch(a);
        d.delivery_key = span_make(key, (size_t) snprintf(key, sizeof key, "%u", s->number));
        d.entry.blob_id = s->number + 1;
        d.entry.size = b->octets;
        if (!batch || account_deliver(a, &d, batch, &uid) < 0)
                die("a delivery fails");
        store_blob_put(batch, s->number + 1, 1, SPAN_LITERAL("account mailbox uid"), &body, 1);
        s->begun_us = clock_monotonic_us();
        store_commit(b->store, &batch, 1, 0, committed, s);
}

static void deliver(struct slot *s)
{
        struct bench *b = s->bench;
        char address[32];
        int len;

        b->random = b->random * 6364136223846793005ull + 1442695040888963407ull;
        len = snprintf(address, sizeof address, "user%u@example.jp",
                       (unsigned) (b->random >> 33) % b->accounts);
        s->number = b->begun++;
        account_open(b->mailboxes, span_make(address, (size_t) len), opened, s);
}

static void again(struct deferred *d)
{
        deliver((struct slot *) (void *) ((char *) d - offsetof(struct slot, again)));
}

static int compare(const void *a, const void *b)
{
        const uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return (x > y) - (x < y);
}

static void print(const struct bench *b, unsigned outstanding, uint64_t took_us)
{
        struct store_metrics m;
        struct rusage use;
        double cpu_us;

        qsort(b->latencies, b->done, sizeof b->latencies[0], compare);
        store_get_metrics(b->store, &m);
        getrusage(RUSAGE_SELF, &use);
        cpu_us = (double) (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
                 (double) (use.ru_utime.tv_usec + use.ru_stime.tv_usec);
        printf("%u deliveries of %zu octets into %u mailboxes, %u outstanding\n", b->deliveries,
               b->octets, b->accounts, outstanding);
        printf("rate %.0f/s, failed %u, commit p50 %u p99 %u p99.9 %u max %u us\n",
               (double) b->deliveries * 1e6 / (double) took_us, b->failed,
               b->latencies[b->done / 2], b->latencies[(size_t) b->done * 99 / 100],
               b->latencies[(size_t) b->done * 999 / 1000], b->latencies[b->done - 1]);
        printf("%" PRIu64 " groups of %.1f, sync mean %" PRIu64 " max %" PRIu64
               " us, CPU %.1f us a delivery, %ld KiB resident\n",
               m.groups, (double) m.commits / (double) m.groups,
               m.sync_us_total / (m.syncs + !m.syncs), m.sync_us_max,
               cpu_us / (double) b->deliveries, use.ru_maxrss);
}

static unsigned number(int argc, char **argv, int i, unsigned or_else)
{
        return argc > i ? (unsigned) strtoul(argv[i], NULL, 10) : or_else;
}

int main(int argc, char **argv)
{
        static const struct store_options options = {.directory_fd = -1, .reserve_bytes = 1 << 20};
        const unsigned outstanding = number(argc, argv, 3, 50);
        struct bench b = {
                .deliveries = number(argc, argv, 2, 100000),
                .accounts = number(argc, argv, 4, 10000),
                .octets = number(argc, argv, 5, 4096),
                .random = 1,
        };
        struct slot *slots = calloc(outstanding, sizeof(struct slot));
        char uri[4096], error[256];
        uint64_t begun_us;

        if (argc < 2)
                die("give a folder that does not exist");
        snprintf(uri, sizeof uri, "local:%s", argv[1]);
        b.loop = loop_new();
        b.body = malloc(b.octets);
        b.latencies = calloc(b.deliveries, sizeof b.latencies[0]);
        if (!b.loop || !b.body || !b.latencies || !slots)
                die("no memory");
        memset(b.body, 'x', b.octets);
        if (store_open(uri, &options, b.loop, &b.store, error) < 0)
                die(error);
        if (mailboxes_new(b.store, &b.mailboxes) < 0)
                die("no memory");
        begun_us = clock_monotonic_us();
        for (unsigned i = 0; i < outstanding && b.begun < b.deliveries; i++) {
                slots[i] = (struct slot) {.bench = &b, .again = {.run = again}};
                deliver(&slots[i]);
        }
        loop_run(b.loop);
        print(&b, outstanding, clock_monotonic_us() - begun_us);
        store_close(b.store);
        mailboxes_free(b.mailboxes);
        loop_free(b.loop);
        free(b.body);
        free(b.latencies);
        free(slots);
        return 0;
}
