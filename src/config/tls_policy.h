/* How sure we must be of a server before mail goes there: the rows of the
 * option tls_policy.
 *
 *   destination level [match=name,…] [fingerprint,…]
 *
 *   "bank.example verify match=mx.bank.example"
 *   ".example.net encrypt"
 *   "[gateway.example.jp]:587 fingerprint 3F:2B:…"
 *   "* dane"
 *
 * A destination is the domain or host of the next hop, with brackets or
 * without, with a port or for all ports; ".example.net" is every name below
 * it, "*" everything. Of the rows that fit, the one that says most counts: the
 * host with the port, the host, the longest ".suffix", "*". Where none fits,
 * it is as for "* dane".
 *
 * Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

enum tls_level { /* numbers are not stored */
        TLS_LEVEL_NONE,        /* no TLS */
        TLS_LEVEL_MAY,         /* where it is offered, with any certificate (RFC 7435) */
        TLS_LEVEL_ENCRYPT,     /* TLS or nothing, with any certificate */
        TLS_LEVEL_VERIFY,      /* an authority of tls.ca vouches for the name */
        TLS_LEVEL_FINGERPRINT, /* this certificate or this key and no other */
        TLS_LEVEL_DANE,        /* as TLSA records say (RFC 7672); without any: MAY */
        TLS_LEVEL_DANE_ONLY,   /* as TLSA records say; without any: nothing goes there */
};

enum { TLS_POLICY_NAMES_MAX = 16, TLS_POLICY_FINGERPRINTS_MAX = 8, TLS_FINGERPRINT_LEN = 32 };

struct tls_policy {
        struct span host;  /* without brackets; "*"; or with a dot in front */
        uint16_t port;     /* 0: all */
        enum tls_level level;
        struct span match; /* VERIFY: names to be found instead of the destination's, commas
                            * between them; ".example.net" is any name below it */
        struct span fingerprints; /* SHA-256 in hexadecimal, commas between them */
};

const char *tls_level_name(enum tls_level level); /* "dane-only" */

/* One row; borrows from `text`. 0, or -EINVAL with what is wrong in `*ret_why`. */
int tls_policy_parse(struct span text, struct tls_policy *ret, const char **ret_why);

/* What counts for this host or domain and port; its host is empty where no row
 * fits. */
struct tls_policy tls_policy_find(const struct config_list *rows, struct span host, uint16_t port);

/* The next fingerprint of `*rest` (start with policy.fingerprints); false at
 * the end. */
bool tls_policy_next_fingerprint(struct span *rest, unsigned char out[TLS_FINGERPRINT_LEN]);
