/* The words for people in a delivery status notification: what happened, whose
 * words those were, and what to do. Part of dsn.h; tests look at it alone. */
#pragma once

#include "base/buffer.h"
#include "message/dsn.h"

/* UTF-8, CRLF line ends; ASCII alone in English, whatever others said. 0, or
 * as buffer_append(). */
int dsn_text_format(const struct dsn *d, struct buffer *out);

/* UTF-8, without controls. */
const char *dsn_text_subject(const struct dsn *d);

/* The status of a recipient: what was given, else what the text starts with,
 * else what the code and the action say. */
struct status_code dsn_text_status(const struct dsn *d, const struct dsn_recipient *r);
