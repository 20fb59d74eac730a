/* The maildrop: STAT, LIST, UIDL, RETR, TOP, DELE, RSET, NOOP, QUIT. */
#include <stdlib.h>

#include "base/number.h"
#include "wire/pop3/pop3_server_engine.h"

void pop3_server_answered_open(struct pop3_server *s, const struct pop3_answer *a)
{
        const size_t n = a->message_count;

        if (a->result == POP3_OK) {
                s->messages = calloc(n + 1, sizeof *s->messages);
                s->is_deleted = calloc(n + 1, sizeof *s->is_deleted);
        }
        if (a->result != POP3_OK || !s->messages || !s->is_deleted) {
                pop3_server_err(s, a->code ? a->code : "SYS/TEMP",
                                a->text ? a->text : "The maildrop cannot be opened");
                free(s->messages);
                free(s->is_deleted);
                s->messages = NULL;
                s->is_deleted = NULL;
                if (s->is_resumed)
                        s->reading = POP3_READING_CLOSED;
                return;
        }
        if (n)
                memcpy(s->messages, a->messages, n * sizeof *s->messages);
        s->count = n;
        s->uid_validity = a->uid_validity;
        s->state = POP3_STATE_TRANSACTION;
        pop3_server_ok(s, "Logged in");
}

const struct pop3_message *pop3_server_messages(const struct pop3_server *s, size_t *ret_count)
{
        *ret_count = s->count;
        return s->messages;
}

/* "7": an index of a message that is there, or -ERR was said. */
static bool find(struct pop3_server *s, struct span number, size_t *ret)
{
        uint64_t n;

        if (number_parse(number, UINT32_MAX, &n) < 0) {
                pop3_server_err(s, NULL, "Say the number of a message");
                return false;
        }
        if (n == 0 || n > s->count || s->is_deleted[n - 1]) {
                pop3_server_err(s, NULL, "No such message");
                return false;
        }
        *ret = (size_t) n - 1;
        return true;
}

static void put_pair(struct pop3_server *s, uint64_t a, uint64_t b)
{
        pop3_server_put_number(s, a);
        pop3_server_put(s, SPAN_LITERAL(" "));
        pop3_server_put_number(s, b);
}

POP3_COMMAND_FUNCTION(stat)
{
        uint64_t count = 0, octets = 0;

        for (size_t i = 0; i < s->count; i++) {
                if (!s->is_deleted[i]) {
                        count++;
                        octets += s->messages[i].size;
                }
        }
        s->errors = 0;
        pop3_server_put(s, SPAN_LITERAL("+OK "));
        put_pair(s, count, octets);
        pop3_server_put(s, SPAN_LITERAL("\r\n"));
}

/* LIST and UIDL: one line, or all. */
static void put_row(struct pop3_server *s, size_t i, bool is_uidl)
{
        put_pair(s, i + 1, is_uidl ? s->uid_validity : s->messages[i].size);
        if (is_uidl) { /* 1 to 70 printable octets that never mean another message */
                pop3_server_put(s, SPAN_LITERAL("."));
                pop3_server_put_number(s, s->messages[i].uid);
        }
        pop3_server_put(s, SPAN_LITERAL("\r\n"));
}

static void list(struct pop3_server *s, struct span argument, bool is_uidl)
{
        size_t one;

        if (argument.len) {
                if (!find(s, argument, &one))
                        return;
                s->errors = 0;
                pop3_server_put(s, SPAN_LITERAL("+OK "));
                put_row(s, one, is_uidl);
                return;
        }
        pop3_server_ok(s, "The list");
        for (size_t i = 0; i < s->count; i++)
                if (!s->is_deleted[i])
                        put_row(s, i, is_uidl);
        pop3_server_put(s, SPAN_LITERAL(".\r\n"));
}

POP3_COMMAND_FUNCTION(list)
{
        list(s, argument, false);
}

POP3_COMMAND_FUNCTION(uidl)
{
        list(s, argument, true);
}

/* ---- messages ---------------------------------------------------------------- */

static void ask(struct pop3_server *s, struct span number, struct pop3_event *ev)
{
        size_t i;

        if (!find(s, number, &i))
                return;
        ev->message = s->messages[i];
        ev->index = i;
        ev->wants_header = s->lines_left != UINT64_MAX;
        pop3_server_wait(s, ev, POP3_EVENT_BODY);
}

POP3_COMMAND_FUNCTION(retr)
{
        s->lines_left = UINT64_MAX;
        ask(s, argument, ev);
}

POP3_COMMAND_FUNCTION(top)
{
        struct span number;

        span_split(&argument, ' ', &number);
        if (number_parse(argument, UINT64_MAX - 1, &s->lines_left) < 0)
                pop3_server_err(s, NULL, "Say TOP number lines");
        else
                ask(s, number, ev);
}

void pop3_server_answered_body(struct pop3_server *s, const struct pop3_answer *a)
{
        if (a->result != POP3_OK) {
                pop3_server_err(s, a->code, a->text ? a->text : "The message is gone");
                return;
        }
        pop3_server_ok(s, "The message");
        s->copy = a->octets;
        s->in_copy = s->in_header = s->is_line_start = true;
}

POP3_COMMAND_FUNCTION(dele)
{
        size_t i;

        if (!find(s, argument, &i))
                return;
        s->is_deleted[i] = true;
        pop3_server_ok(s, "Deleted with QUIT");
}

POP3_COMMAND_FUNCTION(rset)
{
        if (s->count)
                memset(s->is_deleted, 0, s->count * sizeof *s->is_deleted);
        pop3_server_ok(s, "Nothing is deleted");
}

POP3_COMMAND_FUNCTION(noop)
{
        pop3_server_ok(s, "Done");
}

POP3_COMMAND_FUNCTION(quit)
{
        size_t n = 0;

        if (s->state == POP3_STATE_AUTHORIZATION) {
                pop3_server_ok(s, "Bye");
                s->reading = POP3_READING_CLOSED;
                return;
        }
        s->deleted = calloc(s->count + 1, sizeof *s->deleted);
        if (!s->deleted) {
                pop3_server_err(s, "SYS/TEMP", "No memory; nothing is deleted");
                s->reading = POP3_READING_CLOSED;
                return;
        }
        for (size_t i = 0; i < s->count; i++)
                if (s->is_deleted[i])
                        s->deleted[n++] = s->messages[i].uid;
        ev->deleted = s->deleted;
        ev->deleted_count = n;
        pop3_server_wait(s, ev, POP3_EVENT_UPDATE);
}
