/* Passwords that were found right some minutes ago, so that a client that logs
 * in every minute costs no argon2 each time.
 *
 * What is kept is a keyed hash (BLAKE2b, the key drawn at start) of account,
 * stored hash and password together: nothing that could be used elsewhere, and
 * a changed stored hash matches no more by itself. A fixed number of places;
 * the oldest of a bucket goes. Pure: the time is passed in. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum { PASSWORD_CACHE_MS = 5 * 60 * 1000 };

struct password_cache;

/* NULL: no memory. */
struct password_cache *password_cache_new(void);
struct password_cache *password_cache_free(struct password_cache *c); /* wipes */

/* Whether this was found right within PASSWORD_CACHE_MS. Takes the same time
 * either way. */
bool password_cache_has(const struct password_cache *c, struct span account, struct span stored,
                        struct span password, uint64_t now_ms);
void password_cache_add(struct password_cache *c, struct span account, struct span stored,
                        struct span password, uint64_t now_ms);
void password_cache_clear(struct password_cache *c);
