/* `hayauma bench`: load on SMTP and LMTP servers (source), and a server that
 * takes everything (sink). They share the machine with what they measure, so
 * they spend as little of it as they can. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "net/loop.h"

int bench_run(int argc, char **argv); /* the command */
int bench_source_run(int argc, char **argv);
int bench_sink_run(int argc, char **argv);
extern const char bench_help[];

/* Times in microseconds, to within 1.6 %. */
enum { BENCH_HISTOGRAM_SLOTS = 64 * 32 };
struct bench_histogram {
        uint64_t slots[BENCH_HISTOGRAM_SLOTS];
        uint64_t count, max_us;
};
void bench_histogram_add(struct bench_histogram *h, uint64_t us);
/* The time that `share` (0 to 1) of all do not exceed; 0 of none. */
uint64_t bench_histogram_at(const struct bench_histogram *h, double share);

/* A file of one line a message, "ID rcpt,rcpt": written once a round of the
 * loop, so that it may be read while it grows. */
struct bench_record {
        struct deferred flush;
        struct loop *loop;
        struct buffer lines;
        int fd; /* -1: none is kept */
};
/* `path` NULL: keeps none. EX_OK, or an exit status, said on standard error. */
int bench_record_open(struct bench_record *r, struct loop *l, const char *path);
void bench_record_add(struct bench_record *r, struct span id, struct span rcpts);
void bench_record_close(struct bench_record *r);

/* A number of an option that was given (else `*value` stays): true, or false,
 * said on standard error. */
bool bench_number(const char *option, const char *text, uint64_t max, uint64_t *value);
bool bench_size(const char *option, const char *text, uint64_t *value);

/* CPU time of this process. */
uint64_t bench_cpu_us(void);
