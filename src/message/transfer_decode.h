/* Taking transfer encodings off: RFC 2045 sections 6.7 and 6.8. Pure.
 *
 * Lenient, as a reader must be: octets that are not of the alphabet are passed
 * over in base64 and stay as they are in quoted-printable. */
#pragma once

#include "base/buffer.h"
#include "base/span.h"

/* Appends what `text` holds in `encoding` ("base64", "quoted-printable", "7bit",
 * "8bit", "binary", in lower case). 0; -ENOTSUP: another encoding; or as
 * buffer_append(). */
int transfer_decode(struct span encoding, struct span text, struct buffer *out);

int transfer_decode_base64(struct span text, struct buffer *out);

/* `is_word`: the Q encoding of RFC 2047, where "_" is a blank. */
int transfer_decode_quoted(struct span text, bool is_word, struct buffer *out);
