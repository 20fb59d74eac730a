/* Making a snapshot: rows are added table by table, then the whole is laid out
 * in a sealed memfd. Runs in the compiler process, and in tests of whatever
 * reads snapshots. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "config/snapshot.h"

enum {
        SNAPSHOT_ROWS_MAX = 100 * 1000 * 1000, /* of one table */
        SNAPSHOT_DUPLICATES_MAX = 50,          /* that are said */
};

struct snapshot_build;

/* `seed` keys the hashes: random, so that nobody who can choose addresses can
 * aim for collisions. 0, -ENOMEM. */
int snapshot_build_new(uint64_t generation, uint64_t seed, struct snapshot_build **ret_b);
struct snapshot_build *snapshot_build_free(struct snapshot_build *b);

/* Names the file of a table; copied. 0, -ENOMEM. */
int snapshot_build_source(struct snapshot_build *b, enum snapshot_table table, struct span name);

/* Adds a row; both texts are copied, the key in ASCII lower case. 0; -EINVAL
 * (key empty or over its limit); -EMSGSIZE (value over its limit); -E2BIG (too
 * many rows, or 4 GiB in all); -ENOMEM. */
int snapshot_build_add(struct snapshot_build *b, enum snapshot_table table, struct span key,
                       struct span value, uint32_t line);

/* Lays all out. 0 with a sealed memfd, the caller's; -EEXIST when keys stand
 * twice in a table, with a line for each appended to `error`; -E2BIG; -ENOMEM;
 * -errno. The builder can only be freed afterwards. */
int snapshot_build_finish(struct snapshot_build *b, struct buffer *error, int *ret_fd);
