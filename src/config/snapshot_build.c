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

/* What a u32 counted in SNAPSHOT_RECORD_ALIGN could reach is more than this:
 * the bound keeps a mistaken table from taking the machine's memory. */
#define WHOLE_MAX (UINT64_C(4) << 30)

struct row {
        uint64_t hash;
        uint32_t record; /* as in a slot */
};

struct build_table {
        struct row *rows;
        size_t count, room;
        struct span source; /* its text is malloc'd */
};

struct snapshot_build {
        uint64_t generation, seed;
        struct buffer whole; /* header and records; later all of it */
        struct build_table tables[SNAPSHOT_TABLE_END];
};

int snapshot_build_new(uint64_t generation, uint64_t seed, struct snapshot_build **ret_b)
{
        struct snapshot_build *b = calloc(1, sizeof *b);
        const struct snapshot_header nothing = {.magic = 0};
        int r;

        if (!b)
                return -ENOMEM;
        b->generation = generation;
        b->seed = seed;
        b->whole = BUFFER_INIT(WHOLE_MAX);
        r = buffer_append(&b->whole, &nothing, sizeof nothing);
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

/* The buffer's "full" is the whole table's "too big". */
static int too_big(int r)
{
        return r == -EMSGSIZE ? -E2BIG : r;
}

static int pad(struct buffer *b, size_t align)
{
        static const char zeros[SNAPSHOT_SLOTS_ALIGN];

        return too_big(buffer_append(b, zeros, (align - b->len % align) % align));
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

int snapshot_build_add(struct snapshot_build *b, enum snapshot_table table, struct span key,
                       struct span value, uint32_t line)
{
        struct build_table *t = &b->tables[table];
        struct snapshot_record record = {
                .line = line, .value_len = (uint32_t) value.len, .key_len = (uint32_t) key.len};
        const size_t len = sizeof record + key.len + value.len;
        char *to;
        int r;

        if (key.len == 0 || key.len > SNAPSHOT_KEY_MAX)
                return -EINVAL;
        if (value.len > SNAPSHOT_VALUE_MAX)
                return -EMSGSIZE;
        r = make_room(t);
        if (r == 0)
                r = pad(&b->whole, SNAPSHOT_RECORD_ALIGN);
        if (r == 0)
                r = too_big(buffer_reserve(&b->whole, len, &to));
        if (r < 0)
                return r;
        memcpy(to, &record, sizeof record);
        ascii_lower_copy(to + sizeof record, key);
        t->rows[t->count++] = (struct row) {
                .hash = hash_span(span_make(to + sizeof record, key.len), b->seed),
                .record = (uint32_t) (b->whole.len / SNAPSHOT_RECORD_ALIGN)};
        if (value.len)
                memcpy(to + sizeof record + key.len, value.p, value.len);
        buffer_commit(&b->whole, len);
        return 0;
}

static struct span record_key(const struct snapshot_build *b, uint32_t place, uint32_t *ret_line)
{
        const char *at = buffer_span(&b->whole).p + (uint64_t) place * SNAPSHOT_RECORD_ALIGN;
        struct snapshot_record record;

        memcpy(&record, at, sizeof record);
        *ret_line = record.line;
        return span_make(at + sizeof record, record.key_len);
}

/* False when the row's key is in the slots already; says so. */
static bool put_row(const struct snapshot_build *b, const struct build_table *t, size_t row,
                    struct snapshot_slot *slots, uint32_t slot_count, struct buffer *error)
{
        const struct row *new = &t->rows[row];
        const uint32_t tag = (uint32_t) (new->hash >> 32);
        uint32_t at = (uint32_t) new->hash, line, first;
        const struct span key = record_key(b, new->record, &line);

        for (;; at++) {
                struct snapshot_slot *slot = &slots[at & (slot_count - 1)];

                if (slot->record == 0) {
                        *slot = (struct snapshot_slot) {.tag = tag, .record = new->record};
                        return true;
                }
                if (slot->tag != tag || !span_equal(key, record_key(b, slot->record, &first)))
                        continue;
                /* What does not fit any more is not said: many were. */
                buffer_printf(error, "%.*s:%u: \"%.*s\" is there a second time, after line %u; "
                              "remove one\n", (int) t->source.len, t->source.len ? t->source.p : "",
                              line, (int) key.len, key.p, first);
                return false;
        }
}

static int lay_table(struct snapshot_build *b, struct build_table *t, struct buffer *error,
                     struct snapshot_table_header *ret_t)
{
        struct snapshot_slot *slots;
        uint64_t slot_count = 8;
        unsigned duplicates = 0;
        int r;

        if (t->count == 0)
                return 0;
        while (slot_count * 7 < (uint64_t) t->count * 10)
                slot_count *= 2;
        slots = calloc(slot_count, sizeof *slots);
        if (!slots)
                return -ENOMEM;
        for (size_t i = 0; i < t->count && duplicates < SNAPSHOT_DUPLICATES_MAX; i++)
                duplicates += !put_row(b, t, i, slots, (uint32_t) slot_count, error);
        r = duplicates ? -EEXIST : pad(&b->whole, SNAPSHOT_SLOTS_ALIGN);
        if (r == 0) {
                ret_t->slots = b->whole.len;
                ret_t->slot_count = (uint32_t) slot_count;
                ret_t->count = (uint32_t) t->count;
                r = too_big(buffer_append(&b->whole, slots, slot_count * sizeof *slots));
        }
        free(slots);
        return r;
}

static int lay_out(struct snapshot_build *b, struct buffer *error)
{
        struct snapshot_header header = {.magic = SNAPSHOT_MAGIC,
                                         .format = SNAPSHOT_FORMAT,
                                         .table_count = SNAPSHOT_TABLE_END,
                                         .generation = b->generation,
                                         .seed = b->seed};
        int result = 0, r;

        for (size_t i = 0; i < SNAPSHOT_TABLE_END; i++) {
                r = lay_table(b, &b->tables[i], error, &header.tables[i]);
                if (r == -EEXIST)
                        result = r; /* the other tables' duplicates are said too */
                else if (r < 0)
                        return r;
        }
        for (size_t i = 0; result == 0 && i < SNAPSHOT_TABLE_END; i++) {
                header.tables[i].source = b->whole.len;
                header.tables[i].source_len = (uint32_t) b->tables[i].source.len;
                result = too_big(buffer_append_span(&b->whole, b->tables[i].source));
        }
        if (result < 0)
                return result;
        header.size = b->whole.len;
        memcpy(b->whole.data, &header, sizeof header);
        header.checksum = snapshot_checksum(buffer_span(&b->whole));
        memcpy(b->whole.data, &header, sizeof header);
        return 0;
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
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;
        *ret_fd = fd;
        fd = -1;
        return 0;
}
