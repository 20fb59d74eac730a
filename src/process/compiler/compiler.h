/* The compiler's work apart from its process: tables in, a snapshot out. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "config/config.h"
#include "config/snapshot.h"

enum {
        COMPILER_INCLUDES_MAX = 256,
        COMPILER_TABLES_MAX = 16 + COMPILER_INCLUDES_MAX,
};

/* A table as the supervisor sent it. */
struct compiler_table {
        enum snapshot_table table;
        uint32_t owner; /* of the file; TABLE_OWNER_NONE: others may write it, too */
        char name[257]; /* of the file, in messages; ":include:/path" for a list of aliases */
        int fd;         /* its text, read only; at its beginning */
};

/* Compiles the tables and the lists in `c`. 0 with a sealed memfd, the
 * caller's; -EAGAIN when aliases include lists that are not among the tables,
 * with the path of each as a line in `error`; or another negative errno with,
 * in `error` (appended), a line for each thing that is wrong. */
int compiler_compile(const struct config *c, const struct compiler_table *tables, size_t count,
                     uint64_t generation, struct buffer *error, int *ret_fd);
