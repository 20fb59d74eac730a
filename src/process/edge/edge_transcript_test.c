/* Plays the sessions of tests/transcripts/edge/ (its README.md says how they are
 * written) against the edge role with a fake keeper, a fake directory and a clock
 * that moves by hand: replies, and the decision record that is left of each
 * message. And sees that no option that is a limit, no extension and no command
 * lacks its session. */
#include <dirent.h>

#include "base/clock.h"
#include "base/number.h"
#include "config/options.h"
#include "net/tls/test_certificate.h"
#include "process/edge/edge_test_site.h"
#include "wire/smtp/smtp_server_engine.h"
#include "wire/smtp/test_transcript.h"

enum { TEXT_MAX = 8 << 20, CLIENTS_MAX = 100, SETTLING = 5 };

#define FOLDER HAYAUMA_SOURCE_ROOT "/tests/transcripts/edge/"
static const char *const folders[] = {"extensions", "limits", "attacks", "addresses"};
static const uint64_t begin_us = UINT64_C(1795305600) * 1000000; /* 2026-11-22, midnight UTC */

struct stage {
        const char *name;
        struct client clients[CLIENTS_MAX];
        size_t count;
        struct buffer record; /* a line each step; what is left of it */
        struct buffer wanted; /* lines that the next reply must have */
        uint64_t passed_ms, loop_began_ms;
        unsigned line;
        bool has_failed; /* the rest of the file would make no sense */
};

static struct client *current(struct stage *s)
{
        return &s->clients[s->count - 1];
}

static void fail_at(struct stage *s, struct span want, struct span got)
{
        s->has_failed = true;
        print_error("%s:%u\n  want %.*s\n  got  %.*s\n", s->name, s->line, (int) want.len, want.p,
                    (int) got.len, got.len ? got.p : "");
}

/* ---- the fake directory: whoever logs in is taro ---- */

static struct channel *directory;

static void on_auth_start(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) arg, (void) fd;
        CHANNEL_SEND(ch, auth_result, -1, .login = m->auth_start.login,
                     .status = m->auth_start.has_initial ? AUTH_GRANTED : AUTH_CHALLENGE,
                     .account = SPAN_LITERAL("taro@example.jp"));
}

static void on_auth_cancel(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch, (void) arg, (void) m, (void) fd;
}

static void on_quota_ask(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct config *c = process.config;
        const uint64_t max = c->auth.recipients_per_hour ? c->auth.recipients_per_hour
                                                         : c->auth.recipients_per_day;

        (void) arg, (void) fd;
        CHANNEL_SEND(ch, quota_answer, -1, .query = m->quota_ask.query,
                     .is_granted = m->quota_ask.recipients <= max,
                     .is_of_day = !c->auth.recipients_per_hour,
                     .text = SPAN_LITERAL("Too many recipients of this account"));
}

static void on_directory_closed(struct channel *ch, void *arg, int reason)
{
        (void) arg, (void) reason;
        directory = channel_free(ch);
}

static const struct channel_handler directory_handler = {
        .on = {[IPC_auth_start] = on_auth_start, [IPC_auth_cancel] = on_auth_cancel,
               [IPC_quota_ask] = on_quota_ask},
        .closed = on_directory_closed,
};

static void connect_directory(void)
{
        int fds[2];

        CHECK(channel_pair(fds) == 0, "pair");
        CHECK(channel_new(process.loop, fds[0], &directory_handler, NULL, &directory) == 0,
              "directory");
        edge_role.peer(&process, PROCESS_DIRECTORY, 0, 1, fds[1]);
}

/* ---- time ---- */

static void settle(void)
{
        for (int i = 0; i < SETTLING; i++)
                loop_run_once(process.loop, 1);
}

/* "200ms", "5m" */
static void pass(struct stage *s, struct span text)
{
        static const struct {
                struct span unit;
                uint64_t ms;
        } units[] = {{SPAN("ms"), 1}, {SPAN("s"), 1000}, {SPAN("m"), 60000}, {SPAN("h"), 3600000}};

        settle();
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
                uint64_t number;

                if (span_ends_with_nocase(text, units[i].unit) &&
                    number_parse(span_first(text, text.len - units[i].unit.len), UINT32_MAX,
                                 &number) == 0) {
                        s->passed_ms += number * units[i].ms;
                        clock_fake(begin_us + s->passed_ms * 1000);
                        loop_fake(process.loop, s->loop_began_ms + s->passed_ms);
                        settle();
                        return;
                }
        }
        fail_at(s, text, SPAN_LITERAL("no such time"));
}

/* ---- what the client sends ---- */

static void send_line(struct stage *s, struct span text, bool with_line_end)
{
        struct buffer out = BUFFER_INIT(TEXT_MAX);

        test_transcript_append(&out, text);
        if (with_line_end)
                buffer_append_string(&out, "\r\n");
        say(current(s), buffer_span(&out));
        buffer_done(&out);
}

/* ---- what is heard and kept ---- */

static bool has_text(const struct buffer *b, const char *text)
{
        return memmem(buffer_span(b).p, b->len, text, strlen(text)) != NULL;
}

static bool has_line(struct span text, struct span start)
{
        struct span line;

        while (text.len && span_split(&text, '\n', &line))
                if (span_starts_with_nocase(line, start))
                        return true;
        return false;
}

static void expect_reply(struct stage *s, struct span text)
{
        struct span lines = buffer_span(&s->wanted), line;
        char reply[1024];
        bool is_good;

        hear(current(s), reply, sizeof reply);
        if (span_equal(text, SPAN_LITERAL("-")))
                is_good = reply[0] == '\0' && current(s)->is_closed;
        else
                is_good = strncmp(reply, text.p, text.len) == 0;
        if (!is_good)
                fail_at(s, text, span_from_string(reply));
        while (lines.len && span_split(&lines, '\n', &line))
                if (!has_line(buffer_span(&current(s)->reply), line))
                        fail_at(s, line, buffer_span(&current(s)->reply));
        buffer_clear(&s->wanted);
}

static void put(struct buffer *b, const char *name, struct span value)
{
        if (value.len)
                buffer_printf(b, " %s=%.*s", name, (int) value.len, value.p);
}

static void describe(struct span record, struct buffer *out)
{
        struct decision_step step;
        struct reader r;
        uint64_t id;

        CHECK(decision_open(record, &id, &r) == 0, "record");
        while (decision_next(&r, &step)) {
                buffer_append_string(out, decision_kind_name(step.kind));
                if (step.recipient != DECISION_MESSAGE)
                        buffer_printf(out, " %u", step.recipient);
                if (step.code)
                        buffer_printf(out, " %u %.*s", step.code, (int) step.enhanced.len,
                                      step.enhanced.p);
                put(out, "rule", step.rule);
                put(out, "origin", step.origin);
                put(out, "rcpt_to", step.rcpt_to);
                put(out, "next", step.next);
                put(out, "text", step.text);
                put(out, "detail", step.detail);
                buffer_append_string(out, "\n");
        }
        CHECK(!r.failed, "record is whole");
}

/* The next record that the keeper got. */
static void next_record(struct stage *s)
{
        uint32_t len;

        for (int waited = 0; waited < 500 && keeper.told.len == 0; waited++)
                run();
        if (keeper.told.len == 0)
                return;
        memcpy(&len, buffer_span(&keeper.told).p, sizeof len);
        describe(span_first(span_skip(buffer_span(&keeper.told), sizeof len), len), &s->record);
        buffer_consume(&keeper.told, sizeof len + len);
}

/* All that is said of a step must stand there, in that order; "*" stands for
 * anything. */
static bool is_step(struct span want, struct span have)
{
        const char *begin = want.p;
        struct span piece;

        while (want.len) {
                const char *at;

                (void) span_split(&want, '*', &piece);
                at = piece.len ? memmem(have.p, have.len, piece.p, piece.len) : have.p;
                if (!at || (piece.p == begin && at != have.p))
                        return false;
                have = span_skip(have, (size_t) (at - have.p) + piece.len);
        }
        return true;
}

static void expect_step(struct stage *s, struct span text)
{
        struct span rest, step = {NULL, 0};

        if (s->record.len == 0)
                next_record(s);
        rest = buffer_span(&s->record);
        span_split(&rest, '\n', &step);
        if (!is_step(text, step))
                fail_at(s, text, step);
        if (s->record.len)
                buffer_consume(&s->record, step.len + 1);
}

/* In the message that was kept last. */
static void expect_text(struct stage *s, struct span text, bool is_there)
{
        const struct span message = span_skip(
                span_first(buffer_span(&keeper.body), keeper.message_end), keeper.message_at);
        struct buffer want = BUFFER_INIT(TEXT_MAX);

        test_transcript_append(&want, text);
        if (is_there != (memmem(message.p, message.len, buffer_span(&want).p, want.len) != NULL))
                fail_at(s, text, message);
        buffer_done(&want);
}

/* "[127.0.0.1] limits.connections", as `hayauma status` tells it. */
static void expect_limited(struct stage *s, struct span text)
{
        const struct edge_limited *l = &EDGE->limited;
        char each[256] = "";

        settle();
        for (size_t i = 0; i < EDGE_LIMITED_MAX; i++) {
                snprintf(each, sizeof each, "%s %s", l->peers[i].who, l->peers[i].rule);
                if (span_equal(text, span_from_string(each)))
                        return;
        }
        fail_at(s, text, span_from_string("no such row"));
}

static void expect_retry(struct stage *s, struct span text)
{
        for (int waited = 0; waited < 500 && keeper.retried.len == 0; waited++)
                run();
        if (!has_line(buffer_span(&keeper.retried), text))
                fail_at(s, text, buffer_span(&keeper.retried));
        buffer_clear(&keeper.retried);
}

/* ---- files ---- */

static void take_other(struct stage *s, struct span line)
{
        const struct span text = span_skip(line, 3);

        switch (line.p[0]) {
        case 'N':
                CHECK(s->count < CLIENTS_MAX, s->name);
                s->clients[s->count++] = client_new();
                settle();
                break;
        case 'H':
                CHECK(shutdown(current(s)->fd, SHUT_WR) == 0, s->name);
                break;
        case 'T':
                client_secure(current(s));
                break;
        case 'W':
                pass(s, text);
                break;
        case 'B':
                expect_text(s, text, line.p[1] == ':');
                break;
        case 'M':
                expect_limited(s, text);
                break;
        case 'Q':
                expect_retry(s, text);
                break;
        default:
                fail_at(s, line, (struct span) {NULL, 0});
        }
}

static void take_line(struct stage *s, struct span line)
{
        const struct span text = span_skip(line, 3);

        switch (line.len ? line.p[0] : '#') {
        case 'P':
        case 'O':
        case '#':
                break;
        case 'C':
                send_line(s, text, line.p[1] == ':');
                break;
        case 'S':
                if (line.p[1] == '-') {
                        buffer_append_span(&s->wanted, text);
                        buffer_append(&s->wanted, "\n", 1);
                } else {
                        expect_reply(s, text);
                }
                break;
        case 'D':
                expect_step(s, text);
                break;
        default:
                take_other(s, line);
        }
}

/* Lines between "F: n" and "F." are taken n times. */
static void take_lines(struct stage *s, struct span rest)
{
        struct span line, block;
        uint64_t times;

        while (!s->has_failed && span_split(&rest, '\n', &line)) {
                const char *end;

                s->line++;

                if (line.len == 0 || line.p[0] != 'F') {
                        take_line(s, line);
                        continue;
                }
                end = memmem(rest.p, rest.len, "F.\n", 3);
                CHECK(end && number_parse(span_skip(line, 3), 100000, &times) == 0, s->name);
                block = span_first(rest, (size_t) (end - rest.p - 1));
                while (times--)
                        for (struct span again = block;
                             !s->has_failed && span_split(&again, '\n', &line);)
                                take_line(s, line);
                for (const char *p = block.p; p < end; p++)
                        s->line += *p == '\n';
                s->line++;
                rest = span_skip(rest, block.len + 4);
        }
}

/* "P: submission tls": what the clients connect to, and whether there is TLS. */
static void begin(struct stage *s, struct span text)
{
        static const enum listen_protocol known[] = {LISTEN_SMTP, LISTEN_SUBMISSION, LISTEN_LMTP,
                                                     LISTEN_LOCAL};
        struct buffer lines = BUFFER_INIT(4096), pem = BUFFER_INIT(1 << 20),
                      ca = BUFFER_INIT(1 << 20);
        struct span what = SPAN("smtp"), line, word;
        enum listen_protocol protocol = LISTEN_SMTP;
        char error[TLS_ERROR_MAX];

        while (span_split(&text, '\n', &line)) {
                if (line.len > 3 && line.p[0] == 'O')
                        buffer_printf(&lines, "%.*s\n", (int) line.len - 3, line.p + 3);
                if (line.len > 3 && line.p[0] == 'P')
                        what = span_skip(line, 3);
        }
        buffer_append(&lines, "", 1);
        span_split(&what, ' ', &word);
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
                if (span_equal(word, span_from_string(listen_protocol_name(known[i]))))
                        protocol = known[i];
        clock_fake(begin_us);
        start_as(protocol, "listen", buffer_span(&lines).p);
        s->loop_began_ms = loop_now_ms(process.loop);
        loop_fake(process.loop, s->loop_began_ms);
        connect_directory();
        if (what.len) {
                test_certificate("mx1.example.jp", &pem, &ca);
                CHECK(tls_context_new_server(buffer_span(&pem), &process.tls, error) == 0, error);
        }
        s->clients[s->count++] = client_new();
        buffer_done(&pem);
        buffer_done(&ca);
        buffer_done(&lines);
}

/* False: it went another way. */
static bool play_file(const char *path, struct span text)
{
        static struct stage s;

        s = (struct stage) {.name = path, .record = BUFFER_INIT(TEXT_MAX),
                            .wanted = BUFFER_INIT(TEXT_MAX)};
        begin(&s, text);
        take_lines(&s, text);
        settle();
        while (s.count) {
                struct client *c = &s.clients[s.count - 1];

                client_read(c);
                if (c->input.len && !s.has_failed)
                        fail_at(&s, SPAN_LITERAL("no more replies"), buffer_span(&c->input));
                client_done(c);
                s.count--;
        }
        /* A decision that the file says nothing of is one too many. */
        if (!s.has_failed && s.record.len == 0 && keeper.told.len)
                next_record(&s);
        if (!s.has_failed && s.record.len)
                fail_at(&s, SPAN_LITERAL("no more steps"), buffer_span(&s.record));
        directory = channel_free(directory);
        finish();
        tls_context_unref(process.tls);
        clock_fake(0);
        buffer_done(&s.record);
        buffer_done(&s.wanted);
        return !s.has_failed;
}

static int is_transcript(const struct dirent *d)
{
        return span_ends_with_nocase(span_from_string(d->d_name), SPAN_LITERAL(".txt"));
}

TEST(sessions_and_their_records)
{
        struct buffer text = BUFFER_INIT(TEXT_MAX), table = BUFFER_INIT(TEXT_MAX);
        char path[4096], row[300];
        unsigned failed = 0;

        for (size_t k = 0; k < sizeof folders / sizeof folders[0]; k++) {
                struct dirent **names;
                int count;

                snprintf(path, sizeof path, "%s%s/README.md", FOLDER, folders[k]);
                buffer_clear(&table);
                test_transcript_read(path, &table);
                snprintf(path, sizeof path, "%s%s", FOLDER, folders[k]);
                count = scandir(path, &names, is_transcript, alphasort);
                CHECK(count > 0, path);
                for (int i = 0; i < count; i++) {
                        snprintf(path, sizeof path, "%s%s/%s", FOLDER, folders[k],
                                 names[i]->d_name);
                        buffer_clear(&text);
                        test_transcript_read(path, &text);
                        failed += !play_file(path, buffer_span(&text));
                        snprintf(row, sizeof row, "`%s`", names[i]->d_name);
                        CHECK(has_text(&table, row), path);
                        free(names[i]);
                }
                free(names);
        }
        CHECK(failed == 0, "sessions");
        buffer_done(&text);
        buffer_done(&table);
}

/* ---- what must have one ---- */

/* Each has a session of its name, which sets it and shows how it is refused. */
TEST(each_limit_has_its_session)
{
        static const char *const others[] = {"auth.recipients_per_hour", "auth.recipients_per_day",
                                             "smtp.nul"};
        struct buffer text = BUFFER_INIT(TEXT_MAX);
        char path[4096], wanted[300];

        for (size_t i = 0; i < option_count; i++) {
                const char *name = options[i].name, *last = strrchr(name, '.');
                bool is_limit = strncmp(name, "limits.", 7) == 0;

                for (size_t k = 0; k < sizeof others / sizeof others[0]; k++)
                        is_limit |= strcmp(name, others[k]) == 0;
                if (!is_limit)
                        continue;
                snprintf(path, sizeof path, "%slimits/%s.txt", FOLDER, last + 1);
                buffer_clear(&text);
                test_transcript_read(path, &text);
                snprintf(wanted, sizeof wanted, " %s = ", last + 1);
                CHECK(has_text(&text, wanted), path);
                snprintf(wanted, sizeof wanted, "rule=%s", name);
                if (has_text(&text, wanted))
                        continue;
                snprintf(wanted, sizeof wanted, "] %s", name); /* M: [client] option */
                CHECK(has_text(&text, wanted), path);
        }
        buffer_done(&text);
}

/* The lines of the answer to EHLO, with all that can be offered. */
TEST(each_extension_has_its_session)
{
        const struct smtp_server_options o = {
                .offers = UINT_MAX, .hostname = SPAN("mx"), .command_length_max = 512,
                .message_size_max = 1, .recipients_max = 1, .auth_mechanisms = SPAN("PLAIN"),
        };
        struct buffer replies = BUFFER_INIT(TEXT_MAX), text = BUFFER_INIT(TEXT_MAX);
        struct span rest, line, word;
        struct smtp_event e;
        char path[4096], wanted[300];

        for (int is_secured = 0; is_secured < 2; is_secured++) {
                struct smtp_server *s = smtp_server_new(&o);

                if (is_secured)
                        smtp_server_secured(s);
                smtp_server_feed(s, SPAN_LITERAL("EHLO x\r\n"), &e);
                smtp_server_reply(s, 250, NULL, NULL);
                CHECK(buffer_append_span(&replies, buffer_span(smtp_server_output(s))) == 0, "");
                smtp_server_free(s);
        }
        rest = buffer_span(&replies);
        while (span_split(&rest, '\n', &line) && line.len) {
                const bool is_last = line.p[3] == ' ';
                size_t at;

                line = span_skip(span_first(line, line.len - 1), 4);
                span_split(&line, ' ', &word);
                if (span_equal(word, SPAN_LITERAL("mx")))
                        continue;
                at = (size_t) snprintf(path, sizeof path, "%sextensions/", FOLDER);
                ascii_lower_copy(path + at, word);
                snprintf(path + at + word.len, sizeof path - at - word.len, ".txt");
                buffer_clear(&text);
                test_transcript_read(path, &text);
                snprintf(wanted, sizeof wanted, "250%c%.*s", is_last ? ' ' : '-',
                         (int) word.len, word.p);
                CHECK(has_text(&text, wanted), path);
        }
        buffer_done(&replies);
        buffer_done(&text);
}

TEST(each_command_is_said_in_a_session)
{
        struct buffer all = BUFFER_INIT(TEXT_MAX);
        char path[4096], wanted[64];

        for (size_t k = 0; k < sizeof folders / sizeof folders[0]; k++) {
                struct dirent **names;
                int count;

                snprintf(path, sizeof path, "%s%s", FOLDER, folders[k]);
                count = scandir(path, &names, is_transcript, alphasort);
                for (int i = 0; i < count; i++) {
                        snprintf(path, sizeof path, "%s%s/%s", FOLDER, folders[k],
                                 names[i]->d_name);
                        test_transcript_read(path, &all);
                        free(names[i]);
                }
                free(names);
        }
        for (size_t i = 0; i < smtp_server_command_count; i++) {
                const struct span verb = smtp_server_commands[i].verb;

                snprintf(wanted, sizeof wanted, "\nC: %.*s", (int) verb.len, verb.p);
                CHECK(has_text(&all, wanted), wanted);
        }
        buffer_done(&all);
}

TEST_MAIN()
