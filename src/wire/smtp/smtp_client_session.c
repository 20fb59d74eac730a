/* The SMTP client: greeting, EHLO with what it offers, STARTTLS, QUIT. */
#include "base/number.h"
#include "wire/smtp/smtp_client_private.h"

static const struct {
        struct span keyword;
        unsigned offer;
} offers[] = {
        { SPAN("PIPELINING"), SMTP_CLIENT_OFFER_PIPELINING },
        { SPAN("8BITMIME"), SMTP_CLIENT_OFFER_8BITMIME },
        { SPAN("SIZE"), SMTP_CLIENT_OFFER_SIZE },
        { SPAN("DSN"), SMTP_CLIENT_OFFER_DSN },
        { SPAN("SMTPUTF8"), SMTP_CLIENT_OFFER_SMTPUTF8 },
        { SPAN("STARTTLS"), SMTP_CLIENT_OFFER_STARTTLS },
        { SPAN("CHUNKING"), SMTP_CLIENT_OFFER_CHUNKING },
        { SPAN("BINARYMIME"), SMTP_CLIENT_OFFER_BINARYMIME },
        { SPAN("MT-PRIORITY"), SMTP_CLIENT_OFFER_MT_PRIORITY },
};

/* The lines behind the first: "SIZE 1000" (RFC 5321 section 4.1.1.1). */
static void read_offers(struct smtp_client *c, struct span text)
{
        struct span line, keyword;

        c->offers = 0;
        c->size_max = 0;
        span_split(&text, '\n', &line); /* the first line greets */
        while (span_split(&text, '\n', &line)) {
                struct span rest = span_trim(line);
                uint64_t size;

                if (!rest.p || !span_split(&rest, ' ', &keyword))
                        continue;
                for (size_t i = 0; i < sizeof offers / sizeof offers[0]; i++)
                        if (span_equal_nocase(keyword, offers[i].keyword))
                                c->offers |= offers[i].offer;
                if (span_equal_nocase(keyword, SPAN_LITERAL("AUTH")))
                        smtp_client_read_mechanisms(c, rest);
                if (span_equal_nocase(keyword, SPAN_LITERAL("SIZE"))
                    && number_parse(span_trim(rest), UINT64_MAX, &size) == 0)
                        c->size_max = size;
        }
}

static void say_hello(struct smtp_client *c, const char *verb, enum session_state state)
{
        c->state = state;
        smtp_client_put_text(c, verb);
        smtp_client_put(c, c->options.helo_name);
        smtp_client_put_text(c, "\r\n");
}

void smtp_client_hello(struct smtp_client *c)
{
        say_hello(c, c->options.is_lmtp ? "LHLO " : "EHLO ", SESSION_EHLO);
}

static void begin_open(struct smtp_client *c)
{
        if (c->options.wants_login) {
                smtp_client_begin_login(c);
                return;
        }
        c->state = SESSION_OPEN;
        c->tell_ready = true;
}

static void open_session(struct smtp_client *c)
{
        if (!c->is_secured && c->options.tls != SMTP_CLIENT_TLS_NONE) {
                if (c->offers & SMTP_CLIENT_OFFER_STARTTLS) {
                        c->state = SESSION_STARTTLS;
                        smtp_client_put_text(c, "STARTTLS\r\n");
                        return;
                }
                if (c->options.tls == SMTP_CLIENT_TLS_MUST) {
                        smtp_client_fail_text(c, "the host offers no STARTTLS, without which no "
                                                 "mail may go there");
                        return;
                }
        }
        begin_open(c);
}

static void on_ehlo(struct smtp_client *c, const struct smtp_reply *reply)
{
        if (reply->code / 100 == 2) {
                read_offers(c, reply->text);
                open_session(c);
        } else if (reply->code / 100 == 5 && !c->options.is_lmtp && !c->is_secured) {
                /* A server older than EHLO: RFC 5321 section 3.2. */
                say_hello(c, "HELO ", SESSION_HELO);
        } else {
                smtp_client_fail_reply(c, reply);
        }
}

static void on_starttls(struct smtp_client *c, const struct smtp_reply *reply)
{
        if (reply->code == 220) {
                c->state = SESSION_TLS;
                c->tell_starttls = true;
        } else if (c->options.tls == SMTP_CLIENT_TLS_MUST || reply->code / 100 < 4) {
                smtp_client_fail_reply(c, reply);
        } else {
                begin_open(c); /* opportunistic: RFC 7435 */
        }
}

void smtp_client_session_reply(struct smtp_client *c, const struct smtp_reply *reply)
{
        if (reply->code == 421) { /* RFC 5321 section 3.8: at any place */
                smtp_client_fail(c, reply);
                return;
        }
        switch (c->state) {
        case SESSION_GREETING:
                if (reply->code == 220)
                        smtp_client_hello(c);
                else
                        smtp_client_fail_reply(c, reply);
                break;
        case SESSION_EHLO:
                on_ehlo(c, reply);
                break;
        case SESSION_HELO:
                if (reply->code / 100 == 2) {
                        c->offers = 0;
                        open_session(c);
                } else {
                        smtp_client_fail_reply(c, reply);
                }
                break;
        case SESSION_STARTTLS:
                on_starttls(c, reply);
                break;
        case SESSION_LOGIN:
        case SESSION_AUTH:
                smtp_client_auth_reply(c, reply);
                break;
        case SESSION_QUIT:
                smtp_client_fail(c, reply); /* no failure: the end we asked for */
                break;
        case SESSION_TLS:
        case SESSION_OPEN:
        case SESSION_END:
                smtp_client_fail_reply(c, reply);
                break;
        }
}
