/* Addresses out of header fields and arguments: RFC 5322 section 3.4, as
 * programs write it.
 *
 * Comments, display names, groups and routes are passed over; what is left is
 * local@domain, or a local name, which gets the domain of this host. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/span.h"

enum { SEND_RECIPIENTS_MAX = 10000 };

struct send_recipient {
        struct span address; /* as RCPT wants it */
        bool is_done;        /* accepted, or refused for good */
};

struct send_recipients {
        struct arena arena;
        struct span hostname; /* for addresses without a domain; the caller's */
        struct send_recipient *items;
        size_t count, room;
        struct span bad; /* what was no address, after -EINVAL */
};
#define SEND_RECIPIENTS_INIT(host)                                                                 \
        ((struct send_recipients) {.arena = ARENA_INIT(16 * 1024 * 1024), .hostname = (host)})

void send_recipients_done(struct send_recipients *r);

/* Adds every address of the list `text`, each only once. 0; -EINVAL (`bad`);
 * -E2BIG (more than SEND_RECIPIENTS_MAX); -ENOMEM. */
int send_recipients_add(struct send_recipients *r, struct span text);

/* One address, with what stands around it: the canonical form in the arena.
 * 0, -EINVAL, -ENOMEM. Empty, or "<>", is the null path: 0 with an empty
 * span. */
int send_recipients_qualify(struct send_recipients *r, struct span text, struct span *ret);
