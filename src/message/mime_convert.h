/* Makes a message that came as BODY=BINARYMIME (RFC 3030) one of lines: parts
 * that are binary become base64, and say so in their header.
 *
 * Pure, and fed with octets as they come: kept are one header and one line's
 * beginning, so that a message of any size is converted in bounded memory. The
 * parts are those that mime.h sees. What needs no conversion comes out octet by
 * octet as it went in. */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/span.h"

struct mime_convert;

/* `may_have_nul`: in parts that are lines. NULL: no memory. */
struct mime_convert *mime_convert_new(bool may_have_nul);
struct mime_convert *mime_convert_free(struct mime_convert *c);

/* The next octets of the message; appends to `out`, whose limit should leave
 * room for a header of HEADER_SIZE_MAX and twice the octets fed. 0; -EBADMSG: a
 * header, or a part that claims to be lines, has a bare CR or LF, or a NUL, or
 * a binary part lies deeper than is looked; -EMSGSIZE: a header beyond
 * HEADER_SIZE_MAX, or `out` is full; -ENOMEM. After an error all calls give it
 * again. */
int mime_convert_feed(struct mime_convert *c, struct span octets, struct buffer *out);

/* The message is whole. As feed. */
int mime_convert_end(struct mime_convert *c, struct buffer *out);

/* Parts that became base64 so far. */
unsigned mime_convert_parts(const struct mime_convert *c);

/* One of them was signed as it was: within multipart/signed (RFC 1847), or by a
 * DKIM-Signature of the whole message (RFC 6376), and is so no more. */
bool mime_convert_breaks_signature(const struct mime_convert *c);
