/* One message by DATA or by BDAT against a reference that has no state: the same
 * text, the same end, the same refusals, whatever the cuts; and what stands
 * behind it is a command again.
 *
 * Octet 0: the least bit chooses BDAT, the others the piece; octet 1 the chunk. */
#include <stdint.h>
#include <stdlib.h>

#include "wire/smtp/smtp_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 1 << 20 };

struct session {
        struct smtp_server *s;
        struct buffer body, said;
        unsigned ends, replies;
        bool is_bad, is_closed;
};

struct reference {
        struct buffer body;
        size_t used; /* octets up to the end of data */
        bool is_bad, is_end;
};

static void demand(bool condition)
{
        if (!condition)
                abort();
}

/* ---- the reference ---- */

static bool is_text(struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                const bool has_lf = i + 1 < s.len && s.p[i + 1] == '\n';

                if (s.p[i] == '\0' || (s.p[i] == '\r' && !has_lf)
                    || (s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r')))
                        return false;
        }
        return true;
}

/* RFC 5321 section 4.5.2, on the whole text at once. */
static void refer_data(struct span in, struct reference *ref)
{
        static const struct span end = SPAN("\r\n.\r\n");
        const bool is_empty = span_starts_with_nocase(in, SPAN_LITERAL(".\r\n"));
        const char *at = is_empty ? in.p : memmem(in.p, in.len, end.p, end.len);
        struct span text, line;

        ref->is_end = at != NULL;
        if (!at)
                return;
        text = span_make(in.p, (size_t) (at - in.p) + (is_empty ? 0 : 2));
        ref->used = (size_t) (at - in.p) + (is_empty ? 3 : end.len);
        ref->is_bad = !is_text(text);
        while (text.len && !ref->is_bad) {
                const char *lf = memchr(text.p, '\n', text.len);

                line = span_first(text, (size_t) (lf - text.p) + 1);
                text = span_skip(text, line.len);
                demand(buffer_append_span(&ref->body, span_skip(line, line.p[0] == '.')) == 0);
        }
}

/* ---- the engine ---- */

static void drain(struct session *t)
{
        const struct span said = buffer_span(smtp_server_output(t->s));

        for (size_t i = 0; i + 3 < said.len; i++)
                t->replies += (i == 0 || said.p[i - 1] == '\n') && said.p[i + 3] == ' ';
        buffer_clear(smtp_server_output(t->s));
}

/* Feeds until all is used, or a message has ended. Returns what was used. */
static size_t feed(struct session *t, struct span in, size_t piece)
{
        const unsigned ends = t->ends;
        size_t used = 0;

        while (used < in.len && t->ends == ends && !t->is_closed) {
                struct smtp_event e;

                used += smtp_server_feed(t->s, span_first(span_skip(in, used), piece), &e);
                t->is_closed = e.kind == SMTP_EVENT_CLOSE;
                if (e.kind == SMTP_EVENT_BODY)
                        demand(buffer_append_span(&t->body, e.octets) == 0);
                if (e.kind == SMTP_EVENT_END) {
                        t->ends++;
                        t->is_bad = e.body_error != NULL;
                }
                if (e.kind == SMTP_EVENT_DATA)
                        smtp_server_reply(t->s, 354, NULL, NULL);
                else if (e.kind == SMTP_EVENT_HELO || e.kind == SMTP_EVENT_MAIL
                         || e.kind == SMTP_EVENT_RCPT || e.kind == SMTP_EVENT_END)
                        smtp_server_reply(t->s, 250, NULL, NULL);
                drain(t);
        }
        return used;
}

static void begin(struct session *t)
{
        const struct smtp_server_options o = {
                .offers = SMTP_OFFER_CHUNKING, .hostname = SPAN("mx.example.jp"),
                .command_length_max = 512, .recipients_max = 10,
        };

        *t = (struct session) {.s = smtp_server_new(&o), .body = BUFFER_INIT(TEXT_MAX)};
        demand(t->s);
        smtp_server_greet(t->s, 220, NULL);
        feed(t, SPAN_LITERAL("HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"), SIZE_MAX);
        drain(t);
        demand(t->replies == 4);
        t->replies = 0;
}

static void end(struct session *t)
{
        t->replies = 0;
        feed(t, SPAN_LITERAL("VERB\r\n"), 1);
        demand(t->replies == 1 && !t->is_closed);
        buffer_done(&t->body);
        t->s = smtp_server_free(t->s);
}

static void check_data(struct span content, size_t piece)
{
        struct reference ref = {.body = BUFFER_INIT(TEXT_MAX)};
        struct buffer in = BUFFER_INIT(TEXT_MAX);
        struct session t;
        size_t used;

        begin(&t);
        feed(&t, SPAN_LITERAL("DATA\r\n"), SIZE_MAX);
        buffer_append_span(&in, content);
        buffer_append_string(&in, "\r\n.\r\n");
        refer_data(buffer_span(&in), &ref);
        demand(ref.is_end);
        used = feed(&t, buffer_span(&in), piece);
        demand(t.ends == 1 && used == ref.used && t.is_bad == ref.is_bad);
        if (!ref.is_bad)
                demand(span_equal(buffer_span(&t.body), buffer_span(&ref.body)));
        end(&t);
        buffer_done(&ref.body);
        buffer_done(&in);
}

static void check_chunks(struct span content, size_t chunk, size_t piece)
{
        struct session t;
        struct span rest = content;
        unsigned chunks = 0;

        begin(&t);
        do {
                const struct span part = span_first(rest, chunk);
                struct buffer in = BUFFER_INIT(TEXT_MAX);

                rest = span_skip(rest, part.len);
                buffer_printf(&in, "BDAT %zu%s\r\n", part.len, rest.len ? "" : " LAST");
                buffer_append_span(&in, part);
                demand(feed(&t, buffer_span(&in), piece) == in.len);
                buffer_done(&in);
                chunks++;
        } while (rest.len);
        /* One without octets is complete when it is next fed. */
        feed(&t, SPAN_LITERAL("NOOP\r\n"), 1);
        drain(&t);
        demand(t.replies + (t.ends && content.len == 0 ? 1 : 0) >= chunks);
        if (is_text(content))
                demand(t.ends == 1 && !t.is_bad
                       && span_equal(buffer_span(&t.body), content));
        else
                demand(t.ends == 0 || t.is_bad);
        end(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct span content;
        size_t piece;

        if (size < 2 || size > 16 * 1024)
                return 0;
        content = span_make((const char *) data + 2, size - 2);
        piece = 1 + (data[0] >> 1) * 3u;
        if (data[0] & 1)
                check_chunks(content, 1 + data[1], piece);
        else
                check_data(content, piece);
        return 0;
}
