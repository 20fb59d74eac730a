/* The floor of the store: the least that a log with RocksDB behind it can cost.
 *
 *     store_floor FOLDER [COMMITS [GROUP [MAILBOXES [OCTETS]]]]
 *
 * It is no store. One thread writes GROUP bodies and their records over blocks that were
 * written before, syncs them, and puts what the commits mean into the index: the message's
 * entry, its mailbox's counters, a record of the queue, and one of 5,000 commits ago is
 * removed. No checksum, no segments, no checkpoint, nothing is ever moved or given back, and
 * nobody waits for an answer. `store_bench full` beside it in the same minutes shows what
 * the machine gave, and what the store makes of that. The folder must not exist. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/codec.h"
#include "store/index.h"
#include "store/io.h"

enum { RECORDS = 400, ENTRY = 60, COUNTERS = 120, QUEUED = 300, LIVES = 5000 };
enum { LOG = 256 << 20, CHUNK = 1 << 20 };

struct floor {
        struct io *io;
        struct index *index;
        int log;
        uint64_t at; /* in the log */
        unsigned commits, group, mailboxes;
        size_t octets;
        char *block; /* what a group writes */
        uint32_t *last_uid;
        uint64_t random, longest_sync_us;
        uint32_t *took_us; /* by group */
};

static void die(const char *what)
{
        fprintf(stderr, "store_floor: %s\n", what);
        exit(EXIT_FAILURE);
}

static void must(int r, const char *what)
{
        if (r < 0)
                die(what);
}

/* ---- a group ---- */

static void write_log(struct floor *f)
{
        const size_t n = f->group * (f->octets + RECORDS);
        struct iovec part = {f->block, n};
        uint64_t begun;

        if (f->at + n > LOG)
                f->at = 0;
        must(io_pwritev(f->io, f->log, &part, 1, f->at), "cannot write");
        f->at += n;
        begun = clock_monotonic_us();
        must(io_sync(f->io, f->log), "cannot sync");
        begun = clock_monotonic_us() - begun;
        if (begun > f->longest_sync_us)
                f->longest_sync_us = begun;
}

/* A letter and numbers, the greatest octet first, so that keys come in their order. */
static struct span key(char *out, char letter, uint64_t number, const uint32_t *uid)
{
        size_t n = 0;

        out[n++] = letter;
        for (int shift = 56; shift >= 0; shift -= 8)
                out[n++] = (char) (number >> shift);
        for (int shift = 24; uid && shift >= 0; shift -= 8)
                out[n++] = (char) (*uid >> shift);
        return (struct span) {out, n};
}

static void write_index(struct floor *f, uint64_t first)
{
        char value[QUEUED], k[16];

        for (uint64_t i = first; i < first + f->group; i++) {
                uint32_t mailbox;

                f->random = f->random * 6364136223846793005ULL + 1442695040888963407ULL;
                mailbox = (uint32_t) ((f->random >> 33) % f->mailboxes);
                f->last_uid[mailbox]++;
                memset(value, (int) i, sizeof value);
                must(index_put_new(f->index, key(k, 'e', mailbox, &f->last_uid[mailbox]),
                                   (struct span) {value, ENTRY}), "index");
                must(index_put(f->index, key(k, 'm', mailbox, NULL),
                               (struct span) {value, COUNTERS}), "index");
                must(index_put_new(f->index, key(k, 'q', i, NULL),
                                   (struct span) {value, QUEUED}), "index");
                if (i >= LIVES)
                        must(index_remove(f->index, key(k, 'q', i - LIVES, NULL)), "index");
        }
        codec_put_u64(value, f->at);
        must(index_put(f->index, key(k, 'p', 0, NULL), (struct span) {value, 8}), "index");
        must(index_write(f->index), "index");
}

/* ---- all of them ---- */

static int compare(const void *a, const void *b)
{
        const uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return (x > y) - (x < y);
}

static void run(struct floor *f)
{
        const unsigned groups = f->commits / f->group;
        const uint64_t begun = clock_monotonic_us();
        uint64_t took;

        for (unsigned g = 0; g < groups; g++) {
                const uint64_t now = clock_monotonic_us();

                write_log(f);
                write_index(f, (uint64_t) g * f->group);
                f->took_us[g] = (uint32_t) (clock_monotonic_us() - now);
        }
        took = clock_monotonic_us() - begun;
        qsort(f->took_us, groups, sizeof f->took_us[0], compare);
        printf("%u commits of %zu octets in groups of %u: rate %.0f/s; a group p50 %" PRIu32
               " p99 %" PRIu32 " max %" PRIu32 " us, longest sync %" PRIu64 " us\n",
               groups * f->group, f->octets, f->group, groups * f->group * 1e6 / (double) took,
               f->took_us[groups / 2], f->took_us[groups * 99 / 100], f->took_us[groups - 1],
               f->longest_sync_us);
}

/* Written, not only set aside: then a sync writes no metadata. */
static void fill_log(struct floor *f)
{
        char *zeros = calloc(1, CHUNK);

        if (!zeros)
                die("no memory");
        for (uint64_t at = 0; at < LOG; at += CHUNK) {
                struct iovec part = {zeros, CHUNK};

                must(io_pwritev(f->io, f->log, &part, 1, at), "cannot write");
        }
        must(io_sync(f->io, f->log), "cannot sync");
        free(zeros);
}

static unsigned number(int argc, char **argv, int i, unsigned otherwise)
{
        const long n = argc > i ? strtol(argv[i], NULL, 10) : (long) otherwise;

        if (n < 1 || n > 100000000)
                die("FOLDER [COMMITS [GROUP [MAILBOXES [OCTETS]]]]");
        return (unsigned) n;
}

int main(int argc, char **argv)
{
        struct floor f = {
                .commits = number(argc, argv, 2, 600000),
                .group = number(argc, argv, 3, 50),
                .mailboxes = number(argc, argv, 4, 5000),
                .octets = number(argc, argv, 5, 4096),
                .random = 1,
        };
        char path[4096], error[256];

        if (argc < 2 || f.commits < f.group || f.group * (f.octets + RECORDS) > LOG)
                die("FOLDER [COMMITS [GROUP [MAILBOXES [OCTETS]]]]");
        if (mkdir(argv[1], 0700) < 0)
                die("the folder cannot be made");
        must(io_real_new(argv[1], -1, &f.io), "the folder cannot be opened");
        f.log = io_open(f.io, "log", IO_CREATE | IO_EXCLUSIVE);
        must(f.log, "cannot make the log");
        snprintf(path, sizeof path, "%s/index", argv[1]);
        if (index_rocksdb_open(path, &f.index, error) < 0)
                die(error);
        f.block = malloc(f.group * (f.octets + RECORDS));
        f.last_uid = calloc(f.mailboxes, sizeof f.last_uid[0]);
        f.took_us = calloc(f.commits / f.group, sizeof f.took_us[0]);
        if (!f.block || !f.last_uid || !f.took_us)
                die("no memory");
        memset(f.block, 'x', f.group * (f.octets + RECORDS));
        fill_log(&f);
        run(&f);
        index_close(f.index);
        io_close(f.io, f.log);
        io_free(f.io);
        free(f.took_us);
        free(f.last_uid);
        free(f.block);
        return 0;
}
