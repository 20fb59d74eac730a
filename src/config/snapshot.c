#include "config/snapshot.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
        if (t->source_len && !is_within(s, t->source, t->source_len))
                return false;
        if (t->cell_count == 0)
                return t->count == 0;
        return t->count <= t->cell_count && t->home_count <= t->cell_count &&
               t->cells % SNAPSHOT_CELL_ALIGN == 0 &&
               is_within(s, t->cells,
                         t->cell_count * (uint64_t) (sizeof(struct snapshot_cell) + 1) +
                                 SNAPSHOT_PRINTS_PAD);
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

static size_t page_size(void)
{
        return (size_t) sysconf(_SC_PAGESIZE);
}

void *snapshot_map(int fd, size_t size)
{
        const size_t room = size + SNAPSHOT_HUGE_PAGE;
        char *area, *at, *end;
        void *map;

        if (size < SNAPSHOT_HUGE_PAGE)
                return mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
        area = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (area == MAP_FAILED)
                return MAP_FAILED;
        at = area + (-(uintptr_t) area & (SNAPSHOT_HUGE_PAGE - 1));
        map = mmap(at, size, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0);
        if (map == MAP_FAILED) {
                munmap(area, room);
                return MAP_FAILED;
        }
        end = at + ((size + page_size() - 1) & ~(page_size() - 1));
        if (at > area)
                munmap(area, (size_t) (at - area));
        if (end < area + room)
                munmap(end, (size_t) (area + room - end));
        return map;
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
        s->map = snapshot_map(fd, s->size);
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

/* Eight octets in ASCII lower case. */
static void lower_word(char *out, const char *in)
{
        const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
        uint64_t word, low7, is_upper;

        memcpy(&word, in, 8);
        low7 = word & ~high;
        /* The high bit of each octet: >= 'A', and not >= 'Z' + 1, and ASCII. */
        is_upper = (low7 + (0x80 - 'A') * ones) & ~(low7 + (0x80 - 'Z' - 1) * ones) & ~word & high;
        word += is_upper >> 2; /* 0x20 */
        memcpy(out, &word, 8);
}

/* The last eight octets are done by themselves, some of them for the second
 * time: a look-up is little more than this, a hash, and a cache miss. */
static void lower(char *out, struct span in)
{
        size_t i = 0;

        if (in.len < 8) {
                for (; i < in.len; i++)
                        out[i] = ascii_lower(in.p[i]);
                return;
        }
        for (; i + 8 < in.len; i += 8)
                lower_word(out + i, in.p + i);
        lower_word(out + in.len - 8, in.p + in.len - 8);
}

/* Where a cell's key and value are. Bounds are looked at here and not when the
 * map is opened: that costs nothing beside the cache miss, and an edge need not
 * walk a million cells before it may answer. */
static const char *cell_text(const struct snapshot *s, const struct snapshot_cell *cell)
{
        const uint64_t len = cell->key_len + (cell->value_is_key ? 0 : (uint64_t) cell->value_len);
        uint64_t at;

        if (cell->value_is_key && cell->value_len != cell->key_len)
                return NULL;
        if (cell->kind == SNAPSHOT_CELL_NEAR)
                return len <= SNAPSHOT_NEAR_MAX ? cell->text : NULL;
        memcpy(&at, cell->text, sizeof at);
        return is_within(s, at, len) ? s->map + at : NULL;
}

/* The value of the key that was looked for, if it is the one in this cell. */
static bool cell_get(const struct snapshot *s, const struct snapshot_cell *cell, uint32_t tag,
                     struct span key_lower, struct span *ret_value)
{
        const char *text;

        if (cell->kind == SNAPSHOT_CELL_EMPTY || cell->tag != tag ||
            cell->key_len != key_lower.len)
                return false;
        text = cell_text(s, cell);
        if (!text || memcmp(text, key_lower.p, key_lower.len) != 0)
                return false;
        *ret_value = span_make(cell->value_is_key ? text : text + key_lower.len, cell->value_len);
        return true;
}

/* The high bit of each octet that is 0. */
static uint64_t zero_octets(uint64_t word)
{
        const uint64_t low7 = UINT64_C(0x7f7f7f7f7f7f7f7f);

        return ~(((word & low7) + low7) | word | low7);
}

bool snapshot_get(const struct snapshot *s, enum snapshot_table table, struct span key,
                  struct span *ret_value, uint32_t *ret_line)
{
        const struct snapshot_table_header *t = &s->header->tables[table];
        const struct snapshot_cell *cells;
        const char *prints;
        char key_lower[SNAPSHOT_KEY_MAX];
        uint64_t wanted, home;
        uint32_t tag;

        if (t->count == 0 || key.len > sizeof key_lower)
                return false;
        lower(key_lower, key);
        tag = (uint32_t) (XXH3_64bits_withSeed(key_lower, key.len, s->header->seed) >> 32);
        cells = (const struct snapshot_cell *) (const void *) (s->map + t->cells);
        prints = (const char *) (cells + t->cell_count);
        wanted = snapshot_print(tag) * UINT64_C(0x0101010101010101);
        home = snapshot_home(tag, t->home_count);
        __builtin_prefetch(&cells[home]); /* where it is as a rule, if it is */

        for (uint64_t at = home; at < t->cell_count; at += 8) {
                uint64_t word, empty, alike;

                memcpy(&word, prints + at, sizeof word);
                word = le64toh(word);
                empty = zero_octets(word);
                /* What stands behind the first empty cell has its home there too. */
                alike = zero_octets(word ^ wanted) & ((empty & -empty) - 1);
                for (; alike; alike &= alike - 1) {
                        const uint64_t found = at + (unsigned) __builtin_ctzll(alike) / 8;

                        if (found < t->cell_count &&
                            cell_get(s, &cells[found], tag, span_make(key_lower, key.len),
                                     ret_value)) {
                                if (ret_line)
                                        *ret_line = cells[found].line;
                                return true;
                        }
                }
                if (empty)
                        return false;
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
