/* `hayauma bench source`: one place for a connection, and the sessions over it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/bench_source.h"

enum {
        AGAIN_MS = 50,
        FAILURES_MAX = 400, /* 20 s of them: then nobody is there */
        SILENCE_MS = 120 * 1000,
        ENVELOPE_MAX = 1024 * 1024,
};

static void connect_slot(struct slot *s);

static void end(struct slot *s)
{
        s->stream = stream_free(s->stream);
        s->state = SLOT_ENDED;
        bench_source_slot_ended(s->source);
}

static void disconnect(struct slot *s)
{
        s->stream = stream_free(s->stream);
        s->parser = (struct smtp_reply_parser) {0};
        s->sent_here = 0;
        s->is_secure = false;
        if (!bench_source_may_begin(s->source))
                end(s);
        else
                connect_slot(s);
}

static void fail(struct slot *s, const char *what, struct span text)
{
        bench_source_error(s->source, what, 0, text);
        s->stream = stream_free(s->stream);
        if (++s->failures > FAILURES_MAX || !bench_source_may_begin(s->source)) {
                end(s);
                return;
        }
        s->state = SLOT_WAITING;
        timer_set(s->again, AGAIN_MS);
}

/* Sending. */

static void put(struct slot *s, const char *text)
{
        stream_write(s->stream, span_from_string(text));
}

static void put_envelope(struct slot *s)
{
        struct span rest = span_skip(buffer_span(&s->envelope), s->envelope_sent);
        size_t len = s->is_pipelining ? rest.len : span_find(rest, '\n') + 1;

        stream_write(s->stream, span_first(rest, len));
        s->envelope_sent += len;
}

/* "user17@example.jp", or with more domains "user17@d3.example.jp". */
static void put_address(const struct source *v, uint64_t user, struct buffer *out)
{
        if (v->domains == 0)
                buffer_printf(out, "user%" PRIu64 "@%s", user, v->domain);
        else
                buffer_printf(out, "user%" PRIu64 "@d%" PRIu64 ".%s", user, user % v->domains,
                              v->domain);
}

static void begin_message(struct slot *s)
{
        struct source *v = s->source;

        if (!bench_source_may_begin(v)
            || (v->per_connection && s->sent_here >= v->per_connection)) {
                s->state = SLOT_QUIT;
                put(s, "QUIT\r\n");
                return;
        }
        s->number = v->begun++;
        s->sent_here++;
        s->replied = s->dots = s->accepted = s->taken = 0;
        s->is_refused = false;
        s->envelope_sent = 0;
        buffer_clear(&s->envelope);
        buffer_printf(&s->envelope, "MAIL FROM:<%s>\r\n", v->mail_from);
        for (unsigned i = 0; i < v->rcpts; i++) {
                s->rcpt_users[i] = v->next_user;
                v->next_user = (v->next_user + 1) % v->users;
                buffer_append_string(&s->envelope, "RCPT TO:<");
                put_address(v, s->rcpt_users[i], &s->envelope);
                buffer_append_string(&s->envelope, ">\r\n");
        }
        buffer_append_string(&s->envelope, "DATA\r\n");
        s->state = SLOT_ENVELOPE;
        s->mail_us = clock_monotonic_us();
        put_envelope(s);
}

static void put_message(struct slot *s)
{
        struct source *v = s->source;
        char number[24], *text = v->message.data;

        snprintf(number, sizeof number, "%010" PRIu64, s->number % 10000000000u);
        memcpy(text + v->id_at + 9, number, 10);
        memcpy(text + v->message_id_at + 9, number, 10);
        stream_write(s->stream, buffer_span(&v->message));
        s->state = SLOT_DOT;
        s->dot_us = clock_monotonic_us();
}

/* Replies. */

static void error(struct slot *s, const char *what, const struct smtp_reply *reply)
{
        bench_source_error(s->source, what, reply->code, reply->text);
}

static void record(struct slot *s)
{
        struct source *v = s->source;
        struct buffer rcpts = BUFFER_INIT(ENVELOPE_MAX);
        char id[32];

        if (v->record.fd < 0)
                return;
        snprintf(id, sizeof id, "%08x-%010" PRIu64, (unsigned) v->run, s->number % 10000000000u);
        for (unsigned i = 0; i < v->rcpts; i++) {
                if (s->rcpt_users[i] == UINT64_MAX)
                        continue;
                if (rcpts.len)
                        buffer_append(&rcpts, ",", 1);
                put_address(v, s->rcpt_users[i], &rcpts);
        }
        bench_record_add(&v->record, span_from_string(id), buffer_span(&rcpts));
        buffer_done(&rcpts);
}

static void end_message(struct slot *s)
{
        struct source *v = s->source;

        if (s->taken) {
                v->last_us = clock_monotonic_us();
                bench_histogram_add(&v->reply_times, v->last_us - s->dot_us);
                bench_histogram_add(&v->transaction_times, v->last_us - s->mail_us);
                v->taken++;
                v->taken_rcpts += s->taken;
                record(s);
        }
        begin_message(s);
}

static void on_envelope(struct slot *s, const struct smtp_reply *reply)
{
        unsigned number = s->replied++, data = s->source->rcpts + 1;
        bool is_good = reply->code < 400;

        if (number == 0 && !is_good) {
                error(s, "MAIL", reply);
                s->is_refused = true;
        } else if (number > 0 && number < data) {
                s->accepted += is_good;
                if (!is_good && !s->is_refused)
                        error(s, "RCPT", reply);
                if (!is_good)
                        s->rcpt_users[number - 1] = UINT64_MAX;
        } else if (number == data && is_good && s->accepted && !s->is_refused) {
                put_message(s);
                return;
        } else if (number == data && is_good) {
                s->is_refused = true; /* taken though nobody takes it: an empty one */
                s->accepted = 1;
                s->state = SLOT_DOT;
                put(s, ".\r\n");
                return;
        } else if (number == data) {
                if (!s->is_refused && s->accepted)
                        error(s, "DATA", reply);
                s->is_refused = true;
        }
        if (s->envelope_sent < s->envelope.len && !s->is_refused
            && !(s->replied == data && s->accepted == 0)) {
                put_envelope(s);
        } else if (s->envelope_sent < s->envelope.len || s->replied > data) {
                s->state = SLOT_RSET;
                put(s, "RSET\r\n");
        }
}

/* The reply to the message; under LMTP to the next accepted recipient. */
static void on_dot(struct slot *s, const struct smtp_reply *reply)
{
        struct source *v = s->source;
        unsigned i = s->dots;
        bool is_good = reply->code < 400 && !s->is_refused;

        if (!is_good && !s->is_refused)
                error(s, "message", reply);
        if (!v->is_lmtp) {
                s->taken = is_good ? s->accepted : 0;
                end_message(s);
                return;
        }
        while (i < v->rcpts && s->rcpt_users[i] == UINT64_MAX)
                i++;
        if (is_good)
                s->taken++;
        else if (i < v->rcpts)
                s->rcpt_users[i] = UINT64_MAX;
        s->dots = i + 1;
        if (--s->accepted == 0)
                end_message(s);
}

static void on_hello(struct slot *s, const struct smtp_reply *reply)
{
        struct source *v = s->source;

        s->is_pipelining = memmem(reply->text.p, reply->text.len, "PIPELINING", 10) != NULL;
        if (v->is_starttls && !s->is_secure) {
                s->state = SLOT_STARTTLS;
                put(s, "STARTTLS\r\n");
        } else {
                s->failures = 0;
                begin_message(s);
        }
}

static void say_hello(struct slot *s)
{
        s->state = SLOT_HELLO;
        put(s, s->source->is_lmtp ? "LHLO bench.invalid\r\n" : "EHLO bench.invalid\r\n");
}

/* False: the connection is gone. */
static bool on_reply(struct slot *s, const struct smtp_reply *reply)
{
        static const char *const names[] = {
                [SLOT_GREETING] = "greeting", [SLOT_HELLO] = "EHLO", [SLOT_STARTTLS] = "STARTTLS",
                [SLOT_RSET] = "RSET"};

        if (s->state <= SLOT_STARTTLS && reply->code >= 400) {
                error(s, names[s->state], reply);
                fail(s, "session refused", reply->text);
                return false;
        }
        switch (s->state) {
        case SLOT_GREETING:
                say_hello(s);
                break;
        case SLOT_HELLO:
                on_hello(s, reply);
                break;
        case SLOT_STARTTLS:
                stream_start_tls(s->stream, s->source->tls, (struct span) {NULL, 0});
                break;
        case SLOT_ENVELOPE:
                on_envelope(s, reply);
                break;
        case SLOT_DOT:
                on_dot(s, reply);
                break;
        case SLOT_RSET:
                begin_message(s);
                break;
        case SLOT_QUIT:
                disconnect(s);
                return false;
        case SLOT_WAITING:
        case SLOT_CONNECTING:
        case SLOT_ENDED:
                break;
        }
        return true;
}

/* The stream. */

static size_t on_input(struct stream *stream, void *arg, struct span in)
{
        struct slot *s = arg;
        size_t len = in.len;

        (void) stream;
        while (in.len) {
                struct smtp_reply reply;
                size_t used;
                int r = smtp_reply_parse(&s->parser, in, &used, &reply);

                if (r < 0) {
                        fail(s, "no SMTP reply", span_first(in, 80));
                        break;
                }
                in = span_skip(in, used);
                if (r == 1 && !on_reply(s, &reply))
                        break;
        }
        return len;
}

static void on_drained(struct stream *stream, void *arg)
{
        struct slot *s = arg;

        (void) stream;
        if (s->state == SLOT_CONNECTING) {
                s->source->connections_made++;
                s->state = SLOT_GREETING;
        }
}

static void on_secured(struct stream *stream, void *arg)
{
        struct slot *s = arg;

        (void) stream;
        s->is_secure = true;
        if (s->state == SLOT_STARTTLS)
                say_hello(s);
}

static void on_closed(struct stream *stream, void *arg, int reason)
{
        struct slot *s = arg;

        if (s->state == SLOT_QUIT) {
                disconnect(s);
                return;
        }
        fail(s, s->state == SLOT_CONNECTING ? "not connected" : "connection lost",
             span_from_string(reason ? stream_error(stream) : "the server closed the connection"));
}

static const struct stream_handler handler = {
        .input = on_input, .drained = on_drained, .secured = on_secured, .closed = on_closed};

static void connect_slot(struct slot *s)
{
        struct source *v = s->source;
        const struct stream_limits limits = {.input_max = 64 * 1024,
                                             .output_max = v->message.len + ENVELOPE_MAX + 4096};
        bool connecting;
        int fd, r = endpoint_connect(&v->to, NULL, &fd, &connecting);

        if (r == 0) {
                r = stream_new_connecting(v->loop, fd, &limits, &handler, s, &s->stream);
                if (r < 0)
                        close(fd);
        }
        if (r < 0) {
                fail(s, "not connected", span_from_string(strerror(-r)));
                return;
        }
        s->state = SLOT_CONNECTING;
        s->parser = (struct smtp_reply_parser) {0};
        s->sent_here = 0;
        s->is_secure = false;
        stream_set_idle_timeout(s->stream, SILENCE_MS);
        if (v->tls && !v->is_starttls)
                stream_start_tls(s->stream, v->tls, (struct span) {NULL, 0});
}

static void on_again(void *arg)
{
        connect_slot(arg);
}

int bench_slot_start(struct slot *s, struct source *v)
{
        int r;

        *s = (struct slot) {.source = v, .envelope = BUFFER_INIT(ENVELOPE_MAX)};
        s->rcpt_users = calloc(v->rcpts, sizeof *s->rcpt_users);
        if (!s->rcpt_users)
                return -ENOMEM;
        r = timer_new(v->loop, on_again, s, &s->again);
        if (r < 0)
                return r;
        connect_slot(s);
        return 0;
}

void bench_slot_end_waiting(struct slot *s)
{
        if (s->source && s->state == SLOT_WAITING) {
                timer_stop(s->again);
                end(s);
        }
}

void bench_slot_done(struct slot *s)
{
        stream_free(s->stream);
        timer_free(s->again);
        buffer_done(&s->envelope);
        free(s->rcpt_users);
}
