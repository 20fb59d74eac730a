/* Segments of the log, as far as bodies are read from them here: read-only
 * descriptors that the keeper gave.
 *
 * A place may be out of date as soon as it is known, since the keeper moves
 * bodies and writes over segments; so what was read counts only where its
 * checksum is right, and whoever finds it wrong asks the keeper for the octets.
 * That is all the protocol there is: nothing is held up here or there. A
 * segment that nobody read from for ACCESS_SEGMENT_IDLE_MS is closed, so that
 * one which was removed gives its room back. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/table.h"

struct access;
struct timer;

enum {
        ACCESS_SEGMENTS_MAX = 256, /* open at a time; the one idle longest goes */
        ACCESS_SEGMENT_IDLE_MS = 10 * 1000,
};

struct access_segments {
        struct table by_number;
        struct list_node all; /* read longest ago first */
        size_t count;
        struct timer *closing;
        bool cannot_ask_cache; /* the file system does not know RWF_NOWAIT */
};

struct access_place {
        uint64_t blob_id, segment, offset, size, checksum;
};

int access_segments_init(struct access *a);
void access_segments_done(struct access *a);

bool access_segment_is_open(const struct access *a, uint64_t number);

/* The keeper's answer; takes `*fd` over by setting it to -1. */
void access_segment_opened(struct access *a, uint64_t number, int *fd);

/* Reads from an open segment what is in the page cache: the loop never waits for
 * the disk. Octets read, perhaps fewer than `len`; or -EAGAIN: they are not in
 * memory, and the kernel was asked to get them; -ENOENT: not open; or as pread(). */
int64_t access_segment_read(struct access *a, uint64_t number, uint64_t offset, char *to,
                            size_t len);
