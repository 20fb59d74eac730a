/* A role that answers by a fixed rule, fed whole and in pieces: the same events
 * and replies each time. Never more replies than commands, never two messages
 * from one end of data, never a reply line out of shape.
 *
 * Octet 0 chooses dialect and offers, octet 1 the piece, octet 2 the answers. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "message/status_code.h"
#include "wire/smtp/smtp_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LOG_MAX = 1 << 22 };

struct session {
        struct smtp_server *s;
        uint8_t answers;
        struct buffer log;
        struct buffer replies;
        unsigned events, ends, datas;
        bool is_closed, is_lmtp;
};

static void drain(struct session *t)
{
        struct buffer *out = smtp_server_output(t->s);
        assert(buffer_append_span(&t->replies, buffer_span(out)) == 0);
        buffer_clear(out);
}

static void log_span(struct session *t, struct span s)
{
        if (s.len)
                assert(buffer_append_span(&t->log, s) == 0);
        assert(buffer_append(&t->log, "|", 1) == 0);
}

static void log_event(struct session *t, const struct smtp_event *e)
{
        const char kind = (char) ('a' + e->kind);

        assert(buffer_append(&t->log, &kind, 1) == 0);
        log_span(t, e->helo_name);
        if (e->kind == SMTP_EVENT_MAIL) {
                log_span(t, e->mail.path);
                log_span(t, e->mail.envid);
        } else if (e->kind == SMTP_EVENT_RCPT) {
                log_span(t, e->rcpt.path);
                log_span(t, e->rcpt.orcpt);
        }
        log_span(t, e->argument);
        if (e->body_error)
                log_span(t, span_from_string(e->body_error));
}

/* Refuses one event in some, by number, so that all paths are walked. */
static void answer(struct session *t, const struct smtp_event *e)
{
        const bool is_refused = t->answers && t->events % (1 + t->answers % 7u) == 0;
        const unsigned count = e->kind == SMTP_EVENT_END && t->is_lmtp
                                       ? smtp_server_recipients(t->s) : 1;

        assert(count > 0);
        for (unsigned i = 0; i < count; i++) {
                if (e->body_error || (is_refused && (t->answers & 8)))
                        smtp_server_reply(t->s, 550, "5.7.1", "no\r\nway\ntwo");
                else if (is_refused)
                        smtp_server_reply(t->s, 451, NULL, NULL);
                else if (e->kind == SMTP_EVENT_DATA)
                        smtp_server_reply(t->s, 354, NULL, NULL);
                else if (e->kind == SMTP_EVENT_STARTTLS || e->kind == SMTP_EVENT_XCLIENT)
                        smtp_server_reply(t->s, 220, "2.0.0", NULL);
                else if (e->kind == SMTP_EVENT_AUTH)
                        smtp_server_reply(t->s, 334, NULL, NULL);
                else
                        smtp_server_reply(t->s, 250, "2.0.0", NULL);
        }
}

static size_t feed(struct session *t, struct span in)
{
        size_t used = 0;

        for (;;) {
                struct smtp_event e;
                const size_t n = smtp_server_feed(t->s, span_skip(in, used), &e);

                assert(n <= in.len - used);
                used += n;
                switch (e.kind) {
                case SMTP_EVENT_NONE:
                        assert(used == in.len);
                        return used;
                case SMTP_EVENT_WAIT: /* 220 was said to STARTTLS */
                        return used;
                case SMTP_EVENT_FLUSH:
                        drain(t);
                        continue;
                case SMTP_EVENT_BODY:
                        assert(e.octets.len > 0);
                        continue;
                case SMTP_EVENT_CLOSE:
                        t->is_closed = true;
                        return used;
                default:
                        break;
                }
                log_event(t, &e);
                t->datas += e.kind == SMTP_EVENT_DATA;
                t->ends += e.kind == SMTP_EVENT_END;
                assert(t->ends <= t->datas); /* each END has had its DATA */
                if (e.kind == SMTP_EVENT_RESET || e.kind == SMTP_EVENT_AUTH_CANCEL)
                        continue;
                t->events++;
                answer(t, &e);
        }
}

/* RFC 2034 section 3: but for the answer to EHLO, which is a 250. */
static bool has_status_code(struct span line)
{
        const unsigned code = (unsigned) (line.p[0] - '0') * 100;
        struct span text = span_skip(line, 4);
        struct status_code c;

        return line.p[0] == '3' || (line.p[0] == '2' && line.p[1] == '5')
               || status_code_take(&text, code, &c);
}

/* Lines of at most 512 octets, code and separator; returns the replies. */
static size_t count_replies(struct span text)
{
        struct span line;
        size_t replies = 0;

        while (text.len && span_split(&text, '\n', &line)) {
                assert(line.len >= 5 && line.len <= 511 && line.p[line.len - 1] == '\r');
                assert(line.p[0] >= '2' && line.p[0] <= '5');
                assert(line.p[3] == ' ' || line.p[3] == '-');
                assert(has_status_code(line));
                for (size_t i = 0; i + 1 < line.len; i++)
                        assert((unsigned char) line.p[i] >= 32 && line.p[i] != 127);
                replies += line.p[3] == ' ';
        }
        return replies;
}

static size_t count_lines(struct span text)
{
        size_t lines = 0;

        for (size_t i = 0; i < text.len; i++)
                lines += text.p[i] == '\n';
        return lines;
}

static void play(struct session *t, uint8_t choice, uint8_t answers, struct span in, size_t piece)
{
        const struct smtp_server_options o = {
                .dialect = choice & 1 ? SMTP_DIALECT_LMTP : SMTP_DIALECT_SMTP,
                .offers = (choice >> 1 & 63u) | (choice & 128 ? 0xfc0u : 0),
                .hold_max_s = 3600, .hold_until_max_us = UINT64_C(4000000000) * 1000000,
                .hostname = SPAN("mx.example.jp"),
                .message_size_max = choice & 128 ? 64 : 0, .recipients_max = 5,
                .command_length_max = 512, .errors_max = choice & 2 ? 5 : 0,
                .commands_max = choice & 2 ? 50 : 0,
                .messages_max = choice & 4 ? 3 : 0, .auth_mechanisms = SPAN("PLAIN"),
                .is_judged_by_role = choice & 64,
        };
        size_t used = 0, shown = 0;

        *t = (struct session) { .s = smtp_server_new(&o), .answers = answers, .is_lmtp = choice & 1,
                                .log = BUFFER_INIT(LOG_MAX), .replies = BUFFER_INIT(LOG_MAX) };
        assert(t->s);
        while (shown < in.len && !t->is_closed) {
                shown = shown + piece < in.len ? shown + piece : in.len;
                used += feed(t, span_make(in.p + used, shown - used));
        }
        if (!t->is_closed)
                feed(t, span_make("", 0));
        drain(t);
        t->s = smtp_server_free(t->s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct session whole, pieces;
        struct span in;

        if (size < 4 || size > 20000)
                return 0;
        in = span_make((const char *) data + 3, size - 3);
        play(&whole, data[0], data[2], in, in.len);
        play(&pieces, data[0], data[2], in, 1 + data[1] % 32u);
        assert(whole.is_closed == pieces.is_closed);
        assert(span_equal(buffer_span(&whole.log), buffer_span(&pieces.log)));
        assert(span_equal(buffer_span(&whole.replies), buffer_span(&pieces.replies)));
        /* A reply a line at most; under LMTP up to five more for an end of data;
         * a chunk without a line end in it ends in a message, too. */
        assert(count_replies(buffer_span(&whole.replies))
               <= count_lines(in) * (whole.is_lmtp ? 5 : 1) + whole.ends * 5);
        buffer_done(&whole.log);
        buffer_done(&whole.replies);
        buffer_done(&pieces.log);
        buffer_done(&pieces.replies);
        return 0;
}
