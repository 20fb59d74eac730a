/* The message that a local program hands over, made ready for SMTP: CRLF line
 * ends, the header fields that a submission server adds (RFC 6409 section 8),
 * recipients taken from the header. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "ctl/send_recipients.h"

enum { SEND_MESSAGE_MAX = 1024 * 1024 * 1024 };

/* Reads a message from `fd` to its end or, unless `ignores_dots`, to a line
 * that is only a dot. LF and CRLF end a line; other CRs are dropped, as no
 * line end may be read two ways. 0, -EMSGSIZE, -errno. */
int send_message_read(int fd, bool ignores_dots, struct buffer *text);

/* Takes the recipients from To, Cc and Bcc, or, where there is one of them,
 * from Resent-To, Resent-Cc and Resent-Bcc. As send_recipients_add(). */
int send_message_recipients(struct span text, struct send_recipients *r);

/* What is added where it is missing. */
struct send_origin {
        struct span header_from; /* the address, without <> */
        struct span full_name;   /* may be empty */
        struct span hostname;
        uint64_t now_us;
        uint64_t unique; /* random: for the Message-ID */
};

/* Writes the message with From, Date and Message-ID, if `removes_bcc` without
 * Bcc and Resent-Bcc, and with an empty line between header and text, to
 * `out`. A first line "From …" of mbox files is taken out. 0, -EMSGSIZE (the
 * header is too large to be read), or as buffer_append(). */
int send_message_complete(struct span text, bool removes_bcc, const struct send_origin *origin,
                          struct buffer *out);
