#include "wire/smtp/smtp_server_engine.h"

bool smtp_server_has_recipient(struct smtp_server *s)
{
        if (s->recipients)
                return true;
        /* RFC 2033 section 4.2 wants 503 in LMTP; in SMTP a pipelining client is
         * told what happened (RFC 2920 section 3.1). */
        if (s->recipients_refused && s->options.dialect == SMTP_DIALECT_SMTP)
                smtp_server_refuse(s, 554, "5.5.1", "No valid recipients");
        else
                smtp_server_refuse(s, 503, "5.5.1", "Say RCPT first");
        return false;
}

SMTP_COMMAND_FUNCTION(data)
{
        (void) argument;
        if (s->is_chunked) {
                smtp_server_refuse(s, 503, "5.5.1", "DATA after BDAT");
                return;
        }
        if (s->body == SMTP_BODY_BINARYMIME) {
                /* RFC 3030 section 3. */
                smtp_server_refuse(s, 503, "5.5.1", "BODY=BINARYMIME needs BDAT");
                return;
        }
        if (smtp_server_has_recipient(s))
                smtp_server_wait(s, ev, SMTP_EVENT_DATA);
}

void smtp_server_answer_data(struct smtp_server *s, unsigned code, const char *enhanced,
                             const char *text)
{
        if (code != 354) {
                smtp_server_refuse(s, code, enhanced, text);
                return;
        }
        smtp_server_say(s, 354, NULL, text ? text : "Go ahead, end with a dot alone on a line");
        s->decoder = DOT_DECODER_INIT;
        s->state = SMTP_STATE_BODY;
}

bool smtp_server_count_body(struct smtp_server *s, size_t n)
{
        const uint64_t max = s->options.message_size_max;

        s->body_len += n; /* 64 bits of octets do not come in a lifetime */
        if (max && s->body_len > max)
                s->body_fault = SMTP_FAULT_SIZE;
        return !s->body_fault && !s->has_nul && !s->has_bad_line_end;
}

void smtp_server_check_text(struct smtp_server *s, struct span text)
{
        if (s->options.may_have_nul || s->body == SMTP_BODY_BINARYMIME || s->has_nul ||
            text.len == 0 || !memchr(text.p, '\0', text.len))
                return;
        s->has_nul = true;
}

void smtp_server_end_body(struct smtp_server *s, struct smtp_event *ev)
{
        s->state = SMTP_STATE_COMMAND;
        s->answers = 0;
        s->is_any_accepted = false;
        ev->fault = s->body_fault;
        ev->body_error = s->body_fault ? smtp_server_fault_reply(s->body_fault) : NULL;
        smtp_server_wait(s, ev, SMTP_EVENT_END);
}

size_t smtp_server_feed_body(struct smtp_server *s, struct span in, struct smtp_event *ev)
{
        size_t used = 0;

        /* The text of a message refused already is read to its end here. */
        while (used < in.len) {
                struct span text;
                size_t n;
                const bool is_end = dot_decode(&s->decoder, span_skip(in, used), &n, &text);

                used += n;
                smtp_server_check_text(s, text);
                if (smtp_server_count_body(s, text.len) && text.len) {
                        ev->kind = SMTP_EVENT_BODY;
                        ev->octets = text;
                        return used;
                }
                if (is_end) {
                        if (s->has_nul)
                                s->body_fault = SMTP_FAULT_NUL;
                        if (s->decoder.bad_line_end)
                                s->body_fault = SMTP_FAULT_LINE_END;
                        smtp_server_end_body(s, ev);
                        return used;
                }
        }
        return used;
}
