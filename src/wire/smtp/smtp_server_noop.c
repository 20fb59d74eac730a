/* Commands that do nothing. */
#include "wire/smtp/smtp_server_engine.h"

/* RFC 5321 section 4.1.1.9: a parameter is ignored. */
SMTP_COMMAND_FUNCTION(noop)
{
        (void) argument;
        (void) ev;
        smtp_server_say(s, 250, "2.0.0", "Ok");
}

/* sendmail's: its `mail -v` says it first and wants a 250. */
SMTP_COMMAND_FUNCTION(verb)
{
        (void) argument;
        (void) ev;
        smtp_server_say(s, 250, "2.0.0", "Accepted, without effect");
}
