/* SMTP DATA transparency, sending side.
 *
 * Puts a dot in front of each line that starts with one (RFC 5321 section
 * 4.5.2) and ends the mail data with CRLF "." CRLF (section 4.1.1.4). A CR or
 * LF that stands alone becomes CRLF: we never send one (section 2.3.8), since
 * the next server might take it for the end of a line where others do not.
 *
 * Pure: no I/O, no allocation, nothing to free. */
#pragma once

#include <stddef.h>

#include "base/span.h"

/* The encoder of one message. Embed it; start from DOT_ENCODER_INIT. */
struct dot_encoder {
        int state; /* private to dot_encode.c */
};
#define DOT_ENCODER_INIT ((struct dot_encoder) {0})

/* Octets of room that `out` needs: each octet may become two, and a CR held
 * back by one call is written by the next. */
#define DOT_ENCODE_OUT_MAX(in_len) (2 * (in_len) + 2)
enum { DOT_ENCODE_END_MAX = 5 };

/* Encodes message octets, cut wherever the caller cut them, into `out`, which
 * does not overlap them. Returns how many octets were written. */
size_t dot_encode(struct dot_encoder *d, struct span in, char *out);

/* Ends the line, if one is open, and the mail data. Returns the octets written
 * to `out` (DOT_ENCODE_END_MAX). */
size_t dot_encode_end(struct dot_encoder *d, char *out);
