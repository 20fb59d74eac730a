#include "process/edge/edge_session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "policy/limits.h"
#include "process/edge/edge.h"
#include "process/edge/edge_ask.h"
#include "process/edge/edge_front.h"
#include "process/edge/edge_guard.h"
#include "process/edge/edge_transaction.h"
#include "process/edge/edge_trial.h"
#include "process/edge/edge_words.h"

enum {
        INPUT_MAX = 64 * 1024,
        OUTPUT_MAX = 2 * 1024 * 1024, /* LMTP answers a thousand recipients at once */
        OUTPUT_HIGH = 32 * 1024,      /* no command is taken while more is unread */
        OUTPUT_PIECE = 4096, /* of replies, before they go to the stream */
        FINISH_MS = 10 * 1000,
        COOLING_MS = 5 * 1000,
        HELO_NAME_MAX = 255,
        REPLY_MAX = 480,
        HOSTNAME_MAX = 255,
};

static void pump(struct edge_session *s, struct span in, size_t *ret_used);

bool edge_session_needs_login(const struct edge_session *s)
{
        return s->listener->protocol == LISTEN_SUBMISSION ||
               s->listener->protocol == LISTEN_SUBMISSIONS;
}

/* Its words wait in memory that others used just now. */
static void lend_output(struct edge_session *s)
{
        buffer_pool_lend(loop_output_pool(s->edge->process->loop), smtp_server_output(s->server));
}

void edge_session_reply(struct edge_session *s, unsigned code, struct span enhanced,
                        const char *text, ...)
{
        char line[REPLY_MAX], status[16];
        va_list args;

        va_start(args, text);
        vsnprintf(line, sizeof line, text, args);
        va_end(args);
        snprintf(status, sizeof status, "%.*s", (int) enhanced.len,
                 enhanced.len ? enhanced.p : "");
        lend_output(s);
        smtp_server_reply(s->server, code, enhanced.len ? status : NULL, line);
}

void edge_session_say(struct edge_session *s, unsigned code, const char *enhanced,
                      const char *text)
{
        lend_output(s);
        smtp_server_reply(s->server, code, enhanced, text);
}

/* ---- holding and releasing input ---- */

void edge_session_hold(struct edge_session *s, enum edge_hold hold)
{
        /* An answer mostly comes at once, and a pause costs system calls: until
         * then what the client says stays with the stream, up to its limit. */
        if (!(hold & (EDGE_HOLD_ANSWER | EDGE_HOLD_PLACE)))
                stream_pause(s->stream);
        s->holds |= hold;
        if (hold == EDGE_HOLD_CREDIT)
                list_append(&s->edge->starved, &s->starved);
}

void edge_session_release(struct edge_session *s, enum edge_hold hold)
{
        size_t used;

        if (!(s->holds & hold))
                return;
        s->holds &= ~(unsigned) hold;
        if (hold == EDGE_HOLD_CREDIT)
                list_remove(&s->starved);
        if (s->holds || s->is_ending)
                return;
        stream_resume(s->stream);
        /* The engine may have something to say without new octets: that the
         * transaction is over, or the session. */
        pump(s, (struct span) {0}, &used);
}

/* What the engine has said goes to the stream. False: the client is gone. */
static bool write_output(struct edge_session *s)
{
        struct buffer *out = smtp_server_output(s->server);
        int r;

        if (out->len == 0)
                return true;
        r = stream_write(s->stream, buffer_span(out));
        if (r < 0)
                return false;
        buffer_pool_take(loop_output_pool(s->edge->process->loop), out);
        if (stream_output_len(s->stream) > OUTPUT_HIGH)
                edge_session_hold(s, EDGE_HOLD_OUTPUT);
        return true;
}

/* May free the session. */
static void flush(struct edge_session *s)
{
        if (!write_output(s))
                edge_session_free(s);
}

void edge_session_speak(struct edge_session *s)
{
        flush(s);
}

void edge_session_answered(struct edge_session *s, enum edge_hold hold)
{
        if (write_output(s))
                edge_session_release(s, hold);
        else
                edge_session_free(s);
}

void edge_session_expect_data(struct edge_session *s, bool is_data)
{
        const struct config *c = s->edge->process->config;

        s->is_in_data = is_data;
        if (is_data)
                edge_guard_begin_data(s);
        else
                edge_guard_progress(s);
        if (s->has_data_timeout == is_data)
                return;
        s->has_data_timeout = is_data;
        /* Behind the guard's, which says why. */
        stream_set_idle_timeout(s->stream, is_data ? c->limits.data_timeout_ms +
                                                             EDGE_GUARD_WINDOW_MS
                                                   : c->limits.command_timeout_ms);
}

/* ---- events of the engine ---- */

static void on_helo(struct edge_session *s, const struct smtp_event *event)
{
        const struct span name = span_first(event->helo_name, HELO_NAME_MAX);
        char *copy = strndup(name.len ? name.p : "", name.len);

        if (!copy) {
                edge_session_say(s, 451, "4.3.0", "Out of memory");
                return;
        }
        edge_words_forget(s);
        free(s->helo_name);
        s->helo_name = copy;
        smtp_server_reply(s->server, 250, NULL, NULL);
}

/* `has_quit`: the client will say nothing more, so nothing is waited for. */
static void end(struct edge_session *s, bool has_quit)
{
        s->is_ending = true;
        (void) write_output(s);
        edge_transaction_abandon(s);
        edge_trial_tell(s);
        if (has_quit)
                stream_finish_soon(s->stream, FINISH_MS);
        else
                stream_finish(s->stream, FINISH_MS);
}

/* True when the handshake is on: nothing more is read as it stands. */
static bool on_starttls(struct edge_session *s)
{
        int r;

        if (!s->edge->process->tls) { /* taken away by a reload */
                edge_session_say(s, 454, "4.7.0", "TLS is not available now");
                return false;
        }
        edge_session_say(s, 220, "2.0.0", "Ready to start TLS");
        if (!write_output(s))
                return false; /* found again by pump() */
        r = stream_start_tls(s->stream, s->edge->process->tls, (struct span) {0});
        if (r == 0) {
                edge_guard_begin_tls(s);
                return true;
        }
        log_event(LOG_WARNING, "tls_not_started", LOG_TEXT("client", s->client.text),
                  LOG_ERRNO("error", r));
        end(s, false); /* 220 was said: there is no way on in clear text */
        return false;
}

static void handle(struct edge_session *s, const struct smtp_event *event)
{
        switch (event->kind) {
        case SMTP_EVENT_HELO:
                on_helo(s, event);
                break;
        case SMTP_EVENT_MAIL:
                edge_transaction_mail(s, &event->mail);
                break;
        case SMTP_EVENT_RCPT:
                edge_transaction_rcpt(s, &event->rcpt);
                break;
        case SMTP_EVENT_DATA:
                edge_transaction_data(s);
                break;
        case SMTP_EVENT_BODY:
                s->window_octets += event->octets.len;
                edge_transaction_octets(s, event->octets);
                break;
        case SMTP_EVENT_END:
                edge_transaction_end(s, event->fault);
                break;
        case SMTP_EVENT_VRFY:
                edge_ask_verify(s, event->argument, false);
                break;
        case SMTP_EVENT_EXPN:
                edge_ask_verify(s, event->argument, true);
                break;
        case SMTP_EVENT_ETRN:
                edge_ask_etrn(s, event->argument);
                break;
        case SMTP_EVENT_XCLIENT:
                edge_front_xclient(s, event->argument);
                break;
        case SMTP_EVENT_RESET:
                edge_transaction_abandon(s);
                break;
        case SMTP_EVENT_AUTH:
                edge_login_begin(s, event);
                break;
        case SMTP_EVENT_AUTH_LINE:
                edge_login_response(s, event->octets);
                break;
        case SMTP_EVENT_AUTH_CANCEL:
                edge_login_cancel(s);
                break;
        case SMTP_EVENT_FLUSH: /* output is written when events are done with */
        case SMTP_EVENT_NONE:
        case SMTP_EVENT_WAIT:
        case SMTP_EVENT_STARTTLS:
        case SMTP_EVENT_CLOSE:
                break; /* pump() */
        }
}

/* Feeds the engine until it needs more, or the session is held or ends. */
static void pump(struct edge_session *s, struct span in, size_t *ret_used)
{
        size_t used = 0;

        while (!s->holds && !s->is_ending) {
                struct smtp_event event;

                used += smtp_server_feed(s->server, span_skip(in, used), &event);
                if (event.kind == SMTP_EVENT_NONE || event.kind == SMTP_EVENT_WAIT) {
                        if (smtp_server_output(s->server)->len) /* to what has no event */
                                edge_guard_progress(s);
                        break;
                }
                if (event.kind == SMTP_EVENT_CLOSE) {
                        edge_guard_note_fault(s);
                        end(s, event.has_quit);
                        break;
                }
                edge_guard_progress(s);
                if (!edge_guard_turn(s, &event, in.len - used))
                        break;
                if (event.kind == SMTP_EVENT_STARTTLS) {
                        if (on_starttls(s))
                                break;
                        continue;
                }
                handle(s, &event);
                if ((event.kind == SMTP_EVENT_FLUSH ||
                     smtp_server_output(s->server)->len > OUTPUT_PIECE) && !write_output(s))
                        break; /* found again below */
        }
        *ret_used = used;
        if (!s->is_ending)
                edge_guard_note_fault(s);
        if (!s->is_ending && edge_guard_count_errors(s) && !(s->holds & EDGE_HOLD_PLACE))
                flush(s); /* else it goes out with what the place brings */
}

/* ---- the stream ---- */

/* Memory kept for the next message goes back when none comes for a while. */
static void warm(struct edge_session *s)
{
        struct edge *e = s->edge;

        s->active_at_ms = loop_now_ms(e->process->loop);
        if (list_is_linked(&s->warm))
                return;
        list_append(&e->warm, &s->warm);
        if (!timer_is_set(e->cooling))
                timer_set(e->cooling, COOLING_MS);
}

void edge_session_cool(struct edge *e)
{
        const uint64_t now_ms = loop_now_ms(e->process->loop);

        LIST_FOR_EACH(node, &e->warm) {
                struct edge_session *s = LIST_OBJECT(node, struct edge_session, warm);

                if (now_ms - s->active_at_ms < COOLING_MS)
                        continue;
                list_remove(node);
                smtp_server_trim(s->server);
                edge_words_forget(s);
        }
        if (!list_is_empty(&e->warm))
                timer_set(e->cooling, COOLING_MS);
}

static size_t on_input(struct stream *stream, void *arg, struct span in)
{
        struct edge_session *s = arg;
        size_t used;

        (void) stream;
        warm(s);
        if (s->is_greeting_due) {
                const struct verdict v = limits_turn(s->edge->process->config, true);

                edge_guard_cut(s, &v);
                return in.len;
        }
        edge_guard_check_age(s);
        pump(s, in, &used);
        return used;
}

static void on_drained(struct stream *stream, void *arg)
{
        (void) stream;
        edge_session_release(arg, EDGE_HOLD_OUTPUT);
}

void edge_session_greet(struct edge_session *s)
{
        edge_guard_progress(s);
        stream_set_deadline(s->stream, s->edge->process->config->limits.command_timeout_ms);
        smtp_server_greet(s->server, 220, NULL);
        flush(s);
}

static void on_expired(struct stream *stream, void *arg)
{
        (void) stream;
        edge_guard_expired(arg);
}

static void on_secured(struct stream *stream, void *arg)
{
        struct edge_session *s = arg;

        (void) stream;
        smtp_server_secured(s->server);
        edge_words_forget(s);
        edge_login_cancel(s);
        free(s->login.account); /* whoever it was said so in the clear */
        s->login.account = NULL;
        edge_login_offer(s);
        free(s->helo_name); /* said by nobody knows whom (RFC 3207 section 4.2) */
        s->helo_name = NULL;
        s->is_securing = false;
        edge_guard_progress(s);
        stream_set_deadline(s->stream, s->edge->process->config->limits.command_timeout_ms);
        if (s->listener->protocol == LISTEN_SUBMISSIONS) /* RFC 8314 section 3.3 */
                edge_session_greet(s);
}

static const char *end_reason(struct stream *stream, int reason)
{
        switch (reason) {
        case 0:
                return "closed";
        case -ETIMEDOUT:
                return "timeout";
        case -EPROTO:
                return stream_error(stream);
        default:
                return strerror(-reason);
        }
}

static void on_closed(struct stream *stream, void *arg, int reason)
{
        struct edge_session *s = arg;

        log_event(LOG_INFO, "connection_closed", LOG_TEXT("client", s->client.text),
                  LOG_U64("port", s->client.port), LOG_SPAN("listen", s->listener->text),
                  LOG_TEXT("helo_name", s->helo_name ? s->helo_name : ""),
                  LOG_U64("messages", s->messages), LOG_TEXT("reason", end_reason(stream, reason)));
        edge_session_free(s);
}

/* Who has said all with QUIT may end its side at once, and wait for the answer to
 * its message: unanswered it would send this again. */
static bool on_ended(struct stream *stream, void *arg)
{
        const struct edge_session *s = arg;

        (void) stream;
        return !s->is_ending && s->transaction && s->transaction->state == EDGE_COMMITTING;
}

static const struct stream_handler handler = {
        .input = on_input,
        .ended = on_ended,
        .drained = on_drained,
        .secured = on_secured,
        .closed = on_closed,
        .expired = on_expired,
};

/* ---- life ---- */

static unsigned offers(const struct edge_session *s, const struct config *c)
{
        const bool is_submission = edge_session_needs_login(s) || s->client.is_local_user;
        unsigned offers = SMTP_OFFER_SMTPUTF8 | SMTP_OFFER_CHUNKING | SMTP_OFFER_MT_PRIORITY;

        if (s->listener->protocol != LISTEN_LMTP) /* whose client tells, when told */
                offers |= SMTP_OFFER_DSN;
        if (s->edge->process->tls && !s->client.is_unix &&
            s->listener->protocol != LISTEN_SUBMISSIONS)
                offers |= SMTP_OFFER_STARTTLS;
        if (c->smtp.binary_mime)
                offers |= SMTP_OFFER_BINARYMIME;
        if (s->edge->process->tls) /* the engine says it under TLS alone */
                offers |= SMTP_OFFER_REQUIRETLS;
        if (c->smtp.deliver_by_min_ms)
                offers |= SMTP_OFFER_DELIVERBY;
        if (is_submission && c->smtp.future_release_ms)
                offers |= SMTP_OFFER_FUTURERELEASE;
        if (c->smtp.etrn && s->listener->protocol == LISTEN_SMTP)
                offers |= SMTP_OFFER_ETRN;
        if (c->smtp.expn)
                offers |= SMTP_OFFER_EXPN;
        if (edge_front_may_xclient(s))
                offers |= SMTP_OFFER_XCLIENT;
        return offers;
}

static struct smtp_server *new_server(struct edge_session *s, const struct config *c)
{
        const enum listen_protocol protocol = s->listener->protocol;
        const uint64_t hold_s = c->smtp.future_release_ms / 1000;
        const struct smtp_server_options options = {
                .dialect = protocol == LISTEN_LMTP ? SMTP_DIALECT_LMTP : SMTP_DIALECT_SMTP,
                .offers = offers(s, c),
                .hostname = span_from_string(s->hostname),
                .message_size_max = c->limits.message_size,
                .recipients_max = limits_recipients_max(c, IPC_RECIPIENTS_MAX),
                .command_length_max = c->limits.line_length < 512 ? 512 : c->limits.line_length,
                .errors_max = c->limits.errors,
                .commands_max = c->limits.commands,
                .messages_max = c->limits.messages_per_connection,
                .may_lack_domain = s->client.is_local_user,
                .may_have_nul = c->smtp.nul,
                .is_judged_by_role = true,
                .hold_max_s = (uint32_t) hold_s,
                .by_min_s = (uint32_t) (c->smtp.deliver_by_min_ms / 1000),
                .hold_until_max_us = clock_now_us() + hold_s * 1000000,
        };

        return smtp_server_new(&options);
}

static int open_session(struct edge_session *s, int fd)
{
        const struct config *c = s->edge->process->config;
        const struct stream_limits limits = {.input_max = INPUT_MAX, .output_max = OUTPUT_MAX};
        int r;

        s->server = new_server(s, c);
        if (!s->server)
                return -ENOMEM;
        r = stream_new(s->edge->process->loop, fd, &limits, &handler, s, &s->stream);
        if (r < 0)
                return r;
        stream_set_idle_timeout(s->stream, c->limits.command_timeout_ms);
        edge_login_offer(s);
        return 0;
}

void edge_session_new(struct edge_listener *l, int fd, const struct edge_client *client,
                      uint64_t meter_key)
{
        struct edge *e = l->edge;
        const struct span hostname = span_first(e->process->config->hostname, HOSTNAME_MAX);
        struct edge_session *s = memory_zeroed(sizeof *s + hostname.len + 1);
        int r = -ENOMEM;

        if (!s) {
                meters_release(&e->meters, meter_key);
                close(fd);
                return;
        }
        s->edge = e;
        s->listener = l;
        l->references++;
        s->client = *client;
        memcpy(s->peer_address, client->address, sizeof s->peer_address);
        s->opened_at_ms = loop_now_ms(e->process->loop);
        s->meter_key = meter_key;
        s->is_counted = meters_hold(&e->meters, METERS_ALL, clock_now_us()) > 0;
        memcpy(s->hostname, hostname.p, hostname.len);
        list_append(&e->sessions, &s->node);
        e->session_count++;
        e->counters.connections++;

        r = open_session(s, fd);
        if (r < 0) {
                log_event(LOG_ERROR, "session_not_opened", LOG_ERRNO("error", r));
                if (!s->stream)
                        close(fd);
                edge_session_free(s);
                return;
        }
        if (l->protocol != LISTEN_SUBMISSIONS) {
                if (edge_guard_may_greet(s))
                        edge_session_greet(s);
                return;
        }
        r = e->process->tls ? stream_start_tls(s->stream, e->process->tls, (struct span) {0})
                            : -ENOENT;
        if (r < 0) {
                log_event(LOG_ERROR, "tls_not_started", LOG_SPAN("listen", l->text),
                          LOG_ERRNO("error", r));
                edge_session_free(s);
                return;
        }
        edge_guard_begin_tls(s);
}

void edge_session_free(struct edge_session *s)
{
        struct edge *e = s->edge;

        list_remove(&s->node);
        list_remove(&s->starved);
        list_remove(&s->warm);
        edge_transaction_abandon(s);
        edge_checks_forget(s);
        edge_login_cancel(s);
        free(s->login.account);
        s->server = smtp_server_free(s->server);
        s->stream = stream_free(s->stream);
        meters_release(&e->meters, s->meter_key);
        if (s->is_counted)
                meters_release(&e->meters, METERS_ALL);
        edge_listener_unref(s->listener);
        edge_words_forget(s);
        free(s->helo_name);
        free(s->client_name);
        buffer_done(&s->trial);
        free(s);
        e->session_count--;
        edge_session_ended(e);
}

void edge_session_shut(struct edge_session *s)
{
        size_t used;

        smtp_server_shut(s->server, "421 4.3.2 Service is going down, try again");
        if (!s->holds && !s->is_ending)
                pump(s, (struct span) {0}, &used);
}
