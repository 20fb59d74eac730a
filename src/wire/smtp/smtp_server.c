#include "wire/smtp/smtp_server.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "wire/smtp/smtp_server_engine.h"

struct smtp_server *smtp_server_new(const struct smtp_server_options *o)
{
        struct smtp_server *s = memory_zeroed(sizeof *s);

        assert(o->command_length_max >= 512);
        if (!s)
                return NULL;
        s->options = *o;
        s->arena = ARENA_INIT(SMTP_SERVER_ARENA_MAX);
        s->line = BUFFER_INIT(o->command_length_max > SMTP_SERVER_AUTH_LINE_MAX
                                      ? o->command_length_max
                                      : SMTP_SERVER_AUTH_LINE_MAX);
        s->output = BUFFER_INIT(SMTP_SERVER_OUTPUT_MAX);
        return s;
}

struct smtp_server *smtp_server_free(struct smtp_server *s)
{
        if (!s)
                return NULL;
        arena_done(&s->arena);
        buffer_done(&s->line);
        buffer_done(&s->output);
        free(s->helo_name);
        free(s->helo_candidate);
        free(s->shut_reply);
        free(s);
        return NULL;
}

void smtp_server_greet(struct smtp_server *s, unsigned code, const char *text)
{
        const bool is_lmtp = s->options.dialect == SMTP_DIALECT_LMTP;
        char line[SMTP_SERVER_REPLY_LINE_MAX];
        struct span host = span_first(s->options.hostname, 255);
        size_t len;

        if (!text)
                text = code != 220 ? "Not now" : is_lmtp ? "LMTP" : "ESMTP";
        memcpy(line, host.p, host.len);
        len = host.len;
        line[len++] = ' ';
        host = span_first(span_from_string(text), sizeof line - len);
        memcpy(line + len, host.p, host.len);
        smtp_server_say_line(s, code, true, span_make(line, len + host.len));
        if (code == 421)
                s->state = SMTP_STATE_CLOSED;
        s->is_refusing = code != 220;
}

void smtp_server_wait(struct smtp_server *s, struct smtp_event *ev, enum smtp_event_kind kind)
{
        s->waiting = kind;
        ev->kind = kind;
}

void smtp_server_count_success(struct smtp_server *s)
{
        s->errors = 0;
        s->fruitless = 0;
}

void smtp_server_end_transaction(struct smtp_server *s)
{
        s->has_mail = s->smtputf8 = false;
        s->recipients = s->recipients_refused = 0;
        s->is_chunked = s->is_chunk_failed = false;
        s->body = SMTP_BODY_7BIT;
        s->body_fault = SMTP_FAULT_NONE;
        s->body_len = 0;
        s->has_nul = s->has_bad_line_end = false;
        s->is_clear_due = true;
}

void smtp_server_reset(struct smtp_server *s)
{
        s->is_reset_due = s->is_reset_due || s->has_mail;
        smtp_server_end_transaction(s);
}

static bool is_at_boundary(const struct smtp_server *s)
{
        return s->state == SMTP_STATE_COMMAND && s->waiting == SMTP_EVENT_NONE;
}

static size_t line_max(const struct smtp_server *s)
{
        return s->state == SMTP_STATE_AUTH ? SMTP_SERVER_AUTH_LINE_MAX
                                           : s->options.command_length_max;
}

/* Takes octets up to the end of a line. True: `*ret_line` is whole, and borrows
 * from `in` or from s->line. One too long comes out empty. */
static bool take_line(struct smtp_server *s, struct span in, size_t *ret_used,
                      struct span *ret_line)
{
        const char *end = in.len ? memchr(in.p, '\n', in.len) : NULL;
        const size_t n = end ? (size_t) (end - in.p) + 1 : in.len;

        *ret_used = n;
        if (s->line.len + n > line_max(s))
                s->is_line_long = true;
        if (!s->is_line_long && end && s->line.len == 0) {
                *ret_line = span_first(in, n);
                return true;
        }
        if (!s->is_line_long && buffer_append(&s->line, in.p, n) < 0)
                s->is_line_long = true;
        if (s->is_line_long)
                buffer_clear(&s->line);
        if (!end)
                return false;
        *ret_line = buffer_span(&s->line);
        if (s->is_line_long)
                *ret_line = (struct span) {NULL, 0};
        s->is_line_long = false;
        buffer_clear(&s->line);
        return true;
}

/* One step in the state we are in; false when more octets are needed. */
static bool advance(struct smtp_server *s, struct span in, size_t *ret_used, struct smtp_event *ev)
{
        struct span line;

        *ret_used = 0;
        switch (s->state) {
        case SMTP_STATE_BODY:
                *ret_used = smtp_server_feed_body(s, in, ev);
                return in.len > 0;
        case SMTP_STATE_CHUNK:
                *ret_used = smtp_server_feed_chunk(s, in, ev);
                return in.len > 0 || s->chunk_left == 0;
        case SMTP_STATE_COMMAND:
        case SMTP_STATE_AUTH:
                if (!take_line(s, in, ret_used, &line))
                        return false;
                if (s->state == SMTP_STATE_AUTH)
                        smtp_server_auth_line(s, line, ev);
                else
                        smtp_server_run_line(s, line, ev);
                return true;
        case SMTP_STATE_HANDSHAKE:
        case SMTP_STATE_CLOSED:
                break;
        }
        return false;
}

static void shut_now(struct smtp_server *s)
{
        s->is_shut_due = false;
        smtp_server_say_error(s, s->shut_reply ? s->shut_reply : "421 4.3.2 Going down, try again");
        s->state = SMTP_STATE_CLOSED;
}

/* What has to be said before any octet is looked at; true if there was
 * something. */
static bool feed_due(struct smtp_server *s, struct smtp_event *ev)
{
        if (s->waiting != SMTP_EVENT_NONE || s->state == SMTP_STATE_HANDSHAKE) {
                ev->kind = SMTP_EVENT_WAIT;
                return true;
        }
        if (s->is_shut_due && is_at_boundary(s))
                shut_now(s);
        if (s->is_reset_due) {
                s->is_reset_due = false;
                ev->kind = SMTP_EVENT_RESET;
        } else if (s->state == SMTP_STATE_CLOSED || s->is_broken) {
                ev->kind = SMTP_EVENT_CLOSE;
                ev->has_quit = s->has_quit;
        } else if (s->output.len > SMTP_SERVER_OUTPUT_PAUSE) {
                ev->kind = SMTP_EVENT_FLUSH;
        } else {
                if (s->is_clear_due)
                        arena_clear(&s->arena);
                s->is_clear_due = false;
        }
        return ev->kind != SMTP_EVENT_NONE;
}

/* All but the long parts, which the commands that fill them clear. */
static void clear_event(struct smtp_event *ev)
{
        memset(ev, 0, offsetof(struct smtp_event, mail));
}

size_t smtp_server_feed(struct smtp_server *s, struct span in, struct smtp_event *ret_event)
{
        size_t used = 0;

        clear_event(ret_event);
        while (!feed_due(s, ret_event)) {
                size_t n;
                const bool is_step = advance(s, span_skip(in, used), &n, ret_event);

                used += n;
                if (!is_step || ret_event->kind != SMTP_EVENT_NONE)
                        break;
                /* What a refused command left must not become part of the next one. */
                clear_event(ret_event);
        }
        return used;
}

/* END: an answer, or under LMTP one of several. */
static void answer_end(struct smtp_server *s, unsigned code, const char *enhanced,
                       const char *text)
{
        const unsigned owed = s->options.dialect == SMTP_DIALECT_LMTP ? s->recipients : 1;

        smtp_server_say(s, code, enhanced, text);
        s->is_any_accepted = s->is_any_accepted || code < 300;
        if (++s->answers < owed)
                return;
        if (s->is_any_accepted)
                smtp_server_count_success(s);
        else
                s->errors++;
        s->waiting = SMTP_EVENT_NONE;
        s->messages++;
        smtp_server_end_transaction(s);
}

static void answer_rcpt(struct smtp_server *s, unsigned code)
{
        if (code >= 300) {
                s->recipients_refused++;
                s->errors++;
                return;
        }
        s->recipients++;
        smtp_server_count_success(s);
}

/* All that the client has said of itself. */
static void forget_greeting(struct smtp_server *s)
{
        smtp_server_reset(s);
        s->is_extended = false;
        s->is_authenticated = false;
        free(s->helo_name);
        s->helo_name = NULL;
}

static void answer(struct smtp_server *s, enum smtp_event_kind kind, unsigned code)
{
        switch (kind) {
        case SMTP_EVENT_MAIL:
                s->has_mail = code < 300;
                s->smtputf8 = s->smtputf8 && s->has_mail;
                s->is_clear_due = !s->has_mail;
                s->errors += code >= 300;
                break;
        case SMTP_EVENT_RCPT:
                answer_rcpt(s, code);
                break;
        case SMTP_EVENT_XCLIENT:
                if (code == 220)
                        forget_greeting(s);
                s->errors += code >= 400;
                break;
        case SMTP_EVENT_STARTTLS:
                if (code == 220)
                        s->state = SMTP_STATE_HANDSHAKE;
                else
                        s->errors++;
                break;
        default:
                s->errors += code >= 400;
                break;
        }
}

void smtp_server_reply(struct smtp_server *s, unsigned code, const char *enhanced,
                       const char *text)
{
        const enum smtp_event_kind kind = s->waiting;

        assert(kind != SMTP_EVENT_NONE);
        assert(code >= 200 && code <= 599);

        if (kind == SMTP_EVENT_END) {
                answer_end(s, code, enhanced, text);
        } else {
                s->waiting = SMTP_EVENT_NONE;
                if (kind == SMTP_EVENT_HELO) {
                        smtp_server_answer_helo(s, code, enhanced, text);
                } else if (kind == SMTP_EVENT_DATA && s->state == SMTP_STATE_CHUNK) {
                        smtp_server_answer_chunk(s, code, enhanced, text);
                } else if (kind == SMTP_EVENT_DATA) {
                        smtp_server_answer_data(s, code, enhanced, text);
                } else if (kind == SMTP_EVENT_AUTH) {
                        smtp_server_answer_auth(s, code, enhanced, text);
                } else if (kind == SMTP_EVENT_XCLIENT && code == 220) {
                        answer(s, kind, code);
                        smtp_server_greet(s, code, text);
                } else {
                        smtp_server_say(s, code, enhanced, text);
                        answer(s, kind, code);
                }
        }
        if (code == 421 && s->waiting == SMTP_EVENT_NONE)
                s->state = SMTP_STATE_CLOSED;
        if (s->is_shut_due && is_at_boundary(s))
                shut_now(s);
}

void smtp_server_secured(struct smtp_server *s)
{
        forget_greeting(s);
        s->is_secured = true;
        buffer_clear(&s->line);
        s->is_line_long = false;
        if (s->state == SMTP_STATE_HANDSHAKE)
                s->state = SMTP_STATE_COMMAND;
        if (s->is_shut_due && is_at_boundary(s))
                shut_now(s);
}

void smtp_server_shut(struct smtp_server *s, const char *reply)
{
        if (s->state == SMTP_STATE_CLOSED)
                return;
        free(s->shut_reply);
        s->shut_reply = reply ? strdup(reply) : NULL;
        s->is_shut_due = true;
        if (is_at_boundary(s))
                shut_now(s);
}

void smtp_server_trim(struct smtp_server *s)
{
        if (!smtp_server_is_idle(s))
                return;
        arena_done(&s->arena);
        s->is_clear_due = false;
        if (s->line.len == 0)
                buffer_shrink(&s->line, SMTP_SERVER_IDLE_ROOM);
        if (s->output.len == 0)
                buffer_shrink(&s->output, SMTP_SERVER_IDLE_ROOM);
}

struct buffer *smtp_server_output(struct smtp_server *s)
{
        return &s->output;
}

bool smtp_server_is_idle(const struct smtp_server *s)
{
        return is_at_boundary(s) && !s->has_mail;
}

unsigned smtp_server_refusals(const struct smtp_server *s)
{
        return s->refusals;
}

unsigned smtp_server_recipients(const struct smtp_server *s)
{
        return s->recipients;
}

/* RFC 3848, RFC 6531 section 4.3; the plain HELO of a client has no variants. */
const char *smtp_server_protocol(const struct smtp_server *s)
{
        static const char *const names[2][2][2][2] = { /* LMTP, UTF-8, TLS, login */
                { { { "ESMTP", "ESMTPA" }, { "ESMTPS", "ESMTPSA" } },
                  { { "UTF8SMTP", "UTF8SMTPA" }, { "UTF8SMTPS", "UTF8SMTPSA" } } },
                { { { "LMTP", "LMTPA" }, { "LMTPS", "LMTPSA" } },
                  { { "UTF8LMTP", "UTF8LMTPA" }, { "UTF8LMTPS", "UTF8LMTPSA" } } },
        };

        if (!s->is_extended)
                return "SMTP";
        return names[s->options.dialect == SMTP_DIALECT_LMTP][s->smtputf8][s->is_secured]
                    [s->is_authenticated];
}
