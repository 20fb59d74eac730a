#include "base/buffer_pool.h"

#include <stdlib.h>

void buffer_pool_done(struct buffer_pool *p)
{
        while (p->count)
                free(p->items[--p->count].data);
}

void buffer_pool_take(struct buffer_pool *p, struct buffer *b)
{
        if (!b->data || b->room > BUFFER_POOL_ROOM_MAX || p->count == BUFFER_POOL_ITEMS) {
                buffer_done(b);
                return;
        }
        p->items[p->count].data = b->data;
        p->items[p->count].room = b->room;
        p->count++;
        *b = BUFFER_INIT(b->size_max);
}
