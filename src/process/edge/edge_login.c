#include "process/edge/edge_login.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/sasl.h"
#include "base/log.h"
#include "config/options.h"
#include "process/edge/edge.h"
#include "process/edge/edge_notice.h"
#include "process/edge/edge_session.h"
#include "process/edge/edge_transaction.h"
#include "process/edge/edge_words.h"

/* ---- what is offered ---- */

bool edge_login_is_possible(const struct edge_session *s)
{
        const enum listen_protocol protocol = s->listener->protocol;

        if (s->client.is_unix)
                return false;
        return protocol == LISTEN_SUBMISSION || protocol == LISTEN_SUBMISSIONS ||
               (protocol == LISTEN_SMTP && s->edge->process->config->auth.on_smtp);
}

void edge_login_offer(struct edge_session *s)
{
        const struct config *c = s->edge->process->config;
        struct tls_session *tls = stream_tls(s->stream);
        const bool may_say_password =
                tls || config_networks_contain(&c->auth.plaintext_without_tls, s->client.address);
        size_t len = 0;

        s->login.mechanisms[0] = '\0';
        if (edge_login_is_possible(s))
                len = edge_sasl_offer(&c->auth.mechanisms, tls, may_say_password,
                                      s->login.mechanisms);
        smtp_server_offer_auth(s->server, span_make(s->login.mechanisms, len));
}

/* ---- questions under way ---- */

static struct edge_session *session_of(struct edge_login *l)
{
        return LIST_OBJECT(l, struct edge_session, login);
}

/* Numbers are ours, one after the other: each is its own hash. */
static struct edge_session *find(const struct edge_directory *d, uint64_t number)
{
        struct table_node *n = table_first(&d->asked, number);

        return n ? session_of(TABLE_OBJECT(n, struct edge_login, by_number)) : NULL;
}

static int remember(struct edge_session *s, enum edge_login_state state)
{
        struct edge_directory *d = &s->edge->directory;
        int r;

        s->login.number = ++d->number_last;
        r = table_add(&d->asked, &s->login.by_number, s->login.number);
        if (r == 0)
                s->login.state = state;
        return r;
}

static void forget(struct edge_session *s)
{
        if (s->login.state == EDGE_LOGIN_NONE)
                return;
        table_remove(&s->edge->directory.asked, &s->login.by_number);
        s->login.state = EDGE_LOGIN_NONE;
}

void edge_login_cancel(struct edge_session *s)
{
        const struct edge_directory *d = &s->edge->directory;
        const enum edge_login_state state = s->login.state;

        forget(s);
        if (d->channel && (state == EDGE_LOGIN_ASKED || state == EDGE_LOGIN_CHALLENGED))
                CHANNEL_SEND(d->channel, auth_cancel, -1, .login = s->login.number);
}

/* ---- the client's side ---- */

static void say_trouble(struct edge_session *s)
{
        edge_session_say(s, 454, "4.7.0", "Logins are not possible now, try again later");
}

static int send_start(struct edge_session *s, const struct smtp_event *event, struct span initial)
{
        const struct sasl_mechanism *m = sasl_mechanism_find(event->argument);
        struct edge_sasl told;

        edge_sasl_tell(s->login.mechanisms, m, stream_tls(s->stream), &told);
        return CHANNEL_SEND(s->edge->directory.channel, auth_start, -1, .login = s->login.number,
                            .mechanism = m->name,
                            .service = span_from_string(
                                    listen_protocol_name(s->listener->protocol)),
                            .client_address = {(const char *) s->client.address,
                                               sizeof s->client.address},
                            .has_initial = event->octets.p != NULL, .octets = initial,
                            .exporter = told.exporter, .end_point = told.end_point,
                            .certificate_name = told.certificate_name);
}

static void refuse_mechanism(struct edge_session *s, struct span mechanism)
{
        const struct sasl_mechanism *m = sasl_mechanism_find(mechanism);

        if (m && (m->flags & (SASL_PLAINTEXT | SASL_BINDING)) && !stream_tls(s->stream))
                edge_session_say(s, 538, "5.7.11", "Only under TLS: say STARTTLS first");
        else
                edge_session_say(s, 504, "5.5.4", "This mechanism is not offered");
}

void edge_login_begin(struct edge_session *s, const struct smtp_event *event)
{
        const struct edge_directory *d = &s->edge->directory;
        char initial[SASL_BLOB_MAX];
        size_t len = 0;
        int r;

        edge_login_cancel(s); /* one that was left in the middle */
        if (!edge_sasl_is_offered(s->login.mechanisms, event->argument)) {
                refuse_mechanism(s, event->argument);
                return;
        }
        if (event->octets.p && !sasl_decode(event->octets, initial, &len)) {
                explicit_bzero(initial, sizeof initial);
                edge_session_say(s, 501, "5.5.2", "This is not base64");
                return;
        }
        r = d->channel ? remember(s, EDGE_LOGIN_ASKED) : -EPIPE;
        if (r == 0)
                r = send_start(s, event, span_make(initial, len));
        explicit_bzero(initial, len);
        if (r < 0) {
                forget(s);
                say_trouble(s);
                return;
        }
        edge_session_hold(s, EDGE_HOLD_ANSWER);
}

void edge_login_response(struct edge_session *s, struct span base64)
{
        const struct edge_directory *d = &s->edge->directory;
        char octets[SASL_BLOB_MAX];
        size_t len;
        int r;

        if (s->login.state != EDGE_LOGIN_CHALLENGED) { /* the directory that asked is gone */
                say_trouble(s);
                return;
        }
        if (!sasl_decode(base64, octets, &len)) {
                explicit_bzero(octets, sizeof octets);
                edge_login_cancel(s);
                edge_session_say(s, 501, "5.5.2", "This is not base64");
                return;
        }
        r = d->channel ? CHANNEL_SEND(d->channel, auth_step, -1, .login = s->login.number,
                                      .octets = span_make(octets, len))
                       : -EPIPE;
        explicit_bzero(octets, len);
        if (r < 0) {
                forget(s);
                say_trouble(s);
                return;
        }
        s->login.state = EDGE_LOGIN_ASKED;
        edge_session_hold(s, EDGE_HOLD_ANSWER);
}

/* ---- the directory's side ---- */

static void challenge(struct edge_session *s, struct span octets)
{
        char text[SASL_BASE64_MAX + 1];

        sasl_encode(octets, text);
        /* A reply line has its limit (RFC 5321 section 4.5.3.1.5), and only a
         * nonce chosen to be absurd goes beyond it. */
        if (octets.len > 3 * (512 - 6) / 4) {
                edge_login_cancel(s);
                edge_session_say(s, 501, "5.5.6", "The exchange has become too long");
                return;
        }
        s->login.state = EDGE_LOGIN_CHALLENGED;
        edge_session_say(s, 334, NULL, text);
}

static void granted(struct edge_session *s, struct span account)
{
        edge_words_forget(s);
        free(s->login.account);
        s->login.account = strndup(account.p, account.len);
        if (!s->login.account)
                say_trouble(s);
        else
                edge_session_say(s, 235, "2.7.0", "Logged in");
}

static void say_result(struct edge_session *s, enum auth_status status)
{
        switch (status) {
        case AUTH_REFUSED:
                edge_session_say(s, 535, "5.7.8", "Login name or password is wrong");
                break;
        case AUTH_MALFORMED:
                edge_session_say(s, 501, "5.5.2", "Not understood as a message of this mechanism");
                break;
        case AUTH_UNKNOWN:
                edge_session_say(s, 504, "5.5.4", "This mechanism is not offered");
                break;
        case AUTH_LATER:
                edge_session_say(s, 421, "4.7.0", "Too many failed logins, try again later");
                break;
        default:
                say_trouble(s);
                break;
        }
}

static void on_result(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct ipc_auth_result *result = &m->auth_result;
        struct edge_directory *d = arg;
        struct edge_session *s = find(d, result->login);

        (void) ch;
        (void) fd;
        if (!s) { /* one who reads, or who went away meanwhile */
                edge_reading_on_result(&d->edge->readings, result);
                return;
        }
        if (s->login.state != EDGE_LOGIN_ASKED)
                return;
        if (result->status == AUTH_CHALLENGE) {
                challenge(s, result->octets);
        } else {
                forget(s);
                if (result->status == AUTH_GRANTED && result->account.len)
                        granted(s, result->account);
                else
                        say_result(s, (enum auth_status) result->status);
        }
        edge_session_answered(s, EDGE_HOLD_ANSWER);
}

static void on_quota(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct edge_directory *d = arg;
        struct edge_session *s = find(d, m->quota_answer.query);

        (void) ch;
        (void) fd;
        if (!s || s->login.state != EDGE_LOGIN_QUOTA)
                return;
        forget(s);
        if (m->quota_answer.is_news)
                edge_notice_quota(s->edge, span_from_string(s->login.account),
                                  m->quota_answer.text);
        edge_transaction_quota(s, &m->quota_answer);
        edge_session_answered(s, EDGE_HOLD_ANSWER);
}

/* Those who wait are told; those who were challenged are once they answer. */
static void fail_one(struct table_node *node, void *arg)
{
        struct edge_session *s = session_of(TABLE_OBJECT(node, struct edge_login, by_number));
        const enum edge_login_state state = s->login.state;

        (void) arg;
        forget(s);
        if (state == EDGE_LOGIN_CHALLENGED)
                return;
        if (state == EDGE_LOGIN_QUOTA)
                edge_transaction_quota(s, NULL); /* better sent than kept */
        else
                say_trouble(s);
        edge_session_answered(s, EDGE_HOLD_ANSWER);
}

static void lose(struct edge_directory *d)
{
        d->channel = channel_free(d->channel);
        table_visit(&d->asked, fail_one, NULL);
        edge_reading_lost(&d->edge->readings);
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        (void) ch;
        (void) reason;
        lose(arg);
}

static const struct channel_handler handler = {
        .on = {[IPC_auth_result] = on_result, [IPC_quota_answer] = on_quota},
        .closed = on_closed,
};

/* ---- life ---- */

void edge_login_init(struct edge_directory *d, struct edge *e)
{
        *d = (struct edge_directory) {.edge = e, .asked = TABLE_INIT};
}

void edge_login_done(struct edge_directory *d)
{
        d->channel = channel_free(d->channel);
        table_done(&d->asked);
}

void edge_login_peer(struct edge_directory *d, int fd)
{
        int r;

        lose(d);
        r = channel_new(d->edge->process->loop, fd, &handler, d, &d->channel);
        if (r < 0) {
                log_event(LOG_ERROR, "no_channel", LOG_TEXT("peer", "directory"),
                          LOG_ERRNO("error", r));
                close(fd);
        }
}

/* ---- what an account may ---- */

bool edge_login_owns(const struct edge_session *s, struct span mail_from)
{
        const struct process *p = s->edge->process;
        const struct span account = span_from_string(s->login.account);
        const size_t at = span_find_last(mail_from, '@');
        const size_t plus = span_find(span_first(mail_from, at == SIZE_MAX ? 0 : at), '+');
        char plain[IPC_ADDRESS_MAX];
        struct span owner;
        size_t len;

        if (mail_from.len == 0 || span_equal_nocase(mail_from, account))
                return true;
        if (mail_from.len >= sizeof plain)
                return false;
        len = plus == SIZE_MAX || plus == 0 ? mail_from.len : plus;
        memcpy(plain, mail_from.p, len);
        if (len < mail_from.len) { /* user+detail@ours is user@ours */
                memcpy(plain + len, mail_from.p + at, mail_from.len - at);
                len += mail_from.len - at;
        }
        return p->snapshot &&
               snapshot_get(p->snapshot, SNAPSHOT_USERS, span_make(plain, len), &owner, NULL) &&
               span_equal(owner, account);
}

bool edge_login_ask_quota(struct edge_session *s, size_t recipients)
{
        const struct edge_directory *d = &s->edge->directory;
        const struct config *c = s->edge->process->config;

        if (!s->login.account || !d->channel ||
            (!c->auth.recipients_per_hour && !c->auth.recipients_per_day) ||
            remember(s, EDGE_LOGIN_QUOTA) < 0)
                return false;
        if (CHANNEL_SEND(d->channel, quota_ask, -1, .query = s->login.number,
                         .account = span_from_string(s->login.account),
                         .recipients = (uint32_t) recipients) < 0) {
                forget(s);
                return false;
        }
        return true;
}
