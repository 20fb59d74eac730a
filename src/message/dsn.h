/* Delivery status notifications: a message that tells whoever sent another one
 * what became of it. RFC 3464 in the report of RFC 6522, by the parameters of
 * RFC 3461 (section 6 says what is in it); RFC 6533 where the original needed SMTPUTF8.
 *
 * Three parts: words for people, fields for programs, and the header of the
 * original, or all of it. Pure: time and ids are passed in. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "message/status_code.h"

/* Values are those of dsn_order in ipc/schema.h. */
enum dsn_action {
        DSN_FAILED = 1,
        DSN_DELAYED = 2,
        DSN_DELIVERED = 3, /* into the mailbox */
        DSN_RELAYED = 4,   /* to a system that will send no notification itself */
        DSN_EXPANDED = 5,  /* to the members of a list */
};

/* Empty spans: not known. None of them is trusted. */
struct dsn_recipient {
        struct span rcpt_to;
        struct span orcpt;    /* as the parameter was: "rfc822;xtext" */
        struct span host;     /* "mx.example.jp [192.0.2.1]:25": who answered */
        uint16_t code;        /* 0: no reply; text is our own words */
        struct span enhanced; /* "5.1.1"; else taken from the text or the code */
        struct span text;     /* lines separated by '\n' */
};

struct dsn {
        enum dsn_action action;
        uint64_t now_us, arrived_us;
        uint64_t retry_until_us; /* DSN_DELAYED; 0: not said */
        struct span id;          /* unique, of the notification: Message-ID, boundary */
        struct span message_id;  /* of the original, as `hayauma why` knows it */
        struct span hostname;    /* who reports */
        struct span mail_from;   /* of the original: who is told */
        struct span envid;       /* xtext */
        const struct dsn_recipient *recipients;
        size_t recipient_count;
        struct span original;  /* its header, and its body as far as it is at hand */
        bool is_original_cut;  /* more of it is not at hand: only the header is returned */
        bool returns_full;     /* RET=FULL; only where the original is small and clean enough */
        bool is_smtputf8;      /* the original needed RFC 6531: so may this */
        bool may_be_8bit;      /* else the notification is of 7 bits throughout */
        enum status_language language;
};

/* Appends the whole message, header to last line, CRLF line ends, lines of at
 * most 998 octets but for those of the original. 0, or as buffer_append():
 * then nothing was appended. */
int dsn_format(const struct dsn *d, struct buffer *out);

/* "failed", …: the word of RFC 3464 section 2.3.3. */
const char *dsn_action_name(enum dsn_action action);
