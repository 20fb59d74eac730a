#include "wire/smtp/smtp_server_engine.h"

SMTP_COMMAND_FUNCTION(quit)
{
        (void) argument;
        (void) ev;
        smtp_server_close(s, 221, "2.0.0", "Goodbye");
}
