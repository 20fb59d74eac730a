/* What the fuzzers of tables in sendmail's form share: any octets are rows that
 * can all be found again, or errors that are said. */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The snapshot of a table that is good, or NULL. */
static inline struct snapshot *fuzz_compile(table_parse_fn *parse, struct span text)
{
        struct buffer error = BUFFER_INIT(1 << 20);
        struct snapshot_build *b = NULL;
        struct snapshot *s = NULL;
        int fd = -1;
        int r = snapshot_build_new(1, text.len, &b);

        if (r == 0)
                r = parse(text, SPAN_LITERAL("table"), b, &error);
        if ((r == 0) != (error.len == 0))
                abort();
        if (r == 0)
                r = snapshot_build_finish(b, &error, &fd);
        if (r < 0 && error.len == 0)
                abort();
        if (r == 0 && snapshot_open(fd, &s) < 0)
                abort();
        if (fd >= 0)
                close(fd);
        snapshot_build_free(b);
        buffer_done(&error);
        return s;
}

typedef void fuzz_check_fn(struct span key, struct span value);

/* Every key that stands in the text is found; `check` looks at what it leads to. */
static inline void fuzz_find_all(enum snapshot_table table, struct span text,
                                 const struct snapshot *s, fuzz_check_fn *check)
{
        struct buffer error = BUFFER_INIT(1 << 20);
        struct table_lines t = TABLE_LINES(text, SPAN_LITERAL("table"), &error);
        struct span entry, key, value;
        uint32_t line, count = 0;

        while (table_next_entry(&t, &entry)) {
                if (!table_split_entry(&t, entry, &key, &value) ||
                    !snapshot_get(s, table, key, &value, &line) || line != t.line)
                        abort();
                check(key, value);
                count++;
        }
        if (count != snapshot_count(s, table))
                abort();
        buffer_done(&t.joined);
        buffer_done(&error);
}
