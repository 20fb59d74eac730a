/* The decision record: why a recipient was accepted or refused, and what
 * became of it. `hayauma why` prints it.
 *
 * A record belongs to one message id and is a row of steps, each with a time,
 * the index of the recipient it is about (or DECISION_MESSAGE for all), what
 * was decided, by which rule, where that rule stands, and in what words. edge
 * writes the first part with the commit; keeper adds a part for each attempt
 * and each final place under the same id. Never in a record: subject, body,
 * passwords. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/codec.h"
#include "base/span.h"

#define DECISION_MESSAGE UINT32_MAX

enum { DECISION_STRING_MAX = 4096 }; /* octets of each text of a step */

/* What a step says. Numbers are stored: add, never renumber. */
enum decision_kind {
        DECISION_RECEIVED = 1,  /* the session: client, helo, TLS, login, mail_from in detail */
        DECISION_ACCEPTED = 2,  /* this recipient, with its route in `next` */
        DECISION_REFUSED = 3,   /* code and text as sent */
        DECISION_RULE = 4,      /* a rule that was looked at and what it said */
        DECISION_ROUTED = 5,    /* alias, table, default: `next` is where to */
        DECISION_COMMITTED = 6, /* durable: the 250 */
        DECISION_ATTEMPT = 7,   /* relay tried: host, code, text */
        DECISION_DEFERRED = 8,  /* will be tried again: detail says when */
        DECISION_RELAYED = 9,   /* final: taken by the remote host */
        DECISION_STORED = 10,   /* final: in a mailbox, "INBOX uid 17" in detail */
        DECISION_BOUNCED = 11,  /* final: returned, `next` is the id of the bounce */
        DECISION_DROPPED = 12,  /* final: thrown away, by whom */
        DECISION_HELD = 13,
        DECISION_DISCARDED = 14, /* final: a rule said discard */
        DECISION_NOTIFIED = 15,  /* the sender is told, by the message in `next` */
};

struct decision_step {
        uint64_t at_us;
        uint32_t recipient; /* index, or DECISION_MESSAGE */
        uint16_t kind;
        uint16_t code;        /* SMTP reply code, 0: none */
        struct span rule;     /* "relay_networks", "access", "local user", "received_hops" */
        struct span origin;   /* "hayauma.conf:12", "access:7", "default" */
        struct span rcpt_to;  /* on the first step about a recipient */
        struct span enhanced; /* "5.7.1" */
        struct span text;     /* the words of the reply or reason */
        struct span next;     /* next hop, mailbox account, message id */
        struct span host;     /* who was spoken to */
        struct span detail;   /* name=value pairs, as in the log */
};

/* A record being built: decision_begin(), which empties `b`, steps, then its
 * octets are buffer_span(b). 0; -EMSGSIZE (a text above DECISION_STRING_MAX, or
 * the buffer full) or -ENOMEM: nothing was added. */
int decision_begin(struct buffer *b, uint64_t message_id);
int decision_add(struct buffer *b, const struct decision_step *step);

/* Reading. decision_open() checks the head: 0 or -EBADMSG. decision_next()
 * gives the next step; false at the end. Damage ends it too, with `failed` set
 * in the reader. The spans of a step borrow from the record. */
int decision_open(struct span record, uint64_t *ret_message_id, struct reader *ret_reader);
bool decision_next(struct reader *r, struct decision_step *ret_step);

/* "received", "accepted", …; "unknown" for a number of a later release. */
const char *decision_kind_name(unsigned kind);
