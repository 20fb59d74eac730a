/* The index, written down beside it: a file that holds every entry of the index
 * as it was at one place of the log. With it and the log from that place on, a
 * lost index is made again, exactly as it was, though segments before were used
 * again meanwhile. It shares nothing with the engine's own files.
 *
 * The file is `checkpoint`, octets little-endian:
 *
 *   head    magic 4, format 2, zero 2, store id 16
 *   chunks  length of the entries 4, zero 4, checksum 8, entries
 *   entry   length of the key 2, of the value 4, key, value
 *   end     0 4, magic 4, entries 8, position and traces' position as the log
 *           has them, checksum of all that 8
 *
 * Checksums are XXH3, seeded by store id and the number of the chunk. A new one
 * is written under another name and takes the place of the old one when it is
 * durable: there is always a whole one. */
#pragma once

#include "store/index.h"
#include "store/io.h"
#include "store/log.h"

struct checkpoint {
        struct log_position position; /* up to there the log is in it */
        struct log_position traces;   /* what reading the log begins with */
        uint64_t size, entries;       /* size: octets of the file; 0: there is none */
};

/* Asked every few MiB, when these are durable: may take its time, so that commits
 * come through; false ends it all. */
struct checkpoint_pace {
        bool (*goes_on)(void *arg);
        void *arg;
};

/* Writes a new one. `index` is the engine itself: one scan of it shows one moment.
 * -ENODATA: the index has no position, so nothing was ever written; -ECANCELED: the
 * pace said so; else what the disk or the index says; the old one then stays. */
int checkpoint_write(struct io *io, const unsigned char *store_id, struct index *index,
                     const struct checkpoint_pace *pace, struct checkpoint *ret);

/* Looks whether there is one, at its beginning and end only. 0, -ENOENT, -EBADMSG. */
int checkpoint_find(struct io *io, const unsigned char *store_id, struct checkpoint *ret);

/* Reads it into an empty index, after looking at all of it. What says that the index is
 * one comes last: a load that was cut off begins anew. 0, -ENOENT, -EBADMSG (nothing
 * was put), or the index's. */
int checkpoint_load(struct io *io, const unsigned char *store_id, struct index *index);

/* Removes it: from now on a lost index is lost. */
int checkpoint_remove(struct io *io);
