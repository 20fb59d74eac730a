/* What a rule of policy says: go on, or refuse with these words, and where the
 * rule stands.
 *
 * Texts are static or live in the configuration that was judged by. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct verdict {
        uint16_t code;        /* SMTP reply code; 0: go on */
        struct span enhanced; /* "5.7.1" */
        struct span text;
        struct span rule, origin; /* set also when the rule allowed it */
};

static inline bool verdict_is_refusal(const struct verdict *v)
{
        return v->code != 0;
}
