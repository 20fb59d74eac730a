/* A question to the store on its way: made on the loop, answered from the
 * index on whatever thread may wait for the disk, handed back on the loop. */
#pragma once

#include "base/buffer.h"
#include "base/list.h"
#include "store/index.h"
#include "store/store.h"

enum query_kind {
        QUERY_GET,
        QUERY_SCAN,
        QUERY_PARTITIONS,
        QUERY_BLOB,  /* answered by the driver: query_give_octets() */
        QUERY_PLACES, /* answered by the driver, which fills in query_places() */
        QUERY_TRACE, /* answered by the driver: query_give_entry() for each */
        QUERY_BACKUP, /* answered by the driver: query_give_file() for each */
};

struct query_entry {
        size_t key_at, key_len, value_at, value_len; /* in `octets` */
};

struct query {
        struct list_node node;
        enum query_kind kind;
        struct partition partition;
        struct span from, to; /* index keys, or the trace key; in `own` */
        size_t limit;
        bool is_reverse;
        uint64_t number; /* blob id, hash */
        uint64_t offset; /* QUERY_BLOB */
        union {
                store_get_fn *get;
                store_scan_fn *scan;
                store_partitions_fn *partitions;
                store_blob_fn *blob;
                store_places_fn *places;
                store_trace_fn *trace;
                store_backup_fn *backup;
        } done;
        void *arg;

        /* the answer */
        int result;
        uint64_t answer;   /* sequence, size of the blob */
        bool has_more;
        struct buffer octets;
        struct query_entry *entries;
        size_t entry_count, entry_room;
        char *own;
        void *driver_data; /* the driver's, for the time it works on it */
        uint64_t driver_number;
};

/* NULL without memory. */
struct query *query_new(enum query_kind kind, const struct partition *p, void *arg);
struct query *query_free(struct query *q);

/* Sets from and to as keys of the kind's part of the index. -ENOMEM. */
int query_set_range(struct query *q, struct span from, struct span to);

/* Looks it up: 0, or -EAGAIN when the disk must be asked and `may_block` is
 * false; any other result is part of the answer. Not for BLOB and TRACE. */
int query_run(struct query *q, struct index *index, bool may_block);

/* QUERY_PLACES: `limit` of them, of which only the ids are known at first. */
static inline struct store_place *query_places(struct query *q)
{
        return (struct store_place *) (void *) q->own;
}

int query_give_entry(struct query *q, struct span key, struct span value);

int query_give_file(struct query *q, const struct store_backup_file *file);

/* Calls back and frees; on the loop. */
void query_done(struct query *q);
