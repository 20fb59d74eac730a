#include "wire/smtp/smtp_server_engine.h"

/* The command is there for this client now. */
static bool is_topic(const struct smtp_server *s, const struct smtp_command *c)
{
        const bool is_lmtp = s->options.dialect == SMTP_DIALECT_LMTP;

        if (c->run == smtp_server_starttls && !smtp_server_has_offer(s, SMTP_OFFER_STARTTLS))
                return false;
        return c->help && smtp_server_has_offer(s, c->offer)
               && !(c->flags & (is_lmtp ? SMTP_COMMAND_NOT_LMTP : SMTP_COMMAND_NOT_SMTP));
}

static void say_topics(struct smtp_server *s)
{
        char text[SMTP_SERVER_REPLY_LINE_MAX] = "Topics:";
        size_t len = strlen(text);

        for (size_t i = 0; i < smtp_server_command_count; i++) {
                const struct smtp_command *c = &smtp_server_commands[i];

                if (!is_topic(s, c) || len + c->verb.len + 2 > sizeof text)
                        continue;
                text[len++] = ' ';
                memcpy(text + len, c->verb.p, c->verb.len);
                len += c->verb.len;
        }
        text[len] = '\0';
        smtp_server_say(s, 214, "2.0.0", text);
}

/* RFC 5321 section 4.1.1.8. */
SMTP_COMMAND_FUNCTION(help)
{
        const struct smtp_command *c;

        (void) ev;
        if (argument.len == 0) {
                say_topics(s);
                return;
        }
        c = smtp_server_find_command(argument);
        if (c && is_topic(s, c))
                smtp_server_say(s, 214, "2.0.0", c->help);
        else
                smtp_server_refuse(s, 504, "5.5.4", "No such topic");
}
