/* A connection with a peer we do not trust: a non-blocking socket, TLS or not,
 * input handed over as it comes, output buffered within a limit.
 *
 * An idle stream holds no input or output memory: octets are read into one
 * buffer of the loop's and only what the owner leaves is kept. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "net/loop.h"
#include "net/tls/tls.h"

struct stream;

struct stream_handler {
        /* Octets came. Returns how many of `in` were used; the rest is shown
         * again in front of the next ones, or after stream_resume(). The stream
         * may be closed or freed in here; the return value then counts no more. */
        size_t (*input)(struct stream *s, void *arg, struct span in);
        /* The output buffer fell below half of its limit after having been
         * above it, or became empty. May be NULL. */
        void (*drained)(struct stream *s, void *arg);
        /* The TLS handshake ended well; see stream_tls(). May be NULL. */
        void (*secured)(struct stream *s, void *arg);
        /* reason: 0 end of input by the peer, told as soon as it is seen (not
         * while the stream is paused), kept octets or not; -ECONNRESET and the like; -EPROTO
         * TLS trouble (stream_error() says it in words); -ETIMEDOUT. No further
         * callback comes; free the stream. */
        void (*closed)(struct stream *s, void *arg, int reason);
        /* The peer will send nothing more, and may well read. True: something is still
         * owed to it; the stream is paused, and asks again when it is resumed. NULL or
         * false: `closed`. */
        bool (*ended)(struct stream *s, void *arg);
        /* The deadline has come; it is off now, and the stream as it was. NULL:
         * `closed` with -ETIMEDOUT instead. */
        void (*expired)(struct stream *s, void *arg);
};

struct stream_limits {
        size_t input_max;  /* octets kept unused, and most in one read; reading pauses at it */
        size_t output_max; /* stream_write() refuses above it */
};

/* Takes over `fd`, which is connected. 0 or negative errno: then `fd` is still
 * the caller's. */
int stream_new(struct loop *l, int fd, const struct stream_limits *limits,
               const struct stream_handler *handler, void *arg, struct stream **ret_s);

/* The same for a client's that may still be connecting: `drained` tells when
 * the connection stands, `closed` when it does not come to be. */
int stream_new_connecting(struct loop *l, int fd, const struct stream_limits *limits,
                          const struct stream_handler *handler, void *arg, struct stream **ret_s);

/* Closes at once; queued output is lost. Accepts NULL. Safe in any callback. */
struct stream *stream_free(struct stream *s);

/* Queues octets; everything of one round leaves with as few writes as may be.
 * 0, -ENOBUFS (output_max), -EPIPE. */
int stream_write(struct stream *s, struct span octets);

/* The same at once: what the kernel takes now is neither kept nor copied, and no
 * `drained` follows it; the rest is queued. For an owner that has gathered all that
 * it has to say. */
int stream_write_now(struct stream *s, struct span octets);

/* Octets not yet taken by the kernel. */
size_t stream_output_len(const struct stream *s);

/* Stops and resumes calling `input`. Resuming shows kept octets again, from a
 * deferred call, never from within stream_resume(). */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);

/* Sends what is queued, then closes (TLS close_notify, shutdown), waits for the
 * peer's end, then calls `closed` with 0; at most `timeout_ms` later. No more
 * input is shown. (Closing at once would destroy the last reply on its way
 * where the peer is still sending.) */
void stream_finish(struct stream *s, uint64_t timeout_ms);

/* The same for a peer that has said its last word: where nothing of it waits
 * unread, the end is not waited for, which spares half of what ending costs. Under
 * TLS it is: clients say close_notify after it, and some die of an answer to that. */
void stream_finish_soon(struct stream *s, uint64_t timeout_ms);

/* `closed` with -ETIMEDOUT when nothing was read or written for that long; 0
 * switches it off. */
void stream_set_idle_timeout(struct stream *s, uint64_t ms);

/* `expired` in `ms` from now, whatever comes and goes until then; 0 switches it
 * off. Setting it again moves it, which is cheap. For a peer that is slow on
 * purpose: what counts as progress, the owner knows. */
void stream_set_deadline(struct stream *s, uint64_t ms);

/* TLS on this stream, after what is queued has been sent. Octets read but not
 * used are discarded: whoever sent them before the handshake was not entitled
 * to (RFC 3207 section 4.2). Server: `server_name` empty. */
int stream_start_tls(struct stream *s, struct tls_context *context, struct span server_name);

/* The same for a client that demands something of its server; `check` need not
 * live on. */
int stream_start_tls_checked(struct stream *s, struct tls_context *context,
                             struct span server_name, const struct tls_check *check);

/* The TLS session, or NULL while there is none. */
struct tls_session *stream_tls(struct stream *s);

int stream_fd(const struct stream *s);
const char *stream_error(const struct stream *s); /* never NULL */
