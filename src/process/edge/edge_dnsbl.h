/* The lists of client addresses in DNS as this edge knows them: whether each is
 * in order, found out by asking for what it must and must not list (RFC 5782
 * section 5), and by its answers.
 *
 *   UNKNOWN --tested--> GOOD <--recovered-- OFF     (lists everything, refuses us)
 *                        |  ^
 *                outages v  | an answer, or time
 *                       DOWN                        (does not answer)
 *
 * What one edge finds out the others take over from the shared meters: that a list
 * is OFF or DOWN; that it is in order again each finds out by its own tests.
 *
 * Nothing changes in silence: each step is a warning in the log. */
#pragma once

#include "policy/dnsbl.h"
#include "process/edge/edge_dns.h"

struct edge;
struct buffer;

enum edge_dnsbl_state {
        EDGE_DNSBL_UNKNOWN, EDGE_DNSBL_GOOD, EDGE_DNSBL_DOWN, EDGE_DNSBL_OFF,
};

enum { EDGE_DNSBL_MS = 8 * 1000 }; /* how long an answer is waited for */

/* One list; it lives until the process ends, also when it is not configured any
 * more. */
struct edge_dnsbl {
        struct list_node node; /* edge.dnsbls */
        struct edge *edge;
        enum edge_dnsbl_state state;
        struct edge_dns_question *tests[2];
        uint64_t test_at_ms; /* not before */
        unsigned outages;    /* one after the other */
        unsigned test_outages;
        bool is_test_bad;    /* one of the tests under way says that it is not in order */
        bool lists_nothing;
        uint64_t own_until_ms; /* it was found in order here: others' word counts later again */
        char reason[160];    /* why it is DOWN or OFF */
        uint64_t asked, listed;
        size_t zone_len;
        char zone[];
};

/* The list of a zone, tested when its time has come. NULL: no memory. */
struct edge_dnsbl *edge_dnsbl_get(struct edge *e, struct span zone);

static inline struct span edge_dnsbl_zone(const struct edge_dnsbl *l)
{
        return span_make(l->zone, l->zone_len);
}

/* What the configuration says of it now; NULL: nothing any more. */
const struct config_dnsbl *edge_dnsbl_config(const struct edge_dnsbl *l);

/* What an answer means, and what is learned from it. DNS_NXDOMAIN and
 * DNS_NODATA are DNSBL_UNLISTED. `ret_address`: the record that decided.
 * -EAGAIN: no answer. */
int edge_dnsbl_learn(struct edge_dnsbl *l, const struct edge_dns_answer *answer,
                     enum dnsbl_answer *ret_answer, unsigned char ret_address[4]);

void edge_dnsbl_free_all(struct edge *e);

/* Rows of `hayauma status`: "dnsbl_off_bl.example.net" for lists that are not
 * in order. */
void edge_dnsbl_status(const struct edge *e, struct buffer *items, struct ipc_items *ret);
