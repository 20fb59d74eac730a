#include "process/edge/edge_guard.h"

#include <stdio.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "config/options.h"
#include "policy/decision.h"
#include "policy/limits.h"
#include "process/edge/edge.h"
#include "process/edge/edge_limited.h"
#include "process/edge/edge_record.h"
#include "process/edge/edge_session.h"
#include "process/edge/edge_transaction.h"
#include "process/edge/edge_trial.h"

enum {
        ERRORS_AT_ONCE = 1000, /* counted of one piece of input */
        HELD_AGAIN_MS = 1000,
        FINISH_MS = 10 * 1000,
};

static const struct config *config_of(const struct edge_session *s)
{
        return s->edge->process->config;
}

bool edge_guard_watches(const struct edge_session *s)
{
        return !s->client.is_unix &&
               !config_networks_contain(&config_of(s)->relay_networks, s->client.address);
}

void edge_guard_cut(struct edge_session *s, const struct verdict *why)
{
        char reply[512], id[ID_TEXT_LEN + 1];
        struct buffer *out = smtp_server_output(s->server);
        int len;

        if (s->is_ending)
                return;
        s->is_ending = true;
        edge_record_session_refused(s, why, id);
        len = snprintf(reply, sizeof reply, "%u %.*s %.*s (%s)\r\n", why->code,
                       (int) why->enhanced.len, why->enhanced.p, (int) why->text.len, why->text.p,
                       id);
        (void) stream_write(s->stream, buffer_span(out));
        (void) stream_write(s->stream, span_make(reply, (size_t) len));
        buffer_clear(out);
        edge_transaction_abandon(s);
        edge_trial_tell(s);
        stream_finish(s->stream, FINISH_MS);
}

/* ---- turns ---- */

static bool has_spoken(const struct edge_session *s)
{
        char octet;

        return recv(stream_fd(s->stream), &octet, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool edge_guard_may_greet(struct edge_session *s)
{
        const struct config *c = config_of(s);
        struct verdict v;

        if (!edge_guard_watches(s) || stream_tls(s->stream))
                return true;
        if (c->smtp.strict_turns && has_spoken(s)) {
                v = limits_turn(c, true);
                edge_guard_cut(s, &v);
                return false;
        }
        if (c->smtp.greet_delay_ms && !s->is_greeting_due) {
                s->is_greeting_due = true;
                stream_set_deadline(s->stream, c->smtp.greet_delay_ms);
                return false;
        }
        return true;
}

/* RFC 2920 section 3.1 and RFC 3207 section 4: these end a group of commands,
 * since what the client says next depends on their answer. */
static bool ends_its_turn(const struct smtp_event *event)
{
        switch (event->kind) {
        case SMTP_EVENT_HELO:
        case SMTP_EVENT_STARTTLS:
        case SMTP_EVENT_XCLIENT:
        case SMTP_EVENT_AUTH:
                return true;
        case SMTP_EVENT_DATA:
                return !event->is_chunked;
        default:
                return false;
        }
}

bool edge_guard_turn(struct edge_session *s, const struct smtp_event *event, size_t unread)
{
        struct verdict v;

        if (unread == 0 || !ends_its_turn(event) || !config_of(s)->smtp.strict_turns ||
            !edge_guard_watches(s))
                return true;
        v = limits_turn(config_of(s), false);
        edge_guard_cut(s, &v);
        return false;
}

/* ---- time ---- */

static uint64_t now_ms(const struct edge_session *s)
{
        return loop_now_ms(s->edge->process->loop);
}

void edge_guard_progress(struct edge_session *s)
{
        s->progress_at_ms = now_ms(s);
}

void edge_guard_begin_tls(struct edge_session *s)
{
        s->is_securing = true;
        stream_set_deadline(s->stream, config_of(s)->limits.tls_timeout_ms);
}

static uint64_t data_window_ms(const struct edge_session *s)
{
        const uint64_t idle_ms = config_of(s)->limits.data_timeout_ms;

        return idle_ms && idle_ms < EDGE_GUARD_WINDOW_MS ? idle_ms : EDGE_GUARD_WINDOW_MS;
}

void edge_guard_begin_data(struct edge_session *s)
{
        s->window_octets = 0;
        stream_set_deadline(s->stream, data_window_ms(s));
}

/* A minute of a message is over. It must have brought octets enough, or none: then
 * it is the silence that counts, which a network may be to blame for. Else another
 * minute begins. */
static struct verdict judge_data(struct edge_session *s)
{
        const struct config *c = config_of(s);
        const uint64_t window_ms = data_window_ms(s), silent_ms = now_ms(s) - s->progress_at_ms;
        const uint64_t octets = s->window_octets;

        if (octets && octets < c->limits.data_rate * window_ms / 1000)
                return limits_slow(c, LIMITS_SLOW_DATA);
        if (!octets && silent_ms >= c->limits.data_timeout_ms)
                return limits_slow(c, LIMITS_SILENT_DATA);
        s->window_octets = 0;
        stream_set_deadline(s->stream, window_ms);
        return (struct verdict) {0};
}

/* Where a command came lately the deadline moves behind the last one. */
static struct verdict judge_command(struct edge_session *s)
{
        const uint64_t limit_ms = config_of(s)->limits.command_timeout_ms;
        const uint64_t age_ms = now_ms(s) - s->progress_at_ms;

        if (age_ms >= limit_ms)
                return limits_slow(config_of(s), LIMITS_SLOW_COMMAND);
        stream_set_deadline(s->stream, limit_ms - age_ms);
        return (struct verdict) {0};
}

void edge_guard_expired(struct edge_session *s)
{
        struct verdict v;

        if (s->is_ending)
                return;
        if (s->is_greeting_due) {
                s->is_greeting_due = false;
                edge_session_greet(s);
                return;
        }
        if (s->holds & ~(unsigned) EDGE_HOLD_OUTPUT) { /* it is we who are slow */
                s->window_octets = UINT64_MAX / 2;
                edge_guard_progress(s);
                stream_set_deadline(s->stream, HELD_AGAIN_MS);
                return;
        }
        if (s->is_securing)
                v = limits_slow(config_of(s), LIMITS_SLOW_TLS);
        else
                v = s->is_in_data ? judge_data(s) : judge_command(s);
        if (verdict_is_refusal(&v))
                edge_guard_cut(s, &v);
}

void edge_guard_check_age(struct edge_session *s)
{
        struct verdict v;
        char id[ID_TEXT_LEN + 1], reply[256];

        if (s->is_too_old)
                return;
        v = limits_connection_time(config_of(s), now_ms(s) - s->opened_at_ms);
        if (!verdict_is_refusal(&v))
                return;
        s->is_too_old = true;
        edge_record_session_refused(s, &v, id);
        snprintf(reply, sizeof reply, "%u %.*s %.*s (%s)", v.code, (int) v.enhanced.len,
                 v.enhanced.p, (int) v.text.len, v.text.p, id);
        smtp_server_shut(s->server, reply);
}

/* ---- what the engine refused ---- */

struct verdict edge_guard_fault(const struct edge_session *s, enum smtp_fault fault)
{
        static const char *const rules[] = {
                [SMTP_FAULT_NONE] = "",
                [SMTP_FAULT_LINE_LENGTH] = "limits.line_length",
                [SMTP_FAULT_ERRORS] = "limits.errors",
                [SMTP_FAULT_COMMANDS] = "limits.commands",
                [SMTP_FAULT_MESSAGES] = "limits.messages_per_connection",
                [SMTP_FAULT_SIZE] = "limits.message_size",
                [SMTP_FAULT_LINE_END] = "syntax of the message",
                [SMTP_FAULT_NUL] = "smtp.nul",
        };
        struct verdict v = {.rule = span_from_string(rules[fault]), .origin = SPAN("default")};

        if (fault == SMTP_FAULT_NONE)
                return v;
        verdict_set_reply(&v, smtp_server_fault_reply(fault));
        if (option_find(v.rule))
                v.origin = span_from_string(config_origin(config_of(s), rules[fault]));
        return v;
}

void edge_guard_note_fault(struct edge_session *s)
{
        const enum smtp_fault fault = smtp_server_take_fault(s->server);
        struct verdict v;
        char id[ID_TEXT_LEN + 1];

        if (fault == SMTP_FAULT_NONE)
                return;
        v = edge_guard_fault(s, fault);
        if (fault >= SMTP_FAULT_SIZE && s->transaction)
                edge_record_refused(s->transaction, DECISION_MESSAGE, (struct span) {0}, &v);
        else
                edge_record_session_refused(s, &v, id);
}

/* ---- errors ---- */

bool edge_guard_count_errors(struct edge_session *s)
{
        const unsigned refusals = smtp_server_refusals(s->server);
        unsigned left = refusals - s->refusals_counted, count = 0;
        struct meters *m = &s->edge->meters;
        struct verdict v;

        if (left == 0)
                return true;
        s->refusals_counted = refusals;
        if (!edge_guard_watches(s) || s->is_trial)
                return true;
        left = left < ERRORS_AT_ONCE ? left : ERRORS_AT_ONCE;
        while (left--)
                count = meters_tick(m, meters_event(m, s->client.address, SPAN_LITERAL("errors")),
                                    clock_now_us());
        v = limits_errors(config_of(s), count);
        edge_limited_note(s, span_from_string(s->client.text), &v);
        if (!verdict_is_refusal(&v) || s->is_ending)
                return true;
        edge_guard_cut(s, &v);
        return false;
}
