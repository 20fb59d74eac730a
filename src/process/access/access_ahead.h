/* Where bodies lie that a session reads one behind the other: asked of the
 * keeper by the hundred, and read from the log by pieces that hold many. A client
 * that fetches message after message waits for the keeper now and then, not
 * each time.
 *
 *   places of some messages ──► is its segment open? ──► a piece of it in memory
 *        ▲ keeper                  ▲ keeper                       │ checksum
 *        └── the next are asked for at half of them               ▼ the body
 *
 * Whatever goes wrong on this way (no place, not in the page cache, moved
 * meanwhile), the body comes from the keeper as octets. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "process/access/access_segment.h"

struct access_body;
struct access_order;
struct access_session;

enum {
        ACCESS_AHEAD_PLACES = 256,        /* asked for at once, at most: IPC_PLACES_MAX */
        ACCESS_AHEAD_PIECE = 256 * 1024,  /* read at once, at most, but for one body */
};

/* The body that is needed, and the row in which others come: it is `index` of
 * `count`; any other index: it is in none. */
struct access_row {
        uint64_t blob_id;
        const void *of;
        uint64_t (*body_id)(const void *of, size_t index);
        size_t index, count;
};

struct access_places {
        struct access_place *items; /* own memory */
        size_t count, at;           /* looked at from `at` on */
};

struct access_ahead {
        struct access_session *session;
        struct access_body *waiting;  /* needs its place, or its segment open */
        struct access_order *asking;  /* for places; NULL: not */
        struct access_order *opening; /* of `opening_segment` */
        uint64_t opening_segment;
        struct access_places now, next;
        size_t last;  /* index needed last */
        size_t asked; /* places of indices before it were asked for */
        size_t run;   /* needed one behind the other so far */
        char *piece;  /* NULL: none is held */
        size_t piece_len, piece_room;
        uint64_t piece_segment, piece_offset;
};

/* Gives `b` its octets by access_body_given(), or has them asked for by
 * access_body_ask(); at once or later. `*ahead` is made when first needed. The octets
 * live as long as the body holds them, and `*ahead`. */
void access_ahead_get(struct access_session *s, struct access_ahead **ahead,
                      const struct access_row *row, struct access_body *b);

/* Nothing more is needed, and no body holds octets of it. Accepts NULL; returns it. */
struct access_ahead *access_ahead_free(struct access_session *s, struct access_ahead *ahead);
