/* Lists of client addresses in DNS (RFC 5782): the name that is asked for, and
 * what an answer means. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

enum { DNSBL_NAME_ROOM = 254, DNSBL_MESSAGE_ROOM = 400 };

enum dnsbl_answer {
        DNSBL_UNLISTED,
        DNSBL_LISTED,
        DNSBL_UNWANTED, /* listed, with an answer that the configuration does not name */
        DNSBL_REFUSING, /* 127.255.255.x: the list does not serve us */
        DNSBL_STRANGE,  /* outside 127.0.0.0/8: the zone belongs to somebody else by now */
};

/* The name that says whether `address` (16 octets, IPv4 mapped) is listed: its
 * octets, or the nibbles of IPv6, backwards in front of the zone (sections 2.1
 * and 2.4). False: too long. */
bool dnsbl_name(const unsigned char address[16], struct span zone, char *out, size_t *ret_len);

/* What one A record of 4 octets means. The answer of several: the largest. */
enum dnsbl_answer dnsbl_judge(const struct config_dnsbl *d, const unsigned char rdata[4]);

/* The first text of a TXT record as one line of printable ASCII in `out`; empty
 * for what is none. */
size_t dnsbl_reason(struct span rdata, char *out, size_t room);

/* What the client is told: d->message with %a, %z and %r replaced. */
size_t dnsbl_message(const struct config_dnsbl *d, struct span client, struct span reason,
                     char *out, size_t room);
