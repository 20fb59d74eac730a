/* Guessing passwords, slowed down: failures counted by client network and by
 * account, forgotten one a minute each.
 *
 * A client that fails often waits longer for each answer, then is not answered
 * at all for a while. An account that is guessed at from many places is closed
 * to places that never logged in to it: whoever owns it goes on working.
 *
 * A fixed number of slots, keyed hashing, lossy where all of a bucket are
 * busy: nothing but delay rests on it. Pure: the time is passed in. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum {
        THROTTLE_FREE = 5,         /* failures of a client that cost it nothing more */
        THROTTLE_DELAY_MAX_MS = 10 * 1000,
        THROTTLE_CLIENT_MAX = 30,  /* failures, from which a client is turned away unheard */
        THROTTLE_ACCOUNT_MAX = 60, /* the same for an account, but for places known to it */
        THROTTLE_FORGET_MS = 60 * 1000,
        THROTTLE_KNOWN_MS = 7 * 24 * 3600 * 1000, /* how long a place stays known */
};

struct throttle;

/* NULL: no memory. */
struct throttle *throttle_new(void);
struct throttle *throttle_free(struct throttle *t);

/* `client`: 16 octets, IPv4 mapped; IPv6 counts by its /64. `name`: of the
 * account, in any case; it need not exist. */
bool throttle_may_try(struct throttle *t, const unsigned char client[16], struct span name,
                      uint64_t now_ms);

/* Counts a failure; returns what the answer is to be put off by, beyond what
 * every refusal is. */
uint64_t throttle_failed(struct throttle *t, const unsigned char client[16], struct span name,
                         uint64_t now_ms);

/* The place becomes known to the account. What the client failed before stays
 * counted: an account of one's own buys no more guesses at others'. */
void throttle_succeeded(struct throttle *t, const unsigned char client[16], struct span name,
                        uint64_t now_ms);
