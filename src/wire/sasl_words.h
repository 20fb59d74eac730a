/* What SMTP, IMAP and POP3 share of SASL's lines (RFC 4422 section 4): which
 * words are of base64, and which mechanisms were announced. Pure. */
#pragma once

#include <stdbool.h>

#include "base/span.h"

/* Only octets of base64's alphabet and "="; whether it decodes is seen later. */
bool sasl_words_is_base64(struct span s);

/* The mechanism of this name among those announced, "PLAIN SCRAM-SHA-256", in
 * their spelling. */
bool sasl_words_find(struct span announced, struct span name, struct span *ret);
