/* APOP (RFC 1939 section 7): the MD5 digest of a time stamp and the password; and
 * the field of the users file that it shares with CRAM-MD5.
 *
 * Weak, and it wants the password itself in the users file; for machines that
 * can do nothing better, on accounts that were given such a field. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

enum { APOP_DIGEST_LEN = 32, APOP_SECRET_MAX = 2048 };

/* The field apop= of a users file: base64. Writes at most APOP_SECRET_MAX octets
 * with a NUL. False: the password is too long. */
bool apop_make_secret(struct span password, char *out);
bool apop_is_secret(struct span secret);

/* The password itself with a NUL, into `out` of PASSWORD_OCTETS_MAX + 1: for
 * CRAM-MD5, which wants the same of the file. False: there is none, or it has a
 * NUL in it; `out` is then wiped. */
bool apop_read_secret(struct span secret, char *out);

/* Is `digest`, 32 hexadecimal digits in lower case, that of this stamp and
 * secret? An empty secret costs the same time and fits nothing. */
bool apop_is_good(struct span secret, struct span stamp, struct span digest);

/* Has the library load what it needs: before a process is confined. */
void apop_warm(void);
