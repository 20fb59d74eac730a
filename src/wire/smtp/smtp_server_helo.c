#include <stdlib.h>

#include "base/clock.h"
#include "base/number.h"
#include "wire/smtp/smtp_server_engine.h"

/* A name or literal, or what clients put there: one word of printable ASCII.
 * Whether it is a name at all is for policy to say, which knows the client;
 * RFC 5321 section 4.1.4 forbids refusing mail for its not being verified. */
static bool is_helo_name(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if (s.p[i] <= 32 || s.p[i] >= 127)
                        return false;
        return s.len > 0 && s.len <= SMTP_SERVER_HELO_MAX;
}

static void take_helo(struct smtp_server *s, struct span name, bool is_extended,
                      struct smtp_event *ev)
{
        if (!is_helo_name(name)) {
                smtp_server_refuse(s, 501, "5.5.4", "Say your host name, and nothing more");
                return;
        }
        free(s->helo_candidate);
        s->helo_candidate = strndup(name.p, name.len);
        if (!s->helo_candidate) {
                smtp_server_close(s, 421, "4.3.0", "Out of memory");
                return;
        }
        s->candidate_is_extended = is_extended;
        ev->helo_name = span_make(s->helo_candidate, name.len);
        ev->is_extended = is_extended;
        smtp_server_wait(s, ev, SMTP_EVENT_HELO);
}

SMTP_COMMAND_FUNCTION(helo)
{
        take_helo(s, argument, false, ev);
}

SMTP_COMMAND_FUNCTION(ehlo)
{
        take_helo(s, argument, true, ev);
}

/* A line of the answer. Each client gets some: formatted by snprintf() they would
 * cost more than all else that is done for a client that says EHLO. */
struct line {
        char text[SMTP_SERVER_REPLY_LINE_MAX];
        size_t len;
};

/* What does not fit is cut off. */
static void put(struct line *l, struct span text)
{
        text = span_first(text, sizeof l->text - l->len);
        memcpy(l->text + l->len, text.len ? text.p : "", text.len);
        l->len += text.len;
}

static void put_number(struct line *l, uint64_t number)
{
        char digits[NUMBER_TEXT_MAX];

        put(l, number_span(number, digits));
}

static void say(struct smtp_server *s, bool is_last, const struct line *l)
{
        smtp_server_say_line(s, 250, is_last, span_make(l->text, l->len));
}

/* RFC 9422: spares the client the 452 and the 421. */
static void say_limits(struct smtp_server *s)
{
        const struct smtp_server_options *o = &s->options;
        struct line line;

        line.len = 0;
        put(&line, SPAN_LITERAL("LIMITS"));
        if (o->recipients_max) {
                put(&line, SPAN_LITERAL(" RCPTMAX="));
                put_number(&line, o->recipients_max);
        }
        if (o->messages_max) {
                put(&line, SPAN_LITERAL(" MAILMAX="));
                put_number(&line, o->messages_max);
        }
        if (o->recipients_max || o->messages_max)
                say(s, false, &line);
}

/* RFC 4865 section 3: seconds, and a date in UTC without fractions. */
static void say_future_release(struct smtp_server *s)
{
        char date[CLOCK_DATE_MAX];
        struct line line;

        line.len = 0;
        put(&line, SPAN_LITERAL("FUTURERELEASE "));
        put_number(&line, s->options.hold_max_s);
        put(&line, SPAN_LITERAL(" "));
        put(&line, span_make(clock_format_iso(s->options.hold_until_max_us, date), 19));
        put(&line, SPAN_LITERAL("Z"));
        say(s, false, &line);
}

/* RFC 2852 section 3. */
static void say_deliver_by(struct smtp_server *s)
{
        struct line line;

        line.len = 0;
        put(&line, SPAN_LITERAL("DELIVERBY"));
        if (s->options.by_min_s) {
                put(&line, SPAN_LITERAL(" "));
                put_number(&line, s->options.by_min_s);
        }
        say(s, false, &line);
}

static void say_offers(struct smtp_server *s)
{
        static const struct {
                unsigned offer;
                struct span lines;
        } rows[] = {
                { 0, SPAN("250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n") },
                { SMTP_OFFER_STARTTLS, SPAN("250-STARTTLS\r\n") },
                { SMTP_OFFER_DSN, SPAN("250-DSN\r\n") },
                { SMTP_OFFER_SMTPUTF8, SPAN("250-SMTPUTF8\r\n") },
                { SMTP_OFFER_CHUNKING, SPAN("250-CHUNKING\r\n") },
                { SMTP_OFFER_BINARYMIME, SPAN("250-BINARYMIME\r\n") },
                { SMTP_OFFER_MT_PRIORITY, SPAN("250-MT-PRIORITY MIXER\r\n") },
                { SMTP_OFFER_REQUIRETLS, SPAN("250-REQUIRETLS\r\n") },
                { SMTP_OFFER_ETRN, SPAN("250-ETRN\r\n") },
                { SMTP_OFFER_XCLIENT, SPAN("250-XCLIENT NAME ADDR PORT PROTO HELO\r\n") },
        };
        struct line line;

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
                if (smtp_server_has_offer(s, rows[i].offer))
                        smtp_server_say_ready(s, rows[i].lines);
        if (smtp_server_has_offer(s, SMTP_OFFER_AUTH) && s->options.auth_mechanisms.len) {
                line.len = 0;
                put(&line, SPAN_LITERAL("AUTH "));
                put(&line, span_first(s->options.auth_mechanisms, 256));
                say(s, false, &line);
        }
        if (smtp_server_has_offer(s, SMTP_OFFER_FUTURERELEASE))
                say_future_release(s);
        if (smtp_server_has_offer(s, SMTP_OFFER_DELIVERBY))
                say_deliver_by(s);
        say_limits(s);
        /* "SIZE 0" means no fixed limit (RFC 1870 section 3). */
        line.len = 0;
        put(&line, SPAN_LITERAL("SIZE "));
        put_number(&line, s->options.message_size_max);
        say(s, true, &line);
}

void smtp_server_answer_helo(struct smtp_server *s, unsigned code, const char *enhanced,
                             const char *text)
{
        struct line line;

        if (code != 250) {
                /* Section 4.1.4: a refused EHLO leaves everything as it was. */
                smtp_server_refuse(s, code, enhanced, text);
                return;
        }
        smtp_server_reset(s);
        free(s->helo_name);
        s->helo_name = s->helo_candidate;
        s->helo_candidate = NULL;
        s->is_extended = s->candidate_is_extended;
        line.len = 0;
        put(&line, span_first(s->options.hostname, 255));
        put(&line, SPAN_LITERAL(" "));
        put(&line, span_from_string(text ? text : "at your service"));
        say(s, !s->is_extended, &line);
        if (s->is_extended)
                say_offers(s);
}
