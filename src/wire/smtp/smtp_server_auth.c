/* AUTH (RFC 4954): the lines of the exchange; the mechanisms are elsewhere. */
#include "wire/sasl_words.h"
#include "wire/smtp/smtp_server_engine.h"

static bool is_mechanism(struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                const char c = ascii_lower(s.p[i]);

                if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
                        return false;
        }
        return s.len >= 1 && s.len <= 20;
}

SMTP_COMMAND_FUNCTION(auth)
{
        struct span mechanism;

        if (s->is_authenticated) {
                smtp_server_refuse(s, 503, "5.5.1", "You are logged in already");
                return;
        }
        if (!span_split(&argument, ' ', &mechanism) || !is_mechanism(mechanism)
            || !sasl_words_is_base64(argument)) {
                smtp_server_refuse(s, 501, "5.5.4", "Say AUTH mechanism [response in base64]");
                return;
        }
        ev->argument = mechanism;
        ev->octets = argument;
        smtp_server_wait(s, ev, SMTP_EVENT_AUTH);
}

void smtp_server_auth_line(struct smtp_server *s, struct span line, struct smtp_event *ev)
{
        struct span text;

        s->state = SMTP_STATE_COMMAND;
        if (!line.p) {
                smtp_server_refuse(s, 500, "5.5.6", "Line too long");
                ev->kind = SMTP_EVENT_AUTH_CANCEL;
                return;
        }
        if (line.len < 2 || line.p[line.len - 2] != '\r') {
                smtp_server_refuse(s, 501, "5.5.2", "Lines end with CR LF");
                ev->kind = SMTP_EVENT_AUTH_CANCEL;
                return;
        }
        text = span_first(line, line.len - 2);
        if (span_equal(text, SPAN_LITERAL("*"))) {
                smtp_server_refuse(s, 501, "5.7.0", "Login given up");
                ev->kind = SMTP_EVENT_AUTH_CANCEL;
        } else if (!sasl_words_is_base64(text)) {
                smtp_server_refuse(s, 501, "5.5.2", "This is not base64");
                ev->kind = SMTP_EVENT_AUTH_CANCEL;
        } else {
                ev->octets = text;
                s->waiting = SMTP_EVENT_AUTH;
                ev->kind = SMTP_EVENT_AUTH_LINE;
        }
}

void smtp_server_answer_auth(struct smtp_server *s, unsigned code, const char *enhanced,
                             const char *text)
{
        if (code == 334) {
                /* An empty challenge is "334 " and a CRLF. */
                smtp_server_say_line(s, 334, true, span_from_string(text));
                s->state = SMTP_STATE_AUTH;
                return;
        }
        if (code >= 300) {
                smtp_server_refuse(s, code, enhanced, text);
                return;
        }
        smtp_server_say(s, code, enhanced, text);
        s->is_authenticated = true;
        smtp_server_count_success(s);
}

void smtp_server_offer_auth(struct smtp_server *s, struct span mechanisms)
{
        s->options.auth_mechanisms = mechanisms;
        if (mechanisms.len)
                s->options.offers |= SMTP_OFFER_AUTH;
        else
                s->options.offers &= ~(unsigned) SMTP_OFFER_AUTH;
}
