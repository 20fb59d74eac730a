/* Making certificates: a self-signed one to begin with, a request for an
 * authority, an authority of one's own and what it signs. For the command line;
 * no process of the server makes any.
 *
 * Keys are of P-256. Names with "@" are mail addresses, for certificates that
 * clients log in with; all others host names. The first is the common name. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/span.h"
#include "net/tls/tls.h"

enum { CERTIFICATE_NAMES_MAX = 100, CERTIFICATE_NAME_MAX = 253 };

struct certificate_order {
        const struct span *names; /* 1 … CERTIFICATE_NAMES_MAX */
        size_t name_count;
        unsigned days;
        bool is_authority; /* may sign others, and nothing else */
};

/* PEM text of the certificate and its new key, appended. `authority`: PEM of
 * certificate and key of the one that signs; empty: it signs itself. 0, or
 * -EINVAL with a sentence in `ret_error` (TLS_ERROR_MAX bytes). */
int certificate_make(const struct certificate_order *o, struct span authority,
                     struct buffer *ret_certificate, struct buffer *ret_key, char *ret_error);

/* The same for a request (PKCS #10) to an authority elsewhere. */
int certificate_request(const struct certificate_order *o, struct buffer *ret_request,
                        struct buffer *ret_key, char *ret_error);
