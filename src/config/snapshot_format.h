/* What a snapshot looks like, for its reader, its builder and their tests.
 *
 *   header | far texts | cells of a table, prints of it | … | sources
 *
 * A table is a constant hash table: cells of one cache line each, at most 0.6
 * of them used, in the order of their keys' hashes. A key's home is the cell
 * at the same fraction of the table as its hash is of 2^32; it stands there or
 * a few cells behind, and a cell that is empty or of a greater hash ends the
 * search. So a look-up is one cache miss, found or not, as long as key and
 * value fit into the cell, as those of users nearly always do. (Compact slots
 * that point at records cost two misses, each waiting for the one before: 2.5
 * million look-ups a second instead of 3.6, in a million rows, on a machine
 * where one such miss takes 175 ns.)
 *
 * Behind the cells stands a print of each: an octet of its hash, 0 for an empty
 * cell. A million rows have 1.7 MB of them, which stay in a core's own cache, so
 * that a key that is not there (most that a decision asks for) costs no miss at
 * all: 8 million look-ups a second instead of 3.7 when every second key is there.
 *
 * Numbers are in the machine's own order: a snapshot never leaves it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "config/snapshot.h"

#define SNAPSHOT_MAGIC UINT64_C(0x31504e5359414848) /* "HHAYSNP1" */

enum {
        SNAPSHOT_FORMAT = 3,
        SNAPSHOT_CELL_ALIGN = 64,
        SNAPSHOT_HUGE_PAGE = 2 * 1024 * 1024,
        SNAPSHOT_NEAR_MAX = 48, /* octets of text within a cell */
        SNAPSHOT_PRINTS_PAD = 8, /* zeros behind the last print: eight are read at once */
};

struct snapshot_header {
        uint64_t magic;
        uint32_t format;
        uint32_t table_count; /* SNAPSHOT_TABLE_END */
        uint64_t generation;
        uint64_t seed;     /* of the hashes of keys */
        uint64_t size;     /* of the whole, in octets */
        uint64_t checksum; /* XXH3 of the whole with 0 here */
        struct snapshot_table_header {
                uint64_t cells; /* where they begin */
                uint64_t source;
                uint32_t home_count; /* cells that are a home */
                uint32_t cell_count; /* with those behind the last home; 0: an empty table */
                uint32_t count;      /* rows */
                uint32_t source_len;
        } tables[SNAPSHOT_TABLE_END];
};

enum snapshot_cell_kind {
        SNAPSHOT_CELL_EMPTY = 0,
        SNAPSHOT_CELL_NEAR = 1, /* the text is in the cell */
        SNAPSHOT_CELL_FAR = 2,  /* the cell's text is a u64: where the text is */
};

struct snapshot_cell {
        uint32_t tag; /* the upper half of the hash of the key */
        uint32_t line;
        uint32_t value_len;
        uint16_t key_len;
        uint8_t kind;
        uint8_t value_is_key; /* the text is the key alone, and the value too */
        char text[SNAPSHOT_NEAR_MAX]; /* the key in lower case, then the value */
};

static inline uint32_t snapshot_home(uint32_t tag, uint32_t home_count)
{
        return (uint32_t) ((uint64_t) tag * home_count >> 32);
}

/* The print of a key: of the bits of its tag that its home does not depend on. */
static inline uint8_t snapshot_print(uint32_t tag)
{
        return (uint8_t) (tag % 255 + 1);
}

/* The checksum that belongs into the header in front of `whole`, which is at
 * least that long. */
uint64_t snapshot_checksum(struct span whole);

/* Maps the file to be read, a large one where its address suits huge pages (all mappings
 * share them once they are made: snapshot_build.c). MAP_FAILED on failure. */
void *snapshot_map(int fd, size_t size);
