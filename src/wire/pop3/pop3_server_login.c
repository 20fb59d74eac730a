/* USER, PASS, APOP (RFC 1939 section 7), AUTH (RFC 5034), STLS (RFC 2595), UTF8
 * and LANG (RFC 6856). */
#include <stdlib.h>

#include "base/utf8.h"
#include "wire/pop3/pop3_server_engine.h"
#include "wire/sasl_words.h"

POP3_COMMAND_FUNCTION(user)
{
        if (!(s->options.offers & POP3_OFFER_LOGIN)) {
                pop3_server_err(s, NULL, "USER is not offered here");
                return;
        }
        if (argument.len == 0 || argument.len > POP3_SERVER_NAME_MAX || !utf8_is_valid(argument)) {
                pop3_server_err(s, NULL, "Say USER name");
                return;
        }
        free(s->login_name);
        s->login_name = strndup(argument.p, argument.len);
        if (s->login_name)
                pop3_server_ok(s, "And the password?"); /* whether there is such a name or not */
        else
                pop3_server_err(s, "SYS/TEMP", "No memory");
}

POP3_COMMAND_FUNCTION(pass)
{
        if (!s->login_name) {
                pop3_server_err(s, NULL, "Say USER first");
                return;
        }
        ev->login_name = span_from_string(s->login_name);
        ev->password = argument; /* blanks belong to it (RFC 1939 section 7) */
        pop3_server_wait(s, ev, POP3_EVENT_LOGIN);
}

static bool is_digest(struct span d)
{
        for (size_t i = 0; i < d.len; i++)
                if (!((d.p[i] >= '0' && d.p[i] <= '9') || (d.p[i] >= 'a' && d.p[i] <= 'f')))
                        return false;
        return d.len == 32;
}

POP3_COMMAND_FUNCTION(apop)
{
        const size_t blank = span_find_last(argument, ' ');

        if (!(s->options.offers & POP3_OFFER_APOP)) {
                pop3_server_err(s, NULL, "APOP is not offered");
                return;
        }
        if (blank == SIZE_MAX || blank == 0 || !utf8_is_valid(argument)
            || !is_digest(span_skip(argument, blank + 1))) {
                pop3_server_err(s, NULL, "Say APOP name digest");
                return;
        }
        ev->login_name = span_first(argument, blank);
        ev->digest = span_skip(argument, blank + 1);
        pop3_server_wait(s, ev, POP3_EVENT_APOP);
}

/* ---- AUTH -------------------------------------------------------------------- */

/* AUTH alone lists the mechanisms, as clients before RFC 2449 ask. */
static void list_mechanisms(struct pop3_server *s)
{
        struct span rest = s->options.auth_mechanisms, word;

        pop3_server_ok(s, "Mechanisms");
        while (span_split(&rest, ' ', &word)) {
                if (word.len) {
                        pop3_server_put(s, word);
                        pop3_server_put(s, SPAN_LITERAL("\r\n"));
                }
        }
        pop3_server_put(s, SPAN_LITERAL(".\r\n"));
}

POP3_COMMAND_FUNCTION(auth)
{
        struct span name;

        if (!argument.len) {
                list_mechanisms(s);
                return;
        }
        span_split(&argument, ' ', &name);
        if (!sasl_words_is_base64(argument)) {
                pop3_server_err(s, NULL, "The initial response is not base64");
        } else if (!sasl_words_find(s->options.auth_mechanisms, name, &ev->mechanism)) {
                pop3_server_err(s, NULL, "No such mechanism");
        } else {
                ev->octets = argument;
                pop3_server_wait(s, ev, POP3_EVENT_AUTH);
        }
}

void pop3_server_response(struct pop3_server *s, struct span line, struct pop3_event *ev)
{
        const bool is_given_up = span_equal(line, SPAN_LITERAL("*"));

        if (is_given_up || !sasl_words_is_base64(line)) {
                pop3_server_err(s, NULL, is_given_up ? "Login given up" : "This is not base64");
                ev->kind = POP3_EVENT_AUTH_CANCEL;
                return;
        }
        ev->octets = line;
        pop3_server_wait(s, ev, POP3_EVENT_AUTH_LINE);
}

void pop3_server_answered_login(struct pop3_server *s, const struct pop3_answer *a)
{
        if (a->result == POP3_CONTINUE) {
                pop3_server_put(s, SPAN_LITERAL("+ "));
                pop3_server_put(s, span_from_string(a->text));
                pop3_server_put(s, SPAN_LITERAL("\r\n"));
                s->reading = POP3_READING_RESPONSE;
                return;
        }
        if (s->line.data)
                explicit_bzero(s->line.data, s->line.room);
        free(s->login_name);
        s->login_name = NULL;
        if (a->result == POP3_OK) {
                s->is_open_due = true;
                return;
        }
        pop3_server_err(s, a->code ? a->code : "AUTH",
                        a->text ? a->text : "Name or password is wrong");
        if (++s->bad_logins >= POP3_SERVER_BAD_LOGINS_MAX)
                s->reading = POP3_READING_CLOSED;
}

/* ---- the rest before login --------------------------------------------------- */

POP3_COMMAND_FUNCTION(stls)
{
        if (argument.len)
                pop3_server_err(s, NULL, "STLS takes no arguments");
        else if (s->is_secured || !(s->options.offers & POP3_OFFER_STLS))
                pop3_server_err(s, NULL, s->is_secured ? "TLS is in use" : "TLS is not offered");
        else
                pop3_server_wait(s, ev, POP3_EVENT_STLS);
}

POP3_COMMAND_FUNCTION(utf8)
{
        if (argument.len) {
                pop3_server_err(s, NULL, "UTF8 takes no arguments");
                return;
        }
        s->is_utf8 = true;
        pop3_server_ok(s, "UTF-8 it is");
}

/* One language; the default can always be asked for (RFC 6856 section 3.2). */
POP3_COMMAND_FUNCTION(lang)
{
        if (!argument.len) {
                pop3_server_ok(s, "Languages");
                pop3_server_put(s, SPAN_LITERAL("en English\r\n.\r\n"));
        } else if (span_equal(argument, SPAN_LITERAL("*"))
                   || span_equal_nocase(argument, SPAN_LITERAL("en"))
                   || span_starts_with_nocase(argument, SPAN_LITERAL("en-"))) {
                pop3_server_ok(s, "en It will be English");
        } else {
                pop3_server_err(s, NULL, "This language is not spoken here");
        }
}
