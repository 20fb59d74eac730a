#include "base/arena.h"

#include <stdlib.h>

enum { BLOCK_SIZE = 4096 };

struct arena_block {
        struct arena_block *next;
        size_t room;
        alignas(max_align_t) char data[];
};

#define BLOCK_ROOM (BLOCK_SIZE - sizeof(struct arena_block))

static void free_blocks(struct arena_block *b)
{
        while (b) {
                struct arena_block *next = b->next;

                free(b);
                b = next;
        }
}

/* Keeps the newest block if it is of the usual size. */
static void free_others(struct arena *a)
{
        free_blocks(a->blocks->next);
        a->blocks->next = NULL;
        if (a->blocks->room > BLOCK_ROOM) {
                free(a->blocks);
                a->blocks = NULL;
        }
        a->is_simple = true;
}

void arena_clear(struct arena *a)
{
        if (a->blocks && !a->is_simple)
                free_others(a);
        a->free = a->blocks ? a->blocks->data : NULL;
        a->room = a->blocks ? BLOCK_ROOM : 0;
        a->held = 0;
}

void arena_done(struct arena *a)
{
        free_blocks(a->blocks);
        *a = ARENA_INIT(a->size_max);
}

static int add_block(struct arena *a, size_t n)
{
        size_t room = n > BLOCK_ROOM ? n : BLOCK_ROOM;
        struct arena_block *b = malloc(sizeof *b + room);

        if (!b)
                return -1;
        a->is_simple = !a->blocks && room == BLOCK_ROOM;
        b->next = a->blocks;
        b->room = room;
        a->blocks = b;
        a->free = b->data;
        a->room = room;
        return 0;
}

void *arena_take_slowly(struct arena *a, size_t n)
{
        const size_t align = alignof(max_align_t);
        char *p;

        if (n > a->size_max || a->held > a->size_max - n)
                return NULL;
        n = (n + align - 1) & ~(align - 1);
        if (a->room < n && add_block(a, n) < 0)
                return NULL;
        p = a->free;
        a->free += n;
        a->room -= n;
        a->held += n;
        return p;
}
