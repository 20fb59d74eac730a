/* What tests of whoever reads snapshots share: a small site from rows and the
 * text of tables, and a configuration. What fails, fails the test. */
#pragma once

#include <string.h>
#include <unistd.h>

#include "base/test.h"
#include "config/config.h"
#include "config/snapshot_build.h"
#include "config/table.h"

static inline struct snapshot_build *test_site_begin(void)
{
        struct snapshot_build *b = NULL;

        CHECK(snapshot_build_new(1, 42, &b) == 0, "builder");
        return b;
}

static inline void test_site_add(struct snapshot_build *b, enum snapshot_table table,
                                 const char *key, const char *value, uint32_t line)
{
        CHECK(snapshot_build_add(b, table, span_from_string(key), span_from_string(value), line) ==
                      0, key);
}

static inline void test_site_table(struct snapshot_build *b, table_parse_fn *parse,
                                   const char *name, struct span text)
{
        struct buffer error = BUFFER_INIT(1 << 16);
        const int r = parse(text, span_from_string(name), b, &error);

        if (r < 0)
                print_error("%.*s", (int) error.len, buffer_span(&error).p);
        CHECK(r == 0, name);
        buffer_done(&error);
}

/* The builder is freed; the snapshot is the caller's. */
static inline struct snapshot *test_site_finish(struct snapshot_build *b)
{
        struct buffer error = BUFFER_INIT(4096);
        struct snapshot *s = NULL;
        int fd = -1;

        CHECK(snapshot_build_finish(b, &error, &fd) == 0, "finish");
        CHECK(snapshot_open(fd, &s) == 0, "open");
        close(fd);
        snapshot_build_free(b);
        buffer_done(&error);
        return s;
}

/* Of the two texts, one behind the other. */
static inline struct config *test_site_config(const char *first, const char *second)
{
        struct buffer error = BUFFER_INIT(4096), text = BUFFER_INIT(1 << 16);
        struct config *c = NULL;
        int r;

        CHECK(buffer_append_string(&text, first) == 0, "text");
        CHECK(buffer_append_string(&text, second) == 0, "text");
        r = config_parse(buffer_span(&text), "hayauma.conf", &c, &error);
        if (r < 0)
                print_error("%.*s\n", (int) error.len, buffer_span(&error).p);
        CHECK(r == 0, first);
        buffer_done(&text);
        buffer_done(&error);
        return c;
}
