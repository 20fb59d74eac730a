/* What is written to the client. Without memory for a reply the session ends:
 * half a line must not go out. */
#include "base/clock.h"
#include "base/utf8.h"
#include "wire/imap/imap_server_engine.h"
#include "wire/imap/mailbox_name.h"

void imap_server_put_span(struct imap_server *s, struct span text)
{
        if (text.len && buffer_append_span(&s->output, text) < 0)
                s->is_broken = true;
}

void imap_server_put(struct imap_server *s, const char *text)
{
        imap_server_put_span(s, span_from_string(text));
}

void imap_server_put_number(struct imap_server *s, uint64_t n)
{
        char digits[20];
        size_t at = sizeof digits;

        do {
                digits[--at] = (char) ('0' + n % 10);
                n /= 10;
        } while (n);
        imap_server_put_span(s, span_make(digits + at, sizeof digits - at));
}

static bool is_quotable(struct span text, bool is_utf8)
{
        if (text.len > 1024)
                return false;
        for (size_t i = 0; i < text.len; i++) {
                const unsigned char c = (unsigned char) text.p[i];

                if (c == '\r' || c == '\n' || c == '\0' || (c > 126 && !is_utf8))
                        return false;
        }
        return !is_utf8 || utf8_is_valid(text);
}

void imap_server_put_string(struct imap_server *s, struct span text)
{
        if (!is_quotable(text, s->enabled & (IMAP_ENABLED_UTF8 | IMAP_ENABLED_REV2))) {
                imap_server_put(s, "{");
                imap_server_put_number(s, text.len);
                imap_server_put(s, "}\r\n");
                imap_server_put_span(s, text);
                return;
        }
        imap_server_put(s, "\"");
        for (size_t i = 0; i < text.len; i++) {
                if (text.p[i] == '"' || text.p[i] == '\\')
                        imap_server_put(s, "\\");
                imap_server_put_span(s, span_make(text.p + i, 1));
        }
        imap_server_put(s, "\"");
}

void imap_server_put_astring(struct imap_server *s, struct span text)
{
        struct imap_parser p = {.rest = text};
        struct span atom;

        if (imap_parse_atom(&p, &atom) && imap_parse_end(&p)
            && !span_equal_nocase(text, SPAN_LITERAL("NIL")))
                imap_server_put_span(s, text);
        else
                imap_server_put_string(s, text);
}

void imap_server_put_mailbox(struct imap_server *s, struct span name)
{
        struct buffer encoded = BUFFER_INIT(64 * 1024);

        if (s->enabled & (IMAP_ENABLED_UTF8 | IMAP_ENABLED_REV2)) {
                imap_server_put_astring(s, name);
                return;
        }
        if (mailbox_name_encode(name, &encoded) < 0)
                s->is_broken = true;
        else
                imap_server_put_astring(s, buffer_span(&encoded));
        buffer_done(&encoded);
}

void imap_server_put_ranges(struct imap_server *s, const struct imap_range *r, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                if (i)
                        imap_server_put(s, ",");
                imap_server_put_number(s, r[i].first);
                if (r[i].last != r[i].first) {
                        imap_server_put(s, ":");
                        imap_server_put_number(s, r[i].last);
                }
        }
}

static const struct {
        unsigned flag;
        const char *name;
} flag_names[] = {
        { IMAP_FLAG_ANSWERED, "\\Answered" }, { IMAP_FLAG_FLAGGED, "\\Flagged" },
        { IMAP_FLAG_DELETED, "\\Deleted" },   { IMAP_FLAG_SEEN, "\\Seen" },
        { IMAP_FLAG_DRAFT, "\\Draft" },
};

void imap_server_put_flags(struct imap_server *s, const struct imap_message *m,
                           const struct imap_view *v)
{
        const char *gap = "(";

        for (size_t i = 0; i < sizeof flag_names / sizeof flag_names[0]; i++) {
                if (m->flags & flag_names[i].flag) {
                        imap_server_put(s, gap);
                        imap_server_put(s, flag_names[i].name);
                        gap = " ";
                }
        }
        for (unsigned i = 0; i < v->keyword_count; i++) {
                if (m->keywords >> i & 1) {
                        imap_server_put(s, gap);
                        imap_server_put_span(s, v->keywords[i]);
                        gap = " ";
                }
        }
        imap_server_put(s, *gap == '(' ? "()" : ")");
}

void imap_server_put_flag_names(struct imap_server *s, const struct imap_view *v)
{
        imap_server_put(s, "(\\Answered \\Flagged \\Deleted \\Seen \\Draft");
        for (unsigned i = 0; i < v->keyword_count; i++) {
                imap_server_put(s, " ");
                imap_server_put_span(s, v->keywords[i]);
        }
}

void imap_server_put_date_time(struct imap_server *s, uint64_t at_us)
{
        char text[CLOCK_DATE_MAX];

        imap_server_put(s, "\"");
        imap_server_put(s, clock_format_imap(at_us, text));
        imap_server_put(s, "\"");
}

/* ---- the tagged reply -------------------------------------------------------- */

/* Text that came from elsewhere starts no line of its own. */
static void put_clean(struct imap_server *s, const char *text)
{
        const struct span t = span_first(span_from_string(text), IMAP_SERVER_TEXT_MAX);

        for (size_t i = 0; i < t.len; i++) {
                const unsigned char c = (unsigned char) t.p[i];

                imap_server_put_span(s, c < 32 || c > 126 ? SPAN_LITERAL("?")
                                                          : span_make(t.p + i, 1));
        }
}

static const char *result_name(enum imap_result result)
{
        switch (result) {
        case IMAP_OK:
                return "OK ";
        case IMAP_NO:
                return "NO ";
        default:
                return "BAD ";
        }
}

void imap_server_begin_tagged(struct imap_server *s, enum imap_result result)
{
        const bool by_number = s->command && (s->command->flags & IMAP_COMMAND_NO_EXPUNGE)
                               && !s->is_uid;

        imap_server_sync(s, !by_number);
        imap_server_put_span(s, s->tag);
        imap_server_put(s, " ");
        imap_server_put(s, result_name(result));
}

void imap_server_end_tagged(struct imap_server *s, const char *text)
{
        put_clean(s, text);
        imap_server_put(s, "\r\n");
        buffer_clear(&s->line);
        s->line_at = 0;
        s->literal_left = 0;
        s->tag = (struct span) {NULL, 0};
        s->command = NULL;
        s->is_uid = false;
        s->work = NULL;
        s->work_state = NULL;
        s->told = NULL;
        s->told_count = 0;
        arena_clear(&s->arena);
        if (s->reading != IMAP_READING_CLOSED && s->reading != IMAP_READING_HANDSHAKE
            && s->reading != IMAP_READING_SKIP)
                s->reading = IMAP_READING_LINE;
}

void imap_server_finish(struct imap_server *s, enum imap_result result, const char *code,
                        const char *text)
{
        static const char *const defaults[] = {
                [IMAP_OK] = "Done", [IMAP_NO] = "Refused", [IMAP_BAD] = "Not understood",
        };

        imap_server_begin_tagged(s, result);
        if (code) {
                imap_server_put(s, "[");
                put_clean(s, code);
                imap_server_put(s, "] ");
        }
        s->errors = result == IMAP_BAD ? s->errors + 1 : 0;
        imap_server_end_tagged(s, text ? text : defaults[result]);
        if (s->options.errors_max && s->errors >= s->options.errors_max)
                imap_server_bye(s, "Too many errors");
}

void imap_server_ok(struct imap_server *s)
{
        imap_server_finish(s, IMAP_OK, NULL, NULL);
}

void imap_server_no(struct imap_server *s, const char *code, const char *text)
{
        imap_server_finish(s, IMAP_NO, code, text);
}

void imap_server_bad(struct imap_server *s, const char *text)
{
        imap_server_finish(s, IMAP_BAD, NULL, text);
}

void imap_server_finish_answer(struct imap_server *s, const struct imap_answer *a)
{
        imap_server_finish(s, a->result == IMAP_OK ? IMAP_OK : IMAP_NO, a->code, a->text);
}

void imap_server_bye(struct imap_server *s, const char *text)
{
        if (s->reading == IMAP_READING_CLOSED)
                return;
        imap_server_put(s, "* BYE ");
        put_clean(s, text ? text : "The session ends");
        imap_server_put(s, "\r\n");
        s->reading = IMAP_READING_CLOSED;
        s->work = NULL;
}
