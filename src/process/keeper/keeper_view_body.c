/* Stored bodies. An access process may read any: it holds what it serves. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "process/keeper/keeper_view.h"

struct query {
        struct keeper_asker asker;
        uint64_t number;
};

static void got_octets(void *arg, int result, struct span octets, uint64_t blob_size)
{
        struct query *q = arg;
        struct channel *ch = keeper_asker_channel(&q->asker);

        if (ch)
                CHANNEL_SEND(ch, blob_octets, -1, .query = q->number,
                             .status = (uint32_t) -result, .size = blob_size, .octets = octets);
        free(q);
}

void keeper_on_blob_query(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct ipc_blob_query *b = &m->blob_query;
        struct keeper_peer *peer = arg;
        const uint32_t len = b->len < IPC_BLOB_PART_MAX ? b->len : IPC_BLOB_PART_MAX;
        struct store *store = peer->keeper->store;
        struct query *q;
        uint64_t size;
        int file;

        (void) fd;
        if (b->wants_file && store_blob_open(store, b->blob_id, &file, &size) == 0) {
                CHANNEL_SEND(ch, blob_octets, file, .query = b->query, .size = size);
                close(file);
                return;
        }
        q = calloc(1, sizeof *q);
        if (!q) {
                CHANNEL_SEND(ch, blob_octets, -1, .query = b->query, .status = ENOMEM);
                return;
        }
        *q = (struct query) {keeper_asker(peer), b->query};
        store_blob_read(store, b->blob_id, b->offset, len, got_octets, q);
}
