/* The POP3 server protocol engine: RFC 1939 with RFC 2449 (CAPA, RESP-CODES,
 * PIPELINING, LOGIN-DELAY, EXPIRE), 2595 (STLS), 3206 (AUTH-RESP-CODE), 5034
 * (AUTH), 6856 (UTF8, LANG).
 *
 * Pure, and driven as imap_server.h says: feed gives events; the ones marked
 * "answer" stop the engine until pop3_server_answer(); the loop ends at NONE,
 * WAIT, FLUSH or CLOSE; after an answer feed again, with no octets if there are
 * none.
 *
 * Two parts as well. *Before login* (process/edge): CAPA, STLS, USER, PASS,
 * APOP, AUTH, UTF8, LANG, NOOP, QUIT. When LOGIN or AUTH succeeds, the role gives
 * pop3_server_is_utf8() and the octets not yet fed to the process that
 * serves the account, answers nothing and frees its engine. *There*
 * pop3_server_resume() makes the engine go on: its first event is OPEN. A role
 * that does both answers OK: the next event is OPEN, too.
 *
 *   AUTHORIZATION --LOGIN or AUTH, then OPEN--> TRANSACTION --QUIT--> UPDATE */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

enum pop3_offer {
        POP3_OFFER_STLS = 1,
        POP3_OFFER_LOGIN = 2, /* USER and PASS; without it they are refused */
        POP3_OFFER_APOP = 4,  /* the greeting has a time stamp then: `apop_stamp` */
};

struct pop3_server_options {
        unsigned offers;             /* enum pop3_offer */
        struct span hostname;        /* outlives the engine */
        struct span auth_mechanisms; /* "PLAIN SCRAM-SHA-256"; outlives the engine */
        struct span apop_stamp;      /* "<1896.697170952@host>", new for each connection (RFC 1939
                                      * section 7); outlives the engine */
        unsigned login_delay_s;      /* LOGIN-DELAY; 0: not said */
        unsigned errors_max;         /* -ERR in a row before the connection ends; 0: no limit */
};

enum pop3_event_kind {
        POP3_EVENT_NONE,  /* more octets are needed */
        POP3_EVENT_WAIT,  /* the answer to the last event is still owed */
        POP3_EVENT_FLUSH, /* feed again once `output` is empty; no answer */
        POP3_EVENT_CLOSE, /* send the output and close */

        POP3_EVENT_STLS,  /* answer OK: then, after output is sent, drop every octet already read,
                           * start TLS, and begin with a new engine (RFC 2595 section 4) */
        POP3_EVENT_LOGIN, /* answer, or hand over. `login_name`, `password` */
        POP3_EVENT_APOP,  /* the same. `login_name`, `digest`: 32 hexadecimal digits, lower case */
        POP3_EVENT_AUTH,  /* answer POP3_CONTINUE with the challenge in base64 as `text`, or as
                           * LOGIN. `mechanism` as offered; `octets`: the initial response in
                           * base64 ("=": empty), p NULL: none was given */
        POP3_EVENT_AUTH_LINE,   /* as AUTH. `octets`: the response in base64 */
        POP3_EVENT_AUTH_CANCEL, /* "*" was sent, and answered; no answer */

        POP3_EVENT_OPEN,   /* answer OK with `messages`: the maildrop is locked for this session; or
                            * ERR, code "IN-USE", "LOGIN-DELAY" or "SYS/TEMP": back before login, or
                            * after a hand-over CLOSE */
        POP3_EVENT_BODY,   /* answer OK with `octets`, the whole message, which stay as they are
                            * until an event other than FLUSH, or until the engine is freed; ERR if
                            * it is gone. `message`; `wants_header`: TOP, most of it is not read */
        POP3_EVENT_UPDATE, /* answer: QUIT was said. `deleted`: UIDs to delete, may be none; the
                            * lock ends with the answer, and CLOSE is next */
};

struct pop3_message {
        uint32_t uid;
        uint64_t size;    /* octets, lines ended by CRLF */
        uint64_t body_id; /* for the role */
};

/* Spans live until the answer. */
struct pop3_event {
        enum pop3_event_kind kind;
        struct span login_name, password, digest, mechanism, octets;
        struct pop3_message message;
        size_t index; /* of it, from 0 */
        bool wants_header;
        const uint32_t *deleted;
        size_t deleted_count;
};

enum pop3_result { POP3_OK, POP3_ERR, POP3_CONTINUE };

struct pop3_answer {
        enum pop3_result result;
        const char *code; /* "AUTH", "IN-USE", "SYS/TEMP", "SYS/PERM"; NULL: none */
        const char *text; /* NULL: a default */
        struct span octets;
        const struct pop3_message *messages; /* OPEN: by growing UID, copied */
        size_t message_count;
        uint32_t uid_validity; /* OPEN: part of the UIDL */
};

struct pop3_server;

/* NULL: no memory. `*o` is copied. */
struct pop3_server *pop3_server_new(const struct pop3_server_options *o);
struct pop3_server *pop3_server_free(struct pop3_server *s);

/* The connection is under TLS from its start: before pop3_server_greet(). */
void pop3_server_set_secured(struct pop3_server *s);

/* "+OK host ready <stamp>", or with a text "-ERR text": feed then gives CLOSE. */
void pop3_server_greet(struct pop3_server *s, const char *refusal);

/* The UTF8 command was given before login (RFC 6856 section 2). */
bool pop3_server_is_utf8(const struct pop3_server *s);

/* The other end of a hand-over, instead of pop3_server_greet(). */
void pop3_server_resume(struct pop3_server *s, bool is_utf8);

/* Feeds octets; returns how many were taken. */
size_t pop3_server_feed(struct pop3_server *s, struct span in, struct pop3_event *ret_event);

/* Answers the event that waits; `*a` is needed only during the call, but for
 * the octets of BODY. */
void pop3_server_answer(struct pop3_server *s, const struct pop3_answer *a);

/* Says -ERR at the next boundary between commands, and ends the session without
 * deleting anything: feed then gives CLOSE. */
void pop3_server_shut(struct pop3_server *s, const char *text);

/* Those of the maildrop that is open, by growing UID. */
const struct pop3_message *pop3_server_messages(const struct pop3_server *s, size_t *ret_count);

/* Octets for the client; consume what was written. */
struct buffer *pop3_server_output(struct pop3_server *s);

/* Gives memory back that the next command would need again. */
void pop3_server_trim(struct pop3_server *s);
