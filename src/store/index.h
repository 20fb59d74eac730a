/* The index: ordered keys with values, written in batches. The seam between
 * the store and the engine below it (RocksDB, or memory).
 *
 * What is written is visible at once and durable after index_flush(), or
 * whenever the engine likes, always as a prefix of the writes: after a crash
 * the index is as it was after some index_write(), never between two. What is
 * missing then comes again from the log.
 *
 * One thread writes (put, delete, mark, rollback, write); any thread reads;
 * any one thread flushes. With index_close_write() collecting and writing may be
 * two threads' work. All results are 0 or a negative errno; -EIO means
 * that the engine is broken and stays so. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

struct index;

enum { INDEX_CLOSED_MAX = 4 }; /* writes, not yet written */

/* False ends the scan. The spans live for the call. */
typedef bool index_visit_fn(void *arg, struct span key, struct span value);

struct index_range {
        struct span from, to; /* from <= key < to */
        bool is_reverse;      /* greatest key first */
        bool is_once;         /* not worth keeping in memory */
        size_t limit;         /* the scan ends after so many entries; 0: when the visitor says */
        void (*begun)(void *arg); /* called once it is settled which moment shows; or NULL */
        void *begun_arg;
};

/* One of many changes that are written together; the spans live as long as
 * what they were asked of. */
struct index_change {
        struct span key, value;
        bool is_removed;
};
typedef void index_change_fn(const void *changes, size_t i, struct index_change *ret_change);

struct index_driver {
        int (*get)(struct index *i, struct span key, bool may_block, struct buffer *ret_value);
        int (*scan)(struct index *i, const struct index_range *range, bool may_block,
                    index_visit_fn *visit, void *arg);
        int (*put)(struct index *i, struct span key, struct span value);
        int (*put_new)(struct index *i, struct span key, struct span value); /* NULL: as put */
        int (*remove)(struct index *i, struct span key);
        int (*remove_range)(struct index *i, struct span from, struct span to);
        void (*mark)(struct index *i);
        void (*rollback)(struct index *i);
        int (*close_write)(struct index *i);                    /* or NULL */
        int (*put_late)(struct index *i, struct span key, struct span value); /* NULL: as put */
        int (*write)(struct index *i);
        int (*load)(struct index *i, const void *changes, size_t count, index_change_fn *at);
        int (*flush)(struct index *i);
        void (*rest)(struct index *i); /* or NULL */
        int (*get_flushed)(struct index *i, struct span key, struct buffer *ret_value);
        void (*close)(struct index *i);
};

struct index {
        const struct index_driver *driver;
};

/* Replaces what is in *ret_value. -ENOENT; -EAGAIN: the disk must be asked and
 * `may_block` is false. */
static inline int index_get(struct index *i, struct span key, bool may_block,
                            struct buffer *ret_value)
{
        return i->driver->get(i, key, may_block, ret_value);
}

/* A scan shows one moment, a state between two writes, however long it takes.
 * With -EAGAIN some entries may have been visited: begin anew. */
static inline int index_scan(struct index *i, const struct index_range *range, bool may_block,
                             index_visit_fn *visit, void *arg)
{
        return i->driver->scan(i, range, may_block, visit, arg);
}

/* Collected until index_write(); not yet visible to reads. Without memory
 * index_write() fails. */
static inline int index_put(struct index *i, struct span key, struct span value)
{
        return i->driver->put(i, key, value);
}
/* As index_put(), for a key that never was in the index and, once removed, never
 * comes back: an engine may use that. */
static inline int index_put_new(struct index *i, struct span key, struct span value)
{
        return i->driver->put_new ? i->driver->put_new(i, key, value)
                                  : i->driver->put(i, key, value);
}
static inline int index_remove(struct index *i, struct span key)
{
        return i->driver->remove(i, key);
}
static inline int index_remove_range(struct index *i, struct span from, struct span to)
{
        return i->driver->remove_range(i, from, to);
}

/* index_rollback() forgets what was collected behind the last mark. */
static inline void index_mark(struct index *i)
{
        i->driver->mark(i);
}
static inline void index_rollback(struct index *i)
{
        i->driver->rollback(i);
}

/* What was collected is a write of its own; what is collected now, of the next one.
 * INDEX_CLOSED_MAX may be closed. Only where the driver has it. */
static inline int index_close_write(struct index *i)
{
        return i->driver->close_write(i);
}

/* As index_put(), into what index_write() will write; by whoever calls that. */
static inline int index_put_late(struct index *i, struct span key, struct span value)
{
        return i->driver->put_late ? i->driver->put_late(i, key, value)
                                   : i->driver->put(i, key, value);
}

/* All that was collected becomes visible, as one: the oldest write that is closed, by
 * one thread at a time, which need not be the one that collects; or the open one, when
 * none is. */
static inline int index_write(struct index *i)
{
        return i->driver->write(i);
}

/* Many changes at once, each key once and in the order of the keys, while nothing is
 * collected: visible and as durable as after index_write(). */
static inline int index_load(struct index *i, const void *changes, size_t count,
                             index_change_fn *at)
{
        int r = i->driver->load ? i->driver->load(i, changes, count, at) : -EOPNOTSUPP;

        if (r != -EOPNOTSUPP)
                return r;
        r = 0;
        for (size_t k = 0; k < count && r == 0; k++) {
                struct index_change c;

                at(changes, k, &c);
                r = c.is_removed ? index_remove(i, c.key) : index_put(i, c.key, c.value);
        }
        return r == 0 ? index_write(i) : r;
}

/* Blocks until all that was written before the call is durable. */
static inline int index_flush(struct index *i)
{
        return i->driver->flush(i);
}

/* Nothing was written for a while: what waits goes to where it belongs, and memory that
 * is kept only to be quick is given back. A failure shows with the next write. */
static inline void index_rest(struct index *i)
{
        if (i->driver->rest)
                i->driver->rest(i);
}

/* As index_get(), of the durable state: what a crash now would leave. Blocks. */
static inline int index_get_flushed(struct index *i, struct span key, struct buffer *ret_value)
{
        return i->driver->get_flushed(i, key, ret_value);
}

static inline void index_close(struct index *i)
{
        if (i)
                i->driver->close(i);
}

/* RocksDB in the folder `path`, made when it is missing; `error` has 256
 * bytes. Starts the engine's threads. */
int index_rocksdb_open(const char *path, struct index **ret_index, char *error);
/* As many changes as index_load() writes to a file of their own; for tests. */
void index_rocksdb_set_load_min(size_t count);
/* Loads RocksDB's library, which index_rocksdb_open() else does itself: for who is
 * confined before it opens an index. 0; -ELIBACC, said in `error` (256 octets). */
int index_rocksdb_load(char *error);

/* Makes a copy of the durable state in the folder `path`, which must not be
 * there but its parent must; of RocksDB's only, -EOPNOTSUPP else. It shares files
 * with the index. Any thread. */
int index_checkpoint(struct index *i, const char *path);

/* In memory: for the mem: driver, and for crash tests: index_mem_crash() goes
 * back to the state of the last flush. `flush_every` > 0: every so many writes
 * flush by themselves, as an engine does. */
struct index *index_mem_new(unsigned flush_every);
void index_mem_crash(struct index *i);

/* Calls when the durable state changes; and a new index as the durable state is. */
void index_mem_on_flush(struct index *i, void (*flushed)(void *arg), void *arg);
struct index *index_mem_copy(struct index *i);

/* From now on index_close() leaves it alone, until index_mem_destroy(). */
void index_mem_keep(struct index *i);
void index_mem_destroy(struct index *i);
