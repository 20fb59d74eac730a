/* Client side of SASL: how we prove to another server who we are. GNU SASL
 * behind it; pure but for the library, as auth/sasl.h.
 *
 *   sasl_client_new ──► sasl_client_step ──► SEND … ──► SEND, is_done ──► (accepted)
 *
 * An exchange that both sides prove themselves in (SCRAM) is only good once
 * sasl_client_is_done(): a server that accepts before does not know the
 * password. */
#pragma once

#include <stdbool.h>

#include "auth/sasl.h"
#include "base/buffer.h"
#include "base/span.h"

struct sasl_client_engine;
struct sasl_client;

/* One for the process. NULL: no memory. */
struct sasl_client_engine *sasl_client_engine_new(void);
struct sasl_client_engine *sasl_client_engine_free(struct sasl_client_engine *e);

/* The best of `offered` (names, blanks between them) that is also in `allowed`
 * (the same; empty: all of ours), or empty. -PLUS only with channel binding. */
struct span sasl_client_choose(struct span offered, struct span allowed, bool has_exporter);

struct sasl_client_order {
        struct span mechanism; /* of sasl_client_choose() */
        struct span login_name, password;
        struct span exporter;  /* SASL_EXPORTER_LEN octets, or empty */
};

/* Everything is copied. 0; -EINVAL (NUL in a text, no such mechanism); -ENOMEM. */
int sasl_client_new(struct sasl_client_engine *e, const struct sasl_client_order *order,
                    struct sasl_client **ret_s);
struct sasl_client *sasl_client_free(struct sasl_client *s); /* wipes */

/* Whether the client speaks first: step once with {0} for that. */
bool sasl_client_is_first(const struct sasl_client *s);

/* A message of the server; `out` is cleared and gets ours. 0; -EACCES: it did
 * not prove that it knows the password; -EPROTO: no message of this mechanism. */
int sasl_client_step(struct sasl_client *s, struct span in, struct buffer *out);
bool sasl_client_is_done(const struct sasl_client *s);
