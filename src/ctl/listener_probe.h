/* What the listeners of a running server really serve: each is asked as any client
 * would ask it, over TCP, up to the end of the TLS handshake. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "net/tls/tls.h"

enum { LISTENER_PROBE_TEXT_MAX = 200, LISTENER_PROBE_WARN_DAYS = 14 };

struct listener_probe {
        char trouble[LISTENER_PROBE_TEXT_MAX]; /* "" where it answered as it should */
        bool has_tls;
        char version[16], cipher[64];
        char names[TLS_NAMES_MAX]; /* of the certificate that was shown */
        int64_t ends_at;           /* seconds since 1970 */
};

/* Asks one listener, for `server_name`. Takes at most some seconds. False: it is of
 * no kind that can be asked (a Unix socket, HTTP). */
bool listener_probe(const struct config_listen *l, struct span server_name,
                    struct listener_probe *ret);

/* Names to ask for: our own, and the first of each of tls.more_certificates that can
 * be read. Returns how many were written to `names`. */
size_t listener_probe_names(const struct config *c, char (*names)[TLS_NAMES_MAX], size_t max);
