/* The log of the local: driver: two streams of segments, queue/ and mail/,
 * so that what dies young lies together.
 *
 * A segment is a file `<number>.seg`, the number in 16 hex digits and unique
 * for ever in this store. Its first block says so (segment_head); then groups
 * follow, each beginning at a block of LOG_BLOCK octets, so that no write ever
 * touches a block that holds something acknowledged. A group is one part in
 * each stream it touches: {head, records, zeros up to the block}. The checksums
 * are seeded by store id and segment number: what is left from an earlier life
 * of a recycled segment never looks valid, and nobody who does not know the
 * store id can write a body that looks like a group.
 *
 * Invariants:
 *   1. Groups are written one after the other, and up to LOG_SLOTS of them are on
 *      their way, written but not all of them synced: of those a crash may leave
 *      any, whole or torn. A group counts only if all before it are there, so
 *      none may be answered before them.
 *   2. A head names the group before it in its stream, and how many of those
 *      before it were on their way: a lost group shows, if it had been synced.
 *   3. Segments of a stream are filled in the order of their numbers.
 *   4. What recovery finds behind the end of the log it wipes, before anything is
 *      written: it can never follow a later group of the same number.
 *
 * The writer is one thread at a time; each group is synced by the thread that has
 * its slot; log_prepare() and log_reclaim() are called by another one; log_read()
 * by any. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/table.h"
#include "store/apply.h"
#include "store/io.h"

enum {
        LOG_BLOCK = 4096,
        LOG_FORMAT = 2, /* 1: one group at a time on its way */
        LOG_FORMAT_FIRST = 1,
        LOG_HEAD = 64,
        LOG_STORE_ID = 16,
        LOG_PATH_MAX = 64,
        LOG_OPEN_FILES_MAX = 512, /* more are opened for each read */
        LOG_SEGMENT_FIRST = 4 * 1024 * 1024, /* made so small, unless the store's are smaller, */
        LOG_SEGMENT_MIN = 2 * 1024 * 1024,   /* and so small where more than little lives; */
        LOG_SEGMENTS_LIVE = 128,             /* larger when more of them live */
        LOG_LITTLE = 96 * 1024 * 1024,
        LOG_SLOTS = 4, /* groups on their way */
};

enum log_stream { LOG_QUEUE, LOG_MAIL, LOG_STREAMS };

extern const char *const log_folders[LOG_STREAMS];

struct segment {
        struct table_node by_number;
        struct list_node node; /* of its stream, in order */
        uint64_t number;
        enum log_stream stream;
        uint64_t size; /* of the file */
        int file;      /* -1: not open */
        unsigned users; /* reads under way */
        bool is_sealed; /* nothing more is appended */
        unsigned times_emptied; /* what lived in it was moved out, and yet something does */
        uint64_t live_blobs, live_octets;
};

/* How far everything up to a group reaches. Kept in the index. */
struct log_position {
        uint64_t group;
        struct {
                uint64_t segment, offset; /* where the next part would go; 0: none yet */
                uint64_t group;           /* the last one in this stream */
        } at[LOG_STREAMS];
};
enum { LOG_POSITION_OCTETS = 8 + LOG_STREAMS * 24 };

struct group_head {
        uint8_t stream, mask; /* mask: 1 << stream of every part */
        uint8_t under_way; /* so many groups before it were not known to be durable */
        uint64_t segment, group, previous, time_us;
        uint32_t len, records;
        uint64_t checksum;
};

struct log_part {
        struct iovec *parts; /* [0] is the head */
        size_t count, room;
        uint64_t len; /* of the records */
        uint32_t records;
        char head[LOG_HEAD];
};

/* For one group on its way. The kernel tells of a write that failed once to each open
 * file description there was: so each slot syncs through its own, opened before it
 * wrote, and no other sync can take the news away from it. */
struct log_slot {
        int files[LOG_STREAMS]; /* -1: none */
        uint64_t segments[LOG_STREAMS]; /* that they are of */
        bool is_busy; /* from log_begin_group() on; under the mutex */
        uint8_t mask; /* of the group */
        const char *failed_call; /* when writing or syncing failed */
        char failed_path[LOG_PATH_MAX];
};

struct log {
        struct io *io;
        unsigned char store_id[LOG_STORE_ID];
        uint64_t segment_size; /* the largest that is made */
        _Atomic uint64_t new_size; /* of those made now: less while little lives */
        bool may_reclaim;
        _Atomic bool is_pinned; /* no segment goes or is written over */
        struct log_position position; /* the writer's */
        struct log_part part[LOG_STREAMS];

        pthread_mutex_t making; /* held while a segment is made: numbers stay in order */
        pthread_mutex_t mutex;  /* of what follows */
        struct table by_number;
        struct list_node streams[LOG_STREAMS];
        struct segment *current[LOG_STREAMS];
        struct segment *next[LOG_STREAMS]; /* prepared, empty */
        struct log_slot slots[LOG_SLOTS];
        uint64_t next_number;
        bool has_chosen; /* `new_size`, by what lives */
        unsigned open_files;

        _Atomic uint64_t octets_written, syncs, sync_us_total, sync_us_max;
};

void log_init(struct log *l, struct io *io, const unsigned char *store_id, uint64_t segment_size);
void log_done(struct log *l);

/* Finds the segments there are. 0, or what is wrong in `error` (256 bytes). */
int log_find_segments(struct log *l, char *error);

struct segment *log_segment(struct log *l, uint64_t number); /* NULL: gone */
const char *log_path(const struct segment *s, char *out);    /* `out`: LOG_PATH_MAX */

/* ---- writing ---------------------------------------------------------- */

/* Begins a group with parts of at most these sizes, in a slot that is free. 0, or
 * what went wrong before anything was written: the slot is free still. What is left of
 * a segment in which a part has no room stays empty. */
int log_begin_group(struct log *l, struct log_slot *slot, const uint64_t sizes[LOG_STREAMS]);

/* The group that was begun has parts of at most these sizes now, which log_may_add()
 * allowed. 0, or what went wrong: what was added before stands. The writer's. */
int log_grow_group(struct log *l, struct log_slot *slot, const uint64_t sizes[LOG_STREAMS]);

/* May a group with a part of `size` octets have so many more of them in it? Not when
 * these alone would begin a new segment, but for the first; the writer's. */
bool log_may_add(const struct log *l, enum log_stream stream, uint64_t size, uint64_t more);

/* Where the next record of that stream will lie. */
struct record_place log_place(const struct log *l, enum log_stream stream);

/* Adds it; the octets must live until log_write_group(). 0 or -ENOMEM. */
int log_add(struct log *l, enum log_stream stream, struct span record);

/* Takes records back: the marks are those of log_part before they were added. */
struct log_mark {
        size_t count[LOG_STREAMS];
        uint64_t len[LOG_STREAMS];
        uint32_t records[LOG_STREAMS];
};
struct log_mark log_mark(const struct log *l);
void log_rollback(struct log *l, const struct log_mark *mark);

bool log_group_is_empty(const struct log *l);

/* Writes it, while so many of those before it are on their way. On failure nobody
 * knows what is durable: stop. */
int log_write_group(struct log *l, struct log_slot *slot, unsigned under_way, uint64_t now_us);

/* Makes it durable; it may count only after those before it. Any thread, while others
 * are written and synced. On failure: stop. */
int log_sync_group(struct log *l, struct log_slot *slot);

/* Gives the slot back, whatever became of the group. */
void log_end_group(struct log *l, struct log_slot *slot);

/* Octets a part takes on the disk. */
static inline uint64_t log_part_size(uint64_t records_len)
{
        return (LOG_HEAD + records_len + LOG_BLOCK - 1) / LOG_BLOCK * LOG_BLOCK;
}

/* ---- reading ---------------------------------------------------------- */

uint64_t log_seed(const struct log *l, uint64_t segment);
void log_encode_head(const struct log *l, const struct group_head *h, char *out);

/* 0, or -EBADMSG when these LOG_HEAD octets are not a head of that segment. */
int log_decode_head(const struct log *l, uint64_t segment, const char *in,
                    struct group_head *ret_h);

/* -ENOENT: the segment is gone. */
int log_read(struct log *l, uint64_t segment, uint64_t offset, void *out, size_t n);

/* Is it one of the stream LOG_MAIL, and there? */
bool log_is_mail(struct log *l, uint64_t segment);

/* A new file of its own for reading it, where it is one of mail. -ENOENT. */
int log_open_mail(struct log *l, uint64_t segment);

struct span log_encode_position(const struct log_position *p, char *out);
int log_decode_position(struct reader *r, struct log_position *ret_p);

/* ---- segments ahead and behind ---------------------------------------- */

/* Makes the next segment of the stream, written before, so that writing into
 * it needs no journal: of a dead one, if one may go (all before `safe`, and
 * nothing in it lives), or of zeros. */
int log_prepare(struct log *l, enum log_stream stream, const struct log_position *safe);

/* A new one with room for a part of that size, not written before, in a hurry: the
 * caller holds `making`. It is not small, so that the next is made ahead in time. */
int log_create(struct log *l, enum log_stream stream, uint64_t part_size);

/* Is there a segment in which nothing lives? It may not yet be safe to go. */
bool log_has_dead(struct log *l);

/* The sealed segment whose live bodies should be moved elsewhere: the emptiest one but
 * for `except`, when sealed segments take more than `per_mille` of what lives in them, and
 * at least `spare` octets more than that; 0 when there is none. The newest of each stream
 * is left alone: most of what is in it dies by itself. */
uint64_t log_emptiest(struct log *l, uint64_t per_mille, uint64_t spare, uint64_t except);

/* All was moved out of it. Where something still lives, it cannot be moved: that is
 * tried a second time, and no more. */
void log_note_emptied(struct log *l, uint64_t segment);

struct log_room {
        uint64_t live; /* octets of bodies and what goes with them, in all segments */
        uint64_t used; /* of sealed segments with something that lives and can be moved */
};
void log_measure(struct log *l, struct log_room *ret_room);

/* From now on, or no longer, no segment goes or is written over. */
void log_pin(struct log *l, bool is_pinned);

/* Octets of dead segments from `safe` on that would be safe if `reach` were. */
uint64_t log_dead_octets(struct log *l, const struct log_position *safe,
                         const struct log_position *reach);

/* Removes dead segments, but leaves one a stream and in all so many octets as
 * `kept`. */
int log_reclaim(struct log *l, const struct log_position *safe, uint64_t kept);

/* No segment was used again or removed, ever: the log tells everything. */
bool log_is_whole(struct log *l);

/* What the blobs of a group did to a segment; the writer's. */
void log_account(struct log *l, uint64_t segment, int blobs, int64_t octets);
