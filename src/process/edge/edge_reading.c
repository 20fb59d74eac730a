#include "process/edge/edge_reading.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "process/edge/edge.h"
#include "wire/imap/imap_server.h"
#include "wire/pop3/pop3_server.h"

enum {
        EARLY_MAX = IPC_BODY_PART_MAX, /* what a hand-over carries */
        INPUT_MAX = 64 * 1024,
        OUTPUT_MAX = 1024 * 1024,
        CARRIED_MAX = 256 * 1024,      /* octets on their way through a joined pair */
        FINISH_MS = 10 * 1000,
        JOINED_TIMEOUT_MS = 35 * 60 * 1000, /* beyond that of the access process */
        HOSTNAME_MAX = 255,
};

bool edge_reading_is_reading(enum listen_protocol protocol)
{
        return protocol == LISTEN_IMAP || protocol == LISTEN_IMAPS || protocol == LISTEN_POP3 ||
               protocol == LISTEN_POP3S;
}

static bool is_tls_from_start(const struct edge_reading *r)
{
        return r->listener->protocol == LISTEN_IMAPS || r->listener->protocol == LISTEN_POP3S;
}

/* ---- the engine, whichever it is -------------------------------------------------- */

static struct buffer *output(struct edge_reading *r)
{
        return r->is_pop3 ? pop3_server_output(r->pop3) : imap_server_output(r->imap);
}

/* What is offered depends on TLS and stays with an engine: another state, another
 * engine. */
static int make_engine(struct edge_reading *r)
{
        const struct config *c = r->edge->process->config;
        const bool has_tls = stream_tls(r->stream) != NULL;
        const bool offers_tls = r->edge->process->tls && !has_tls && !r->client.is_unix;
        const bool offers_login = edge_reading_may_say_password(r);

        edge_reading_offer(r);
        r->imap = imap_server_free(r->imap);
        r->pop3 = pop3_server_free(r->pop3);
        if (r->is_pop3)
                r->pop3 = pop3_server_new(&(const struct pop3_server_options) {
                        .offers = (offers_tls ? POP3_OFFER_STLS : 0) |
                                  (offers_login ? POP3_OFFER_LOGIN : 0),
                        .hostname = span_from_string(r->hostname),
                        .auth_mechanisms = span_from_string(r->mechanisms),
                        .login_delay_s = (unsigned) ((c->auth.pop3_login_delay_ms + 999) / 1000),
                        .errors_max = c->limits.errors});
        else
                r->imap = imap_server_new(&(const struct imap_server_options) {
                        .offers = (offers_tls ? IMAP_OFFER_STARTTLS : 0) |
                                  (offers_login ? IMAP_OFFER_LOGIN : 0),
                        .hostname = span_from_string(r->hostname),
                        .auth_mechanisms = span_from_string(r->mechanisms),
                        .append_max = c->limits.message_size, .errors_max = c->limits.errors});
        if (!r->imap && !r->pop3)
                return -ENOMEM;
        if (has_tls && r->is_pop3)
                pop3_server_set_secured(r->pop3);
        else if (has_tls)
                imap_server_set_secured(r->imap);
        return 0;
}

static void greet(struct edge_reading *r)
{
        if (r->is_pop3)
                pop3_server_greet(r->pop3, NULL);
        else
                imap_server_greet(r->imap, NULL);
}

static void answer_imap(struct edge_reading *r, enum imap_result result, const char *code,
                        const char *text)
{
        imap_server_answer(r->imap, &(const struct imap_answer) {
                .result = result, .code = code, .text = text});
}

static void answer_pop3(struct edge_reading *r, enum pop3_result result, const char *code,
                        const char *text)
{
        pop3_server_answer(r->pop3, &(const struct pop3_answer) {
                .result = result, .code = code, .text = text});
}

/* RFC 5530 and RFC 3206: a wrong password is told apart from trouble here. */
void edge_reading_refuse(struct edge_reading *r, enum edge_reading_answer why)
{
        static const struct {
                enum imap_result imap;
                const char *imap_code, *pop3_code, *text;
        } answers[] = {
                [EDGE_READING_REFUSED] = {IMAP_NO, "AUTHENTICATIONFAILED", "AUTH",
                                          "Login name or password is wrong"},
                [EDGE_READING_LATER] = {IMAP_NO, "UNAVAILABLE", "SYS/TEMP",
                                        "Too many failed logins, try again later"},
                [EDGE_READING_TROUBLE] = {IMAP_NO, "UNAVAILABLE", "SYS/TEMP",
                                          "Logins are not possible now, try again later"},
                [EDGE_READING_MALFORMED] = {IMAP_BAD, NULL, NULL,
                                            "Not understood as a login that is offered"},
        };

        if (r->is_pop3)
                answer_pop3(r, POP3_ERR, answers[why].pop3_code, answers[why].text);
        else
                answer_imap(r, answers[why].imap, answers[why].imap_code, answers[why].text);
}

void edge_reading_challenge(struct edge_reading *r, const char *base64)
{
        if (r->is_pop3)
                answer_pop3(r, POP3_CONTINUE, NULL, base64);
        else
                answer_imap(r, IMAP_CONTINUE, NULL, base64);
}

/* ---- output ---- */

static void flush(struct edge_reading *r)
{
        struct buffer *out = output(r);

        if (out->len && stream_write(r->stream, buffer_span(out)) < 0)
                r->is_dead = true;
        buffer_clear(out);
}

static void end(struct edge_reading *r)
{
        if (r->is_ending)
                return;
        flush(r);
        r->is_ending = true;
        edge_reading_cancel(r);
        stream_finish(r->stream, FINISH_MS);
}

/* ---- events ---- */

static void start_tls(struct edge_reading *r)
{
        int result;

        if (!r->edge->process->tls) { /* taken away by a reload */
                edge_reading_refuse(r, EDGE_READING_TROUBLE);
                return;
        }
        if (r->is_pop3)
                answer_pop3(r, POP3_OK, NULL, NULL);
        else
                answer_imap(r, IMAP_OK, NULL, NULL);
        flush(r);
        buffer_done(&r->early); /* said before the handshake, by whom? (RFC 3207 section 4.2) */
        result = stream_start_tls(r->stream, r->edge->process->tls, (struct span) {0});
        if (result < 0) {
                log_event(LOG_WARNING, "tls_not_started", LOG_TEXT("client", r->client.text),
                          LOG_ERRNO("error", result));
                end(r);
        }
}

/* False: the engine needs more, or waits. */
static bool step_imap(struct edge_reading *r, struct span in, size_t *used)
{
        struct imap_event ev;

        *used += imap_server_feed(r->imap, span_skip(in, *used), &ev);
        switch (ev.kind) {
        case IMAP_EVENT_NONE:
        case IMAP_EVENT_WAIT:
                return false;
        case IMAP_EVENT_CLOSE:
                end(r);
                return false;
        case IMAP_EVENT_FLUSH:
                flush(r);
                return true;
        case IMAP_EVENT_STARTTLS:
                *used = in.len;
                start_tls(r);
                return false;
        case IMAP_EVENT_LOGIN:
                edge_reading_password(r, ev.login_name, ev.password);
                return true;
        case IMAP_EVENT_AUTHENTICATE:
                edge_reading_authenticate(r, ev.mechanism, ev.octets);
                return true;
        case IMAP_EVENT_AUTHENTICATE_LINE:
                edge_reading_response(r, ev.octets);
                return true;
        case IMAP_EVENT_AUTHENTICATE_CANCEL:
                edge_reading_cancel(r);
                return true;
        case IMAP_EVENT_ID:
                log_event(LOG_INFO, "client_id", LOG_TEXT("client", r->client.text),
                          LOG_SPAN("id", ev.octets));
                return true;
        default: /* nothing else before login */
                end(r);
                return false;
        }
}

static bool step_pop3(struct edge_reading *r, struct span in, size_t *used)
{
        struct pop3_event ev;

        *used += pop3_server_feed(r->pop3, span_skip(in, *used), &ev);
        switch (ev.kind) {
        case POP3_EVENT_NONE:
        case POP3_EVENT_WAIT:
                return false;
        case POP3_EVENT_CLOSE:
                end(r);
                return false;
        case POP3_EVENT_FLUSH:
                flush(r);
                return true;
        case POP3_EVENT_STLS:
                *used = in.len;
                start_tls(r);
                return false;
        case POP3_EVENT_LOGIN:
                edge_reading_password(r, ev.login_name, ev.password);
                return true;
        case POP3_EVENT_AUTH:
                edge_reading_authenticate(r, ev.mechanism, ev.octets);
                return true;
        case POP3_EVENT_AUTH_LINE:
                edge_reading_response(r, ev.octets);
                return true;
        case POP3_EVENT_AUTH_CANCEL:
                edge_reading_cancel(r);
                return true;
        default: /* APOP is not offered, and nothing else comes before login */
                end(r);
                return false;
        }
}

static void pump(struct edge_reading *r)
{
        if (r->is_busy)
                return;
        r->is_busy = true;
        while (!r->is_ending && !r->is_dead && r->state < EDGE_READING_GRANTED) {
                const struct span in = buffer_span(&r->early);
                size_t used = 0;
                const bool goes_on = r->is_pop3 ? step_pop3(r, in, &used)
                                                : step_imap(r, in, &used);

                buffer_consume(&r->early, used < r->early.len ? used : r->early.len);
                if (!goes_on)
                        break;
        }
        if (!r->is_ending && !r->is_dead)
                flush(r);
        if (r->early.len == 0)
                buffer_done(&r->early);
        r->is_busy = false;
}

void edge_reading_go_on(struct edge_reading *r)
{
        pump(r);
        if (r->is_dead) {
                edge_reading_free(r);
                return;
        }
        if (!r->is_ending && r->state < EDGE_READING_GRANTED)
                stream_resume(r->stream);
}

/* ---- the hand-over ---- */

static void inside_closed(struct stream *stream, void *arg, int reason);

/* Carries what fits; the rest waits in its stream until there is room. */
static size_t carry(struct stream *from, struct stream *to, struct span in)
{
        const size_t queued = stream_output_len(to);
        const size_t room = queued < CARRIED_MAX ? CARRIED_MAX - queued : 0;
        const struct span part = span_first(in, room);

        if (part.len && stream_write(to, part) < 0)
                return in.len; /* its end is about to be told */
        if (part.len < in.len)
                stream_pause(from);
        return part.len;
}

static size_t inside_input(struct stream *stream, void *arg, struct span in)
{
        struct edge_reading *r = arg;

        return carry(stream, r->stream, in);
}

static void inside_drained(struct stream *stream, void *arg)
{
        struct edge_reading *r = arg;

        (void) stream;
        stream_resume(r->stream);
}

static const struct stream_handler inside_handler = {
        .input = inside_input, .drained = inside_drained, .closed = inside_closed,
};

/* The access process has said its last: the client is told, and goes. */
static void inside_closed(struct stream *stream, void *arg, int reason)
{
        struct edge_reading *r = arg;

        (void) reason;
        stream_free(stream);
        r->inside = NULL;
        r->is_ending = true;
        stream_finish(r->stream, FINISH_MS);
}

static int send_handover(struct edge_reading *r, struct channel *ch, int fd)
{
        const bool is_imap = !r->is_pop3;

        return CHANNEL_SEND(ch, handover, fd, .protocol = (uint8_t) r->listener->protocol,
                            .is_secured = stream_tls(r->stream) != NULL,
                            .is_utf8 = r->is_pop3 && pop3_server_is_utf8(r->pop3),
                            .tag = is_imap ? imap_server_tag(r->imap) : (struct span) {0},
                            .account = span_from_string(r->account), .quota = r->quota,
                            .client = span_from_string(r->client.text),
                            .client_port = r->client.port, .octets = buffer_span(&r->early));
}

/* TLS stays here: the access process gets one end of a pair. */
static int join(struct edge_reading *r, struct channel *ch)
{
        const struct stream_limits limits = {.input_max = INPUT_MAX, .output_max = OUTPUT_MAX};
        int fds[2], result = channel_pair(fds);

        if (result < 0)
                return result;
        result = stream_new(r->edge->process->loop, fds[0], &limits, &inside_handler, r,
                            &r->inside);
        if (result < 0) {
                close(fds[0]);
                close(fds[1]);
                return result;
        }
        result = send_handover(r, ch, fds[1]);
        close(fds[1]);
        if (result < 0)
                r->inside = stream_free(r->inside);
        return result;
}

/* All of an account land in one access process, whichever edge they come to. */
static struct channel *channel_for(const struct edge_reading *r)
{
        const unsigned count = r->edge->process->config->processes.access;
        const uint64_t hash = hash_span(span_from_string(r->account), 0);
        const unsigned number = count ? (unsigned) (hash % count) : 0;

        return number < EDGE_ACCESSES_MAX ? r->edge->readings.accesses[number] : NULL;
}

static void hand_over(struct edge_reading *r)
{
        struct channel *ch = channel_for(r);
        const bool has_tls = stream_tls(r->stream) != NULL;
        int result = ch ? 0 : -EPIPE;

        if (result == 0)
                result = has_tls ? join(r, ch) : send_handover(r, ch, stream_fd(r->stream));
        if (result < 0) {
                log_event(LOG_WARNING, "not_handed_over", LOG_TEXT("account", r->account),
                          LOG_ERRNO("error", result));
                r->state = EDGE_READING_TALKING;
                edge_reading_refuse(r, EDGE_READING_TROUBLE);
                edge_reading_go_on(r);
                return;
        }
        r->edge->readings.handed_over++;
        if (!has_tls) {
                edge_reading_free(r);
                return;
        }
        r->state = EDGE_READING_JOINED;
        r->imap = imap_server_free(r->imap);
        r->pop3 = pop3_server_free(r->pop3);
        buffer_done(&r->early);
        stream_set_idle_timeout(r->stream, JOINED_TIMEOUT_MS);
        stream_resume(r->stream);
}

/* ---- POP before SMTP ---- */

static const struct span permission = SPAN("pop_before_smtp");

static void permit(struct edge_reading *r)
{
        struct meters *m = &r->edge->meters;
        const uint64_t ms = r->edge->process->config->pop_before_smtp_ms;

        if (ms && !r->client.is_unix)
                meters_permit(m, meters_permission(m, r->client.address, permission),
                              (unsigned) ((ms + 59999) / 60000), clock_now_us());
}

bool edge_reading_was_here(const struct edge *e, const struct edge_client *client)
{
        const struct meters *m = &e->meters;

        return e->process->config->pop_before_smtp_ms && !client->is_unix &&
               meters_is_permitted(m, meters_permission(m, client->address, permission),
                                   clock_now_us());
}

void edge_reading_granted(struct edge_reading *r, const struct ipc_auth_result *result)
{
        free(r->account);
        r->account = strndup(result->account.p, result->account.len);
        r->quota = result->quota;
        if (!r->account) {
                edge_reading_refuse(r, EDGE_READING_TROUBLE);
                edge_reading_go_on(r);
                return;
        }
        r->state = EDGE_READING_GRANTED;
        permit(r);
        flush(r);
        /* What was said here must be sent from here, before access says more. */
        if (stream_output_len(r->stream) == 0)
                hand_over(r);
}

/* ---- the stream ---- */

static size_t on_input(struct stream *stream, void *arg, struct span in)
{
        struct edge_reading *r = arg;
        size_t taken;

        if (r->state == EDGE_READING_JOINED)
                return r->inside ? carry(stream, r->inside, in) : in.len;
        taken = in.len < buffer_room(&r->early) ? in.len : buffer_room(&r->early);
        if (taken < in.len)
                stream_pause(stream);
        if (buffer_append(&r->early, in.p, taken) < 0)
                r->is_dead = true;
        pump(r);
        if (r->is_dead)
                edge_reading_free(r);
        return taken;
}

static void on_drained(struct stream *stream, void *arg)
{
        struct edge_reading *r = arg;

        if (r->state == EDGE_READING_JOINED) {
                if (r->inside)
                        stream_resume(r->inside);
        } else if (r->state == EDGE_READING_GRANTED && stream_output_len(stream) == 0) {
                hand_over(r);
        }
}

static void on_secured(struct stream *stream, void *arg)
{
        struct edge_reading *r = arg;

        (void) stream;
        edge_reading_cancel(r);
        if (make_engine(r) < 0) {
                edge_reading_free(r);
                return;
        }
        greet(r);
        if (!is_tls_from_start(r))
                buffer_clear(output(r)); /* it was greeted before */
        edge_reading_go_on(r);
}

static void on_closed(struct stream *stream, void *arg, int reason)
{
        struct edge_reading *r = arg;

        (void) stream;
        log_event(LOG_INFO, "connection_closed", LOG_TEXT("client", r->client.text),
                  LOG_U64("port", r->client.port), LOG_SPAN("listen", r->listener->text),
                  LOG_TEXT("account", r->account ? r->account : ""),
                  LOG_TEXT("reason", reason == 0           ? "closed"
                                     : reason == -ETIMEDOUT ? "timeout"
                                                            : stream_error(stream)));
        edge_reading_free(r);
}

static const struct stream_handler handler = {
        .input = on_input, .drained = on_drained, .secured = on_secured, .closed = on_closed,
};

/* ---- life ---- */

static int begin(struct edge_reading *r, int fd)
{
        const struct config *c = r->edge->process->config;
        const struct stream_limits limits = {.input_max = INPUT_MAX, .output_max = OUTPUT_MAX};
        int result = stream_new(r->edge->process->loop, fd, &limits, &handler, r, &r->stream);

        if (result < 0) {
                close(fd);
                return result;
        }
        stream_set_idle_timeout(r->stream, c->limits.command_timeout_ms);
        if (is_tls_from_start(r))
                return r->edge->process->tls
                               ? stream_start_tls(r->stream, r->edge->process->tls,
                                                  (struct span) {0})
                               : -ENOENT;
        result = make_engine(r);
        if (result == 0) {
                greet(r);
                flush(r);
        }
        return result;
}

void edge_reading_new(struct edge_listener *l, int fd, const struct edge_client *client,
                      uint64_t meter_key)
{
        struct edge *e = l->edge;
        const struct span hostname = span_first(e->process->config->hostname, HOSTNAME_MAX);
        struct edge_reading *r = calloc(1, sizeof *r + hostname.len + 1);
        int result;

        if (!r) {
                meters_release(&e->meters, meter_key);
                close(fd);
                return;
        }
        r->edge = e;
        r->listener = l;
        l->references++;
        r->is_pop3 = l->protocol == LISTEN_POP3 || l->protocol == LISTEN_POP3S;
        r->client = *client;
        r->meter_key = meter_key;
        r->early = BUFFER_INIT(EARLY_MAX);
        memcpy(r->hostname, hostname.p, hostname.len);
        list_append(&e->readings.all, &r->node);
        e->session_count++;
        e->counters.connections++;
        result = begin(r, fd);
        if (result == 0)
                return;
        log_event(LOG_ERROR, "session_not_opened", LOG_SPAN("listen", l->text),
                  LOG_ERRNO("error", result));
        edge_reading_free(r);
}

void edge_reading_free(struct edge_reading *r)
{
        struct edge *e = r->edge;

        list_remove(&r->node);
        edge_reading_cancel(r);
        r->imap = imap_server_free(r->imap);
        r->pop3 = pop3_server_free(r->pop3);
        r->stream = stream_free(r->stream);
        r->inside = stream_free(r->inside);
        buffer_done(&r->early);
        meters_release(&e->meters, r->meter_key);
        edge_listener_unref(r->listener);
        free(r->account);
        free(r);
        e->session_count--;
        edge_session_ended(e);
}

void edge_reading_shut(struct edge_reading *r)
{
        if (r->state == EDGE_READING_JOINED || r->is_ending)
                return;
        if (!r->imap && !r->pop3) { /* in its first handshake */
                edge_reading_free(r);
                return;
        }
        if (r->is_pop3)
                pop3_server_shut(r->pop3, "The server is going down");
        else
                imap_server_shut(r->imap, "The server is going down");
        edge_reading_go_on(r);
}

/* ---- access processes ---- */

static void access_closed(struct channel *ch, void *arg, int reason)
{
        struct edge_readings *all = arg;

        (void) reason;
        for (unsigned i = 0; i < EDGE_ACCESSES_MAX; i++)
                if (all->accesses[i] == ch)
                        all->accesses[i] = NULL;
        channel_free(ch);
}

static const struct channel_handler access_handler = {.closed = access_closed};

void edge_reading_peer(struct edge_readings *all, unsigned number, int fd)
{
        if (number >= EDGE_ACCESSES_MAX) {
                close(fd);
                return;
        }
        all->accesses[number] = channel_free(all->accesses[number]);
        if (channel_new(all->edge->process->loop, fd, &access_handler, all,
                        &all->accesses[number]) < 0) {
                all->accesses[number] = NULL;
                close(fd);
        }
}

void edge_reading_init(struct edge_readings *all, struct edge *e)
{
        *all = (struct edge_readings) {.edge = e, .asked = TABLE_INIT};
        list_init(&all->all);
}

void edge_reading_done(struct edge_readings *all)
{
        while (!list_is_empty(&all->all))
                edge_reading_free(LIST_OBJECT(all->all.next, struct edge_reading, node));
        for (unsigned i = 0; i < EDGE_ACCESSES_MAX; i++)
                all->accesses[i] = channel_free(all->accesses[i]);
        table_done(&all->asked);
}
