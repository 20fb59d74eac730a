/* What a store driver is: the functions behind store.h, and what all drivers
 * share. */
#pragma once

#include "base/list.h"
#include "store/batch.h"
#include "store/store.h"

enum { DRIVER_COMMIT_BATCHES = 4 };

struct commit {
        struct list_node node;
        struct store_batch **batches; /* `few`, or memory of its own */
        struct store_batch *few[DRIVER_COMMIT_BATCHES];
        size_t batch_count;
        unsigned flags, has;
        size_t size; /* of all records */
        size_t queue_size; /* of those of the local: driver's queue/ */
        uint64_t begun_us;
        void (*done)(void *arg, int result);
        void *arg;
        int result;
};

struct query;

struct store_driver {
        const char *scheme;
        bool has_atomic_group;
        int (*open)(const char *path, const struct store_options *options, struct loop *loop,
                    struct store **ret_store, char *error);
        void (*close)(struct store *s);
        enum store_state (*state)(const struct store *s);
        const char *(*failure)(const struct store *s); /* or NULL */
        /* Takes the commit; ends with store_commit_done(). */
        void (*commit)(struct store *s, struct commit *c);
        /* Takes the batch, which holds nothing but a trace. */
        void (*trace_lazily)(struct store *s, struct store_batch *b);
        /* Takes the query; ends with query_done(). */
        void (*query)(struct store *s, struct query *q);
        int (*blob_lend)(struct store *s, uint64_t blob_id, int *ret_fd);
        void (*blob_return)(struct store *s, uint64_t blob_id);
        int (*blob_open)(struct store *s, uint64_t blob_id, int *ret_fd, uint64_t *ret_size);
        int (*segment_open)(struct store *s, uint64_t segment, int *ret_fd); /* or NULL */
        void (*backup_end)(struct store *s); /* or NULL */
        void (*metrics)(const struct store *s, struct store_metrics *ret);
};

/* At the head of every driver's own struct. Pools are the loop's alone. */
struct store {
        const struct store_driver *driver;
        struct loop *loop;
        uint64_t trace_seed; /* of the hashes of trace keys; kept with the store */
        struct list_node batch_pool, commit_pool;
        size_t batch_pool_len, commit_pool_len;
};

extern const struct store_driver store_mem_driver, store_local_driver;

void store_init(struct store *s, const struct store_driver *driver, struct loop *loop);
void store_done(struct store *s);

/* Calls back and frees commit and batches; on the loop. */
void store_commit_done(struct store *s, struct commit *c, int result);
