/* What a message that enters the mail system here may lack and must have: Date,
 * From (RFC 5322 section 3.6) and Message-ID. Added for who submits a message
 * (RFC 6409 section 8), never for one that other servers pass on. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "message/header.h"

struct edge_complete {
        bool is_wanted;
        uint64_t message_id;  /* of ours, becomes the field's left side */
        uint64_t arrived_us;
        struct span hostname;
        struct span mail_from; /* empty: no From is made up */
        struct span set_by;    /* a local user who is somebody else; empty: nobody to warn of */
};

/* Appends the warning, where there is cause, and the fields that `summary` has not,
 * each with its CRLF. The id within "<…>", when one was made, is in `*ret_id`, which
 * borrows from `out`. 0, or as buffer_append(). */
int edge_complete(const struct edge_complete *c, const struct header_summary *summary,
                  struct buffer *out, struct span *ret_id);
