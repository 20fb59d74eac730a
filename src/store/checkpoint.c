#include "store/checkpoint.h"

#include <endian.h>
#include <errno.h>

#include "base/codec.h"
#include "base/hash.h"
#include "store/keys.h"
#include "store/recover.h"

enum {
        FORMAT = 1,
        HEAD = 24,
        CHUNK_HEAD = 16,
        CHUNK = 256 * 1024, /* ends behind the entry that fills it */
        CHUNK_MAX = CHUNK + KEYS_MAX + STORE_VALUE_MAX + 64,
        END = 16 + 2 * LOG_POSITION_OCTETS + 8,
        STEP = 2 * 1024 * 1024, /* made durable, then paced */
};

static const uint32_t HEAD_MAGIC = 0x31435948, END_MAGIC = 0x31455948; /* "HYC1", "HYE1" */
static const char name[] = "checkpoint", name_new[] = "checkpoint.new";

static uint64_t seed_of(const unsigned char *store_id, uint64_t chunk)
{
        return hash_span(span_make((const char *) store_id, LOG_STORE_ID), chunk);
}

static int encode_head(struct buffer *b, const unsigned char *store_id)
{
        int r = write_u32(b, HEAD_MAGIC);

        if (r == 0)
                r = write_u32(b, FORMAT);
        return r == 0 ? buffer_append(b, store_id, LOG_STORE_ID) : r;
}

/* ---- writing ------------------------------------------------------------------ */

struct writing {
        struct io *io;
        const unsigned char *store_id;
        const struct checkpoint_pace *pace;
        struct checkpoint made;
        struct buffer chunk; /* CHUNK_HEAD, entries */
        uint64_t chunk_count, at, synced;
        bool has_position;
        int file, result;
};

static int put_octets(struct writing *w, struct span octets)
{
        struct iovec part = {(void *) (uintptr_t) octets.p, octets.len};
        int r = io_pwritev(w->io, w->file, &part, 1, w->at);

        if (r == 0)
                w->at += octets.len;
        return r;
}

static int begin_chunk(struct writing *w)
{
        static const char head[CHUNK_HEAD];

        buffer_clear(&w->chunk);
        return buffer_append(&w->chunk, head, sizeof head);
}

static int end_chunk(struct writing *w)
{
        const struct span entries = span_skip(buffer_span(&w->chunk), CHUNK_HEAD);
        const uint32_t len = htole32((uint32_t) entries.len);
        const uint64_t checksum = htole64(hash_span(entries, seed_of(w->store_id,
                                                                     w->chunk_count)));
        int r;

        if (entries.len == 0)
                return 0;
        memcpy(w->chunk.data + w->chunk.start, &len, sizeof len);
        memcpy(w->chunk.data + w->chunk.start + 8, &checksum, sizeof checksum);
        r = put_octets(w, buffer_span(&w->chunk));
        w->chunk_count++;
        if (r == 0 && w->at - w->synced >= STEP) {
                w->synced = w->at;
                r = io_sync(w->io, w->file);
                if (r == 0 && w->pace && !w->pace->goes_on(w->pace->arg))
                        r = -ECANCELED;
        }
        return r == 0 ? begin_chunk(w) : r;
}

static int put_entry(struct writing *w, struct span key, struct span value)
{
        int r = write_u16(&w->chunk, (uint16_t) key.len);

        if (r == 0)
                r = write_u32(&w->chunk, (uint32_t) value.len);
        if (r == 0)
                r = buffer_append_span(&w->chunk, key);
        if (r == 0)
                r = buffer_append_span(&w->chunk, value);
        w->made.entries++;
        if (r == 0 && w->chunk.len >= CHUNK)
                r = end_chunk(w);
        return r;
}

static bool visit(void *arg, struct span key, struct span value)
{
        struct writing *w = arg;

        if (key.len == 1 && key.p[0] == KEYS_POSITION) {
                w->result = recover_decode_positions(value, &w->made.position, &w->made.traces);
                w->has_position = true;
        }
        if (w->result == 0)
                w->result = put_entry(w, key, value);
        return w->result == 0;
}

static int put_end(struct writing *w)
{
        char positions[2 * LOG_POSITION_OCTETS];
        int r = end_chunk(w);

        buffer_clear(&w->chunk);
        log_encode_position(&w->made.position, positions);
        log_encode_position(&w->made.traces, positions + LOG_POSITION_OCTETS);
        if (r == 0)
                r = write_u32(&w->chunk, 0);
        if (r == 0)
                r = write_u32(&w->chunk, END_MAGIC);
        if (r == 0)
                r = write_u64(&w->chunk, w->made.entries);
        if (r == 0)
                r = buffer_append(&w->chunk, positions, sizeof positions);
        if (r == 0)
                r = write_u64(&w->chunk, hash_span(buffer_span(&w->chunk),
                                                   seed_of(w->store_id, UINT64_MAX)));
        return r == 0 ? put_octets(w, buffer_span(&w->chunk)) : r;
}

static int put_all(struct writing *w, struct index *index)
{
        const struct index_range all = {.from = SPAN("\0"), .to = SPAN("\xff"), .is_once = true};
        int r = encode_head(&w->chunk, w->store_id);

        if (r == 0)
                r = put_octets(w, buffer_span(&w->chunk));
        if (r == 0)
                r = begin_chunk(w);
        if (r == 0)
                r = index_scan(index, &all, true, visit, w);
        if (r == 0)
                r = w->result;
        if (r == 0 && !w->has_position)
                r = -ENODATA;
        if (r == 0)
                r = put_end(w);
        return r == 0 ? io_sync(w->io, w->file) : r;
}

int checkpoint_write(struct io *io, const unsigned char *store_id, struct index *index,
                     const struct checkpoint_pace *pace, struct checkpoint *ret)
{
        struct writing w = {.io = io, .store_id = store_id, .pace = pace,
                            .chunk = BUFFER_INIT(CHUNK_MAX)};
        int r;

        w.file = io_open(io, name_new, IO_CREATE);
        if (w.file < 0)
                return w.file;
        r = io_truncate(io, w.file, 0);
        if (r == 0)
                r = put_all(&w, index);
        io_close(io, w.file);
        buffer_done(&w.chunk);
        if (r == 0)
                r = io_rename(io, name_new, name);
        if (r < 0) {
                io_unlink(io, name_new);
                return r;
        }
        w.made.size = w.at;
        *ret = w.made;
        return io_sync_directory(io, "");
}

/* ---- reading ------------------------------------------------------------------ */

struct reading {
        struct io *io;
        const unsigned char *store_id;
        int file;
        uint64_t at, end; /* `end`: where the end begins */
        struct buffer octets, position;
        uint64_t chunk_count, entries;
        struct index *index; /* NULL: only looking */
        struct checkpoint found;
};

static int read_at(struct reading *g, uint64_t at, size_t n)
{
        char *p;
        int64_t got;
        int r;

        buffer_clear(&g->octets);
        r = buffer_reserve(&g->octets, n, &p);
        if (r < 0)
                return r;
        got = io_pread(g->io, g->file, p, n, at);
        if (got < 0)
                return (int) got;
        if ((size_t) got != n)
                return -EBADMSG;
        buffer_commit(&g->octets, n);
        return 0;
}

static int read_head(struct reading *g)
{
        struct buffer want = BUFFER_INIT(HEAD);
        int r = encode_head(&want, g->store_id);

        if (r == 0)
                r = read_at(g, 0, HEAD);
        if (r == 0 && !span_equal(buffer_span(&want), buffer_span(&g->octets)))
                r = -EBADMSG;
        buffer_done(&want);
        g->at = HEAD;
        return r;
}

static int read_end(struct reading *g)
{
        const int64_t size = io_size(g->io, g->file);
        struct reader r;
        struct span octets, positions;
        int result;

        if (size < HEAD + END)
                return size < 0 ? (int) size : -EBADMSG;
        g->end = (uint64_t) size - END;
        result = read_at(g, g->end, END);
        if (result < 0)
                return result;
        octets = buffer_span(&g->octets);
        r = READER(octets);
        if (read_u32(&r) != 0 || read_u32(&r) != END_MAGIC)
                return -EBADMSG;
        g->found.entries = read_u64(&r);
        positions = read_raw(&r, 2 * LOG_POSITION_OCTETS);
        if (read_u64(&r) != hash_span(span_first(octets, END - 8), seed_of(g->store_id,
                                                                           UINT64_MAX)))
                return -EBADMSG;
        g->found.size = (uint64_t) size;
        return recover_decode_positions(positions, &g->found.position, &g->found.traces);
}

/* The two that say that the index is one are held back to the end. */
static int take_entry(struct reading *g, struct span key, struct span value)
{
        g->entries++;
        if (!g->index || (key.len == 1 && key.p[0] == KEYS_FORMAT))
                return 0;
        if (key.len == 1 && key.p[0] == KEYS_POSITION)
                return buffer_append_span(&g->position, value);
        return index_put(g->index, key, value);
}

static int read_chunk(struct reading *g)
{
        struct reader r;
        uint64_t checksum;
        uint32_t len;
        int result = read_at(g, g->at, CHUNK_HEAD);

        if (result < 0)
                return result;
        r = READER(buffer_span(&g->octets));
        len = read_u32(&r);
        read_u32(&r);
        checksum = read_u64(&r);
        if (len == 0 || len > CHUNK_MAX || g->at + CHUNK_HEAD + len > g->end)
                return -EBADMSG;
        result = read_at(g, g->at + CHUNK_HEAD, len);
        if (result < 0)
                return result;
        if (hash_span(buffer_span(&g->octets), seed_of(g->store_id, g->chunk_count++)) != checksum)
                return -EBADMSG;
        g->at += CHUNK_HEAD + len;
        r = READER(buffer_span(&g->octets));
        while (result == 0 && r.rest.len) {
                const uint16_t key_len = read_u16(&r);
                const uint32_t value_len = read_u32(&r);
                const struct span key = read_raw(&r, key_len), value = read_raw(&r, value_len);

                result = r.failed || key.len == 0 ? -EBADMSG : take_entry(g, key, value);
        }
        return result == 0 && g->index ? index_write(g->index) : result;
}

static int read_all(struct reading *g, struct index *index)
{
        int r = read_head(g);

        g->index = index;
        g->chunk_count = g->entries = 0;
        while (r == 0 && g->at < g->end)
                r = read_chunk(g);
        return r == 0 && g->entries != g->found.entries ? -EBADMSG : r;
}

static int seal_index(struct reading *g)
{
        const char format = KEYS_FORMAT, position = KEYS_POSITION;
        int r = index_put(g->index, span_make(&position, 1), buffer_span(&g->position));

        if (r == 0)
                r = index_put(g->index, span_make(&format, 1),
                              span_make((const char *) g->store_id, LOG_STORE_ID));
        return r == 0 ? index_write(g->index) : r;
}

static int reading_begin(struct reading *g, struct io *io, const unsigned char *store_id)
{
        int r;

        *g = (struct reading) {.io = io, .store_id = store_id, .octets = BUFFER_INIT(CHUNK_MAX),
                               .position = BUFFER_INIT(1024)};
        g->file = io_open(io, name, IO_READ_ONLY);
        if (g->file < 0)
                return g->file;
        r = read_head(g);
        return r == 0 ? read_end(g) : r;
}

static void reading_done(struct reading *g)
{
        io_close(g->io, g->file);
        buffer_done(&g->octets);
        buffer_done(&g->position);
}

int checkpoint_find(struct io *io, const unsigned char *store_id, struct checkpoint *ret)
{
        struct reading g;
        const int r = reading_begin(&g, io, store_id);

        if (r == 0)
                *ret = g.found;
        reading_done(&g);
        return r;
}

int checkpoint_load(struct io *io, const unsigned char *store_id, struct index *index)
{
        struct reading g;
        int r = reading_begin(&g, io, store_id);

        if (r == 0)
                r = read_all(&g, NULL);
        if (r == 0)
                r = read_all(&g, index);
        if (r == 0)
                r = seal_index(&g);
        reading_done(&g);
        return r;
}

int checkpoint_remove(struct io *io)
{
        const int r = io_unlink(io, name);

        if (r < 0)
                return r == -ENOENT ? 0 : r;
        return io_sync_directory(io, "");
}
