#include "base/arena.h"

#include <stdalign.h>
#include <stdlib.h>

enum { BLOCK_SIZE = 4096 };

struct arena_block {
        struct arena_block *next;
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
        if (a->room > BLOCK_ROOM) {
                free(a->blocks);
                a->blocks = NULL;
                a->room = 0;
        }
        a->is_simple = true;
}

void arena_clear(struct arena *a)
{
        if (a->blocks && !a->is_simple)
                free_others(a);
        a->used = a->held = 0;
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
        a->blocks = b;
        a->room = room;
        a->used = 0;
        return 0;
}

/* Not zeroed. */
static char *take(struct arena *a, size_t n)
{
        const size_t align = alignof(max_align_t);
        char *p;

        if (n > a->size_max || a->held > a->size_max - n)
                return NULL;
        n = (n + align - 1) / align * align;
        if (!a->blocks || a->room - a->used < n)
                if (add_block(a, n) < 0)
                        return NULL;
        p = a->blocks->data + a->used;
        a->used += n;
        a->held += n;
        return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
        char *p = take(a, n);

        return p ? memset(p, 0, n) : NULL;
}

struct span arena_copy(struct arena *a, struct span s)
{
        char *p = arena_string(a, s);

        return (struct span) {p, p ? s.len : 0};
}

char *arena_string(struct arena *a, struct span s)
{
        char *p = take(a, s.len + 1);

        if (!p)
                return NULL;
        if (s.len)
                memcpy(p, s.p, s.len);
        p[s.len] = '\0';
        return p;
}
