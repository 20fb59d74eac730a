#include "process/edge/edge_record.h"

#include <errno.h>

#include "base/id.h"
#include "base/log.h"
#include "base/number.h"
#include "base/octets.h"
#include "policy/decision.h"
#include "policy/verdict.h"
#include "process/edge/edge.h"
#include "process/edge/edge_session.h"
#include "process/edge/edge_transaction.h"
#include "process/edge/edge_trial.h"
#include "process/edge/edge_words.h"
#include "route/route.h"

enum { EXPLAINED_RECIPIENTS = 100 };

static const char *const priority_names[] = {"-9", "-8", "-7", "-6", "-5", "-4", "-3",
                                             "-2", "-1", "0",  "1",  "2",  "3",  "4",
                                             "5",  "6",  "7",  "8",  "9"};

const char *edge_record_protocol(const struct edge_session *s)
{
        return s->client.is_local_user ? "local" : smtp_server_protocol(s->server);
}

static octets16 to_quote(octets16 x)
{
        return octets_below(x, ' ' + 1) | octets_equal(x, 127) | octets_equal(x, '"') |
               octets_equal(x, '\\');
}

static bool is_plain(struct span value)
{
        return value.len && octets_until(value, to_quote) == value.len;
}

static void put_name(struct buffer *b, const char *name)
{
        if (b->len)
                (void) buffer_append(b, " ", 1);
        (void) buffer_append_string(b, name);
        (void) buffer_append(b, "=", 1);
}

/* What finds no memory for a part of it is left out as a whole. */
static void put_plain(struct buffer *b, const char *name, struct span value)
{
        const size_t len = strlen(name), gap = b->len > 0;
        char *to;

        if (buffer_reserve(b, gap + len + 1 + value.len, &to) < 0)
                return;
        to[0] = ' ';
        memcpy(to + gap, name, len);
        to[gap + len] = '=';
        memcpy(to + gap + len + 1, value.p, value.len);
        buffer_commit(b, gap + len + 1 + value.len);
}

/* " name=value", quoted where it is not one plain word, as in the log. What
 * finds no memory is left out: the record explains, it does not decide. */
static void put_pair(struct buffer *b, const char *name, struct span value)
{
        if (is_plain(value)) {
                put_plain(b, name, value);
                return;
        }
        put_name(b, name);
        (void) buffer_append(b, "\"", 1);
        for (size_t i = 0; i < value.len; i++) {
                const unsigned char c = (unsigned char) value.p[i];

                if (c == '"' || c == '\\')
                        (void) buffer_printf(b, "\\%c", c);
                else if (c < ' ' || c == 127)
                        (void) buffer_printf(b, "\\x%02x", c);
                else
                        (void) buffer_append(b, value.p + i, 1);
        }
        (void) buffer_append(b, "\"", 1);
}

static void put_number(struct buffer *b, const char *name, uint64_t value)
{
        char digits[NUMBER_TEXT_MAX];

        put_plain(b, name, number_span(value, digits));
}

/* What the address was before, the first first; of the time at which it was
 * accepted, so that they stay in front of that. */
static int add_route_steps(struct edge_transaction *t, uint32_t index, uint64_t at_us,
                           const struct route_step *last)
{
        const struct route_step *steps[ROUTE_DEPTH_MAX * 2 + 4];
        size_t count = 0;
        int r = 0;

        for (; last && count < sizeof steps / sizeof steps[0]; last = last->earlier)
                steps[count++] = last;
        while (r == 0 && count-- > 0)
                r = decision_add(&t->steps, &(struct decision_step) {
                        .at_us = at_us, .recipient = index, .kind = DECISION_ROUTED,
                        .rule = steps[count]->rule, .origin = steps[count]->origin,
                        .rcpt_to = steps[count]->rcpt_to, .next = steps[count]->next});
        return r;
}

int edge_record_accepted(struct edge_transaction *t, uint32_t index, uint32_t same_as,
                         const struct route *route, const struct verdict *rule)
{
        struct buffer *detail = &t->edge->text;
        struct decision_step step = {
                .at_us = loop_wall_us(t->edge->process->loop),
                .recipient = index,
                .kind = DECISION_ACCEPTED,
                .enhanced = SPAN("2.1.5"),
                .code = 250,
                .rule = rule->rule,
                .origin = rule->origin,
                .rcpt_to = route->rcpt_to,
                .next = route->kind == ROUTE_LOCAL ? route->account : route->next_hop,
        };

        int r;

        buffer_clear(detail);
        /* Who allowed it is one thing, where it goes another. In a long list it is
         * the same again and again, and the record must hold a thousand. */
        if (!route->is_ours && index < EXPLAINED_RECIPIENTS) {
                put_pair(detail, "route", route->rule);
                put_pair(detail, "route_origin", route->origin);
        }
        if (same_as != UINT32_MAX)
                put_number(detail, "same_as", same_as);
        step.detail = buffer_span(detail);
        if (index < EXPLAINED_RECIPIENTS && add_route_steps(t, index, step.at_us, route->steps) < 0)
                return -EMSGSIZE;
        r = decision_add(&t->steps, &step);
        if (r == 0 && route->kind == ROUTE_DISCARD)
                r = decision_add(&t->steps, &(struct decision_step) {
                        .at_us = step.at_us, .recipient = index, .kind = DECISION_DISCARDED,
                        .rule = rule->rule, .origin = rule->origin});
        return r;
}

static void log_refused(const struct edge_transaction *t, struct span rcpt_to,
                        const struct verdict *why, const char *id)
{
        const struct edge_session *s = t->session;

        log_event(LOG_NOTICE, rcpt_to.len ? "recipient_refused" : "message_refused",
                  LOG_TEXT("message_id", id), LOG_TEXT("client", s->client.text),
                  LOG_TEXT("helo_name", s->helo_name ? s->helo_name : ""),
                  LOG_SPAN("mail_from", t->mail_from), LOG_SPAN("rcpt_to", rcpt_to),
                  LOG_U64("code", why->code), LOG_SPAN("enhanced", why->enhanced),
                  LOG_SPAN("text", why->text), LOG_SPAN("rule", why->rule),
                  LOG_SPAN("origin", why->origin));
}

void edge_record_refused(struct edge_transaction *t, uint32_t index, struct span rcpt_to,
                         const struct verdict *why)
{
        struct edge *e = t->edge;
        const struct edge_session *s = t->session;
        const uint64_t now = loop_wall_us(e->process->loop);
        const uint64_t key = meters_event(&e->meters, s->client.address, why->rule);
        const unsigned count = s->is_trial ? 0 : meters_tick(&e->meters, key, now);
        const struct decision_step step = {
                .at_us = now,
                .recipient = index,
                .kind = DECISION_REFUSED,
                .code = why->code,
                .rule = why->rule,
                .origin = why->origin,
                .rcpt_to = rcpt_to,
                .enhanced = why->enhanced,
                .text = why->text,
        };
        char id[ID_TEXT_LEN + 1];

        if (s->is_trial) {
                t->refusals += decision_add(&t->steps, &step) == 0;
                return;
        }
        if (index == DECISION_MESSAGE)
                e->counters.messages_refused++;
        else
                e->counters.recipients_refused++;
        if (count > EDGE_REFUSALS_RECORDED) {
                e->counters.refusals_unrecorded++;
                if (count == EDGE_REFUSALS_RECORDED + 1)
                        log_event(LOG_NOTICE, "refusals_counted_only",
                                  LOG_TEXT("client", s->client.text), LOG_SPAN("rule", why->rule));
                return;
        }
        if (decision_add(&t->steps, &step) == 0)
                t->refusals++;
        log_refused(t, rcpt_to, why, id_format(t->message_id, id));
}

void edge_record_describe_session(const struct edge_session *s, struct buffer *detail)
{
        struct tls_session *tls = stream_tls(s->stream);

        buffer_clear(detail);
        put_pair(detail, "helo_name", span_from_string(s->helo_name));
        put_pair(detail, "protocol", span_from_string(edge_record_protocol(s)));
        if (tls)
                put_pair(detail, "tls", span_from_string(tls_session_version(tls)));
        if (s->login.account)
                put_pair(detail, "login", span_from_string(s->login.account));
        put_pair(detail, "listen", s->listener->text);
        if (s->client.is_local_user)
                put_number(detail, "uid", s->client.uid);
}

static void describe(const struct edge_transaction *t, struct buffer *detail)
{
        static const struct {
                uint32_t flag;
                const char *name;
        } flags[] = {
                {ENVELOPE_8BIT, "8bitmime"}, {ENVELOPE_SMTPUTF8, "smtputf8"},
                {ENVELOPE_BINARY, "binarymime"}, {ENVELOPE_REQUIRETLS, "requiretls"},
        };

        put_pair(detail, "mail_from", t->mail_from);
        put_number(detail, "size", t->body.len);
        for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
                if (t->flags & flags[i].flag)
                        put_pair(detail, "flag", span_from_string(flags[i].name));
        if (t->body.parts_converted)
                put_number(detail, "parts_converted", t->body.parts_converted);
        if (t->envid.len)
                put_pair(detail, "envid", t->envid);
        if (t->hold_until_us)
                put_number(detail, "hold_until", t->hold_until_us / 1000000);
        if (t->deliver_by_us) {
                put_number(detail, "deliver_by", t->deliver_by_us / 1000000);
                put_pair(detail, "deliver_by_mode", t->flags & ENVELOPE_BY_RETURN
                                                            ? SPAN_LITERAL("return")
                                                            : SPAN_LITERAL("notify"));
        }
        if (envelope_has_priority(t->flags))
                put_pair(detail, "priority",
                         span_from_string(priority_names[envelope_priority(t->flags) + 9]));
}

_Static_assert(EDGE_RECORD_HOST_MAX >=
               sizeof ((struct edge_client *) 0)->text + 1 + NUMBER_TEXT_MAX, "it fits");

struct span edge_record_format_host(const struct edge_session *s, char out[EDGE_RECORD_HOST_MAX])
{
        const struct span text = span_from_string(s->client.text);
        char digits[NUMBER_TEXT_MAX];
        struct span port;
        size_t len = text.len;

        memcpy(out, text.p, len);
        if (!s->client.is_unix) {
                port = number_span(s->client.port, digits);
                out[len++] = ':';
                memcpy(out + len, port.p, port.len);
                len += port.len;
        }
        return span_make(out, len);
}

int edge_record_finish(struct edge_transaction *t)
{
        const struct edge_words *words = edge_words_of(t->session);
        struct buffer *detail = &t->edge->text;
        struct decision_step step = {
                .at_us = t->arrived_us,
                .recipient = DECISION_MESSAGE,
                .kind = DECISION_RECEIVED,
        };
        int r;

        if (!words)
                return -ENOMEM;
        buffer_clear(detail);
        (void) buffer_append_span(detail, words->session);
        describe(t, detail);
        step.host = words->host;
        step.detail = span_first(buffer_span(detail), DECISION_STRING_MAX);
        r = decision_begin(&t->record, t->message_id);
        if (r == 0)
                r = decision_add(&t->record, &step);
        if (r == 0)
                r = buffer_append_span(&t->record, buffer_span(&t->steps));
        return r;
}

static void send_session_record(struct edge_session *s, const struct verdict *why,
                                uint64_t message_id, uint64_t now_us)
{
        struct edge *e = s->edge;
        struct buffer record = BUFFER_INIT(IPC_RECORD_MAX);
        struct decision_step step = {
                .at_us = now_us, .recipient = DECISION_MESSAGE, .kind = DECISION_RECEIVED};
        char host[EDGE_RECORD_HOST_MAX];
        int r = decision_begin(&record, message_id);

        edge_record_describe_session(s, &e->text);
        step.host = edge_record_format_host(s, host);
        step.detail = span_first(buffer_span(&e->text), DECISION_STRING_MAX);
        if (r == 0)
                r = decision_add(&record, &step);
        step = (struct decision_step) {
                .at_us = now_us, .recipient = DECISION_MESSAGE, .kind = DECISION_REFUSED,
                .code = why->code, .rule = why->rule, .origin = why->origin,
                .enhanced = why->enhanced, .text = why->text};
        if (r == 0)
                r = decision_add(&record, &step);
        if (r == 0 && s->is_trial)
                edge_trial_keep(s, buffer_span(&record));
        else if (r == 0)
                edge_keeper_refused(&e->keeper, message_id, buffer_span(&record));
        buffer_done(&record);
}

void edge_record_session_refused(struct edge_session *s, const struct verdict *why, char *id)
{
        struct edge *e = s->edge;
        const uint64_t now_us = loop_wall_us(e->process->loop);
        const uint64_t message_id = id_next(&e->ids, now_us);
        const uint64_t key = meters_event(&e->meters, s->client.address, why->rule);
        const unsigned count = s->is_trial ? 0 : meters_tick(&e->meters, key, now_us);

        id_format(message_id, id);
        if (s->is_trial) {
                send_session_record(s, why, message_id, now_us);
                return;
        }
        e->counters.sessions_refused++;
        if (count > EDGE_REFUSALS_RECORDED) {
                e->counters.refusals_unrecorded++;
                return;
        }
        log_event(LOG_NOTICE, "session_refused", LOG_TEXT("message_id", id),
                  LOG_TEXT("client", s->client.text),
                  LOG_TEXT("helo_name", s->helo_name ? s->helo_name : ""),
                  LOG_U64("code", why->code), LOG_SPAN("enhanced", why->enhanced),
                  LOG_SPAN("text", why->text), LOG_SPAN("rule", why->rule),
                  LOG_SPAN("origin", why->origin));
        send_session_record(s, why, message_id, now_us);
}
