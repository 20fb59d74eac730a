#include "store/log.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/hash.h"
#include "base/hash_long.h"

enum { PARTS_FIRST = 64, UNDER_WAY_SHIFT = 4 };

static const uint32_t GROUP_MAGIC = 0x31475948; /* "HYG1" */
static const char padding[LOG_BLOCK];

const char *const log_folders[LOG_STREAMS] = {"queue", "mail"};

void log_init(struct log *l, struct io *io, const unsigned char *store_id, uint64_t segment_size)
{
        *l = (struct log) {.io = io, .segment_size = segment_size, .next_number = 1,
                           .may_reclaim = true};
        l->new_size = segment_size < LOG_SEGMENT_FIRST ? segment_size : LOG_SEGMENT_FIRST;
        memcpy(l->store_id, store_id, LOG_STORE_ID);
        pthread_mutex_init(&l->mutex, NULL);
        pthread_mutex_init(&l->making, NULL);
        for (enum log_stream i = 0; i < LOG_STREAMS; i++)
                list_init(&l->streams[i]);
        for (size_t i = 0; i < LOG_SLOTS; i++)
                for (enum log_stream k = 0; k < LOG_STREAMS; k++)
                        l->slots[i].files[k] = -1;
}

void log_done(struct log *l)
{
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                struct list_node *node;

                while ((node = list_take_first(&l->streams[i]))) {
                        struct segment *s = LIST_OBJECT(node, struct segment, node);

                        io_close(l->io, s->file);
                        free(s);
                }
                free(l->part[i].parts);
        }
        for (size_t i = 0; i < LOG_SLOTS; i++)
                for (enum log_stream k = 0; k < LOG_STREAMS; k++)
                        io_close(l->io, l->slots[i].files[k]);
        table_done(&l->by_number);
        pthread_mutex_destroy(&l->mutex);
        pthread_mutex_destroy(&l->making);
}

struct segment *log_segment(struct log *l, uint64_t number)
{
        for (struct table_node *n = table_first(&l->by_number, number); n; n = table_next(n))
                if (TABLE_OBJECT(n, struct segment, by_number)->number == number)
                        return TABLE_OBJECT(n, struct segment, by_number);
        return NULL;
}

static const char *path_of(enum log_stream stream, uint64_t number, char *out)
{
        snprintf(out, LOG_PATH_MAX, "%s/%016llx.seg", log_folders[stream],
                 (unsigned long long) number);
        return out;
}

const char *log_path(const struct segment *s, char *out)
{
        return path_of(s->stream, s->number, out);
}

/* ---- heads and positions ----------------------------------------------- */

uint64_t log_seed(const struct log *l, uint64_t segment)
{
        return hash_span(span_make((const char *) l->store_id, sizeof l->store_id), segment);
}

void log_encode_head(const struct log *l, const struct group_head *h, char *out)
{
        const uint32_t magic = htole32(GROUP_MAGIC), len = htole32(h->len);
        const uint32_t records = htole32(h->records);
        const uint16_t format = htole16(LOG_FORMAT);
        const uint64_t numbers[] = {htole64(h->segment), htole64(h->group)};
        const uint64_t more[] = {htole64(h->previous), htole64(h->time_us), htole64(h->checksum)};
        uint64_t checksum;

        memcpy(out, &magic, 4);
        memcpy(out + 4, &format, 2);
        out[6] = (char) (h->stream | h->under_way << UNDER_WAY_SHIFT);
        out[7] = (char) h->mask;
        memcpy(out + 8, numbers, 16);
        memcpy(out + 24, &len, 4);
        memcpy(out + 28, &records, 4);
        memcpy(out + 32, more, 24);
        checksum = htole64(hash_span(span_make(out, 56), log_seed(l, h->segment)));
        memcpy(out + 56, &checksum, 8);
}

int log_decode_head(const struct log *l, uint64_t segment, const char *in,
                    struct group_head *ret_h)
{
        struct reader r = READER(span_make(in, LOG_HEAD));
        const uint32_t magic = read_u32(&r);
        const uint16_t format = read_u16(&r);
        struct group_head h = {0};

        if (magic != GROUP_MAGIC || format < LOG_FORMAT_FIRST || format > LOG_FORMAT)
                return -EBADMSG;
        h.stream = read_u8(&r);
        h.under_way = h.stream >> UNDER_WAY_SHIFT; /* 0 in the first format */
        h.stream &= (1 << UNDER_WAY_SHIFT) - 1;
        h.mask = read_u8(&r);
        h.segment = read_u64(&r);
        h.group = read_u64(&r);
        h.len = read_u32(&r);
        h.records = read_u32(&r);
        h.previous = read_u64(&r);
        h.time_us = read_u64(&r);
        h.checksum = read_u64(&r);
        if (h.segment != segment ||
            read_u64(&r) != hash_span(span_make(in, 56), log_seed(l, segment)))
                return -EBADMSG;
        *ret_h = h;
        return 0;
}

struct span log_encode_position(const struct log_position *p, char *out)
{
        uint64_t v = htole64(p->group);

        memcpy(out, &v, 8);
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                const uint64_t at[] = {htole64(p->at[i].segment), htole64(p->at[i].offset),
                                       htole64(p->at[i].group)};

                memcpy(out + 8 + 24 * i, at, sizeof at);
        }
        return span_make(out, LOG_POSITION_OCTETS);
}

int log_decode_position(struct reader *r, struct log_position *ret_p)
{
        ret_p->group = read_u64(r);
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                ret_p->at[i].segment = read_u64(r);
                ret_p->at[i].offset = read_u64(r);
                ret_p->at[i].group = read_u64(r);
        }
        return r->failed ? -EBADMSG : 0;
}

/* ---- writing ------------------------------------------------------------ */

/* Files of segments that are full; the rest are kept for the next group. With the
 * mutex held. */
static void close_old_files(struct log *l, struct log_slot *slot)
{
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                if (l->current[i] && slot->segments[i] == l->current[i]->number)
                        continue;
                io_close(l->io, slot->files[i]);
                slot->files[i] = -1;
                slot->segments[i] = 0;
        }
}

static bool has_room(const struct segment *s, uint64_t offset, uint64_t part_size)
{
        return s && offset + part_size <= s->size;
}

/* A segment in which nothing is yet becomes larger: segments of a small store are
 * smaller than the largest groups. */
static int enlarge(struct log *l, struct segment *s, uint64_t part_size)
{
        const uint64_t size = LOG_BLOCK + part_size;
        const int r = io_allocate(l->io, s->file, size);

        if (r < 0)
                return r;
        pthread_mutex_lock(&l->mutex);
        s->size = size;
        pthread_mutex_unlock(&l->mutex);
        return 0;
}

/* Goes on with the next segment. */
static int roll(struct log *l, enum log_stream stream, uint64_t part_size)
{
        bool is_ready;
        int r = 0;

        pthread_mutex_lock(&l->mutex);
        is_ready = l->next[stream] != NULL;
        pthread_mutex_unlock(&l->mutex);
        if (!is_ready) {
                pthread_mutex_lock(&l->making); /* perhaps it is nearly ready */
                if (!l->next[stream])
                        r = log_create(l, stream, part_size);
                pthread_mutex_unlock(&l->making);
        }
        if (r == 0 && !has_room(l->next[stream], LOG_BLOCK, part_size))
                r = enlarge(l, l->next[stream], part_size);
        pthread_mutex_lock(&l->mutex);
        if (r == 0) {
                if (l->current[stream])
                        l->current[stream]->is_sealed = true;
                l->current[stream] = l->next[stream];
                l->next[stream] = NULL;
                l->position.at[stream].segment = l->current[stream]->number;
                l->position.at[stream].offset = LOG_BLOCK;
                for (size_t i = 0; i < LOG_SLOTS; i++)
                        if (!l->slots[i].is_busy)
                                close_old_files(l, &l->slots[i]);
        }
        pthread_mutex_unlock(&l->mutex);
        return r;
}

static int begin_part(struct log *l, struct log_slot *slot, enum log_stream stream, uint64_t size)
{
        char path[LOG_PATH_MAX];
        int r = 0;

        assert(log_part_size(size) + LOG_BLOCK <= l->segment_size);
        if (!has_room(l->current[stream], l->position.at[stream].offset, log_part_size(size)))
                r = roll(l, stream, log_part_size(size));
        if (r < 0 || slot->segments[stream] == l->current[stream]->number)
                return r;
        io_close(l->io, slot->files[stream]);
        slot->files[stream] = io_open(l->io, log_path(l->current[stream], path), 0);
        slot->segments[stream] = slot->files[stream] < 0 ? 0 : l->current[stream]->number;
        return slot->files[stream] < 0 ? slot->files[stream] : 0;
}

int log_begin_group(struct log *l, struct log_slot *slot, const uint64_t sizes[LOG_STREAMS])
{
        int r = 0;

        assert(!slot->is_busy);
        slot->mask = 0;
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                l->part[i].count = 1;
                l->part[i].len = 0;
                l->part[i].records = 0;
        }
        for (enum log_stream i = 0; i < LOG_STREAMS && r == 0; i++) {
                struct log_part *p = &l->part[i];

                if (!p->parts) {
                        p->parts = calloc(PARTS_FIRST, sizeof(struct iovec));
                        p->room = PARTS_FIRST;
                }
                if (!p->parts)
                        r = -ENOMEM;
                else if (sizes[i])
                        r = begin_part(l, slot, i, sizes[i]);
        }
        if (r == 0) {
                pthread_mutex_lock(&l->mutex);
                slot->is_busy = true;
                pthread_mutex_unlock(&l->mutex);
        }
        return r;
}

int log_grow_group(struct log *l, struct log_slot *slot, const uint64_t sizes[LOG_STREAMS])
{
        int r = 0;

        assert(slot->is_busy);
        for (enum log_stream i = 0; i < LOG_STREAMS && r == 0; i++) {
                assert(!l->part[i].len || has_room(l->current[i], l->position.at[i].offset,
                                                   log_part_size(sizes[i])));
                if (sizes[i])
                        r = begin_part(l, slot, i, sizes[i]);
        }
        return r;
}

void log_end_group(struct log *l, struct log_slot *slot)
{
        pthread_mutex_lock(&l->mutex);
        slot->is_busy = false;
        close_old_files(l, slot);
        pthread_mutex_unlock(&l->mutex);
}

bool log_may_add(const struct log *l, enum log_stream stream, uint64_t size, uint64_t more)
{
        const struct segment *current = l->current[stream];
        const uint64_t offset = l->position.at[stream].offset;

        if (!size || !more || has_room(current, offset, log_part_size(size + more)))
                return true;
        return !has_room(current, offset, log_part_size(size)) &&
               LOG_BLOCK + log_part_size(size + more) <= atomic_load(&l->new_size);
}

struct record_place log_place(const struct log *l, enum log_stream stream)
{
        return (struct record_place) {
                l->position.at[stream].segment,
                l->position.at[stream].offset + LOG_HEAD + l->part[stream].len,
        };
}

int log_add(struct log *l, enum log_stream stream, struct span record)
{
        struct log_part *p = &l->part[stream];

        if (p->count + 1 >= p->room) { /* one more for the padding */
                struct iovec *grown = realloc(p->parts, p->room * 2 * sizeof(struct iovec));

                if (!grown)
                        return -ENOMEM;
                p->parts = grown;
                p->room *= 2;
        }
        p->parts[p->count++] = (struct iovec) {(void *) (uintptr_t) record.p, record.len};
        p->len += record.len;
        p->records++;
        return 0;
}

struct log_mark log_mark(const struct log *l)
{
        struct log_mark mark;

        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                mark.count[i] = l->part[i].count;
                mark.len[i] = l->part[i].len;
                mark.records[i] = l->part[i].records;
        }
        return mark;
}

void log_rollback(struct log *l, const struct log_mark *mark)
{
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                l->part[i].count = mark->count[i];
                l->part[i].len = mark->len[i];
                l->part[i].records = mark->records[i];
        }
}

bool log_group_is_empty(const struct log *l)
{
        for (enum log_stream i = 0; i < LOG_STREAMS; i++)
                if (l->part[i].records)
                        return false;
        return true;
}

static int note_failure(struct log_slot *slot, enum log_stream stream, const char *call, int r)
{
        if (r < 0) {
                slot->failed_call = call;
                path_of(stream, slot->segments[stream], slot->failed_path);
        }
        return r;
}

/* `head` knows what the parts of a group have in common. */
static int write_part(struct log *l, struct log_slot *slot, enum log_stream stream,
                      struct group_head head)
{
        struct log_part *p = &l->part[stream];
        const uint64_t size = log_part_size(p->len);
        int r;

        head.stream = (uint8_t) stream;
        head.segment = l->position.at[stream].segment;
        head.previous = l->position.at[stream].group;
        head.len = (uint32_t) p->len;
        head.records = p->records;
        head.checksum = hash_long_parts(p->parts + 1, p->count - 1, log_seed(l, head.segment));
        log_encode_head(l, &head, p->head);
        p->parts[0] = (struct iovec) {p->head, LOG_HEAD};
        if (size > LOG_HEAD + p->len)
                p->parts[p->count++] = (struct iovec) {(void *) (uintptr_t) padding,
                                                       size - LOG_HEAD - p->len};
        r = io_pwritev(l->io, slot->files[stream], p->parts, p->count,
                       l->position.at[stream].offset);
        if (r == 0) {
                l->position.at[stream].offset += size;
                l->position.at[stream].group = head.group;
                atomic_fetch_add_explicit(&l->octets_written, size, memory_order_relaxed);
        }
        return note_failure(slot, stream, "write", r);
}

int log_write_group(struct log *l, struct log_slot *slot, unsigned under_way, uint64_t now_us)
{
        struct group_head head = {
                .under_way = (uint8_t) under_way,
                .group = l->position.group + 1,
                .time_us = now_us,
        };
        int r = 0;

        assert(under_way < LOG_SLOTS);
        for (enum log_stream i = 0; i < LOG_STREAMS; i++)
                if (l->part[i].records)
                        head.mask |= (uint8_t) (1 << i);
        slot->mask = head.mask;
        for (enum log_stream i = 0; i < LOG_STREAMS && r == 0; i++)
                if (head.mask & 1 << i)
                        r = write_part(l, slot, i, head);
        if (r == 0)
                l->position.group++;
        return r;
}

static int sync_part(struct log *l, struct log_slot *slot, enum log_stream stream)
{
        const uint64_t begun = clock_monotonic_us();
        int r = io_sync(l->io, slot->files[stream]);
        const uint64_t took = clock_monotonic_us() - begun;
        uint64_t max = atomic_load_explicit(&l->sync_us_max, memory_order_relaxed);

        atomic_fetch_add_explicit(&l->syncs, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&l->sync_us_total, took, memory_order_relaxed);
        while (took > max && !atomic_compare_exchange_weak(&l->sync_us_max, &max, took))
                ;
        return note_failure(slot, stream, "fdatasync", r);
}

int log_sync_group(struct log *l, struct log_slot *slot)
{
        int r = 0;

        /* While one part is synced, the other may be written. */
        for (enum log_stream i = 1; i < LOG_STREAMS; i++)
                if (slot->mask & 1 << i && slot->mask & ((1 << i) - 1))
                        io_begin_sync(l->io, slot->files[i]);
        for (enum log_stream i = 0; i < LOG_STREAMS && r == 0; i++)
                if (slot->mask & 1 << i)
                        r = sync_part(l, slot, i);
        return r;
}

/* ---- reading ------------------------------------------------------------ */

/* The segment, open and safe from reclaim until it is given back. */
static struct segment *take(struct log *l, uint64_t number, int *ret_error)
{
        char path[LOG_PATH_MAX];
        struct segment *s;

        pthread_mutex_lock(&l->mutex);
        s = log_segment(l, number);
        *ret_error = s ? 0 : -ENOENT;
        if (s && s->file < 0) {
                const int file = io_open(l->io, log_path(s, path), 0);

                if (file < 0) {
                        *ret_error = file;
                        s = NULL;
                } else {
                        s->file = file;
                        l->open_files++;
                }
        }
        if (s)
                s->users++;
        pthread_mutex_unlock(&l->mutex);
        return s;
}

static void give_back(struct log *l, struct segment *s)
{
        pthread_mutex_lock(&l->mutex);
        s->users--;
        if (s->users == 0 && s->is_sealed && l->open_files > LOG_OPEN_FILES_MAX) {
                io_close(l->io, s->file);
                s->file = -1;
                l->open_files--;
        }
        pthread_mutex_unlock(&l->mutex);
}

int log_read(struct log *l, uint64_t segment, uint64_t offset, void *out, size_t n)
{
        int r;
        struct segment *s = take(l, segment, &r);
        int64_t got;

        if (!s)
                return r;
        got = io_pread(l->io, s->file, out, n, offset);
        give_back(l, s);
        if (got < 0)
                return (int) got;
        return (size_t) got == n ? 0 : -EBADMSG;
}

bool log_is_mail(struct log *l, uint64_t segment)
{
        const struct segment *s;
        bool is_mail;

        pthread_mutex_lock(&l->mutex);
        s = log_segment(l, segment);
        is_mail = s && s->stream == LOG_MAIL;
        pthread_mutex_unlock(&l->mutex);
        return is_mail;
}

int log_open_mail(struct log *l, uint64_t segment)
{
        char path[LOG_PATH_MAX];
        const struct segment *s;
        int r = -ENOENT;

        pthread_mutex_lock(&l->mutex);
        s = log_segment(l, segment);
        if (s && s->stream == LOG_MAIL)
                r = io_open(l->io, log_path(s, path), IO_READ_ONLY);
        pthread_mutex_unlock(&l->mutex);
        return r;
}

void log_account(struct log *l, uint64_t segment, int blobs, int64_t octets)
{
        struct segment *s;

        pthread_mutex_lock(&l->mutex);
        s = log_segment(l, segment);
        if (s) {
                s->live_blobs += (uint64_t) blobs;
                s->live_octets += (uint64_t) octets;
        }
        pthread_mutex_unlock(&l->mutex);
}
