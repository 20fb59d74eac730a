/* The floor: the least that a mail server made like ours can cost.
 *
 *     floor PORT FOLDER [--sink PORT] [--lmtp] [--inline]
 *
 * It is no mail server. It passes octets through the same processes, with the
 * same system calls, and makes them durable as ours does; everything else is
 * left out: no parsing but line ends and the dot, no limits, no index, no
 * decision record, no checksum, no queue that outlives it. What it reaches is
 * what the kernel, the disk and the machine leave to any server of this make.
 *
 *     client ─► 2 edges ─► keeper, log on disk ─► relay ─► sink
 *
 * A transaction travels as the client sent it: its commands up to DATA, then
 * the text with its dots. The keeper writes all transactions that wait in one
 * go and syncs them together, over blocks that were written before; then it
 * acknowledges them, and gives them to the relay, which keeps RELAY_CONNECTIONS
 * open. Without --sink they end in the log (--lmtp: an answer a recipient).
 * Groups are written by threads, a second one only beside a slow first one;
 * --inline writes in the keeper's loop. Any trouble ends the program. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/number.h"

enum {
        EDGES = 2,
        EVENTS = 256,
        CONNECTIONS = 8192,           /* by descriptor, of an edge */
        TRANSACTION_MAX = 64 * 1024,  /* commands and text */
        CHANNEL_BUFFER = 1024 * 1024, /* the kernel's, and what is read at once */
        RELAY_CONNECTIONS = 50,
        JOBS_OUT = 256, /* that a relay has and did not answer */
        GROUPS = 4,     /* on their way to the disk at once */
        GROUP_MESSAGES = 256,
        GROUP_OCTETS = 1024 * 1024,
        SLOW_US = 1000, /* a sync that lasts longer lets another group start */
        BLOCK = 4096,
        SEGMENTS = 4,
        SEGMENT_OCTETS = 4 * 1024 * 1024,
        OUTCOME_OCTETS = 16, /* what the log says of a message that is gone */
};

/* What goes before each frame on a channel; `octets` of text follow. */
struct head {
        uint32_t octets;
        uint32_t commands; /* octets of the text up to the end of DATA's line */
        uint32_t replies;  /* recipients */
        uint32_t edge, connection, serial; /* whom the answer is for */
};

static bool is_lmtp;

static void must(bool is_good, const char *what)
{
        if (is_good)
                return;
        perror(what);
        exit(1);
}

static void watch(int poll_fd, int fd, uint64_t data)
{
        struct epoll_event e = {.events = EPOLLIN, .data.u64 = data};

        must(epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl");
}

/* Channels: stream sockets with frames, read without waiting and written until
 * all is gone. Credit (a connection waits for its answer, a relay has at most
 * JOBS_OUT) is why two ends never wait for each other. */

struct channel {
        int fd;
        size_t len;
        char *in; /* CHANNEL_BUFFER octets */
};

static void channel_pair(struct channel *a, struct channel *b)
{
        int pair[2], room = CHANNEL_BUFFER;

        must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
        for (int i = 0; i < 2; i++)
                setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
        *a = (struct channel) {.fd = pair[0], .in = malloc(CHANNEL_BUFFER)};
        *b = (struct channel) {.fd = pair[1], .in = malloc(CHANNEL_BUFFER)};
        must(a->in && b->in, "malloc");
}

static void write_parts(int fd, struct iovec *parts, int count)
{
        while (count) {
                ssize_t n = writev(fd, parts, count < IOV_MAX ? count : IOV_MAX);

                must(n > 0, "writev");
                for (; count && (size_t) n >= parts->iov_len; parts++, count--)
                        n -= (ssize_t) parts->iov_len;
                if (count) {
                        parts->iov_base = (char *) parts->iov_base + n;
                        parts->iov_len -= (size_t) n;
                }
        }
}

/* Reads once; each whole frame goes to `take`, whose text is gone afterwards. */
static void channel_read(struct channel *c, void (*take)(void *arg, const struct head *h,
                         const char *text), void *arg)
{
        ssize_t n = recv(c->fd, c->in + c->len, CHANNEL_BUFFER - c->len, MSG_DONTWAIT);
        size_t at = 0;
        struct head h;

        if (n < 0 && errno == EAGAIN)
                return;
        must(n > 0, "channel");
        c->len += (size_t) n;
        while (c->len - at >= sizeof h) {
                memcpy(&h, c->in + at, sizeof h);
                if (c->len - at < sizeof h + h.octets)
                        break;
                take(arg, &h, c->in + at + sizeof h);
                at += sizeof h + h.octets;
        }
        memmove(c->in, c->in + at, c->len - at);
        c->len -= at;
}

/* Edge. */

struct connection {
        int fd;
        uint32_t serial;
        bool is_waiting; /* for the keeper; the transaction stays in `in` */
        size_t len, at;  /* octets in `in`, and how many of them were looked at */
        size_t begin;    /* of the transaction's commands */
        size_t text;     /* of its text; 0: no DATA yet */
        struct head frame;
        char in[TRANSACTION_MAX], out[1024];
        size_t out_len;
};

struct edge {
        uint32_t number, serial;
        int poll_fd, listener;
        struct channel keeper;
        struct connection *by_fd[CONNECTIONS];
        struct iovec parts[2 * EVENTS]; /* frames that this round sends */
        int part_count;
};

static void say(struct connection *c, const char *text)
{
        size_t n = strlen(text);

        must(c->out_len + n <= sizeof c->out, "replies");
        memcpy(c->out + c->out_len, text, n);
        c->out_len += n;
}

static void flush(struct edge *e)
{
        write_parts(e->keeper.fd, e->parts, e->part_count);
        e->part_count = 0;
}

static void give_to_keeper(struct edge *e, struct connection *c, size_t end)
{
        if (e->part_count == 2 * EVENTS)
                flush(e);
        c->frame.octets = (uint32_t) (end - c->begin);
        c->frame.commands = (uint32_t) (c->text - c->begin);
        c->is_waiting = true;
        c->at = end;
        e->parts[e->part_count++] = (struct iovec) {&c->frame, sizeof c->frame};
        e->parts[e->part_count++] = (struct iovec) {c->in + c->begin, c->frame.octets};
}

static void on_command(struct connection *c, size_t line)
{
        switch (c->in[line] & ~0x20) {
        case 'M':
                c->begin = line;
                c->frame.replies = 0;
                say(c, "250 2.1.0 ok\r\n");
                return;
        case 'R':
                c->frame.replies++;
                say(c, "250 2.1.5 ok\r\n");
                return;
        case 'D':
                c->text = c->at;
                say(c, "354 go on\r\n");
                return;
        case 'E':
        case 'L':
                say(c, "250-floor\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
                return;
        default:
                say(c, "221 2.0.0 bye\r\n");
        }
}

/* Looks at what came, until a transaction is whole or nothing is left. */
static void feed(struct edge *e, struct connection *c)
{
        while (!c->is_waiting) {
                size_t line = c->at;
                const char *end;

                if (c->text) { /* the end may have begun in what was looked at, or with DATA's */
                        size_t back = line - c->text < 2 ? line - c->text + 2 : 4;

                        end = memmem(c->in + line - back, c->len - line + back, "\r\n.\r\n", 5);
                        c->at = c->len;
                        if (!end)
                                return;
                        give_to_keeper(e, c, (size_t) (end + 5 - c->in));
                        return;
                }
                end = memchr(c->in + line, '\n', c->len - line);
                if (!end)
                        return;
                c->at = (size_t) (end + 1 - c->in);
                on_command(c, line);
        }
}

static void reply(struct connection *c)
{
        if (c->out_len)
                must(send(c->fd, c->out, c->out_len, MSG_NOSIGNAL) > 0 || errno == EPIPE
                     || errno == ECONNRESET, "reply");
        c->out_len = 0;
}

/* The keeper has it on disk. */
static void on_stored(void *arg, const struct head *h, const char *text)
{
        struct edge *e = arg;
        struct connection *c = e->by_fd[h->connection];

        (void) text;
        if (!c || c->serial != h->serial)
                return; /* the client went away */
        for (uint32_t i = 0; i < (is_lmtp ? h->replies : 1); i++)
                say(c, "250 2.0.0 taken\r\n");
        memmove(c->in, c->in + c->at, c->len - c->at);
        c->len -= c->at;
        c->at = c->begin = c->text = 0;
        c->is_waiting = false;
        feed(e, c);
        reply(c);
}

static void on_client(struct edge *e, struct connection *c)
{
        ssize_t n;

        n = recv(c->fd, c->in + c->len, sizeof c->in - c->len, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
                return;
        if (n <= 0) { /* it ended, or sends more than there is room for */
                flush(e);
                e->by_fd[c->fd] = NULL;
                close(c->fd);
                free(c);
                return;
        }
        c->len += (size_t) n;
        feed(e, c);
        reply(c);
}

static void on_listener(struct edge *e)
{
        int on = 1, fd = accept4(e->listener, NULL, NULL, SOCK_CLOEXEC);
        struct connection *c;

        if (fd < 0)
                return;
        must(fd < CONNECTIONS, "too many connections");
        c = calloc(1, sizeof *c);
        must(c, "calloc");
        c->fd = fd;
        c->serial = ++e->serial;
        c->frame = (struct head) {.edge = e->number, .connection = (uint32_t) fd,
                                  .serial = c->serial};
        e->by_fd[fd] = c;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        say(c, "220 floor\r\n");
        reply(c);
        watch(e->poll_fd, fd, (uint64_t) fd);
}

static void edge_run(struct edge *e)
{
        struct epoll_event events[EVENTS];

        e->poll_fd = epoll_create1(0);
        watch(e->poll_fd, e->listener, (uint64_t) e->listener);
        watch(e->poll_fd, e->keeper.fd, (uint64_t) e->keeper.fd);
        for (;;) {
                int count = epoll_wait(e->poll_fd, events, EVENTS, -1);

                for (int i = 0; i < count; i++) {
                        int fd = (int) events[i].data.u64;

                        if (fd == e->listener)
                                on_listener(e);
                        else if (fd == e->keeper.fd)
                                channel_read(&e->keeper, on_stored, e);
                        else if (e->by_fd[fd])
                                on_client(e, e->by_fd[fd]);
                }
                flush(e);
        }
}

/* Keeper. */

struct message {
        struct message *next;
        struct head head;
        char text[];
};

struct queue {
        struct message *first, **end;
};

struct group {
        struct iovec parts[GROUP_MESSAGES + 1];
        struct message *messages[GROUP_MESSAGES];
        int count, outcomes;
        size_t octets;
        int done_fd;  /* where its writer says so */
        int fd;       /* of its segment */
        off_t offset; /* in it */
        uint64_t begun_us;
        _Atomic bool is_done;
        sem_t start;
};

struct keeper {
        bool is_inline, has_relay;
        struct channel edges[EDGES], relay;
        int poll_fd, done_fd;
        int segments[SEGMENTS], segment;
        off_t offset;
        struct group groups[GROUPS];
        unsigned first, next; /* of the groups on their way; % GROUPS */
        struct queue waiting; /* for a group */
        struct queue jobs;    /* durable, for the relay */
        int outcomes, jobs_out;
};

static void push(struct queue *q, struct message *m)
{
        if (!q->first)
                q->end = &q->first;
        m->next = NULL;
        *q->end = m;
        q->end = &m->next;
}

static struct message *pop(struct queue *q)
{
        struct message *m = q->first;

        if (m)
                q->first = m->next;
        return m;
}

/* Segments are written to their end once, so that a sync writes no metadata. */
static void make_segments(struct keeper *k, const char *folder)
{
        static const char nothing[SEGMENT_OCTETS];

        must(chdir(folder) == 0, folder);
        for (int i = 0; i < SEGMENTS; i++) {
                char name[32];

                snprintf(name, sizeof name, "floor-%d.seg", i);
                k->segments[i] = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
                must(k->segments[i] >= 0, name);
                must(pwrite(k->segments[i], nothing, sizeof nothing, 0) == sizeof nothing
                     && fsync(k->segments[i]) == 0, name);
        }
}

static void group_write(struct group *g)
{
        must(pwritev(g->fd, g->parts, g->count + 1, g->offset) == (ssize_t) g->octets, "pwritev");
        must(fdatasync(g->fd) == 0, "fdatasync");
        atomic_store(&g->is_done, true);
}

static void *writer_run(void *arg)
{
        struct group *g = arg;

        for (;;) {
                while (sem_wait(&g->start) < 0)
                        ;
                group_write(g);
                eventfd_write(g->done_fd, 1);
        }
        return NULL;
}

/* Fills one group with what waits. */
static void gather(struct keeper *k, struct group *g)
{
        static char outcomes[GROUP_OCTETS / 4];
        size_t octets = (size_t) k->outcomes * OUTCOME_OCTETS;

        octets = octets < sizeof outcomes ? octets : sizeof outcomes;
        g->count = 0;
        g->parts[0] = (struct iovec) {outcomes, octets};
        k->outcomes -= (int) (octets / OUTCOME_OCTETS);
        while (k->waiting.first && g->count < GROUP_MESSAGES
               && octets + k->waiting.first->head.octets <= GROUP_OCTETS) {
                struct message *m = pop(&k->waiting);

                octets += m->head.octets;
                g->messages[g->count++] = m;
                g->parts[g->count] = (struct iovec) {m->text, m->head.octets};
        }
        g->octets = octets;
        if (k->offset + (off_t) octets > SEGMENT_OCTETS) {
                k->segment = (k->segment + 1) % SEGMENTS;
                k->offset = 0;
        }
        g->fd = k->segments[k->segment];
        g->offset = k->offset;
        k->offset += (off_t) (octets + BLOCK - 1) / BLOCK * BLOCK;
}

/* A group starts when none is on its way, or when the last one takes long. */
static void start_groups(struct keeper *k)
{
        while ((k->waiting.first || k->outcomes) && k->next - k->first < GROUPS) {
                struct group *g = &k->groups[k->next % GROUPS];
                uint64_t now_us = clock_monotonic_us();

                if (k->next != k->first
                    && now_us - k->groups[(k->next - 1) % GROUPS].begun_us < SLOW_US)
                        return;
                gather(k, g);
                g->begun_us = now_us;
                g->is_done = false;
                k->next++;
                if (!k->is_inline) {
                        sem_post(&g->start);
                        continue;
                }
                group_write(g);
                return; /* to be finished before the next one */
        }
}

static void give_jobs(struct keeper *k)
{
        struct iovec parts[2 * JOBS_OUT];
        struct message *given[JOBS_OUT];
        int count = 0;

        for (; k->jobs.first && k->jobs_out < JOBS_OUT; count++, k->jobs_out++) {
                struct message *m = pop(&k->jobs);

                parts[2 * count] = (struct iovec) {&m->head, sizeof m->head};
                parts[2 * count + 1] = (struct iovec) {m->text, m->head.octets};
                given[count] = m;
        }
        write_parts(k->relay.fd, parts, 2 * count);
        while (count--)
                free(given[count]);
}

/* Acknowledges what is on disk with all that came before it. */
static void finish_groups(struct keeper *k)
{
        struct head answers[EDGES][GROUP_MESSAGES];

        while (k->first != k->next && k->groups[k->first % GROUPS].is_done) {
                struct group *g = &k->groups[k->first++ % GROUPS];
                size_t counts[EDGES] = {0};

                for (int i = 0; i < g->count; i++) {
                        struct message *m = g->messages[i];
                        uint32_t edge = m->head.edge;

                        answers[edge][counts[edge]] = m->head;
                        answers[edge][counts[edge]++].octets = 0;
                        if (k->has_relay)
                                push(&k->jobs, m);
                        else
                                free(m);
                }
                for (int i = 0; i < EDGES; i++) {
                        struct iovec all = {answers[i], counts[i] * sizeof answers[i][0]};

                        write_parts(k->edges[i].fd, &all, counts[i] > 0);
                }
        }
        give_jobs(k);
}

static void on_transaction(void *arg, const struct head *h, const char *text)
{
        struct keeper *k = arg;
        struct message *m = malloc(sizeof *m + h->octets);

        must(m, "malloc");
        m->head = *h;
        memcpy(m->text, text, h->octets);
        push(&k->waiting, m);
}

static void on_outcome(void *arg, const struct head *h, const char *text)
{
        struct keeper *k = arg;

        (void) h, (void) text;
        k->jobs_out--;
        k->outcomes++;
}

static void start_writers(struct keeper *k)
{
        k->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        for (int i = 0; i < GROUPS; i++) {
                struct group *g = &k->groups[i];
                pthread_t thread;

                g->done_fd = k->done_fd;
                sem_init(&g->start, 0, 0);
                must(k->is_inline || pthread_create(&thread, NULL, writer_run, g) == 0, "thread");
        }
}

static void keeper_run(struct keeper *k, const char *folder)
{
        struct epoll_event events[EVENTS];

        k->poll_fd = epoll_create1(0);
        make_segments(k, folder);
        start_writers(k);
        watch(k->poll_fd, k->done_fd, UINT64_MAX);
        watch(k->poll_fd, k->relay.fd, EDGES);
        for (uint64_t i = 0; i < EDGES; i++)
                watch(k->poll_fd, k->edges[i].fd, i);
        for (;;) {
                int count = epoll_wait(k->poll_fd, events, EVENTS, -1);
                eventfd_t done;

                for (int i = 0; i < count; i++) {
                        uint64_t from = events[i].data.u64;

                        if (from == UINT64_MAX)
                                eventfd_read(k->done_fd, &done);
                        else if (from == EDGES)
                                channel_read(&k->relay, on_outcome, k);
                        else
                                channel_read(&k->edges[from], on_transaction, k);
                }
                do {
                        finish_groups(k);
                        start_groups(k);
                } while (k->is_inline && k->first != k->next);
        }
}

/* Relay. */

struct hop {
        int fd, replies; /* that must still come before it goes on */
        bool is_in_text;
        struct message *job, *next; /* the commands of `next` went with the text of `job` */
        size_t len;
        char in[4096];
};

struct relay {
        struct channel keeper;
        struct hop hops[RELAY_CONNECTIONS], *idle[RELAY_CONNECTIONS];
        int poll_fd, idle_count;
        struct queue jobs;
        struct head outcomes[JOBS_OUT];
        size_t outcome_count;
};

/* Sends the rest of one job and the commands of another; NULL: none. */
static void hop_send(struct hop *h, const struct message *rest, const struct message *next)
{
        struct iovec parts[2];
        int count = 0;

        if (rest)
                parts[count++] = (struct iovec) {(char *) rest->text + rest->head.commands,
                                                 rest->head.octets - rest->head.commands};
        if (next)
                parts[count++] = (struct iovec) {(char *) next->text, next->head.commands};
        write_parts(h->fd, parts, count);
}

static void hop_begin(struct hop *h, struct message *job)
{
        h->job = job;
        h->next = NULL;
        h->is_in_text = false;
        h->replies = job ? (int) job->head.replies + 2 : 0;
}

/* All that it waited for is there. */
static void hop_go_on(struct relay *r, struct hop *h)
{
        if (!h->job) { /* it was greeted */
                r->idle[r->idle_count++] = h;
                return;
        }
        if (!h->is_in_text) {
                h->next = pop(&r->jobs);
                hop_send(h, h->job, h->next);
                h->is_in_text = true;
                h->replies = 1;
                return;
        }
        r->outcomes[r->outcome_count] = h->job->head;
        r->outcomes[r->outcome_count++].octets = 0;
        free(h->job);
        hop_begin(h, h->next);
        if (!h->job)
                r->idle[r->idle_count++] = h;
}

static void on_replies(struct relay *r, struct hop *h)
{
        ssize_t n = recv(h->fd, h->in + h->len, sizeof h->in - h->len, MSG_DONTWAIT);
        char *at = h->in, *end;

        if (n < 0 && errno == EAGAIN)
                return;
        must(n > 0, "the next hop");
        h->len += (size_t) n;
        while ((end = memchr(at, '\n', h->len - (size_t) (at - h->in)))) {
                must(*at == '2' || *at == '3', "a refusal");
                if (end - at > 3 && at[3] == ' ' && --h->replies == 0)
                        hop_go_on(r, h);
                at = end + 1;
        }
        h->len -= (size_t) (at - h->in);
        memmove(h->in, at, h->len);
}

static void on_job(void *arg, const struct head *h, const char *text)
{
        struct relay *r = arg;
        struct message *m = malloc(sizeof *m + h->octets);

        must(m, "malloc");
        m->head = *h;
        memcpy(m->text, text, h->octets);
        push(&r->jobs, m);
}

static int hop_connect(in_port_t port)
{
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        must(fd >= 0 && connect(fd, (struct sockaddr *) &to, sizeof to) == 0, "connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        must(send(fd, "EHLO floor\r\n", 12, 0) == 12, "EHLO");
        return fd;
}

static void relay_run(struct relay *r, in_port_t port)
{
        struct epoll_event events[EVENTS];

        r->poll_fd = epoll_create1(0);
        watch(r->poll_fd, r->keeper.fd, UINT64_MAX);
        for (uint64_t i = 0; i < RELAY_CONNECTIONS; i++) {
                r->hops[i].fd = hop_connect(port);
                r->hops[i].replies = 2; /* to the connection, to EHLO */
                watch(r->poll_fd, r->hops[i].fd, i);
        }
        for (;;) {
                int count = epoll_wait(r->poll_fd, events, EVENTS, -1);
                struct iovec all;

                for (int i = 0; i < count; i++) {
                        if (events[i].data.u64 == UINT64_MAX)
                                channel_read(&r->keeper, on_job, r);
                        else
                                on_replies(r, &r->hops[events[i].data.u64]);
                }
                while (r->jobs.first && r->idle_count) {
                        struct hop *h = r->idle[--r->idle_count];

                        hop_begin(h, pop(&r->jobs));
                        hop_send(h, NULL, h->job);
                }
                all = (struct iovec) {r->outcomes, r->outcome_count * sizeof r->outcomes[0]};
                write_parts(r->keeper.fd, &all, r->outcome_count > 0);
                r->outcome_count = 0;
        }
}

/* Start. */

static int listen_at(in_port_t port)
{
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
        must(bind(fd, (struct sockaddr *) &at, sizeof at) == 0 && listen(fd, 1024) == 0, "listen");
        return fd;
}

/* True in the child, which ends with its parent. */
static bool is_child(const char *name)
{
        pid_t pid = fork();

        must(pid >= 0, "fork");
        if (pid)
                return false;
        prctl(PR_SET_NAME, name);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        return true;
}

static in_port_t port_of(const char *text)
{
        uint64_t port = 0;

        must(text && number_parse(span_from_string(text), UINT16_MAX, &port) == 0, "a port");
        return (in_port_t) port;
}

int main(int argc, char **argv)
{
        static struct keeper keeper;
        static struct relay relay;
        static struct edge edges[EDGES];
        in_port_t port = port_of(argv[1]), sink = 0;

        for (int i = 3; i < argc; i++) {
                is_lmtp |= strcmp(argv[i], "--lmtp") == 0;
                keeper.is_inline |= strcmp(argv[i], "--inline") == 0;
                if (strcmp(argv[i], "--sink") == 0)
                        sink = port_of(argv[++i]);
        }
        must(argc > 2, "floor PORT FOLDER [--sink PORT] [--lmtp] [--inline]");
        keeper.has_relay = sink != 0;
        channel_pair(&keeper.relay, &relay.keeper);
        for (uint32_t i = 0; i < EDGES; i++) {
                edges[i].number = i;
                channel_pair(&keeper.edges[i], &edges[i].keeper);
        }
        if (is_child("keeper"))
                keeper_run(&keeper, argv[2]);
        if (sink && is_child("relay"))
                relay_run(&relay, sink);
        for (uint32_t i = 0; i < EDGES; i++) {
                edges[i].listener = listen_at(port);
                if (is_child("edge"))
                        edge_run(&edges[i]);
        }
        wait(NULL); /* none ends by itself */
        return 1;
}
