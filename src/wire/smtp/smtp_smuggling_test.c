/* Never two messages from one: each way to write an end of data that is none,
 * by DATA and by BDAT, cut at every octet.
 *
 * The text between the doubtful end and the true one is a second message, as
 * it would be smuggled past a server that takes the doubtful end for true.
 * What we accept is then sent on as DATA and must again have one end only. */
#include <stdio.h>

#include "base/test.h"
#include "wire/smtp/dot_encode.h"
#include "wire/smtp/smtp_server.h"

#define TRUE_END "\r\n.\r\n"
#define SMUGGLED "MAIL FROM:<evil@x>\r\nRCPT TO:<victim@x>\r\nDATA\r\nsmuggled"

enum { TEXT_MAX = 2048, WHOLE = 0 };

struct outcome {
        unsigned mails, ends, closes;
        bool is_refused;
        struct buffer body;
};

static struct smtp_server *new_server(void)
{
        const struct smtp_server_options o = {
                .offers = SMTP_OFFER_CHUNKING, .hostname = SPAN("mx.example.jp"),
                .command_length_max = 512, .recipients_max = 10, .errors_max = 100,
        };

        return smtp_server_new(&o);
}

static void take(struct smtp_server *s, const struct smtp_event *e, struct outcome *got)
{
        switch (e->kind) {
        case SMTP_EVENT_MAIL:
                got->mails++;
                smtp_server_reply(s, 250, NULL, NULL);
                break;
        case SMTP_EVENT_DATA:
                smtp_server_reply(s, 354, NULL, NULL);
                break;
        case SMTP_EVENT_BODY:
                buffer_append_span(&got->body, e->octets);
                break;
        case SMTP_EVENT_END:
                got->ends++;
                got->is_refused = e->body_error != NULL;
                smtp_server_reply(s, e->body_error ? 554 : 250, NULL, NULL);
                break;
        case SMTP_EVENT_RESET:
                break;
        default:
                smtp_server_reply(s, 250, NULL, NULL);
                break;
        }
}

static void feed(struct smtp_server *s, struct span in, struct outcome *got)
{
        for (;;) {
                struct smtp_event e;
                const size_t used = smtp_server_feed(s, in, &e);

                in = span_skip(in, used);
                buffer_clear(smtp_server_output(s));
                if (e.kind == SMTP_EVENT_NONE)
                        return;
                if (e.kind == SMTP_EVENT_CLOSE) {
                        got->closes++;
                        return;
                }
                take(s, &e, got);
        }
}

/* `piece` octets a packet, WHOLE: one packet; `cut`: two, parted there. */
static struct outcome play(struct span session, size_t piece, size_t cut)
{
        struct smtp_server *s = new_server();
        struct outcome got = {.body = BUFFER_INIT(TEXT_MAX)};

        CHECK(s, "memory");
        if (piece == WHOLE) {
                feed(s, span_first(session, cut), &got);
                if (cut < session.len)
                        feed(s, span_skip(session, cut), &got);
        }
        for (size_t at = 0; piece && at < session.len; at += piece)
                feed(s, span_first(span_skip(session, at), piece), &got);
        smtp_server_free(s);
        return got;
}

static bool has_bare_line_end(struct span text)
{
        for (size_t i = 0; i < text.len; i++) {
                const bool is_after_cr = i && text.p[i - 1] == '\r';
                const bool is_before_lf = i + 1 < text.len && text.p[i + 1] == '\n';

                if ((text.p[i] == '\r' && !is_before_lf) || (text.p[i] == '\n' && !is_after_cr))
                        return true;
        }
        return false;
}

/* What was accepted, sent on: CRLF "." CRLF stands at the end and nowhere else. */
static void check_sent_on(struct span body, const char *name)
{
        static const struct span end = SPAN(TRUE_END);
        struct dot_encoder encoder = DOT_ENCODER_INIT;
        char out[2 * TEXT_MAX];
        size_t len = dot_encode(&encoder, body, out);

        len += dot_encode_end(&encoder, out + len);
        CHECK(!has_bare_line_end(span_make(out, len)), name);
        CHECK(memmem(out, len, end.p, end.len) == out + len - end.len, name);
}

static void check(const struct outcome *got, struct span text, bool has_nul, const char *name)
{
        CHECK(got->mails == 1 && got->ends == 1 && got->closes == 1, name);
        CHECK(got->is_refused == (has_nul || has_bare_line_end(text)), name);
        if (!got->is_refused)
                check_sent_on(buffer_span(&got->body), name);
}

static void play_all(struct span session, struct span text, bool has_nul, const char *name)
{
        struct outcome got = play(session, 1, 0);

        check(&got, text, has_nul, name);
        buffer_done(&got.body);
        for (size_t cut = 1; cut <= session.len; cut++) {
                got = play(session, WHOLE, cut);
                check(&got, text, has_nul, name);
                buffer_done(&got.body);
        }
}

/* `doubtful` stands in the middle of one message. */
static void try_both(struct span doubtful, bool has_nul, bool is_true_end, const char *name)
{
        char text[512], session[1024];
        int len = snprintf(text, sizeof text, "first line");
        int all;

        memcpy(text + len, doubtful.p, doubtful.len);
        len += (int) doubtful.len;
        len += snprintf(text + len, sizeof text - (size_t) len, SMUGGLED);

        all = snprintf(session, sizeof session,
                       "EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n");
        memcpy(session + all, text, (size_t) len);
        all += len;
        all += snprintf(session + all, sizeof session - (size_t) all, "\r\n.\r\nQUIT\r\n");
        if (!is_true_end) /* which, within DATA, is an end: what follows are commands */
                play_all(span_make(session, (size_t) all), span_make(text, (size_t) len), has_nul,
                         name);

        all = snprintf(session, sizeof session,
                       "EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nBDAT %d LAST\r\n", len);
        memcpy(session + all, text, (size_t) len);
        all += len;
        all += snprintf(session + all, sizeof session - (size_t) all, "QUIT\r\n");
        play_all(span_make(session, (size_t) all), span_make(text, (size_t) len), has_nul, name);
}

TEST(no_end_of_data_but_the_true_one)
{
        static const char *const ends[] = {"\r", "\n", "\r\n"};
        static const char *const dots[] = {".", "..", " ."};
        static const char *const names[] = {"CR", "LF", "CRLF"};

        for (int i = 0; i < 27; i++) {
                const char *before = ends[i / 9], *dot = dots[i / 3 % 3], *after = ends[i % 3];
                char name[64], text[32];
                int len;

                snprintf(name, sizeof name, "%s \"%s\" %s", names[i / 9], dot, names[i % 3]);
                len = snprintf(text, sizeof text, "%s%s%s", before, dot, after);
                try_both(span_make(text, (size_t) len), false, strcmp(text, TRUE_END) == 0, name);
                for (int at = 0; at <= len; at++) {
                        /* A NUL outside of the five octets leaves the true end true. */
                        const bool is_whole = at == 0 || at == len;
                        char with_nul[33];

                        memcpy(with_nul, text, (size_t) at);
                        with_nul[at] = '\0';
                        memcpy(with_nul + at + 1, text + at, (size_t) (len - at));
                        try_both(span_make(with_nul, (size_t) len + 1), true,
                                 is_whole && strcmp(text, TRUE_END) == 0, name);
                }
        }
}

/* The true end between two messages makes two, whatever the cut. */
TEST(the_true_end_makes_two)
{
        static const struct span session =
                SPAN("EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nfirst line\r\n.\r\n"
                     SMUGGLED "\r\n.\r\nQUIT\r\n");

        for (size_t cut = 1; cut <= session.len; cut++) {
                struct outcome got = play(session, WHOLE, cut);

                CHECK(got.mails == 2 && got.ends == 2 && !got.is_refused, "two");
                buffer_done(&got.body);
        }
}

TEST_MAIN()
