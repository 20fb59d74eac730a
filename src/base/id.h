/* Message ids: what a 250 names, what the log, the queue and `why` call a
 * message by.
 *
 * 64 bits, unique on this host for ever: 42 bits of milliseconds since 2020
 * (139 years), 6 bits of the process that made it, 16 bits of counter. Written
 * as 13 characters of Crockford's base 32 in lower case, which sort as the
 * numbers do: "03m9w8q2j0001". */
#pragma once

#include <stdint.h>

#include "base/span.h"

enum { ID_TEXT_LEN = 13, ID_MAKERS = 64 };

struct id_maker {
        uint8_t number; /* < ID_MAKERS: no two makers at work share one */
        uint64_t last;
};

/* Greater than every id this maker made before, even if the clock was set back. */
uint64_t id_next(struct id_maker *m, uint64_t now_us);

/* The number of who made it. */
uint8_t id_maker_number(uint64_t id);

/* When it was made, ±1 ms. */
uint64_t id_time_us(uint64_t id);

/* `out` holds ID_TEXT_LEN + 1 bytes. Returns it. */
const char *id_format(uint64_t id, char *out);

/* 0 or -EINVAL. */
int id_parse(struct span s, uint64_t *ret_id);
