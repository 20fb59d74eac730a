/* Limits a peer runs into (RFC 5321 section 7.8): pure verdicts over the configuration and counts
 * that the caller keeps. 0 in the configuration means no limit. What the SMTP
 * engine counts by itself (recipients, size, errors) is not here. */
#pragma once

#include <stdint.h>

#include "config/config.h"
#include "policy/verdict.h"

/* A connection, counted already: `total` of this process and `of_client` of
 * the client's network. `total_max` is this process's share of
 * limits.connections. 421. */
struct verdict limits_connection(const struct config *c, unsigned total, unsigned total_max,
                                 unsigned of_client);

/* Trace fields found in a message: above limits.received_hops it is going in
 * circles (RFC 5321 section 6.3). 554 5.4.6. */
struct verdict limits_hops(const struct config *c, unsigned received_fields);

/* A header section above limits.header_size. 552 5.3.4. */
struct verdict limits_header(const struct config *c);
