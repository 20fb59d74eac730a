/* xtext: how DSN parameters carry any octet (RFC 3461 section 4). "+" and two
 * hexadecimal digits in upper case stand for an octet; printable ASCII but "+"
 * and "=" stands for itself. Pure. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/span.h"

bool xtext_is_valid(struct span s);

/* The octets it stands for; p == NULL without memory or when it is not xtext. */
struct span xtext_decode(struct span s, struct arena *arena);

/* p == NULL without memory. */
struct span xtext_encode(struct span s, struct arena *arena);
