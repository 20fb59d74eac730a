#include "store/overlay.h"

#include <errno.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { SLOTS_MIN = 256, SLOTS_KEPT = 16384 };

/* A value of a key that was taken back: as if it had never been set. */
static const uint64_t GONE = UINT64_MAX;

struct overlay_key overlay_key(struct span key, uint64_t seed)
{
        const XXH128_hash_t hash = XXH3_128bits_withSeed(key.p ? key.p : "", key.len, seed);

        return (struct overlay_key) {hash.low64, hash.high64};
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

static int remember(struct overlay *o, struct overlay_undo undo)
{
        if (o->undo_count == o->undo_room) {
                const size_t room = o->undo_room ? o->undo_room * 2 : 64;
                struct overlay_undo *grown = realloc(o->undo, room * sizeof(struct overlay_undo));

                if (!grown)
                        return -ENOMEM;
                o->undo = grown;
                o->undo_room = room;
        }
        o->undo[o->undo_count++] = undo;
        return 0;
}

int overlay_set(struct overlay *o, struct overlay_key key, uint64_t value)
{
        struct overlay_slot *slot;
        bool was_there;
        int r = o->used * 2 >= o->slot_count ? grow(o) : 0;

        if (r < 0)
                return r;
        slot = slot_of(o, key);
        was_there = slot->generation == o->generation;
        r = remember(o, (struct overlay_undo) {key, slot->value, was_there});
        if (r < 0)
                return r;
        if (!was_there)
                o->used++;
        *slot = (struct overlay_slot) {o->generation, key, value};
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
