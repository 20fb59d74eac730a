#include "config/snapshot_build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hash.h"
#include "config/snapshot_format.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; glibc is older */
#endif

/* A bound that keeps a mistaken table from taking the machine's memory. */
#define WHOLE_MAX (UINT64_C(4) << 30)

struct row {
        struct snapshot_cell cell;
        uint32_t order; /* in which it was added */
};

struct build_table {
        struct row *rows;
        size_t count, room;
        struct span source; /* its text is malloc'd */
};

struct snapshot_build {
        uint64_t generation, seed;
        struct buffer whole; /* header and far texts; then all of it */
        struct build_table tables[SNAPSHOT_TABLE_END];
};

/* The buffer's "full" is the whole table's "too big". */
static int too_big(int r)
{
        return r == -EMSGSIZE ? -E2BIG : r;
}

int snapshot_build_new(uint64_t generation, uint64_t seed, struct snapshot_build **ret_b)
{
        const struct snapshot_header room = {.magic = 0};
        struct snapshot_build *b = calloc(1, sizeof *b);
        int r;

        if (!b)
                return -ENOMEM;
        b->generation = generation;
        b->seed = seed;
        b->whole = BUFFER_INIT(WHOLE_MAX);
        r = buffer_append(&b->whole, &room, sizeof room);
        if (r < 0) {
                snapshot_build_free(b);
                return r;
        }
        *ret_b = b;
        return 0;
}

struct snapshot_build *snapshot_build_free(struct snapshot_build *b)
{
        if (!b)
                return NULL;
        for (size_t i = 0; i < SNAPSHOT_TABLE_END; i++) {
                free(b->tables[i].rows);
                free((void *) (uintptr_t) b->tables[i].source.p);
        }
        buffer_done(&b->whole);
        free(b);
        return NULL;
}

int snapshot_build_source(struct snapshot_build *b, enum snapshot_table table, struct span name)
{
        struct build_table *t = &b->tables[table];
        char *copy = malloc(name.len + 1);

        if (!copy)
                return -ENOMEM;
        if (name.len)
                memcpy(copy, name.p, name.len);
        free((void *) (uintptr_t) t->source.p);
        t->source = span_make(copy, name.len);
        return 0;
}

static int make_room(struct build_table *t)
{
        const size_t room = t->room ? t->room * 2 : 64;
        struct row *rows;

        if (t->count < t->room)
                return 0;
        if (t->count == SNAPSHOT_ROWS_MAX)
                return -E2BIG;
        rows = realloc(t->rows, room * sizeof *rows);
        if (!rows)
                return -ENOMEM;
        t->rows = rows;
        t->room = room;
        return 0;
}

/* Puts the texts into the cell, or behind the others in `whole`. */
static int put_text(struct snapshot_build *b, struct snapshot_cell *cell, struct span key,
                    struct span value)
{
        const size_t len = key.len + (cell->value_is_key ? 0 : value.len);
        const uint64_t at = b->whole.len;
        char *to = cell->text;

        cell->kind = SNAPSHOT_CELL_NEAR;
        if (len > SNAPSHOT_NEAR_MAX) {
                int r = too_big(buffer_reserve(&b->whole, len, &to));

                if (r < 0)
                        return r;
                cell->kind = SNAPSHOT_CELL_FAR;
                memcpy(cell->text, &at, sizeof at);
                buffer_commit(&b->whole, len);
        }
        memcpy(to, key.p, key.len);
        if (len > key.len)
                memcpy(to + key.len, value.p, value.len);
        return 0;
}

int snapshot_build_add(struct snapshot_build *b, enum snapshot_table table, struct span key,
                       struct span value, uint32_t line)
{
        struct build_table *t = &b->tables[table];
        char lower[SNAPSHOT_KEY_MAX];
        struct row row = {.order = (uint32_t) t->count};
        int r;

        if (key.len == 0 || key.len > SNAPSHOT_KEY_MAX)
                return -EINVAL;
        if (value.len > SNAPSHOT_VALUE_MAX)
                return -EMSGSIZE;
        r = make_room(t);
        if (r < 0)
                return r;
        ascii_lower_copy(lower, key);
        key.p = lower;
        row.cell = (struct snapshot_cell) {.tag = (uint32_t) (hash_span(key, b->seed) >> 32),
                                           .line = line,
                                           .value_len = (uint32_t) value.len,
                                           .key_len = (uint16_t) key.len,
                                           .value_is_key = span_equal(key, value)};
        r = put_text(b, &row.cell, key, value);
        if (r == 0)
                t->rows[t->count++] = row;
        return r;
}

static struct span row_key(const struct snapshot_build *b, const struct row *row)
{
        uint64_t at;

        if (row->cell.kind == SNAPSHOT_CELL_NEAR)
                return span_make(row->cell.text, row->cell.key_len);
        memcpy(&at, row->cell.text, sizeof at);
        return span_make(b->whole.data + at, row->cell.key_len);
}

static int compare_rows(const void *a, const void *b)
{
        const struct row *left = a, *right = b;

        if (left->cell.tag != right->cell.tag)
                return left->cell.tag < right->cell.tag ? -1 : 1;
        return left->order < right->order ? -1 : 1; /* the earlier line first */
}

struct double_key {
        const struct row *first, *second;
};

static int compare_doubles(const void *a, const void *b)
{
        const struct double_key *left = a, *right = b;

        return left->second->order < right->second->order ? -1 : 1;
}

/* Says which keys stand twice in a table whose rows are sorted; how many. */
static size_t report_doubles(const struct snapshot_build *b, const struct build_table *t,
                             struct buffer *error)
{
        struct double_key found[SNAPSHOT_DUPLICATES_MAX];
        size_t count = 0;

        for (size_t i = 1; i < t->count && count < SNAPSHOT_DUPLICATES_MAX; i++) {
                const struct row *row = &t->rows[i];

                for (const struct row *other = row; other > t->rows; other--) {
                        if (other[-1].cell.tag != row->cell.tag)
                                break;
                        if (!span_equal(row_key(b, other - 1), row_key(b, row)))
                                continue;
                        found[count++] = (struct double_key) {.first = other - 1, .second = row};
                        break;
                }
        }
        qsort(found, count, sizeof found[0], compare_doubles);
        for (size_t i = 0; i < count; i++) {
                const struct span key = row_key(b, found[i].second);

                /* What does not fit any more is not said: many were. */
                buffer_printf(error, "%.*s:%u: \"%.*s\" is there a second time, after line %u; "
                              "remove one\n", (int) t->source.len, t->source.len ? t->source.p : "",
                              found[i].second->cell.line, (int) key.len, key.p,
                              found[i].first->cell.line);
        }
        return count;
}

static int pad(struct buffer *b, size_t align)
{
        static const char zeros[SNAPSHOT_CELL_ALIGN];

        return too_big(buffer_append(b, zeros, (align - b->len % align) % align));
}

/* The cell of a row: its home, or the first free one behind it. */
static uint64_t next_cell(const struct row *row, uint32_t home_count, uint64_t first_free)
{
        const uint64_t home = snapshot_home(row->cell.tag, home_count);

        return home > first_free ? home : first_free;
}

static int lay_table(struct snapshot_build *b, const struct build_table *t,
                     struct snapshot_table_header *ret_t)
{
        const uint32_t home_count = (uint32_t) (t->count * 10 / 6 + 1);
        uint64_t cell_count = 0, at = 0, size;
        char *to = NULL;
        int r = pad(&b->whole, SNAPSHOT_CELL_ALIGN);

        for (size_t i = 0; i < t->count; i++)
                cell_count = next_cell(&t->rows[i], home_count, cell_count) + 1;
        if (cell_count < home_count)
                cell_count = home_count;
        size = cell_count * (sizeof t->rows->cell + 1) + SNAPSHOT_PRINTS_PAD;
        if (r == 0)
                r = too_big(buffer_reserve(&b->whole, size, &to));
        if (r < 0)
                return r;
        memset(to, 0, size);
        for (size_t i = 0; i < t->count; i++, at++) {
                at = next_cell(&t->rows[i], home_count, at);
                memcpy(to + at * sizeof t->rows->cell, &t->rows[i].cell, sizeof t->rows->cell);
                to[cell_count * sizeof t->rows->cell + at] =
                        (char) snapshot_print(t->rows[i].cell.tag);
        }
        *ret_t = (struct snapshot_table_header) {.cells = b->whole.len,
                                                 .home_count = home_count,
                                                 .cell_count = (uint32_t) cell_count,
                                                 .count = (uint32_t) t->count};
        buffer_commit(&b->whole, size);
        return 0;
}

static int lay_out(struct snapshot_build *b, struct buffer *error)
{
        struct snapshot_header header = {.magic = SNAPSHOT_MAGIC,
                                         .format = SNAPSHOT_FORMAT,
                                         .table_count = SNAPSHOT_TABLE_END,
                                         .generation = b->generation,
                                         .seed = b->seed};
        size_t doubles = 0;
        int r = 0;

        for (size_t i = 0; i < SNAPSHOT_TABLE_END; i++) {
                struct build_table *t = &b->tables[i];

                if (t->count)
                        qsort(t->rows, t->count, sizeof *t->rows, compare_rows);
                doubles += report_doubles(b, t, error);
        }
        if (doubles)
                return -EEXIST;
        for (size_t i = 0; r == 0 && i < SNAPSHOT_TABLE_END; i++)
                if (b->tables[i].count)
                        r = lay_table(b, &b->tables[i], &header.tables[i]);
        for (size_t i = 0; r == 0 && i < SNAPSHOT_TABLE_END; i++) {
                header.tables[i].source = b->whole.len;
                header.tables[i].source_len = (uint32_t) b->tables[i].source.len;
                r = too_big(buffer_append_span(&b->whole, b->tables[i].source));
        }
        if (r < 0)
                return r;
        header.size = b->whole.len;
        memcpy(b->whole.data, &header, sizeof header);
        header.checksum = snapshot_checksum(buffer_span(&b->whole));
        memcpy(b->whole.data, &header, sizeof header);
        return 0;
}

/* A look-up in a large table costs little but the cache misses, of which half are the
 * page tables' where pages are small. Where the kernel has none to give, pages stay as
 * they are. */
static void use_huge_pages(int fd, size_t size)
{
        void *map;

        if (size < SNAPSHOT_HUGE_PAGE)
                return;
        map = snapshot_map(fd, size);
        if (map == MAP_FAILED)
                return;
        (void) madvise(map, size, MADV_COLLAPSE);
        munmap(map, size);
}

int snapshot_build_finish(struct snapshot_build *b, struct buffer *error, int *ret_fd)
{
        _cleanup_(close_fd) int fd = -1;
        int r = lay_out(b, error);

        if (r < 0)
                return r;
        fd = memfd_create("snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        r = file_write_all(fd, b->whole.data, b->whole.len);
        if (r < 0)
                return r;
        use_huge_pages(fd, b->whole.len);
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;
        *ret_fd = fd;
        fd = -1;
        return 0;
}
