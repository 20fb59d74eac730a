/* An arena: memory of one transaction, freed all at once.
 *
 * A cap bounds what one peer can make us hold: past it, allocation fails and
 * the caller refuses the input. Blocks are 4 KiB (larger for larger requests);
 * arena_clear() keeps one block, so that a session in steady state never
 * calls malloc. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

struct arena_block;

struct arena {
        struct arena_block *blocks; /* newest first */
        size_t used, room;          /* of the newest block, which is looked at no more often than
                                     * it is written: to read it may be to wait for memory */
        bool is_simple;             /* no more than one block, of the usual size */
        size_t held;                /* bytes handed out in all */
        size_t size_max;
};

#define ARENA_INIT(max) ((struct arena) {.is_simple = true, .size_max = (max)})

void arena_clear(struct arena *a);
void arena_done(struct arena *a);

/* Zeroed memory aligned for any type, or NULL past size_max or without memory. */
void *arena_alloc(struct arena *a, size_t n);

/* A copy that lives as long as the arena, with a NUL behind it that is not
 * counted. {NULL, 0} on failure (an empty input gives p != NULL). */
struct span arena_copy(struct arena *a, struct span s);

/* As arena_copy, as a C string; NULL on failure. */
char *arena_string(struct arena *a, struct span s);
