#include "config/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "config/snapshot_format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

struct snapshot {
        const char *map;
        size_t size;
        const struct snapshot_header *header; /* == map */
};

uint64_t snapshot_checksum(struct span whole)
{
        struct snapshot_header header;
        XXH3_state_t state;

        memcpy(&header, whole.p, sizeof header);
        header.checksum = 0;
        XXH3_64bits_reset(&state);
        XXH3_64bits_update(&state, &header, sizeof header);
        XXH3_64bits_update(&state, whole.p + sizeof header, whole.len - sizeof header);
        return XXH3_64bits_digest(&state);
}

/* Is [at, at + len) within the map, behind the header? */
static bool is_within(const struct snapshot *s, uint64_t at, uint64_t len)
{
        return at >= sizeof *s->header && at <= s->size && len <= s->size - at;
}

static bool table_is_sound(const struct snapshot *s, const struct snapshot_table_header *t)
{
        const uint64_t slots = t->slot_count;

        if (t->source_len && !is_within(s, t->source, t->source_len))
                return false;
        if (slots == 0)
                return t->count == 0;
        return (slots & (slots - 1)) == 0 && t->count < slots &&
               t->slots % SNAPSHOT_SLOTS_ALIGN == 0 &&
               is_within(s, t->slots, slots * sizeof(struct snapshot_slot));
}

static bool is_sound(const struct snapshot *s)
{
        const struct snapshot_header *h = s->header;

        if (h->magic != SNAPSHOT_MAGIC || h->format != SNAPSHOT_FORMAT || h->size != s->size ||
            h->table_count != SNAPSHOT_TABLE_END ||
            h->checksum != snapshot_checksum(span_make(s->map, s->size)))
                return false;
        for (size_t i = 0; i < SNAPSHOT_TABLE_END; i++)
                if (!table_is_sound(s, &h->tables[i]))
                        return false;
        return true;
}

int snapshot_open(int fd, struct snapshot **ret_s)
{
        /* Without these seals its maker could change or cut what was checked. */
        const int seals = F_SEAL_WRITE | F_SEAL_SHRINK;
        struct snapshot *s;
        struct stat st;
        const int have = fcntl(fd, F_GET_SEALS);

        if (fstat(fd, &st) < 0)
                return -errno;
        if (have < 0 || (have & seals) != seals ||
            st.st_size < (off_t) sizeof(struct snapshot_header))
                return -EBADMSG;
        s = calloc(1, sizeof *s);
        if (!s)
                return -ENOMEM;
        s->size = (size_t) st.st_size;
        s->map = mmap(NULL, s->size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (s->map == MAP_FAILED) {
                const int r = -errno;

                free(s);
                return r;
        }
        s->header = (const struct snapshot_header *) (const void *) s->map;
        if (!is_sound(s)) {
                snapshot_close(s);
                return -EBADMSG;
        }
        *ret_s = s;
        return 0;
}

struct snapshot *snapshot_close(struct snapshot *s)
{
        if (s) {
                munmap((void *) (uintptr_t) s->map, s->size);
                free(s);
        }
        return NULL;
}

/* The record at a slot's place, its key and value. Bounds are looked at here and
 * not when the map is opened: that costs nothing beside the cache miss, and an
 * edge need not walk a million records before it may answer. */
static bool read_record(const struct snapshot *s, uint32_t place, struct snapshot_record *ret_record,
                        const char **ret_octets)
{
        const uint64_t at = (uint64_t) place * SNAPSHOT_RECORD_ALIGN;
        uint64_t room;

        if (!is_within(s, at, sizeof *ret_record))
                return false;
        memcpy(ret_record, s->map + at, sizeof *ret_record);
        room = s->size - at - sizeof *ret_record;
        if (ret_record->key_len > room || ret_record->value_len > room - ret_record->key_len)
                return false;
        *ret_octets = s->map + at + sizeof *ret_record;
        return true;
}

/* ASCII lower case, eight octets at a time: a look-up is little more than this
 * and two cache misses. */
static void lower(char *out, struct span in)
{
        const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
        size_t i = 0;

        for (; i + 8 <= in.len; i += 8) {
                uint64_t word, low7, is_upper;

                memcpy(&word, in.p + i, 8);
                low7 = word & ~high;
                /* The high bit of each octet: >= 'A', and not >= 'Z' + 1, and ASCII. */
                is_upper = (low7 + (0x80 - 'A') * ones) & ~(low7 + (0x80 - 'Z' - 1) * ones) &
                           ~word & high;
                word += is_upper >> 2; /* 0x20 */
                memcpy(out + i, &word, 8);
        }
        for (; i < in.len; i++)
                out[i] = ascii_lower(in.p[i]);
}

bool snapshot_get(const struct snapshot *s, enum snapshot_table table, struct span key,
                  struct span *ret_value, uint32_t *ret_line)
{
        const struct snapshot_table_header *t = &s->header->tables[table];
        const struct snapshot_slot *slots;
        char key_lower[SNAPSHOT_KEY_MAX];
        uint64_t hash;
        uint32_t at;

        if (t->count == 0 || key.len > sizeof key_lower)
                return false;
        lower(key_lower, key);
        slots = (const struct snapshot_slot *) (const void *) (s->map + t->slots);
        hash = XXH3_64bits_withSeed(key_lower, key.len, s->header->seed);
        at = (uint32_t) hash;
        /* Bounded, since a damaged table might have no empty slot. */
        for (uint32_t i = 0; i < t->slot_count; i++, at++) {
                const struct snapshot_slot *slot = &slots[at & (t->slot_count - 1)];
                struct snapshot_record record;
                const char *octets;

                if (slot->record == 0)
                        return false;
                if (slot->tag != (uint32_t) (hash >> 32) ||
                    !read_record(s, slot->record, &record, &octets) ||
                    record.key_len != key.len || memcmp(octets, key_lower, key.len) != 0)
                        continue;
                *ret_value = span_make(octets + record.key_len, record.value_len);
                if (ret_line)
                        *ret_line = record.line;
                return true;
        }
        return false;
}

struct span snapshot_source(const struct snapshot *s, enum snapshot_table table)
{
        const struct snapshot_table_header *t = &s->header->tables[table];

        return t->source_len ? span_make(s->map + t->source, t->source_len)
                             : (struct span) {NULL, 0};
}

uint32_t snapshot_count(const struct snapshot *s, enum snapshot_table table)
{
        return s->header->tables[table].count;
}

uint64_t snapshot_generation(const struct snapshot *s)
{
        return s->header->generation;
}
