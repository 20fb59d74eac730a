/* `hayauma bench sink`: an SMTP or LMTP server that takes everything. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "ctl/bench.h"
#include "ctl/console.h"
#include "net/endpoint.h"
#include "net/stream.h"

enum {
        HEAD_MAX = 16 * 1024, /* of a message, in which its id is looked for */
        RCPTS_TEXT_MAX = 1024 * 1024,
        LINE_MAX_LEN = 4096,
};

struct sink {
        struct loop *loop;
        struct poller *poller;
        int fd;
        bool is_lmtp, is_json;
        uint64_t delay_ms, fail_rcpt, tempfail, messages_max;
        uint64_t dice; /* state of the pseudo-random numbers */
        struct bench_record record;
        uint64_t connections, messages, recipients, octets, refused_rcpts, refused_messages;
        uint64_t first_us, last_us;
        struct list_node sessions;
};

struct session {
        struct list_node node;
        struct sink *sink;
        struct stream *stream;
        struct timer *delay;
        bool is_in_data;
        unsigned accepted;   /* recipients */
        char tail[4];        /* the last octets of the message so far */
        struct buffer head;  /* kept while there is a record to be written */
        struct buffer rcpts; /* "a@x,b@x" */
};

static void say(struct session *s, const char *text)
{
        stream_write(s->stream, span_from_string(text));
}

static bool is_hit(struct sink *v, uint64_t percent)
{
        if (percent == 0)
                return false;
        v->dice = v->dice * 6364136223846793005u + 1442695040888963407u;
        return (v->dice >> 33) % 100 < percent;
}

static void session_free(struct session *s)
{
        stream_free(s->stream);
        timer_free(s->delay);
        list_remove(&s->node);
        buffer_done(&s->head);
        buffer_done(&s->rcpts);
        free(s);
}

/* Commands. */

static void add_rcpt(struct session *s, struct span line)
{
        size_t open = span_find(line, '<'), close;

        if (s->sink->record.fd < 0 || open == SIZE_MAX)
                return;
        line = span_skip(line, open + 1);
        close = span_find(line, '>');
        if (s->rcpts.len)
                buffer_append(&s->rcpts, ",", 1);
        buffer_append_span(&s->rcpts, span_first(line, close == SIZE_MAX ? line.len : close));
}

static void on_rcpt(struct session *s, struct span line)
{
        if (is_hit(s->sink, s->sink->fail_rcpt)) {
                s->sink->refused_rcpts++;
                say(s, "550 5.1.1 nobody of that name\r\n");
                return;
        }
        s->accepted++;
        add_rcpt(s, line);
        say(s, "250 2.1.5 ok\r\n");
}

static void forget(struct session *s)
{
        s->accepted = 0;
        buffer_clear(&s->head);
        buffer_clear(&s->rcpts);
}

static void on_data(struct session *s)
{
        if (!s->accepted) {
                say(s, "503 5.5.1 no recipients\r\n");
                return;
        }
        s->is_in_data = true;
        memcpy(s->tail, "\0\0\r\n", 4); /* the end of the command begins the first line */
        say(s, "354 go on\r\n");
}

static void on_line(struct session *s, struct span line)
{
        struct span verb = span_first(line, 4);

        if (span_equal_nocase(verb, SPAN_LITERAL("RCPT"))) {
                on_rcpt(s, line);
        } else if (span_equal_nocase(verb, SPAN_LITERAL("MAIL"))) {
                forget(s);
                say(s, "250 2.1.0 ok\r\n");
        } else if (span_equal_nocase(verb, SPAN_LITERAL("DATA"))) {
                on_data(s);
        } else if (span_equal_nocase(verb, SPAN_LITERAL("EHLO"))
                   || span_equal_nocase(verb, SPAN_LITERAL("LHLO"))) {
                forget(s);
                say(s, "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
                       "250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 0\r\n");
        } else if (span_equal_nocase(verb, SPAN_LITERAL("QUIT"))) {
                say(s, "221 2.0.0 bye\r\n");
                stream_finish(s->stream, 1000);
        } else {
                if (span_equal_nocase(verb, SPAN_LITERAL("RSET")))
                        forget(s);
                say(s, "250 2.0.0 ok\r\n");
        }
}

/* Messages. */

static void write_record(struct session *s)
{
        struct span head = buffer_span(&s->head), name = SPAN("X-Bench-Id: ");
        const char *at = memmem(head.p, head.len, name.p, name.len);
        struct span id = SPAN("-");

        if (at) {
                id = span_skip(head, (size_t) (at - head.p) + name.len);
                id = span_trim(span_first(id, span_find(id, '\n')));
        }
        bench_record_add(&s->sink->record, id, buffer_span(&s->rcpts));
}

static void answer(struct session *s)
{
        struct sink *v = s->sink;
        bool is_refused = is_hit(v, v->tempfail);
        unsigned replies = v->is_lmtp ? s->accepted : 1;

        if (is_refused) {
                v->refused_messages++;
        } else {
                v->messages++;
                v->recipients += s->accepted;
                v->last_us = clock_monotonic_us();
                if (v->first_us == 0)
                        v->first_us = v->last_us;
                if (v->record.fd >= 0)
                        write_record(s);
        }
        for (unsigned i = 0; i < replies; i++)
                say(s, is_refused ? "451 4.3.0 not now\r\n" : "250 2.0.0 taken\r\n");
        forget(s);
        if (v->messages_max && v->messages >= v->messages_max)
                loop_stop(v->loop);
}

static void on_delay(void *arg)
{
        struct session *s = arg;

        answer(s);
        stream_resume(s->stream);
}

static void on_end(struct session *s)
{
        s->is_in_data = false;
        if (!s->delay) {
                answer(s);
                return;
        }
        stream_pause(s->stream);
        timer_set(s->delay, s->sink->delay_ms);
}

/* Octets up to and with CRLF "." CRLF, which may have begun in the octets
 * before; SIZE_MAX: it does not end in here. */
static size_t find_end(const struct session *s, struct span in)
{
        static const char end[5] = {'\r', '\n', '.', '\r', '\n'};
        char seam[8];
        size_t more = in.len < 4 ? in.len : 4;
        const char *at;

        memcpy(seam, s->tail, 4);
        memcpy(seam + 4, in.p, more);
        at = memmem(seam, 4 + more, end, 5);
        if (at)
                return (size_t) (at - seam) + 5 - 4;
        at = memmem(in.p, in.len, end, 5);
        return at ? (size_t) (at - in.p) + 5 : SIZE_MAX;
}

static void keep_tail(struct session *s, struct span in)
{
        if (in.len >= 4) {
                memcpy(s->tail, in.p + in.len - 4, 4);
        } else {
                memmove(s->tail, s->tail + in.len, 4 - in.len);
                memcpy(s->tail + 4 - in.len, in.p, in.len);
        }
}

static size_t on_message(struct session *s, struct span in)
{
        size_t end = find_end(s, in);
        struct span octets = span_first(in, end);

        s->sink->octets += octets.len;
        if (s->sink->record.fd >= 0)
                buffer_append_span(&s->head, span_first(octets, buffer_room(&s->head)));
        if (end != SIZE_MAX)
                on_end(s);
        else
                keep_tail(s, octets);
        return octets.len;
}

static size_t on_input(struct stream *stream, void *arg, struct span in)
{
        struct session *s = arg;
        size_t used = 0;

        (void) stream;
        while (used < in.len && !(s->delay && timer_is_set(s->delay))) {
                struct span rest = span_skip(in, used);
                size_t end;

                if (s->is_in_data) {
                        used += on_message(s, rest);
                        continue;
                }
                end = span_find(rest, '\n');
                if (end == SIZE_MAX)
                        return rest.len > LINE_MAX_LEN ? in.len : used;
                used += end + 1;
                on_line(s, span_trim(span_first(rest, end)));
        }
        return used;
}

static void on_closed(struct stream *stream, void *arg, int reason)
{
        (void) stream;
        (void) reason;
        session_free(arg);
}

static const struct stream_handler handler = {.input = on_input, .closed = on_closed};
static const struct stream_limits limits = {.input_max = 64 * 1024, .output_max = 1024 * 1024};

static void accept_one(struct sink *v, int fd)
{
        struct session *s = calloc(1, sizeof *s);

        if (!s || stream_new(v->loop, fd, &limits, &handler, s, &s->stream) < 0) {
                free(s);
                close(fd);
                return;
        }
        s->sink = v;
        s->head = BUFFER_INIT(HEAD_MAX);
        s->rcpts = BUFFER_INIT(RCPTS_TEXT_MAX);
        list_append(&v->sessions, &s->node);
        if (v->delay_ms && timer_new(v->loop, on_delay, s, &s->delay) < 0) {
                session_free(s);
                return;
        }
        v->connections++;
        say(s, "220 sink ESMTP\r\n");
}

static void on_accept(void *arg, int events)
{
        struct sink *v = arg;
        int fd;

        (void) events;
        while (endpoint_accept(v->fd, &fd, NULL) == 0)
                accept_one(v, fd);
}

/* The command. */

static void report(const struct sink *v, uint64_t cpu_us)
{
        double seconds = (double) (v->last_us - v->first_us) / 1e6;
        double rate = seconds > 0 ? (double) v->messages / seconds : 0;
        double cpu = v->messages ? (double) cpu_us / (double) v->messages : 0;

        if (v->is_json) {
                console_json(json_pack(
                        "{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f}",
                        "messages", (json_int_t) v->messages,
                        "recipients", (json_int_t) v->recipients,
                        "octets", (json_int_t) v->octets,
                        "connections", (json_int_t) v->connections,
                        "refused_recipients", (json_int_t) v->refused_rcpts,
                        "refused_messages", (json_int_t) v->refused_messages,
                        "seconds", seconds, "rate", rate, "cpu_us_per_message", cpu));
                return;
        }
        printf("%" PRIu64 " messages, %" PRIu64 " recipients, %" PRIu64 " octets over %" PRIu64
               " connections in %.3f s: %.0f a second\n",
               v->messages, v->recipients, v->octets, v->connections, seconds, rate);
        if (v->refused_rcpts || v->refused_messages)
                printf("refused: %" PRIu64 " recipients, %" PRIu64 " messages\n", v->refused_rcpts,
                       v->refused_messages);
        printf("%.1f us of CPU a message\n", cpu);
}

static int listen_at(struct sink *v, const char *text)
{
        struct endpoint at;
        char out[ENDPOINT_TEXT_MAX];
        int r;

        if (!text || endpoint_parse(span_from_string(text), &at) < 0)
                return console_fail(EX_USAGE, "--listen wants ADDRESS:PORT or unix:/path");
        r = endpoint_listen(&at, false, 1024, &v->fd);
        if (r == 0)
                r = poller_new(v->loop, v->fd, on_accept, v, &v->poller);
        if (r < 0)
                return console_fail(EX_UNAVAILABLE, "cannot listen on %s: %s", text, strerror(-r));
        poller_set(v->poller, POLL_READ);
        if (endpoint_of_socket(v->fd, &at) == 0)
                fprintf(stderr, "hayauma bench sink: listens on %s\n", endpoint_format(&at, out));
        return EX_OK;
}

static void on_signal(void *arg, int signal_number)
{
        (void) signal_number;
        loop_stop(arg);
}

static int serve(struct sink *v, const char *listen, const char *record)
{
        struct signal_watch *term = NULL, *interrupt = NULL;
        int status = bench_record_open(&v->record, v->loop, record);

        if (status == EX_OK)
                status = listen_at(v, listen);
        if (status != EX_OK)
                return status;
        signal_watch_new(v->loop, SIGTERM, on_signal, v->loop, &term);
        signal_watch_new(v->loop, SIGINT, on_signal, v->loop, &interrupt);
        loop_run(v->loop);
        loop_run_once(v->loop, 0); /* the last replies leave */
        report(v, bench_cpu_us());
        signal_watch_free(term);
        signal_watch_free(interrupt);
        LIST_FOR_EACH(node, &v->sessions)
                session_free(LIST_OBJECT(node, struct session, node));
        poller_free(v->poller);
        close(v->fd);
        bench_record_close(&v->record);
        return EX_OK;
}

int bench_sink_run(int argc, char **argv)
{
        struct sink v = {.dice = 1};
        const char *listen = NULL, *delay = NULL, *fail_rcpt = NULL, *tempfail = NULL;
        const char *messages = NULL, *record = NULL;
        const struct console_option options[] = {
                {"listen", false, &listen, NULL},       {"lmtp", false, NULL, &v.is_lmtp},
                {"delay", false, &delay, NULL},         {"fail-rcpt", false, &fail_rcpt, NULL},
                {"tempfail", false, &tempfail, NULL},   {"messages", false, &messages, NULL},
                {"record", false, &record, NULL},       CONSOLE_OPTION_JSON(&v.is_json),
        };
        int words, status;

        console_set_name("hayauma bench sink");
        words = console_options(argc, argv, options, sizeof options / sizeof options[0]);
        if (words < 0)
                return EX_USAGE;
        if (words > 0)
                return console_fail(EX_USAGE, "there is an argument too many: %s", argv[1]);
        if (!bench_number("delay", delay, 3600 * 1000, &v.delay_ms)
            || !bench_number("fail-rcpt", fail_rcpt, 100, &v.fail_rcpt)
            || !bench_number("tempfail", tempfail, 100, &v.tempfail)
            || !bench_number("messages", messages, UINT64_MAX, &v.messages_max))
                return EX_USAGE;
        list_init(&v.sessions);
        v.loop = loop_new();
        if (!v.loop)
                return console_fail(EX_OSERR, "there is no memory");
        status = serve(&v, listen, record);
        if (status == EX_OK)
                loop_free(v.loop);
        return status;
}
