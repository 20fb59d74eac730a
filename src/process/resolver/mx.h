/* Where a domain's mail goes: MX records, then the addresses of each host
 * (RFC 5321 section 5.1); or a single host's addresses.
 *
 *   - No MX record: the domain itself is its one host, preference 0.
 *   - One MX record "0 .": DNS_NULL_MX (RFC 7505).
 *   - A host whose addresses cannot be had now is listed without; only if no
 *     host has any is that the status of the whole.
 *   - DNS_NODATA with hosts: there are MX records, and none has an address.
 *   - Forged answers (DNS_BOGUS) are never used, and never final.
 *   - TLSA records of each host, where they are wanted and the way there is
 *     signed: enum mx_tlsa.
 *   - localhost and what ends in .localhost is this host (RFC 6761 section
 *     6.3), without a question. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "net/dns/dns.h"
#include "process/resolver/lookup.h"

enum { MX_HOSTS_MAX = 64, MX_ADDRESSES_MAX = 16 };

/* What TLSA records say of a host (RFC 7672 section 2.2). */
enum mx_tlsa { /* numbers travel in `mx_host` */
        MX_TLSA_NONE = 0,     /* none, or DNSSEC does not vouch for the way there */
        MX_TLSA_USABLE = 1,   /* `tlsa` */
        MX_TLSA_UNUSABLE = 2, /* there are some, and none that we can use: TLS without a check */
        MX_TLSA_FAILED = 3,   /* could not be asked for: the host must not be used now */
};
enum { MX_TLSA_MAX = 4096 }; /* octets of a host's records; more are left out */

struct mx_host {
        uint16_t preference;
        bool is_secure; /* every address was proved */
        bool is_alias;  /* its name is another's, which RFC 2181 section 10.3 forbids an MX */
        enum mx_tlsa tlsa_state;
        size_t tlsa_len;
        unsigned char *tlsa; /* as struct tls_check has them */
        char name[DNS_NAME_MAX + 1];
        unsigned ipv4_count, ipv6_count;
        unsigned char ipv4[MX_ADDRESSES_MAX][4], ipv6[MX_ADDRESSES_MAX][16];
};

struct mx_answer {
        enum dns_status status;
        bool is_secure; /* the list of hosts was proved; each host says for itself */
        uint32_t ttl_s;
        struct mx_host *hosts; /* by preference */
        size_t count;
};

struct mx;

/* Asks; `done` is called once, later, never from within. `name` is
 * dns_name_is_valid(). 0 or -ENOMEM. */
typedef void mx_fn(void *arg, const struct mx_answer *answer);
struct mx_question {
        struct span name;
        bool is_host; /* no MX look-up */
        uint16_t tlsa_port; /* TLSA records are wanted of this port; 0: none are */
        mx_fn *done;  /* the answer lives until it returns */
        void *arg;
};
int mx_new(struct loop *loop, struct lookups *lookups, const struct mx_question *question,
           struct mx **ret_mx);

/* Nobody wants to know any more. Accepts NULL. Not in `done`, not after it. */
struct mx *mx_cancel(struct mx *mx);
