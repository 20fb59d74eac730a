/* The message ids in Message-ID, References and In-Reply-To (RFC 5322 section
 * 3.6.4), in one form, so that the same id compares equal however it was
 * written (RFC 5256 section 3). Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

enum { MESSAGE_ID_MAX = 998 }; /* octets; what is longer is no id */

/* Takes what stands in front of the next "<…>", and that, off `*rest`. Writes
 * the id without its brackets into `out`, which has room for MESSAGE_ID_MAX:
 * folds and blanks left out, quotes taken off. False: there is no more. */
bool message_id_next(struct span *rest, char *out, size_t *ret_len);
