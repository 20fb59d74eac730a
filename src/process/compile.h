/* One run of the compiler process: tables in, a sealed snapshot out. The
 * supervisor opens the files, the confined child parses them. */
#pragma once

#include "base/span.h"
#include "net/loop.h"
#include "process/place.h"
#include "process/settings.h"

struct compile;

struct compile_result {
        int status;       /* 0 or a negative errno */
        int snapshot_fd;  /* status 0: to be taken by setting it to -1 */
        struct span text; /* else: what is wrong, a line each */
};

struct compile_events {
        void (*done)(void *arg, struct compile_result *result);
        void *arg;
};

/* Opens the files and starts the child (again for each depth of lists that
 * aliases include; `settings` must live as long); `done` is called once, later, and may
 * free. `is_privileged`: the supervisor is root. On failure a line that says
 * which file was appended to `error`. 0 or a negative errno. */
int compile_new(struct loop *l, const struct settings *settings, bool is_privileged,
                const struct compile_events *events, struct buffer *error,
                struct compile **ret_c);

/* After SIGCHLD: looks whether the child ended. May call `done`. */
void compile_reap(struct compile *c);

/* Ends the child if it runs. Accepts NULL. No `done` any more. */
struct compile *compile_free(struct compile *c);

/* The files that tables are read from: for the watch. At most
 * COMPILE_FILES_MAX; returns how many. Spans of the configuration. */
enum { COMPILE_FILES_MAX = 8 };
size_t compile_files(const struct config *config, struct span *ret_paths);
