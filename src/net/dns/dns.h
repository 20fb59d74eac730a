/* Typed DNS answers, and the records in them.
 *
 * What the resolver process found out about a question, in the terms that a
 * mail system decides by; and readers of the rdata of MX, A and AAAA (RFC 1035
 * section 3.3.9, 3.4.1; RFC 3596 section 2.2), which come from strangers.
 *
 * Pure: no I/O, no allocation. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* Numbers travel in `mx_answer`. */
enum dns_status {
        DNS_OK = 0,
        DNS_NXDOMAIN = 1, /* there is no such name */
        DNS_NODATA = 2,   /* there is, but nothing of what was asked for */
        DNS_SERVFAIL = 3, /* servers failed: ask again later */
        DNS_TIMEOUT = 4,  /* nobody answered in time: ask again later */
        DNS_BOGUS = 5,    /* DNSSEC says the answer is forged: as good as none, ask again later */
        DNS_NULL_MX = 6,  /* the domain says that it takes no mail (RFC 7505) */
        DNS_STATUS_END,
};

const char *dns_status_name(enum dns_status status); /* "nxdomain" */

/* Whether mail waits (temporary) rather than bounces. */
bool dns_status_is_temporary(enum dns_status status);

enum {
        DNS_NAME_MAX = 253, /* in text, without the last dot */
        DNS_TYPE_A = 1,
        DNS_TYPE_MX = 15,
        DNS_TYPE_TXT = 16,
        DNS_TYPE_AAAA = 28,
        DNS_TYPE_TLSA = 52,
        DNS_CLASS_IN = 1,
};

/* A domain name as mail uses it: labels of letters, digits, "-" and "_", each
 * of at most 63 octets, joined by dots, no dot at the end. */
bool dns_name_is_valid(struct span name);

struct dns_mx {
        uint16_t preference;
        char exchange[DNS_NAME_MAX + 1]; /* lower case, NUL-terminated; "" for the root */
};

/* rdata of an MX record, its name not compressed. 0; -EBADMSG for what is no
 * such record or whose exchange no host can have (dns_name_is_valid()). */
int dns_mx_parse(struct span rdata, struct dns_mx *ret_mx);

/* rdata of a TLSA record (RFC 6698 section 2.1). */
struct dns_tlsa {
        uint8_t usage, selector, matching;
        struct span data; /* borrows from the rdata */
};

/* 0; -EBADMSG: no such record, or none that SMTP can use (RFC 7672 section 3.1:
 * usages 2 and 3; a digest of the right length). */
int dns_tlsa_parse(struct span rdata, struct dns_tlsa *ret_tlsa);

/* rdata of an A or AAAA record: the right number of octets, and an address that
 * can be a mail server's: not unspecified, multicast or broadcast, and in IPv6
 * not an IPv4 address in disguise. 0 or -EBADMSG. */
int dns_a_parse(struct span rdata, unsigned char ret_address[4]);
int dns_aaaa_parse(struct span rdata, unsigned char ret_address[16]);
