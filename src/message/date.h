/* Reading date-time of RFC 5322 sections 3.3 and 4.3. Pure. */
#pragma once

#include <stdint.h>

#include "base/span.h"

/* Seconds since 1970 UTC, and the day (since 1970) that is written there, its
 * zone disregarded. Names of days, comments and seconds may be missing; a zone
 * that is unknown is UTC. 0 or -EINVAL. */
int date_parse(struct span text, int64_t *ret_at_s, int64_t *ret_day);
