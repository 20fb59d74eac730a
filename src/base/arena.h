/* An arena: memory of one transaction, freed all at once.
 *
 * A cap bounds what one peer can make us hold: past it, allocation fails and
 * the caller refuses the input. Blocks are 4 KiB (larger for larger requests);
 * arena_clear() keeps one block, so that a session in steady state never
 * calls malloc. */
#pragma once

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

struct arena_block;

struct arena {
        struct arena_block *blocks; /* newest first */
        char *free;                 /* in the newest block: it is not looked at more often than it
                                     * is written, since to read it may be to wait for memory */
        size_t room;                /* octets there */
        bool is_simple;             /* no more than one block, of the usual size */
        size_t held;                /* bytes handed out in all */
        size_t size_max;
};

#define ARENA_INIT(max) ((struct arena) {.is_simple = true, .size_max = (max)})

void arena_clear(struct arena *a);
void arena_done(struct arena *a);

/* Memory aligned for any type that is not zeroed, or NULL past size_max or without memory. */
void *arena_take_slowly(struct arena *a, size_t n);
static inline void *arena_take(struct arena *a, size_t n)
{
        const size_t align = alignof(max_align_t), size = (n + align - 1) & ~(align - 1);
        char *p = a->free;

        /* Nearly always there is room in the block. */
        if (n > a->room || size > a->room || a->held + n > a->size_max)
                return arena_take_slowly(a, n);
        a->free += size;
        a->room -= size;
        a->held += size;
        return p;
}

/* The same, zeroed. */
static inline void *arena_alloc(struct arena *a, size_t n)
{
        char *p = arena_take(a, n);

        return p ? memset(p, 0, n) : NULL;
}

/* A copy as a C string that lives as long as the arena; NULL on failure. */
static inline char *arena_string(struct arena *a, struct span s)
{
        char *p = arena_take(a, s.len + 1);

        if (!p)
                return NULL;
        if (s.len)
                memcpy(p, s.p, s.len);
        p[s.len] = '\0';
        return p;
}

/* The same as a span, which does not count the NUL. {NULL, 0} on failure (an empty input gives
 * p != NULL). */
static inline struct span arena_copy(struct arena *a, struct span s)
{
        char *p = arena_string(a, s);

        return (struct span) {p, p ? s.len : 0};
}
