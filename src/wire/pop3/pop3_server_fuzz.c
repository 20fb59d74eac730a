/* A role that answers by a fixed rule, fed whole and in pieces: the same output
 * each time, and every line of it in shape.
 *
 * Octet 0 chooses offers, octet 1 the piece, octet 2 the answers. */
#include <assert.h>
#include <stdint.h>

#include "wire/pop3/pop3_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUTPUT_MAX = 1 << 24 };

static const char mail[] = "A: b\r\n c\r\n\r\n.\r\n..\r\na\nb\r.\r\n\r\nend";

struct session {
        struct pop3_server *s;
        struct buffer output;
        uint8_t answers;
        unsigned events;
        bool is_closed;
};

static void answer(struct session *t, const struct pop3_event *e)
{
        static const struct pop3_message messages[] = {{.uid = 1, .size = 9}, {.uid = 4}};
        struct pop3_answer a = {.result = POP3_OK, .messages = messages, .message_count = 2,
                                .uid_validity = 1, .octets = span_make(mail, sizeof mail - 1)};

        t->events++;
        if (t->answers && t->events % (2 + t->answers % 5u) == 0)
                a = (struct pop3_answer) {.result = POP3_ERR, .code = "X\r\n", .text = "\r\n.\r\n"};
        else if (e->kind == POP3_EVENT_AUTH && (t->answers & 8))
                a = (struct pop3_answer) {.result = POP3_CONTINUE, .text = ""};
        pop3_server_answer(t->s, &a);
}

static size_t feed(struct session *t, struct span in)
{
        size_t used = 0;

        for (;;) {
                struct buffer *out = pop3_server_output(t->s);
                struct pop3_event e;

                used += pop3_server_feed(t->s, span_skip(in, used), &e);
                assert(used <= in.len);
                assert(out->len == 0 || buffer_append_span(&t->output, buffer_span(out)) == 0);
                buffer_clear(out);
                t->is_closed = e.kind == POP3_EVENT_CLOSE;
                if (e.kind == POP3_EVENT_NONE)
                        assert(used == in.len);
                if (e.kind == POP3_EVENT_NONE || e.kind == POP3_EVENT_WAIT || t->is_closed)
                        return used;
                if (e.kind != POP3_EVENT_FLUSH && e.kind != POP3_EVENT_AUTH_CANCEL)
                        answer(t, &e);
        }
}

static void play(struct session *t, const uint8_t *choice, struct span in, size_t piece)
{
        const struct pop3_server_options o = {
                .offers = choice[0] & 7, .hostname = SPAN("h"), .auth_mechanisms = SPAN("PLAIN"),
                .apop_stamp = SPAN("<1@h>"), .errors_max = choice[0] & 8 ? 3 : 0,
        };
        size_t used = 0, shown = 0;

        *t = (struct session) {.s = pop3_server_new(&o), .answers = choice[2],
                               .output = BUFFER_INIT(OUTPUT_MAX)};
        assert(t->s);
        if (choice[0] & 16)
                pop3_server_resume(t->s, choice[0] & 32);
        else
                pop3_server_greet(t->s, NULL);
        while (shown < in.len && !t->is_closed) {
                shown = shown + piece < in.len ? shown + piece : in.len;
                used += feed(t, span_make(in.p + used, shown - used));
        }
        if (!t->is_closed)
                feed(t, span_make("", 0));
        pop3_server_trim(t->s);
        t->s = pop3_server_free(t->s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct session whole, pieces;
        struct span in;

        if (size < 4 || size > 20000)
                return 0;
        in = span_make((const char *) data + 3, size - 3);
        play(&whole, data, in, in.len);
        play(&pieces, data, in, 1 + data[1] % 32u);
        assert(whole.is_closed == pieces.is_closed);
        assert(span_equal(buffer_span(&whole.output), buffer_span(&pieces.output)));
        buffer_done(&whole.output);
        buffer_done(&pieces.output);
        return 0;
}
