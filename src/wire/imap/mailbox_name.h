/* Mailbox names on the wire: modified UTF-7 (RFC 3501 section 5.1.3), and the
 * patterns of LIST. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/span.h"

/* Three octets of UTF-8 may come from fewer than three of base64. */
#define MAILBOX_NAME_DECODED_MAX(in_len) (2 * (in_len) + 4)

/* To UTF-8. Strict: only what the encoder would write is taken, so that one
 * mailbox has one name. 0 or -EINVAL. */
int mailbox_name_decode(struct span in, char *out, size_t *ret_len);

/* Valid UTF-8 to modified UTF-7. 0, or as buffer_append(). */
int mailbox_name_encode(struct span in, struct buffer *out);

/* "*" stands for anything, "%" for anything without "/". INBOX as the first
 * level matches without regard to case. Time grows with the product of both
 * lengths, not faster. */
bool mailbox_name_matches(struct span name, struct span pattern);
