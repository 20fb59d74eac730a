/* Single DNS questions to libunbound, answered in the terms of net/dns/dns.h.
 *
 * libunbound works in a thread of its own; the loop hears of answers through a
 * descriptor. At most LOOKUPS_AT_WORK questions are in that thread, the others
 * wait in line here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "config/config.h"
#include "net/dns/dns.h"
#include "net/loop.h"

enum { LOOKUPS_AT_WORK = 512, LOOKUP_TIMEOUT_MS = 30 * 1000 };

struct lookups;
struct lookup;

struct lookup_answer {
        enum dns_status status; /* never DNS_NULL_MX: that is the caller's to see */
        bool is_secure;         /* DNSSEC proved the answer, or that there is none */
        bool is_alias;          /* the name is another one's (CNAME) */
        uint32_t ttl_s;
        size_t count;           /* of rdata; 0 unless DNS_OK */
        char **rdata;
        int *rdata_len;
};

/* What the configuration says is read here, trust anchors too: before
 * confinement. No thread runs yet. On failure `*ret_what` says what.
 * 0 or a negative errno. */
int lookups_new(struct loop *l, const struct config *config, struct lookups **ret_l,
                const char **ret_what);

/* Starts the thread: after confinement, so that it is confined too. */
int lookups_start(struct lookups *l);

/* Ends the thread. What was asked and neither answered nor cancelled never is
 * answered. Before the loop is freed. Accepts NULL. */
struct lookups *lookups_free(struct lookups *l);

/* Asks; `done` is called once, later, with an answer that lives until it
 * returns. `name` is dns_name_is_valid(). 0 or -ENOMEM. */
typedef void lookup_fn(void *arg, const struct lookup_answer *answer);
int lookup_new(struct lookups *l, struct span name, int type, lookup_fn *done, void *arg,
               struct lookup **ret_lookup);

/* Nobody wants to know any more. Accepts NULL. Not in `done`, not after it. */
struct lookup *lookup_cancel(struct lookup *lookup);

size_t lookups_at_work(const struct lookups *l);
size_t lookups_waiting(const struct lookups *l);
