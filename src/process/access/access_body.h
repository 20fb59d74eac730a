/* Stored bodies: in memory where they are small, mapped where the store keeps
 * them as files. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct access_session;

struct access_body {
        uint64_t blob_id; /* 0: none is held */
        struct span octets;
        bool is_mapped;
        bool is_large;
        uint64_t size;
        void (*got)(struct access_session *s, int result);
};

/* Gets the octets of a body, all of them, unless it holds them already: `got`
 * is called, perhaps at once. They stay until the next call or
 * access_body_drop(). The session's `order` is used. */
void access_body_get(struct access_session *s, struct access_body *b, uint64_t blob_id,
                     uint64_t size, void (*got)(struct access_session *s, int result));
void access_body_drop(struct access_session *s, struct access_body *b);
