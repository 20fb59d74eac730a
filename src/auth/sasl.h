/* Server side of SASL (RFC 4422), one exchange each; GNU SASL behind it, but for
 * SCRAM (scram.h) and what is simple in PLAIN.
 *
 * Pure but for the library: blobs go in (already taken out of base64), blobs
 * come out. Whoever runs it (process/directory) knows the accounts, checks
 * passwords in its own time and counts failures. The same engine serves SMTP,
 * IMAP and POP3.
 *
 *   sasl_new ──► sasl_step ──► CHALLENGE ──► sasl_step … ──► GRANTED
 *                    │                            └────────► REFUSED, MALFORMED
 *                    └─ PLAIN, LOGIN ──► CHECK: compare sasl_password() with
 *                       the account's hash; the exchange itself is over
 *
 * An unknown account is asked and refused just as a known one is: SCRAM shows
 * salt and iterations that stay the same for a name and fit no password. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "auth/users.h"
#include "base/buffer.h"
#include "base/span.h"

enum {
        SASL_BLOB_MAX = 9216,    /* octets: what 12288 of base64 hold, RFC 4954 section 4 */
        SASL_STEPS_MAX = 8,      /* of one exchange; the longest of ours has 4 */
        SASL_EXPORTER_LEN = 32,  /* RFC 9266 section 3 */
};

enum sasl_mechanism_flag {
        SASL_PLAINTEXT = 1, /* the password itself crosses the wire: only under TLS */
        SASL_BINDING = 2,   /* needs channel binding, hence TLS */
        SASL_EXTERNAL = 4,  /* needs a client certificate */
        SASL_PROOF = 8,     /* needs a verifier in the users file */
        SASL_SECRET = 32,   /* needs the password itself in the users file */
        SASL_APOP = 16,     /* no SASL: POP3's APOP comes this way, and is never offered as one.
                             * One message: name NUL digest NUL stamp, which is the edge's */
};

/* What this program speaks, strongest first. */
struct sasl_mechanism {
        struct span name;
        unsigned flags; /* enum sasl_mechanism_flag */
};
extern const struct sasl_mechanism sasl_mechanisms[];
extern const size_t sasl_mechanism_count;

/* By name in any case, or NULL. */
const struct sasl_mechanism *sasl_mechanism_find(struct span name);

enum sasl_status {
        SASL_CHALLENGE, /* send `out` (may be empty), feed the response */
        SASL_CHECK,     /* PLAIN, LOGIN: see above */
        SASL_GRANTED,   /* it is sasl_account() */
        SASL_REFUSED,   /* no such account, or not its secret: never say which */
        SASL_MALFORMED, /* no message of this mechanism */
        SASL_TROUBLE,   /* no memory */
};

/* Blobs as they stand in the protocols. Decoding: "=" and nothing are the empty
 * blob (RFC 4954 section 4); false where it is no base64, padded, or more than
 * SASL_BLOB_MAX octets, for which `out` has room. Encoding: with a NUL. */
enum { SASL_BASE64_MAX = SASL_BLOB_MAX / 3 * 4 };
bool sasl_decode(struct span base64, char *out, size_t *ret_len);
void sasl_encode(struct span octets, char out[SASL_BASE64_MAX + 1]);

struct sasl_engine;
struct sasl;

/* Finds the account that logs in under this name, or NULL. The result is used
 * before the call that asked returns. */
typedef const struct users_account *sasl_find_fn(void *arg, struct span login_name);

/* One for the process. NULL: no memory. */
struct sasl_engine *sasl_engine_new(sasl_find_fn *find, void *arg);
struct sasl_engine *sasl_engine_free(struct sasl_engine *e);

/* What is known of the connection. */
struct sasl_facts {
        struct span exporter;      /* tls-exporter value (RFC 9266), or empty */
        struct span end_point;     /* tls-server-end-point value (RFC 5929), or empty */
        struct span external_name; /* address that a checked client certificate names, or empty */
};

/* Begins an exchange. 0; -ENOENT (no such mechanism); -ENOMEM. */
int sasl_new(struct sasl_engine *e, struct span mechanism, const struct sasl_facts *facts,
             struct sasl **ret_s);
struct sasl *sasl_free(struct sasl *s);

/* One message of the client; `in.p` NULL: there was no initial response. `out`
 * is cleared and gets the challenge. After anything but CHALLENGE it is over. */
enum sasl_status sasl_step(struct sasl *s, struct span in, struct buffer *out);

/* As the client gave it; for the log. Empty before it was said. */
struct span sasl_login_name(const struct sasl *s);

/* Canonical address of the account it names; empty where there is none. */
struct span sasl_account(const struct sasl *s);

/* After CHECK; wiped by sasl_free(). */
struct span sasl_password(const struct sasl *s);

const struct sasl_mechanism *sasl_mechanism(const struct sasl *s);
