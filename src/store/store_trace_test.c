/* Decision records by day: sealed files are found in, days go when they are too old or
 * all are too large, and a clock that jumps loses nothing that is young. */
#include <stdio.h>
#include <stdlib.h>

#include "base/test.h"
#include "store/io_sim.h"
#include "store/trace.h"

enum { TEXT = 1000 };

#define DAY_US ((uint64_t) 86400 * 1000000)
#define BEGIN_US (20000 * DAY_US)

static struct io *io;
static struct trace *trace;
static uint32_t number;
static size_t segment_size = 16 * 1024;

static void open_trace(unsigned days, uint64_t size_max)
{
        const struct trace_limits limits = {days, size_max, segment_size};
        char error[256] = "";

        CHECK(trace_open(io, &limits, &trace, error) == 0, error);
}

static void begin(unsigned days, uint64_t size_max)
{
        io = io_sim_new();
        CHECK(io_mkdir(io, "trace") == 0 && io_sync_directory(io, "") == 0, "folder");
        number = 0;
        open_trace(days, size_max);
}

static void end(void)
{
        trace = trace_free(trace);
        io_sim_destroy(io);
}

static void add(uint64_t hash, uint64_t time_us)
{
        static char text[TEXT];
        struct trace_record record = {.time_us = time_us, .group = 1, .number = ++number,
                                      .hash_count = 1,
                                      .hashes = span_make((const char *) &hash, sizeof hash),
                                      .text = span_make(text, sizeof text)};

        CHECK(trace_add(trace, &record) == 0, "add");
}

static bool count_one(void *arg, struct span text)
{
        CHECK(text.len == TEXT, "whole");
        ++*(unsigned *) arg;
        return true;
}

static unsigned found(uint64_t hash)
{
        unsigned count = 0;

        CHECK(trace_find(trace, hash, count_one, &count) == 0, "find");
        return count;
}

TEST(sealed_files_are_found_in_and_survive_a_restart)
{
        begin(30, 1 << 30);
        for (uint64_t i = 0; i < 200; i++) { /* a dozen files */
                add(i % 50 + 1, BEGIN_US + i);
                if (i % 7 == 0)
                        CHECK(trace_write(trace, BEGIN_US + i) == 0, "write");
        }
        CHECK(found(1) == 4 && found(50) == 4 && found(51) == 0, "written, or waiting");
        CHECK(trace_write(trace, BEGIN_US) == 0, "write");
        CHECK(found(1) == 4 && found(50) == 4, "written");
        trace = trace_free(trace);
        io_sim_restart(io, IO_SIM_DROP, 1);
        open_trace(30, 1 << 30);
        CHECK(found(1) == 4 && found(50) == 4 && found(51) == 0, "after a crash");
        end();
}

static uint64_t spread(uint64_t i)
{
        return i * 0x9e3779b97f4a7c15;
}

/* In an index most keys are in one record, and some in very many. */
TEST(rare_keys_and_common_ones_are_found)
{
        segment_size = 256 * 1024;
        begin(30, 1 << 30);
        for (uint64_t i = 0; i < 400; i++)
                add(i % 4 == 0 ? spread(1000) : i % 4 == 1 ? spread(1000) + 1 : spread(i),
                    BEGIN_US + i);
        CHECK(trace_write(trace, BEGIN_US) == 0, "write");
        CHECK(found(spread(1000)) == 100 && found(spread(1000) + 1) == 100, "common");
        CHECK(found(spread(1000) + 2) == 0 && found(spread(4)) == 0, "none");
        for (uint64_t i = 2; i < 400; i += i % 4 == 2 ? 1 : 3)
                CHECK(found(spread(i)) == 1, "rare");
        end();
        segment_size = 16 * 1024;
}

TEST(days_go_when_they_are_too_old)
{
        begin(3, 1 << 30);
        for (uint64_t day = 0; day < 6; day++) {
                add(day + 1, BEGIN_US + day * DAY_US);
                CHECK(trace_write(trace, BEGIN_US + day * DAY_US) == 0, "write");
        }
        CHECK(found(1) == 0 && found(2) == 0, "too old");
        CHECK(found(3) == 1 && found(6) == 1, "kept");
        end();
}

TEST(days_go_when_all_are_too_large)
{
        begin(30, 60 * 1024);
        for (uint64_t day = 0; day < 4; day++) {
                for (unsigned i = 0; i < 25; i++)
                        add(day + 1, BEGIN_US + day * DAY_US);
                CHECK(trace_write(trace, BEGIN_US + day * DAY_US) == 0, "write");
        }
        CHECK(found(1) == 0 && found(2) == 0, "the oldest went");
        CHECK(found(3) == 25 && found(4) == 25, "the youngest stayed");
        end();
}

TEST(a_clock_that_goes_back_loses_nothing)
{
        begin(3, 1 << 30);
        add(1, BEGIN_US + 2 * DAY_US);
        CHECK(trace_write(trace, BEGIN_US + 2 * DAY_US) == 0, "write");
        add(2, BEGIN_US);
        CHECK(trace_write(trace, BEGIN_US) == 0, "write");
        add(3, BEGIN_US + 2 * DAY_US);
        CHECK(trace_write(trace, BEGIN_US + 2 * DAY_US) == 0, "write");
        CHECK(found(1) == 1 && found(2) == 1 && found(3) == 1, "each is there");
        trace = trace_free(trace);
        open_trace(3, 1 << 30);
        CHECK(found(1) == 1 && found(2) == 1 && found(3) == 1, "after a restart");
        end();
}

TEST_MAIN()
