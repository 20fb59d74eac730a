/* Which endpoints are this host's own: mail that an MX record leads there would
 * come back to us (RFC 5321 section 5.1). */
#pragma once

#include <stdbool.h>

#include "config/config.h"
#include "net/endpoint.h"

/* Reads the addresses of the interfaces: before confinement, once. 0, -ENOMEM,
 * or what getifaddrs() said. */
int relay_own_init(void);

/* Whether an SMTP listener of this configuration takes what is sent to `at`. */
bool relay_own_is(const struct config *c, const struct endpoint *at);
