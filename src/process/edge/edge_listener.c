#include "process/edge/edge_listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "policy/limits.h"
#include "process/control_access.h"
#include "process/edge/edge.h"
#include "process/edge/edge_front.h"
#include "process/edge/edge_session.h"

enum {
        ACCEPTS_PER_ROUND = 64, /* then those who are in have their turn */
        EXHAUSTED_WAIT_MS = 1000,
};

union peer_address {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage storage;
};

static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

/* "[192.0.2.1]", for which inet_ntop() calls snprintf(). */
static void describe_v4(const unsigned char octets[4], char *out)
{
        char digits[NUMBER_TEXT_MAX];

        for (int i = 0; i < 4; i++) {
                const struct span number = number_span(octets[i], digits);

                *out++ = i ? '.' : '[';
                memcpy(out, number.p, number.len);
                out += number.len;
        }
        memcpy(out, "]", 2);
}

/* Mapped IPv4 addresses, as a socket for both families gives them, and plain
 * ones are the same client (RFC 5321 section 5.2). */
void edge_listener_describe(const unsigned char address[16], uint16_t port,
                            struct edge_client *ret)
{
        char text[INET6_ADDRSTRLEN];

        memcpy(ret->address, address, 16);
        ret->port = port;
        if (memcmp(address, mapped, sizeof mapped) == 0) {
                describe_v4(address + 12, ret->text);
        } else {
                inet_ntop(AF_INET6, address, text, sizeof text);
                snprintf(ret->text, sizeof ret->text, "[IPv6:%s]", text);
        }
}

static void describe_inet(const union peer_address *a, struct edge_client *c)
{
        unsigned char address[16];

        if (a->any.sa_family == AF_INET) {
                memcpy(address, mapped, sizeof mapped);
                memcpy(address + 12, &a->v4.sin_addr, 4);
                edge_listener_describe(address, ntohs(a->v4.sin_port), c);
        } else {
                memcpy(address, &a->v6.sin6_addr, 16);
                edge_listener_describe(address, ntohs(a->v6.sin6_port), c);
        }
}

/* 0, or negative: the peer cannot be told, which ends it. */
static int describe(const struct edge_listener *l, int fd, const union peer_address *a,
                    struct edge_client *c)
{
        struct ucred peer;
        socklen_t len = sizeof peer;

        *c = (struct edge_client) {0};
        if (a->any.sa_family == AF_INET || a->any.sa_family == AF_INET6) {
                describe_inet(a, c);
                return 0;
        }
        c->is_unix = true;
        snprintf(c->text, sizeof c->text, "local");
        if (l->protocol != LISTEN_LOCAL)
                return 0;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
                return -errno;
        c->is_local_user = true;
        c->may_try = control_access_may(fd);
        c->uid = peer.uid;
        return 0;
}

/* Told in one packet and forgotten: whoever is refused costs nothing more. */
static void refuse(struct edge_listener *l, int fd, const struct edge_client *client,
                   const struct verdict *v)
{
        char reply[256];
        int n;

        l->edge->counters.connections_refused++;
        log_event(LOG_INFO, "connection_refused", LOG_TEXT("client", client->text),
                  LOG_SPAN("rule", v->rule), LOG_SPAN("origin", v->origin));
        if (edge_reading_is_reading(l->protocol)) {
                if (l->protocol == LISTEN_IMAP || l->protocol == LISTEN_POP3) {
                        n = snprintf(reply, sizeof reply, "%s %.*s\r\n",
                                     l->protocol == LISTEN_IMAP ? "* BYE" : "-ERR",
                                     (int) v->text.len, v->text.p);
                        if (n > 0 && (size_t) n < sizeof reply)
                                (void) !send(fd, reply, (size_t) n, MSG_DONTWAIT | MSG_NOSIGNAL);
                }
        } else if (l->protocol != LISTEN_SUBMISSIONS) {
                n = snprintf(reply, sizeof reply, "%u %.*s %.*s\r\n", v->code,
                             (int) v->enhanced.len, v->enhanced.p, (int) v->text.len, v->text.p);
                if (n > 0 && (size_t) n < sizeof reply)
                        (void) !send(fd, reply, (size_t) n, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        close(fd);
}

/* What speaks against the client as it comes, if anything; counts it. */
static struct verdict judge(struct edge *e, const struct edge_client *client, uint64_t *ret_key)
{
        const struct config *c = e->process->config;
        const uint64_t now_us = clock_now_us();
        const uint64_t errors = meters_event(&e->meters, client->address, SPAN_LITERAL("errors"));
        const bool is_trusted = config_networks_contain(&c->relay_networks, client->address);
        struct verdict v = {0};
        unsigned held;

        *ret_key = meters_client(&e->meters, client->address);
        held = meters_hold(&e->meters, *ret_key, now_us);
        if (held == 0)
                *ret_key = 0;
        if (!is_trusted)
                v = limits_errors(c, meters_ticks(&e->meters, errors, now_us));
        if (!verdict_is_refusal(&v))
                v = limits_connection(c, meters_held(&e->meters, METERS_ALL) + 1,
                                      c->limits.connections, held);
        return v;
}

void edge_listener_welcome(struct edge_listener *l, int fd, const struct edge_client *client)
{
        struct edge *e = l->edge;
        struct verdict v = {0};
        uint64_t key = 0;

        if (!client->is_unix)
                v = judge(e, client, &key);
        if (verdict_is_refusal(&v)) {
                edge_limited_add(&e->limited, span_from_string(client->text), &v);
                meters_release(&e->meters, key);
                refuse(l, fd, client, &v);
                return;
        }
        if (edge_reading_is_reading(l->protocol))
                edge_reading_new(l, fd, client, key);
        else
                edge_session_new(l, fd, client, key);
}

/* Whom it speaks for is not known yet: it counts here, and its client again. */
static void take_front(struct edge_listener *l, int fd, const struct edge_client *front)
{
        const struct config *c = l->edge->process->config;
        const struct verdict v = limits_connection(c, (unsigned) l->edge->session_count + 1,
                                                   c->limits.connections, 0);

        if (verdict_is_refusal(&v))
                refuse(l, fd, front, &v);
        else
                edge_front_take(l, fd, front);
}

static void take_in(struct edge_listener *l, int fd, const union peer_address *a)
{
        struct edge_client client;

        if (describe(l, fd, a, &client) < 0)
                close(fd);
        else if (edge_front_is_proxy(l->edge, &client))
                take_front(l, fd, &client);
        else
                edge_listener_welcome(l, fd, &client);
}

/* Out of descriptors or memory: waiting is all there is to do. */
static void rest(struct edge *e, int error)
{
        log_event(LOG_WARNING, "accept_failed", LOG_ERRNO("error", error));
        timer_set(e->listeners_timer, EXHAUSTED_WAIT_MS);
        edge_listener_balance(e);
}

static void on_ready(void *arg, int events)
{
        struct edge_listener *l = arg;

        (void) events;
        for (int i = 0; i < ACCEPTS_PER_ROUND && l->fd >= 0; i++) {
                union peer_address a = {0};
                socklen_t len = sizeof a;
                int fd;

                if (l->edge->are_listeners_paused)
                        return;
                fd = accept4(l->fd, &a.any, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd >= 0) {
                        take_in(l, fd, &a);
                } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
                           errno == ENOBUFS) {
                        rest(l->edge, -errno);
                        return;
                } else if (errno != ECONNABORTED && errno != EINTR) {
                        return;
                }
        }
}

void edge_listener_balance(struct edge *e)
{
        const bool pause = timer_is_set(e->listeners_timer);

        if (pause == e->are_listeners_paused)
                return;
        e->are_listeners_paused = pause;
        LIST_FOR_EACH(node, &e->listeners) {
                struct edge_listener *l = LIST_OBJECT(node, struct edge_listener, node);

                poller_set(l->poller, pause ? 0 : POLL_READ);
        }
}

void edge_listener_add(struct edge *e, const struct config_listen *listen, int fd)
{
        struct edge_listener *l = calloc(1, sizeof *l + listen->text.len + 1);
        int r = l ? poller_new(e->process->loop, fd, on_ready, l, &l->poller) : -ENOMEM;

        if (r < 0) {
                log_event(LOG_ERROR, "cannot_listen", LOG_SPAN("listen", listen->text),
                          LOG_ERRNO("error", r));
                free(l);
                close(fd);
                return;
        }
        l->edge = e;
        l->fd = fd;
        l->references = 1;
        l->protocol = listen->protocol;
        memcpy(l + 1, listen->text.p, listen->text.len);
        l->text = span_make((const char *) (l + 1), listen->text.len);
        list_append(&e->listeners, &l->node);
        poller_set(l->poller, e->are_listeners_paused ? 0 : POLL_READ);
}

static void close_listener(struct edge_listener *l)
{
        list_remove(&l->node);
        l->poller = poller_free(l->poller);
        close(l->fd);
        l->fd = -1;
        edge_listener_unref(l);
}

void edge_listener_unref(struct edge_listener *l)
{
        if (--l->references == 0)
                free(l);
}

static bool is_configured(const struct config *c, const struct edge_listener *l)
{
        if (l->protocol == LISTEN_LOCAL)
                return true;
        for (size_t i = 0; i < c->listen.count; i++)
                if (span_equal(c->listen.items[i].text, l->text))
                        return true;
        return false;
}

void edge_listener_drop_old(struct edge *e)
{
        LIST_FOR_EACH(node, &e->listeners) {
                struct edge_listener *l = LIST_OBJECT(node, struct edge_listener, node);

                if (!is_configured(e->process->config, l))
                        close_listener(l);
        }
}

void edge_listener_close_all(struct edge *e)
{
        while (!list_is_empty(&e->listeners))
                close_listener(LIST_OBJECT(e->listeners.next, struct edge_listener, node));
}
