/* Bodies asked for before they are needed: a client that fetches message after
 * message waits for the keeper once, not each time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "wire/imap/imap_view.h"

struct access_body;
struct access_order;
struct access_session;

enum {
        ACCESS_AHEAD_SLOTS = 64,
        ACCESS_AHEAD_SIZE_MAX = 64 * 1024, /* of a body; larger ones are waited for */
};

struct access_ahead_slot {
        struct access_session *session;
        struct access_ahead *ahead;
        struct access_order *order; /* NULL: none under way */
        uint64_t blob_id;           /* 0: free */
        char *octets;               /* NULL: not here yet */
        size_t len;
        bool is_failed;
        struct access_body *waiting; /* who needs it now */
};

struct access_ahead {
        struct access_ahead_slot slots[ACCESS_AHEAD_SLOTS];
        unsigned used; /* slots */
        size_t last;  /* index of the message needed last */
        size_t asked; /* indices before it were asked for */
        unsigned run; /* messages needed one behind the other so far */
};

/* This message of the view is needed; asks for some behind it where it is one
 * of a row. `*ahead` is made when first needed; without memory there is none. */
void access_ahead_look(struct access_session *s, struct access_ahead **ahead,
                       const struct imap_view *view, uint32_t uid);

/* Is this body here or under way? If so `b` gets it, at once or later, by its
 * `got`. */
bool access_ahead_take(struct access_session *s, struct access_ahead *ahead,
                       struct access_body *b);

/* Nothing more is needed. Accepts NULL; returns it. */
struct access_ahead *access_ahead_free(struct access_session *s, struct access_ahead *ahead);
