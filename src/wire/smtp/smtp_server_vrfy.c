#include "wire/smtp/smtp_server_engine.h"

/* RFC 5321 section 4.1.1.6. Whether anything is told is for policy: 252
 * (section 7.3). */
SMTP_COMMAND_FUNCTION(vrfy)
{
        if (argument.len == 0) {
                smtp_server_refuse(s, 501, "5.5.4", "Say VRFY address");
                return;
        }
        ev->argument = argument;
        smtp_server_wait(s, ev, SMTP_EVENT_VRFY);
}
