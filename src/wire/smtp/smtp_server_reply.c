#include <stdio.h>

#include "base/number.h"
#include "base/octets.h"
#include "base/utf8.h"
#include "wire/smtp/smtp_server_engine.h"

static octets16 not_printable(octets16 x)
{
        return ~octets_between(x, ' ', '~');
}

/* Nothing but printable text reaches the wire: a CR, LF or other control in a
 * text that came from elsewhere would start a reply of its own, or play with
 * somebody's terminal. Octets above 127 only where the client knows of them
 * (RFC 6531 section 3.7.4.1). */
static void clean(const struct smtp_server *s, char *text, size_t len)
{
        const bool is_utf8 = s->smtputf8 && utf8_is_valid(span_make(text, len));

        for (size_t i = 0; i < len; i++) {
                const unsigned char c = (unsigned char) text[i];

                if (c < 32 || c == 127)
                        text[i] = ' ';
                else if (c > 127 && !is_utf8)
                        text[i] = '?';
        }
}

/* `enhanced` empty: none. `is_clean`: the text is printable ASCII. */
static void append_line(struct smtp_server *s, unsigned code, struct span enhanced, bool is_last,
                        struct span text, bool is_clean)
{
        const size_t head = 4, before = head + (enhanced.len ? enhanced.len + 1 : 0);
        char *out;

        text = span_first(text, utf8_cut(text, SMTP_SERVER_REPLY_LINE_MAX - before - 2));
        if (buffer_reserve(&s->output, before + text.len + 2, &out) < 0) {
                /* Without memory for a reply the session has no sense left:
                 * half a line must not go out. */
                s->is_broken = true;
                return;
        }
        out[0] = (char) ('0' + code / 100);
        out[1] = (char) ('0' + code / 10 % 10);
        out[2] = (char) ('0' + code % 10);
        out[3] = is_last ? ' ' : '-';
        if (enhanced.len) {
                memcpy(out + head, enhanced.p, enhanced.len);
                out[before - 1] = ' ';
        }
        if (text.len)
                memcpy(out + before, text.p, text.len);
        if (!is_clean)
                clean(s, out + before, text.len);
        memcpy(out + before + text.len, "\r\n", 2);
        buffer_commit(&s->output, before + text.len + 2);
}

static bool is_printable(struct span text)
{
        return octets_until(text, not_printable) == text.len;
}

void smtp_server_say_line(struct smtp_server *s, unsigned code, bool is_last, struct span text)
{
        append_line(s, code, (struct span) {NULL, 0}, is_last, text, is_printable(text));
}

void smtp_server_say_ready(struct smtp_server *s, struct span lines)
{
        if (buffer_append_span(&s->output, lines) < 0)
                s->is_broken = true;
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* RFC 3463: class "." subject "." detail, of the class the code has. */
static bool is_enhanced(struct span e, unsigned code)
{
        unsigned dots = 0;

        if (e.len == 5 && e.p[0] == (char) ('0' + code / 100) && e.p[1] == '.' && e.p[3] == '.')
                return is_digit(e.p[2]) && is_digit(e.p[4]); /* as nearly all */
        if (e.len < 5 || e.len > 9 || e.p[0] != (char) ('0' + code / 100) || e.p[1] != '.')
                return false;
        for (size_t i = 1; i < e.len; i++) {
                const bool is_dot = e.p[i] == '.';

                if (!is_dot && !is_digit(e.p[i]))
                        return false;
                if (is_dot && (e.p[i - 1] == '.' || i + 1 == e.len))
                        return false;
                dots += is_dot;
        }
        return dots == 2;
}

void smtp_server_say(struct smtp_server *s, unsigned code, const char *enhanced, const char *text)
{
        const char general[] = {(char) ('0' + code / 100), '.', '0', '.', '0'};
        struct span e = span_from_string(enhanced), rest, line;
        unsigned count = 0;

        s->refusals += code >= 400;
        if (!is_enhanced(e, code))
                e = span_make(general, sizeof general);
        if (code / 100 == 3)
                e.len = 0; /* RFC 2034 section 3: only 2yz, 4yz, 5yz have one */
        rest = span_from_string(text && *text ? text : code < 400 ? "Ok" : "Refused");
        if (is_printable(rest)) { /* one line, as nearly every text */
                append_line(s, code, e, true, rest, true);
                return;
        }
        while (rest.len && rest.p[rest.len - 1] == '\n')
                rest.len--;
        while (span_split(&rest, '\n', &line)) {
                if (++count == SMTP_SERVER_REPLY_LINES_MAX)
                        rest = (struct span) {NULL, 0};
                append_line(s, code, e, !rest.p, line, false);
        }
}

void smtp_server_split_reply(const char *reply, struct smtp_reply_text *ret)
{
        struct span rest = span_from_string(reply), word;
        struct smtp_reply_text t = {.code = 451, .text = reply};
        uint64_t code;

        if (span_split(&rest, ' ', &word) && word.len == 3 && number_parse(word, 599, &code) == 0
            && code >= 200) {
                t.code = (unsigned) code;
                t.text = rest.p ? rest.p : "";
                if (span_split(&rest, ' ', &word) && is_enhanced(word, t.code)) {
                        memcpy(t.enhanced, word.p, word.len);
                        t.text = rest.p ? rest.p : "";
                }
        }
        *ret = t;
}

void smtp_server_say_error(struct smtp_server *s, const char *error)
{
        struct smtp_reply_text t;

        smtp_server_split_reply(error, &t);
        smtp_server_say(s, t.code, t.enhanced, t.text);
}

void smtp_server_refuse(struct smtp_server *s, unsigned code, const char *enhanced,
                        const char *text)
{
        s->errors++;
        smtp_server_say(s, code, enhanced, text);
}

void smtp_server_close(struct smtp_server *s, unsigned code, const char *enhanced,
                       const char *text)
{
        smtp_server_say(s, code, enhanced, text);
        s->state = SMTP_STATE_CLOSED;
}

const char *smtp_server_fault_reply(enum smtp_fault fault)
{
        /* Of the registered codes, X.6.0 is for a message whose content nothing more
         * exact describes; X.5.2, which others send for a bare CR or LF, is said of
         * commands. */
        static const char *const replies[] = {
                [SMTP_FAULT_NONE] = "451 4.3.0 Not refused",
                [SMTP_FAULT_LINE_LENGTH] = "500 5.5.2 Line too long",
                [SMTP_FAULT_ERRORS] = "421 4.7.0 Too many errors",
                [SMTP_FAULT_COMMANDS] = "421 4.7.0 Too many commands that lead to no mail",
                [SMTP_FAULT_MESSAGES] = "421 4.7.0 Enough messages on one connection: come again",
                [SMTP_FAULT_SIZE] = "552 5.3.4 Message too big",
                [SMTP_FAULT_LINE_END] =
                        "554 5.6.0 A line ends with a bare CR or LF (RFC 5321 section 2.3.8)",
                [SMTP_FAULT_NUL] = "554 5.6.0 The message contains a NUL (RFC 5322 section 2.2)",
        };

        return replies[fault];
}

void smtp_server_refuse_for(struct smtp_server *s, enum smtp_fault fault)
{
        s->fault = fault;
        s->errors++;
        smtp_server_say_error(s, smtp_server_fault_reply(fault));
}

void smtp_server_close_for(struct smtp_server *s, enum smtp_fault fault)
{
        smtp_server_refuse_for(s, fault);
        s->state = SMTP_STATE_CLOSED;
}

enum smtp_fault smtp_server_take_fault(struct smtp_server *s)
{
        const enum smtp_fault fault = s->fault;

        s->fault = SMTP_FAULT_NONE;
        return fault;
}
