/* The listening sockets: made by the supervisor, handed to edges and keeper,
 * and kept open here, so that a restarted process finds its callers waiting.
 *
 * A TCP address has one SO_REUSEPORT socket an edge, so that the kernel spreads
 * connections; a Unix path has one socket that all edges share. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "config/config.h"

struct listener {
        char address[256]; /* as in the option listen; "local:", "control:" */
        int edge;          /* which edge; -1: all of them */
        int fd;
        bool is_new;  /* bound by a listeners_bind() not kept or undone yet */
        bool is_kept; /* still wanted, while a reload is being decided */
};

struct listeners {
        struct listener *items;
        size_t count;
};
#define LISTENERS_INIT ((struct listeners) {0})

/* Binds what `config` wants and is not open yet. On failure a sentence with
 * option and place was appended to `error`, and what was bound now is closed
 * again. 0 or a negative errno. */
int listeners_bind(struct listeners *l, const struct config *config, unsigned edges,
                   struct buffer *error);

/* After listeners_bind(): the new state counts. Closes what is not wanted. */
void listeners_keep(struct listeners *l);

/* After listeners_bind(): closes what it bound. */
void listeners_undo(struct listeners *l);

void listeners_close(struct listeners *l);

/* A listening Unix socket at `path`, replacing one that nobody listens on any
 * more. The descriptor; -EADDRINUSE when somebody answers; or -errno. */
int listeners_unix(const char *path, unsigned mode);
