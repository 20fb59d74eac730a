/* XCLIENT: a trusted front end tells for whom it speaks. */
#include "wire/smtp/smtp_server_engine.h"

SMTP_COMMAND_FUNCTION(xclient)
{
        if (argument.len == 0) {
                smtp_server_refuse(s, 501, "5.5.4", "Say XCLIENT NAME=value");
                return;
        }
        ev->argument = argument;
        smtp_server_wait(s, ev, SMTP_EVENT_XCLIENT);
}
