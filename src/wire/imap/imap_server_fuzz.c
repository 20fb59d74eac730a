/* A role that answers by a fixed rule, fed whole and in pieces: the same events
 * and the same output each time, and never more tagged replies than lines.
 *
 * Octet 0 chooses offers and where the session begins, octet 1 the piece, octet 2
 * the answers. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/clock.h"
#include "wire/imap/imap_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGES = 5, LOG_MAX = 1 << 24 };

static const char body[] =
        "From: a <a@b>, g: c@d;\r\nSubject: =?utf-8?q?=e6=9d=b1?= x\r\n"
        "Date: 1 Jan 2000 1:2:3 GMT\r\n"
        "References: <1@x>\r\nMessage-ID: <2@x>\r\n"
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n"
        "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\n.text\r\n--b\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n";

struct session {
        struct imap_server *s;
        struct imap_view *view;
        struct imap_message messages[MESSAGES];
        size_t count;
        uint64_t modseq;
        uint8_t answers;
        struct buffer log, replies;
        unsigned events;
        bool is_closed;
};

static void renew(struct session *t)
{
        const struct span keywords[2] = {SPAN("$A"), SPAN("$B")};
        const struct imap_view_head head = {
                .uid_validity = 1, .uid_next = 100, .highest_modseq = t->modseq, .mailbox_id = 1,
                .keywords = keywords, .keyword_count = 2,
        };

        imap_view_unref(t->view);
        t->view = imap_view_new(&head, t->messages, t->count);
        assert(t->view);
        imap_server_set_view(t->s, t->view);
}

static void drain(struct session *t)
{
        struct buffer *out = imap_server_output(t->s);

        assert(out->len == 0 || buffer_append_span(&t->replies, buffer_span(out)) == 0);
        buffer_clear(out);
}

static void log_span(struct session *t, struct span s)
{
        if (s.len)
                assert(buffer_append_span(&t->log, s) == 0);
        assert(buffer_append(&t->log, "|", 1) == 0);
}

static void log_event(struct session *t, const struct imap_event *e)
{
        assert(buffer_printf(&t->log, "%d %u %zu ", (int) e->kind, e->message.uid, e->uid_count)
               == 0);
        log_span(t, e->login_name);
        log_span(t, e->password);
        log_span(t, e->mailbox);
        log_span(t, e->new_name);
        /* Growing, not touching, and with a message in each. */
        for (size_t i = 0; i < e->uid_count; i++) {
                const size_t at = imap_view_find(t->view, e->uids[i].first);

                assert(e->uids[i].first && e->uids[i].first <= e->uids[i].last);
                assert(i == 0 || e->uids[i].first > e->uids[i - 1].last + 1);
                assert(at < t->view->count);
        }
}

static void change(struct session *t, const struct imap_event *e)
{
        size_t n = 0;

        for (size_t i = 0; i < t->count; i++) {
                struct imap_message *m = &t->messages[i];
                bool is_in = false;

                for (size_t k = 0; k < e->uid_count; k++)
                        is_in = is_in || (m->uid >= e->uids[k].first && m->uid <= e->uids[k].last);
                if (is_in && e->kind != IMAP_EVENT_STORE)
                        continue;
                if (is_in) {
                        m->flags = e->store.mode == IMAP_STORE_REMOVE ? m->flags & ~e->store.flags
                                                                      : m->flags | e->store.flags;
                        m->modseq = ++t->modseq;
                }
                t->messages[n++] = *m;
        }
        t->count = n;
        renew(t);
}

static void answer(struct session *t, const struct imap_event *e)
{
        static const struct imap_mailbox boxes[] = {
                { .name = SPAN("INBOX"), .is_subscribed = true },
                { .name = SPAN("a&b/c"), .special_use = IMAP_USE_SENT },
                { .name = SPAN("\xE6\x9D\xB1"), .is_missing = true, .is_subscribed = true },
        };
        static const struct imap_range some = {2, 3};
        struct imap_answer a = {
                .result = IMAP_OK, .octets = span_make(body, sizeof body - 1), .view = t->view,
                .mailboxes = boxes, .mailbox_count = e->kind == IMAP_EVENT_STATUS ? 1 : 3,
                .uid_validity = 1, .uids = &some, .uid_count = 1, .source_uids = &some,
                .source_uid_count = 1, .mailbox_id = 3, .text = "te\r\nxt",
        };

        t->events++;
        if (t->answers && t->events % (2 + t->answers % 7u) == 0) {
                a = (struct imap_answer) {.result = IMAP_NO, .code = "X]\r\n"};
        } else if (e->kind == IMAP_EVENT_AUTHENTICATE && (t->answers & 8)) {
                a = (struct imap_answer) {.result = IMAP_CONTINUE, .text = "QQ=="};
        } else if (e->kind == IMAP_EVENT_STORE || e->kind == IMAP_EVENT_EXPUNGE
                   || e->kind == IMAP_EVENT_MOVE) {
                change(t, e);
                a.uid_count = e->kind == IMAP_EVENT_STORE ? 0 : 1;
        }
        imap_server_answer(t->s, &a);
}

static bool is_told_only(enum imap_event_kind kind)
{
        return kind == IMAP_EVENT_ID || kind == IMAP_EVENT_DESELECT || kind == IMAP_EVENT_IDLE
               || kind == IMAP_EVENT_IDLE_END || kind == IMAP_EVENT_AUTHENTICATE_CANCEL
               || kind == IMAP_EVENT_APPEND_ABORT || kind == IMAP_EVENT_APPEND_OCTETS;
}

static size_t feed(struct session *t, struct span in)
{
        size_t used = 0;

        for (;;) {
                struct imap_event e;
                const size_t n = imap_server_feed(t->s, span_skip(in, used), &e);

                assert(n <= in.len - used);
                used += n;
                drain(t);
                switch (e.kind) {
                case IMAP_EVENT_NONE:
                        assert(used == in.len);
                        return used;
                case IMAP_EVENT_WAIT: /* STARTTLS was answered */
                        return used;
                case IMAP_EVENT_CLOSE:
                        t->is_closed = true;
                        return used;
                case IMAP_EVENT_FLUSH:
                        continue;
                default:
                        break;
                }
                if (e.kind == IMAP_EVENT_APPEND_OCTETS)
                        assert(e.octets.len);
                else
                        log_event(t, &e);
                if (!is_told_only(e.kind))
                        answer(t, &e);
        }
}

static void play(struct session *t, const uint8_t *choice, struct span in, size_t piece)
{
        const struct imap_server_options o = {
                .offers = choice[0] >> 4, .hostname = SPAN("h"),
                .auth_mechanisms = SPAN("PLAIN LOGIN"), .append_max = choice[0] & 4 ? 20 : 0,
                .errors_max = choice[0] & 8 ? 3 : 0,
        };
        size_t used = 0, shown = 0;

        *t = (struct session) { .s = imap_server_new(&o), .answers = 0, .count = MESSAGES,
                                .modseq = 10, .log = BUFFER_INIT(LOG_MAX),
                                .replies = BUFFER_INIT(LOG_MAX) };
        assert(t->s);
        for (uint32_t i = 0; i < MESSAGES; i++)
                t->messages[i] = (struct imap_message) {
                        .uid = 2 * i + 1, .flags = i * 5 & 31, .keywords = i & 3, .modseq = i + 1,
                        .size = sizeof body - 1, .arrived_us = (uint64_t) i * 90000000000000};
        renew(t);
        if (choice[0] & 1)
                assert(imap_server_resume(t->s, SPAN_LITERAL("t")) == 0);
        else
                imap_server_greet(t->s, NULL);
        if ((choice[0] & 3) == 3)
                feed(t, SPAN_LITERAL("s SELECT INBOX\r\n"));
        t->answers = choice[2];
        while (shown < in.len && !t->is_closed) {
                shown = shown + piece < in.len ? shown + piece : in.len;
                used += feed(t, span_make(in.p + used, shown - used));
        }
        if (!t->is_closed)
                feed(t, span_make("", 0));
        imap_server_trim(t->s);
        t->s = imap_server_free(t->s);
        imap_view_unref(t->view);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct session whole, pieces;
        struct span in;

        if (size < 4 || size > 20000)
                return 0;
        clock_fake(1700000000000000);
        setenv("TZ", "UTC", 1);
        in = span_make((const char *) data + 3, size - 3);
        play(&whole, data, in, in.len);
        play(&pieces, data, in, 1 + data[1] % 32u);
        assert(whole.is_closed == pieces.is_closed);
        assert(span_equal(buffer_span(&whole.log), buffer_span(&pieces.log)));
        assert(span_equal(buffer_span(&whole.replies), buffer_span(&pieces.replies)));
        buffer_done(&whole.log);
        buffer_done(&whole.replies);
        buffer_done(&pieces.log);
        buffer_done(&pieces.replies);
        return 0;
}
