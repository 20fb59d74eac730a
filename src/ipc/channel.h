/* A channel: typed messages over one Unix stream socket between two of our
 * processes, or between the command line and the keeper or supervisor.
 *
 * Sending appends to an output buffer; everything sent in one round of the
 * loop leaves with one sendmsg(). Frame: u32 payload length, u16 type, u16
 * number of descriptors (0 or 1), payload.
 *
 * Credits bound what a peer can make us hold. Each end may have CHANNEL_WINDOW
 * octets under way that the other has not yet consumed; a frame counts as
 * consumed when its handler returns, unless the handler called channel_hold(),
 * which leaves the return of the credit to channel_release(). A sender of bulk
 * asks channel_has_credit() first and, if there is none, waits for the `credit`
 * callback. Small frames may always be sent; a channel whose output grows past
 * CHANNEL_OUTPUT_MAX refuses with -ENOBUFS: its peer is stuck. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/message.h"
#include "net/loop.h"

enum {
        CHANNEL_WINDOW = 2 * 1024 * 1024,
        CHANNEL_OUTPUT_MAX = 16 * 1024 * 1024,
};

struct channel;

/* A received message. The spans in `m` and the descriptor live until the
 * handler returns; take *fd by setting it to -1. */
typedef void channel_fn(struct channel *ch, void *arg, const union ipc_message *m, int *fd);

struct channel_handler {
        /* By enum ipc_type; a type without a function is a protocol error and
         * closes the channel. */
        channel_fn *on[IPC_TYPE_END];
        /* Credit came back after channel_has_credit() was false. May be NULL. */
        void (*credit)(struct channel *ch, void *arg);
        /* EOF, a protocol error (reason -EBADMSG) or a socket error. The
         * channel still exists; the callback may free it. */
        void (*closed)(struct channel *ch, void *arg, int reason);
};

/* Takes `fd` over on success. `handler` must outlive the channel.
 * 0 or a negative errno. */
int channel_new(struct loop *loop, int fd, const struct channel_handler *handler, void *arg,
                struct channel **ret_ch);

/* Closes without the `closed` callback. Accepts NULL. Safe in any callback. */
struct channel *channel_free(struct channel *ch);

/* Queues a message. `fd`, or -1, is duplicated: the caller keeps its own.
 * 0; -EMSGSIZE (a field over its limit); -ENOBUFS; -EPIPE (closed). */
int channel_send(struct channel *ch, unsigned type, const union ipc_message *m, int fd);

/* The same for a message whose last field is octets, empty in `m`: `last`, within that
 * field's limit, takes its place and goes to the socket from where it lies. It stays there
 * as it is until the peer has answered, or the channel is freed. */
int channel_send_lent(struct channel *ch, unsigned type, const union ipc_message *m,
                      struct span last);

/* Shorthand: CHANNEL_SEND(ch, drop, -1, .message_id = id). */
#define CHANNEL_SEND(ch, name, fd, ...)                                                            \
        channel_send((ch), IPC_##name, &(const union ipc_message) {.name = {__VA_ARGS__}}, (fd))

/* The same for what may wait: it leaves with the next message that may not, or when
 * channel_push() is called, which the sender sees to. A peer that is woken for
 * several at once has less to do. */
int channel_send_later(struct channel *ch, unsigned type, const union ipc_message *m, int fd);
void channel_push(struct channel *ch);

/* Whether bulk may be sent now. */
bool channel_has_credit(const struct channel *ch);

/* Octets queued here that the socket has not taken yet. */
size_t channel_output_len(const struct channel *ch);

/* Within a handler: the frame being handled is not consumed yet. Returns its
 * size, to be given to channel_release() later, exactly once. */
size_t channel_hold(struct channel *ch);
void channel_release(struct channel *ch, size_t size);

/* Writes what is queued, blocking, for at most `timeout_ms`: for the last
 * words of a process and for the command line. 0, -ETIMEDOUT, -EPIPE. */
int channel_flush(struct channel *ch, int timeout_ms);

/* A pair of connected sockets, both close-on-exec and non-blocking. */
int channel_pair(int ret_fds[2]);
