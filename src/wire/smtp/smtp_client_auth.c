/* The SMTP client: AUTH (RFC 4954). What is in the blobs is the role's. */
#include <assert.h>
#include <string.h>

#include "wire/smtp/smtp_client_private.h"

/* "PLAIN SCRAM-SHA-256": kept; what does not fit is not offered. */
void smtp_client_read_mechanisms(struct smtp_client *c, struct span text)
{
        size_t len = strlen(c->mechanisms);

        text = span_trim(text);
        if (len + text.len + 2 > sizeof c->mechanisms)
                return;
        if (len && text.len)
                c->mechanisms[len++] = ' ';
        for (size_t i = 0; i < text.len; i++)
                c->mechanisms[len++] = text.p[i] ? text.p[i] : '?';
        c->mechanisms[len] = '\0';
}

static void tell(struct smtp_client *c, enum smtp_client_event_kind kind, struct span text)
{
        c->state = SESSION_LOGIN;
        c->tell_login = kind;
        c->login_text = text;
}

void smtp_client_begin_login(struct smtp_client *c)
{
        if (!c->mechanisms[0])
                smtp_client_fail_text(c, "the host offers no login, and wants one by what we "
                                         "were told");
        else
                tell(c, SMTP_CLIENT_LOGIN, span_from_string(c->mechanisms));
}

void smtp_client_auth(struct smtp_client *c, struct span mechanism, struct span base64)
{
        if (c->is_failed)
                return;
        assert(c->state == SESSION_LOGIN);
        smtp_client_put_text(c, "AUTH ");
        smtp_client_put(c, mechanism);
        if (base64.p) /* an empty one is "=" (section 4) */
                smtp_client_put_text(c, base64.len ? " " : " =");
        smtp_client_put(c, base64);
        smtp_client_put_text(c, "\r\n");
        c->state = SESSION_AUTH;
}

void smtp_client_auth_response(struct smtp_client *c, struct span base64)
{
        if (c->is_failed)
                return;
        assert(c->state == SESSION_LOGIN);
        smtp_client_put(c, base64);
        smtp_client_put_text(c, "\r\n");
        c->state = SESSION_AUTH;
}

void smtp_client_logged_in(struct smtp_client *c)
{
        if (c->is_failed)
                return;
        assert(c->state == SESSION_LOGIN);
        c->state = SESSION_OPEN;
        c->tell_ready = true;
}

void smtp_client_auth_reply(struct smtp_client *c, const struct smtp_reply *reply)
{
        if (c->state == SESSION_LOGIN) /* nothing was asked */
                smtp_client_fail_reply(c, reply);
        else if (reply->code == 334)
                tell(c, SMTP_CLIENT_CHALLENGE, reply->text);
        else if (reply->code == 235)
                tell(c, SMTP_CLIENT_LOGGED_IN, reply->text);
        else if (reply->code >= 400)
                smtp_client_fail_text(c, "the host refused our login: %u %.*s", reply->code,
                                      (int) (reply->text.len < 300 ? reply->text.len : 300),
                                      reply->text.p);
        else
                smtp_client_fail_reply(c, reply);
}
