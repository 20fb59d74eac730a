/* The SMTP server protocol engine, receiving side of RFC 5321 and, as a
 * dialect, of LMTP (RFC 2033).
 *
 * Pure: octets go in, events come out; the role (process/edge) decides and
 * answers, and writes what stands in `output` to the client. No I/O, no clock,
 * no policy. The engine knows grammar, order of commands, pipelining, line and
 * transaction limits; each command has a file of its own (smtp_server_mail.c …)
 * and a row in the table of smtp_server_commands.c.
 *
 *         ┌── feed ──► events ──► role ──► smtp_server_reply() ──► output
 *
 * Loop of a role:
 *
 *     used = smtp_server_feed(s, in, &event);
 *
 * takes octets until something happened. SMTP_EVENT_NONE: all octets are used
 * and more are needed. An event that wants an answer (marked "answer") stops
 * the engine: feeding takes no octets and gives SMTP_EVENT_WAIT until
 * smtp_server_reply(). Answers may come later; pipelined commands stay with
 * the role, unread. After an answer, feed again, without octets if there are
 * none: a RESET may be due.
 *
 * What a peer can spend is bounded: octets a command line, recipients, message
 * size, errors, commands without progress, replies not yet read (FLUSH), and
 * the memory of a transaction (smtp_server_engine.h has the constants). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/span.h"
#include "message/address.h"

enum smtp_dialect { SMTP_DIALECT_SMTP, SMTP_DIALECT_LMTP };

/* What EHLO offers beside PIPELINING, 8BITMIME, SIZE, ENHANCEDSTATUSCODES. */
enum smtp_offer {
        SMTP_OFFER_STARTTLS = 1,
        SMTP_OFFER_DSN = 2,       /* RFC 3461 */
        SMTP_OFFER_SMTPUTF8 = 4,  /* RFC 6531 */
        SMTP_OFFER_CHUNKING = 8,  /* RFC 3030 */
        SMTP_OFFER_AUTH = 16,     /* RFC 4954; needs `auth_mechanisms` */
        SMTP_OFFER_BINARYMIME = 32, /* RFC 3030; only together with CHUNKING */
        SMTP_OFFER_FUTURERELEASE = 64, /* RFC 4865; needs `hold_max_s` */
        SMTP_OFFER_MT_PRIORITY = 128,  /* RFC 6710 */
        SMTP_OFFER_REQUIRETLS = 256,   /* RFC 8689; only under TLS */
        SMTP_OFFER_ETRN = 512,         /* RFC 1985 */
        SMTP_OFFER_EXPN = 1024,
        SMTP_OFFER_XCLIENT = 2048,     /* Postfix's: another client is spoken for */
        SMTP_OFFER_DELIVERBY = 4096,   /* RFC 2852; `by_min_s` */
};

struct smtp_server_options {
        enum smtp_dialect dialect;
        unsigned offers;            /* enum smtp_offer */
        struct span hostname;       /* in greeting and EHLO; outlives the engine */
        uint64_t message_size_max;  /* SIZE=, and enforced; 0 = no limit */
        unsigned recipients_max;    /* accepted ones of a transaction; 0 = no limit of their
                                     * number, but of the memory they need */
        unsigned command_length_max; /* octets of a command line with CRLF, ≥ 512 */
        unsigned errors_max;        /* refused commands before 421, counted from the last accepted
                                     * recipient or message; 0 = no limit */
        unsigned commands_max;      /* commands before 421, refused or not, counted likewise */
        unsigned messages_max;      /* transactions a connection before 421; 0 = no limit */
        bool may_lack_domain;       /* MAIL and RCPT may name a bare local part; "postmaster" is
                                     * always a recipient (RFC 5321 section 4.1.1.3) */
        bool may_have_nul;          /* in message text; else such a message is refused */
        bool is_judged_by_role;     /* MAIL with a SIZE above message_size_max, and RCPT above
                                     * recipients_max, become events all the same: the role
                                     * refuses them, in words of its own */
        struct span auth_mechanisms; /* "PLAIN LOGIN"; outlives the engine */
        uint32_t hold_max_s;        /* FUTURERELEASE: the longest time, */
        uint64_t hold_until_max_us; /* and the last date, since 1970 */
        uint32_t by_min_s;          /* DELIVERBY: the shortest time with mode R; 0: any */
};

enum smtp_event_kind {
        SMTP_EVENT_NONE,     /* more octets are needed */
        SMTP_EVENT_WAIT,     /* the answer to the last event is still owed */
        SMTP_EVENT_HELO,     /* answer: 250 (or NULL text for the default), or refuse. `helo_name`,
                              * `is_extended` */
        SMTP_EVENT_STARTTLS, /* answer 220: then, after output is sent, start TLS, drop every octet
                              * already read, and call smtp_server_secured() */
        SMTP_EVENT_MAIL,     /* answer. `mail` */
        SMTP_EVENT_RCPT,     /* answer. `rcpt` */
        SMTP_EVENT_DATA,     /* answer 354 to go on, or refuse. `is_chunked`: it came by BDAT; the
                              * answer is the same, and the engine sends what is right */
        SMTP_EVENT_BODY,     /* `octets`: message text, transparency undone; no answer */
        SMTP_EVENT_END,      /* answer: the message is whole. Under LMTP one answer a recipient,
                              * in order: smtp_server_reply() once each. `body_error` is set when
                              * the message must be refused (text of the reply to send) */
        SMTP_EVENT_VRFY,     /* answer. `argument` */
        SMTP_EVENT_RESET,    /* the transaction is gone (RSET, EHLO, TLS); no answer */
        SMTP_EVENT_CLOSE,    /* send the output and close: QUIT, too many errors */
        SMTP_EVENT_FLUSH,    /* the client does not read its replies: feed again once `output` is
                              * empty; no answer */
        SMTP_EVENT_AUTH,     /* answer 334 with a challenge in base64, 235, or refuse. `argument` is
                              * the mechanism, `octets` the initial response in base64, p NULL when
                              * there was none */
        SMTP_EVENT_AUTH_LINE, /* answer as AUTH. `octets`: the client's response in base64 */
        SMTP_EVENT_AUTH_CANCEL, /* the client sent "*", or no line of base64; it was answered. No
                              * answer */
        SMTP_EVENT_EXPN,     /* answer. `argument` */
        SMTP_EVENT_ETRN,     /* answer 250 to 253, 458, 459. `argument`: the node, as given */
        SMTP_EVENT_XCLIENT,  /* answer 220, upon which all is as behind the greeting, or refuse.
                              * `argument`: "NAME=value …" */
};

enum smtp_body { SMTP_BODY_7BIT, SMTP_BODY_8BITMIME, SMTP_BODY_BINARYMIME };
enum smtp_by { SMTP_BY_NONE, SMTP_BY_NOTIFY, SMTP_BY_RETURN };
enum smtp_ret { SMTP_RET_NONE, SMTP_RET_FULL, SMTP_RET_HDRS };

struct smtp_mail {
        struct span path;       /* as written between < and >; empty: null reverse-path */
        struct address address; /* unset when path is empty */
        uint64_t size;          /* SIZE=, 0: not given. At most message_size_max */
        enum smtp_body body;
        bool smtputf8;
        enum smtp_ret ret;      /* RFC 3461 section 4.3 */
        struct span envid;      /* xtext, still encoded */
        uint32_t hold_for_s;    /* RFC 4865; 0: not given */
        uint64_t hold_until_us; /* the same as a date, since 1970; 0: not given */
        int8_t priority;        /* RFC 6710, -9 to 9; 0 where it was not given */
        bool has_priority;
        bool requiretls;        /* RFC 8689 */
        enum smtp_by by;        /* RFC 2852 section 4: what happens */
        int32_t by_s;           /* after so many seconds; negative: that was before it came here */
        bool by_trace;
};

struct smtp_rcpt {
        unsigned index; /* of this transaction, from 0, accepted ones only */
        struct span path;
        struct address address;
        uint8_t notify; /* bits NEVER 1, SUCCESS 2, FAILURE 4, DELAY 8 */
        struct span orcpt;
};

/* What the engine refuses by itself, and a role has an option for. */
enum smtp_fault {
        SMTP_FAULT_NONE,
        SMTP_FAULT_LINE_LENGTH, /* command_length_max */
        SMTP_FAULT_ERRORS,      /* errors_max; the session ends, as with the next two */
        SMTP_FAULT_COMMANDS,    /* commands_max */
        SMTP_FAULT_MESSAGES,    /* messages_max */
        SMTP_FAULT_SIZE,        /* message_size_max, while its text comes */
        SMTP_FAULT_LINE_END,    /* a bare CR or LF in the text */
        SMTP_FAULT_NUL,         /* may_have_nul */
};

struct smtp_event {
        enum smtp_event_kind kind;
        struct span helo_name; /* spans of events live until the next RESET or END is answered */
        bool is_extended;      /* EHLO or LHLO */
        struct span octets;    /* lives until the next feed */
        struct span argument;  /* lives until the next feed */
        bool is_chunked;
        bool has_quit;         /* CLOSE: the client said QUIT, and nothing after it */
        const char *body_error; /* NULL, or the reply: "552 5.3.4 Message too big", */
        enum smtp_fault fault;  /* for this */
        struct smtp_mail mail; /* of MAIL alone */
        struct smtp_rcpt rcpt; /* of RCPT alone */
};

struct smtp_server;

/* Queues the greeting only when smtp_server_greet() is called. NULL: no memory.
 * `*o` is copied. */
struct smtp_server *smtp_server_new(const struct smtp_server_options *o);
struct smtp_server *smtp_server_free(struct smtp_server *s);

/* "220 host ESMTP" and the like; or another code to refuse: after 554 each
 * command but QUIT gets 503 (RFC 5321 section 3.1), after 421 feed gives CLOSE.
 * `text` NULL: a default. */
void smtp_server_greet(struct smtp_server *s, unsigned code, const char *text);

/* Feeds octets; returns how many were taken. */
size_t smtp_server_feed(struct smtp_server *s, struct span in, struct smtp_event *ret_event);

/* Answers the event that waits. `enhanced` "2.1.5" or NULL (then x.0.0 of the
 * code's class; also where the classes differ); `text`, NULL for "Ok", may have
 * several lines, separated by '\n', is cleaned of CR and controls, and is cut
 * at 512 octets a line. Octets above 127 are sent only where the client asked
 * for SMTPUTF8. A refusal of MAIL or RCPT leaves the transaction as it
 * was. 421 ends the session: feed then gives CLOSE. */
void smtp_server_reply(struct smtp_server *s, unsigned code, const char *enhanced,
                       const char *text);

/* "552 5.3.4 Message too big" in its parts: body_error, and what tables say. A
 * text that starts with no code is one of 451; one without an enhanced code
 * has `enhanced` empty. `text` borrows from `reply`. */
struct smtp_reply_text {
        unsigned code;
        char enhanced[12];
        const char *text;
};
void smtp_server_split_reply(const char *reply, struct smtp_reply_text *ret);

/* What AUTH offers from now on ("PLAIN LOGIN"; outlives the engine); empty:
 * AUTH is not there. TLS changes it, so a role says it anew then. */
void smtp_server_offer_auth(struct smtp_server *s, struct span mechanisms);

/* The connection is now under TLS: forgets all that was said before
 * (RFC 3207 section 4.2) and stops offering STARTTLS. */
void smtp_server_secured(struct smtp_server *s);

/* Says "421 4.3.2 Bye", the `reply` (NULL: a default), and ends the session at the
 * next boundary between commands; if it is idle, `output` has it at once and feed
 * gives CLOSE. */
void smtp_server_shut(struct smtp_server *s, const char *reply);

/* The last fault, but those of END, since this was asked before: the client has been
 * told, and a role may want to keep it. */
enum smtp_fault smtp_server_take_fault(struct smtp_server *s);

/* What is said of it: "552 5.3.4 Message too big". */
const char *smtp_server_fault_reply(enum smtp_fault fault);

/* Octets for the client; consume what was written. */
struct buffer *smtp_server_output(struct smtp_server *s);

/* Gives memory back that the next message would need again: for a session that
 * has been silent for some seconds. One that did nothing since needs none. */
void smtp_server_trim(struct smtp_server *s);

bool smtp_server_is_idle(const struct smtp_server *s);         /* between transactions */
unsigned smtp_server_refusals(const struct smtp_server *s);    /* replies 4yz and 5yz, in all */
unsigned smtp_server_recipients(const struct smtp_server *s);  /* accepted in this one */
const char *smtp_server_protocol(const struct smtp_server *s); /* "ESMTPS", RFC 3848 */
