/* What a group under way has changed and the index does not show yet:
 * sequences of partitions, keys that came or went, blobs. A commit of the
 * group that is refused is taken back: overlay_mark(), overlay_rollback().
 *
 * Keys are told apart by 128 bits, seeded at start: those of a partition or a number are
 * these themselves, mixed; others a hash. Made once, they serve all overlays. Memory is
 * kept from group to group. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/prefetch.h"
#include "base/span.h"

struct overlay_key {
        uint64_t low, high;
};

struct overlay_slot {
        uint64_t generation;
        struct overlay_key key;
        uint64_t value;
};

struct overlay_undo {
        struct overlay_key key;
        uint64_t old;
        bool was_there;
};

struct overlay {
        struct overlay_slot *slots;
        size_t slot_count, used; /* a power of two */
        uint64_t generation;
        struct overlay_undo *undo;
        size_t undo_count, undo_room;
};

/* Different for different words. */
static inline struct overlay_key overlay_key_of_words(uint64_t first, uint64_t second,
                                                      uint64_t seed)
{
        uint64_t low = (second ^ seed ^ (first << 32 | first >> 32)) * 0x9e3779b97f4a7c15u;

        low ^= low >> 32;
        return (struct overlay_key) {low, first};
}

/* Of a name below what another key stands for. */
struct overlay_key overlay_key_below(struct overlay_key above, struct span name);

void overlay_init(struct overlay *o);
void overlay_done(struct overlay *o);

bool overlay_get(const struct overlay *o, struct overlay_key key, uint64_t *ret_value);
int overlay_set(struct overlay *o, struct overlay_key key, uint64_t value); /* 0, -ENOMEM */

/* It is soon asked for, or set: with some work in between it will be at hand. */
static inline void overlay_fetch(const struct overlay *o, struct overlay_key key)
{
        if (o->slot_count)
                prefetch_to_write(&o->slots[key.low & (o->slot_count - 1)]);
}

void overlay_mark(struct overlay *o); /* what stands now stays */
void overlay_rollback(struct overlay *o);
void overlay_clear(struct overlay *o);
