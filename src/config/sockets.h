/* Next hops that are Unix sockets ("lmtp:unix:/path"). Processes that speak to the
 * network reach no path: the supervisor connects for them, and only to those that the
 * configuration names. */
#pragma once

#include "config/config.h"

/* Whether mail may go to this socket: one of lmtp_sockets, or what smart_host or
 * local_relay says. */
bool sockets_may_reach(const struct config *c, struct span path);
