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

/* Edges by class: numbers from 0 are those that take mail, behind them stand
 * those that take the logins of who reads it, so that a flood of these, or a
 * crash, leaves mail alone. Where there are none, every edge takes both. */
struct listeners_edges {
        unsigned smtp, login;
};

struct listener {
        char address[256]; /* as in the option listen; "local:", "control:" */
        int edge;          /* which edge; -1: all of its class */
        bool is_login;     /* of class login */
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
int listeners_bind(struct listeners *l, const struct config *config,
                   const struct listeners_edges *edges, struct buffer *error);

/* Does this edge take what comes there? */
bool listeners_is_for(const struct listener *item, const struct listeners_edges *edges,
                      unsigned edge);

/* After listeners_bind(): the new state counts. Closes what is not wanted. */
void listeners_keep(struct listeners *l);

/* After listeners_bind(): closes what it bound. */
void listeners_undo(struct listeners *l);

void listeners_close(struct listeners *l);

/* A listening Unix socket at `path`, replacing one that nobody listens on any
 * more. The descriptor; -EADDRINUSE when somebody answers; or -errno. */
int listeners_unix(const char *path, unsigned mode);
