#include "process/relay/relay_connection.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* TRYING (no `is_ready`) ──READY──► BUSY ◄──► IDLE ──quit──► QUITTING ──► freed
 *    └─ next address, or its jobs are answered ─► freed
 *
 * Functions that return bool: false means that the connection is freed, or tries
 * another address: the session is no more. */

enum {
        OUTPUT_HIGH = 256 * 1024, /* queued octets, above which the body waits; and those that
                                   * one connection sends before another has its turn */
        OUTPUT_STEP = 64 * 1024,  /* octets of a body, from which on they leave at once */
        OUTPUT_KEPT = 256 * 1024, /* memory that the next session gets */
        TRIES_MAX = 3,            /* connections that may give one job back */
};

static const char cancel_text[] = "the attempt was cancelled here";

static const struct stream_limits limits = {
        .input_max = 64 * 1024, .output_max = 4 * 1024 * 1024};

static bool try_next(struct relay_connection *c);
static void address_failed(struct relay_connection *c);
static bool drive(struct relay_connection *c, struct span in);
static void pump(struct relay_connection *c);

static struct relay *relay_of(const struct relay_connection *c)
{
        return c->destination->relay;
}

static uint64_t now_ms(const struct relay_connection *c)
{
        return loop_now_ms(relay_of(c)->loop);
}

static struct relay_job *first_job(const struct relay_connection *c)
{
        return list_is_empty(&c->jobs)
                ? NULL : LIST_OBJECT(c->jobs.next, struct relay_job, in_connection);
}

/* What it is connected to, or was trying; NULL: the destination's addresses are
 * others by now. */
static struct relay_address *address_of(const struct relay_connection *c)
{
        struct relay_destination *d = c->destination;

        return c->tried_version == d->addresses_version && c->address < d->address_count
                ? &d->addresses[c->address] : NULL;
}

/* Life. */

static void set_idle(struct relay_connection *c, bool is_idle)
{
        struct relay_destination *d = c->destination;

        if (c->is_idle == is_idle)
                return;
        c->is_idle = is_idle;
        list_remove(&c->node);
        list_prepend(is_idle ? &d->idle : &d->busy, &c->node);
        d->busy_count += is_idle ? (size_t) -1 : 1;
        relay_of(c)->idle_count += is_idle ? 1 : (size_t) -1;
}

static void end_session(struct relay_connection *c)
{
        relay_login_end(c);
        relay_socket_end(c);
        c->stream = stream_free(c->stream);
        c->client = smtp_client_free(c->client);
        c->is_ready = c->is_tls_starting = false;
}

static void connection_free(struct relay_connection *c)
{
        struct relay_destination *d = c->destination;
        struct relay *r = d->relay;

        assert(list_is_empty(&c->jobs));
        set_idle(c, false);
        list_remove(&c->node);
        d->busy_count--;
        r->connection_count--;
        end_session(c);
        timer_free(c->timer);
        free(c);
        relay_destination_release(d);
}

static void take_job_off(struct relay_job *j)
{
        list_remove(&j->in_connection);
        j->connection = NULL;
}

/* Time. */

static uint64_t stage_ms(const struct relay_connection *c)
{
        switch (smtp_client_stage(c->client)) {
        case SMTP_CLIENT_AT_GREETING:
                return RELAY_GREETING_MS;
        case SMTP_CLIENT_AT_HELLO:
        case SMTP_CLIENT_AT_MAIL:
        case SMTP_CLIENT_AT_RCPT:
        case SMTP_CLIENT_AT_LOGIN:
                return RELAY_COMMAND_MS;
        case SMTP_CLIENT_AT_STARTTLS:
                return RELAY_TLS_MS;
        case SMTP_CLIENT_AT_DATA:
                return RELAY_DATA_MS;
        case SMTP_CLIENT_AT_BODY:
                return RELAY_BLOCK_MS;
        case SMTP_CLIENT_AT_DOT:
                return RELAY_DOT_MS;
        case SMTP_CLIENT_AT_IDLE:
                return RELAY_IDLE_MS;
        case SMTP_CLIENT_AT_QUIT:
        case SMTP_CLIENT_AT_END:
                break;
        }
        return RELAY_QUIT_MS;
}

/* Something moved: the time for what is waited for begins. */
static void set_timer(struct relay_connection *c)
{
        uint64_t ms = stage_ms(c), now = now_ms(c);
        const struct relay_job *j = first_job(c);

        if (j && j->deadline_ms < now + ms)
                ms = j->deadline_ms > now ? j->deadline_ms - now : 0;
        timer_set(c->timer, ms);
}

static void on_timer(void *arg)
{
        struct relay_connection *c = arg;
        char text[128];

        if (!c->client) {
                snprintf(c->error, sizeof c->error, "%s did not answer in time", c->host);
                address_failed(c);
                end_session(c);
                try_next(c);
                return;
        }
        if (c->is_idle) {
                relay_connection_quit(c);
                return;
        }
        snprintf(text, sizeof text, "the host took too long: we waited for %s",
                 smtp_client_stage_text(smtp_client_stage(c->client)));
        relay_connection_abort(c, text);
}

/* Jobs. */

/* The peer gave the transaction back untouched: nothing speaks against another
 * connection at once, if this one had worked before. */
static void on_returned(struct relay_connection *c, struct relay_job *j,
                        const struct smtp_reply *reply)
{
        bool may_again = smtp_client_transactions(c->client) > 0 || c->cancelled;
        char text[600];

        take_job_off(j);
        if (j == c->cancelled) {
                relay_job_fail(j, 0, "4.0.0", cancel_text, c->host);
                return;
        }
        if (may_again && ++j->tries < TRIES_MAX) {
                relay_destination_take(relay_of(c), j);
                return;
        }
        if (reply->code)
                snprintf(text, sizeof text, "the host said: %u %.*s", reply->code,
                         (int) (reply->text.len < 500 ? reply->text.len : 500), reply->text.p);
        else
                snprintf(text, sizeof text, "%.*s",
                         (int) (reply->text.len < 500 ? reply->text.len : 500), reply->text.p);
        relay_job_fail(j, 0, "4.4.2", text, c->host);
}

/* What stays true while the session lasts. */
static void describe_session(struct relay_connection *c)
{
        const struct tls_session *tls = stream_tls(c->stream);
        char more[RELAY_TLS_TEXT_MAX];

        relay_tls_describe(c, more);
        snprintf(c->session, sizeof c->session, "tls=%s%s%s%s",
                 tls ? tls_session_version(tls) : "none", tls ? " cipher=" : "",
                 tls ? tls_session_cipher(tls) : "", more);
}

static void on_result(struct relay_connection *c, const struct smtp_client_event *e)
{
        struct relay_job *j = e->tag;
        struct smtp_reply reply = e->reply;
        char text[600];

        if (reply.is_ours && reply.code) {
                /* The keeper and the author must see that nobody else said this. */
                snprintf(text, sizeof text, "not sent: %.*s", (int) reply.text.len, reply.text.p);
                reply.text = span_from_string(text);
        }
        if ((reply.code == 0 || reply.code == 421) && j != c->cancelled)
                j->is_host_failure = true;
        if (reply.code == 0)
                reply.enhanced = j == c->cancelled ? SPAN_LITERAL("4.0.0") : SPAN_LITERAL("4.4.2");
        relay_job_note_session(j, smtp_client_offers(c->client), span_from_string(c->session));
        relay_job_result(j, e->rcpt, &reply, c->host);
}

static void on_done(struct relay_connection *c, struct relay_job *j)
{
        take_job_off(j);
        if (c->dot_sent_ms)
                c->destination->quick_ms = now_ms(c) - c->dot_sent_ms;
        c->dot_sent_ms = 0;
        relay_job_done(j, c->host, j->is_host_failure);
}

/* The session, driven. */

/* What the session says goes into memory that is the same for all of them, and so
 * stays in the processor's caches: flush() takes it back. */
static void lend_output(struct relay_connection *c)
{
        struct buffer *out = smtp_client_output(c->client), *spare = &relay_of(c)->output;

        if (out->data)
                return;
        out->data = spare->data;
        out->room = spare->room;
        *spare = BUFFER_INIT(spare->size_max);
}

static void take_output_back(struct relay_connection *c, struct buffer *out)
{
        struct buffer *spare = &relay_of(c)->output;

        if (!spare->data && out->room <= OUTPUT_KEPT) {
                spare->data = out->data;
                spare->room = out->room;
                *out = BUFFER_INIT(out->size_max);
        } else {
                buffer_done(out);
        }
}

/* False: the session has failed by this; its events say what follows. */
static bool flush_with(struct relay_connection *c, int (*write)(struct stream *, struct span))
{
        struct buffer *out = smtp_client_output(c->client);
        int r = out->len ? write(c->stream, buffer_span(out)) : 0;

        relay_login_wipe(c, out);
        if (out->data)
                take_output_back(c, out);
        if (r < 0)
                smtp_client_lost(c->client, "there is no room for what we had to say");
        return r == 0;
}

static bool flush(struct relay_connection *c)
{
        return flush_with(c, stream_write_now);
}

/* What its outcome is where it cannot be made fit for the host. */
static void fail_unfit(struct relay_connection *c, struct relay_job *j, int error)
{
        take_job_off(j);
        if (error == -EPERM)
                relay_job_fail(j, 554, "5.6.1", "not sent: the host takes no 8-bit text, and "
                               "re-encoding would break the message's signature", c->host);
        else if (error == -ENOTSUP || error == -EMSGSIZE)
                relay_job_fail(j, 554, "5.6.3", "not sent: the host takes no 8-bit text, and "
                               "the message cannot be re-encoded", c->host);
        else
                relay_job_fail(j, 0, "4.3.0", "the message could not be re-encoded here: out of "
                               "memory, or its file could not be read", c->host);
}

static bool send_job(struct relay_connection *c, struct relay_job *j)
{
        const int r = relay_job_make_fit(j, smtp_client_offers(c->client));

        if (r < 0) {
                fail_unfit(c, j, r);
                return false;
        }
        lend_output(c);
        if (smtp_client_send(c->client, &j->mail) == 0)
                return true;
        take_job_off(j);
        relay_job_fail(j, 0, "4.3.0", "there is no memory for this transaction", c->host);
        return false;
}

/* Sends the envelope of a job that waits for this connection. False: none does. */
static bool take_next(struct relay_connection *c)
{
        struct relay_job *j;

        while ((j = relay_destination_next(c->destination))) {
                j->connection = c;
                list_append(&c->jobs, &j->in_connection);
                if (send_job(c, j))
                        return true;
        }
        return false;
}

static void on_ready(struct relay_connection *c)
{
        struct relay_job *j = first_job(c);

        c->is_ready = true;
        describe_session(c);
        if (address_of(c)) {
                address_of(c)->failed_until_ms = 0;
                c->destination->fallback_until_ms = 0;
        }
        if (j)
                send_job(c, j);
}

static bool start_tls(struct relay_connection *c)
{
        c->is_tls_starting = true;
        if (relay_tls_start(c, address_of(c)) == 0)
                return true;
        relay_connection_abort(c, "TLS could not be started as tls_policy wants it");
        return false;
}

/* The session is over, every transaction of it answered or given back. */
static bool on_over(struct relay_connection *c, const struct smtp_reply *reply)
{
        bool was_ready = c->is_ready;

        if (!was_ready && !c->is_quitting && !c->cancelled) {
                int len = (int) (reply->text.len < 300 ? reply->text.len : 300);

                if (reply->code)
                        snprintf(c->error, sizeof c->error, "%s refused the session: %u %.*s",
                                 c->host, reply->code, len, reply->text.p);
                else
                        snprintf(c->error, sizeof c->error, "%s: %.*s", c->host, len,
                                 reply->text.p);
                c->is_policy_failure = c->tls.is_mandatory && !stream_tls(c->stream);
                address_failed(c);
                end_session(c);
                try_next(c);
                return false;
        }
        while (first_job(c)) { /* cancelled before the session stood */
                struct relay_job *j = first_job(c);

                take_job_off(j);
                relay_job_fail(j, 0, "4.0.0", cancel_text, c->host);
        }
        connection_free(c);
        return false;
}

static bool on_event(struct relay_connection *c, const struct smtp_client_event *e)
{
        switch (e->kind) {
        case SMTP_CLIENT_STARTTLS:
                return start_tls(c);
        case SMTP_CLIENT_LOGIN:
        case SMTP_CLIENT_CHALLENGE:
        case SMTP_CLIENT_LOGGED_IN:
                return relay_login_event(c, e);
        case SMTP_CLIENT_READY:
                on_ready(c);
                break;
        case SMTP_CLIENT_BODY:
                pump(c);
                break;
        case SMTP_CLIENT_RESULT:
                on_result(c, e);
                break;
        case SMTP_CLIENT_DONE:
                on_done(c, e->tag);
                break;
        case SMTP_CLIENT_RETURNED:
                on_returned(c, e->tag, &e->reply);
                break;
        case SMTP_CLIENT_OVER:
                return on_over(c, &e->reply);
        case SMTP_CLIENT_NONE:
                break;
        }
        return true;
}

static bool drive(struct relay_connection *c, struct span in)
{
        struct smtp_client_event e;

        do {
                in = span_skip(in, smtp_client_feed(c->client, in, &e));
                if (!on_event(c, &e))
                        return false;
        } while (e.kind != SMTP_CLIENT_NONE ||
                 (list_is_empty(&c->jobs) && relay_connection_may_take(c) && take_next(c)) ||
                 !flush(c));
        if (c->is_ready && !c->is_quitting && list_is_empty(&c->jobs)) {
                set_idle(c, true);
                if (relay_of(c)->is_stopping) {
                        relay_connection_quit(c);
                        return true;
                }
        }
        set_timer(c);
        return true;
}

/* Moves what there is of the body, as far as the stream has room and others wait no
 * longer than they must: the rest follows when the stream has drained. What becomes
 * of it is told by the events that drive() sees next, and what is left in the output
 * is sent by it. */
static void pump(struct relay_connection *c)
{
        struct relay_job *j = first_job(c);
        struct span octets;
        size_t moved = 0;
        int r = 1;

        while (r > 0 && moved < OUTPUT_HIGH && stream_output_len(c->stream) < OUTPUT_HIGH) {
                r = relay_job_body(j, &octets);
                if (r <= 0)
                        break;
                lend_output(c);
                if (smtp_client_body(c->client, octets) < 0)
                        r = -ENOMEM;
                moved += octets.len;
                if (moved >= OUTPUT_HIGH && !flush_with(c, stream_write))
                        return;
                if (smtp_client_output(c->client)->len >= OUTPUT_STEP && !flush(c))
                        return;
        }
        if (r < 0) {
                smtp_client_lost(c->client, "the message could not be read here");
        } else if (r == 0 && j->body_unsent == 0) {
                if (smtp_client_body_end(c->client) < 0)
                        smtp_client_lost(c->client, "there is no memory for the message");
                c->dot_sent_ms = now_ms(c);
                if (relay_connection_may_take(c))
                        take_next(c); /* its commands follow in the same write */
        }
}

/* Stream. */

static size_t on_input(struct stream *s, void *arg, struct span in)
{
        (void) s;
        drive(arg, in);
        return in.len; /* or the stream is gone */
}

static void begin_session(struct relay_connection *c)
{
        const struct relay *r = relay_of(c);
        struct smtp_client_options o = {
                .helo_name = span_from_string(r->hostname),
                .is_lmtp = c->destination->is_lmtp,
                .tls = relay_tls_mode(c),
                .wants_login = c->login.is_wanted,
        };

        c->client = smtp_client_new(&o);
        if (!c->client) {
                snprintf(c->error, sizeof c->error, "there is no memory for a session");
                end_session(c);
                try_next(c);
                return;
        }
        set_timer(c);
}

static void on_drained(struct stream *s, void *arg)
{
        struct relay_connection *c = arg;

        (void) s;
        if (!c->client && c->tls.is_first) {
                if (!c->is_tls_starting)
                        start_tls(c);
        } else if (!c->client)
                begin_session(c); /* the connection stands */
        else
                relay_connection_pump(c);
}

static void on_secured(struct stream *s, void *arg)
{
        struct relay_connection *c = arg;

        (void) s;
        c->is_tls_starting = false;
        if (!c->client) {
                begin_session(c);
                return;
        }
        smtp_client_secured(c->client);
        drive(c, (struct span) {NULL, 0});
}

static void on_closed(struct stream *s, void *arg, int reason)
{
        struct relay_connection *c = arg;
        char text[300];

        if (!c->client) {
                snprintf(c->error, sizeof c->error, "connecting to %s failed: %.200s", c->host,
                         stream_error(s));
                address_failed(c);
                end_session(c);
                try_next(c);
                return;
        }
        if (c->is_tls_starting && c->tls.is_mandatory) {
                c->is_policy_failure = true;
                snprintf(c->error, sizeof c->error, "%s: %.300s (tls_policy: %s)", c->host,
                         stream_error(s), tls_level_name(c->tls.level));
                address_failed(c);
                end_session(c);
                try_next(c);
                return;
        }
        if (c->is_tls_starting) {
                /* Opportunistic (RFC 7435): the same host once more without. */
                log_event(LOG_NOTICE, "tls_failed", LOG_TEXT("host", c->host),
                          LOG_TEXT("reason", stream_error(s)));
                c->destination->plain_until_ms = now_ms(c) + RELAY_PLAIN_MS;
                c->tried &= ~(1u << c->address);
                end_session(c);
                try_next(c);
                return;
        }
        snprintf(text, sizeof text, "the connection was lost while we waited for %s%s%s",
                 smtp_client_stage_text(smtp_client_stage(c->client)), reason ? ": " : "",
                 reason ? stream_error(s) : "");
        relay_connection_abort(c, text);
}

static const struct stream_handler handler = {on_input, on_drained, on_secured, on_closed};

/* Addresses. */

/* The first of source_addresses that is of this family; false: there is none. */
static bool choose_source(const struct relay_connection *c, const struct endpoint *at,
                          struct endpoint *ret)
{
        const struct config_list *all = &relay_of(c)->process->config->source_addresses;

        for (size_t i = 0; i < all->count; i++)
                if (endpoint_from_host(all->items[i], 0, ret) == 0
                    && ret->at.any.sa_family == at->at.any.sa_family)
                        return true;
        return false;
}

static void name_host(struct relay_connection *c, const struct relay_address *a)
{
        char at[ENDPOINT_TEXT_MAX];

        if (endpoint_is_path(&a->at))
                snprintf(c->host, sizeof c->host, "%s", endpoint_format(&a->at, at));
        else
                snprintf(c->host, sizeof c->host, "%.200s%s[%.48s]:%u", a->host,
                         a->host[0] ? " " : "", endpoint_format_host(&a->at, at),
                         endpoint_port(&a->at));
}

static int try_address(struct relay_connection *c, const struct relay_address *a)
{
        struct endpoint source;
        bool connecting;
        int fd, r;

        name_host(c, a);
        c->is_policy_failure = false;
        r = relay_tls_decide(c, a);
        if (r < 0)
                return r;
        c->is_plain = !c->tls.is_mandatory && c->destination->plain_until_ms > now_ms(c);
        if (endpoint_is_path(&a->at))
                return relay_socket_ask(c, a);
        r = endpoint_connect(&a->at, choose_source(c, &a->at, &source) ? &source : NULL, &fd,
                             &connecting);
        if (r < 0)
                return r;
        /* A socket that is connected already is writable: `drained` comes for
         * it as well. */
        r = stream_new_connecting(relay_of(c)->loop, fd, &limits, &handler, c, &c->stream);
        if (r < 0)
                close(fd);
        else
                relay_of(c)->connections_made++;
        return r;
}

/* It comes behind all others for a while. */
static void address_failed(struct relay_connection *c)
{
        if (address_of(c))
                address_of(c)->failed_until_ms = now_ms(c) + RELAY_FAILED_MS;
}

/* The next address, while there is one and time; else the jobs are answered. */
static bool try_next(struct relay_connection *c)
{
        struct relay_destination *d = c->destination;
        size_t other;

        if (c->tried_version != d->addresses_version)
                c->tried = 0;
        c->tried_version = d->addresses_version;
        while (now_ms(c) < c->connect_until_ms
               && relay_destination_choose(d, c->tried, &c->address) == 0) {
                int r;

                c->tried |= 1u << c->address;
                r = try_address(c, &d->addresses[c->address]);
                if (r == 0) {
                        timer_set(c->timer, relay_destination_choose(d, c->tried, &other) == 0
                                                    ? RELAY_CONNECT_NEXT_MS : RELAY_CONNECT_MS);
                        return true;
                }
                if (!c->is_policy_failure) /* which relay_tls_decide() has told */
                        snprintf(c->error, sizeof c->error, "connecting to %s failed: %s",
                                 c->host, strerror(-r));
                address_failed(c);
        }
        while (first_job(c)) {
                struct relay_job *j = first_job(c);

                take_job_off(j);
                if (c->is_policy_failure && d->is_tls_required) { /* RFC 8689 section 4.2.1 */
                        relay_job_fail(j, 550, "5.7.10", c->error, c->host);
                        continue;
                }
                relay_destination_unreachable(
                        d, j, c->is_policy_failure ? "4.7.5" : "4.4.1",
                        c->error[0] ? c->error : "no address could be tried", c->host);
        }
        connection_free(c);
        return false;
}

/* Public. */

int relay_connection_new(struct relay_destination *d, struct relay_job *j)
{
        struct relay *r = d->relay;
        struct relay_connection *c;
        int s;

        if (r->connection_count >= RELAY_CONNECTIONS_MAX)
                return -EMFILE;
        c = calloc(1, sizeof *c);
        if (!c)
                return -ENOMEM;
        c->destination = d;
        list_init(&c->jobs);
        s = timer_new(r->loop, on_timer, c, &c->timer);
        if (s < 0) {
                free(c);
                return s;
        }
        list_append(&d->busy, &c->node);
        d->busy_count++;
        r->connection_count++;
        c->connect_until_ms = loop_now_ms(r->loop) + RELAY_CONNECT_ALL_MS;
        j->connection = c;
        list_append(&c->jobs, &j->in_connection);
        try_next(c);
        return 0;
}

void relay_connection_attach(struct relay_connection *c, int result, int fd)
{
        if (result == 0) {
                result = stream_new_connecting(relay_of(c)->loop, fd, &limits, &handler, c,
                                               &c->stream);
                if (result < 0)
                        close(fd);
        }
        if (result == 0) {
                relay_of(c)->connections_made++;
                return;
        }
        snprintf(c->error, sizeof c->error, "connecting to %s failed: %s", c->host,
                 strerror(-result));
        address_failed(c);
        try_next(c);
}

bool relay_connection_may_take(const struct relay_connection *c)
{
        return c->is_ready && !c->is_quitting && !c->cancelled
               && smtp_client_may_send(c->client);
}

void relay_connection_take(struct relay_connection *c, struct relay_job *j)
{
        assert(relay_connection_may_take(c));
        j->connection = c;
        list_append(&c->jobs, &j->in_connection);
        set_idle(c, false);
        if (send_job(c, j))
                drive(c, (struct span) {NULL, 0});
        else if (list_is_empty(&c->jobs))
                set_idle(c, true);
}

void relay_connection_go_on(struct relay_connection *c)
{
        drive(c, (struct span) {NULL, 0});
}

void relay_connection_pump(struct relay_connection *c)
{
        if (!c->client || !smtp_client_wants_body(c->client))
                return;
        pump(c);
        drive(c, (struct span) {NULL, 0});
}

void relay_connection_abort(struct relay_connection *c, const char *text)
{
        if (c->client) {
                smtp_client_lost(c->client, text);
                drive(c, (struct span) {NULL, 0});
                return;
        }
        while (first_job(c)) {
                struct relay_job *j = first_job(c);

                take_job_off(j);
                relay_job_fail(j, 0, j == c->cancelled ? "4.0.0" : "4.4.1", text, c->host);
        }
        connection_free(c);
}

void relay_connection_cancel(struct relay_connection *c, struct relay_job *j)
{
        if (c->client && j == first_job(c)
            && smtp_client_stage(c->client) == SMTP_CLIENT_AT_DOT)
                return; /* the peer has it: its word counts */
        c->cancelled = j;
        relay_connection_abort(c, cancel_text);
}

void relay_connection_drop(struct relay_connection *c)
{
        while (first_job(c)) {
                struct relay_job *j = first_job(c);

                take_job_off(j);
                relay_job_drop(j);
        }
        connection_free(c);
}

void relay_connection_quit(struct relay_connection *c)
{
        c->is_quitting = true;
        set_idle(c, false); /* nobody may take it any more */
        smtp_client_quit(c->client);
        if (flush(c))
                set_timer(c);
}
