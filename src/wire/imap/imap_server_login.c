/* LOGIN and AUTHENTICATE (RFC 9051 sections 6.2.2, 6.2.3): the lines of the
 * exchange; names, passwords and mechanisms are judged elsewhere. */
#include "wire/imap/imap_server_engine.h"
#include "wire/sasl_words.h"

IMAP_COMMAND_FUNCTION(login)
{
        if (!imap_parse_space(p) || !imap_parse_astring(p, &ev->login_name)
            || !imap_parse_space(p) || !imap_parse_astring(p, &ev->password)
            || !imap_parse_end(p))
                imap_server_bad(s, "Say LOGIN name password");
        else if (!(s->options.offers & IMAP_OFFER_LOGIN))
                /* Also where a password came anyway: it must not work in the clear. */
                imap_server_no(s, "PRIVACYREQUIRED", "LOGIN is not offered here");
        else
                imap_server_wait(s, ev, IMAP_EVENT_LOGIN, NULL);
}

IMAP_COMMAND_FUNCTION(authenticate)
{
        struct span name, response = {NULL, 0};

        if (!imap_parse_space(p) || !imap_parse_atom(p, &name)) {
                imap_server_bad(s, "Say AUTHENTICATE and a mechanism");
                return;
        }
        if (imap_parse_space(p)) { /* SASL-IR, RFC 4959 */
                response = p->rest;
                p->rest = span_skip(p->rest, p->rest.len);
                if (response.len == 0 || !sasl_words_is_base64(response)) {
                        imap_server_bad(s, "The initial response is not base64");
                        return;
                }
        }
        if (!imap_parse_end(p)) {
                imap_server_bad(s, "Say AUTHENTICATE and a mechanism");
        } else if (!sasl_words_find(s->options.auth_mechanisms, name, &ev->mechanism)) {
                imap_server_no(s, "CANNOT", "No such mechanism");
        } else {
                ev->octets = response;
                imap_server_wait(s, ev, IMAP_EVENT_AUTHENTICATE, NULL);
        }
}

void imap_server_response(struct imap_server *s, struct span line, struct imap_event *ev)
{
        const bool is_given_up = span_equal(line, SPAN_LITERAL("*"));

        s->reading = IMAP_READING_LINE;
        if (is_given_up || !sasl_words_is_base64(line)) {
                imap_server_bad(s, is_given_up ? "Login given up" : "This is not base64");
                ev->kind = IMAP_EVENT_AUTHENTICATE_CANCEL;
                return;
        }
        ev->octets = arena_copy(&s->arena, line);
        if (!ev->octets.p) {
                s->is_broken = true;
                return;
        }
        buffer_clear(&s->line);
        imap_server_wait(s, ev, IMAP_EVENT_AUTHENTICATE_LINE, NULL);
}
