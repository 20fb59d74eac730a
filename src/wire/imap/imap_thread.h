/* Threads of messages: ORDEREDSUBJECT and REFERENCES of RFC 5256, and REFS of
 * draft-ietf-morg-inthread, which is REFERENCES without subjects and with the
 * thread that got a message last at the end.
 *
 * Pure. Message ids and base subjects come as keyed hashes. Time grows with
 * n log n, however the references are crafted: what past THREAD_STEPS_MAX
 * would have to be searched for loops stays unlinked. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"

enum imap_thread_kind {
        IMAP_THREAD_ORDEREDSUBJECT,
        IMAP_THREAD_REFERENCES,
        IMAP_THREAD_REFS,
};

enum {
        IMAP_THREAD_REFERENCES_MAX = 1000, /* of one message; callers give the last ones */
        IMAP_THREAD_UNSEEN_MAX = 300000,   /* ids that no message has; more are passed over */
        IMAP_THREAD_STEPS_MAX = 20000000,
};

struct imap_thread_message {
        uint32_t number; /* as it is written: sequence number or UID; growing */
        int64_t sent_at, arrived_at;
        uint64_t id;      /* 0: none */
        uint64_t subject; /* 0: empty */
        bool is_reply;    /* "Re:" or the like was taken off */
};

struct imap_thread_node;

/* Private; start from IMAP_THREADS(arena). */
struct imap_threads {
        struct arena *arena;
        struct imap_thread_node **blocks;
        size_t count, block_count, block_room;
        uint32_t *slots; /* by id: index + 1 */
        size_t slot_count, used_slots;
        size_t unseen;
        uint64_t steps;
};
#define IMAP_THREADS(a) ((struct imap_threads) {.arena = (a)})

/* One message, and the ids it refers to, oldest first. 0 or -ENOMEM. */
int imap_thread_add(struct imap_threads *t, const struct imap_thread_message *m,
                    const uint64_t *references, size_t count);

/* Appends "(1)(2 (3)(4))", RFC 5256 section 4; nothing where there are no
 * messages. Once. 0, -ENOMEM, or as buffer_append(). */
int imap_thread_format(struct imap_threads *t, enum imap_thread_kind kind, struct buffer *out);
