#include "process/relay/relay_login.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "auth/sasl.h"
#include "base/hash.h"
#include "base/log.h"
#include "message/next_hop.h"
#include "process/relay/relay_connection.h"

int relay_login_is_wanted(const struct relay *r, struct span host, uint16_t port)
{
        struct reader each = ipc_items_read((struct ipc_items) {
                r->login_host_count, buffer_span(&r->login_hosts)});
        struct ipc_relay_host one;

        if (!r->process->config->auth.relay_logins.len)
                return 0;
        if (!r->knows_login_hosts)
                return -EAGAIN;
        for (uint32_t i = 0; i < r->login_host_count && ipc_next_relay_host(&each, &one); i++)
                if (span_equal_nocase(one.name, host) && (!one.port || one.port == port))
                        return 1;
        return 0;
}

static struct relay *relay_of(const struct relay_connection *c)
{
        return c->destination->relay;
}

static uint64_t hash_of(uint64_t number)
{
        return hash_span(span_make((const char *) &number, sizeof number), hash_seed());
}

static struct relay_connection *find(const struct relay *r, uint64_t number)
{
        struct table_node *n = table_first(&r->logins, hash_of(number));

        for (; n; n = table_next(n)) {
                struct relay_login_state *l = TABLE_OBJECT(n, struct relay_login_state, by_number);

                if (l->number == number)
                        return LIST_OBJECT(l, struct relay_connection, login);
        }
        return NULL;
}

void relay_login_end(struct relay_connection *c)
{
        struct relay *r = relay_of(c);

        if (c->login.is_under_way) {
                table_remove(&r->logins, &c->login.by_number);
                if (r->directory)
                        CHANNEL_SEND(r->directory, auth_cancel, -1, .login = c->login.number);
        }
        c->login.is_under_way = c->login.is_waiting = c->login.is_done = false;
}

void relay_login_wipe(const struct relay_connection *c, struct buffer *out)
{
        if (c->login.is_under_way && out->data)
                explicit_bzero(out->data, out->room);
}

/* ---- the host's side ---- */

static int begin(struct relay_connection *c, struct span mechanisms)
{
        struct relay *r = relay_of(c);
        unsigned char exporter[SASL_EXPORTER_LEN];
        struct tls_session *tls = stream_tls(c->stream);
        const bool has_exporter = tls && tls_session_exporter(tls, exporter, sizeof exporter);
        struct next_hop hop = {0};
        int s;

        if (!tls || !r->directory)
                return -EPIPE;
        (void) next_hop_parse(span_from_string(c->destination->text), &hop);
        c->login.mechanism[0] = '\0';
        c->login.number = ++r->login_last;
        s = table_add(&r->logins, &c->login.by_number, hash_of(c->login.number));
        if (s < 0)
                return s;
        c->login.is_under_way = c->login.is_waiting = true;
        return CHANNEL_SEND(r->directory, relay_login_start, -1, .login = c->login.number,
                            .host = hop.host, .port = c->destination->port,
                            .mechanisms = mechanisms,
                            .exporter = span_make((const char *) exporter,
                                                  has_exporter ? sizeof exporter : 0));
}

static int challenged(struct relay_connection *c, struct span base64)
{
        struct relay *r = relay_of(c);
        char octets[SASL_BLOB_MAX];
        size_t len;

        if (!c->login.is_under_way || !r->directory || !sasl_decode(base64, octets, &len))
                return -EPROTO;
        c->login.is_waiting = true;
        return CHANNEL_SEND(r->directory, relay_login_step, -1, .login = c->login.number,
                            .octets = span_make(octets, len));
}

bool relay_login_event(struct relay_connection *c, const struct smtp_client_event *e)
{
        const char *why = "the login could not be tried: no directory process runs";
        int r = 0;

        if (e->kind == SMTP_CLIENT_LOGIN) {
                r = begin(c, e->reply.text);
        } else if (e->kind == SMTP_CLIENT_CHALLENGE) {
                why = "the host's challenge is not base64";
                r = challenged(c, e->reply.text);
        } else if (!c->login.is_done) { /* it would take any password, or is not our host */
                why = "the host accepted our login without proving that it knows the password";
                r = -EACCES;
        } else {
                relay_login_end(c);
                smtp_client_logged_in(c->client);
        }
        if (r == 0)
                return true;
        relay_connection_abort(c, why);
        return false;
}

/* ---- the directory's side ---- */

static void on_answer(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct ipc_relay_login_answer *a = &m->relay_login_answer;
        struct relay_connection *c = find(arg, a->login);
        const bool is_first = c && !c->login.mechanism[0];
        char base64[SASL_BASE64_MAX + 1], text[300];

        (void) ch;
        (void) fd;
        if (!c || !c->login.is_waiting)
                return; /* its session has ended meanwhile */
        c->login.is_waiting = false;
        if (a->trouble.len) {
                snprintf(text, sizeof text, "the login failed: %.*s", (int) a->trouble.len,
                         a->trouble.p);
                relay_connection_abort(c, text);
                return;
        }
        c->login.is_done = a->is_done;
        sasl_encode(a->octets, base64);
        if (is_first) {
                snprintf(c->login.mechanism, sizeof c->login.mechanism, "%.*s",
                         (int) a->mechanism.len, a->mechanism.p);
                smtp_client_auth(c->client, a->mechanism,
                                 a->has_octets ? span_from_string(base64) : (struct span) {0});
        } else {
                smtp_client_auth_response(c->client, span_from_string(base64));
        }
        explicit_bzero(base64, sizeof base64);
        relay_connection_go_on(c);
}

static void on_hosts(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct relay *r = arg;

        (void) ch;
        (void) fd;
        buffer_clear(&r->login_hosts);
        if (buffer_append_span(&r->login_hosts, m->relay_hosts.hosts.octets) < 0) {
                log_event(LOG_ERROR, "login_hosts_lost");
                return;
        }
        r->login_host_count = m->relay_hosts.hosts.count;
        r->knows_login_hosts = true;
}

static void fail_one(struct table_node *n, void *arg)
{
        struct relay_login_state *l = TABLE_OBJECT(n, struct relay_login_state, by_number);

        (void) arg;
        relay_connection_abort(LIST_OBJECT(l, struct relay_connection, login),
                               "the directory process ended during the login");
}

static void lose(struct relay *r)
{
        r->directory = channel_free(r->directory);
        table_visit(&r->logins, fail_one, NULL);
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        (void) ch;
        (void) reason;
        lose(arg);
}

static const struct channel_handler handler = {
        .on = {[IPC_relay_hosts] = on_hosts, [IPC_relay_login_answer] = on_answer},
        .closed = on_closed,
};

void relay_login_peer(struct relay *r, int fd)
{
        int s;

        lose(r);
        s = channel_new(r->loop, fd, &handler, r, &r->directory);
        if (s < 0) {
                log_event(LOG_ERROR, "channel_not_opened", LOG_ERRNO("error", s));
                close(fd);
        }
}
