/* SMTP DATA transparency, receiving side.
 *
 * Takes the dot off each line that starts with one (RFC 5321 section 4.5.2)
 * and finds the end of the mail data, CRLF "." CRLF (section 4.1.1.4). Nothing
 * is copied: message text comes out as spans of the input, as long as they can
 * be, so a message without stuffed dots costs one span a read.
 *
 * Pure: no I/O, no clock, no allocation, nothing to free. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

/* The decoder of one mail transaction. Embed it; start from DOT_DECODER_INIT. */
struct dot_decoder {
        int state;         /* private to dot_decode.c */
        bool bad_line_end; /* a bare CR or LF was seen: refuse the message */
};
#define DOT_DECODER_INIT ((struct dot_decoder) {0})

/* Decodes the next run of `in`, cut wherever the network cut it. Call it again
 * with what it did not use until it used all, or returned true.
 *
 * Returns true once the end of the mail data was read; the decoder is then
 * spent. If the client pipelined, `*ret_in_used` is less than `in.len`: the
 * rest is its next command. `*ret_text` is message text, the octets of `in` it
 * stands for all used; it borrows from `in` or from a literal (a CR that the
 * network parted from its LF) and may be empty.
 *
 * A bare CR or LF ends no line (section 2.3.8). It sets `bad_line_end`, and
 * `*ret_text` is empty from then on; but decoding runs to the true end, since
 * to stop early would read message text as commands (SMTP smuggling). How much
 * text came out before that may depend on the cuts: it is to be thrown away. */
bool dot_decode(struct dot_decoder *d, struct span in, size_t *ret_in_used, struct span *ret_text);
