/* The text of one message while it comes in: our trace fields, then what the
 * client sends. In memory; above EDGE_BODY_MEMORY in a file the keeper lent.
 *
 * The first `local_prefix_len` octets (the Return-Path line) are for mailboxes
 * only. The header is looked at once, before its octets leave memory. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"

#include "message/mime_convert.h"
#include "process/edge/edge_complete.h"

struct edge;

struct edge_body {
        struct buffer held; /* not in the file yet; all of it where there is no file */
        uint64_t len;       /* of the whole; in memory the digest lies behind it */
        uint32_t local_prefix_len;
        struct edge_complete complete; /* what to add to its header; set before octets come */
        size_t prefix_len;  /* our own octets in front, Return-Path included */
        bool is_ours;       /* sent by one of us: senders in its header are masqueraded */
        struct span account;/* of edge_body_expect() */
        bool is_scanned;    /* the five below are set */
        unsigned received_fields;      /* in what the client sent */
        bool is_header_too_large, has_too_many_fields;
        bool is_looping;               /* it was delivered to where it is to go */
        struct span header_message_id; /* of the transaction's arena */
        int fd;             /* the lent file until all is written, or -1 */
        bool is_lent;       /* the text is in a file */
        uint64_t written, written_back; /* octets in the file; and those the disk was given */
        uint64_t lender;    /* the keeper's generation: its successor knows nothing of it */
        int error;          /* negative errno: the text cannot be kept; -EBADMSG: it is no text */
        struct mime_convert *convert; /* what the client sends goes through it; NULL: as it is */
        unsigned parts_converted;
        bool breaks_signature;        /* and one of them was signed */
};

void edge_body_init(struct edge_body *b);

/* Empties it for the next message and gives large memory back. */
void edge_body_clear(struct edge_body *b, struct edge *e);
void edge_body_done(struct edge_body *b, struct edge *e);

/* Adds octets of ours. True when a file must be borrowed before more are added. On
 * failure `b->error` is set, and the rest of the text is swallowed. */
bool edge_body_add(struct edge_body *b, struct edge *e, struct span octets);

/* Where a message with one recipient, a mailbox of ours, is to go; lives as long
 * as the body. Set before the text comes. */
void edge_body_expect(struct edge_body *b, struct span account);

/* Binary parts of what the client sends become base64 from now on. 0, -ENOMEM. */
int edge_body_convert(struct edge_body *b, bool may_have_nul);

/* Adds octets of the client's. As edge_body_add(). */
bool edge_body_take(struct edge_body *b, struct edge *e, struct span octets);

/* The file that was asked for (taken over), or a negative errno in `fd`. */
void edge_body_lent(struct edge_body *b, struct edge *e, struct arena *arena, int fd,
                    uint64_t generation);

/* The text is whole: looks at the header, writes the file out and closes it:
 * the keeper takes no file that somebody could still write to. True: `*ret_header`, which
 * borrows from the text, is what the client's part of the header says. */
bool edge_body_finish(struct edge_body *b, struct edge *e, struct arena *arena,
                      struct header_summary *ret_header);

/* The text is whole and is for a mailbox here: makes its digest, if it can have one
 * (message/digest.h). Those in a file have none. `header`: of edge_body_finish(), or NULL. */
void edge_body_digest(struct edge_body *b, struct edge *e, uint64_t message_id,
                      const struct header_summary *header);
