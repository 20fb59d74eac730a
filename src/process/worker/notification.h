/* The text of a delivery status notification, made to the keeper's order.
 *
 * Pure but for the clock, which is passed in. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "ipc/message.h"
#include "message/status_code.h"

enum { NOTIFICATION_SIZE_MAX = 160 * 1024 }; /* what a dsn_text may carry */

/* Writes the whole message for `order`, whose items have been checked, into
 * `out`, which is cleared first and may hold NOTIFICATION_SIZE_MAX. What does
 * not fit is left out, the least telling first: the original's text, its
 * header, long replies, the last recipients. 0, -ENOMEM, or -EMSGSIZE (not
 * even that helped). */
int notification_format(const struct ipc_dsn_order *order, struct span hostname,
                        enum status_language language, uint64_t now_us, struct buffer *out);

/* What the notification needs of the hosts on its way: of enum envelope_flag,
 * ENVELOPE_8BIT and ENVELOPE_SMTPUTF8 (RFC 6533 section 5: only where whom it
 * goes to can be reached by nothing else). */
uint32_t notification_flags(const struct ipc_dsn_order *order, struct span text);
