/* BDAT: a chunk of message octets, counted instead of ended by a dot
 * (RFC 3030). The octets of a chunk are read whatever is the matter with it:
 * they follow its command without waiting, and must not become commands. */
#include <stdio.h>

#include "base/number.h"
#include "wire/smtp/smtp_server_engine.h"

/* The chunk will be read and then answered so. */
static void drop_chunk(struct smtp_server *s, unsigned code, const char *enhanced,
                       const char *text)
{
        s->is_chunk_dropped = true;
        s->chunk_code = (uint16_t) code;
        s->chunk_enhanced = enhanced;
        s->chunk_text = text;
}

/* "n" or "n LAST". */
static bool parse_argument(struct span argument, uint64_t *ret_len, bool *ret_is_last)
{
        struct span number;

        if (!span_split(&argument, ' ', &number)
            || number_parse(number, UINT64_MAX, ret_len) < 0)
                return false;
        argument = span_trim(argument);
        *ret_is_last = argument.len > 0;
        return argument.len == 0 || span_equal_nocase(argument, SPAN_LITERAL("LAST"));
}

SMTP_COMMAND_FUNCTION(bdat)
{
        uint64_t len;
        bool is_last;

        if (!parse_argument(argument, &len, &is_last)) {
                /* How many octets follow is not known, so nothing behind it can
                 * be told from a command. */
                smtp_server_close(s, 501, "5.5.4", "Say BDAT octets [LAST]");
                return;
        }
        s->state = SMTP_STATE_CHUNK;
        s->chunk_left = len;
        s->is_chunk_last = is_last;
        s->is_chunk_dropped = false;
        if (!s->helo_name) {
                drop_chunk(s, 503, "5.5.1", "Say HELO or EHLO first");
        } else if (!s->has_mail) {
                drop_chunk(s, 503, "5.5.1", "Say MAIL first");
        } else if (s->is_chunk_failed) {
                drop_chunk(s, 503, "5.5.1", "The message has failed: say RSET");
        } else if (s->recipients == 0) {
                if (s->recipients_refused && s->options.dialect == SMTP_DIALECT_SMTP)
                        drop_chunk(s, 554, "5.5.1", "No valid recipients");
                else
                        drop_chunk(s, 503, "5.5.1", "Say RCPT first");
        } else if (!s->is_chunked) {
                s->is_chunked = true;
                s->is_after_cr = false;
                ev->is_chunked = true;
                smtp_server_wait(s, ev, SMTP_EVENT_DATA);
        }
        if (s->chunk_left == 0 && s->waiting == SMTP_EVENT_NONE)
                smtp_server_finish_chunk(s, ev);
}

void smtp_server_answer_chunk(struct smtp_server *s, unsigned code, const char *enhanced,
                              const char *text)
{
        if (code == 354)
                return; /* the chunk is under way: nothing is said before its end */
        /* The role's words may not live until the end of the chunk: they go out
         * now, which no client notices that sends as RFC 3030 lets it. */
        s->is_chunk_failed = true;
        smtp_server_refuse(s, code, enhanced, text);
        drop_chunk(s, 0, NULL, NULL);
}

/* A message that is not BINARYMIME has lines however it comes (RFC 3030 section
 * 3 changes that for BINARYMIME alone). One with a bare CR or LF, passed on by
 * DATA, could end in its middle. */
static void check_line_ends(struct smtp_server *s, struct span text)
{
        size_t at = 0;

        if (s->body == SMTP_BODY_BINARYMIME || text.len == 0)
                return;
        if (s->is_after_cr && text.p[at++] != '\n')
                s->has_bad_line_end = true;
        s->is_after_cr = text.len > at && text.p[text.len - 1] == '\r';
        if (s->is_after_cr)
                text.len--;
        while (at < text.len) {
                const char *line = text.p + at;
                const char *cr = memchr(line, '\r', text.len - at);
                const size_t len = cr ? (size_t) (cr - line) : text.len - at;

                if (memchr(line, '\n', len) || (cr && cr[1] != '\n'))
                        s->has_bad_line_end = true;
                at += len + 2;
        }
}

void smtp_server_finish_chunk(struct smtp_server *s, struct smtp_event *ev)
{
        char text[64];

        s->state = SMTP_STATE_COMMAND;
        if (s->is_chunk_dropped) {
                if (s->chunk_code)
                        smtp_server_refuse(s, s->chunk_code, s->chunk_enhanced, s->chunk_text);
                return;
        }
        /* One order, however the network cut it: line ends, NUL, size. */
        if (s->has_nul && !s->has_bad_line_end)
                s->body_fault = SMTP_FAULT_NUL;
        if (s->has_bad_line_end || (s->is_chunk_last && s->is_after_cr))
                s->body_fault = SMTP_FAULT_LINE_END;
        if (s->is_chunk_last) {
                smtp_server_end_body(s, ev);
        } else if (s->body_fault) {
                s->is_chunk_failed = true;
                smtp_server_refuse_for(s, s->body_fault);
        } else {
                snprintf(text, sizeof text, "%llu octets received",
                         (unsigned long long) s->body_len);
                smtp_server_say(s, 250, "2.0.0", text);
        }
}

size_t smtp_server_feed_chunk(struct smtp_server *s, struct span in, struct smtp_event *ev)
{
        const size_t n = in.len < s->chunk_left ? in.len : (size_t) s->chunk_left;

        if (s->chunk_left == 0) {
                smtp_server_finish_chunk(s, ev);
                return 0;
        }
        s->chunk_left -= n;
        if (!s->is_chunk_dropped) {
                smtp_server_check_text(s, span_first(in, n));
                check_line_ends(s, span_first(in, n));
        }
        if (n && !s->is_chunk_dropped && smtp_server_count_body(s, n)) {
                ev->kind = SMTP_EVENT_BODY;
                ev->octets = span_first(in, n);
        }
        return n;
}
