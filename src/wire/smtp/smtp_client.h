/* The SMTP client protocol engine, sending side of RFC 5321 and, as a dialect,
 * of LMTP (RFC 2033): one session, many transactions.
 *
 * Pure: the peer's octets go in, events come out, and octets for the peer stand
 * in `output`. No I/O, no clock, no policy: timeouts, TLS, retries and which
 * connection to use are the role's.
 *
 *     used = smtp_client_feed(c, in, &event);
 *
 * takes octets until something happened; NONE: all are used. Feed an empty span
 * after each other call until NONE, since they make events too.
 *
 *     READY ──► smtp_client_send() ──► RESULT… , BODY ──► smtp_client_body()…,
 *     smtp_client_body_end() ──► RESULT… ──► DONE          (or RETURNED, alone)
 *     … ──► OVER: the session has ended, drop the connection
 *
 * A peer that offers CHUNKING (RFC 3030) gets the first message of a session,
 * if it is short, together with its envelope: one round trip less. Later ones
 * wait for the reply to DATA, so that a connection which the peer closed in
 * between can be told from one that ended after it took the message.
 *
 * With PIPELINING (RFC 2920) MAIL, all RCPT and DATA leave together, and the
 * next transaction may be given as soon as the body has been: its commands
 * follow in the same write.
 *
 * Whatever the peer does, each recipient of a transaction gets one RESULT and
 * then the transaction DONE; or the transaction gets RETURNED and none of its
 * recipients a RESULT: the peer has answered nothing about it, and it may be
 * tried elsewhere at once. At OVER no transaction is left. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "wire/smtp/smtp_reply.h"

enum smtp_client_tls { SMTP_CLIENT_TLS_NONE, SMTP_CLIENT_TLS_MAY, SMTP_CLIENT_TLS_MUST };

struct smtp_client_options {
        struct span helo_name;    /* outlives the client */
        bool is_lmtp;             /* LHLO, a reply a recipient */
        enum smtp_client_tls tls; /* STARTTLS where it is offered, or no mail */
        bool wants_login;         /* AUTH (RFC 4954) before READY, or no mail */
};

enum smtp_client_flag { /* of a message */
        SMTP_CLIENT_8BIT = 1,
        SMTP_CLIENT_SMTPUTF8 = 2,
        SMTP_CLIENT_RET_FULL = 4, /* RFC 3461 section 4.3 */
        SMTP_CLIENT_RET_HDRS = 8,
        SMTP_CLIENT_BINARY = 16, /* lines may have any length and end: RFC 3030 section 3 */
        SMTP_CLIENT_PROBE = 32, /* no message: each recipient's answer is that to its RCPT */
};

enum smtp_client_offer { /* what EHLO was answered with */
        SMTP_CLIENT_OFFER_PIPELINING = 1,
        SMTP_CLIENT_OFFER_8BITMIME = 2,
        SMTP_CLIENT_OFFER_SIZE = 4,
        SMTP_CLIENT_OFFER_DSN = 8,
        SMTP_CLIENT_OFFER_SMTPUTF8 = 16,
        SMTP_CLIENT_OFFER_STARTTLS = 32,
        SMTP_CLIENT_OFFER_MT_PRIORITY = 64,
        SMTP_CLIENT_OFFER_CHUNKING = 128,
        SMTP_CLIENT_OFFER_BINARYMIME = 256,
};

struct smtp_client_rcpt {
        struct span rcpt_to; /* without <> */
        struct span orcpt;   /* as in the ORCPT parameter (xtext), or empty */
        uint8_t notify;      /* bits NEVER 1, SUCCESS 2, FAILURE 4, DELAY 8; 0: not given */
};

/* One transaction; it and all it points at live until its DONE or RETURNED. */
struct smtp_client_mail {
        void *tag;             /* comes back in the events */
        struct span mail_from; /* without <>; empty: the null reverse-path */
        struct span envid;     /* xtext, or empty */
        unsigned flags;        /* enum smtp_client_flag */
        bool has_priority;
        int8_t priority;       /* for MT-PRIORITY= (RFC 6710), where the host takes it */
        uint64_t size;         /* octets of the message: SIZE= (RFC 1870), BDAT */
        const struct smtp_client_rcpt *rcpts;
        size_t rcpt_count; /* at least 1 */
};

enum smtp_client_event_kind {
        SMTP_CLIENT_NONE,
        SMTP_CLIENT_STARTTLS, /* start TLS, then smtp_client_secured() */
        SMTP_CLIENT_LOGIN,    /* log in: the mechanisms offered stand in `reply.text` */
        SMTP_CLIENT_CHALLENGE, /* `reply.text` is the challenge, in base64 */
        SMTP_CLIENT_LOGGED_IN, /* the peer is content: then smtp_client_logged_in() */
        SMTP_CLIENT_READY,    /* once: the session takes transactions */
        SMTP_CLIENT_BODY,     /* `tag`: its octets are wanted */
        SMTP_CLIENT_RESULT,   /* `tag`, `rcpt`: the final answer, `reply` */
        SMTP_CLIENT_DONE,     /* `tag`: all recipients are answered */
        SMTP_CLIENT_RETURNED, /* `tag`: nothing was answered; why in `reply` */
        SMTP_CLIENT_OVER,     /* the session has ended; why in `reply` */
};

struct smtp_client_event {
        enum smtp_client_event_kind kind;
        void *tag;
        size_t rcpt;             /* index in `rcpts` */
        struct smtp_reply reply; /* spans live until the next feed */
};

/* What the peer is waited for: RFC 5321 section 4.5.3.2 has a time for each. */
enum smtp_client_stage {
        SMTP_CLIENT_AT_GREETING,
        SMTP_CLIENT_AT_HELLO,
        SMTP_CLIENT_AT_STARTTLS,
        SMTP_CLIENT_AT_LOGIN,
        SMTP_CLIENT_AT_IDLE, /* nothing: no transaction */
        SMTP_CLIENT_AT_MAIL,
        SMTP_CLIENT_AT_RCPT,
        SMTP_CLIENT_AT_DATA,
        SMTP_CLIENT_AT_BODY, /* it is we who send */
        SMTP_CLIENT_AT_DOT,
        SMTP_CLIENT_AT_QUIT,
        SMTP_CLIENT_AT_END,
};

struct smtp_client;

/* NULL: no memory. */
struct smtp_client *smtp_client_new(const struct smtp_client_options *o);
struct smtp_client *smtp_client_free(struct smtp_client *c);

/* Feeds octets from the peer; returns how many were taken. */
size_t smtp_client_feed(struct smtp_client *c, struct span in, struct smtp_client_event *ret_event);

/* TLS stands: forgets all that was said before (RFC 3207 section 4.2) and says
 * EHLO again. */
void smtp_client_secured(struct smtp_client *c);

/* After LOGIN: AUTH with this mechanism; `base64` is the initial response, its
 * `p` NULL where there is none. After CHALLENGE: the response. Either is wiped
 * from the output by who consumes it. A login that is refused ends the session:
 * that says nothing about any message. */
void smtp_client_auth(struct smtp_client *c, struct span mechanism, struct span base64);
void smtp_client_auth_response(struct smtp_client *c, struct span base64);

/* After LOGGED_IN, once it is known that the peer is who it should be: READY
 * follows. */
void smtp_client_logged_in(struct smtp_client *c);

/* Whether smtp_client_send() may be called now. */
bool smtp_client_may_send(const struct smtp_client *c);

/* Takes a transaction. 0, or -ENOMEM (it was not taken). What the peer cannot
 * take (too large, 8-bit or UTF-8 it does not offer) is answered by RESULTs in
 * our own words. */
int smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *m);

/* The body of the transaction that BODY named: message octets, lines ending
 * with CRLF; transparency is done here. 0 or -ENOMEM. */
int smtp_client_body(struct smtp_client *c, struct span octets);
int smtp_client_body_end(struct smtp_client *c);

/* Whether more of it is wanted now: BODY came, and smtp_client_body_end() not. */
bool smtp_client_wants_body(const struct smtp_client *c);

/* The connection has ended, or is given up (a timeout, a cancelled body): makes
 * the events that answer what is still open. `text` says why; copied. */
void smtp_client_lost(struct smtp_client *c, const char *text);

/* QUIT, when nothing is under way: OVER follows the peer's reply. */
void smtp_client_quit(struct smtp_client *c);

/* Octets for the peer; consume what was written. */
struct buffer *smtp_client_output(struct smtp_client *c);

enum smtp_client_stage smtp_client_stage(const struct smtp_client *c);
const char *smtp_client_stage_text(enum smtp_client_stage stage); /* "the reply to MAIL" */
unsigned smtp_client_offers(const struct smtp_client *c);         /* enum smtp_client_offer */
uint64_t smtp_client_transactions(const struct smtp_client *c);   /* that got as far as DONE */
