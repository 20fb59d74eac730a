/* What the files of the SMTP client engine share. */
#pragma once

#include "wire/smtp/dot_encode.h"
#include "wire/smtp/smtp_client.h"

/* Session: GREETING ──► HELLO ──► [STARTTLS ──► TLS ──► HELLO] ──► [LOGIN ◄──► AUTH] ──► OPEN
 * ──► QUIT ──► END */
enum session_state {
        SESSION_GREETING,
        SESSION_EHLO,
        SESSION_HELO, /* EHLO was refused */
        SESSION_STARTTLS,
        SESSION_TLS, /* waiting for smtp_client_secured() */
        SESSION_LOGIN, /* the role is to say something */
        SESSION_AUTH,  /* the peer is */
        SESSION_OPEN,
        SESSION_QUIT,
        SESSION_END,
};

/* Transaction: WAITING ──► COMMANDS ──► BODY ──► DOT ──► FINISHED
 *                             └─────────────────────────────▲
 * Replies come in the order of commands, so two counters say what each reply
 * is to: number 0 is MAIL, 1 … n the recipients, n + 1 DATA. BDAT is none of
 * them: its reply is the one in DOT, as if the final dot had been sent. */
enum transaction_phase { PHASE_WAITING, PHASE_COMMANDS, PHASE_BODY, PHASE_DOT, PHASE_FINISHED };

enum { SMTP_CLIENT_MECHANISMS_MAX = 512 };

enum rcpt_status { RCPT_OPEN, RCPT_ACCEPTED, RCPT_ANSWERED };

struct transaction {
        struct smtp_client_mail mail;
        enum transaction_phase phase;
        uint8_t *status; /* enum rcpt_status, one a recipient */
        size_t status_room;
        size_t sent, replied; /* commands */
        size_t accepted;      /* recipients in RCPT_ACCEPTED or once there */
        size_t next_lmtp;     /* where to look for the next accepted one */
        bool is_mail_accepted;
        bool is_bdat;         /* BDAT instead of DATA, and */
        bool is_bdat_first;   /* with the envelope, before any reply to it */
        bool is_bdat_sent, is_body_sent;
        bool is_body_asked;   /* BODY was told */
        bool is_returned;     /* finished with RETURNED instead of DONE */
        struct smtp_reply refusal; /* ours, before anything is sent; code 0: none */
};

/* Which recipients of the first transaction the reply in `emit` is for. */
enum emit { EMIT_NOTHING, EMIT_ONE, EMIT_ACCEPTED, EMIT_ALL };

struct smtp_client {
        struct smtp_client_options options;
        enum session_state state;
        struct smtp_reply_parser parser;
        struct buffer output;
        struct dot_encoder dots;
        struct transaction transactions[2]; /* a ring: under way, and the next */
        unsigned first, count;
        uint64_t done_count;
        unsigned offers;
        uint64_t size_max; /* of SIZE, 0: not told */
        bool had_transaction; /* in this session */
        bool is_secured;
        bool tell_ready, tell_starttls, tell_over;
        enum smtp_client_event_kind tell_login; /* LOGIN, CHALLENGE, LOGGED_IN; NONE */
        struct span login_text; /* for it; lives until the next feed */
        char mechanisms[SMTP_CLIENT_MECHANISMS_MAX];
        unsigned rsets; /* replies to RSET that are still to come */
        bool needs_rset;
        enum emit emit;
        size_t emit_next;
        struct smtp_reply emit_reply;
        bool is_failed; /* no reply counts any more; why: */
        struct smtp_reply failure;
        char failure_text[512];
};

/* The first transaction, or NULL. */
static inline struct transaction *smtp_client_first(struct smtp_client *c)
{
        return c->count ? &c->transactions[c->first] : NULL;
}

/* Appends to the output; failing that, the session fails. */
void smtp_client_put(struct smtp_client *c, struct span s);
void smtp_client_put_text(struct smtp_client *c, const char *s);

/* The session is over by `reply`: what is open is answered with it. */
void smtp_client_fail(struct smtp_client *c, const struct smtp_reply *reply);
/* The same in our words: code 0. */
void smtp_client_fail_text(struct smtp_client *c, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
/* The peer said what it may not say here. */
void smtp_client_fail_reply(struct smtp_client *c, const struct smtp_reply *reply);

/* smtp_client_session.c: greeting, EHLO, STARTTLS. */
void smtp_client_session_reply(struct smtp_client *c, const struct smtp_reply *reply);
void smtp_client_hello(struct smtp_client *c);

/* smtp_client_auth.c: the login. */
void smtp_client_read_mechanisms(struct smtp_client *c, struct span text);
void smtp_client_begin_login(struct smtp_client *c);
void smtp_client_auth_reply(struct smtp_client *c, const struct smtp_reply *reply);

/* smtp_client_mail.c: commands and replies of transactions. */
void smtp_client_mail_reply(struct smtp_client *c, struct transaction *t,
                            const struct smtp_reply *reply);
void smtp_client_mail_commands(struct smtp_client *c, struct transaction *t);
void smtp_client_mail_check(const struct smtp_client *c, struct transaction *t);
void smtp_client_mail_choose_bdat(const struct smtp_client *c, struct transaction *t);
