#include "wire/smtp/smtp_client.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/smtp/smtp_client_private.h"

enum {
        OUTPUT_MAX = 16 * 1024 * 1024, /* the role keeps it small; this ends a mistake */
        BODY_STEP = 16 * 1024,         /* encoded at once: the output grows by twice that */
};

struct smtp_client *smtp_client_new(const struct smtp_client_options *o)
{
        struct smtp_client *c = calloc(1, sizeof *c);

        if (!c)
                return NULL;
        c->options = *o;
        c->output = BUFFER_INIT(OUTPUT_MAX);
        return c;
}

struct smtp_client *smtp_client_free(struct smtp_client *c)
{
        if (!c)
                return NULL;
        buffer_done(&c->output);
        free(c->transactions[0].status);
        free(c->transactions[1].status);
        free(c);
        return NULL;
}

/* Failing. */

void smtp_client_fail(struct smtp_client *c, const struct smtp_reply *reply)
{
        if (c->is_failed)
                return;
        c->is_failed = true;
        c->failure = *reply;
        c->tell_ready = c->tell_starttls = false;
        c->tell_login = SMTP_CLIENT_NONE;
        c->tell_over = true;
}

void smtp_client_fail_text(struct smtp_client *c, const char *format, ...)
{
        va_list args;

        if (c->is_failed)
                return;
        va_start(args, format);
        vsnprintf(c->failure_text, sizeof c->failure_text, format, args);
        va_end(args);
        smtp_client_fail(c, &(const struct smtp_reply) {
                .text = span_from_string(c->failure_text), .is_ours = true});
}

void smtp_client_fail_reply(struct smtp_client *c, const struct smtp_reply *reply)
{
        struct span rest = reply->text, line = rest;

        if (reply->code >= 400 && c->count == 0 && c->state != SESSION_OPEN) {
                smtp_client_fail(c, reply); /* refused before any mail: its own words */
                return;
        }
        span_split(&rest, '\n', &line);
        smtp_client_fail_text(c, "the host broke the protocol while we waited for %s: %u %.*s",
                              smtp_client_stage_text(smtp_client_stage(c)), reply->code,
                              (int) (line.len < 200 ? line.len : 200), line.p);
}

void smtp_client_lost(struct smtp_client *c, const char *text)
{
        smtp_client_fail_text(c, "%s", text);
}

void smtp_client_put(struct smtp_client *c, struct span s)
{
        if (buffer_append_span(&c->output, s) < 0)
                smtp_client_fail_text(c, "there is no memory for what we had to say");
}

void smtp_client_put_text(struct smtp_client *c, const char *s)
{
        smtp_client_put(c, span_from_string(s));
}

/* Transactions. */

bool smtp_client_may_send(const struct smtp_client *c)
{
        const struct transaction *first = &c->transactions[c->first];

        if (c->state != SESSION_OPEN || c->is_failed)
                return false;
        if (c->count == 0)
                return true;
        /* RFC 2920: commands may follow the end of a body. Not behind an empty
         * message that stands for none, whose reply may be anything. */
        return c->count == 1 && c->offers & SMTP_CLIENT_OFFER_PIPELINING
               && first->phase == PHASE_DOT && first->accepted > 0;
}

static int reserve_status(struct transaction *t, size_t count)
{
        uint8_t *status;

        if (count <= t->status_room)
                return 0;
        status = realloc(t->status, count);
        if (!status)
                return -ENOMEM;
        t->status = status;
        t->status_room = count;
        return 0;
}

/* The first transaction begins, or the next behind one whose body is sent. */
static void begin(struct smtp_client *c, struct transaction *t)
{
        smtp_client_mail_check(c, t);
        smtp_client_mail_choose_bdat(c, t);
        c->had_transaction = true;
        if (t->refusal.code)
                t->phase = PHASE_FINISHED; /* answered when it is the first */
        else
                smtp_client_mail_commands(c, t);
}

int smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *m)
{
        struct transaction *t = &c->transactions[(c->first + c->count) % 2];
        int r;

        assert(smtp_client_may_send(c) && m->rcpt_count > 0);
        r = reserve_status(t, m->rcpt_count);
        if (r < 0)
                return r;
        memset(t->status, RCPT_OPEN, m->rcpt_count);
        *t = (struct transaction) {
                .mail = *m, .status = t->status, .status_room = t->status_room};
        c->count++;
        begin(c, t);
        return 0;
}

int smtp_client_body(struct smtp_client *c, struct span octets)
{
        struct transaction *t = smtp_client_first(c);

        if (c->is_failed)
                return 0; /* events say so */
        assert(t && smtp_client_wants_body(c));
        if (t->is_bdat)
                return buffer_append_span(&c->output, octets) < 0 ? -ENOMEM : 0;
        while (octets.len) {
                struct span step = span_first(octets, BODY_STEP);
                char *out;
                int r = buffer_reserve(&c->output, DOT_ENCODE_OUT_MAX(step.len), &out);

                if (r < 0)
                        return -ENOMEM;
                buffer_commit(&c->output, dot_encode(&c->dots, step, out));
                octets = span_skip(octets, step.len);
        }
        return 0;
}

int smtp_client_body_end(struct smtp_client *c)
{
        struct transaction *t = smtp_client_first(c);
        char *out;

        if (c->is_failed)
                return 0;
        assert(t && smtp_client_wants_body(c));
        if (t->is_bdat) {
                t->is_body_sent = true;
                if (t->phase == PHASE_BODY)
                        t->phase = PHASE_DOT;
                return 0;
        }
        if (buffer_reserve(&c->output, DOT_ENCODE_END_MAX, &out) < 0)
                return -ENOMEM;
        buffer_commit(&c->output, dot_encode_end(&c->dots, out));
        t->phase = PHASE_DOT;
        return 0;
}

void smtp_client_secured(struct smtp_client *c)
{
        assert(c->state == SESSION_TLS);
        c->parser = (struct smtp_reply_parser) {0};
        buffer_clear(&c->output);
        c->offers = 0;
        c->mechanisms[0] = '\0';
        c->is_secured = true;
        smtp_client_hello(c);
}

void smtp_client_quit(struct smtp_client *c)
{
        if (c->is_failed || c->state != SESSION_OPEN || c->count)
                return;
        c->state = SESSION_QUIT;
        smtp_client_put_text(c, "QUIT\r\n");
}

/* Events. */

static bool emit_next(struct smtp_client *c, struct transaction *t, struct smtp_client_event *ret)
{
        enum rcpt_status least = c->emit == EMIT_ACCEPTED ? RCPT_ACCEPTED : RCPT_OPEN;

        for (size_t i = c->emit_next; i < t->mail.rcpt_count; i++) {
                if (t->status[i] == RCPT_ANSWERED || t->status[i] < least)
                        continue;
                t->status[i] = RCPT_ANSWERED;
                c->emit_next = c->emit == EMIT_ONE ? SIZE_MAX : i + 1;
                *ret = (struct smtp_client_event) {SMTP_CLIENT_RESULT, t->mail.tag, i,
                                                   c->emit_reply};
                return true;
        }
        c->emit = EMIT_NOTHING;
        return false;
}

/* What is left of the first transaction when the session has failed. */
static void fail_transaction(struct smtp_client *c, struct transaction *t)
{
        /* A message that left with its envelope may have been taken. */
        bool is_untouched = t->replied == 0 && t->phase <= PHASE_COMMANDS && !t->is_body_asked;

        if (t->phase == PHASE_FINISHED)
                return;
        if (is_untouched) {
                t->is_returned = true;
        } else {
                c->emit = EMIT_ALL;
                c->emit_next = 0;
                c->emit_reply = c->failure;
        }
        t->phase = PHASE_FINISHED;
}

static bool finish_transaction(struct smtp_client *c, struct transaction *t,
                               struct smtp_client_event *ret)
{
        if (t->refusal.code) {
                c->emit = EMIT_ALL;
                c->emit_next = 0;
                c->emit_reply = t->refusal;
                t->refusal.code = 0;
                return emit_next(c, t, ret);
        }
        *ret = (struct smtp_client_event) {.kind = SMTP_CLIENT_DONE, .tag = t->mail.tag};
        if (t->is_returned) {
                ret->kind = SMTP_CLIENT_RETURNED;
                ret->reply = c->failure;
        } else {
                c->done_count++;
        }
        c->first = (c->first + 1) % 2;
        c->count--;
        return true;
}

static bool transaction_event(struct smtp_client *c, struct smtp_client_event *ret)
{
        struct transaction *t = smtp_client_first(c);

        if (!t)
                return false;
        if (c->emit != EMIT_NOTHING && emit_next(c, t, ret))
                return true;
        if (c->is_failed)
                fail_transaction(c, t);
        if (c->emit != EMIT_NOTHING && emit_next(c, t, ret))
                return true;
        if (t->phase == PHASE_FINISHED)
                return finish_transaction(c, t, ret);
        if ((t->phase == PHASE_BODY || t->is_bdat_sent) && !t->is_body_asked) {
                t->is_body_asked = true;
                *ret = (struct smtp_client_event) {.kind = SMTP_CLIENT_BODY, .tag = t->mail.tag};
                return true;
        }
        return false;
}

static bool session_event(struct smtp_client *c, struct smtp_client_event *ret)
{
        *ret = (struct smtp_client_event) {.kind = SMTP_CLIENT_NONE};
        if (c->tell_starttls) {
                c->tell_starttls = false;
                ret->kind = SMTP_CLIENT_STARTTLS;
        } else if (c->tell_login != SMTP_CLIENT_NONE) {
                ret->kind = c->tell_login;
                ret->reply.text = c->login_text;
                c->tell_login = SMTP_CLIENT_NONE;
        } else if (c->tell_ready) {
                c->tell_ready = false;
                ret->kind = SMTP_CLIENT_READY;
        } else if (c->tell_over) {
                c->tell_over = false;
                c->state = SESSION_END;
                ret->kind = SMTP_CLIENT_OVER;
                ret->reply = c->failure;
        }
        return ret->kind != SMTP_CLIENT_NONE;
}

static void on_rset(struct smtp_client *c, const struct smtp_reply *reply)
{
        struct transaction *t = smtp_client_first(c);

        c->rsets--;
        if (reply->code / 100 != 2)
                smtp_client_fail_reply(c, reply);
        else if (t)
                smtp_client_mail_commands(c, t);
}

static void on_reply(struct smtp_client *c, const struct smtp_reply *reply)
{
        struct transaction *t = smtp_client_first(c);

        if (c->rsets && reply->code != 421)
                on_rset(c, reply);
        else if (t)
                smtp_client_mail_reply(c, t, reply);
        else
                smtp_client_session_reply(c, reply);
}

size_t smtp_client_feed(struct smtp_client *c, struct span in, struct smtp_client_event *ret_event)
{
        size_t used_all = 0;

        for (;;) {
                struct smtp_reply reply;
                size_t used;
                int r;

                if (transaction_event(c, ret_event) || session_event(c, ret_event))
                        return used_all;
                if (c->is_failed || c->state == SESSION_TLS)
                        return used_all + in.len; /* nobody listens any more */
                r = smtp_reply_parse(&c->parser, in, &used, &reply);
                if (r == 0)
                        return used_all + in.len; /* `ret_event` is NONE */
                if (r < 0) {
                        smtp_client_fail_text(c, r == -EMSGSIZE
                                              ? "the host's reply has no end (%s)"
                                              : "the host sent no SMTP reply (%s)",
                                              smtp_client_stage_text(smtp_client_stage(c)));
                        continue;
                }
                used_all += used;
                in = span_skip(in, used);
                on_reply(c, &reply);
        }
}

/* Questions. */

struct buffer *smtp_client_output(struct smtp_client *c)
{
        return &c->output;
}

static enum smtp_client_stage transaction_stage(const struct transaction *t)
{
        switch (t->phase) {
        case PHASE_WAITING:
        case PHASE_COMMANDS:
                if (t->replied == 0)
                        return SMTP_CLIENT_AT_MAIL;
                return t->replied <= t->mail.rcpt_count ? SMTP_CLIENT_AT_RCPT
                                                        : SMTP_CLIENT_AT_DATA;
        case PHASE_BODY:
                return SMTP_CLIENT_AT_BODY;
        case PHASE_DOT:
        case PHASE_FINISHED:
                break;
        }
        return SMTP_CLIENT_AT_DOT;
}

bool smtp_client_wants_body(const struct smtp_client *c)
{
        const struct transaction *t = c->count ? &c->transactions[c->first] : NULL;

        if (!t || c->is_failed || !t->is_body_asked)
                return false;
        return t->phase == PHASE_BODY ||
               (t->phase == PHASE_COMMANDS && t->is_bdat_sent && !t->is_body_sent);
}

enum smtp_client_stage smtp_client_stage(const struct smtp_client *c)
{
        switch (c->state) {
        case SESSION_GREETING:
                return SMTP_CLIENT_AT_GREETING;
        case SESSION_EHLO:
        case SESSION_HELO:
                return SMTP_CLIENT_AT_HELLO;
        case SESSION_STARTTLS:
        case SESSION_TLS:
                return SMTP_CLIENT_AT_STARTTLS;
        case SESSION_LOGIN:
        case SESSION_AUTH:
                return SMTP_CLIENT_AT_LOGIN;
        case SESSION_OPEN:
                return c->count ? transaction_stage(&c->transactions[c->first])
                                : SMTP_CLIENT_AT_IDLE;
        case SESSION_QUIT:
                return SMTP_CLIENT_AT_QUIT;
        case SESSION_END:
                break;
        }
        return SMTP_CLIENT_AT_END;
}

const char *smtp_client_stage_text(enum smtp_client_stage stage)
{
        static const char *const texts[] = {
                [SMTP_CLIENT_AT_GREETING] = "the greeting",
                [SMTP_CLIENT_AT_HELLO] = "the reply to EHLO",
                [SMTP_CLIENT_AT_STARTTLS] = "the reply to STARTTLS",
                [SMTP_CLIENT_AT_LOGIN] = "the end of the login",
                [SMTP_CLIENT_AT_IDLE] = "the next message",
                [SMTP_CLIENT_AT_MAIL] = "the reply to MAIL",
                [SMTP_CLIENT_AT_RCPT] = "the reply to RCPT",
                [SMTP_CLIENT_AT_DATA] = "the reply to DATA",
                [SMTP_CLIENT_AT_BODY] = "the message to be taken",
                [SMTP_CLIENT_AT_DOT] = "the reply to the end of the message",
                [SMTP_CLIENT_AT_QUIT] = "the reply to QUIT",
                [SMTP_CLIENT_AT_END] = "nothing",
        };

        return texts[stage];
}

unsigned smtp_client_offers(const struct smtp_client *c)
{
        return c->offers;
}

uint64_t smtp_client_transactions(const struct smtp_client *c)
{
        return c->done_count;
}
