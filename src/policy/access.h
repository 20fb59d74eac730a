/* The access table: what the administrator says about clients, senders and
 * recipients. Pure.
 *
 * The narrowest entry decides, and with its tag before without:
 *
 *   client      its name and wider domains, then its address and wider networks
 *   sender      the address, "user@", then its domain and wider ones
 *   recipient   the same
 *
 * What it says: REJECT and ERROR refuse, DISCARD takes the mail and throws it
 * away, QUARANTINE takes it and holds it, RELAY lets a client send anywhere, or
 * anybody send to that recipient; OK and SKIP end the search. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "config/snapshot.h"
#include "config/table_access.h"
#include "policy/verdict.h"

enum access_about { ACCESS_CONNECT, ACCESS_FROM, ACCESS_TO };

struct access_judgement {
        char letter;            /* enum access_letter; 0: nothing is said */
        struct verdict verdict; /* a refusal; else its rule and origin, with ACCESS_QUARANTINE
                                   the reason as text */
};

/* About a client: 16 octets, IPv4 mapped, and its name where that is known.
 * Loopback is "localhost". Spans of the answer live in `arena` or the snapshot.
 * 0, -ENOMEM. `s` NULL says nothing. */
int access_judge_client(const struct snapshot *s, const unsigned char address[16],
                        struct span client_name, struct arena *arena,
                        struct access_judgement *ret);

/* About an address, "local@domain", or empty for the null sender, whose key is
 * "<>". As above. */
int access_judge_address(const struct snapshot *s, enum access_about about, struct span address,
                         struct arena *arena, struct access_judgement *ret);
