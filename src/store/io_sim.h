/* A simulated disk for crash tests: it forgets what was not synced, keeps
 * parts of it, tears writes between sectors, and fails when told to. Names are
 * forgotten too until their folder is synced. A sync makes durable what stood when it
 * began; others may be under way. It outlives the stores that are
 * opened on it: io_free() leaves it alone. Any thread. */
#pragma once

#include "store/io.h"

enum io_sim_loss {
        IO_SIM_KEEP, /* the process died, the machine went on */
        IO_SIM_DROP, /* everything that was not synced is gone */
        IO_SIM_TEAR, /* some of it is, by sectors, in any order */
        IO_SIM_CUT,  /* writes in their order, the last one up to any octet */
        IO_SIM_KILL, /* nothing yet: the process died, and the machine may follow */
};

/* Lies that a test tells to see itself notice. */
enum io_sim_lie {
        IO_SIM_HONEST,
        IO_SIM_NO_SYNC,           /* io_sync() does nothing */
        IO_SIM_NO_DIRECTORY_SYNC, /* nor io_sync_directory() */
        IO_SIM_LATE_SYNC,         /* io_sync() makes durable what stood at the one before */
        IO_SIM_RENAME_FIRST,      /* replay: a file takes its name before it is synced */
};

struct io *io_sim_new(void);
void io_sim_destroy(struct io *io);

void io_sim_set_lie(struct io *io, enum io_sim_lie lie);

/* After `calls` more calls that change anything, every call fails with -EIO
 * and changes nothing. 0: never. */
void io_sim_crash_after(struct io *io, unsigned calls);
bool io_sim_has_crashed(const struct io *io);

/* From now on the next `count` io_sync() fail. */
void io_sim_fail_syncs(struct io *io, unsigned count);

/* The next io_sync() finds that what it should make durable could not be written, and
 * never will be. As Linux does it, each file that was open then is told so once. */
void io_sim_fail_writeback(struct io *io);

/* A sync takes up to so long. How many were under way at once, at most. */
void io_sim_set_sync_us(struct io *io, unsigned us);
unsigned io_sim_syncs_at_once(const struct io *io);

/* From now on the next `count` io_open() find no descriptor left. */
void io_sim_fail_opens(struct io *io, unsigned count);

/* Of every later io_space(). */
void io_sim_set_free(struct io *io, uint64_t free_bytes);

/* The disk as the next start finds it. */
void io_sim_restart(struct io *io, enum io_sim_loss loss, uint64_t seed);

/* From now on every call that changes anything is kept, so that the disk can be made
 * as it was behind each of them, without running anything again. */
void io_sim_record(struct io *io);
size_t io_sim_calls(const struct io *io);

/* Does on a new disk what was recorded, up to `calls` in all; and a disk like another,
 * with what is not yet durable. */
void io_sim_replay(struct io *to, const struct io *recorded, size_t calls);
struct io *io_sim_clone(const struct io *io);

/* Files whose path begins so. */
size_t io_sim_count(const struct io *io, const char *prefix);

/* Changes the octet at this place of a file, behind everybody's back. False:
 * no such place. */
bool io_sim_damage(struct io *io, const char *path, uint64_t at);
