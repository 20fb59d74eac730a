/* SMTP replies, as a client reads them: RFC 5321 section 4.2, with enhanced
 * status codes (RFC 2034, RFC 3463).
 *
 * Taken beside what the grammar says, since servers send it: a line that ends
 * with LF alone, a code without text. Refused: lines of one reply with
 * different codes, anything that is no code. CR is dropped wherever it stands.
 *
 * Pure: no I/O, no allocation, nothing to free. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

enum {
        SMTP_REPLY_TEXT_MAX = 4096,        /* kept; the rest is cut */
        SMTP_REPLY_OCTETS_MAX = 64 * 1024, /* of one reply; more is refused */
};

struct smtp_reply {
        unsigned code;        /* 200 to 599; 0: there was no reply, `text` says why */
        struct span enhanced; /* "5.1.1", of the first line; empty: none */
        struct span text;     /* lines without code and enhanced code, '\n' between them;
                               * control characters replaced by '?' */
        bool is_ours;         /* not the peer's words: made by smtp_client */
};

/* The parser of one connection's replies. Embed it; start from zero. */
struct smtp_reply_parser {
        unsigned code;       /* of the lines before */
        unsigned line_code;
        size_t octets;       /* of this reply */
        size_t column;
        size_t line_start;   /* of the text of this line in `text` */
        size_t text_len;
        size_t enhanced_len; /* of the first line; at the start of `text` */
        bool is_first, is_last, is_complete;
        char enhanced[12];
        char text[SMTP_REPLY_TEXT_MAX];
};

/* Parses `in`, cut wherever the network cut it. 1: a reply is complete, its
 * spans live until the next call; `*ret_in_used` octets were used. 0: more is
 * needed, all were used. -EBADMSG: no SMTP reply; -EMSGSIZE: too long. After an
 * error the parser is spent. */
int smtp_reply_parse(struct smtp_reply_parser *p, struct span in, size_t *ret_in_used,
                     struct smtp_reply *ret_reply);

/* The length of the enhanced status code, of the class of `code`, that `text`
 * starts with, or 0. */
size_t smtp_reply_enhanced_len(struct span text, unsigned code);
