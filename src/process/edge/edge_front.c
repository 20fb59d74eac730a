#include "process/edge/edge_front.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/limits.h"
#include "process/edge/edge.h"
#include "process/edge/edge_trial.h"
#include "process/edge/edge_words.h"
#include "wire/smtp/proxy_header.h"
#include "wire/smtp/xclient.h"

/* A connection whose header has not come yet. It counts as a session, so that
 * the limit of connections holds for it too. */
struct front {
        struct list_node node; /* of edge.fronts */
        struct edge_listener *listener;
        struct poller *poller;
        struct timer *timer;
        struct edge_client peer;
        int fd;
        struct buffer header;
};

bool edge_front_is_proxy(const struct edge *e, const struct edge_client *peer)
{
        return !peer->is_unix &&
               config_networks_contain(&e->process->config->proxy_networks, peer->address);
}

/* `fd` is the caller's from here on. */
static void front_free(struct front *f)
{
        struct edge *e = f->listener->edge;

        list_remove(&f->node);
        poller_free(f->poller);
        timer_free(f->timer);
        buffer_done(&f->header);
        edge_listener_unref(f->listener);
        free(f);
        e->session_count--;
}

static void end(struct front *f, const char *reason)
{
        struct edge *e = f->listener->edge;
        const int fd = f->fd;

        log_event(LOG_NOTICE, "proxy_header_refused", LOG_TEXT("front", f->peer.text),
                  LOG_SPAN("listen", f->listener->text), LOG_TEXT("reason", reason));
        front_free(f);
        close(fd);
        edge_session_ended(e);
}

static void timed_out(void *arg)
{
        end(arg, "no header came in time");
}

static void go_on(struct front *f, const struct proxy_header *h)
{
        struct edge_listener *l = f->listener;
        struct edge_client client = f->peer;
        const int fd = f->fd;

        l->references++; /* stays until the session has its own */
        if (h->has_client)
                edge_listener_describe(h->address, h->port, &client);
        front_free(f);
        edge_listener_welcome(l, fd, &client);
        edge_listener_unref(l);
}

/* Takes `len` octets, which are there, out of the socket. */
static bool take(struct front *f, size_t len)
{
        char *to;

        if (buffer_reserve(&f->header, len, &to) < 0 ||
            recv(f->fd, to, len, MSG_DONTWAIT) != (ssize_t) len)
                return false;
        buffer_commit(&f->header, len);
        return true;
}

/* The header is looked at before it is taken: what follows it belongs to the
 * session, and may be the beginning of a TLS handshake. */
static void on_ready(void *arg, int events)
{
        struct front *f = arg;
        const size_t have = f->header.len;
        struct proxy_header h;
        char *to;
        ssize_t n;
        int r = -ENOMEM;

        (void) events;
        if (buffer_reserve(&f->header, PROXY_HEADER_MAX - have, &to) < 0) {
                end(f, "out of memory");
                return;
        }
        n = recv(f->fd, to, PROXY_HEADER_MAX - have, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n > 0) {
                buffer_commit(&f->header, (size_t) n);
                r = proxy_header_parse(buffer_span(&f->header), &h);
                f->header.len = have;
        }
        if (n <= 0)
                end(f, "the connection ended");
        else if (r < 0 || (r == 0 && have + (size_t) n >= PROXY_HEADER_MAX))
                end(f, "this is no PROXY header");
        else if (!take(f, r ? h.len - have : (size_t) n))
                end(f, "the header could not be read");
        else if (r > 0)
                go_on(f, &h);
}

void edge_front_take(struct edge_listener *l, int fd, const struct edge_client *peer)
{
        struct edge *e = l->edge;
        struct front *f = calloc(1, sizeof *f);
        int r = f ? 0 : -ENOMEM;

        if (r == 0)
                r = poller_new(e->process->loop, fd, on_ready, f, &f->poller);
        if (r == 0)
                r = timer_new(e->process->loop, timed_out, f, &f->timer);
        if (r < 0) {
                if (f)
                        poller_free(f->poller);
                free(f);
                close(fd);
                return;
        }
        f->header = BUFFER_INIT(PROXY_HEADER_MAX);
        f->listener = l;
        l->references++;
        f->peer = *peer;
        f->fd = fd;
        list_append(&e->fronts, &f->node);
        e->session_count++;
        timer_set(f->timer, e->process->config->limits.tls_timeout_ms);
        poller_set(f->poller, POLL_READ);
}

void edge_front_close_all(struct edge *e)
{
        while (!list_is_empty(&e->fronts)) {
                struct front *f = LIST_OBJECT(e->fronts.next, struct front, node);
                const int fd = f->fd;

                front_free(f);
                close(fd);
        }
}

/* ---- XCLIENT ---- */

bool edge_front_may_xclient(const struct edge_session *s)
{
        const struct config_networks *n = &s->edge->process->config->xclient_networks;

        return s->client.may_try ||
               (!s->client.is_unix && config_networks_contain(n, s->peer_address));
}

/* The meters count the client that is named from now on. */
static struct verdict change_client(struct edge_session *s, const struct xclient *x)
{
        struct edge *e = s->edge;
        const struct config *c = e->process->config;
        unsigned held;

        edge_listener_describe(x->address, x->port, &s->client);
        meters_release(&e->meters, s->meter_key);
        s->meter_key = meters_client(&e->meters, s->client.address);
        held = meters_hold(&e->meters, s->meter_key, clock_now_us());
        if (held == 0)
                s->meter_key = 0;
        return limits_connection(c, 0, 0, held);
}

void edge_front_xclient(struct edge_session *s, struct span argument)
{
        struct verdict v = {0};
        struct xclient x;
        int r;

        arena_clear(&s->edge->scratch);
        r = edge_front_may_xclient(s) ? xclient_parse(argument, &s->edge->scratch, &x) : -EPERM;
        if (r == 0 && x.is_trial != s->client.may_try)
                r = -EPERM;
        if (r == 0 && (x.is_trial ? !x.has_address : x.login.len > 0))
                r = -EINVAL;
        if (r == -EPERM) {
                edge_session_say(s, 550, "5.7.0", "Not for you");
                return;
        }
        if (r == -EINVAL) {
                edge_session_say(s, 501, "5.5.4", "XCLIENT has a parameter we cannot read");
                return;
        }
        edge_words_forget(s);
        if (r == 0 && x.has_name) {
                free(s->client_name);
                s->client_name = strndup(x.name.len ? x.name.p : "", x.name.len);
                r = s->client_name ? 0 : -ENOMEM;
        }
        if (r < 0) {
                edge_session_say(s, 421, "4.3.0", "Out of memory");
                return;
        }
        if (x.is_trial) {
                v = edge_trial_begin(s, &x);
        } else if (x.has_address) {
                edge_checks_forget(s);
                v = change_client(s, &x);
        }
        if (verdict_is_refusal(&v)) {
                edge_session_reply(s, v.code, v.enhanced, "%.*s", (int) v.text.len, v.text.p);
                return;
        }
        free(s->helo_name);
        s->helo_name = NULL;
        smtp_server_reply(s->server, 220, NULL, NULL);
}
