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
#include "message/address.h"
#include "message/next_hop.h"

enum route_kind { /* travels in ipc_recipient.kind: add, never renumber */
        ROUTE_LOCAL = 1,   /* a mailbox here: account, mailbox */
        ROUTE_RELAY = 2,   /* next_hop */
        ROUTE_DISCARD = 3, /* accepted and thrown away */
        ROUTE_ERROR = 4,   /* refuse: code, enhanced, text */
        ROUTE_EXPANDED = 5, /* never a route: an address that led to several, whose sender
                             * wants to hear of it (RFC 3461 section 5.2.7) */
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
        ENVELOPE_BY_NOTIFY = 1024, /* RFC 2852: tell of it when the time is over, and go on; */
        ENVELOPE_BY_RETURN = 2048, /* or return it; neither: no time was given */
        ENVELOPE_BY_TRACE = 4096,  /* and tell where it was handed on */
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

/* What an address became on its way: an alias, a virtual user. */
struct route_step {
        const struct route_step *earlier; /* NULL: this was the first */
        struct span rule, origin;         /* "aliases", "aliases:12" */
        struct span rcpt_to, next;        /* before and after */
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
        const struct route_step *steps; /* what it was before, the last first; NULL: as given */
};

enum {
        ROUTES_MAX = 1000,    /* that one address may lead to */
        ROUTE_DEPTH_MAX = 10, /* aliases behind one another */
};

/* Where one address leads: a mailbox or next hop, or by an alias several. */
struct route_list {
        struct route *items;
        size_t count;            /* 1 to ROUTES_MAX */
        struct span rcpt_to;     /* as given, written as it is compared */
        bool is_ours;            /* as given: anybody may send there */
        struct span return_path; /* by an alias "owner-…": who is told of failures; else empty */
};

/* Routes an address (local part and domain as given at RCPT) in the order of
 * sendmail:
 *
 *   virtusertable, for our own domains (domains, our hostname, relay_domains);
 *   aliases, for the local ones; what they lead to begins here again
 *   mailertable by the domain's own name
 *   local domains, among them our hostname: a user of the snapshot, also as
 *     user+detail; postmaster and abuse always (RFC 5321 section 4.5.1, RFC
 *     2142), their mailboxes made on demand; anybody with users.auto_create;
 *     else local_relay where there is one; else refused with 550 5.1.1
 *   mailertable by a wider name
 *   relay_domains: to local_relay, smart_host or the MX
 *   all else: to smart_host or the MX; an address literal to that address
 *
 * A missing domain, "localhost" and an address literal of ours mean the first
 * of our own domains; within an alias, first the domain that was addressed.
 * U-labels become A-labels. What cannot be routed is no failure of this
 * function: it gives ROUTE_ERROR. `s` NULL (not compiled yet) gives a
 * ROUTE_ERROR of 451.
 *
 * An alias that leads nowhere at all gives one ROUTE_ERROR. Where only some of
 * its recipients are errors, they become routes to the next hop "error:550
 * 5.1.1 text": the queue returns them to the sender, and the others get their
 * mail. An alias that names itself in its own list means the mailbox; one that
 * leads back to itself by others adds nobody, and is an error that names the
 * circle when nobody else is left. More than ROUTES_MAX recipients are one
 * ROUTE_ERROR.
 *
 * `address`: what address_parse() made of `rcpt_to`, or NULL.
 *
 * Spans of `ret_list` live in `arena`, the configuration, the snapshot or
 * static memory, or are those of `rcpt_to`. 0, or -ENOMEM. */
int route_expand(const struct config *c, const struct snapshot *s, struct span rcpt_to,
                 const struct address *address, struct arena *arena, struct route_list *ret_list);

/* The same for who needs one place only: the first. */
int route_recipient(const struct config *c, const struct snapshot *s, struct span rcpt_to,
                    struct arena *arena, struct route *ret_route);

/* Whether an address literal ("[192.0.2.1]", "[IPv6:2001:db8::1]") is this
 * address (16 octets, IPv4 mapped): a session knows by which of our addresses
 * it was reached, and gives the domain as empty when the literal is that one. */
bool route_literal_is(struct span literal, const unsigned char address[16]);

/* The domain of an address as it is compared: A-labels, lower case, without the
 * root's dot. `out` holds ROUTE_DOMAIN_ROOM octets. False: no domain name. */
enum { ROUTE_DOMAIN_ROOM = 256 };
bool route_normalise_domain(struct span domain, char *out, size_t *ret_len);

/* Whether mail for this domain, as it is compared, is for us: one of domains,
 * relay_domains, or our own name. */
bool route_is_own_domain(const struct config *c, const struct snapshot *s, struct span domain);

/* Before confinement: loads what IDN conversion needs. 0 or -EIO. */
int route_warm_up(void);
