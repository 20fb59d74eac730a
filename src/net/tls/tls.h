/* TLS contexts and what is to be known of a session; OpenSSL 3 behind it.
 * net/stream.c drives the handshake. TLS 1.2 and 1.3 (RFC 8996), no
 * renegotiation, no compression. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct tls_context; /* a certificate and settings, reference counted */
struct tls_session;

/* A server's: certificate chain and private key as PEM text, in any order.
 * 0; -EINVAL, with a sentence in `ret_error` (TLS_ERROR_MAX bytes). */
enum { TLS_ERROR_MAX = 256 };
int tls_context_new_server(struct span pem, struct tls_context **ret_c, char *ret_error);

/* More of a server's: another certificate with its key, shown to clients that
 * ask for a name in it (RFC 6066 section 3). As tls_context_new_server(). */
int tls_context_add_certificate(struct tls_context *c, struct span pem, char *ret_error);

/* From now on clients are asked for a certificate. One that these authorities
 * vouch for counts (tls_session_peer_address()); none, or any other, is no
 * reason to refuse them. 0 or -EINVAL. */
int tls_context_set_client_ca(struct tls_context *c, struct span ca_pem, char *ret_error);

/* The same without authorities: for who looks at fingerprints alone. Does nothing to
 * a client's context. */
void tls_context_ask_clients(struct tls_context *c);

/* The keys that session tickets are sealed with: contexts with the same ones,
 * in several processes, resume each other's sessions. TLS_TICKET_KEYS_LEN
 * random octets. 0 or -EINVAL. */
enum { TLS_TICKET_KEYS_LEN = 80 };
int tls_context_set_ticket_keys(struct tls_context *c, struct span keys);

/* The end of the first certificate of a server's context to end, in seconds
 * since 1970. */
int64_t tls_context_ends_at(const struct tls_context *c);

/* A client's that takes any certificate (opportunistic, RFC 7435) or, with
 * `ca_pem` not empty, only those that one of these vouches for. */
int tls_context_new_client(struct span ca_pem, struct tls_context **ret_c, char *ret_error);

/* What a client demands of the server besides TLS. */
enum tls_check_kind {
        TLS_CHECK_NOTHING,
        TLS_CHECK_NAMES, /* an authority of the context vouches for one of `names` */
        TLS_CHECK_PINS,  /* `records`: SHA-256 of the certificate or of its public key, 32 octets
                          * each; who vouches for it, its names and its end do not count */
        TLS_CHECK_DANE,  /* `records`: TLSA records of usage 2 and 3 (RFC 7672 section 3.1); names
                          * count for usage 2 alone */
};
struct tls_check {
        enum tls_check_kind kind;
        const struct span *names; /* DANE: the first is the TLSA base domain. ".example.net" is any
                                   * name below it. Addresses may stand alone */
        size_t name_count;        /* at least 1 for NAMES and DANE */
        struct span records;      /* DANE: usage, selector, matching type, length in two octets,
                                   * that many octets; again */
};

struct tls_context *tls_context_ref(struct tls_context *c);
struct tls_context *tls_context_unref(struct tls_context *c);

/* Once a process, before confinement: providers, random numbers. */
int tls_warm_up(void);

/* Channel binding "tls-exporter" (RFC 9266 section 3): false where the session
 * is not of TLS 1.3, which alone makes it sure without conditions, and whose
 * default binding it is: that of TLS 1.2 is tls-unique (RFC 5802 section 6.1). */
bool tls_session_exporter(struct tls_session *t, unsigned char *out, size_t len);

/* Channel binding "tls-server-end-point" (RFC 5929 section 4.1) of a server's
 * session: the hash of the certificate that it showed, into `out` of
 * TLS_END_POINT_MAX; its length, or 0 where there is none (a certificate signed
 * with Ed25519 has no hash to take). */
enum { TLS_END_POINT_MAX = 64 };
size_t tls_session_end_point(struct tls_session *t, unsigned char *out);

/* The mail address that the peer's certificate names (the first rfc822Name, or
 * emailAddress of the subject), if we asked for one and an authority of ours
 * signed it. False: there is none. */
bool tls_session_peer_address(struct tls_session *t, char *out, size_t size);

/* Whether the peer's certificate is `wanted`: 64 hexadecimal digits in lower case
 * are its SHA-256; else an authority of ours signed it, and it has the host name or
 * mail address `wanted`, or its issuer has the common name behind "issuer:"; "*" is
 * each such certificate. Not asked for where there is none: false, and cheap. */
bool tls_session_peer_is(struct tls_session *t, struct span wanted);

/* What the peer's certificate says: the first host names in it, separated by
 * blanks, and when it ends, in seconds since 1970. False: it showed none. */
enum { TLS_NAMES_MAX = 256 };
bool tls_session_peer_certificate(struct tls_session *t, char ret_names[TLS_NAMES_MAX],
                                  int64_t *ret_ends_at);

/* The host names of the first certificate in PEM text, likewise. False: none. */
bool tls_names_of(struct span pem, char ret_names[TLS_NAMES_MAX]);

/* By what the peer was found to be the right one: "authority", "fingerprint",
 * "dane-ta", "dane-ee"; NULL where nothing was demanded. */
const char *tls_session_verified(const struct tls_session *t);

const char *tls_session_version(const struct tls_session *t); /* "TLSv1.3" */
const char *tls_session_cipher(const struct tls_session *t);  /* "TLS_AES_256_GCM_SHA384" */
int tls_session_cipher_bits(const struct tls_session *t);
