/* The compiler's work apart from its process: tables in, a snapshot out. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "config/config.h"
#include "config/snapshot.h"

/* A table as the supervisor sent it. */
struct compiler_table {
        enum snapshot_table table;
        char name[256]; /* of the file, in messages */
        int fd;         /* its text, read only; at its beginning */
};

/* Compiles the tables and the lists in `c`. 0 with a sealed memfd, the
 * caller's; or a negative errno with, in `error` (appended), a line for each
 * thing that is wrong. */
int compiler_compile(const struct config *c, const struct compiler_table *tables, size_t count,
                     uint64_t generation, struct buffer *error, int *ret_fd);
