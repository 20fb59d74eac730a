/* Making a message fit for a host that takes fewer octets than it has: RFC 6152
 * section 3 (8BITMIME), RFC 3030 section 3 (BINARYMIME).
 *
 * The parts that need it get a transfer encoding, quoted-printable where they
 * are text with proper lines, else base64 (RFC 2045 sections 6.2 to 6.8); all
 * others stay octet by octet. What a signature covers cannot stay as it was:
 * a message with one is left alone, unless the caller says otherwise.
 *
 * Pure. */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/span.h"

enum downgrade_target {
        DOWNGRADE_TO_7BIT, /* lines of at most 998 octets of ASCII */
        DOWNGRADE_TO_8BIT, /* lines of at most 998 octets */
};

/* Appends the message in its new form; with nothing to be done, as it is.
 *
 * 0; -EPERM: a signature would break, and `may_break_signature` is false;
 * -ENOTSUP: no transfer encoding can do it (a header beyond ASCII, an encoding
 * around parts, parts too deep to be looked into); -ENOMEM; -EMSGSIZE: larger
 * than `out` may become. Where it fails `out` is as before. */
int downgrade(struct span message, enum downgrade_target target, bool may_break_signature,
              struct buffer *out);
