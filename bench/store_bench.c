/* The store alone: rate and latency of commits, CPU time by thread, memory, room.
 *
 *   store_bench WORKLOAD FOLDER [COMMITS [OUTSTANDING [MAILBOXES [OCTETS]]]]
 *
 * mail   a commit is a delivery: a body and an entry in the INBOX of one of the accounts,
 *        with a delivery key
 * full   the same with a decision record, and a record of the queue that the next commit
 *        of the same slot deletes
 * grow   MAILBOXES mailboxes of 100 messages come into being, one with each commit; then COMMITS
 *        deliveries as in mail, to any of them
 * churn  a commit puts a body into the queue and removes one at random, so that MAILBOXES of
 *        them live: what reclaim makes of that
 *
 * Then the store is opened again, and the first mailbox read. The folder must not exist. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "store/mailbox.h"

enum { ARENAS_MAX = 4 };
enum { QUEUE_RECORD = 300, TRACE_RECORD = 400, SHARDS = 16, ROOM_EVERY = 1000 };
enum { GROWN = 100 }; /* messages of a mailbox */
enum workload { MAIL, FULL, CHURN, GROW };
enum { QUEUE_LOG, MAIL_LOG, INDEX, CHECKPOINT, ROOMS };

static const char *const room_names[ROOMS] = {"queue", "mail", "index", "checkpoint"};

struct bench {
        struct loop *loop;
        struct store *store;
        struct mailboxes *mailboxes;
        enum workload workload;
        const char *folder;
        unsigned commits, accounts, begun, done, failed;
        size_t octets;
        char *body;
        uint32_t *latencies;
        uint64_t *live; /* churn: what lives */
        unsigned long stolen_before; /* ticks */
        bool is_growing;
        uint64_t first_id;
        double room_max;  /* octets of all files for one that lives */
        struct room { uint64_t octets[ROOMS]; } room; /* then, by folder */
        uint64_t random;
};

struct slot { /* one commit under way */
        struct bench *bench;
        struct account *account;
        uint64_t begun_us, queued; /* queued: 0, or a record to delete */
        unsigned number;
        struct deferred again;
};

static void act(struct slot *s);

static void die(const char *what)
{
        fprintf(stderr, "store_bench: %s\n", what);
        exit(EXIT_FAILURE);
}

static unsigned pick(struct bench *b, unsigned n)
{
        b->random = b->random * 6364136223846793005ull + 1442695040888963407ull;
        return (unsigned) (b->random >> 33) % n;
}

/* ---- what is measured -------------------------------------------------------- */

/* What the files of a folder, or one file, take on the disk. */
static uint64_t octets_below(int at, const char *name)
{
        struct stat st;
        const struct dirent *e;
        uint64_t octets = 0;
        DIR *folder;

        if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0; /* it went just now */
        if (!S_ISDIR(st.st_mode))
                return (uint64_t) st.st_blocks * 512;
        folder = fdopendir(openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        while (folder && (e = readdir(folder)))
                if (e->d_name[0] != '.')
                        octets += octets_below(dirfd(folder), e->d_name);
        if (folder)
                closedir(folder);
        return octets;
}

static struct room find_room(const struct bench *b)
{
        const int at = open(b->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct room room = {0};

        for (int i = 0; i < ROOMS; i++)
                room.octets[i] = octets_below(at, room_names[i]);
        room.octets[CHECKPOINT] += octets_below(at, "checkpoint.new"); /* two, meanwhile */
        close(at);
        return room;
}

static void look_at_room(struct bench *b)
{
        const struct room room = find_room(b);
        struct store_metrics m = {0};
        uint64_t octets = 0;

        store_get_metrics(b->store, &m);
        for (int i = 0; i < ROOMS; i++)
                octets += room.octets[i];
        if (b->done <= b->commits / 2 || (double) octets <= b->room_max * (double) m.live_bytes)
                return;
        b->room_max = (double) octets / (double) (m.live_bytes + 1);
        b->room = room;
}

static void committed(void *arg, int result)
{
        struct slot *s = arg;
        struct bench *b = s->bench;

        b->latencies[b->done++] = (uint32_t) (clock_monotonic_us() - s->begun_us);
        b->failed += result < 0;
        if (s->account)
                account_release(s->account);
        s->account = NULL;
        if (b->workload == CHURN && b->done % ROOM_EVERY == 0)
                look_at_room(b);
        if (b->begun < b->commits)
                loop_defer(b->loop, &s->again);
        else if (b->done == b->commits)
                loop_stop(b->loop);
}

/* ---- commits ------------------------------------------------------------------ */

static void commit(struct slot *s, struct store_batch **batches, size_t count)
{
        s->begun_us = clock_monotonic_us();
        store_commit(s->bench->store, batches, count, 0, committed, s);
}

static struct store_batch *queue_batch(struct bench *b, uint64_t id)
{
        const struct partition shard = {{PARTITION_QUEUE, (unsigned char) (id % SHARDS)}};
        struct store_batch *batch = store_batch_new(b->store, &shard, STORE_ANY_SEQUENCE);

        if (!batch)
                die("no memory");
        return batch;
}

static struct span key_of(uint64_t id, char out[9])
{
        out[0] = 'e';
        key_put_u64(out + 1, id);
        return span_make(out, 9);
}

static void put_trace(struct store_batch *batch, uint64_t id)
{
        static const char record[TRACE_RECORD];
        const struct span keys[] = {{(const char *) &id, sizeof id}, SPAN("a@example.net"),
                                    SPAN("user@example.jp")};

        store_trace(batch, keys, 3, span_make(record, sizeof record));
}

static void opened(void *arg, int result, struct account *a)
{
        static const char record[QUEUE_RECORD];
        struct slot *s = arg;
        struct bench *b = s->bench;
        struct store_batch *batches[3];
        char key[32];
        const struct span body = {b->body, b->octets};
        const uint64_t id = b->first_id + s->number + 1;
        struct delivery d = {.mailbox = SPAN("INBOX")};
        size_t count = 1;
        uint32_t uid;

        if (result < 0)
                die("an account cannot be opened");
        s->account = a;
        batches[0] = account_batch(a);
        d.delivery_key = span_make(key, (size_t) snprintf(key, sizeof key, "%u", s->number));
        d.entry.blob_id = id;
        d.entry.size = b->octets;
        if (!batches[0] || account_deliver(a, &d, batches[0], &uid) < 0)
                die("a delivery fails");
        store_blob_put(batches[0], id, 1, SPAN_LITERAL("account mailbox uid"), &body, 1);
        if (b->workload == FULL) {
                put_trace(batches[0], id);
                batches[count] = queue_batch(b, id);
                store_put_new(batches[count++], key_of(id, key), span_make(record, sizeof record));
                if (s->queued) {
                        batches[count] = queue_batch(b, s->queued);
                        store_delete(batches[count++], key_of(s->queued, key));
                }
                s->queued = id;
        }
        commit(s, batches, count);
}

/* A mailbox with all its messages, each with a body. */
static void made(void *arg, int result, struct account *a)
{
        struct slot *s = arg;
        struct bench *b = s->bench;
        struct store_batch *batch = result < 0 ? NULL : account_batch(a);
        const struct span body = {b->body, b->octets};
        struct delivery d = {.mailbox = SPAN("INBOX"), .entry = {.size = b->octets}};
        uint32_t uid;

        if (!batch)
                die("an account cannot be opened");
        s->account = a;
        for (uint64_t i = 0; i < GROWN; i++) {
                d.entry.blob_id = (uint64_t) s->number * GROWN + i + 1;
                if (account_deliver(a, &d, batch, &uid) < 0)
                        die("a delivery fails");
                store_blob_put(batch, d.entry.blob_id, 1, SPAN_LITERAL("account mailbox uid"),
                               &body, 1);
        }
        commit(s, &batch, 1);
}

static void grow(struct slot *s)
{
        char address[32];
        const int len = snprintf(address, sizeof address, "user%u@example.jp", s->number);

        account_open(s->bench->mailboxes, span_make(address, (size_t) len), made, s);
}

static void deliver(struct slot *s)
{
        struct bench *b = s->bench;
        char address[32];
        const int len = snprintf(address, sizeof address, "user%u@example.jp",
                                 pick(b, b->accounts));

        account_open(b->mailboxes, span_make(address, (size_t) len), opened, s);
}

static void churn(struct slot *s)
{
        struct bench *b = s->bench;
        const uint64_t id = s->number + 1;
        uint64_t *at = &b->live[pick(b, b->accounts)];
        const struct span body = {b->body, b->octets};
        struct store_batch *batches[2] = {queue_batch(b, id), NULL};
        size_t count = 1;
        char key[9];

        store_blob_put(batches[0], id, 1, SPAN_LITERAL("d"), &body, 1);
        store_put(batches[0], key_of(id, key), SPAN_LITERAL("value"));
        if (*at) {
                batches[count] = queue_batch(b, *at);
                store_delete(batches[count], key_of(*at, key));
                store_blob_reference(batches[count++], *at, -1);
        }
        *at = id;
        commit(s, batches, count);
}

static void act(struct slot *s)
{
        s->number = s->bench->begun++;
        if (s->bench->workload == CHURN)
                churn(s);
        else if (s->bench->is_growing)
                grow(s);
        else
                deliver(s);
}

static void again(struct deferred *d)
{
        struct slot *s = (struct slot *) (void *) ((char *) d - offsetof(struct slot, again));

        if (s->bench->begun < s->bench->commits)
                act(s);
}

/* ---- figures -------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
        const uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return (x > y) - (x < y);
}

/* CPU time of each thread, in µs a commit. */
static void print_threads(const struct bench *b)
{
        DIR *tasks = opendir("/proc/self/task");
        const struct dirent *e;

        printf("CPU us a commit:");
        while (tasks && (e = readdir(tasks))) {
                char path[300], name[32] = "";
                unsigned long user = 0, system = 0;
                FILE *f;

                snprintf(path, sizeof path, "/proc/self/task/%.20s/stat", e->d_name);
                f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
                if (f && fscanf(f, "%*d (%31[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu "
                                   "%lu", name, &user, &system) == 3 && user + system)
                        printf(" %s %.2f", name, (double) (user + system) * 1e6 /
                                                         (double) sysconf(_SC_CLK_TCK) /
                                                         (double) b->commits);
                if (f)
                        fclose(f);
        }
        if (tasks)
                closedir(tasks);
        putchar('\n');
}

/* What the host gave to others, of all processors: whom it was taken from it does not say. */
static unsigned long stolen_ticks(void)
{
        unsigned long stolen = 0;
        FILE *f = fopen("/proc/stat", "r");

        if (f && fscanf(f, "cpu %*u %*u %*u %*u %*u %*u %*u %lu", &stolen) != 1)
                stolen = 0;
        if (f)
                fclose(f);
        return stolen;
}

static long resident_kib(void)
{
        long size = 0, resident = 0;
        FILE *f = fopen("/proc/self/statm", "r");

        if (f && fscanf(f, "%ld %ld", &size, &resident) != 2)
                resident = 0;
        if (f)
                fclose(f);
        return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static long resident_most_kib(void)
{
        struct rusage usage;

        return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss : 0;
}

static void print_room(const struct bench *b, uint64_t live, uint64_t written)
{
        const struct room room = b->room_max > 0 ? b->room : find_room(b);

        printf("%.1f MiB live", (double) live / 1048576);
        if (b->room_max > 0)
                printf(", %.2f times of that at most in the second half", b->room_max);
        for (int i = 0; i < ROOMS; i++)
                printf(", %s %.1f", room_names[i], (double) room.octets[i] / 1048576);
        printf("; %.0f octets of log a commit\n", (double) written / (double) b->commits);
}

static void print(struct bench *b, unsigned outstanding, uint64_t took_us)
{
        struct store_metrics m = {0};

        qsort(b->latencies, b->done, sizeof b->latencies[0], compare);
        store_get_metrics(b->store, &m);
        printf("%u commits of %zu octets, %u %s, %u outstanding\n", b->commits, b->octets,
               b->accounts, b->workload == CHURN ? "bodies live" : "mailboxes", outstanding);
        printf("rate %.0f/s, failed %u, commit p50 %u p99 %u p99.9 %u max %u us\n",
               (double) b->commits * 1e6 / (double) took_us, b->failed,
               b->latencies[b->done / 2], b->latencies[(size_t) b->done * 99 / 100],
               b->latencies[(size_t) b->done * 999 / 1000], b->latencies[b->done - 1]);
        printf("%" PRIu64 " groups of %.1f, sync mean %" PRIu64 " max %" PRIu64
               " us, %ld KiB resident, %ld at most\n", m.groups,
               (double) m.commits / (double) m.groups, m.sync_us_total / (m.syncs + !m.syncs),
               m.sync_us_max, resident_kib(), resident_most_kib());
        printf("a group, from written to answered: p50 %" PRIu64 " p99 %" PRIu64 " max %" PRIu64
               " us, without syncs max %" PRIu64 " us; stolen from the machine %.1f %%\n",
               m.group_us_p50, m.group_us_p99, m.group_us_max, m.group_us_max_own,
               (double) (stolen_ticks() - b->stolen_before) * 1e8 /
                       (double) (took_us + !took_us) / (double) sysconf(_SC_CLK_TCK) /
                       (double) sysconf(_SC_NPROCESSORS_ONLN));
        print_threads(b);
        print_room(b, m.live_bytes, m.octets_written);
}

/* ---- opened again ----------------------------------------------------------------- */

struct view {
        struct bench *bench;
        struct account *account;
        uint64_t mailbox_id;
        size_t count;
        uint32_t next;
        bool is_done;
};

static void listed(void *arg, int result, const struct message_entry *entries, size_t count,
                   bool has_more)
{
        struct view *v = arg;

        v->count += count;
        if (result < 0 || !has_more) {
                v->is_done = true;
                return;
        }
        v->next = entries[count - 1].uid + 1;
        account_list(v->account, v->mailbox_id, v->next, 1000, listed, v);
}

static void open_view(void *arg, int result, struct account *a)
{
        struct view *v = arg;
        struct mailbox_status status;

        v->account = a;
        v->is_done = result < 0 || account_mailbox(a, SPAN_LITERAL("INBOX"), &status) < 0;
        if (v->is_done)
                return;
        v->mailbox_id = status.mailbox_id;
        account_list(a, v->mailbox_id, 1, 1000, listed, v);
}

static void open_again(struct bench *b, const char *uri, const struct store_options *options)
{
        struct view v = {.bench = b};
        char error[256];
        uint64_t begun_us = clock_monotonic_us();

        if (store_open(uri, options, b->loop, &b->store, error) < 0 ||
            mailboxes_new(b->store, &b->mailboxes) < 0)
                die(error);
        printf("opened again in %.1f ms, ", (double) (clock_monotonic_us() - begun_us) / 1000);
        begun_us = clock_monotonic_us();
        if (b->workload != CHURN) {
                account_open(b->mailboxes, SPAN_LITERAL("user0@example.jp"), open_view, &v);
                while (!v.is_done)
                        loop_run_once(b->loop, 1000);
                printf("first mailbox of %zu messages read in %.1f ms, ", v.count,
                       (double) (clock_monotonic_us() - begun_us) / 1000);
                if (v.account)
                        account_release(v.account);
        }
        store_close(b->store); /* it calls back */
        mailboxes_free(b->mailboxes);
}

static int at_rest(const char *uri, const struct store_options *options)
{
        struct loop *loop = loop_new();
        /* By then the memory that recovery took is given back, once and again. */
        const uint64_t until_us = clock_monotonic_us() + 20 * 1000 * 1000;
        struct store *s;
        char error[256];
        const long before = resident_kib();

        if (!loop || store_open(uri, options, loop, &s, error) < 0)
                die(error);
        while (clock_monotonic_us() < until_us)
                loop_run_once(loop, 100);
        printf("at rest %ld KiB resident, %ld of them before it was opened\n", resident_kib(),
               before);
        store_close(s);
        loop_free(loop);
        return EXIT_SUCCESS;
}

/* ---- all of it ------------------------------------------------------------------------ */

static unsigned number(int argc, char **argv, int i, unsigned or_else)
{
        return argc > i ? (unsigned) strtoul(argv[i], NULL, 10) : or_else;
}

static enum workload workload_of(const char *name)
{
        static const char *const names[] = {
                [MAIL] = "mail", [FULL] = "full", [CHURN] = "churn", [GROW] = "grow"};

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                if (strcmp(name, names[i]) == 0)
                        return (enum workload) i;
        die("the workload is mail, full, grow, churn or rest");
        return MAIL;
}

static void run(struct bench *b, unsigned outstanding)
{
        struct slot *slots = calloc(outstanding, sizeof(struct slot));
        const uint64_t begun_us = clock_monotonic_us();

        if (!slots)
                die("no memory");
        b->stolen_before = stolen_ticks();
        for (unsigned i = 0; i < outstanding && b->begun < b->commits; i++) {
                slots[i] = (struct slot) {.bench = b, .again = {.run = again}};
                act(&slots[i]);
        }
        loop_run(b->loop);
        print(b, outstanding, clock_monotonic_us() - begun_us);
        free(slots);
}

/* GROWN times as many messages as commits; then the deliveries that are measured. */
static void run_grown(struct bench *b, unsigned outstanding)
{
        const unsigned commits = b->commits;

        b->commits = b->accounts;
        b->is_growing = true;
        run(b, outstanding);
        b->is_growing = false;
        b->first_id = (uint64_t) b->accounts * GROWN;
        b->commits = commits;
        b->begun = b->done = 0;
        run(b, outstanding);
}

int main(int argc, char **argv)
{
        static const struct store_options options = {.directory_fd = -1, .reserve_bytes = 1 << 20};
        struct bench b = {
                .commits = number(argc, argv, 3, 100000),
                .accounts = number(argc, argv, 5, 10000),
                .octets = number(argc, argv, 6, 4096),
                .random = 1,
        };
        char uri[4096], error[256];

        mallopt(M_ARENA_MAX, ARENAS_MAX); /* as in a process of the server */
        if (argc < 3)
                die("WORKLOAD FOLDER [COMMITS [OUTSTANDING [MAILBOXES [OCTETS]]]]");
        snprintf(uri, sizeof uri, "local:%s", argv[2]);
        if (strcmp(argv[1], "rest") == 0) /* one that is there */
                return at_rest(uri, &options);
        b.workload = workload_of(argv[1]);
        b.folder = argv[2];
        b.loop = loop_new();
        b.body = malloc(b.octets);
        b.latencies = calloc(b.commits > b.accounts ? b.commits : b.accounts,
                             sizeof b.latencies[0]);
        b.live = calloc(b.accounts, sizeof b.live[0]);
        if (!b.loop || !b.body || !b.latencies || !b.live)
                die("no memory");
        memset(b.body, 'x', b.octets);
        if (store_open(uri, &options, b.loop, &b.store, error) < 0)
                die(error);
        if (mailboxes_new(b.store, &b.mailboxes) < 0)
                die("no memory");
        if (b.workload == GROW)
                run_grown(&b, number(argc, argv, 4, 50));
        else
                run(&b, number(argc, argv, 4, 50));
        store_close(b.store);
        mailboxes_free(b.mailboxes);
        open_again(&b, uri, &options);
        printf("%ld KiB resident after it\n", resident_kib());
        loop_free(b.loop);
        free(b.body);
        free(b.latencies);
        free(b.live);
        return 0;
}
