#include "process/access/access_digest.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/hash.h"
#include "message/digest.h"

enum { MAKING_MAX = 64 * 1024 * 1024 }; /* memory that making one may take */

struct entry {
        struct table_node by_blob;
        struct list_node node;
        uint64_t blob_id;
        size_t len;
        bool has_preview;
        char octets[];
};

void access_digests_init(struct access_digests *d)
{
        *d = (struct access_digests) {.by_blob = TABLE_INIT};
        list_init(&d->all);
}

static void drop(struct access_digests *d, struct entry *e)
{
        table_remove(&d->by_blob, &e->by_blob);
        list_remove(&e->node);
        d->bytes -= sizeof *e + e->len;
        free(e);
}

/* Ids of one maker have the same low bits, those a table looks at. */
static uint64_t hash_of(uint64_t blob_id)
{
        return hash_span(span_make((const char *) &blob_id, sizeof blob_id), 0);
}

static struct entry *find(const struct access_digests *d, uint64_t blob_id)
{
        struct table_node *n = table_first(&d->by_blob, hash_of(blob_id));

        for (; n; n = table_next(n)) {
                struct entry *e = TABLE_OBJECT(n, struct entry, by_blob);

                if (e->blob_id == blob_id)
                        return e;
        }
        return NULL;
}

bool access_digests_find(struct access_digests *d, uint64_t blob_id, bool with_preview,
                         struct buffer *out)
{
        struct entry *e = find(d, blob_id);

        if (!e || (with_preview && !e->has_preview) || buffer_append(out, e->octets, e->len) < 0)
                return false;
        d->hits++;
        list_remove(&e->node);
        list_append(&d->all, &e->node);
        return true;
}

void access_digests_keep(struct access_digests *d, uint64_t blob_id, struct span octets)
{
        struct entry *known = find(d, blob_id), *e;
        struct digest digest;

        if (octets.len > ACCESS_DIGEST_SIZE_MAX || digest_open(octets, &digest) < 0 ||
            (known && known->has_preview >= digest.has_preview))
                return;
        e = malloc(sizeof *e + octets.len);
        if (!e)
                return;
        if (known)
                drop(d, known);
        *e = (struct entry) {.blob_id = blob_id, .len = octets.len,
                             .has_preview = digest.has_preview};
        memcpy(e->octets, octets.p, octets.len);
        if (table_add(&d->by_blob, &e->by_blob, hash_of(blob_id)) < 0) {
                free(e);
                return;
        }
        list_append(&d->all, &e->node);
        d->bytes += sizeof *e + e->len;
        while (d->bytes > ACCESS_DIGESTS_BYTES_MAX)
                drop(d, LIST_OBJECT(d->all.next, struct entry, node));
}

int access_digests_make(struct access_digests *d, uint64_t blob_id, struct span message,
                        struct buffer *out)
{
        struct arena arena = ARENA_INIT(MAKING_MAX);
        const size_t at = out->len;
        int r = digest_make(message, &arena, out);

        arena_done(&arena);
        d->made += r == 0;
        if (r == 0)
                access_digests_keep(d, blob_id, span_skip(buffer_span(out), at));
        return r;
}
