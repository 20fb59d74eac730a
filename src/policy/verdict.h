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

/* "552 5.3.4 Message too big", which outlives the verdict. */
static inline void verdict_set_reply(struct verdict *v, const char *reply)
{
        struct span text = span_from_string(reply), code;

        (void) span_split(&text, ' ', &code);
        (void) span_split(&text, ' ', &v->enhanced);
        v->text = text;
        v->code = 0;
        for (size_t i = 0; i < code.len; i++)
                v->code = (uint16_t) (v->code * 10 + (code.p[i] - '0'));
}

static inline bool verdict_is_refusal(const struct verdict *v)
{
        return v->code != 0;
}
