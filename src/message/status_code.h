/* Enhanced status codes: RFC 3463 and the registry of RFC 5248. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct status_code {
        uint8_t class; /* 2 success, 4 for now, 5 for good */
        uint16_t subject, detail; /* 0 … 999 */
};

enum { STATUS_CODE_TEXT_MAX = 12 };

/* "5.1.1" alone. 0 or -EINVAL. */
int status_code_parse(struct span text, struct status_code *ret);

/* The code at the start of a reply's text ("5.1.1 No such user"), taken off
 * `*text` together with the blank behind it. False, and nothing taken, where
 * there is none, or one of another class than `reply_code` (0: any class). */
bool status_code_take(struct span *text, unsigned reply_code, struct status_code *ret);

/* What a DSN says of a reply without an enhanced code: x.0.0, or better where
 * the reply code alone tells more. */
struct status_code status_code_of_reply(unsigned reply_code);

/* "5.1.1". `out` holds STATUS_CODE_TEXT_MAX bytes; returns it. */
const char *status_code_format(struct status_code c, char *out);

/* What it means for whoever sent the message, and what to do: one or two
 * sentences of UTF-8. Never NULL. */
enum status_language { STATUS_ENGLISH, STATUS_JAPANESE };
const char *status_code_explain(struct status_code c, enum status_language language);
