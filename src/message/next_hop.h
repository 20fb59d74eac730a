/* A next hop as it is written everywhere, "[mailer:]host[:port]": in the
 * configuration, in tables, in the queue. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct next_hop {
        struct span mailer; /* "smtp", "esmtp", "lmtp", "local", "discard", "error"; default smtp */
        struct span host;   /* without brackets or last dot; a path for "unix:/path"; for local,
                             * discard and error whatever stands behind the colon */
        uint16_t port;      /* default 25; lmtp 24; 0 where there is none */
        bool is_host;       /* in brackets, or an address: no MX look-up */
        bool is_unix;
};

/* 0 or -EINVAL. Borrows from `text`. */
int next_hop_parse(struct span text, struct next_hop *ret);
