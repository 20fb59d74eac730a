/* `hayauma bench source`: sends messages and measures how they are taken. */
#include "ctl/bench_source.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "base/hash.h"
#include "ctl/console.h"

enum { CONNECTIONS_MAX = 20000, RCPTS_MAX = 20000, LATE_MS = 30 * 1000 };

/* Options. */

struct words {
        const char *to, *tls, *connections, *per_connection, *messages, *seconds, *size;
        const char *users, *domains, *rcpts, *record;
};

static bool parse_numbers(struct source *v, const struct words *w)
{
        uint64_t connections = 1, rcpts = 1, seconds = 0;

        v->per_connection = 100;
        v->messages_max = 1000;
        v->size = 4096;
        v->users = 1;
        if (!bench_number("connections", w->connections, CONNECTIONS_MAX, &connections)
            || !bench_number("per-connection", w->per_connection, UINT64_MAX, &v->per_connection)
            || !bench_number("messages", w->messages, UINT64_MAX, &v->messages_max)
            || !bench_number("seconds", w->seconds, 100000, &seconds)
            || !bench_size("size", w->size, &v->size)
            || !bench_number("users", w->users, UINT32_MAX, &v->users)
            || !bench_number("domains", w->domains, UINT32_MAX, &v->domains)
            || !bench_number("rcpt-per-message", w->rcpts, RCPTS_MAX, &rcpts))
                return false;
        if (w->seconds && !w->messages)
                v->messages_max = UINT64_MAX;
        v->run_ms = seconds * 1000;
        v->connection_count = (unsigned) (connections ? connections : 1);
        v->rcpts = (unsigned) (rcpts ? rcpts : 1);
        v->users = v->users ? v->users : 1;
        return true;
}

static int parse_words(struct source *v, const struct words *w)
{
        char error[TLS_ERROR_MAX];

        if (!w->to || endpoint_parse(span_from_string(w->to), &v->to) < 0)
                return console_fail(EX_USAGE, "--to wants ADDRESS:PORT or unix:/path");
        if (!parse_numbers(v, w))
                return EX_USAGE;
        if (!w->tls)
                return EX_OK;
        v->is_starttls = strcmp(w->tls, "starttls") == 0;
        if (!v->is_starttls && strcmp(w->tls, "implicit") != 0)
                return console_fail(EX_USAGE, "--tls is starttls or implicit");
        if (tls_context_new_client((struct span) {NULL, 0}, &v->tls, error) < 0)
                return console_fail(EX_SOFTWARE, "TLS cannot be used: %s", error);
        return EX_OK;
}

/* The message: made once; only the id in it changes. */
static int make_message(struct source *v)
{
        char date[CLOCK_DATE_MAX];
        const char *line = "This line has seventy-six octets, so that with CRLF there are "
                           "78 of it.....\r\n";
        struct buffer *b = &v->message;
        int r;

        *b = BUFFER_INIT(v->size + 4096);
        v->run = (uint32_t) (hash_seed() >> 16);
        r = buffer_printf(b, "X-Bench-Id: ");
        v->id_at = b->len;
        r |= buffer_printf(b, "%08x-%010u\r\nMessage-ID: <", (unsigned) v->run, 0U);
        v->message_id_at = b->len;
        r |= buffer_printf(b, "%08x-%010u@bench.invalid>\r\nDate: %s\r\nFrom: <%s>\r\n"
                           "To: bench: ;\r\nSubject: bench\r\n\r\n", (unsigned) v->run, 0U,
                           clock_format_date(clock_now_us(), date), v->mail_from);
        while (r == 0 && b->len + strlen(line) <= v->size)
                r = buffer_append_string(b, line);
        while (r == 0 && b->len + 2 < v->size)
                r = buffer_append(b, "x", 1);
        if (r == 0 && b->data[b->len - 1] != '\n')
                r = buffer_append(b, "\r\n", 2);
        if (r == 0)
                r = buffer_append(b, ".\r\n", 3);
        return r;
}

/* Errors, by what was refused and how. */
void bench_source_error(struct source *v, const char *what, unsigned code, struct span text)
{
        char key[32];
        size_t i = 0;

        if (code)
                snprintf(key, sizeof key, "%s %u", what, code);
        else
                snprintf(key, sizeof key, "%s", what);
        v->errors++;
        while (i < v->tally_count && strcmp(v->tallies[i].key, key) != 0)
                i++;
        if (i == v->tally_count) {
                if (i == BENCH_TALLIES_MAX)
                        return;
                v->tally_count++;
                snprintf(v->tallies[i].key, sizeof v->tallies[i].key, "%s", key);
                snprintf(v->tallies[i].text, sizeof v->tallies[i].text, "%.*s",
                         (int) (text.len < 200 ? text.len : 200), text.p ? text.p : "");
        }
        v->tallies[i].count++;
}

/* The report. */

static double ms_at(const struct bench_histogram *h, double share)
{
        return (double) bench_histogram_at(h, share) / 1000;
}

static void add_json(json_t *o, const char *prefix, const struct bench_histogram *h)
{
        static const struct {
                const char *name;
                double share;
        } points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}};

        for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
                char key[64];

                snprintf(key, sizeof key, "%s%s_ms", prefix, points[i].name);
                json_object_set_new(o, key, json_real(points[i].share < 1
                        ? ms_at(h, points[i].share) : (double) h->max_us / 1000));
        }
}

static void report_json(const struct source *v, double seconds, double rate, double cpu)
{
        json_t *o = json_object(), *errors = json_object();

        for (size_t i = 0; i < v->tally_count; i++)
                json_object_set_new(errors, v->tallies[i].key,
                                    json_pack("{s:I, s:o}", "count",
                                              (json_int_t) v->tallies[i].count, "text",
                                              json_string_nocheck(v->tallies[i].text)));
        json_object_set_new(o, "messages", json_integer((json_int_t) v->taken));
        json_object_set_new(o, "recipients", json_integer((json_int_t) v->taken_rcpts));
        json_object_set_new(o, "attempted", json_integer((json_int_t) v->begun));
        json_object_set_new(o, "connections", json_integer((json_int_t) v->connections_made));
        json_object_set_new(o, "seconds", json_real(seconds));
        json_object_set_new(o, "rate", json_real(rate));
        add_json(o, "", &v->reply_times);
        add_json(o, "transaction_", &v->transaction_times);
        json_object_set_new(o, "cpu_us_per_message", json_real(cpu));
        json_object_set_new(o, "error_count", json_integer((json_int_t) v->errors));
        json_object_set_new(o, "errors", errors);
        console_json(o);
}

static void report_times(const char *name, const struct bench_histogram *h)
{
        printf("%s, ms: p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  max %.3f\n", name, ms_at(h, 0.5),
               ms_at(h, 0.9), ms_at(h, 0.99), ms_at(h, 0.999), (double) h->max_us / 1000);
}

static void report(const struct source *v)
{
        double seconds = (double) (v->last_us - v->first_us) / 1e6;
        double rate = seconds > 0 ? (double) v->taken / seconds : 0;
        double cpu = v->taken ? (double) bench_cpu_us() / (double) v->taken : 0;

        if (v->is_json) {
                report_json(v, seconds, rate, cpu);
                return;
        }
        printf("%" PRIu64 " messages to %" PRIu64 " recipients over %" PRIu64
               " connections in %.3f s: %.0f a second\n",
               v->taken, v->taken_rcpts, v->connections_made, seconds, rate);
        report_times("end of message to reply", &v->reply_times);
        report_times("MAIL to reply", &v->transaction_times);
        for (size_t i = 0; i < v->tally_count; i++) {
                printf("%" PRIu64 " x %s ", v->tallies[i].count, v->tallies[i].key);
                console_text(span_from_string(v->tallies[i].text));
                printf("\n");
        }
        printf("%.1f us of CPU a message\n", cpu);
}

/* Running. */

bool bench_source_may_begin(const struct source *v)
{
        return !v->is_ending && v->begun < v->messages_max;
}

void bench_source_slot_ended(struct source *v)
{
        if (--v->active == 0)
                loop_stop(v->loop);
}

static void end_run(struct source *v)
{
        v->is_ending = true;
        timer_set(v->late, LATE_MS);
        for (unsigned i = 0; i < v->connection_count; i++)
                bench_slot_end_waiting(&v->slots[i]);
}

static void on_time(void *arg)
{
        end_run(arg);
}

static void on_late(void *arg)
{
        struct source *v = arg;

        bench_source_error(v, "abandoned", 0, SPAN_LITERAL("no reply within 30 s of the end"));
        loop_stop(v->loop);
}

static void on_signal(void *arg, int signal_number)
{
        (void) signal_number;
        end_run(arg);
}

static int run(struct source *v)
{
        struct signal_watch *term = NULL, *interrupt = NULL;
        struct timer *end = NULL;

        v->slots = calloc(v->connection_count, sizeof *v->slots);
        if (!v->slots || make_message(v) != 0 || timer_new(v->loop, on_time, v, &end) < 0
            || timer_new(v->loop, on_late, v, &v->late) < 0)
                return console_fail(EX_OSERR, "there is no memory");
        signal_watch_new(v->loop, SIGTERM, on_signal, v, &term);
        signal_watch_new(v->loop, SIGINT, on_signal, v, &interrupt);
        if (v->run_ms)
                timer_set(end, v->run_ms);
        v->first_us = v->last_us = clock_monotonic_us();
        v->active = v->connection_count;
        for (unsigned i = 0; i < v->connection_count; i++)
                if (bench_slot_start(&v->slots[i], v) < 0)
                        return console_fail(EX_OSERR, "there is no memory");
        loop_run(v->loop);
        for (unsigned i = 0; i < v->connection_count; i++)
                bench_slot_done(&v->slots[i]);
        free(v->slots);
        timer_free(end);
        timer_free(v->late);
        signal_watch_free(term);
        signal_watch_free(interrupt);
        buffer_done(&v->message);
        return EX_OK;
}

int bench_source_run(int argc, char **argv)
{
        static struct source v = {.mail_from = "bench@example.net", .domain = "example.jp"};
        struct words w = {0};
        const struct console_option options[] = {
                {"to", false, &w.to, NULL},
                {"lmtp", false, NULL, &v.is_lmtp},
                {"tls", false, &w.tls, NULL},
                {"connections", false, &w.connections, NULL},
                {"per-connection", false, &w.per_connection, NULL},
                {"messages", false, &w.messages, NULL},
                {"seconds", false, &w.seconds, NULL},
                {"size", false, &w.size, NULL},
                {"from", false, &v.mail_from, NULL},
                {"users", false, &w.users, NULL},
                {"domain", false, &v.domain, NULL},
                {"domains", false, &w.domains, NULL},
                {"rcpt-per-message", false, &w.rcpts, NULL},
                {"record", false, &w.record, NULL},
                CONSOLE_OPTION_JSON(&v.is_json),
        };
        int words, status;

        console_set_name("hayauma bench source");
        words = console_options(argc, argv, options, sizeof options / sizeof options[0]);
        if (words < 0)
                return EX_USAGE;
        if (words > 0)
                return console_fail(EX_USAGE, "there is an argument too many: %s", argv[1]);
        status = parse_words(&v, &w);
        if (status != EX_OK)
                return status;
        v.loop = loop_new();
        if (!v.loop)
                return console_fail(EX_OSERR, "there is no memory");
        status = bench_record_open(&v.record, v.loop, w.record);
        if (status == EX_OK)
                status = run(&v);
        if (status != EX_OK)
                return status;
        bench_record_close(&v.record);
        report(&v);
        tls_context_unref(v.tls);
        loop_free(v.loop);
        if (v.taken == 0)
                return console_fail(EX_UNAVAILABLE, "no message was taken%s%s",
                                    v.tally_count ? ": " : "",
                                    v.tally_count ? v.tallies[0].text : "");
        return EX_OK;
}
