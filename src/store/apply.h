/* What a record means: checks it against the index and turns it into writes
 * to the index. The same code serves the mem: driver, the local: driver and
 * its recovery, so that they cannot differ.
 *
 * By one thread, for each group:
 *
 *   apply_begin_commit, apply_record for each of its batches, and, when one of
 *   them fails, apply_abort_commit; so for each commit; then apply_end_group,
 *   the driver's own index_put()s, index_write(), apply_forget_group.
 *
 * The records of a group may come before the index shows the groups in front:
 * then those are closed with apply_close_group(), index_write() follows for each
 * in their order, by any thread, and apply_forget_group() after that. Until it is
 * forgotten, a group is seen by those behind it.
 *
 * Invariants: a sequence grows by one with each record of its partition; a
 * blob with no reference left has no entry. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/id.h"
#include "store/batch.h"
#include "store/index.h"
#include "store/overlay.h"

enum {
        APPLY_CACHE = 128 * 1024, /* memory is taken as partitions are met */
        APPLY_TOUCHED = 64,
        APPLY_GROUPS = 5, /* not yet forgotten, the open one among them */
};

enum { BLOB_IN_SEGMENT = 1, BLOB_IN_FILE = 2 };

struct blob_place {
        uint8_t kind;
        uint32_t references;
        uint64_t segment, offset; /* BLOB_IN_SEGMENT */
        uint64_t size;
        uint64_t checksum; /* of the octets; 0 for a file */
};

struct blob_change {
        uint64_t id;
        struct blob_place place;
        uint32_t before; /* references before this group; 0: was not there */
        uint64_t segment_before; /* where it lay then; 0: nowhere, or in a file */
};

struct apply_cached {
        struct partition partition;
        uint64_t sequence;
};

/* The driver reads its blobs, to see which came (before 0, references not) and which
 * went (references 0); also of a closed one, until it is forgotten. */
struct apply_group {
        struct overlay overlay;
        struct blob_change *blobs;
        size_t blob_count, blob_room;
};

struct apply {
        struct index *index;
        uint64_t seed; /* of the keys of overlays */
        struct overlay_key partition; /* of the record that is applied, in them */
        struct apply_group groups[APPLY_GROUPS];
        /* The closed ones, the open one, and the rest: first what was forgotten last, which
         * is in the cache. */
        struct apply_group *order[APPLY_GROUPS];
        size_t closed_count;
        size_t blob_mark;
        struct blob_undo *undo;
        size_t undo_count, undo_room;
        struct buffer scratch;
        uint64_t newest[ID_MAKERS]; /* no blob of that maker has a greater id */
        size_t touched[APPLY_TOUCHED]; /* of the cache, by the commit under way */
        size_t touched_count;          /* more than fit: any */
        struct apply_cached cache[APPLY_CACHE];
};

/* Where the log holds a record: its first octet. */
struct record_place {
        uint64_t segment, offset;
};

/* NULL without memory. */
struct apply *apply_new(struct index *index);
struct apply *apply_free(struct apply *a);

/* Once, when the index is whole and nothing else writes to it from now on:
 * learns which ids are new without asking the index. 0, or what index_scan()
 * returns. */
int apply_learn_newest(struct apply *a);

void apply_begin_commit(struct apply *a);
void apply_abort_commit(struct apply *a);

/* Applies one record, which must have this sequence before it
 * (STORE_ANY_SEQUENCE: any); *ret_sequence is the one behind it. 0, or the
 * results of store_commit(); -EINVAL for a reference count below nothing. */
int apply_record(struct apply *a, struct span record, uint64_t expected_sequence,
                 struct record_place place, uint64_t *ret_sequence);

/* A record of that partition is soon applied: what is known of it will be at hand. */
void apply_fetch(const struct apply *a, const struct partition *p);

/* Puts the changed blobs. */
int apply_end_group(struct apply *a);

/* What follows is of another group. APPLY_GROUPS - 1 may be closed. */
struct apply_group *apply_close_group(struct apply *a);

/* The oldest one: the index shows it, or never will. */
void apply_forget_group(struct apply *a);

/* The open one, of which nothing is kept. */
void apply_forget_open(struct apply *a);

/* The oldest of those that are not forgotten: the open one, if none is closed. */
static inline const struct apply_group *apply_oldest_group(const struct apply *a)
{
        return a->order[0];
}

/* 0, -ENOENT, -EAGAIN, -EBADMSG. `scratch` is the caller's. */
int apply_find_blob(struct index *index, uint64_t blob_id, bool may_block, struct buffer *scratch,
                    struct blob_place *ret_place);

/* Of a body in a segment. */
uint64_t apply_checksum(struct span octets);

/* Decodes the value of a blob's entry. 0 or -EBADMSG. */
int apply_decode_place(struct span value, struct blob_place *ret_place);
