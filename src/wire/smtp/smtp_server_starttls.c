#include "wire/smtp/smtp_server_engine.h"

/* RFC 3207. What the client sent behind the command in the clear is never run:
 * after 220 the engine takes nothing, and the role drops it. */
SMTP_COMMAND_FUNCTION(starttls)
{
        (void) argument;
        if (s->is_secured)
                smtp_server_refuse(s, 503, "5.5.1", "TLS is on already");
        else if (!smtp_server_has_offer(s, SMTP_OFFER_STARTTLS))
                smtp_server_refuse(s, 502, "5.5.1", "Not offered here");
        else
                smtp_server_wait(s, ev, SMTP_EVENT_STARTTLS);
}
