/* A batch as octets: what store_batch_new() begins, what the log keeps, what
 * apply.h reads. One buffer, no memory of its own for a key.
 *
 * A record is a head of BATCH_HEAD octets {length of all 4, number within its
 * group 4, partition 16, sequence after it 8, time in µs 8} and operations, each an octet
 * (enum batch_op_kind) and what the kind needs; integers little-endian. The
 * kinds are stored: add, never renumber. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/codec.h"
#include "base/list.h"
#include "store/store.h"

enum { BATCH_HEAD = 40, BATCH_PARTITION_AT = 8, BATCH_SEQUENCE_AT = 24, BATCH_TIME_AT = 32 };

enum batch_op_kind {
        BATCH_PUT = 1,            /* key 2+n, value 4+n */
        BATCH_DELETE = 2,         /* key 2+n */
        BATCH_DELETE_RANGE = 3,   /* key 2+n, to 4+n */
        BATCH_REQUIRE_ABSENT = 4, /* key 2+n */
        BATCH_BLOB_PUT = 5,       /* id 8, references 4, description 2+n, octets 4+n */
        BATCH_BLOB_ADOPT = 6,     /* id 8, references 4, description 2+n, size 8 */
        BATCH_BLOB_REFERENCE = 7, /* id 8, delta 4 */
        BATCH_TRACE = 8,          /* count 1, hashes 8 each, record 4+n */
        /* 9 and 10 were due times: not to be used again */
        BATCH_PUT_NEW = 11,       /* as BATCH_PUT */
        BATCH_BLOB_MOVE = 12,     /* id 8, description 2+n, octets 4+n: lies here from now on */
};

/* What is in a batch, so that nobody looks who need not. */
enum { BATCH_HAS_BLOB = 1, BATCH_HAS_ADOPT = 2, BATCH_HAS_TRACE = 4, BATCH_HAS_RANGE = 8 };

struct store_batch {
        struct list_node node; /* the driver's */
        struct store *store;
        struct buffer record;
        uint64_t expected_sequence;
        size_t blob_at, blob_len; /* in the record: of the last blob that was put */
        unsigned has;
        unsigned more_owners; /* store_batch_ref() */
        int error;
        void (*ended)(void *arg, int result); /* store_batch_on_end() */
        void *ended_arg;
};

struct batch_op {
        uint8_t kind;
        struct span key;   /* PUT, DELETE, RANGE, REQUIRE_ABSENT; description of blobs */
        struct span value; /* PUT, `to` of RANGE, octets of BLOB_PUT, record of TRACE */
        uint64_t number;   /* blob id */
        int64_t count;     /* references, delta, hashes of TRACE */
        uint64_t size;     /* BLOB_ADOPT */
        struct span hashes;
};

struct batch_view {
        struct partition partition;
        uint64_t sequence, time_us;
        struct reader ops;
};

/* The partition it is for. */
static inline const struct partition *batch_partition(const struct store_batch *b)
{
        return (const struct partition *) (b->record.data + b->record.start + BATCH_PARTITION_AT);
}

/* Takes one record off the front of `*in`. 0 or -EBADMSG. */
int batch_open(struct span *in, struct batch_view *ret_view, struct span *ret_record);

/* The next operation, its spans borrowed from the record; false at the end,
 * with ops.failed set when it is damaged. */
bool batch_next(struct batch_view *v, struct batch_op *ret_op);

/* Calls what store_batch_on_end() has set, once. */
void batch_end(struct store_batch *b, int result);

/* Fills the head of a batch that is about to be written. */
void batch_seal(struct store_batch *b, uint64_t now_us);
void batch_set_sequence(struct store_batch *b, uint64_t sequence);
void batch_set_number(struct store_batch *b, uint32_t number);

/* The number of the record at the front; UINT32_MAX when it is cut. */
uint32_t batch_number(struct span in);

/* For a driver that learns the size of an adopted file late: sets the size in
 * every BLOB_ADOPT with this id. */
void batch_set_adopted_size(struct store_batch *b, uint64_t blob_id, uint64_t size);

/* As store_blob_put(), for a blob that is there: from now on it lies here. */
void batch_blob_move(struct store_batch *b, uint64_t blob_id, struct span description,
                     struct span octets);

/* The i-th hash of a TRACE. */
uint64_t batch_hash(const struct batch_op *op, size_t i);
