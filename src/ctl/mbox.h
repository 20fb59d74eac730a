/* Messages in mbox files (RFC 4155; mboxrd quoting).
 *
 * A message starts with a line "From address date" at the beginning of the
 * file or behind an empty line; in text, lines of any number of ">" and
 * "From " have one more ">" in the file. A line that starts with "From " and
 * has no date is text: programs that do not quote write such. Flags stand in
 * the header fields Status and X-Status, keywords in X-Keywords, the UID in
 * X-UID, and in the first message UIDVALIDITY and the last UID in X-IMAPbase,
 * as mail readers and Dovecot write them; reading takes all of them out,
 * writing puts them first.
 *
 * Lines end in LF in the file and in CRLF in the messages. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/span.h"
#include "ctl/transfer.h"

struct mbox_reader {
        FILE *in;      /* the caller's */
        char *line;    /* the line read last; freed by mbox_reader_done() */
        size_t room, len;
        uint64_t line_number;
        uint64_t next_at_us; /* the date of the From_ line that was met */
        bool has_from;       /* `line` is the From_ line of the next message */
        bool is_folder_data; /* the message read last is none, but the program's own */
        uint32_t uid_validity, uid_last; /* of X-IMAPbase or X-IMAP; 0: not said */
};
#define MBOX_READER_INIT(file) ((struct mbox_reader) {.in = (file)})
void mbox_reader_done(struct mbox_reader *r);

/* Reads the next message, which is cleared first. 1; 0 at the end; -EBADMSG
 * (line `line_number`: this is no mbox file); -EMSGSIZE (more than the buffer
 * may hold; the next call goes on with the next message); -EIO. */
int mbox_read(struct mbox_reader *r, struct transfer_message *message);

/* Appends a message; the first of a file tells `uid_validity` and `uid_next`
 * unless they are 0, and each its UID then. The address in the From_ line is
 * that of a Return-Path field if the message starts with one. 0 or -EIO. */
struct mbox_writer {
        FILE *out; /* the caller's */
        uint32_t uid_validity, uid_next;
        bool has_begun;
};
int mbox_write(struct mbox_writer *w, const struct transfer_message *message);
