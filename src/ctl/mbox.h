/* Messages in mbox files (RFC 4155; mboxrd quoting).
 *
 * A message starts with a line "From address date" at the beginning of the
 * file or behind an empty line; in text, lines of any number of ">" and
 * "From " have one more ">" in the file. A line that starts with "From " and
 * has no date is text: programs that do not quote write such. Flags stand in
 * the header fields Status and X-Status, as mail readers have written them;
 * reading takes them out, writing puts them first.
 *
 * Lines end in LF in the file and in CRLF in the messages. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/span.h"

struct mbox_reader {
        FILE *in;      /* the caller's */
        char *line;    /* the line read last; freed by mbox_reader_done() */
        size_t room, len;
        uint64_t line_number;
        uint64_t next_at_us; /* the date of the From_ line that was met */
        bool has_from;       /* `line` is the From_ line of the next message */
        bool is_old_from;
};
#define MBOX_READER_INIT(file) ((struct mbox_reader) {.in = (file)})
void mbox_reader_done(struct mbox_reader *r);

/* Reads the next message into `message`, which is cleared first. `*ret_at_us`
 * is the date of its From_ line, `*ret_flags` of enum message_flag. 1; 0 at
 * the end; -EBADMSG (line `line_number`: this is no mbox file); -EMSGSIZE (more
 * than the buffer may hold; the next call goes on with the next message);
 * -EIO. */
int mbox_read(struct mbox_reader *r, struct buffer *message, uint64_t *ret_at_us,
              uint32_t *ret_flags);

/* Appends a message. The address in the From_ line is that of a Return-Path
 * field if the message starts with one. 0 or -EIO. */
int mbox_write(FILE *out, struct span message, uint64_t at_us, uint32_t flags);
