/* Where a recipient's mail goes: address to next hop.
 *
 * Pure: asks the configuration and the snapshot, both in memory. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "config/config.h"
#include "config/snapshot.h"

enum route_kind { /* travels in ipc_recipient.kind: add, never renumber */
        ROUTE_LOCAL = 1,   /* a mailbox here: account, mailbox */
        ROUTE_RELAY = 2,   /* next_hop */
        ROUTE_DISCARD = 3, /* accepted and thrown away */
        ROUTE_ERROR = 4,   /* refuse: code, enhanced, text */
};

/* Envelope flags that travel with a message (ipc_commit.flags, ipc_job.flags). */
enum envelope_flag {
        ENVELOPE_8BIT = 1,      /* BODY=8BITMIME */
        ENVELOPE_SMTPUTF8 = 2,  /* RFC 6531 */
        ENVELOPE_RET_FULL = 4,  /* RFC 3461 section 4.3 */
        ENVELOPE_RET_HDRS = 8,
        ENVELOPE_BINARY = 16,   /* RFC 3030 */
        ENVELOPE_REQUIRETLS = 32,
        ENVELOPE_LENT = 64,     /* the body is the lent file, not frames */
        ENVELOPE_BOUNCE = 128,  /* made here: no trace of a client */
        ENVELOPE_EACH = 256,    /* LMTP: every recipient is answered by itself */
};

enum notify_flag { /* RFC 3461 section 4.1; 0: not given */
        NOTIFY_NEVER = 1,
        NOTIFY_SUCCESS = 2,
        NOTIFY_FAILURE = 4,
        NOTIFY_DELAY = 8,
};

struct route {
        enum route_kind kind;
        struct span account;  /* ROUTE_LOCAL: canonical, lower case */
        struct span mailbox;  /* ROUTE_LOCAL */
        struct span rcpt_to;  /* what the next hop is told; differs after an alias */
        struct span next_hop; /* ROUTE_RELAY: "smtp:[192.0.2.1]:25", "smtp:example.jp" (by MX) */
        uint16_t code;        /* ROUTE_ERROR */
        struct span enhanced, text;
        struct span rule, origin; /* which rule decided, and where it stands */
};

/* Routes an address (local part and domain as given at RCPT) in the order:
 * local domains → relay_domains → smart_host → MX. Spans of `ret_route` live
 * in `arena`, the snapshot or static memory. 0, or -ENOMEM. */
int route_recipient(const struct config *c, const struct snapshot *s, struct span rcpt_to,
                    struct arena *arena, struct route *ret_route);

/* The parts of a next hop, "[mailer:]host[:port]" (ARCHITECTURE section 6). */
struct next_hop {
        struct span mailer; /* "smtp", "esmtp", "lmtp", "local", "discard", "error"; default smtp */
        struct span host;   /* without brackets; a path for "unix:/path" */
        uint16_t port;      /* default 25; lmtp 24 */
        bool is_host;       /* in brackets, or an address: no MX look-up */
        bool is_unix;
};
/* 0 or -EINVAL. Borrows from `text`. */
int next_hop_parse(struct span text, struct next_hop *ret);
