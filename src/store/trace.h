/* Decision records by day: trace/<yyyymmdd>/<n>.trc, each sealed one with
 * <n>.idx, the hashes of its keys in order.
 *
 * A record that came with a commit is durable in the log; here it is written
 * within a second or so, and the log is kept until then (trace_synced()).
 * After a crash the log gives again what is missing: records of the log stand
 * here in its order, so the last one says where to go on. Lazy records are
 * here only. A day goes as a whole, when it is too old or all are too large.
 *
 * trace_add() and trace_find() from any thread; trace_write() from one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store/io.h"
#include "store/log.h"

struct trace;

struct trace_limits {
        unsigned days;
        uint64_t size_max;
        uint64_t segment_size; /* 0: 16 MiB */
};

/* Reads what is there. 0, or an error in `error` (256 bytes). */
int trace_open(struct io *io, const struct trace_limits *limits, struct trace **ret_t,
               char *error);

/* What was not written is lost: trace_write() first. */
struct trace *trace_free(struct trace *t);

struct trace_record {
        uint64_t time_us;
        uint64_t group; /* 0: lazy */
        uint32_t number; /* within its group, from 0 */
        size_t hash_count;
        struct span hashes; /* 8 octets each, little-endian */
        struct span text;
};

/* Kept in memory until trace_write(). One that came from the log before is
 * passed over. 0, -ENOMEM (also when far too much waits). */
int trace_add(struct trace *t, const struct trace_record *record);

/* Adds the trace records of a batch, numbered on from *number. `at`: of its first one, or of
 * any operation before it. */
int trace_add_batch(struct trace *t, struct span record, size_t at, uint64_t group,
                    uint32_t *number);

/* All records up to this position of the log have been added. */
void trace_set_position(struct trace *t, const struct log_position *p);

/* The log ends at this group: records of later ones are not of this log (a copy of
 * the store has them), and those to come are not theirs. */
void trace_end_recovery(struct trace *t, uint64_t group);

/* Up to where the log is not needed for traces any more. */
struct log_position trace_synced(struct trace *t);

/* Writes and syncs what waits; drops days. A failure leaves it waiting. */
int trace_write(struct trace *t, uint64_t now_us);
bool trace_has_work(struct trace *t);

/* Calls `give` for each record with this hash, oldest first, until it says
 * false. Reads files. */
typedef bool trace_give_fn(void *arg, struct span text);
int trace_find(struct trace *t, uint64_t hash, trace_give_fn *give, void *arg);
