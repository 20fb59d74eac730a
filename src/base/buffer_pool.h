/* Memory of buffers that hold something for a moment only, such as the replies of a
 * round: what was used last, and is still near the processor, is used next, by
 * whichever buffer. Bounded; what it has no place for is freed. */
#pragma once

#include "base/buffer.h"

enum { BUFFER_POOL_ITEMS = 32, BUFFER_POOL_ROOM_MAX = 4096 /* octets of one */ };

struct buffer_pool {
        struct {
                char *data;
                size_t room;
        } items[BUFFER_POOL_ITEMS];
        unsigned count;
};

/* Frees what it has. */
void buffer_pool_done(struct buffer_pool *p);

/* Memory for a buffer that has none, if there is some; it grows as it would without. */
static inline void buffer_pool_lend(struct buffer_pool *p, struct buffer *b)
{
        if (b->data || p->count == 0)
                return;
        p->count--;
        b->data = p->items[p->count].data;
        b->room = p->items[p->count].room;
}

/* Takes the memory of a buffer, wherever it had it from; what it held is forgotten. */
void buffer_pool_take(struct buffer_pool *p, struct buffer *b);
