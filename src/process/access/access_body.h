/* Stored bodies: read from the log where they lie in it (access_ahead.h), mapped
 * where the store keeps them as files, and else as octets from the keeper. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct access_ahead;
struct access_row;
struct access_session;

struct access_body {
        uint64_t blob_id; /* 0: none is held */
        struct span octets;
        uint64_t message_size; /* a digest may lie behind so many octets of the blob */
        bool wants_digest, is_digest;
        bool is_mapped;
        bool is_borrowed; /* of `ahead` */
        bool is_large;
        uint64_t size;
        void (*got)(struct access_session *s, int result);
        struct access_ahead *ahead;
};

/* Gets the octets of a body, all of them, unless it holds them already: `got` is
 * called, perhaps at once. They stay until the next call or access_body_drop().
 * `row` is where the body stands among those that may come next. The session's
 * `order` is used. */
void access_body_get(struct access_session *s, struct access_body *b, uint64_t size,
                     const struct access_row *row,
                     void (*got)(struct access_session *s, int result));

/* As access_body_get(), where the digest of the message will do, if it has one
 * (`is_digest`; digest_check() was passed): else it is the body. */
void access_body_get_digest(struct access_session *s, struct access_body *b, uint64_t size,
                            const struct access_row *row,
                            void (*got)(struct access_session *s, int result));

/* For access_ahead.c: the octets are in `b`, or are to be asked for. */
void access_body_given(struct access_session *s, struct access_body *b, int result);
void access_body_ask(struct access_session *s, struct access_body *b);

void access_body_drop(struct access_session *s, struct access_body *b);

/* Nothing will be needed for a while: gives memory back, unless octets are held. */
void access_body_trim(struct access_session *s, struct access_body *b);
void access_body_done(struct access_session *s, struct access_body *b);
