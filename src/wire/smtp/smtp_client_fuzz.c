/* A server that says anything: each recipient is answered exactly once. */
#include "wire/smtp/smtp_client.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RCPTS = 3, MAILS_MAX = 64 };

struct mail {
        int results[RCPTS];
        int ended;
};

static const struct smtp_client_rcpt rcpts[RCPTS] = {
        {.rcpt_to = SPAN("a@x")}, {.rcpt_to = SPAN("b@x")}, {.rcpt_to = SPAN("c@x")}};

static void on_event(struct smtp_client *c, const struct smtp_client_event *e)
{
        struct mail *m = e->tag;
        int answered = 0;

        for (int i = 0; m && i < RCPTS; i++)
                answered += m->results[i];
        switch (e->kind) {
        case SMTP_CLIENT_STARTTLS:
                smtp_client_secured(c);
                break;
        case SMTP_CLIENT_LOGIN:
                smtp_client_auth(c, SPAN_LITERAL("PLAIN"), SPAN_LITERAL("AGEAYg=="));
                break;
        case SMTP_CLIENT_CHALLENGE:
                smtp_client_auth_response(c, e->reply.text);
                break;
        case SMTP_CLIENT_LOGGED_IN:
                smtp_client_logged_in(c);
                break;
        case SMTP_CLIENT_BODY:
                assert(smtp_client_wants_body(c));
                assert(smtp_client_body(c, SPAN_LITERAL(".x\n.\n")) == 0);
                assert(smtp_client_body_end(c) == 0);
                break;
        case SMTP_CLIENT_RESULT:
                assert(m->results[e->rcpt]++ == 0 && !m->ended);
                break;
        case SMTP_CLIENT_DONE:
                assert(answered == RCPTS && !m->ended++);
                break;
        case SMTP_CLIENT_RETURNED:
                assert(answered == 0 && !m->ended++);
                break;
        default:
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct mail mails[MAILS_MAX] = {0};
        struct smtp_client_options o = {.helo_name = SPAN("us")};
        struct smtp_client_event e;
        struct smtp_client *c;
        struct span in;
        size_t sent = 0;

        if (size == 0)
                return 0;
        o.is_lmtp = data[0] & 1;
        o.tls = (enum smtp_client_tls) ((data[0] >> 1) % 3);
        o.wants_login = data[0] & 64;
        c = smtp_client_new(&o);
        in = (struct span) {(const char *) data + 1, size - 1};
        for (;;) {
                in = span_skip(in, smtp_client_feed(c, in, &e));
                on_event(c, &e);
                if (e.kind == SMTP_CLIENT_OVER)
                        break;
                if (e.kind == SMTP_CLIENT_NONE)
                        smtp_client_lost(c, "the end of the input");
                while (sent < MAILS_MAX && smtp_client_may_send(c)) {
                        struct smtp_client_mail m = {
                                .tag = &mails[sent], .mail_from = SPAN("f@x"), .rcpts = rcpts,
                                .rcpt_count = RCPTS, .size = 5,
                                .flags = data[0] & 32 ? SMTP_CLIENT_BINARY : 0};

                        assert(smtp_client_send(c, &m) == 0);
                        sent++;
                }
                buffer_clear(smtp_client_output(c));
        }
        for (size_t i = 0; i < sent; i++)
                assert(mails[i].ended == 1);
        smtp_client_free(c);
        return 0;
}
