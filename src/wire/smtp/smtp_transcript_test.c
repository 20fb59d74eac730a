/* Plays the sessions of tests/transcripts/ (its README.md says how they are
 * written) against the engine, with every cut of what the client sends. */
#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/number.h"
#include "base/test.h"
#include "wire/smtp/smtp_server.h"
#include "wire/smtp/test_transcript.h"

enum { TEXT_MAX = 1 << 20, ANSWERS_MAX = 256, PARTS_MAX = 8, SESSION_MAX = 20000 };

enum sync { SYNC_END, SYNC_TLS, SYNC_SHUT };

/* What the client sends until something else happens. */
struct part {
        struct buffer in;
        enum sync sync;
        char shut_text[200];
};

struct transcript {
        const char *name;
        struct smtp_server_options options;
        struct part parts[PARTS_MAX];
        size_t part_count;
        struct {
                char *event, *reply; /* start of the event; NULL reply: accepted */
        } answers[ANSWERS_MAX];
        size_t answer_count;
        struct buffer replies, events; /* expected, a line each */
};

struct player {
        const struct transcript *t;
        struct smtp_server *s;
        struct buffer replies, events;
        bool is_answered[ANSWERS_MAX];
        bool is_body_open, is_closed;
};

static void set_option(struct transcript *t, struct span text)
{
        struct smtp_server_options *o = &t->options;
        uint64_t value = 0;
        struct span name;

        span_split(&text, ' ', &name);
        if (!span_equal(text, SPAN_LITERAL("lmtp")))
                CHECK(number_parse(text, UINT32_MAX, &value) == 0, t->name);
        if (span_equal(name, SPAN_LITERAL("dialect")))
                o->dialect = SMTP_DIALECT_LMTP;
        else if (span_equal(name, SPAN_LITERAL("size")))
                o->message_size_max = value;
        else if (span_equal(name, SPAN_LITERAL("recipients")))
                o->recipients_max = (unsigned) value;
        else if (span_equal(name, SPAN_LITERAL("line")))
                o->command_length_max = (unsigned) value;
        else if (span_equal(name, SPAN_LITERAL("errors")))
                o->errors_max = (unsigned) value;
        else if (span_equal(name, SPAN_LITERAL("commands")))
                o->commands_max = (unsigned) value;
        else if (span_equal(name, SPAN_LITERAL("messages")))
                o->messages_max = (unsigned) value;
        else if (span_equal(name, SPAN_LITERAL("offers")))
                o->offers = (unsigned) value;
        else if (span_equal(name, SPAN_LITERAL("bare")))
                o->may_lack_domain = value;
        else if (span_equal(name, SPAN_LITERAL("nul")))
                o->may_have_nul = value;
        else if (span_equal(name, SPAN_LITERAL("by")))
                o->by_min_s = (uint32_t) value;
        else if (span_equal(name, SPAN_LITERAL("hold")))
                o->hold_max_s = (uint32_t) value;
        else
                CHECK(false, t->name);
}

/* "RCPT 0 no@d => 550 5.1.1 No such user" */
static void take_answer(struct transcript *t, struct span text)
{
        static const char arrow[] = " => ";
        const char *at = memmem(text.p, text.len, arrow, strlen(arrow));
        struct span reply;

        CHECK(at && t->answer_count < ANSWERS_MAX, t->name);
        reply = span_skip(text, (size_t) (at - text.p) + strlen(arrow));
        t->answers[t->answer_count].event = strndup(text.p, (size_t) (at - text.p));
        t->answers[t->answer_count++].reply =
                span_equal(reply, SPAN_LITERAL("ok")) ? NULL : strndup(reply.p, reply.len);
}

static void take_line(struct transcript *t, struct span line)
{
        struct part *part = &t->parts[t->part_count - 1];
        const struct span text = span_skip(line, 3);

        if (line.len == 0 || line.p[0] == '#')
                return;
        switch (line.p[0]) {
        case 'O':
                set_option(t, text);
                break;
        case 'C':
                test_transcript_append(&part->in, text);
                if (line.p[1] == ':')
                        buffer_append(&part->in, "\r\n", 2);
                break;
        case 'S':
        case 'E':
                buffer_append_span(line.p[0] == 'S' ? &t->replies : &t->events, text);
                buffer_append(line.p[0] == 'S' ? &t->replies : &t->events, "\n", 1);
                break;
        case 'R':
                take_answer(t, text);
                break;
        case 'T':
        case 'X':
                part->sync = line.p[0] == 'T' ? SYNC_TLS : SYNC_SHUT;
                snprintf(part->shut_text, sizeof part->shut_text, "%.*s", (int) text.len, text.p);
                assert_true(t->part_count < PARTS_MAX);
                t->parts[t->part_count++].in = BUFFER_INIT(TEXT_MAX);
                break;
        default:
                CHECK(false, t->name);
        }
}

static void load(struct transcript *t, const char *path)
{
        struct buffer text = BUFFER_INIT(TEXT_MAX);
        struct span rest, line;

        test_transcript_read(path, &text);
        *t = (struct transcript) {
                .options = { .offers = SMTP_OFFER_STARTTLS | SMTP_OFFER_DSN | SMTP_OFFER_SMTPUTF8,
                             .hostname = SPAN("mx.example.jp"), .message_size_max = 1000000,
                                     .hold_until_max_us = 1798761600000000, /* 2027-01-01 */
                             .recipients_max = 100, .command_length_max = 2048, .errors_max = 100,
                             .auth_mechanisms = SPAN("PLAIN LOGIN") },
                .part_count = 1, .replies = BUFFER_INIT(TEXT_MAX), .events = BUFFER_INIT(TEXT_MAX),
        };
        t->name = path;
        t->parts[0].in = BUFFER_INIT(TEXT_MAX);
        rest = buffer_span(&text);
        while (span_split(&rest, '\n', &line))
                take_line(t, line);
        buffer_done(&text);
}

static void unload(struct transcript *t)
{
        for (size_t i = 0; i < t->part_count; i++)
                buffer_done(&t->parts[i].in);
        for (size_t i = 0; i < t->answer_count; i++) {
                free(t->answers[i].event);
                free(t->answers[i].reply);
        }
        buffer_done(&t->replies);
        buffer_done(&t->events);
}

static void log_octets(struct buffer *b, struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                if (s.p[i] >= 32 && s.p[i] < 127 && s.p[i] != '\\')
                        buffer_append(b, s.p + i, 1);
                else if (s.p[i] == '\r' || s.p[i] == '\n')
                        buffer_append_string(b, s.p[i] == '\r' ? "\\r" : "\\n");
                else
                        buffer_printf(b, "\\x%02x", (unsigned char) s.p[i]);
        }
}

static void log_mail(struct buffer *b, const struct smtp_mail *m)
{
        buffer_printf(b, "MAIL %.*s", (int) m->path.len, m->path.p ? m->path.p : "");
        if (m->size)
                buffer_printf(b, " size=%llu", (unsigned long long) m->size);
        if (m->body)
                buffer_printf(b, " body=%d", (int) m->body);
        if (m->smtputf8)
                buffer_append_string(b, " utf8");
        if (m->ret)
                buffer_printf(b, " ret=%s", m->ret == SMTP_RET_FULL ? "full" : "hdrs");
        if (m->envid.len)
                buffer_printf(b, " envid=%.*s", (int) m->envid.len, m->envid.p);
        if (m->hold_for_s)
                buffer_printf(b, " hold=%u", (unsigned) m->hold_for_s);
        if (m->hold_until_us)
                buffer_printf(b, " until=%llu", (unsigned long long) m->hold_until_us / 1000000);
        if (m->has_priority)
                buffer_printf(b, " priority=%d", m->priority);
        if (m->requiretls)
                buffer_append_string(b, " requiretls");
        if (m->by)
                buffer_printf(b, " by=%d;%s%s", (int) m->by_s,
                              m->by == SMTP_BY_RETURN ? "return" : "notify",
                              m->by_trace ? ",trace" : "");
}

static void log_rcpt(struct buffer *b, const struct smtp_rcpt *r)
{
        buffer_printf(b, "RCPT %u %.*s", r->index, (int) r->path.len, r->path.p);
        if (r->notify)
                buffer_printf(b, " notify=%u", r->notify);
        if (r->orcpt.len)
                buffer_printf(b, " orcpt=%.*s", (int) r->orcpt.len, r->orcpt.p);
}

static void log_event(struct player *p, const struct smtp_event *e)
{
        static const char *const words[] = {
                [SMTP_EVENT_STARTTLS] = "STARTTLS", [SMTP_EVENT_DATA] = "DATA",
                [SMTP_EVENT_END] = "END ", [SMTP_EVENT_VRFY] = "VRFY ",
                [SMTP_EVENT_RESET] = "RESET",
                [SMTP_EVENT_CLOSE] = "CLOSE", [SMTP_EVENT_AUTH] = "AUTH ",
                [SMTP_EVENT_AUTH_LINE] = "LINE ", [SMTP_EVENT_AUTH_CANCEL] = "CANCEL",
                [SMTP_EVENT_EXPN] = "EXPN ", [SMTP_EVENT_ETRN] = "ETRN ",
                [SMTP_EVENT_XCLIENT] = "XCLIENT ",
        };
        struct buffer *b = &p->events;

        if (p->is_body_open && e->kind != SMTP_EVENT_BODY)
                buffer_append(b, "\n", 1);
        if (e->kind == SMTP_EVENT_BODY) {
                if (!p->is_body_open)
                        buffer_append_string(b, "BODY ");
                log_octets(b, e->octets);
                p->is_body_open = true;
                return;
        }
        p->is_body_open = false;
        if (e->kind == SMTP_EVENT_HELO)
                buffer_printf(b, "%s %.*s", e->is_extended ? "EHLO" : "HELO",
                              (int) e->helo_name.len, e->helo_name.p);
        else if (e->kind == SMTP_EVENT_MAIL)
                log_mail(b, &e->mail);
        else if (e->kind == SMTP_EVENT_RCPT)
                log_rcpt(b, &e->rcpt);
        else
                buffer_append_string(b, words[e->kind]);
        if (e->kind == SMTP_EVENT_END)
                buffer_append_string(b, smtp_server_protocol(p->s));
        buffer_append_span(b, e->argument);
        if (e->kind == SMTP_EVENT_AUTH && e->octets.p)
                buffer_append(b, " ", 1);
        buffer_append_span(b, e->octets);
        buffer_append(b, "\n", 1);
}

static void accept_event(struct player *p, const struct smtp_event *e)
{
        switch (e->kind) {
        case SMTP_EVENT_DATA:
                smtp_server_reply(p->s, 354, NULL, NULL);
                break;
        case SMTP_EVENT_STARTTLS:
                smtp_server_reply(p->s, 220, "2.0.0", "Go ahead");
                break;
        case SMTP_EVENT_VRFY:
                smtp_server_reply(p->s, 252, "2.0.0", "Send it and see");
                break;
        case SMTP_EVENT_XCLIENT:
                smtp_server_reply(p->s, 220, NULL, NULL);
                break;
        case SMTP_EVENT_AUTH:
                if (e->octets.p)
                        smtp_server_reply(p->s, 235, "2.7.0", "Welcome");
                else
                        smtp_server_reply(p->s, 334, NULL, "");
                break;
        case SMTP_EVENT_AUTH_LINE:
                smtp_server_reply(p->s, 235, "2.7.0", "Welcome");
                break;
        case SMTP_EVENT_MAIL:
                smtp_server_reply(p->s, 250, "2.1.0", NULL);
                break;
        case SMTP_EVENT_RCPT:
                smtp_server_reply(p->s, 250, "2.1.5", NULL);
                break;
        default:
                smtp_server_reply(p->s, 250, NULL, NULL);
                break;
        }
}

/* The first answer not yet given whose event is the one logged last. */
static const char *find_answer(struct player *p)
{
        const struct span all = span_first(buffer_span(&p->events), p->events.len - 1);
        const size_t end = span_find_last(all, '\n');
        const struct span event = end == SIZE_MAX ? all : span_skip(all, end + 1);

        for (size_t i = 0; i < p->t->answer_count; i++) {
                if (p->is_answered[i]
                    || !span_starts_with_nocase(event, span_from_string(p->t->answers[i].event)))
                        continue;
                p->is_answered[i] = true;
                return p->t->answers[i].reply;
        }
        return NULL;
}

static void answer(struct player *p, const struct smtp_event *e, const char *body_error)
{
        const char *text = NULL;
        struct smtp_event again;
        struct smtp_reply_text t;

        CHECK(smtp_server_feed(p->s, SPAN_LITERAL("QUIT\r\n"), &again) == 0, p->t->name);
        CHECK(again.kind == SMTP_EVENT_WAIT, p->t->name);
        if (body_error)
                text = body_error;
        else
                text = find_answer(p);
        if (!text) {
                accept_event(p, e);
                return;
        }
        smtp_server_split_reply(text, &t);
        smtp_server_reply(p->s, t.code, t.enhanced, t.text);
}

static void drain(struct player *p)
{
        struct buffer *out = smtp_server_output(p->s);
        const struct span text = buffer_span(out);

        for (size_t i = 0; i < text.len; i++)
                if (text.p[i] != '\r')
                        buffer_append(&p->replies, text.p + i, 1);
        buffer_consume(out, out->len);
}

/* Feeds as a role does. Returns the octets that were used. */
static size_t play(struct player *p, struct span in)
{
        size_t used = 0;

        while (!p->is_closed) {
                struct smtp_event e;
                const size_t n = smtp_server_feed(p->s, span_skip(in, used), &e);
                unsigned owed = 1;

                assert_true(n <= in.len - used);
                used += n;
                if (e.kind == SMTP_EVENT_NONE) {
                        CHECK(used == in.len, p->t->name);
                        break;
                }
                if (e.kind == SMTP_EVENT_WAIT) /* after STARTTLS alone */
                        break;
                if (e.kind == SMTP_EVENT_FLUSH) {
                        drain(p);
                        continue;
                }
                log_event(p, &e);
                p->is_closed = e.kind == SMTP_EVENT_CLOSE;
                if (e.kind == SMTP_EVENT_CLOSE || e.kind == SMTP_EVENT_BODY
                    || e.kind == SMTP_EVENT_RESET || e.kind == SMTP_EVENT_AUTH_CANCEL)
                        continue;
                if (e.kind == SMTP_EVENT_END && p->t->options.dialect == SMTP_DIALECT_LMTP)
                        owed = smtp_server_recipients(p->s);
                while (owed--)
                        answer(p, &e, e.body_error);
        }
        return used;
}

/* Feeds in pieces; what the engine leaves is shown again, as a stream does. */
static void play_part(struct player *p, const struct part *part, size_t cut)
{
        const struct span in = buffer_span(&part->in);
        size_t shown = 0, used = 0;

        while (shown < in.len) {
                shown = cut == 0 ? shown + 1 : shown == 0 && cut < in.len ? cut : in.len;
                used += play(p, span_make(in.p + used, shown - used));
        }
        if (part->sync == SYNC_TLS)
                smtp_server_secured(p->s);
        if (part->sync == SYNC_SHUT)
                smtp_server_shut(p->s, part->shut_text);
        play(p, span_make("", 0));
}

static void check_lines(const char *name, size_t cut, const char *what, struct span want,
                        struct span got)
{
        struct span w, g;

        while (span_split(&want, '\n', &w)) {
                const bool is_got = span_split(&got, '\n', &g);
                const bool is_open = w.len && w.p[w.len - 1] == '*';

                if (!is_got)
                        g = (struct span) {NULL, 0};
                if (span_equal(w, g)
                    || (is_open && span_starts_with_nocase(g, span_first(w, w.len - 1))))
                        continue;
                print_error("%s, cut at %zu: %s\n  want %.*s\n  got  %.*s\n", name, cut, what,
                            (int) w.len, w.p, (int) g.len, g.p ? g.p : "");
                CHECK(false, name);
        }
        if (got.len)
                print_error("%s, cut at %zu: %s\n  also got %.*s\n", name, cut, what, (int) got.len,
                            got.p);
        CHECK(got.len == 0, name);
}

static void play_session(const struct transcript *t, size_t cut)
{
        struct player p = { .t = t, .s = smtp_server_new(&t->options),
                            .replies = BUFFER_INIT(TEXT_MAX), .events = BUFFER_INIT(TEXT_MAX) };

        assert_true(p.s != NULL);
        smtp_server_greet(p.s, 220, NULL);
        for (size_t i = 0; i < t->part_count; i++)
                play_part(&p, &t->parts[i], cut);
        drain(&p);
        check_lines(t->name, cut, "replies", buffer_span(&t->replies), buffer_span(&p.replies));
        if (t->events.len)
                check_lines(t->name, cut, "events", buffer_span(&t->events),
                            buffer_span(&p.events));
        buffer_done(&p.replies);
        buffer_done(&p.events);
        p.s = smtp_server_free(p.s);
}

/* The folder lies beside src/; meson's __FILE__ is relative to the build folder,
 * where this program is. */
static void find_folder(char *out, size_t out_max)
{
        char exe[2048];
        const ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
        char *slash;

        assert_true(n > 0);
        exe[n] = '\0';
        slash = strrchr(exe, '/');
        *slash = '\0';
        if (__FILE__[0] == '/')
                exe[0] = '\0';
        snprintf(out, out_max, "%s/%.*s/../../../tests/transcripts", exe,
                 (int) (strrchr(__FILE__, '/') - __FILE__), __FILE__);
}

static int is_transcript(const struct dirent *d)
{
        return span_ends_with_nocase(span_from_string(d->d_name), SPAN_LITERAL(".txt"));
}

TEST(sessions_go_as_written_whatever_the_cuts)
{
        char folder[4096], path[5000];
        struct dirent **names;
        int count;

        find_folder(folder, sizeof folder);
        count = scandir(folder, &names, is_transcript, alphasort);
        CHECK(count > 0, folder);
        for (int i = 0; i < count; i++) {
                static struct transcript t;
                size_t longest = 0;

                snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
                load(&t, path);
                for (size_t k = 0; k < t.part_count; k++)
                        longest = t.parts[k].in.len > longest ? t.parts[k].in.len : longest;
                CHECK(longest < SESSION_MAX, path);
                play_session(&t, longest + 1);
                /* Each octet, but of sessions that are long for a limit's sake. */
                for (size_t cut = 0; cut < longest; cut += longest > 4000 ? 97 : 1)
                        play_session(&t, cut);
                unload(&t);
                free(names[i]);
        }
        free(names);
}

TEST_MAIN()
