/* Destinations: what one text of a next hop means, or the hosts that the keeper
 * found behind several; the addresses and the connections to them. */
#pragma once

#include "base/buffer.h"
#include "net/endpoint.h"
#include "process/relay/relay_job.h"

enum {
        RELAY_ADDRESSES_MAX = 16, /* tried in one attempt; at most 32 */
        RELAY_HOST_MAX = 256,
};

struct relay_address {
        struct endpoint at;
        uint16_t preference;
        uint64_t failed_until_ms; /* after all others until then */
        char host[RELAY_HOST_MAX]; /* the MX's name; empty for an address literal */
        bool is_name_secure;  /* DNSSEC vouches for the name being an MX */
        uint8_t tlsa_state;   /* as in the resolver's answer */
        uint16_t tlsa_len;
        uint32_t tlsa_at;     /* in destination->tlsa */
};

struct relay_destination {
        struct relay *relay;
        struct table_node by_text;
        char *text;     /* the key of the job that made it, */
        char *next_hop; /* and where it goes: whose tls_policy counts */
        char *name; /* to ask the resolver for; NULL: the addresses are fixed */
        uint16_t port;
        bool is_host; /* no MX look-up */
        bool is_lmtp;
        bool is_tls_required; /* for messages with REQUIRETLS (RFC 8689) */

        struct relay_address *addresses;
        size_t address_count;
        struct buffer tlsa; /* records of all hosts */
        unsigned addresses_version; /* counts: indices of another one mean nothing */
        uint64_t addresses_until_ms;
        uint64_t fallback_until_ms; /* no host could be reached: straight to fallback_mx */
        uint64_t plain_until_ms; /* TLS failed there: none before */

        uint64_t query; /* under way; 0: none */
        struct table_node by_query;
        struct list_node waiting; /* jobs (in_connection) that wait for the answer */

        struct list_node pending; /* jobs (in_connection) that busy connections take next */
        size_t pending_count;
        struct timer *pending_timer; /* made when it is needed */
        struct list_node idle, busy; /* connections */
        size_t busy_count;
        uint64_t quick_ms; /* the last answer to the end of a message took so long */
};

/* The configuration has changed: what is known of hosts, and the connections
 * that stand, may not be what is wanted now. */
void relay_destinations_reload(struct relay *r);

/* Finds a connection for the job, or makes one, or answers it. */
void relay_destination_take(struct relay *r, struct relay_job *j);

/* The job that a connection takes behind the one it has sent; NULL: none waits. */
struct relay_job *relay_destination_next(struct relay_destination *d);

/* Takes a job that has no connection out of what it waits for. */
void relay_destination_forget(struct relay_job *j);

/* The resolver's answer; its end. */
void relay_on_mx_answer(struct channel *ch, void *arg, const union ipc_message *m, int *fd);
void relay_destinations_resolver_gone(struct relay *r);

/* Ends all idle connections (at stop). */
void relay_destinations_quit(struct relay *r);

/* The address to try next, of those whose bit is not in `tried`: the most
 * preferred that did not just fail; hosts of one preference share the load (RFC
 * 5321 section 5.1). Every address is good for once. -ENOENT: all were tried. */
int relay_destination_choose(const struct relay_destination *d, uint32_t tried, size_t *ret_index);

/* None of its hosts could be reached, or is known now: the job goes to the
 * fallback MX where there is one for it, else it is answered with this. */
void relay_destination_unreachable(struct relay_destination *d, struct relay_job *j,
                                   const char *enhanced, const char *text, const char *host);

/* Frees the destination where nothing needs it any more. */
void relay_destination_release(struct relay_destination *d);
