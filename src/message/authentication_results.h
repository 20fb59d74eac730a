/* Authentication-Results (RFC 8601): whose word it is.
 *
 * Pure. */
#pragma once

#include <stdbool.h>

#include "base/span.h"

/* Whether a field's value claims to be of this authserv-id: one that came from
 * elsewhere is a forgery (section 5). Comments may stand in front, the id may
 * be quoted; ASCII case does not matter. */
bool authentication_results_is_of(struct span value, struct span authserv_id);
