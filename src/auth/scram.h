/* Server side of SCRAM (RFC 5802, RFC 7677), one exchange.
 *
 *   scram_first ──► (the caller finds the account) ──► scram_challenge ──► scram_final
 *
 * Our own, since GNU SASL 2.2 refuses the channel binding tls-server-end-point, and
 * spends ten times what the exchange itself costs; its client tests ours.
 *
 * Pure: the nonce is passed in, and so is what the account has. */
#pragma once

#include <stdbool.h>

#include "auth/password.h"
#include "base/buffer.h"
#include "base/span.h"

enum {
        SCRAM_MESSAGE_MAX = 2048, /* octets of one of the client's */
        SCRAM_NAME_MAX = 320,     /* with its NUL */
        SCRAM_NONCE_MADE = 24,    /* characters of ours */
        SCRAM_BINDING_MAX = 64,
};

/* What the connection can be bound by; empty where it cannot. */
struct scram_bindings {
        struct span exporter;  /* tls-exporter (RFC 9266) */
        struct span end_point; /* tls-server-end-point (RFC 5929 section 4) */
};

struct scram {
        bool is_sha1;  /* set by the caller: SCRAM-SHA-1, else SCRAM-SHA-256 */
        bool is_bound; /* set by the caller: a mechanism with -PLUS */
        char name[SCRAM_NAME_MAX];   /* of scram_first(), as SASLprep has it */
        char act_as[SCRAM_NAME_MAX]; /* the authorization identity; "" mostly */
        /* private to scram.c */
        struct buffer message; /* what the proofs are made over, as it grows */
        size_t nonce_at, nonce_len;
        unsigned char binding[SCRAM_MESSAGE_MAX / 4 + SCRAM_BINDING_MAX];
        size_t binding_len; /* of the gs2-header and what it names */
};
#define SCRAM_INIT ((struct scram) {.message = BUFFER_INIT(3 * SCRAM_MESSAGE_MAX)})

/* Sets HMAC-SHA-256 up, once for the process: before it is confined. Without it the
 * same takes three times as long. */
void scram_warm(void);

/* The client's first message. 0; -EBADMSG: it is none, or binds what this
 * mechanism does not; -EACCES: bound by what we do not have, or the client was
 * lied to about what we offer (RFC 5802 section 6); -ENOMEM. */
int scram_first(struct scram *s, struct span in, const struct scram_bindings *b);

/* Our answer, into `out`: `nonce` is SCRAM_NONCE_MADE printable characters without
 * a comma. 0 or -ENOMEM. */
int scram_challenge(struct scram *s, const struct password_scram *v, const char *nonce,
                    struct buffer *out);

/* The client's proof; ours goes into `out`. 0; -EACCES: not by who knows the
 * password, or over another channel; -EBADMSG; -ENOMEM. */
int scram_final(struct scram *s, struct span in, const struct password_scram *v,
                struct buffer *out);

/* Frees and wipes. */
void scram_done(struct scram *s);
