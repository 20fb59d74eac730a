/* The set of hosts that a domain's mail goes to, as the key of a destination:
 * domains with the same hosts in the same order of preference share one (RFC
 * 5321 section 5.1 orders them; the numbers themselves say nothing).
 *
 * By name, not by address: a host is who its name says, also for TLS. Pure. */
#pragma once

#include <stdbool.h>

#include "base/span.h"
#include "ipc/message.h"

enum { HOST_SET_KEY_MAX = 480 };

/* "mx:25:a.example,b.example>c.example": a and b before c; "mxs:" where DNSSEC
 * vouches for the names, since more is then wanted of TLS (RFC 7672). `hosts` are
 * ipc_mx_host, sorted by preference and name, in lower case. What is too long
 * ends in a hash of the whole. Lives in `out`. */
struct span host_set_key(struct ipc_items hosts, uint16_t port, bool are_secure,
                         char out[HOST_SET_KEY_MAX]);
