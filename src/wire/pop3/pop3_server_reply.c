/* What is written to the client. Without memory for a reply the session ends. */
#include "wire/pop3/pop3_server_engine.h"

void pop3_server_put(struct pop3_server *s, struct span text)
{
        if (text.len && buffer_append_span(&s->output, text) < 0)
                s->is_broken = true;
}

void pop3_server_put_number(struct pop3_server *s, uint64_t n)
{
        if (buffer_printf(&s->output, "%llu", (unsigned long long) n) < 0)
                s->is_broken = true;
}

/* Text that came from elsewhere starts no line of its own. */
static void put_clean(struct pop3_server *s, const char *text)
{
        const struct span t = span_first(span_from_string(text), POP3_SERVER_TEXT_MAX);

        for (size_t i = 0; i < t.len; i++) {
                const unsigned char c = (unsigned char) t.p[i];

                pop3_server_put(s, c < 32 || c > 126 ? SPAN_LITERAL("?") : span_make(t.p + i, 1));
        }
}

void pop3_server_ok(struct pop3_server *s, const char *text)
{
        s->errors = 0;
        pop3_server_put(s, SPAN_LITERAL("+OK "));
        put_clean(s, text);
        pop3_server_put(s, SPAN_LITERAL("\r\n"));
}

void pop3_server_err(struct pop3_server *s, const char *code, const char *text)
{
        pop3_server_put(s, SPAN_LITERAL("-ERR "));
        if (code) {
                pop3_server_put(s, SPAN_LITERAL("["));
                put_clean(s, code);
                pop3_server_put(s, SPAN_LITERAL("] "));
        }
        put_clean(s, text ? text : "Refused");
        pop3_server_put(s, SPAN_LITERAL("\r\n"));
        if (s->options.errors_max && ++s->errors >= s->options.errors_max)
                s->reading = POP3_READING_CLOSED;
}

/* ---- messages ---------------------------------------------------------------- */

/* One line, its end with it; a last line without one gets it. */
static void send_line(struct pop3_server *s)
{
        const size_t end = span_find(s->copy, '\n');
        const size_t n = end == SIZE_MAX ? s->copy.len : end + 1;
        const struct span line = span_first(s->copy, n);
        /* Only CRLF ends a line: a bare LF is an octet like others. */
        const bool is_whole = n >= 2 && line.p[n - 1] == '\n' && line.p[n - 2] == '\r';

        if (s->is_line_start && line.p[0] == '.')
                pop3_server_put(s, SPAN_LITERAL("."));
        pop3_server_put(s, line);
        s->copy = span_skip(s->copy, n);
        if (s->in_header && s->is_line_start && is_whole && n == 2)
                s->in_header = false;
        else if (!s->in_header && is_whole && s->lines_left != UINT64_MAX)
                s->lines_left--;
        s->is_line_start = is_whole;
}

/* A piece of a message of which all is sent: up to the next line that begins with
 * a dot, or about as much as may wait. */
static void send_piece(struct pop3_server *s)
{
        const size_t room = POP3_SERVER_OUTPUT_PAUSE - s->output.len + POP3_SERVER_TEXT_MAX;
        const struct span piece = span_first(s->copy, room);
        const char *const dot = memmem(piece.p, piece.len, "\r\n.", 3);
        size_t n = dot ? (size_t) (dot - piece.p) + 2 : piece.len;

        if (!dot && n > 1 && n < s->copy.len && piece.p[n - 1] == '\r')
                n--; /* the next one begins with it */
        if (s->is_line_start && piece.p[0] == '.')
                pop3_server_put(s, SPAN_LITERAL("."));
        pop3_server_put(s, span_first(piece, n));
        s->is_line_start = n >= 2 && piece.p[n - 1] == '\n' && piece.p[n - 2] == '\r';
        s->copy = span_skip(s->copy, n);
}

void pop3_server_send(struct pop3_server *s)
{
        while (s->output.len < POP3_SERVER_OUTPUT_PAUSE && !s->is_broken) {
                if (s->copy.len && s->lines_left == UINT64_MAX) {
                        send_piece(s);
                        continue;
                }
                if (s->copy.len && (s->in_header || s->lines_left)) {
                        send_line(s);
                        continue;
                }
                pop3_server_put(s, s->is_line_start ? SPAN_LITERAL(".\r\n")
                                                    : SPAN_LITERAL("\r\n.\r\n"));
                s->in_copy = false;
                return;
        }
}

/* ---- CAPA -------------------------------------------------------------------- */

POP3_COMMAND_FUNCTION(capa)
{
        pop3_server_ok(s, "Capabilities");
        pop3_server_put(s, SPAN_LITERAL("TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n"
                                        "PIPELINING\r\nUTF8 USER\r\nLANG\r\nEXPIRE NEVER\r\n"));
        if (s->options.login_delay_s) {
                pop3_server_put(s, SPAN_LITERAL("LOGIN-DELAY "));
                pop3_server_put_number(s, s->options.login_delay_s);
                pop3_server_put(s, SPAN_LITERAL("\r\n"));
        }
        if (s->state == POP3_STATE_AUTHORIZATION) {
                if (s->options.offers & POP3_OFFER_LOGIN)
                        pop3_server_put(s, SPAN_LITERAL("USER\r\n"));
                if (s->options.auth_mechanisms.len) {
                        pop3_server_put(s, SPAN_LITERAL("SASL "));
                        pop3_server_put(s, s->options.auth_mechanisms);
                        pop3_server_put(s, SPAN_LITERAL("\r\n"));
                }
                if ((s->options.offers & POP3_OFFER_STLS) && !s->is_secured)
                        pop3_server_put(s, SPAN_LITERAL("STLS\r\n"));
        }
        pop3_server_put(s, SPAN_LITERAL("IMPLEMENTATION Hayauma\r\n.\r\n"));
}
