/* The store: everything durable goes through here.
 *
 * A store holds partitions. A partition (an account, a queue shard, a list) is
 * the unit of consistency: ordered keys with values, and a sequence number
 * that counts its commits. A batch changes one partition, all or nothing.
 * Bodies (blobs) are octets that never change, named by an id that is never
 * reused, and live as long as somebody holds a reference.
 *
 * One thread (the keeper's loop) calls all of this; callbacks come on that
 * loop, either within the call or later. Drivers: "local:DIR" (a log with an
 * index), "mem:" (for tests, with delays and failures). What a driver must do
 * is what tests in store_conformance.c ask of it.
 *
 * Visibility: a get or scan sees a batch from its commit callback on. Layers
 * above keep what is under way themselves.
 *
 * Bounds: keys ≤ STORE_KEY_MAX, values ≤ STORE_VALUE_MAX, batch ≤
 * STORE_BATCH_MAX; larger things are blobs. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "net/loop.h"

enum {
        STORE_KEY_MAX = 400,
        STORE_VALUE_MAX = 256 * 1024,
        STORE_BATCH_MAX = 4 * 1024 * 1024,
        STORE_SCAN_MAX = 1000, /* entries a page */
        STORE_TRACE_KEYS_MAX = 16,
};

struct store;
struct store_batch;

/* 16 octets: the kind, then SHA-256 of the name, cut; see partition_of(). So a
 * kind's partitions lie together, and those of kind K are listed by starting
 * behind {K, 0, …} and stopping at the first of another kind. */
struct partition {
        unsigned char octets[16];
};
enum partition_kind {
        PARTITION_ACCOUNT = 'a',
        PARTITION_QUEUE = 'q',
        PARTITION_LIST = 'l',
        PARTITION_STORE = 's', /* the driver's own records */
};
struct partition partition_of(enum partition_kind kind, struct span name);

/* Results are 0 or:
 *   -ENOENT    no such key, blob, partition
 *   -EEXIST    store_require_absent() failed, or a blob of that id is there:
 *              nothing was changed
 *   -ESTALE    the partition's sequence is not the expected one
 *   -E2BIG     over one of the bounds
 *   -EINVAL    a blob's references would fall below zero
 *   -EBUSY     an adopted file still has a writer; -EOPNOTSUPP: the file system
 *              cannot tell (no leases)
 *   -ENOSPC    refused before anything was written. Under the reserve only
 *              commits with bodies are refused; below a quarter of it all are
 *   -EIO       the driver no longer knows what is durable: it takes no more
 *              commits (store_state() says so); nothing of it was acknowledged
 *   -EBADMSG   what was read is damaged
 *   -ENOMEM */
struct store_options {
        uint64_t segment_size;   /* local: 0 for the default of 64 MiB */
        uint64_t reserve_bytes;  /* refuse commits when less is free; 0: max(3 %, 1 GiB) */
        uint64_t trace_size_max; /* 0: 2 % of the disk */
        unsigned trace_days;     /* 0: 30 */
        int directory_fd;        /* local: the state folder; -1 to open the URI's path */
        bool is_quiet;           /* local: for looking at it only: nothing is made ahead, moved or
                                  * given back */
        const char *index_path;  /* local: path of the folder under which the index engine opens
                                  * its files, as this process sees it after confinement */
};

/* `error` (256 bytes) says in one sentence what is wrong and where. Blocking:
 * recovery happens here. */
int store_open(const char *uri, const struct store_options *options, struct loop *loop,
               struct store **ret_store, char *error);

/* Waits for what is under way (callbacks come), then closes. Accepts NULL. */
struct store *store_close(struct store *s);

enum store_state { STORE_GOOD, STORE_FULL, STORE_FAILED };
enum store_state store_state(const struct store *s);

/* What failed, with the file and why, when the state is STORE_FAILED; else "". It is
 * the first failure, and stays so. */
const char *store_failure(const struct store *s);

/* May the batches of one commit be of several partitions, all or nothing? */
bool store_has_atomic_group(const struct store *s);

/* ---- batches ---------------------------------------------------------- */

#define STORE_ANY_SEQUENCE UINT64_MAX

/* The batch copies what it is given. NULL without memory; any later failure
 * (size, memory) is remembered and returned by the commit. */
struct store_batch *store_batch_new(struct store *s, const struct partition *p,
                                    uint64_t expected_sequence);
struct store_batch *store_batch_free(struct store_batch *b); /* one not committed */

/* Another owner: what is in the batch stays after its commit too, until each has called
 * store_batch_free(). Before that of the store. */
struct store_batch *store_batch_ref(struct store_batch *b);

/* The octets of the blob that store_blob_put() put into it last; empty: none. Where they
 * are, once nothing more is put in. */
struct span store_batch_blob(const struct store_batch *b);

/* Octets of memory that the batch holds. */
size_t store_batch_memory(const struct store_batch *b);

/* Says what became of this batch, just before the callback of its commit, in the
 * order of the commits; -ECANCELED: it was freed without one. At most one. */
void store_batch_on_end(struct store_batch *b, void (*ended)(void *arg, int result), void *arg);

void store_put(struct store_batch *b, struct span key, struct span value);
/* As store_put(), for a key that was never used in this partition and, once
 * deleted, never is again: what does not live long then costs next to nothing. */
void store_put_new(struct store_batch *b, struct span key, struct span value);
void store_delete(struct store_batch *b, struct span key);
/* from <= key < to; at most a few hundred keys. */
void store_delete_range(struct store_batch *b, struct span from, struct span to);
void store_require_absent(struct store_batch *b, struct span key);

/* A new blob with `references` >= 1 references; octets are copied (parts one
 * behind the other). `description` (≤ 4 KiB) is kept beside it so that a lost
 * index can be rebuilt from it; only `check --store` reads it. */
void store_blob_put(struct store_batch *b, uint64_t blob_id, uint32_t references,
                    struct span description, const struct span *parts, size_t part_count);

/* The same for a lent file (store_blob_lend) that its writer has closed: it is
 * synced before the commit is acknowledged. */
void store_blob_adopt(struct store_batch *b, uint64_t blob_id, uint32_t references,
                      struct span description);

/* Changes the reference count; at 0 the blob is gone. */
void store_blob_reference(struct store_batch *b, uint64_t blob_id, int delta);

/* A trace record (policy/decision.h), found again by each of the keys
 * (message id, Message-ID, addresses; hashed, so any length). Durable with the
 * batch; kept for trace_days. */
void store_trace(struct store_batch *b, const struct span *keys, size_t key_count,
                 struct span record);
/* The same, of parts one behind the other. */
void store_trace_parts(struct store_batch *b, const struct span *keys, size_t key_count,
                       const struct span *parts, size_t part_count);

/* Commits and frees the batches: durable when the callback says 0. Several
 * batches only where store_has_atomic_group(): all or nothing. Commits take
 * effect in the order of the calls. */
enum store_commit_flag { STORE_LAZY = 1 /* may wait for the next group, up to 1 s */ };
void store_commit(struct store *s, struct store_batch **batches, size_t batch_count,
                  unsigned flags, void (*done)(void *arg, int result), void *arg);

/* A trace record without a batch: written with the next group, never waited
 * for; may be lost in a crash. */
void store_trace_lazily(struct store *s, const struct span *keys, size_t key_count,
                        struct span record);

/* ---- reading ---------------------------------------------------------- */

struct store_entry {
        struct span key, value; /* live until the callback returns */
};

/* `sequence` is the partition's; 0 and -ENOENT for one never written. */
typedef void store_get_fn(void *arg, int result, struct span value, uint64_t sequence);
void store_get(struct store *s, const struct partition *p, struct span key, store_get_fn *done,
               void *arg);

/* Entries from <= key < to (empty `to`: to the end of the partition), at most
 * `limit` <= STORE_SCAN_MAX, last first when `is_reverse`. `has_more`: go on
 * behind the last key. The range is copied. */
struct store_range {
        struct span from, to;
        size_t limit;
        bool is_reverse;
};
typedef void store_scan_fn(void *arg, int result, const struct store_entry *entries, size_t count,
                           bool has_more);
void store_scan(struct store *s, const struct partition *p, const struct store_range *range,
                store_scan_fn *done, void *arg);

/* Every partition of a kind, by pages; start with all zeros. */
typedef void store_partitions_fn(void *arg, int result, const struct partition *partitions,
                                 size_t count, bool has_more);
void store_partitions(struct store *s, const struct partition *behind, size_t limit,
                      store_partitions_fn *done, void *arg);

/* At most `len` octets from `offset`; fewer at the end. */
typedef void store_blob_fn(void *arg, int result, struct span octets, uint64_t blob_size);
void store_blob_read(struct store *s, uint64_t blob_id, uint64_t offset, size_t len,
                     store_blob_fn *done, void *arg);

/* Where bodies lie in the log, for a process that reads them itself from a
 * descriptor of store_segment_open(): {blob_id, segment, offset, size, checksum};
 * `segment` 0: it cannot be read like that (gone, a file of its own, part of the
 * queue): store_blob_read() can tell. Bodies are moved and segments are written
 * over at any time: what was read is the body if and only if
 * store_blob_checksum() says so. At most STORE_PLACES_MAX; the answer is in
 * their order. */
enum { STORE_PLACES_MAX = 256 };
struct store_place {
        uint64_t blob_id, segment, offset, size, checksum;
};
typedef void store_places_fn(void *arg, int result, const struct store_place *places,
                             size_t count);
void store_blob_places(struct store *s, const uint64_t *blob_ids, size_t count,
                       store_places_fn *done, void *arg);
uint64_t store_blob_checksum(struct span octets);

/* A read-only descriptor of a segment of mail, the caller's to close. -ENOENT:
 * it is gone, or is none of mail, or the driver has no descriptors. */
int store_segment_open(struct store *s, uint64_t segment, int *ret_fd);

/* A file to write a large body into, O_WRONLY; the caller closes the
 * descriptor it got (it may have passed it on). Until adopted it is scratch,
 * gone after a restart. 0, -ENOSPC, -EEXIST, negative errno. */
int store_blob_lend(struct store *s, uint64_t blob_id, int *ret_fd);
void store_blob_return(struct store *s, uint64_t blob_id); /* not adopted */

/* For a blob that is a file of its own: a read-only descriptor, the caller's
 * to close. -ENOENT when it lies in a segment: read it with store_blob_read(). */
int store_blob_open(struct store *s, uint64_t blob_id, int *ret_fd, uint64_t *ret_size);

/* Trace records that have this key, oldest first. */
typedef void store_trace_fn(void *arg, int result, const struct span *records, size_t count);
void store_trace_find(struct store *s, struct span key, size_t limit, store_trace_fn *done,
                      void *arg);

/* ---- backup ------------------------------------------------------------ */

/* Files of which a copy is a store as it was at one moment between the call and
 * its answer: the first `size` octets of `path` are to be copied as `to`; both are
 * relative to the store's folder. Until store_backup_end() no file of them goes or
 * is written over within its size, but for those below trace/, which may be gone:
 * leave them out then. One at a time (-EBUSY); local: only (-EOPNOTSUPP). */
struct store_backup_file {
        struct span path, to;
        uint64_t size;
};
typedef void store_backup_fn(void *arg, int result, const struct store_backup_file *files,
                             size_t count);
void store_backup_begin(struct store *s, store_backup_fn *done, void *arg);
void store_backup_end(struct store *s);

/* ---- numbers, maintenance --------------------------------------------- */

struct store_metrics {
        uint64_t commits, groups, octets_written, syncs, sync_us_total, sync_us_max;
        uint64_t log_bytes, live_bytes, free_disk_bytes;
        /* From the first octet of a group written until it is answered; to an eighth. */
        uint64_t group_us_p50, group_us_p99, group_us_max;
        uint64_t group_us_max_own; /* without its sync, and those of groups before it */
};
void store_get_metrics(const struct store *s, struct store_metrics *ret);
