/* TLS contexts and what is to be known of a session; OpenSSL 3 behind it.
 * net/stream.c drives the handshake. TLS 1.2 and 1.3 (RFC 8996), no
 * renegotiation, no compression. */
#pragma once

#include <stdbool.h>

#include "base/span.h"

struct tls_context; /* a certificate and settings, reference counted */
struct tls_session;

/* A server's: certificate chain and private key as PEM text, in any order.
 * 0; -EINVAL, with a sentence in `ret_error` (TLS_ERROR_MAX bytes). */
enum { TLS_ERROR_MAX = 256 };
int tls_context_new_server(struct span pem, struct tls_context **ret_c, char *ret_error);

/* A client's that takes any certificate (opportunistic, RFC 7435) or, with
 * `ca_pem` not empty, only those that one of these vouches for. */
int tls_context_new_client(struct span ca_pem, struct tls_context **ret_c, char *ret_error);

struct tls_context *tls_context_ref(struct tls_context *c);
struct tls_context *tls_context_unref(struct tls_context *c);

/* Once a process, before confinement: providers, random numbers. */
int tls_warm_up(void);

/* Channel binding "tls-exporter" (RFC 9266 section 3): false where the session
 * is not of TLS 1.3, which alone makes it sure without conditions. */
bool tls_session_exporter(struct tls_session *t, unsigned char *out, size_t len);

/* The mail address that the peer's certificate names (the first rfc822Name, or
 * emailAddress of the subject), if we asked for one and an authority of ours
 * signed it. False: there is none. */
bool tls_session_peer_address(struct tls_session *t, char *out, size_t size);

const char *tls_session_version(const struct tls_session *t); /* "TLSv1.3" */
const char *tls_session_cipher(const struct tls_session *t);  /* "TLS_AES_256_GCM_SHA384" */
int tls_session_cipher_bits(const struct tls_session *t);
