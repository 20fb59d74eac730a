#include "ipc/channel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* Frame: u32 payload length, u16 type, u16 descriptors (0 or 1). Type 0 is the
 * channel's own: u32 octets the peer has consumed. */
enum {
        HEAD_LEN = 8,
        TYPE_CREDIT = 0,
        READ_STEP = 64 * 1024,
        INPUT_MAX = HEAD_LEN + IPC_PAYLOAD_MAX + READ_STEP,
        READS_PER_ROUND = 8,    /* then the other channels have their turn */
        DESCRIPTORS_MAX = 1024, /* under way on one channel, either direction */
        CREDIT_STEP = CHANNEL_WINDOW / 4,
        LENT_MAX = 32,   /* fields that are not copied, on their way at once */
        LENT_MIN = 1024, /* octets; copying fewer costs less */
};

/* Octets that belong into the output and lie elsewhere. */
struct lent {
        size_t at; /* in `output` */
        struct span octets;
};

/* Descriptors under way, oldest first. */
struct descriptor_queue {
        struct {
                uint64_t at; /* sending: stream position of its frame */
                int fd;
        } *items;
        size_t count, room;
};

struct channel {
        struct loop *loop;
        struct poller *poller;
        struct deferred flush;
        const struct channel_handler *handler;
        void *arg;
        int fd;

        struct buffer input;
        struct descriptor_queue received;

        struct buffer output;
        struct descriptor_queue to_send;
        uint64_t output_at; /* stream position of the first octet in output */
        struct lent lent[LENT_MAX];
        unsigned lent_count;
        size_t lent_len; /* `output` always has room for so many octets more */

        uint64_t in_flight; /* sent, not yet consumed by the peer */
        uint64_t consumed;  /* by us, not yet told */
        bool is_starved;    /* somebody was told that there is no credit */

        size_t handled_size; /* of the frame in its handler; 0: held or none */
        unsigned busy;       /* callbacks on the stack */
        bool is_closed;
        bool is_freed;
};

static void flush_deferred(struct deferred *d);
static void on_ready(void *arg, int events);

int channel_pair(int ret_fds[2])
{
        return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret_fds) < 0
                       ? -errno
                       : 0;
}

int channel_new(struct loop *loop, int fd, const struct channel_handler *handler, void *arg,
                struct channel **ret_ch)
{
        struct channel *ch = calloc(1, sizeof *ch);
        int r;

        if (!ch)
                return -ENOMEM;
        *ch = (struct channel) {
                .loop = loop,
                .flush.run = flush_deferred,
                .handler = handler,
                .arg = arg,
                .fd = fd,
                .input = BUFFER_INIT(INPUT_MAX),
                .output = BUFFER_INIT(CHANNEL_OUTPUT_MAX + HEAD_LEN + IPC_PAYLOAD_MAX),
        };
        r = poller_new(loop, fd, on_ready, ch, &ch->poller);
        if (r < 0) {
                free(ch);
                return r;
        }
        poller_set(ch->poller, POLL_READ);
        *ret_ch = ch;
        return 0;
}

/* ---- descriptors ------------------------------------------------------- */

static int descriptor_put(struct descriptor_queue *q, uint64_t at, int fd)
{
        if (q->count == DESCRIPTORS_MAX)
                return -ENOBUFS;
        if (q->count == q->room) {
                const size_t room = q->room ? q->room * 2 : 4;
                void *items = realloc(q->items, room * sizeof *q->items);

                if (!items)
                        return -ENOMEM;
                q->items = items;
                q->room = room;
        }
        q->items[q->count].at = at;
        q->items[q->count++].fd = fd;
        return 0;
}

static int descriptor_take(struct descriptor_queue *q)
{
        int fd;

        if (q->count == 0)
                return -1;
        fd = q->items[0].fd;
        memmove(q->items, q->items + 1, --q->count * sizeof *q->items);
        return fd;
}

static void descriptors_done(struct descriptor_queue *q)
{
        while (q->count)
                close(descriptor_take(q));
        free(q->items);
        *q = (struct descriptor_queue) {0};
}

/* ---- life -------------------------------------------------------------- */

static void release_all(struct channel *ch)
{
        deferred_cancel(&ch->flush);
        ch->poller = poller_free(ch->poller);
        if (ch->fd >= 0)
                close(ch->fd);
        ch->fd = -1;
        buffer_done(&ch->output);
        ch->lent_count = 0;
        ch->lent_len = 0;
        descriptors_done(&ch->to_send);
        descriptors_done(&ch->received);
}

struct channel *channel_free(struct channel *ch)
{
        if (!ch)
                return NULL;
        ch->is_freed = ch->is_closed = true;
        if (ch->busy)
                return NULL; /* leave() frees it: a caller of ours still looks at it */
        release_all(ch);
        buffer_done(&ch->input);
        free(ch);
        return NULL;
}

static void enter(struct channel *ch)
{
        ch->busy++;
}

/* False when the channel is gone. */
static bool leave(struct channel *ch)
{
        assert(ch->busy);
        if (--ch->busy || !ch->is_freed)
                return true;
        channel_free(ch);
        return false;
}

static void close_with(struct channel *ch, int reason)
{
        if (ch->is_closed)
                return;
        ch->is_closed = true;
        release_all(ch);
        if (ch->handler->closed)
                ch->handler->closed(ch, ch->arg, reason);
}

/* ---- sending ----------------------------------------------------------- */

static void put_head(char *to, size_t payload_len, unsigned type, bool has_fd)
{
        for (int i = 0; i < 4; i++)
                to[i] = (char) (payload_len >> (8 * i));
        to[4] = (char) type;
        to[5] = (char) (type >> 8);
        to[6] = has_fd;
        to[7] = 0;
}

/* Copies to where they belong the octets that lie elsewhere. */
static void take_lent(struct channel *ch)
{
        char *base = ch->output.data + ch->output.start;
        size_t end = ch->output.len, shift = ch->lent_len;

        if (ch->lent_count == 0)
                return;
        buffer_commit(&ch->output, ch->lent_len);
        while (ch->lent_count) {
                const struct lent *l = &ch->lent[--ch->lent_count];

                memmove(base + l->at + shift, base + l->at, end - l->at);
                shift -= l->octets.len;
                memcpy(base + l->at + shift, l->octets.p, l->octets.len);
                end = l->at;
        }
        ch->lent_len = 0;
}

/* Sends all there is as it lies; what the socket does not take is copied. 0 or an error. */
static int send_lent(struct channel *ch)
{
        const size_t len = ch->output.len + ch->lent_len;
        char *base = ch->output.data + ch->output.start;
        struct iovec parts[2 * LENT_MAX + 1];
        struct msghdr message = {.msg_iov = parts};
        size_t at = 0;
        ssize_t n;

        for (unsigned i = 0; i < ch->lent_count; i++) {
                const struct lent *l = &ch->lent[i];

                parts[2 * i] = (struct iovec) {base + at, l->at - at};
                parts[2 * i + 1] = (struct iovec) {(char *) (uintptr_t) l->octets.p,
                                                   l->octets.len};
                at = l->at;
        }
        parts[2 * ch->lent_count] = (struct iovec) {base + at, ch->output.len - at};
        message.msg_iovlen = 2 * ch->lent_count + 1;
        n = sendmsg(ch->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
                return -errno;
        if (n > 0)
                ch->output_at += (uint64_t) n;
        if (n == (ssize_t) len) {
                buffer_clear(&ch->output);
                ch->lent_count = 0;
                ch->lent_len = 0;
                return 0;
        }
        take_lent(ch);
        if (n > 0)
                buffer_consume(&ch->output, (size_t) n);
        return 0;
}

/* How much may leave in one call: up to the next frame with a descriptor;
 * that frame's descriptor itself when it stands first. */
static size_t next_run(const struct channel *ch, int *ret_fd)
{
        const struct descriptor_queue *q = &ch->to_send;
        size_t i = 0;

        *ret_fd = -1;
        if (q->count && q->items[0].at == ch->output_at) {
                *ret_fd = q->items[0].fd;
                i = 1;
        }
        return i < q->count ? (size_t) (q->items[i].at - ch->output_at) : ch->output.len;
}

static ssize_t send_run(struct channel *ch)
{
        union {
                struct cmsghdr head;
                char room[CMSG_SPACE(sizeof(int))];
        } control = {0};
        int fd;
        struct iovec part = {.iov_base = ch->output.data + ch->output.start,
                             .iov_len = next_run(ch, &fd)};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        ssize_t n;

        if (fd >= 0) {
                message.msg_control = control.room;
                message.msg_controllen = sizeof control.room;
                control.head.cmsg_level = SOL_SOCKET;
                control.head.cmsg_type = SCM_RIGHTS;
                control.head.cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
        }
        n = sendmsg(ch->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
                return -errno;
        if (fd >= 0)
                close(descriptor_take(&ch->to_send));
        ch->output_at += (uint64_t) n;
        buffer_consume(&ch->output, (size_t) n);
        return n;
}

/* 0: all gone, or the socket is full; else the error that ends the channel. */
static int flush(struct channel *ch)
{
        int r = 0;

        if (ch->to_send.count) /* descriptors cut what may leave at once */
                take_lent(ch);
        if (ch->lent_count)
                r = send_lent(ch);
        if (r < 0)
                return r;
        while (ch->output.len) {
                ssize_t n = send_run(ch);

                if (n == -EINTR)
                        continue;
                if (n == -EAGAIN)
                        break;
                if (n < 0)
                        return (int) n;
        }
        poller_set(ch->poller, ch->output.len ? POLL_READ | POLL_WRITE : POLL_READ);
        return 0;
}

static void flush_deferred(struct deferred *d)
{
        struct channel *ch = LIST_OBJECT(d, struct channel, flush);
        int r;

        if (ch->is_closed)
                return;
        r = flush(ch);
        if (r < 0) {
                enter(ch);
                close_with(ch, r);
                leave(ch);
        }
}

static void send_credit(struct channel *ch)
{
        char *to;

        if (ch->is_closed || ch->consumed < CREDIT_STEP)
                return;
        if (buffer_reserve(&ch->output, HEAD_LEN + 4 + ch->lent_len, &to) < 0)
                return; /* told with the next frame that is consumed */
        put_head(to, 4, TYPE_CREDIT, false);
        for (int i = 0; i < 4; i++)
                to[HEAD_LEN + i] = (char) (ch->consumed >> (8 * i));
        buffer_commit(&ch->output, HEAD_LEN + 4);
        ch->consumed = 0;
        loop_defer(ch->loop, &ch->flush);
}

/* `last` has a place among those that are lent. */
static void lend(struct channel *ch, struct span last)
{
        ch->lent[ch->lent_count++] = (struct lent) {ch->output.len, last};
        ch->lent_len += last.len;
}

/* The last field of what was encoded is empty: `last` takes its place. 0, -ENOMEM, -EMSGSIZE. */
static int put_last(struct channel *ch, struct span last)
{
        char *to;
        int r;

        for (size_t i = 0; i < 4; i++)
                ch->output.data[ch->output.start + ch->output.len - 4 + i] =
                        (char) (last.len >> (8 * i));
        if (last.len < LENT_MIN || ch->lent_count == LENT_MAX)
                return buffer_append_span(&ch->output, last);
        r = buffer_reserve(&ch->output, ch->lent_len + last.len, &to);
        if (r == 0)
                lend(ch, last);
        return r;
}

static int queue(struct channel *ch, unsigned type, const union ipc_message *m, int fd,
                 struct span last)
{
        const size_t len = ch->output.len, lent_len = ch->lent_len;
        const unsigned lent_count = ch->lent_count;
        const uint64_t at = ch->output_at + len + lent_len;
        size_t payload_len;
        char *to;
        int r;

        if (ch->is_closed)
                return -EPIPE;
        if (len + lent_len > CHANNEL_OUTPUT_MAX)
                return -ENOBUFS;
        r = buffer_reserve(&ch->output, HEAD_LEN, &to);
        if (r < 0)
                return r;
        buffer_commit(&ch->output, HEAD_LEN);
        r = ipc_encode(&ch->output, type, m);
        if (r == 0 && last.len)
                r = put_last(ch, last);
        if (r == 0) /* what was lent before keeps its room */
                r = buffer_reserve(&ch->output, ch->lent_len, &to);
        payload_len = ch->output.len + ch->lent_len - len - lent_len - HEAD_LEN;
        if (r == 0 && payload_len > IPC_PAYLOAD_MAX)
                r = -EMSGSIZE;
        if (r == 0 && fd >= 0) {
                int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

                r = copy < 0 ? -errno : descriptor_put(&ch->to_send, at, copy);
                if (r < 0 && copy >= 0)
                        close(copy);
        }
        if (r < 0) {
                ch->output.len = len;
                ch->lent_len = lent_len;
                ch->lent_count = lent_count;
                return r;
        }
        put_head(ch->output.data + ch->output.start + len, payload_len, type, fd >= 0);
        ch->in_flight += HEAD_LEN + payload_len;
        return 0;
}

int channel_send_later(struct channel *ch, unsigned type, const union ipc_message *m, int fd)
{
        return queue(ch, type, m, fd, (struct span) {0});
}

int channel_send_lent(struct channel *ch, unsigned type, const union ipc_message *m,
                      struct span last)
{
        const int r = queue(ch, type, m, -1, last);

        if (r == 0)
                channel_push(ch);
        return r;
}

void channel_push(struct channel *ch)
{
        if (!ch->is_closed && ch->output.len)
                loop_defer(ch->loop, &ch->flush);
}

int channel_send(struct channel *ch, unsigned type, const union ipc_message *m, int fd)
{
        const int r = channel_send_later(ch, type, m, fd);

        if (r == 0)
                channel_push(ch);
        return r;
}

bool channel_has_credit(const struct channel *ch)
{
        if (ch->in_flight < CHANNEL_WINDOW)
                return true;
        /* A note to ourselves, nothing seen from outside. */
        ((struct channel *) ch)->is_starved = true;
        return false;
}

size_t channel_output_len(const struct channel *ch)
{
        return ch->output.len + ch->lent_len;
}

static int wait_writable(struct channel *ch, uint64_t until_us)
{
        const uint64_t now = clock_monotonic_us();
        struct pollfd p = {.fd = ch->fd, .events = POLLOUT};

        if (now >= until_us)
                return -ETIMEDOUT;
        if (poll(&p, 1, (int) ((until_us - now) / 1000 + 1)) < 0 && errno != EINTR)
                return -errno;
        return 0;
}

int channel_flush(struct channel *ch, int timeout_ms)
{
        const uint64_t until_us = clock_monotonic_us() + (uint64_t) timeout_ms * 1000;

        for (;;) {
                int r = ch->is_closed ? -EPIPE : flush(ch);

                if (r < 0 || ch->output.len == 0)
                        return r;
                r = wait_writable(ch, until_us);
                if (r < 0)
                        return r;
        }
}

/* ---- receiving --------------------------------------------------------- */

size_t channel_hold(struct channel *ch)
{
        const size_t size = ch->handled_size;

        ch->handled_size = 0;
        return size;
}

void channel_release(struct channel *ch, size_t size)
{
        ch->consumed += size;
        send_credit(ch);
}

static void on_credit(struct channel *ch, struct span payload)
{
        struct reader in = READER(payload);
        const uint32_t octets = read_u32(&in);

        if (!read_is_complete(&in) || octets > ch->in_flight) {
                close_with(ch, -EBADMSG);
                return;
        }
        ch->in_flight -= octets;
        if (ch->is_starved && ch->in_flight < CHANNEL_WINDOW) {
                ch->is_starved = false;
                if (ch->handler->credit)
                        ch->handler->credit(ch, ch->arg);
        }
}

static void handle_frame(struct channel *ch, unsigned type, bool has_fd, struct span payload)
{
        union ipc_message m;
        int fd = -1;

        if (type == TYPE_CREDIT) {
                on_credit(ch, payload);
                return;
        }
        if (has_fd) {
                fd = descriptor_take(&ch->received);
                if (fd < 0) {
                        close_with(ch, -EBADMSG);
                        return;
                }
        }
        if (type >= IPC_TYPE_END || !ch->handler->on[type] || ipc_decode(type, payload, &m) < 0) {
                close_with(ch, -EBADMSG);
        } else {
                ch->handled_size = HEAD_LEN + payload.len;
                ch->handler->on[type](ch, ch->arg, &m, &fd);
                ch->consumed += ch->handled_size;
                ch->handled_size = 0;
                send_credit(ch);
        }
        if (fd >= 0)
                close(fd);
}

static void handle_input(struct channel *ch)
{
        while (!ch->is_closed && ch->input.len >= HEAD_LEN) {
                struct reader in = READER(buffer_span(&ch->input));
                const uint32_t len = read_u32(&in);
                const unsigned type = read_u16(&in);
                const unsigned fds = read_u16(&in);

                if (len > IPC_PAYLOAD_MAX || fds > 1) {
                        close_with(ch, -EBADMSG);
                        return;
                }
                if (in.rest.len < len)
                        return;
                handle_frame(ch, type, fds == 1, span_first(in.rest, len));
                buffer_consume(&ch->input, HEAD_LEN + len);
        }
}

/* Descriptors that came with this recvmsg(). */
static int keep_descriptors(struct channel *ch, struct msghdr *message)
{
        int r = message->msg_flags & MSG_CTRUNC ? -EBADMSG : 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < count; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
                        if (r == 0)
                                r = descriptor_put(&ch->received, 0, fd);
                        if (r < 0)
                                close(fd);
                }
        }
        return r;
}

/* Octets read, 0 at the end, or a negative errno. */
static ssize_t receive(struct channel *ch)
{
        union {
                struct cmsghdr head;
                char room[CMSG_SPACE(8 * sizeof(int))];
        } control;
        struct iovec part = {.iov_len = READ_STEP};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room,
                                 .msg_controllen = sizeof control.room};
        char *to;
        ssize_t n;
        int r = buffer_reserve(&ch->input, READ_STEP, &to);

        if (r < 0)
                return r;
        part.iov_base = to;
        n = recvmsg(ch->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0)
                return -errno;
        r = keep_descriptors(ch, &message);
        if (r < 0)
                return r;
        buffer_commit(&ch->input, (size_t) n);
        return n;
}

static void read_some(struct channel *ch)
{
        for (int i = 0; i < READS_PER_ROUND && !ch->is_closed; i++) {
                ssize_t n = receive(ch);

                if (n == -EINTR)
                        continue;
                if (n == -EAGAIN)
                        return;
                if (n <= 0) {
                        close_with(ch, (int) n);
                        return;
                }
                handle_input(ch);
                if (n < READ_STEP)
                        return; /* that was all, most likely; level-triggered polling says if not */
        }
}

static void on_ready(void *arg, int events)
{
        struct channel *ch = arg;

        enter(ch);
        if (events & POLL_READ)
                read_some(ch);
        if (events & POLL_WRITE && !ch->is_closed) {
                int r = flush(ch);

                if (r < 0)
                        close_with(ch, r);
        }
        leave(ch);
}
