/* VRFY, EXPN, ETRN: one word each, and what is told is for policy to say. */
#include "wire/smtp/smtp_server_engine.h"

static void ask(struct smtp_server *s, struct span argument, struct smtp_event *ev,
                enum smtp_event_kind kind, const char *usage)
{
        if (argument.len == 0) {
                smtp_server_refuse(s, 501, "5.5.4", usage);
                return;
        }
        ev->argument = argument;
        smtp_server_wait(s, ev, kind);
}

/* RFC 5321 section 4.1.1.6; 252 where nothing is told (section 7.3). */
SMTP_COMMAND_FUNCTION(vrfy)
{
        ask(s, argument, ev, SMTP_EVENT_VRFY, "Say VRFY address");
}

SMTP_COMMAND_FUNCTION(expn)
{
        ask(s, argument, ev, SMTP_EVENT_EXPN, "Say EXPN list");
}

/* RFC 1985 */
SMTP_COMMAND_FUNCTION(etrn)
{
        ask(s, argument, ev, SMTP_EVENT_ETRN, "Say ETRN domain");
}
