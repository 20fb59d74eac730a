/* Trace fields: RFC 5321 section 4.4. Pure; the time is passed in.
 *
 * Everything a peer may have chosen is cleaned on the way in: no field can be
 * ended, no comment left, by what stands in it. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

/* One hop. Empty spans are left out. */
struct trace_received {
        struct span helo_name;      /* as the client said it */
        struct span client_name;    /* from the DNS, both ways */
        struct span client_address; /* "192.0.2.1", "2001:db8::1" */
        struct span note;           /* without a client: "from uid 1000" */
        struct span hostname;       /* ours */
        struct span protocol;       /* smtp_server_protocol() */
        struct span tls_version, tls_cipher;
        struct span id;             /* of the message, as id_format() writes it */
        struct span rcpt_to;        /* only where there is just one (section 7.6) */
        uint64_t at_us;
};

/* Appends "Received: …" folded below 78 columns where words allow, with its
 * CRLF. 0, or as buffer_append(): then nothing was appended. */
int trace_format_received(const struct trace_received *t, struct buffer *out);

/* The same in two parts, for messages that have the client and its session in common: all
 * up to the id, which the second does not look at again but for whether the protocol is
 * one with UTF-8. `column` is what the first part said. Both: 0, or as buffer_append(); then
 * nothing was appended. */
int trace_begin_received(const struct trace_received *t, struct buffer *out, size_t *ret_column);
int trace_end_received(const struct trace_received *t, size_t column, struct buffer *out);

/* Appends "Return-Path: <mail_from>" and CRLF; for final delivery only. */
int trace_format_return_path(struct span mail_from, struct buffer *out);

/* Appends "Delivered-To: account" and CRLF; for final delivery to one mailbox.
 * A message that comes with one that names where it is to go is in a loop. */
int trace_format_delivered_to(struct span account, struct buffer *out);
