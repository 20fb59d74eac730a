#include "wire/smtp/smtp_server_engine.h"

/* RFC 5321 section 4.1.1.5. */
SMTP_COMMAND_FUNCTION(rset)
{
        (void) argument;
        (void) ev;
        smtp_server_reset(s);
        smtp_server_say(s, 250, "2.0.0", "Forgotten");
}
