/* APPEND (RFC 9051 section 6.3.12) with MULTIAPPEND (RFC 3502), LITERAL+,
 * BINARY's literal8, and the UTF8 data of RFC 6855.
 *
 *   tag APPEND mailbox [(flags)] [date] {n}  ──► APPEND? ──OK──► octets
 *                      [(flags)] [date] {n}  ──► APPEND? ──OK──► octets
 *                      CRLF                  ──► APPEND_END?
 *
 * The messages are all stored or none, so what was refused once is refused to
 * the end. */
#include "wire/imap/imap_server_engine.h"

struct appending {
        struct span mailbox;
        struct imap_append append;
        bool is_synchronizing;
        bool is_utf8;       /* within "UTF8 (" ... ")" */
        bool has_message;   /* one was taken */
};

static bool parse_message(struct imap_parser *p, struct appending *a, const struct imap_literal *l)
{
        struct imap_flags f = {0};

        a->append = (struct imap_append) {.size = l->size, .is_binary = l->is_binary};
        if (imap_parse_peek(p) == '(' && (!imap_parse_flags(p, false, &f) || !imap_parse_space(p)))
                return false;
        if (imap_parse_peek(p) == '"'
            && (!imap_parse_date_time(p, &a->append.arrived_us) || !imap_parse_space(p)))
                return false;
        a->is_utf8 = imap_parse_word(p, SPAN_LITERAL("UTF8"));
        if (a->is_utf8 && (!imap_parse_space(p) || !imap_parse_char(p, '(') || !l->is_binary))
                return false;
        a->append.flags = f.flags;
        a->append.keywords = f.keywords;
        a->append.keyword_count = f.keyword_count;
        return imap_parse_end(p);
}

/* The tag, APPEND and the mailbox, which must stand there whole. */
static bool parse_begin(struct imap_server *s, struct imap_parser *p, struct appending *a)
{
        return imap_parse_tag(p, &s->tag) && imap_parse_space(p)
               && imap_parse_word(p, SPAN_LITERAL("APPEND")) && imap_parse_space(p)
               && imap_parse_mailbox(p, &a->mailbox) && imap_parse_space(p);
}

/* Drops the octets of this literal, if they come unasked, and what follows. */
static void refuse(struct imap_server *s, const struct imap_literal *l, enum imap_result result,
                   const char *code, const char *text)
{
        if (!l->is_synchronizing)
                s->reading = IMAP_READING_SKIP;
        imap_server_finish(s, result, code, text);
        if (s->reading == IMAP_READING_SKIP)
                s->literal_left = l->size;
}

static void answered_append(struct imap_server *s, const struct imap_answer *answer)
{
        struct appending *a = s->work_state;

        if (answer->result != IMAP_OK) {
                const struct imap_literal l = {.size = a->append.size,
                                               .is_synchronizing = a->is_synchronizing};

                refuse(s, &l, IMAP_NO, answer->code, answer->text);
                return;
        }
        if (a->is_synchronizing)
                imap_server_put(s, "+ Go on\r\n");
        a->has_message = true;
        s->literal_left = a->append.size;
        s->reading = IMAP_READING_MESSAGE;
        buffer_clear(&s->line);
        s->line_at = 0;
}

static void abort_all(struct imap_server *s, const struct appending *a)
{
        if (a->has_message)
                s->queued = IMAP_EVENT_APPEND_ABORT;
}

static void ask(struct imap_server *s, struct appending *a, const struct imap_literal *l,
                struct imap_event *ev)
{
        a->is_synchronizing = l->is_synchronizing;
        if (s->options.append_max && l->size > s->options.append_max) {
                abort_all(s, a);
                refuse(s, l, IMAP_NO, "TOOBIG", "The message is too big");
                return;
        }
        ev->mailbox = a->mailbox;
        ev->append = a->append;
        s->work_state = a;
        imap_server_wait(s, ev, IMAP_EVENT_APPEND, answered_append);
}

static bool is_append(struct span line)
{
        struct imap_parser p = {.rest = line};
        struct span tag;

        return imap_parse_tag(&p, &tag) && imap_parse_space(&p)
               && imap_parse_word(&p, SPAN_LITERAL("APPEND"));
}

bool imap_server_append_literal(struct imap_server *s, const struct imap_literal *l,
                                struct imap_event *ev)
{
        struct imap_parser p = {
                .rest = buffer_span(&s->line), .arena = &s->arena,
                .is_utf8 = s->enabled & (IMAP_ENABLED_UTF8 | IMAP_ENABLED_REV2),
        };
        struct appending *a;

        if (!is_append(p.rest))
                return false;
        a = arena_alloc(&s->arena, sizeof *a);
        /* The marker is the end of what is parsed; while the mailbox is not whole
         * yet, it is the mailbox's. */
        p.rest.len = s->line_at + l->at;
        if (!a || !parse_begin(s, &p, a)) {
                arena_clear(&s->arena);
                return false;
        }
        s->tag = arena_copy(&s->arena, s->tag);
        a->mailbox = arena_copy(&s->arena, a->mailbox);
        if (!s->tag.p || !a->mailbox.p) {
                s->is_broken = true;
        } else if (!parse_message(&p, a, l)) {
                refuse(s, l, IMAP_BAD, NULL, "Say APPEND mailbox [(flags)] [date] literal");
        } else {
                ask(s, a, l, ev);
        }
        return true;
}

void imap_server_append_more(struct imap_server *s)
{
        s->reading = IMAP_READING_MORE;
}

static void answered_end(struct imap_server *s, const struct imap_answer *a)
{
        if (a->result != IMAP_OK || a->uid_count == 0) {
                imap_server_finish_answer(s, a);
                return;
        }
        imap_server_begin_tagged(s, IMAP_OK);
        imap_server_put(s, "[APPENDUID ");
        imap_server_put_number(s, a->uid_validity);
        imap_server_put(s, " ");
        imap_server_put_ranges(s, a->uids, a->uid_count);
        imap_server_put(s, "] ");
        imap_server_end_tagged(s, "Stored");
}

void imap_server_append_line(struct imap_server *s, struct span line, struct imap_event *ev)
{
        struct imap_parser p = {.rest = line, .arena = &s->arena};
        struct appending *a = s->work_state;
        struct imap_literal l;

        s->reading = IMAP_READING_LINE;
        if (a->is_utf8 && !imap_parse_char(&p, ')')) {
                abort_all(s, a);
                imap_server_bad(s, "UTF8 ( is not closed");
                return;
        }
        if (imap_parse_end(&p)) {
                imap_server_wait(s, ev, IMAP_EVENT_APPEND_END, answered_end);
                return;
        }
        if (!imap_parse_literal(p.rest, &l)) {
                abort_all(s, a);
                imap_server_bad(s, "Nothing, or another message follows a message");
                return;
        }
        p.rest.len = l.at;
        if (!imap_parse_space(&p) || !parse_message(&p, a, &l)) {
                abort_all(s, a);
                refuse(s, &l, IMAP_BAD, NULL, "Another message: [(flags)] [date] literal");
                return;
        }
        ask(s, a, &l, ev);
}

/* Reached only where no literal came. */
IMAP_COMMAND_FUNCTION(append)
{
        imap_server_bad(s, "APPEND needs a literal");
}
