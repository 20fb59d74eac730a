/* What a snapshot looks like, for its reader, its builder and their tests.
 *
 *   header | records, 8 octets aligned | slots, 64 octets aligned | sources
 *
 * A table is a hash table with open addressing. A slot is 8 octets: the upper
 * half of the key's hash, and where its record is; so a look-up touches one
 * cache line of slots, mostly, and the record, and a miss no record. At most
 * 0.7 of the slots are used. Numbers are in the machine's own order: a snapshot
 * never leaves it. */
#pragma once

#include <stdint.h>

#include "base/span.h"
#include "config/snapshot.h"

#define SNAPSHOT_MAGIC UINT64_C(0x31504e5359414848) /* "HHAYSNP1" */

enum {
        SNAPSHOT_FORMAT = 1,
        SNAPSHOT_RECORD_ALIGN = 8,
        SNAPSHOT_SLOTS_ALIGN = 64,
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
                uint64_t slots; /* where they begin */
                uint64_t source;
                uint32_t slot_count; /* a power of two, or 0: an empty table */
                uint32_t count;
                uint32_t source_len;
                uint32_t reserved;
        } tables[SNAPSHOT_TABLE_END];
};

struct snapshot_slot {
        uint32_t tag;    /* the hash's upper half */
        uint32_t record; /* where it begins, divided by SNAPSHOT_RECORD_ALIGN; 0: empty */
};

struct snapshot_record {
        uint32_t line;
        uint32_t value_len;
        uint32_t key_len;
        /* the key in lower case, then the value */
};

/* The checksum that belongs into the header in front of `whole`, which is at
 * least that long. */
uint64_t snapshot_checksum(struct span whole);
