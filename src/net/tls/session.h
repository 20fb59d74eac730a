/* A TLS session on a non-blocking socket: what net/stream.c drives, private
 * to net/. The socket stays the caller's. */
#pragma once

#include <stddef.h>

#include "net/tls/tls.h"

enum tls_want { TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, TLS_END, TLS_FAILED };

/* A session of the kind the context is for. A client asks for `server_name`
 * (RFC 6066 section 3) unless it is empty or an address, and a context with
 * CA certificates checks the peer's certificate against it. 0, -ENOMEM, or
 * -EINVAL for a name that cannot be one. */
int tls_session_new(struct tls_context *c, int fd, struct span server_name,
                    struct tls_session **ret_t);
/* The same with demands on the server; they need not live on. -EINVAL also where
 * no record can be used. */
int tls_session_new_checked(struct tls_context *c, int fd, struct span server_name,
                            const struct tls_check *check, struct tls_session **ret_t);
struct tls_session *tls_session_free(struct tls_session *t);

/* Each does what it can without waiting. TLS_DONE: it went on (`*ret_len` > 0
 * octets moved); TLS_WANT_READ, TLS_WANT_WRITE: wait for the socket; TLS_END:
 * the peer closed; TLS_FAILED: tls_session_error() says why. */
enum tls_want tls_session_handshake(struct tls_session *t);
enum tls_want tls_session_read(struct tls_session *t, char *out, size_t size, size_t *ret_len);
enum tls_want tls_session_write(struct tls_session *t, struct span octets, size_t *ret_len);

/* Queues our close_notify, if the socket takes it. */
void tls_session_shutdown(struct tls_session *t);

/* What went wrong, in words; lives until the next call. `ret_reason` is the
 * negative errno for the handler: -EPROTO, or that of the socket. */
const char *tls_session_error(struct tls_session *t, int *ret_reason);
