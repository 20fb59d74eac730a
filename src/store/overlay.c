#include "store/overlay.h"

#include <errno.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { SLOTS_MIN = 256, SLOTS_KEPT = 16384 };

/* A value of a key that was taken back: as if it had never been set. */
static const uint64_t GONE = UINT64_MAX;

struct overlay_key overlay_key_below(struct overlay_key above, struct span name)
{
        const XXH128_hash_t hash = XXH3_128bits_withSeed(name.p ? name.p : "", name.len,
                                                         above.low);

        return (struct overlay_key) {hash.low64, hash.high64 ^ above.high};
}

void overlay_init(struct overlay *o)
{
        *o = (struct overlay) {.generation = 1};
}

void overlay_done(struct overlay *o)
{
        free(o->slots);
        free(o->undo);
        overlay_init(o);
}

/* The slot of this key, or the free one where it belongs. */
static struct overlay_slot *slot_of(const struct overlay *o, struct overlay_key key)
{
        size_t i = key.low & (o->slot_count - 1);

        while (o->slots[i].generation == o->generation &&
               (o->slots[i].key.low != key.low || o->slots[i].key.high != key.high))
                i = (i + 1) & (o->slot_count - 1);
        return &o->slots[i];
}

static int grow(struct overlay *o)
{
        struct overlay_slot *const old = o->slots;
        const size_t old_count = o->slot_count;
        const size_t count = old_count ? old_count * 2 : SLOTS_MIN;
        struct overlay_slot *slots = calloc(count, sizeof(struct overlay_slot));

        if (!slots)
                return -ENOMEM;
        o->slots = slots;
        o->slot_count = count;
        for (size_t i = 0; i < old_count; i++)
                if (old[i].generation == o->generation)
                        *slot_of(o, old[i].key) = old[i];
        free(old);
        return 0;
}

bool overlay_get(const struct overlay *o, struct overlay_key key, uint64_t *ret_value)
{
        const struct overlay_slot *slot;

        if (o->used == 0)
                return false;
        slot = slot_of(o, key);
        if (slot->generation != o->generation || slot->value == GONE)
                return false;
        *ret_value = slot->value;
        return true;
}

static int make_room_to_undo(struct overlay *o)
{
        const size_t room = o->undo_room ? o->undo_room * 2 : 64;
        struct overlay_undo *grown = realloc(o->undo, room * sizeof(struct overlay_undo));

        if (!grown)
                return -ENOMEM;
        o->undo = grown;
        o->undo_room = room;
        return 0;
}

/* Written word by word: two that are stored, and then had by one load, wait for all that was
 * stored before them, some of it far away. */
int overlay_set(struct overlay *o, struct overlay_key key, uint64_t value)
{
        const uint64_t low = key.low, high = key.high;
        struct overlay_slot *slot;
        struct overlay_undo *undo;
        int r = o->used * 2 >= o->slot_count ? grow(o) : 0;

        if (r == 0 && o->undo_count == o->undo_room)
                r = make_room_to_undo(o);
        if (r < 0)
                return r;
        slot = slot_of(o, key);
        undo = &o->undo[o->undo_count++];
        undo->key.low = low;
        undo->key.high = high;
        undo->old = slot->value;
        undo->was_there = slot->generation == o->generation;
        o->used += !undo->was_there;
        slot->generation = o->generation;
        slot->key.low = low;
        slot->key.high = high;
        slot->value = value;
        return 0;
}

void overlay_mark(struct overlay *o)
{
        o->undo_count = 0;
}

void overlay_rollback(struct overlay *o)
{
        while (o->undo_count) {
                const struct overlay_undo *u = &o->undo[--o->undo_count];

                slot_of(o, u->key)->value = u->was_there ? u->old : GONE;
        }
}

void overlay_clear(struct overlay *o)
{
        o->used = 0;
        o->undo_count = 0;
        o->generation++;
        if (o->slot_count > SLOTS_KEPT) {
                free(o->slots);
                o->slots = NULL;
                o->slot_count = 0;
        }
}
