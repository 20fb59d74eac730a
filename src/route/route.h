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
        ENVELOPE_PRIORITY_SHIFT = 16, /* five bits: MT-PRIORITY + 10, 0: not given (RFC 6710) */
        ENVELOPE_POSTMASTER = 512, /* about a notification: the last, nothing follows it */
};

static inline uint32_t envelope_with_priority(int priority)
{
        return (uint32_t) (priority + 10) << ENVELOPE_PRIORITY_SHIFT;
}

static inline bool envelope_has_priority(uint32_t flags)
{
        return (flags >> ENVELOPE_PRIORITY_SHIFT & 31) != 0;
}

/* -9 to 9; 0 where none was given, and for what no release writes. */
static inline int envelope_priority(uint32_t flags)
{
        const int n = (int) (flags >> ENVELOPE_PRIORITY_SHIFT & 31);

        return n >= 1 && n <= 19 ? n - 10 : 0;
}

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
        bool is_ours;         /* a local or relay domain: anybody may send there */
        struct span rule, origin; /* which rule decided, and where it stands */
};

/* Routes an address (local part and domain as given at RCPT) in this order:
 *
 *   local domains, among them our hostname: a user of the snapshot, also as
 *     user+detail; postmaster and abuse always (RFC 5321 section 4.5.1, RFC
 *     2142), their mailboxes made on demand; anybody with users.auto_create;
 *     else local_relay where there is one; else refused with 550 5.1.1
 *   relay_domains: to local_relay, smart_host or the MX
 *   all else: to smart_host or the MX; an address literal to that address
 *
 * A missing domain, "localhost" and an address literal of ours mean the first
 * of our own domains. U-labels become A-labels. What cannot be routed is no
 * failure of this function: it gives ROUTE_ERROR. `s` NULL (not compiled yet)
 * gives a ROUTE_ERROR of 451.
 *
 * Spans of `ret_route` live in `arena`, the configuration, the snapshot or
 * static memory, or are those of `rcpt_to`. 0, or -ENOMEM. */
int route_recipient(const struct config *c, const struct snapshot *s, struct span rcpt_to,
                    struct arena *arena, struct route *ret_route);

/* Whether an address literal ("[192.0.2.1]", "[IPv6:2001:db8::1]") is this
 * address (16 octets, IPv4 mapped): a session knows by which of our addresses
 * it was reached, and gives the domain as empty when the literal is that one. */
bool route_literal_is(struct span literal, const unsigned char address[16]);

/* Before confinement: loads what IDN conversion needs. 0 or -EIO. */
int route_warm_up(void);

/* The parts of a next hop, "[mailer:]host[:port]" (ARCHITECTURE section 6). */
struct next_hop {
        struct span mailer; /* "smtp", "esmtp", "lmtp", "local", "discard", "error"; default smtp */
        struct span host;   /* without brackets or last dot; a path for "unix:/path"; for local,
                             * discard and error whatever stands behind the colon */
        uint16_t port;      /* default 25; lmtp 24; 0 where there is none */
        bool is_host;       /* in brackets, or an address: no MX look-up */
        bool is_unix;
};
/* 0 or -EINVAL. Borrows from `text`. */
int next_hop_parse(struct span text, struct next_hop *ret);
