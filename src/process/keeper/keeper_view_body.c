/* Stored bodies. An access process may read any of mailboxes: it holds what it
 * serves, and bodies of all accounts lie together in the log. So it gets where a
 * body lies and the segment's file to read it from, read-only; what is part of
 * the queue, or changes its place at that moment, comes as octets. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "process/keeper/keeper_view.h"

struct query {
        struct keeper_asker asker;
        uint64_t number;
};

static struct query *query_new(struct keeper_peer *peer, uint64_t number)
{
        struct query *q = calloc(1, sizeof *q);

        if (q)
                *q = (struct query) {keeper_asker(peer), number};
        return q;
}

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
        q = query_new(peer, b->query);
        if (!q) {
                CHANNEL_SEND(ch, blob_octets, -1, .query = b->query, .status = ENOMEM);
                return;
        }
        store_blob_read(store, b->blob_id, b->offset, len, got_octets, q);
}

/* ---- where they lie -------------------------------------------------------------- */

static void got_places(void *arg, int result, const struct store_place *places, size_t count)
{
        struct query *q = arg;
        struct channel *ch = keeper_asker_channel(&q->asker);
        struct buffer b = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct ipc_items items = {0};

        for (size_t i = 0; i < count && result == 0; i++)
                result = ipc_add_place(&b, &items, &(const struct ipc_place) {
                        .blob_id = places[i].blob_id, .segment = places[i].segment,
                        .offset = places[i].offset, .size = places[i].size,
                        .checksum = places[i].checksum});
        if (result < 0)
                items = (struct ipc_items) {0};
        if (ch)
                CHANNEL_SEND(ch, places, -1, .query = q->number, .status = (uint32_t) -result,
                             .places = items);
        buffer_done(&b);
        free(q);
}

void keeper_on_place_query(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct keeper_peer *peer = arg;
        struct query *q = query_new(peer, m->place_query.query);
        struct reader each = ipc_items_read(m->place_query.blobs);
        uint64_t ids[STORE_PLACES_MAX];
        struct ipc_blob blob;
        size_t count = 0;

        _Static_assert((int) IPC_PLACES_MAX == (int) STORE_PLACES_MAX, "a question fits");
        (void) fd;
        if (!q) {
                CHANNEL_SEND(ch, places, -1, .query = m->place_query.query, .status = ENOMEM);
                return;
        }
        while (ipc_next_blob(&each, &blob))
                ids[count++] = blob.blob_id;
        store_blob_places(peer->keeper->store, ids, count, got_places, q);
}

void keeper_on_segment_query(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct keeper_peer *peer = arg;
        int file = -1;
        const int r = store_segment_open(peer->keeper->store, m->segment_query.segment, &file);

        (void) fd;
        CHANNEL_SEND(ch, segment_file, file, .query = m->segment_query.query,
                     .status = (uint32_t) -r);
        if (file >= 0)
                close(file);
}
