#include "wire/smtp/smtp_server_engine.h"

SMTP_COMMAND_FUNCTION(rset)
{
        (void) argument;
        (void) ev;
        smtp_server_reset(s);
        smtp_server_say(s, 250, "2.0.0", "Forgotten");
}
