#include "wire/smtp/smtp_server_engine.h"

/* RFC 5321 section 4.1.1.10: the role closes once this is sent. */
SMTP_COMMAND_FUNCTION(quit)
{
        (void) argument;
        (void) ev;
        s->has_quit = true;
        smtp_server_close(s, 221, "2.0.0", "Goodbye");
}
