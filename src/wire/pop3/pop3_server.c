#include <assert.h>
#include <stdlib.h>

#include "wire/pop3/pop3_server_engine.h"

static const struct pop3_command commands[] = {
        { SPAN("APOP"), POP3_STATE_AUTHORIZATION, pop3_server_apop },
        { SPAN("AUTH"), POP3_STATE_AUTHORIZATION, pop3_server_auth },
        { SPAN("CAPA"), POP3_STATE_ANY, pop3_server_capa },
        { SPAN("DELE"), POP3_STATE_TRANSACTION, pop3_server_dele },
        { SPAN("LANG"), POP3_STATE_ANY, pop3_server_lang },
        { SPAN("LIST"), POP3_STATE_TRANSACTION, pop3_server_list },
        { SPAN("NOOP"), POP3_STATE_TRANSACTION, pop3_server_noop },
        { SPAN("PASS"), POP3_STATE_AUTHORIZATION, pop3_server_pass },
        { SPAN("QUIT"), POP3_STATE_ANY, pop3_server_quit },
        { SPAN("RETR"), POP3_STATE_TRANSACTION, pop3_server_retr },
        { SPAN("RSET"), POP3_STATE_TRANSACTION, pop3_server_rset },
        { SPAN("STAT"), POP3_STATE_TRANSACTION, pop3_server_stat },
        { SPAN("STLS"), POP3_STATE_AUTHORIZATION, pop3_server_stls },
        { SPAN("TOP"), POP3_STATE_TRANSACTION, pop3_server_top },
        { SPAN("UIDL"), POP3_STATE_TRANSACTION, pop3_server_uidl },
        { SPAN("USER"), POP3_STATE_AUTHORIZATION, pop3_server_user },
        { SPAN("UTF8"), POP3_STATE_AUTHORIZATION, pop3_server_utf8 },
};

struct pop3_server *pop3_server_new(const struct pop3_server_options *o)
{
        struct pop3_server *s = calloc(1, sizeof *s);

        if (!s)
                return NULL;
        s->options = *o;
        s->state = POP3_STATE_AUTHORIZATION;
        s->line = BUFFER_INIT(POP3_SERVER_AUTH_LINE_MAX);
        s->output = BUFFER_INIT(POP3_SERVER_OUTPUT_MAX);
        return s;
}

struct pop3_server *pop3_server_free(struct pop3_server *s)
{
        if (!s)
                return NULL;
        if (s->line.data)
                explicit_bzero(s->line.data, s->line.room); /* the password was in it */
        buffer_done(&s->line);
        buffer_done(&s->output);
        free(s->login_name);
        free(s->messages);
        free(s->is_deleted);
        free(s->deleted);
        free(s->shut_text);
        free(s);
        return NULL;
}

void pop3_server_set_secured(struct pop3_server *s)
{
        s->is_secured = true;
}

void pop3_server_greet(struct pop3_server *s, const char *refusal)
{
        if (refusal) {
                pop3_server_err(s, NULL, refusal);
                s->reading = POP3_READING_CLOSED;
                return;
        }
        pop3_server_put(s, SPAN_LITERAL("+OK "));
        pop3_server_put(s, s->options.hostname);
        pop3_server_put(s, SPAN_LITERAL(" ready"));
        if ((s->options.offers & POP3_OFFER_APOP) && s->options.apop_stamp.len) {
                pop3_server_put(s, SPAN_LITERAL(" "));
                pop3_server_put(s, s->options.apop_stamp);
        }
        pop3_server_put(s, SPAN_LITERAL("\r\n"));
}

bool pop3_server_is_utf8(const struct pop3_server *s)
{
        return s->is_utf8;
}

void pop3_server_resume(struct pop3_server *s, bool is_utf8)
{
        s->is_utf8 = is_utf8;
        s->is_resumed = true;
        s->is_open_due = true;
}

void pop3_server_wait(struct pop3_server *s, struct pop3_event *ev, enum pop3_event_kind kind)
{
        assert(s->waiting == POP3_EVENT_NONE);
        ev->kind = s->waiting = kind;
}

void pop3_server_answer(struct pop3_server *s, const struct pop3_answer *a)
{
        const enum pop3_event_kind kind = s->waiting;

        assert(kind != POP3_EVENT_NONE);
        s->waiting = POP3_EVENT_NONE;
        switch (kind) {
        case POP3_EVENT_STLS:
                if (a->result == POP3_OK) {
                        pop3_server_ok(s, a->text ? a->text : "Begin TLS");
                        s->reading = POP3_READING_HANDSHAKE;
                } else {
                        pop3_server_err(s, a->code, a->text);
                }
                break;
        case POP3_EVENT_OPEN:
                pop3_server_answered_open(s, a);
                break;
        case POP3_EVENT_BODY:
                pop3_server_answered_body(s, a);
                break;
        case POP3_EVENT_UPDATE:
                if (a->result == POP3_OK)
                        pop3_server_ok(s, a->text ? a->text : "Bye");
                else
                        pop3_server_err(s, a->code, a->text ? a->text : "Not all were deleted");
                s->reading = POP3_READING_CLOSED;
                break;
        default:
                pop3_server_answered_login(s, a);
                break;
        }
}

/* ---- lines ------------------------------------------------------------------- */

static void run(struct pop3_server *s, struct span line, struct pop3_event *ev)
{
        struct span argument = line, verb;

        span_split(&argument, ' ', &verb);
        for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
                if (!span_equal_nocase(verb, commands[i].verb))
                        continue;
                if (commands[i].states & s->state)
                        commands[i].run(s, argument, ev);
                else
                        pop3_server_err(s, NULL, "Not in this state");
                return;
        }
        pop3_server_err(s, NULL, "No such command");
}

static void end_line(struct pop3_server *s, struct pop3_event *ev)
{
        const bool is_response = s->reading == POP3_READING_RESPONSE;
        struct span line = buffer_span(&s->line);
        const size_t max = is_response ? POP3_SERVER_AUTH_LINE_MAX : POP3_SERVER_LINE_MAX;

        line.len--;
        if (line.len && line.p[line.len - 1] == '\r')
                line.len--;
        s->reading = POP3_READING_LINE;
        if (s->is_line_long
            || (line.len > max && !span_starts_with_nocase(line, SPAN_LITERAL("AUTH "))))
                pop3_server_err(s, NULL, "The line is too long");
        else if (span_find(line, '\0') != SIZE_MAX || span_find(line, '\r') != SIZE_MAX)
                pop3_server_err(s, NULL, "Controls are not understood");
        else if (is_response)
                pop3_server_response(s, line, ev);
        else
                run(s, line, ev);
        s->is_line_long = false;
}

static size_t read_line(struct pop3_server *s, struct span in, struct pop3_event *ev)
{
        const size_t end = span_find(in, '\n');
        const size_t n = end == SIZE_MAX ? in.len : end + 1;

        if (s->is_line_spent) {
                buffer_clear(&s->line);
                s->is_line_spent = false;
        }
        if (!s->is_line_long && buffer_append(&s->line, in.p, n) < 0)
                s->is_line_long = true;
        if (end != SIZE_MAX) {
                if (s->is_line_long) {
                        buffer_clear(&s->line);
                        buffer_append(&s->line, "\n", 1);
                }
                end_line(s, ev);
                s->is_line_spent = true;
        }
        return n;
}

static bool feed_due(struct pop3_server *s, struct pop3_event *ev)
{
        if (s->is_broken) {
                s->output.len = 0;
                s->reading = POP3_READING_CLOSED;
                s->in_copy = false;
        }
        if (s->waiting != POP3_EVENT_NONE || s->reading == POP3_READING_HANDSHAKE)
                ev->kind = POP3_EVENT_WAIT;
        else if (s->output.len >= POP3_SERVER_OUTPUT_PAUSE)
                ev->kind = POP3_EVENT_FLUSH;
        else if (s->reading == POP3_READING_CLOSED)
                ev->kind = POP3_EVENT_CLOSE;
        return ev->kind != POP3_EVENT_NONE;
}

static bool is_boundary(const struct pop3_server *s)
{
        return s->waiting == POP3_EVENT_NONE && !s->in_copy && !s->is_open_due
               && (s->line.len == 0 || s->is_line_spent);
}

static void shut_now(struct pop3_server *s)
{
        pop3_server_err(s, "SYS/TEMP", s->shut_text);
        s->reading = POP3_READING_CLOSED;
}

size_t pop3_server_feed(struct pop3_server *s, struct span in, struct pop3_event *ret_event)
{
        size_t used = 0;

        *ret_event = (struct pop3_event) {0};
        while (!feed_due(s, ret_event)) {
                if (s->in_copy) {
                        pop3_server_send(s);
                } else if (s->is_open_due) {
                        s->is_open_due = false;
                        pop3_server_wait(s, ret_event, POP3_EVENT_OPEN);
                } else if (s->is_shut_due && is_boundary(s)) {
                        shut_now(s);
                } else if (used < in.len) {
                        used += read_line(s, span_skip(in, used), ret_event);
                } else {
                        break;
                }
                if (ret_event->kind != POP3_EVENT_NONE)
                        break;
                /* What a refused command left must not become part of the next one. */
                *ret_event = (struct pop3_event) {0};
        }
        return used;
}

void pop3_server_shut(struct pop3_server *s, const char *text)
{
        if (s->reading == POP3_READING_CLOSED)
                return;
        free(s->shut_text);
        s->shut_text = strdup(text ? text : "The server ends");
        s->is_shut_due = true;
        if (is_boundary(s))
                shut_now(s);
}

struct buffer *pop3_server_output(struct pop3_server *s)
{
        return &s->output;
}

void pop3_server_trim(struct pop3_server *s)
{
        if (!is_boundary(s))
                return;
        buffer_clear(&s->line);
        buffer_shrink(&s->line, POP3_SERVER_IDLE_ROOM);
        if (s->output.len == 0)
                buffer_shrink(&s->output, POP3_SERVER_IDLE_ROOM);
}
