#include "store/trace.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/codec.h"
#include "base/hash.h"

/* A record: {length of all 4, checksum of the rest 8, time 8, group 8, number
 * 4, count 4, hashes 8 each, text}. */
enum {
        RECORD_HEAD = 36,
        RECORD_MAX = 1024 * 1024,
        PATH_MAX_LEN = 64,
        WAITING_MAX = 64 * 1024 * 1024,
        SEGMENT_DEFAULT = 16 * 1024 * 1024,
        ENTRY_OCTETS = 12, /* hash 8 (big-endian), offset 4 */
        CHECKSUM_SEED = 2,
        SORT_PLACES = 1 << 14,
        SORT_SHIFT = 64 - 14, /* to the place of a hash */
        SORT_SMALL = 32,
};

static const uint64_t DAY_US = (uint64_t) 86400 * 1000000;

struct trace_entry {
        uint64_t hash;
        uint32_t offset;
};

struct trace_segment {
        struct list_node node;
        uint32_t day; /* yyyymmdd */
        uint32_t number;
        uint64_t size;
        uint32_t entry_count; /* of the sealed: in its .idx */
        bool is_sealed;
};

struct trace {
        struct io *io;
        struct trace_limits limits;

        pthread_mutex_t mutex; /* of what waits */
        struct buffer waiting;
        uint64_t last_group; /* of the last record of the log that was added */
        uint32_t last_number;
        struct log_position added, synced;
        bool has_lost;   /* one did not fit */
        bool is_writing; /* what was taken from here is not yet synced */

        pthread_mutex_t files; /* of what follows; taken before `mutex` */
        struct buffer writing;
        struct list_node segments; /* oldest first; the last one grows */
        uint32_t day;              /* the one looked at last: when it begins and ends */
        uint64_t day_from_us, day_to_us;
        int file;                  /* of the last one, -1: none */
        struct trace_entry *entries;
        size_t entry_count, entry_room;
};

static uint32_t day_of(uint64_t time_us)
{
        const time_t seconds = (time_t) (time_us / 1000000);
        struct tm tm;

        gmtime_r(&seconds, &tm);
        return (uint32_t) ((tm.tm_year + 1900) * 10000 + (tm.tm_mon + 1) * 100 + tm.tm_mday);
}

/* Nearly all records are of one day. */
static uint32_t day_at(struct trace *t, uint64_t time_us)
{
        if (time_us < t->day_from_us || time_us >= t->day_to_us) {
                t->day_from_us = time_us / DAY_US * DAY_US;
                t->day_to_us = t->day_from_us + DAY_US;
                t->day = day_of(time_us);
        }
        return t->day;
}

static const char *day_path(uint32_t day, char *out)
{
        snprintf(out, PATH_MAX_LEN, "trace/%08u", day);
        return out;
}

static const char *path_of(const struct trace_segment *s, const char *ending, char *out)
{
        snprintf(out, PATH_MAX_LEN, "trace/%08u/%06u.%s", s->day, s->number, ending);
        return out;
}

static struct trace_segment *last_segment(const struct trace *t)
{
        return t->segments.previous == &t->segments
                       ? NULL
                       : LIST_OBJECT(t->segments.previous, struct trace_segment, node);
}

/* ---- records ------------------------------------------------------------ */

static int encode(struct buffer *b, const struct trace_record *record)
{
        const size_t len = RECORD_HEAD + record->hashes.len + record->text.len;
        const uint32_t len32 = htole32((uint32_t) len);
        const uint32_t tail[] = {htole32(record->number), htole32((uint32_t) record->hash_count)};
        const uint64_t numbers[] = {htole64(record->time_us), htole64(record->group)};
        uint64_t checksum;
        char *p;
        int r = len > RECORD_MAX ? -E2BIG : buffer_reserve(b, len, &p);

        if (r < 0)
                return r;
        memcpy(p, &len32, 4);
        memcpy(p + 12, numbers, 16);
        memcpy(p + 28, tail, 8);
        if (record->hashes.len)
                memcpy(p + RECORD_HEAD, record->hashes.p, record->hashes.len);
        if (record->text.len)
                memcpy(p + RECORD_HEAD + record->hashes.len, record->text.p, record->text.len);
        checksum = htole64(hash_span(span_make(p + 12, len - 12), CHECKSUM_SEED));
        memcpy(p + 4, &checksum, 8);
        buffer_commit(b, len);
        return 0;
}

/* Takes one record off the front, which is known to be whole. -EBADMSG: it is not. */
static int take(struct span *in, struct trace_record *ret)
{
        struct reader r = READER(*in);
        const uint32_t len = read_u32(&r);

        read_u64(&r);
        if (r.failed || len < RECORD_HEAD || len > RECORD_MAX || len > in->len)
                return -EBADMSG;
        r = READER(span_make(in->p + 12, len - 12));
        ret->time_us = read_u64(&r);
        ret->group = read_u64(&r);
        ret->number = read_u32(&r);
        ret->hash_count = read_u32(&r);
        if (ret->hash_count > STORE_TRACE_KEYS_MAX)
                return -EBADMSG;
        ret->hashes = read_raw(&r, 8 * ret->hash_count);
        ret->text = r.rest;
        *in = span_skip(*in, len);
        return r.failed ? -EBADMSG : 0;
}

/* The same of what was read from a file. -EBADMSG: damaged or cut. */
static int decode(struct span *in, struct trace_record *ret)
{
        struct span rest = *in;

        if (take(&rest, ret) < 0 ||
            codec_get_u64(in->p + 4) !=
                    hash_span(span_make(in->p + 12, in->len - rest.len - 12), CHECKSUM_SEED))
                return -EBADMSG;
        *in = rest;
        return 0;
}

static bool has_hash(const struct trace_record *record, uint64_t hash)
{
        for (size_t i = 0; i < record->hash_count; i++) {
                uint64_t v;

                memcpy(&v, record->hashes.p + 8 * i, 8);
                if (le64toh(v) == hash)
                        return true;
        }
        return false;
}

static bool is_behind(const struct trace *t, const struct trace_record *record)
{
        return record->group > t->last_group ||
               (record->group == t->last_group && record->number > t->last_number);
}

int trace_add(struct trace *t, const struct trace_record *record)
{
        int r = 0;

        pthread_mutex_lock(&t->mutex);
        if (record->group == 0 || is_behind(t, record)) {
                r = encode(&t->waiting, record);
                if (r == -EMSGSIZE)
                        r = -ENOMEM;
                if (r == 0 && record->group) {
                        t->last_group = record->group;
                        t->last_number = record->number;
                }
                if (r < 0 && record->group)
                        t->has_lost = true;
        }
        pthread_mutex_unlock(&t->mutex);
        return r;
}

int trace_add_batch(struct trace *t, struct span record, size_t at, uint64_t group,
                    uint32_t *number)
{
        struct batch_view view;
        struct batch_op op;
        struct span whole;
        int r = batch_open(&record, &view, &whole);

        if (r == 0)
                view.ops = READER(span_skip(whole, at));
        while (r == 0 && batch_next(&view, &op)) {
                struct trace_record trace = {
                        .time_us = view.time_us,
                        .group = group,
                        .number = *number,
                        .hash_count = (size_t) op.count,
                        .hashes = op.hashes,
                        .text = op.value,
                };

                if (op.kind != BATCH_TRACE)
                        continue;
                ++*number;
                r = trace_add(t, &trace);
        }
        return r;
}

void trace_set_position(struct trace *t, const struct log_position *p)
{
        pthread_mutex_lock(&t->mutex);
        if (!t->has_lost) /* else the log is kept from there on */
                t->added = *p;
        if (t->waiting.len == 0 && !t->is_writing && !t->has_lost)
                t->synced = *p;
        pthread_mutex_unlock(&t->mutex);
}

void trace_end_recovery(struct trace *t, uint64_t group)
{
        pthread_mutex_lock(&t->mutex);
        if (t->last_group > group) {
                t->last_group = group;
                t->last_number = UINT32_MAX;
        }
        pthread_mutex_unlock(&t->mutex);
}

struct log_position trace_synced(struct trace *t)
{
        struct log_position p;

        pthread_mutex_lock(&t->mutex);
        p = t->synced;
        pthread_mutex_unlock(&t->mutex);
        return p;
}

bool trace_has_work(struct trace *t)
{
        bool has_work;

        pthread_mutex_lock(&t->mutex);
        has_work = t->waiting.len != 0;
        pthread_mutex_unlock(&t->mutex);
        return has_work;
}

/* ---- files -------------------------------------------------------------- */

static int compare_entries(const void *a, const void *b)
{
        const struct trace_entry *x = a, *y = b;

        if (x->hash != y->hash)
                return x->hash < y->hash ? -1 : 1;
        return (x->offset > y->offset) - (x->offset < y->offset);
}

static void insert_entry(struct trace_entry *list, size_t at)
{
        const struct trace_entry e = list[at];

        for (; at && list[at - 1].hash > e.hash; at--)
                list[at] = list[at - 1];
        list[at] = e;
}

/* By hash, and then as they came. Hashes are spread evenly: counting by their upper bits
 * leaves a few to be sorted in each place, but where one key is in many records. */
static int sort_entries(struct trace *t)
{
        struct trace_entry *sorted = reallocarray(NULL, t->entry_count + 1, sizeof *sorted);
        uint32_t *ends = calloc(SORT_PLACES + 1, sizeof *ends), from = 0;

        if (!sorted || !ends) {
                free(sorted);
                free(ends);
                return -ENOMEM;
        }
        for (size_t i = 0; i < t->entry_count; i++)
                ends[(t->entries[i].hash >> SORT_SHIFT) + 1]++;
        for (size_t i = 0; i < SORT_PLACES; i++)
                ends[i + 1] += ends[i];
        for (size_t i = 0; i < t->entry_count; i++)
                sorted[ends[t->entries[i].hash >> SORT_SHIFT]++] = t->entries[i];
        for (size_t i = 0; i < SORT_PLACES; from = ends[i++])
                if (ends[i] - from > SORT_SMALL)
                        qsort(sorted + from, ends[i] - from, sizeof *sorted, compare_entries);
                else
                        for (size_t k = 1; k < ends[i] - from; k++)
                                insert_entry(sorted + from, k);
        free(ends);
        free(t->entries);
        t->entries = sorted;
        t->entry_room = t->entry_count + 1;
        return 0;
}

static int write_index(struct trace *t, const struct trace_segment *s)
{
        struct buffer b = BUFFER_INIT(64 * 1024 * 1024);
        char path[PATH_MAX_LEN], path_before[PATH_MAX_LEN];
        int file, r = sort_entries(t);

        for (size_t i = 0; i < t->entry_count && r == 0; i++) {
                char entry[ENTRY_OCTETS];

                key_put_u64(entry, t->entries[i].hash);
                key_put_u32(entry + 8, t->entries[i].offset);
                r = buffer_append(&b, entry, sizeof entry);
        }
        file = r == 0 ? io_open(t->io, path_of(s, "new", path_before), IO_CREATE) : r;
        if (file >= 0) {
                struct iovec part = {b.data + b.start, b.len};

                r = io_truncate(t->io, file, 0);
                if (r == 0 && b.len)
                        r = io_pwritev(t->io, file, &part, 1, 0);
                if (r == 0)
                        r = io_sync(t->io, file);
                io_close(t->io, file);
        } else {
                r = file;
        }
        buffer_done(&b);
        return r == 0 ? io_rename(t->io, path_before, path_of(s, "idx", path)) : r;
}

/* The growing segment gets its index and grows no more. */
static int seal(struct trace *t)
{
        struct trace_segment *s = last_segment(t);
        char path[PATH_MAX_LEN];
        int r;

        if (!s || s->is_sealed)
                return 0;
        r = io_sync(t->io, t->file);
        if (r == 0)
                r = write_index(t, s);
        if (r == 0)
                r = io_sync_directory(t->io, day_path(s->day, path));
        if (r < 0)
                return r;
        s->is_sealed = true;
        s->entry_count = (uint32_t) t->entry_count;
        t->entry_count = 0;
        io_close(t->io, t->file);
        t->file = -1;
        return 0;
}

static int begin_segment(struct trace *t, uint32_t day)
{
        const struct trace_segment *last = last_segment(t);
        struct trace_segment *s = calloc(1, sizeof(struct trace_segment));
        char path[PATH_MAX_LEN];
        int r = s ? 0 : -ENOMEM;

        if (r == 0) {
                s->day = day;
                s->number = last && last->day == day ? last->number + 1 : 1;
                r = io_mkdir(t->io, day_path(day, path));
        }
        if (r == 0)
                r = io_sync_directory(t->io, "trace");
        if (r == 0) {
                t->file = io_open(t->io, path_of(s, "trc", path), IO_CREATE);
                r = t->file < 0 ? t->file : io_truncate(t->io, t->file, 0);
        }
        if (r == 0)
                r = io_sync_directory(t->io, day_path(day, path));
        if (r < 0) {
                io_close(t->io, t->file);
                t->file = -1;
                free(s);
                return r;
        }
        list_append(&t->segments, &s->node);
        return 0;
}

static int add_entries(struct trace *t, const struct trace_record *record, uint32_t offset)
{
        const size_t count = t->entry_count + record->hash_count;

        if (count > t->entry_room) {
                const size_t room = count * 2 + 64;
                struct trace_entry *grown = realloc(t->entries, room * sizeof(struct trace_entry));

                if (!grown)
                        return -ENOMEM;
                t->entries = grown;
                t->entry_room = room;
        }
        for (size_t i = 0; i < record->hash_count; i++) {
                uint64_t v;

                memcpy(&v, record->hashes.p + 8 * i, 8);
                t->entries[t->entry_count++] = (struct trace_entry) {le64toh(v), offset};
        }
        return 0;
}

/* Writes the records at the front of `in` that go into the growing segment,
 * as many as fit, with one write. */
static int write_some(struct trace *t, struct span *in)
{
        struct trace_segment *s = last_segment(t);
        struct span rest = *in;
        struct trace_record record;
        struct iovec part;
        int r = take(&rest, &record);
        size_t entries_before;
        uint32_t day;

        if (r < 0)
                return r;
        day = day_at(t, record.time_us);
        if (s && s->day > day)
                day = s->day; /* the clock was set back: never go back */
        if (!s || s->is_sealed || s->day != day || s->size >= t->limits.segment_size) {
                r = seal(t);
                if (r == 0)
                        r = begin_segment(t, day);
                if (r < 0)
                        return r;
                s = last_segment(t);
        }
        rest = *in;
        entries_before = t->entry_count;
        for (uint64_t size = s->size; rest.len && size < t->limits.segment_size;
             size = s->size + (in->len - rest.len)) {
                struct span tail = rest;

                if (take(&tail, &record) < 0 || day_at(t, record.time_us) > day)
                        break;
                r = add_entries(t, &record, (uint32_t) size);
                if (r < 0)
                        return r;
                rest = tail;
        }
        part = (struct iovec) {(void *) (uintptr_t) in->p, in->len - rest.len};
        r = io_pwritev(t->io, t->file, &part, 1, s->size);
        if (r < 0) {
                t->entry_count = entries_before;
                return r;
        }
        s->size += in->len - rest.len;
        *in = rest;
        return 0;
}

static void drop_day(struct trace *t, uint32_t day)
{
        char path[PATH_MAX_LEN];

        LIST_FOR_EACH(node, &t->segments) {
                struct trace_segment *s = LIST_OBJECT(node, struct trace_segment, node);

                if (s->day != day)
                        break;
                io_unlink(t->io, path_of(s, "trc", path));
                io_unlink(t->io, path_of(s, "idx", path));
                list_remove(&s->node);
                free(s);
        }
        io_rmdir(t->io, day_path(day, path));
}

static void drop_days(struct trace *t, uint64_t now_us)
{
        const uint64_t span_us = t->limits.days * DAY_US;
        const uint32_t oldest = now_us > span_us ? day_of(now_us - span_us) : 0;
        const struct trace_segment *last = last_segment(t);
        uint64_t size = 0;

        LIST_FOR_EACH(node, &t->segments) {
                const struct trace_segment *s = LIST_OBJECT(node, struct trace_segment, node);

                size += s->size + (uint64_t) s->entry_count * ENTRY_OCTETS;
        }
        while (last && t->segments.next != &t->segments) {
                const uint32_t day =
                        LIST_OBJECT(t->segments.next, struct trace_segment, node)->day;
                uint64_t day_size = 0;

                if (day == last->day || (day >= oldest && size <= t->limits.size_max))
                        break;
                LIST_FOR_EACH(node, &t->segments) {
                        const struct trace_segment *s =
                                LIST_OBJECT(node, struct trace_segment, node);

                        if (s->day == day)
                                day_size += s->size + (uint64_t) s->entry_count * ENTRY_OCTETS;
                }
                drop_day(t, day);
                size -= day_size;
        }
}

int trace_write(struct trace *t, uint64_t now_us)
{
        struct log_position reached;
        struct span rest;
        int r = 0;

        pthread_mutex_lock(&t->files);
        pthread_mutex_lock(&t->mutex);
        reached = t->added;
        if (t->writing.len == 0) { /* else a failed one is tried again */
                const struct buffer empty = t->writing;

                t->writing = t->waiting;
                t->waiting = empty;
        }
        t->is_writing = t->writing.len != 0;
        pthread_mutex_unlock(&t->mutex);
        while (r == 0 && t->writing.len) {
                rest = buffer_span(&t->writing);
                r = write_some(t, &rest);
                if (r == 0)
                        buffer_consume(&t->writing, t->writing.len - rest.len);
        }
        if (r == 0 && t->file >= 0)
                r = io_sync(t->io, t->file);
        if (r == 0) {
                buffer_shrink(&t->writing, 64 * 1024);
                drop_days(t, now_us);
        }
        pthread_mutex_lock(&t->mutex);
        if (r == 0) {
                t->is_writing = false;
                t->synced = t->waiting.len == 0 ? t->added : reached;
        }
        pthread_mutex_unlock(&t->mutex);
        pthread_mutex_unlock(&t->files);
        return r;
}

/* ---- finding ------------------------------------------------------------ */

static int give_at(struct trace *t, int file, uint32_t offset, trace_give_fn *give, void *arg)
{
        struct buffer b = BUFFER_INIT(RECORD_MAX);
        struct trace_record record;
        struct span in;
        char *p, head[4];
        size_t len;
        int r;

        if (io_pread(t->io, file, head, 4, offset) != 4)
                return -EBADMSG;
        in = span_make(head, 4);
        len = read_u32(&READER(in));
        r = len > RECORD_MAX ? -EBADMSG : buffer_reserve(&b, len, &p);
        if (r == 0 && io_pread(t->io, file, p, len, offset) != (int64_t) len)
                r = -EBADMSG;
        in = r == 0 ? span_make(p, len) : span_make(NULL, 0);
        if (r == 0)
                r = decode(&in, &record);
        if (r == 0 && !give(arg, record.text))
                r = 1;
        buffer_done(&b);
        return r;
}

/* First entry of the index file whose hash is not less. */
static int64_t lower_bound(struct trace *t, int file, uint32_t count, uint64_t hash)
{
        uint32_t low = 0, high = count;

        while (low < high) {
                const uint32_t middle = low + (high - low) / 2;
                char entry[ENTRY_OCTETS];

                if (io_pread(t->io, file, entry, sizeof entry, (uint64_t) middle * ENTRY_OCTETS) !=
                    ENTRY_OCTETS)
                        return -EBADMSG;
                if (key_get_u64(entry) < hash)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static int find_sealed(struct trace *t, const struct trace_segment *s, uint64_t hash,
                       trace_give_fn *give, void *arg)
{
        char path[PATH_MAX_LEN], entry[ENTRY_OCTETS];
        uint32_t offset, last_offset = UINT32_MAX;
        int index = io_open(t->io, path_of(s, "idx", path), IO_READ_ONLY), file = -1, r = 0;
        int64_t at = index < 0 ? index : lower_bound(t, index, s->entry_count, hash);

        for (; at >= 0 && at < s->entry_count && r == 0; at++) {
                if (io_pread(t->io, index, entry, sizeof entry, (uint64_t) at * ENTRY_OCTETS) !=
                            ENTRY_OCTETS ||
                    key_get_u64(entry) != hash)
                        break;
                offset = key_get_u32(entry + 8);
                if (offset == last_offset)
                        continue; /* one key twice in a record */
                last_offset = offset;
                if (file < 0)
                        file = io_open(t->io, path_of(s, "trc", path), IO_READ_ONLY);
                r = file < 0 ? file : give_at(t, file, offset, give, arg);
        }
        io_close(t->io, index);
        io_close(t->io, file);
        return at < 0 ? (int) at : r;
}

static int find_in_memory(struct span in, uint64_t hash, trace_give_fn *give, void *arg)
{
        struct trace_record record;

        while (in.len && take(&in, &record) == 0)
                if (has_hash(&record, hash) && !give(arg, record.text))
                        return 1;
        return 0;
}

int trace_find(struct trace *t, uint64_t hash, trace_give_fn *give, void *arg)
{
        uint32_t last_offset = UINT32_MAX;
        int r = 0;

        pthread_mutex_lock(&t->files);
        LIST_FOR_EACH(node, &t->segments) {
                const struct trace_segment *s = LIST_OBJECT(node, struct trace_segment, node);

                if (r == 0 && s->is_sealed)
                        r = find_sealed(t, s, hash, give, arg);
        }
        for (size_t i = 0; i < t->entry_count && r == 0; i++) {
                if (t->entries[i].hash != hash || t->entries[i].offset == last_offset)
                        continue;
                last_offset = t->entries[i].offset;
                if (last_offset < last_segment(t)->size)
                        r = give_at(t, t->file, last_offset, give, arg);
        }
        if (r == 0)
                r = find_in_memory(buffer_span(&t->writing), hash, give, arg);
        pthread_mutex_lock(&t->mutex);
        if (r == 0)
                r = find_in_memory(buffer_span(&t->waiting), hash, give, arg);
        pthread_mutex_unlock(&t->mutex);
        pthread_mutex_unlock(&t->files);
        return r < 0 ? r : 0;
}

/* ---- at start ----------------------------------------------------------- */

/* Reads a .trc: `size` becomes the end of its last good record; the last
 * record of the log in it, if any, is remembered. With `is_indexed` its keys
 * are kept. */
static int load(struct trace *t, struct trace_segment *s, bool is_indexed)
{
        struct buffer b = BUFFER_INIT(SIZE_MAX / 2);
        struct trace_record record;
        char path[PATH_MAX_LEN], *p;
        int file = io_open(t->io, path_of(s, "trc", path), 0), r = 0;
        int64_t size = file < 0 ? file : io_size(t->io, file);
        struct span in;

        if (size > 0)
                r = buffer_reserve(&b, (size_t) size, &p);
        if (size > 0 && r == 0)
                size = io_pread(t->io, file, p, (size_t) size, 0);
        if (size < 0)
                r = (int) size;
        in = r == 0 && size > 0 ? span_make(p, (size_t) size) : span_make(NULL, 0);
        s->size = 0;
        while (r == 0 && in.len && decode(&in, &record) == 0) {
                if (is_indexed)
                        r = add_entries(t, &record, (uint32_t) s->size);
                if (record.group && is_behind(t, &record)) {
                        t->last_group = record.group;
                        t->last_number = record.number;
                }
                s->size = (uint64_t) size - in.len;
        }
        buffer_done(&b);
        if (r == 0 && is_indexed && s->size < (uint64_t) size)
                r = io_truncate(t->io, file, s->size);
        if (r == 0 && is_indexed)
                t->file = file;
        else
                io_close(t->io, file);
        return r;
}

struct listing {
        struct trace *trace;
        uint32_t day;
        int result;
};

static void found_segment(void *arg, const char *name)
{
        struct listing *l = arg;
        struct trace_segment *s;
        struct list_node *at = &l->trace->segments;
        char path[PATH_MAX_LEN], *end;
        const unsigned long number = strtoul(name, &end, 10);
        int index, file;

        if (strcmp(end, ".trc") != 0 || number == 0 || number > 999999 || l->result < 0)
                return;
        s = calloc(1, sizeof(struct trace_segment));
        l->result = s ? 0 : -ENOMEM;
        if (!s)
                return;
        s->day = l->day;
        s->number = (uint32_t) number;
        index = io_open(l->trace->io, path_of(s, "idx", path), IO_READ_ONLY);
        file = io_open(l->trace->io, path_of(s, "trc", path), IO_READ_ONLY);
        if (index >= 0 && file >= 0) {
                s->is_sealed = true;
                s->entry_count = (uint32_t) (io_size(l->trace->io, index) / ENTRY_OCTETS);
                s->size = (uint64_t) io_size(l->trace->io, file);
        }
        io_close(l->trace->io, index);
        io_close(l->trace->io, file);
        while (at->previous != &l->trace->segments) {
                const struct trace_segment *p =
                        LIST_OBJECT(at->previous, struct trace_segment, node);

                if (p->day < s->day || (p->day == s->day && p->number < s->number))
                        break;
                at = at->previous;
        }
        list_insert_before(at, &s->node);
}

static void found_day(void *arg, const char *name)
{
        struct listing *l = arg;
        char path[PATH_MAX_LEN], *end;
        const unsigned long day = strtoul(name, &end, 10);
        int r;

        if (*end || strlen(name) != 8 || l->result < 0)
                return;
        l->day = (uint32_t) day;
        r = io_list(l->trace->io, day_path(l->day, path), found_segment, l);
        if (l->result == 0)
                l->result = r;
}

/* All but the newest are sealed; the newest grows on. */
static int load_all(struct trace *t)
{
        int r = 0;

        LIST_FOR_EACH(node, &t->segments) {
                struct trace_segment *s = LIST_OBJECT(node, struct trace_segment, node);
                const bool is_last = s == last_segment(t);

                if (r < 0 || s->is_sealed)
                        continue;
                t->entry_count = 0;
                r = load(t, s, true);
                if (r == 0 && !is_last) {
                        char path[PATH_MAX_LEN];

                        r = io_sync(t->io, t->file);
                        if (r == 0)
                                r = write_index(t, s);
                        if (r == 0)
                                r = io_sync_directory(t->io, day_path(s->day, path));
                        s->is_sealed = r == 0;
                        s->entry_count = (uint32_t) t->entry_count;
                        t->entry_count = 0;
                        io_close(t->io, t->file);
                        t->file = -1;
                }
        }
        for (struct list_node *node = t->segments.previous;
             node != &t->segments && r == 0 && t->last_group == 0; node = node->previous)
                r = load(t, LIST_OBJECT(node, struct trace_segment, node), false);
        return r;
}

int trace_open(struct io *io, const struct trace_limits *limits, struct trace **ret_t,
               char *error)
{
        struct trace *t = calloc(1, sizeof(struct trace));
        struct listing l = {.trace = t};
        int r;

        if (!t) {
                snprintf(error, 256, "trace: no memory");
                return -ENOMEM;
        }
        t->io = io;
        t->limits = *limits;
        if (!t->limits.segment_size)
                t->limits.segment_size = SEGMENT_DEFAULT;
        t->file = -1;
        t->waiting = t->writing = BUFFER_INIT(WAITING_MAX);
        list_init(&t->segments);
        pthread_mutex_init(&t->mutex, NULL);
        pthread_mutex_init(&t->files, NULL);
        r = io_list(io, "trace", found_day, &l);
        if (r == 0)
                r = l.result;
        if (r == 0)
                r = load_all(t);
        if (r < 0) {
                snprintf(error, 256, "trace: %s", strerror(-r));
                trace_free(t);
                return r;
        }
        *ret_t = t;
        return 0;
}

struct trace *trace_free(struct trace *t)
{
        struct list_node *node;

        if (!t)
                return NULL;
        while ((node = list_take_first(&t->segments)))
                free(LIST_OBJECT(node, struct trace_segment, node));
        io_close(t->io, t->file);
        buffer_done(&t->waiting);
        buffer_done(&t->writing);
        free(t->entries);
        pthread_mutex_destroy(&t->mutex);
        pthread_mutex_destroy(&t->files);
        free(t);
        return NULL;
}
