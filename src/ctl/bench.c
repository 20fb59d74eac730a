#include "ctl/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/file.h"
#include "base/number.h"
#include "ctl/console.h"

const char bench_help[] =
        "hayauma bench source --to HOST:PORT [options]\n"
        "\n"
        "Sends messages and says how fast they were taken. HOST is an address;\n"
        "unix:/path works too.\n"
        "  --lmtp                 LMTP instead of SMTP\n"
        "  --tls starttls|implicit\n"
        "  --connections N        at once (1)\n"
        "  --per-connection K     messages, then QUIT and a new connection (100; 0: no end)\n"
        "  --messages N           in all (1000), or\n"
        "  --seconds S            so long\n"
        "  --size OCTETS          of each message, 4K and the like (4K)\n"
        "  --from ADDRESS         (bench@example.net)\n"
        "  --users N --domain D   recipients user0@D to user<N-1>@D in turn (1, example.jp)\n"
        "  --domains N            user0@d0.D, user1@d1.D and on, N of them in turn\n"
        "  --rcpt-per-message N   (1)\n"
        "  --record FILE          a line for each message that was taken: id and recipients\n"
        "  --json\n"
        "\n"
        "hayauma bench sink --listen HOST:PORT [options]\n"
        "\n"
        "Takes messages and throws them away, until SIGTERM.\n"
        "  --lmtp\n"
        "  --delay MS             before the answer to each message\n"
        "  --fail-rcpt PERCENT    of recipients are refused with 550\n"
        "  --tempfail PERCENT     of messages are refused with 451\n"
        "  --messages N           ends after so many\n"
        "  --record FILE          a line for each message: X-Bench-Id and recipients\n"
        "  --json\n";

int bench_run(int argc, char **argv)
{
        if (argc >= 2 && strcmp(argv[1], "source") == 0)
                return bench_source_run(argc - 1, argv + 1);
        if (argc >= 2 && strcmp(argv[1], "sink") == 0)
                return bench_sink_run(argc - 1, argv + 1);
        console_set_name("hayauma bench");
        return console_fail(EX_USAGE, "say source or sink; `hayauma bench --help` says more");
}

/* 64 slots for each power of two: its number and the six bits behind the
 * first. */
static size_t slot_of(uint64_t us)
{
        unsigned shift = 0;

        if (us >= UINT64_C(1) << 36)
                us = (UINT64_C(1) << 36) - 1; /* 19 hours */
        while (us >> shift >= 128)
                shift++;
        return shift == 0 ? (size_t) us : 64 * (size_t) (shift + 1) + (size_t) (us >> shift) - 64;
}

static uint64_t top_of(size_t slot)
{
        size_t shift = slot / 64;

        if (shift <= 1)
                return slot;
        return ((uint64_t) (slot % 64 + 64 + 1) << (shift - 1)) - 1;
}

void bench_histogram_add(struct bench_histogram *h, uint64_t us)
{
        h->slots[slot_of(us)]++;
        h->count++;
        if (us > h->max_us)
                h->max_us = us;
}

uint64_t bench_histogram_at(const struct bench_histogram *h, double share)
{
        uint64_t want = (uint64_t) ((double) h->count * share + 0.5), seen = 0;

        for (size_t i = 0; i < BENCH_HISTOGRAM_SLOTS; i++) {
                seen += h->slots[i];
                if (seen >= want && seen > 0)
                        return top_of(i) < h->max_us ? top_of(i) : h->max_us;
        }
        return h->max_us;
}

static void flush_record(struct deferred *d)
{
        struct bench_record *r = (struct bench_record *) (void *) d;
        int e = file_write_all(r->fd, buffer_span(&r->lines).p, r->lines.len);

        if (e < 0)
                console_fail(EX_IOERR, "the record cannot be written: %s", strerror(-e));
        buffer_clear(&r->lines);
}

int bench_record_open(struct bench_record *r, struct loop *l, const char *path)
{
        *r = (struct bench_record) {.flush.run = flush_record, .loop = l,
                                    .lines = BUFFER_INIT(64 << 20), .fd = -1};
        if (!path)
                return EX_OK;
        r->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (r->fd < 0)
                return console_fail(EX_CANTCREAT, "cannot write %s: %s", path, strerror(errno));
        return EX_OK;
}

void bench_record_add(struct bench_record *r, struct span id, struct span rcpts)
{
        if (r->fd < 0)
                return;
        buffer_append_span(&r->lines, id);
        buffer_append(&r->lines, " ", 1);
        buffer_append_span(&r->lines, rcpts);
        buffer_append(&r->lines, "\n", 1);
        loop_defer(r->loop, &r->flush);
}

void bench_record_close(struct bench_record *r)
{
        if (r->fd < 0)
                return;
        deferred_cancel(&r->flush);
        flush_record(&r->flush);
        close(r->fd);
        buffer_done(&r->lines);
}

bool bench_number(const char *option, const char *text, uint64_t max, uint64_t *value)
{
        if (!text || number_parse(span_from_string(text), max, value) == 0)
                return true;
        console_fail(EX_USAGE, "--%s wants a number, not \"%s\"", option, text);
        return false;
}

bool bench_size(const char *option, const char *text, uint64_t *value)
{
        if (!text || size_parse(span_from_string(text), value) == 0)
                return true;
        console_fail(EX_USAGE, "--%s wants a size such as 4K, not \"%s\"", option, text);
        return false;
}

uint64_t bench_cpu_us(void)
{
        struct rusage u;

        getrusage(RUSAGE_SELF, &u);
        return (uint64_t) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000
               + (uint64_t) (u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}
