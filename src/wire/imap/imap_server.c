#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/imap/imap_server_engine.h"

struct imap_server *imap_server_new(const struct imap_server_options *o)
{
        struct imap_server *s = calloc(1, sizeof *s);

        if (!s)
                return NULL;
        s->options = *o;
        s->state = IMAP_STATE_NOT_AUTHENTICATED;
        s->line = BUFFER_INIT(IMAP_SERVER_LINE_BEFORE_LOGIN);
        s->output = BUFFER_INIT(IMAP_SERVER_OUTPUT_MAX);
        s->arena = ARENA_INIT(IMAP_SERVER_ARENA_MAX);
        s->message = ARENA_INIT(IMAP_SERVER_MESSAGE_MAX);
        s->scratch = BUFFER_INIT(IMAP_SERVER_MESSAGE_MAX);
        s->header_text = BUFFER_INIT(IMAP_SERVER_MESSAGE_MAX);
        s->raw_text = BUFFER_INIT(IMAP_SERVER_MESSAGE_MAX);
        return s;
}

struct imap_server *imap_server_free(struct imap_server *s)
{
        if (!s)
                return NULL;
        imap_view_unref(s->view);
        imap_view_unref(s->newest);
        free(s->saved);
        free(s->shut_text);
        /* Passwords were in both. */
        if (s->line.data)
                explicit_bzero(s->line.data, s->line.room);
        buffer_done(&s->line);
        buffer_done(&s->output);
        arena_done(&s->arena);
        arena_done(&s->message);
        buffer_done(&s->scratch);
        buffer_done(&s->header_text);
        buffer_done(&s->raw_text);
        free(s);
        return NULL;
}

void imap_server_set_secured(struct imap_server *s)
{
        s->is_secured = true;
}

void imap_server_greet(struct imap_server *s, const char *refusal)
{
        if (refusal) {
                imap_server_bye(s, refusal);
                return;
        }
        imap_server_put(s, "* OK [CAPABILITY ");
        imap_server_put_capabilities(s);
        imap_server_put(s, "] ");
        imap_server_put_span(s, s->options.hostname);
        imap_server_put(s, " ready\r\n");
}

struct span imap_server_tag(const struct imap_server *s)
{
        return s->tag;
}

int imap_server_resume(struct imap_server *s, struct span tag)
{
        struct imap_parser p = {.rest = tag};
        struct span word;

        if (!imap_parse_tag(&p, &word) || !imap_parse_end(&p))
                return -EINVAL;
        s->tag = arena_copy(&s->arena, tag);
        if (!s->tag.p) {
                s->is_broken = true;
                return 0;
        }
        s->waiting = IMAP_EVENT_LOGIN;
        s->answered = NULL;
        imap_server_answer(s, &(struct imap_answer) {.result = IMAP_OK});
        return 0;
}

/* ---- events and their answers ------------------------------------------------ */

void imap_server_wait(struct imap_server *s, struct imap_event *ev, enum imap_event_kind kind,
                      imap_answered_fn *answered)
{
        assert(s->waiting == IMAP_EVENT_NONE);
        ev->kind = s->waiting = kind;
        s->answered = answered;
}

void imap_server_deselect(struct imap_server *s)
{
        if (s->state != IMAP_STATE_SELECTED)
                return;
        s->view = imap_view_unref(s->view);
        s->newest = imap_view_unref(s->newest);
        free(s->saved);
        s->saved = NULL;
        s->saved_count = 0;
        s->state = IMAP_STATE_AUTHENTICATED;
        s->queued = IMAP_EVENT_DESELECT;
}

static void answer_login(struct imap_server *s, const struct imap_answer *a)
{
        if (a->result == IMAP_CONTINUE) {
                imap_server_put(s, "+ ");
                imap_server_put(s, a->text ? a->text : "");
                imap_server_put(s, "\r\n");
                s->reading = IMAP_READING_RESPONSE;
                buffer_clear(&s->line);
                s->line_at = 0;
                return;
        }
        if (s->line.data)
                explicit_bzero(s->line.data, s->line.room);
        if (a->result != IMAP_OK) {
                const char *code = a->code ? a->code : "AUTHENTICATIONFAILED";

                imap_server_finish(s, a->result, a->result == IMAP_NO ? code : a->code,
                                   a->text ? a->text : "Name or password is wrong");
                if (++s->bad_logins >= IMAP_SERVER_BAD_LOGINS_MAX
                    || (s->options.errors_max && s->bad_logins >= s->options.errors_max))
                        imap_server_bye(s, "Too many failed logins");
                return;
        }
        s->state = IMAP_STATE_AUTHENTICATED;
        s->line.size_max = IMAP_SERVER_LINE_MAX;
        imap_server_begin_tagged(s, IMAP_OK);
        imap_server_put(s, "[CAPABILITY ");
        imap_server_put_capabilities(s);
        imap_server_put(s, "] ");
        imap_server_end_tagged(s, a->text ? a->text : "Logged in");
}

void imap_server_answer(struct imap_server *s, const struct imap_answer *a)
{
        const enum imap_event_kind kind = s->waiting;

        assert(kind != IMAP_EVENT_NONE);
        s->waiting = IMAP_EVENT_NONE;
        if (a->result == IMAP_BYE) {
                imap_server_bye(s, a->text ? a->text : "The session ends");
                return;
        }
        if (kind == IMAP_EVENT_LOGIN || kind == IMAP_EVENT_AUTHENTICATE
            || kind == IMAP_EVENT_AUTHENTICATE_LINE)
                answer_login(s, a);
        else
                s->answered(s, a);
}

void imap_server_set_view(struct imap_server *s, struct imap_view *view)
{
        if (s->state != IMAP_STATE_SELECTED)
                return;
        imap_view_ref(view);
        imap_view_unref(s->newest);
        s->newest = view;
}

/* ---- reading ----------------------------------------------------------------- */

static bool is_boundary(const struct imap_server *s)
{
        return s->waiting == IMAP_EVENT_NONE && !s->work
               && (s->reading == IMAP_READING_IDLE
                   || (s->reading == IMAP_READING_LINE && s->line_at == 0));
}

/* Takes octets up to the line's end. True: a line stands in s->line from
 * line_at on, its end with it. */
static bool take_line(struct imap_server *s, struct span in, size_t *ret_used)
{
        const size_t end = span_find(in, '\n');
        const size_t n = end == SIZE_MAX ? in.len : end + 1;

        *ret_used = n;
        if (buffer_append(&s->line, in.p, n) < 0) {
                imap_server_bye(s, "The command is too long");
                return false;
        }
        return end != SIZE_MAX;
}

/* The last line without its end. A bare LF ends a line, too, as every server
 * has it: nothing but a human at a terminal sends one. */
static struct span last_line(const struct imap_server *s)
{
        struct span line = span_skip(buffer_span(&s->line), s->line_at);

        line.len--;
        if (line.len && line.p[line.len - 1] == '\r')
                line.len--;
        return line;
}

static void refuse_literal(struct imap_server *s, const struct imap_literal *l)
{
        struct imap_parser p = {.rest = buffer_span(&s->line), .arena = &s->arena};

        if (!l->is_synchronizing) {
                /* It is on its way: there is no telling how long. */
                imap_server_bye(s, "The literal is too long");
                return;
        }
        if (!imap_parse_tag(&p, &s->tag))
                s->tag = SPAN_LITERAL("*");
        imap_server_finish(s, IMAP_BAD, "TOOBIG", "The literal is too long");
}

static void end_line(struct imap_server *s, struct imap_event *ev)
{
        const struct span line = last_line(s);
        struct imap_literal l;

        if (!imap_parse_literal(line, &l)) {
                struct span all = buffer_span(&s->line);

                all.len = (size_t) (line.p + line.len - all.p);
                s->line_at = 0;
                imap_server_run(s, all, ev);
                return;
        }
        if (s->state != IMAP_STATE_NOT_AUTHENTICATED && imap_server_append_literal(s, &l, ev))
                return;
        if (l.size > buffer_room(&s->line)) {
                refuse_literal(s, &l);
                return;
        }
        if (l.is_synchronizing)
                imap_server_put(s, "+ Go on\r\n");
        s->literal_left = l.size;
        s->reading = IMAP_READING_LITERAL;
}

static size_t read_literal(struct imap_server *s, struct span in)
{
        const size_t n = s->literal_left < in.len ? (size_t) s->literal_left : in.len;

        if (n && buffer_append(&s->line, in.p, n) < 0) {
                imap_server_bye(s, "The command is too long");
                return n;
        }
        s->literal_left -= n;
        if (s->literal_left == 0) {
                s->line_at = s->line.len;
                s->reading = IMAP_READING_LINE;
        }
        return n;
}

static size_t read_message(struct imap_server *s, struct span in, struct imap_event *ev)
{
        const size_t n = s->literal_left < in.len ? (size_t) s->literal_left : in.len;

        s->literal_left -= n;
        if (n) {
                ev->kind = IMAP_EVENT_APPEND_OCTETS;
                ev->octets = span_first(in, n);
        }
        if (s->literal_left == 0)
                imap_server_append_more(s);
        return n;
}

/* A message that was refused although its octets come: they and what follows
 * of the command are dropped; literals in it have their octets dropped, too. */
static size_t read_skip(struct imap_server *s, struct span in)
{
        struct imap_literal l;
        size_t n = s->literal_left < in.len ? (size_t) s->literal_left : in.len;

        s->literal_left -= n;
        if (n || s->literal_left)
                return n;
        if (!take_line(s, in, &n))
                return n;
        if (imap_parse_literal(last_line(s), &l) && !l.is_synchronizing)
                s->literal_left = l.size;
        else
                s->reading = IMAP_READING_LINE;
        buffer_clear(&s->line);
        s->line_at = 0;
        return n;
}

static size_t read_line(struct imap_server *s, struct span in, struct imap_event *ev)
{
        size_t n;

        if (!take_line(s, in, &n))
                return n;
        if (s->reading == IMAP_READING_RESPONSE)
                imap_server_response(s, last_line(s), ev);
        else if (s->reading == IMAP_READING_IDLE)
                imap_server_idle_line(s, last_line(s), ev);
        else if (s->reading == IMAP_READING_MORE)
                imap_server_append_line(s, last_line(s), ev);
        else
                end_line(s, ev);
        return n;
}

static size_t read_some(struct imap_server *s, struct span in, struct imap_event *ev)
{
        switch (s->reading) {
        case IMAP_READING_LITERAL:
                return read_literal(s, in);
        case IMAP_READING_MESSAGE:
                return read_message(s, in, ev);
        case IMAP_READING_SKIP:
                return read_skip(s, in);
        default:
                return read_line(s, in, ev);
        }
}

/* A literal of no octets is complete without any. */
static bool has_due_octets(const struct imap_server *s)
{
        return s->literal_left == 0
               && (s->reading == IMAP_READING_LITERAL || s->reading == IMAP_READING_MESSAGE);
}

/* What is due before octets are read. True: an event, or none is possible. */
static bool feed_due(struct imap_server *s, struct imap_event *ev)
{
        if (s->is_broken) {
                s->output.len = 0;
                s->reading = IMAP_READING_CLOSED;
        }
        if (s->queued != IMAP_EVENT_NONE) {
                ev->kind = s->queued;
                s->queued = IMAP_EVENT_NONE;
        } else if (s->reading == IMAP_READING_CLOSED) {
                ev->kind = IMAP_EVENT_CLOSE;
        } else if (s->waiting != IMAP_EVENT_NONE || s->reading == IMAP_READING_HANDSHAKE) {
                ev->kind = IMAP_EVENT_WAIT;
        } else if (s->output.len >= IMAP_SERVER_OUTPUT_PAUSE) {
                ev->kind = IMAP_EVENT_FLUSH;
        }
        return ev->kind != IMAP_EVENT_NONE;
}

size_t imap_server_feed(struct imap_server *s, struct span in, struct imap_event *ret_event)
{
        size_t used = 0;

        *ret_event = (struct imap_event) {0};
        while (!feed_due(s, ret_event)) {
                if (s->work) {
                        s->work(s, ret_event);
                } else if (s->is_shut_due && is_boundary(s)) {
                        imap_server_bye(s, s->shut_text);
                } else if (used < in.len || has_due_octets(s)) {
                        used += read_some(s, span_skip(in, used), ret_event);
                } else {
                        if (s->reading == IMAP_READING_IDLE)
                                imap_server_sync(s, true);
                        if (s->output.len < IMAP_SERVER_OUTPUT_PAUSE)
                                break;
                }
                if (ret_event->kind != IMAP_EVENT_NONE)
                        break;
                /* What a refused command left must not become part of the next one. */
                *ret_event = (struct imap_event) {0};
        }
        return used;
}

/* ---- the session ------------------------------------------------------------- */

void imap_server_shut(struct imap_server *s, const char *text)
{
        if (s->reading == IMAP_READING_CLOSED)
                return;
        free(s->shut_text);
        s->shut_text = strdup(text ? text : "The server ends");
        s->is_shut_due = true;
        if (is_boundary(s))
                imap_server_bye(s, s->shut_text);
}

struct buffer *imap_server_output(struct imap_server *s)
{
        return &s->output;
}

void imap_server_trim(struct imap_server *s)
{
        if (!is_boundary(s))
                return;
        if (s->line.len == 0)
                buffer_shrink(&s->line, IMAP_SERVER_IDLE_ROOM);
        if (s->output.len == 0)
                buffer_shrink(&s->output, IMAP_SERVER_IDLE_ROOM);
        if (s->reading == IMAP_READING_LINE)
                arena_done(&s->arena);
        arena_done(&s->message);
        buffer_done(&s->scratch);
        buffer_done(&s->header_text);
        buffer_done(&s->raw_text);
}

void imap_server_clear_message(struct imap_server *s)
{
        arena_clear(&s->message);
        buffer_clear(&s->scratch);
}

bool imap_server_is_idling(const struct imap_server *s)
{
        return s->reading == IMAP_READING_IDLE;
}
