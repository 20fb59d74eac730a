/* Limits a peer runs into (RFC 5321 section 7.8): pure verdicts over the configuration and counts
 * that the caller keeps. 0 in the configuration means no limit. */
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

/* A header section above limits.header_size, or above limits.header_fields.
 * 552 5.3.4. */
struct verdict limits_header(const struct config *c);
struct verdict limits_header_fields(const struct config *c);

/* Messages of a client in the running minute, this one included. 451 4.7.1. */
struct verdict limits_messages(const struct config *c, unsigned count);

/* Recipients of a client in the running minute. 451 4.7.1. */
struct verdict limits_recipients(const struct config *c, unsigned count);

/* How many recipients a message may have, where the caller has `room` for so many;
 * and what is said to the one that is too many. 452 4.5.3. */
unsigned limits_recipients_max(const struct config *c, unsigned room);
struct verdict limits_message_recipients(const struct config *c);

/* The size of a message as announced with MAIL (RFC 1870 section 6.1), 0: not
 * announced. 552 5.3.4. */
struct verdict limits_message_size(const struct config *c, uint64_t size);

/* Messages, or recipients, of one envelope sender in the running minute. 451
 * 4.7.1. */
struct verdict limits_sender_messages(const struct config *c, unsigned count);
struct verdict limits_sender_recipients(const struct config *c, unsigned count);

/* Octets of messages that the process holds in memory: above limits.body_memory no
 * other begins. 452 4.3.1. */
struct verdict limits_body_memory(const struct config *c, uint64_t held);

/* Refused commands of a client in the running minute. 421 4.7.0. */
struct verdict limits_errors(const struct config *c, unsigned count);

/* What the client was too slow with: no whole command, no octets of a message, too
 * few of them, no TLS. 421 4.4.2. */
enum limits_slow { LIMITS_SLOW_COMMAND, LIMITS_SILENT_DATA, LIMITS_SLOW_DATA, LIMITS_SLOW_TLS };
struct verdict limits_slow(const struct config *c, enum limits_slow what);

/* How long a connection lasts: above limits.connection_time 421 4.4.2. */
struct verdict limits_connection_time(const struct config *c, uint64_t age_ms);

/* A client that spoke before the greeting, or behind a command whose answer it
 * had to wait for. 554 5.5.0. */
struct verdict limits_turn(const struct config *c, bool is_early);
