#include "net/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "net/tls/session.h"

/* Reads of one stream in one round, so that a fast peer leaves the others
 * their turn. */
enum { READS_MAX = 4 };

/* CONNECTING ──► OPEN ──► TLS_WAIT ──► HANDSHAKE ──► OPEN (with `tls`)
 *      └───────────────────▲    OPEN ──► FINISHING ──► LINGERING
 * and from each to CLOSED, which set_closed() alone does.
 *
 *  TLS_WAIT   what was queued before stream_start_tls() is being sent
 *  FINISHING  what is queued is being sent, input is thrown away
 *  LINGERING  our side is shut; the peer's end is awaited, because closing on
 *             unread input would reset the connection and destroy our last
 *             reply on its way
 *
 * Invariants: nothing is read in CONNECTING and TLS_WAIT. `plain_left` octets
 * at the front of `out` go out in plaintext; the rest is under TLS. A stream
 * freed inside a callback lives on as an empty shell until `busy` is 0. */
enum state { CONNECTING, OPEN, TLS_WAIT, HANDSHAKE, FINISHING, LINGERING, CLOSED };

struct stream {
        struct loop *loop;
        struct poller *poller;
        struct timer *timer; /* idle, and the end of stream_finish() */
        const struct stream_handler *handler;
        void *arg;
        struct stream_limits limits;
        struct buffer in;  /* octets shown and not used */
        struct buffer out; /* octets not taken by the kernel */
        size_t plain_left;
        struct deferred work; /* flushes, and shows kept input again */
        struct tls_session *tls;
        char *error;
        uint64_t idle_ms;
        uint64_t deadline_at_ms; /* of loop_now_ms(); 0: none */
        int fd;
        int16_t write_error;    /* of stream_write_now(), not told yet; negative */
        uint8_t state;
        uint8_t busy;           /* callbacks of this stream that are running */
        bool is_freed;
        bool is_paused;
        bool show_again;        /* resumed: show `in` even without new octets */
        bool write_blocked;     /* the socket took less than all */
        bool read_wants_write;  /* TLS */
        bool was_above_half;    /* of output_max */
        bool may_end_soon;      /* stream_finish_soon() */
        bool input_void;        /* TLS began in `input`: what it leaves is void */
};

static void set_state(struct stream *s, enum state state)
{
        assert(s->state != CLOSED);
        s->state = (uint8_t) state;
}

static void update_events(struct stream *s)
{
        int events = 0;

        switch ((enum state) s->state) {
        case CONNECTING:
                events = POLL_WRITE;
                break;
        case HANDSHAKE:
                events = s->write_blocked ? POLL_WRITE : POLL_READ;
                break;
        case OPEN:
                if (!s->is_paused && s->in.len < s->limits.input_max)
                        events = POLL_READ;
                break;
        case FINISHING: /* input must not fill the socket and block the peer */
        case LINGERING:
                events = POLL_READ;
                break;
        case TLS_WAIT:
        case CLOSED:
                break;
        }
        if (s->write_blocked || s->read_wants_write)
                events |= POLL_WRITE;
        if (s->poller)
                poller_set(s->poller, events);
}

static void release(struct stream *s)
{
        buffer_done(&s->in);
        buffer_done(&s->out);
        free(s->error);
        free(s);
}

/* Around each callback. False: the stream is gone, do not touch it. */
static void enter(struct stream *s)
{
        s->busy++;
}

static bool leave(struct stream *s)
{
        if (--s->busy == 0 && s->is_freed) {
                release(s);
                return false;
        }
        return !s->is_freed;
}

static void set_error(struct stream *s, const char *text)
{
        free(s->error);
        s->error = strdup(text); /* NULL: stream_error() says less */
}

/* The one way to the end; `closed` is the last callback. */
static void set_closed(struct stream *s, int reason)
{
        set_state(s, CLOSED);
        s->poller = poller_free(s->poller);
        s->timer = timer_free(s->timer);
        deferred_cancel(&s->work);
        if (reason < 0 && !s->error)
                set_error(s, strerror(-reason));
        enter(s);
        s->handler->closed(s, s->arg, reason);
        leave(s);
}

static void close_by_tls(struct stream *s)
{
        int reason;
        const char *text = tls_session_error(s->tls, &reason);

        set_error(s, text);
        if (s->state == FINISHING || s->state == LINGERING)
                reason = 0; /* we were closing anyway */
        set_closed(s, reason);
}

/* The timer runs to what comes first: silence for too long, or the deadline. */
static void touch(struct stream *s)
{
        uint64_t wait_ms = s->idle_ms ? s->idle_ms : UINT64_MAX;

        if (s->state >= FINISHING)
                return;
        if (s->deadline_at_ms) {
                const uint64_t now_ms = loop_now_ms(s->loop);
                const uint64_t left_ms = s->deadline_at_ms > now_ms ? s->deadline_at_ms - now_ms
                                                                     : 0;

                wait_ms = left_ms < wait_ms ? left_ms : wait_ms;
        }
        if (wait_ms != UINT64_MAX)
                timer_set(s->timer, wait_ms);
        else if (timer_is_set(s->timer))
                timer_stop(s->timer);
}

/* Input. */

/* Shows `fresh`, behind what is kept. False: the stream is gone or closed. */
static bool show(struct stream *s, struct span fresh)
{
        struct span all = fresh;
        size_t used;

        if (s->in.len) {
                if (buffer_append_span(&s->in, fresh) < 0) {
                        set_closed(s, -ENOMEM);
                        return false;
                }
                all = buffer_span(&s->in);
        }
        s->input_void = false;
        enter(s);
        used = s->handler->input(s, s->arg, all);
        if (!leave(s) || s->state == CLOSED)
                return false;
        if (s->input_void || s->state >= FINISHING) {
                buffer_done(&s->in);
                return true;
        }
        assert(used <= all.len);
        if (s->in.len) {
                buffer_consume(&s->in, used);
                if (s->in.len == 0)
                        buffer_shrink(&s->in, 0);
        } else if (used < all.len && buffer_append_span(&s->in, span_skip(all, used)) < 0) {
                set_closed(s, -ENOMEM);
                return false;
        }
        return true;
}

/* As read(2), for both kinds: > 0 octets, 0 end, -EAGAIN, or another error,
 * already dealt with: -ECANCELED. */
static ssize_t receive(struct stream *s, char *out, size_t size)
{
        size_t len;
        ssize_t n;

        if (!s->tls) {
                do
                        n = read(s->fd, out, size);
                while (n < 0 && errno == EINTR);
                if (n >= 0 || errno == EAGAIN)
                        return n >= 0 ? n : -EAGAIN;
                set_closed(s, s->state >= FINISHING ? 0 : -errno);
                return -ECANCELED;
        }
        switch (tls_session_read(s->tls, out, size, &len)) {
        case TLS_DONE:
                return (ssize_t) len;
        case TLS_WANT_WRITE:
                s->read_wants_write = true;
                return -EAGAIN;
        case TLS_WANT_READ:
                return -EAGAIN;
        case TLS_END:
                return 0;
        case TLS_FAILED:
                break;
        }
        close_by_tls(s);
        return -ECANCELED;
}

static bool may_read(const struct stream *s)
{
        return s->state == OPEN && !s->is_paused && s->in.len < s->limits.input_max;
}

/* False: gone or closed. */
static bool end_of_input(struct stream *s)
{
        bool is_owed = false;

        if (s->handler->ended) {
                enter(s);
                is_owed = s->handler->ended(s, s->arg);
                if (!leave(s) || s->state != OPEN)
                        return false;
        }
        if (is_owed)
                s->is_paused = true; /* its end is seen again when it is resumed */
        else
                set_closed(s, 0);
        return is_owed;
}

/* Reads what has come. TLS is read until it has no more, since a record that
 * OpenSSL holds is not seen by the poller. False: gone or closed. */
static bool read_input(struct stream *s)
{
        char *to = loop_read_buffer(s->loop);

        for (int reads = 0; may_read(s); reads++) {
                size_t size = s->limits.input_max - s->in.len;
                ssize_t n;

                if (size > LOOP_READ_BUFFER_SIZE)
                        size = LOOP_READ_BUFFER_SIZE;
                if (reads >= READS_MAX) {
                        if (s->tls)
                                stream_resume(s); /* go on in the next round */
                        break;
                }
                n = receive(s, to, size);
                if (n == -ECANCELED)
                        return false;
                if (n == -EAGAIN)
                        break;
                if (n == 0)
                        return end_of_input(s);
                touch(s);
                if (!show(s, span_make(to, (size_t) n)))
                        return false;
                if (!s->tls && (size_t) n < size)
                        break; /* the socket is empty: spare the EAGAIN */
        }
        return true;
}

/* FINISHING and LINGERING: input goes nowhere. */
static bool throw_input_away(struct stream *s)
{
        ssize_t n = 1;

        for (int reads = 0; reads < READS_MAX && n > 0; reads++) {
                n = receive(s, loop_read_buffer(s->loop), LOOP_READ_BUFFER_SIZE);
                if (n == -ECANCELED)
                        return false;
        }
        if (n == 0) {
                set_closed(s, 0);
                return false;
        }
        return true;
}

/* Output. */

/* As write(2): octets taken, -EAGAIN, or -ECANCELED: dealt with. */
static ssize_t transmit(struct stream *s)
{
        /* What is said last goes out together with our end, in one packet. */
        const int flags = s->state == FINISHING ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL;
        struct span octets = buffer_span(&s->out);
        size_t len;
        ssize_t n;

        if (s->write_error) {
                set_closed(s, s->write_error);
                return -ECANCELED;
        }
        if (!s->tls || s->plain_left) {
                if (s->plain_left)
                        octets = span_first(octets, s->plain_left);
                do
                        n = send(s->fd, octets.p, octets.len, flags);
                while (n < 0 && errno == EINTR);
                if (n >= 0 || errno == EAGAIN)
                        return n >= 0 ? n : -EAGAIN;
                set_closed(s, -errno);
                return -ECANCELED;
        }
        switch (tls_session_write(s->tls, octets, &len)) {
        case TLS_DONE:
                return (ssize_t) len;
        case TLS_WANT_READ:
        case TLS_WANT_WRITE:
                return -EAGAIN;
        case TLS_END:
        case TLS_FAILED:
                break;
        }
        close_by_tls(s);
        return -ECANCELED;
}

static bool handshake(struct stream *s)
{
        switch (tls_session_handshake(s->tls)) {
        case TLS_WANT_READ:
                s->write_blocked = false;
                return true;
        case TLS_WANT_WRITE:
                s->write_blocked = true;
                return true;
        case TLS_DONE:
                break;
        case TLS_END:
        case TLS_FAILED:
                close_by_tls(s);
                return false;
        }
        s->write_blocked = false;
        set_state(s, OPEN);
        touch(s);
        if (s->out.len)
                loop_defer(s->loop, &s->work);
        if (s->handler->secured) {
                enter(s);
                s->handler->secured(s, s->arg);
                if (!leave(s) || s->state == CLOSED)
                        return false;
        }
        /* The peer's first octets may have come with its last handshake ones. */
        return read_input(s);
}

/* Closing a socket with octets unread would reset the connection, and destroy
 * what we said last. */
static bool has_unread(const struct stream *s)
{
        char octet;

        return recv(s->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Everything is sent in FINISHING. */
static bool begin_to_linger(struct stream *s)
{
        set_state(s, LINGERING);
        if (s->tls)
                tls_session_shutdown(s->tls);
        if (s->may_end_soon && !s->tls && !has_unread(s)) {
                set_closed(s, 0);
                return false;
        }
        shutdown(s->fd, SHUT_WR);
        return throw_input_away(s);
}

static bool tell_drained(struct stream *s)
{
        if (!s->handler->drained || s->state >= FINISHING)
                return true;
        enter(s);
        s->handler->drained(s, s->arg);
        return leave(s) && s->state != CLOSED;
}

static bool may_write(const struct stream *s)
{
        if (s->state == TLS_WAIT)
                return s->plain_left > 0;
        return s->out.len > 0 && s->state != CONNECTING && s->state != HANDSHAKE;
}

/* Sends what the socket takes. False: gone or closed. */
static bool flush(struct stream *s)
{
        bool wrote = false;

        s->write_blocked = false;
        while (may_write(s)) {
                ssize_t n = transmit(s);

                if (n == -ECANCELED)
                        return false;
                if (n == -EAGAIN) {
                        s->write_blocked = true;
                        break;
                }
                wrote = true;
                buffer_consume(&s->out, (size_t) n);
                if (s->plain_left)
                        s->plain_left -= (size_t) n;
        }
        if (wrote)
                touch(s);
        if (s->out.len == 0)
                buffer_pool_take(loop_output_pool(s->loop), &s->out); /* idle ones hold none */
        if (s->state == TLS_WAIT && s->plain_left == 0) {
                set_state(s, HANDSHAKE);
                return handshake(s);
        }
        if (s->state == FINISHING && s->out.len == 0)
                return begin_to_linger(s);
        if (wrote && (s->out.len == 0
                      || (s->was_above_half && s->out.len < s->limits.output_max / 2))) {
                s->was_above_half = false;
                return tell_drained(s);
        }
        return true;
}

/* Events. */

static bool connected(struct stream *s)
{
        int error = 0;
        socklen_t len = sizeof error;

        if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
                error = errno;
        if (error) {
                set_closed(s, -error);
                return false;
        }
        set_state(s, s->tls ? TLS_WAIT : OPEN);
        touch(s);
        if (!tell_drained(s))
                return false;
        return flush(s);
}

static void on_ready(void *arg, int events)
{
        struct stream *s = arg;
        bool alive = true;

        switch ((enum state) s->state) {
        case CONNECTING:
                alive = connected(s);
                break;
        case HANDSHAKE:
                alive = handshake(s);
                break;
        case FINISHING:
        case LINGERING:
                if (events & POLL_READ)
                        alive = throw_input_away(s);
                if (alive && s->state == FINISHING && events & POLL_WRITE)
                        alive = flush(s);
                break;
        case OPEN:
        case TLS_WAIT:
                if (events & POLL_WRITE && s->read_wants_write) {
                        s->read_wants_write = false;
                        events |= POLL_READ;
                }
                if (events & POLL_WRITE && s->write_blocked)
                        alive = flush(s);
                if (alive && events & POLL_READ)
                        alive = read_input(s);
                break;
        case CLOSED:
                return;
        }
        if (alive)
                update_events(s);
}

static void on_work(struct deferred *d)
{
        struct stream *s = LIST_OBJECT(d, struct stream, work);
        bool again = s->show_again && s->state == OPEN && !s->is_paused;

        if (!s->write_blocked && !flush(s))
                return;
        if (again && s->state == OPEN && !s->is_paused) {
                s->show_again = false;
                if (s->in.len && !show(s, (struct span) {NULL, 0}))
                        return;
                if (s->tls && !read_input(s))
                        return;
        }
        update_events(s);
}

static void on_deadline(struct stream *s)
{
        s->deadline_at_ms = 0;
        touch(s);
        enter(s);
        s->handler->expired(s, s->arg);
        leave(s);
}

static void on_timer(void *arg)
{
        struct stream *s = arg;

        if (s->state < FINISHING && s->handler->expired && s->deadline_at_ms &&
            s->deadline_at_ms <= loop_now_ms(s->loop)) {
                on_deadline(s);
        } else if (s->state >= FINISHING) {
                set_closed(s, 0);
        } else {
                set_error(s, s->state == CONNECTING ? "the connection was not established in time"
                             : s->state == HANDSHAKE ? "the TLS handshake took too long"
                                                     : "nothing came or went for too long");
                set_closed(s, -ETIMEDOUT);
        }
}

/* The public part. */

int stream_new(struct loop *l, int fd, const struct stream_limits *limits,
               const struct stream_handler *handler, void *arg, struct stream **ret_s)
{
        struct stream *s = memory_zeroed(sizeof *s);
        int r;

        if (!s)
                return -ENOMEM;
        assert(limits->input_max > 0 && limits->output_max > 0);
        s->loop = l;
        s->handler = handler;
        s->arg = arg;
        s->limits = *limits;
        s->in = BUFFER_INIT(limits->input_max);
        s->out = BUFFER_INIT(limits->output_max);
        s->work.run = on_work;
        s->fd = fd;
        s->state = OPEN;
        r = timer_new(l, on_timer, s, &s->timer);
        if (r == 0)
                r = poller_new(l, fd, on_ready, s, &s->poller);
        if (r < 0) {
                timer_free(s->timer);
                free(s);
                return r;
        }
        update_events(s);
        *ret_s = s;
        return 0;
}

int stream_new_connecting(struct loop *l, int fd, const struct stream_limits *limits,
                          const struct stream_handler *handler, void *arg, struct stream **ret_s)
{
        int r = stream_new(l, fd, limits, handler, arg, ret_s);

        if (r < 0)
                return r;
        (*ret_s)->state = CONNECTING;
        update_events(*ret_s);
        return 0;
}

struct stream *stream_free(struct stream *s)
{
        if (!s)
                return NULL;
        assert(!s->is_freed);
        poller_free(s->poller);
        timer_free(s->timer);
        deferred_cancel(&s->work);
        tls_session_free(s->tls);
        close(s->fd);
        s->poller = NULL;
        s->timer = NULL;
        s->tls = NULL;
        s->is_freed = true;
        if (s->busy == 0)
                release(s);
        return NULL;
}

int stream_write(struct stream *s, struct span octets)
{
        int r;

        if (s->state >= FINISHING)
                return -EPIPE;
        buffer_pool_lend(loop_output_pool(s->loop), &s->out);
        r = buffer_append_span(&s->out, octets);
        if (r < 0)
                return r == -EMSGSIZE ? -ENOBUFS : r;
        if (s->out.len > s->limits.output_max / 2)
                s->was_above_half = true;
        if (!s->write_blocked && s->state == OPEN)
                loop_defer(s->loop, &s->work);
        return 0;
}

int stream_write_now(struct stream *s, struct span octets)
{
        if (s->state == OPEN && !s->tls && !s->out.len && !s->write_error) {
                const ssize_t n = send(s->fd, octets.p, octets.len, MSG_NOSIGNAL);

                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        s->write_error = (int16_t) -errno;
                if (n > 0) {
                        touch(s);
                        octets = span_skip(octets, (size_t) n);
                }
        }
        return octets.len ? stream_write(s, octets) : 0;
}

size_t stream_output_len(const struct stream *s)
{
        return s->out.len;
}

void stream_pause(struct stream *s)
{
        s->is_paused = true;
        s->show_again = false;
        update_events(s);
}

void stream_resume(struct stream *s)
{
        s->is_paused = false;
        if (s->state >= FINISHING)
                return;
        s->show_again = true;
        loop_defer(s->loop, &s->work);
}

void stream_finish(struct stream *s, uint64_t timeout_ms)
{
        if (s->state >= FINISHING)
                return;
        if (s->state != OPEN) { /* nothing that was queued can be sent any more */
                buffer_done(&s->out);
                s->plain_left = 0;
                s->tls = tls_session_free(s->tls);
                timeout_ms = 0;
        }
        set_state(s, FINISHING);
        buffer_done(&s->in);
        s->input_void = true;
        timer_set(s->timer, timeout_ms);
        if (!s->write_blocked)
                loop_defer(s->loop, &s->work);
        update_events(s);
}

void stream_finish_soon(struct stream *s, uint64_t timeout_ms)
{
        s->may_end_soon = true;
        stream_finish(s, timeout_ms);
}

void stream_set_idle_timeout(struct stream *s, uint64_t ms)
{
        if (s->state >= FINISHING)
                return;
        s->idle_ms = ms;
        touch(s);
}

void stream_set_deadline(struct stream *s, uint64_t ms)
{
        if (s->state >= FINISHING)
                return;
        s->deadline_at_ms = ms ? loop_now_ms(s->loop) + ms : 0;
        touch(s);
}

int stream_start_tls(struct stream *s, struct tls_context *context, struct span server_name)
{
        return stream_start_tls_checked(s, context, server_name, NULL);
}

int stream_start_tls_checked(struct stream *s, struct tls_context *context,
                             struct span server_name, const struct tls_check *check)
{
        int r;

        if (s->state >= FINISHING)
                return -EPIPE;
        assert(!s->tls);
        r = tls_session_new_checked(context, s->fd, server_name, check, &s->tls);
        if (r < 0)
                return r;
        s->plain_left = s->out.len;
        s->input_void = true;
        buffer_done(&s->in);
        if (s->state == OPEN) {
                set_state(s, TLS_WAIT);
                loop_defer(s->loop, &s->work);
        }
        update_events(s);
        return 0;
}

struct tls_session *stream_tls(struct stream *s)
{
        return s->state == TLS_WAIT || s->state == HANDSHAKE || s->state == CONNECTING ? NULL
                                                                                      : s->tls;
}

int stream_fd(const struct stream *s)
{
        return s->fd;
}

const char *stream_error(const struct stream *s)
{
        return s->error ? s->error : "";
}
