/* Another form for who cannot take the one a message has (RFC 3030 section 3,
 * RFC 6152 section 3): the parts that need it get a transfer encoding (RFC 2045
 * sections 6.2 to 6.8), quoted-printable where they are text with proper lines,
 * else base64, and say so in their header. All else stays octet by octet.
 *
 * Pure, and fed with octets as they come. The parts are those that mime.h sees. */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/span.h"

/* What it is to become:
 *   lines, for a mailbox: parts labelled binary become base64, and what claims to
 *     be lines must be. Kept are one header and one line's beginning, whatever the
 *     message's size;
 *   lines of at most 998 octets, or those and of ASCII alone, for a host that
 *     takes no more: by what the parts hold, not by what they say. Kept is one
 *     part. */
enum mime_convert_to { MIME_CONVERT_TO_LINES, MIME_CONVERT_TO_8BIT, MIME_CONVERT_TO_7BIT };

struct mime_convert;

/* `may_have_nul`: in parts that are lines, with MIME_CONVERT_TO_LINES. NULL: no
 * memory. */
struct mime_convert *mime_convert_new(enum mime_convert_to to, bool may_have_nul);
struct mime_convert *mime_convert_free(struct mime_convert *c);

/* The next octets of the message; appends to `out`, whose limit should leave
 * room for a header of HEADER_SIZE_MAX and twice the octets fed, or thrice a
 * part where parts are kept. 0, or
 *   -EBADMSG (to lines): a header, or a part that claims to be lines, has a bare
 *     CR or LF, or a NUL, or a binary part lies deeper than is looked;
 *   -ENOTSUP (else): no transfer encoding can do it: a header or what stands
 *     between parts is not fit, an encoding stands around parts or is unknown, or
 *     parts lie too deep;
 *   -EMSGSIZE: a header beyond HEADER_SIZE_MAX, or `out` is full; -ENOMEM.
 * After an error all calls give it again. */
int mime_convert_feed(struct mime_convert *c, struct span octets, struct buffer *out);

/* The message is whole. As feed. */
int mime_convert_end(struct mime_convert *c, struct buffer *out);

/* Parts that got another encoding so far. */
unsigned mime_convert_parts(const struct mime_convert *c);

/* Something was signed as it was, and is so no more: within multipart/signed
 * (RFC 1847), or the whole message (RFC 6376 section 5.3, RFC 8617). */
bool mime_convert_breaks_signature(const struct mime_convert *c);
