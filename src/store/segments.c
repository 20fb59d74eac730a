/* The life of segments: found at start, made ahead, recycled, removed. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/codec.h"
#include "base/hash.h"
#include "store/log.h"

enum { SEGMENT_HEAD = 48, NAME_LEN = 20, FILL_STEP = 256 * 1024,
       FILL_SYNC = 2 * 1024 * 1024, TIMES_EMPTIED_MAX = 2,
       BODY_EXTRA = 128 /* octets of a record and a description, about */ };

/* Never written to, so that it takes no memory. */
static _Alignas(LOG_BLOCK) char zeros[FILL_STEP];

static const uint32_t SEGMENT_MAGIC = 0x31535948; /* "HYS1" */
static const uint16_t SEGMENT_FORMAT = 1; /* of its head; groups have their own */

/* The first block: magic, format, stream, number, store id, checksum. */
static int encode_segment_head(const struct log *l, const struct segment *s, char *block)
{
        struct buffer b = BUFFER_INIT(SEGMENT_HEAD);
        int r = write_u32(&b, SEGMENT_MAGIC);

        if (r == 0)
                r = write_u16(&b, SEGMENT_FORMAT);
        if (r == 0)
                r = write_u16(&b, (uint16_t) s->stream);
        if (r == 0)
                r = write_u64(&b, s->number);
        if (r == 0)
                r = buffer_append(&b, l->store_id, LOG_STORE_ID);
        if (r == 0)
                r = write_u64(&b, hash_span(buffer_span(&b), log_seed(l, s->number)));
        memset(block, 0, LOG_BLOCK);
        if (r == 0)
                memcpy(block, b.data + b.start, b.len);
        buffer_done(&b);
        return r;
}

static int check_segment_head(const struct log *l, const struct segment *s)
{
        char want[LOG_BLOCK], block[LOG_BLOCK];
        const int64_t got = io_pread(l->io, s->file, block, LOG_BLOCK, 0);
        const int r = encode_segment_head(l, s, want);

        if (r < 0 || got < 0)
                return r < 0 ? r : (int) got;
        return got == LOG_BLOCK && memcmp(want, block, SEGMENT_HEAD) == 0 ? 0 : -EBADMSG;
}

static int write_segment_head(struct log *l, const struct segment *s)
{
        char block[LOG_BLOCK];
        struct iovec part = {block, sizeof block};
        int r = encode_segment_head(l, s, block);

        if (r == 0)
                r = io_pwritev(l->io, s->file, &part, 1, 0);
        return r == 0 ? io_sync(l->io, s->file) : r;
}

/* Into its stream, in the order of the numbers. */
static int insert(struct log *l, struct segment *s)
{
        struct list_node *at = &l->streams[s->stream];
        int r = table_add(&l->by_number, &s->by_number, s->number);

        if (r < 0)
                return r;
        while (at->previous != &l->streams[s->stream] &&
               LIST_OBJECT(at->previous, struct segment, node)->number > s->number)
                at = at->previous;
        list_insert_before(at, &s->node);
        if (s->number >= l->next_number)
                l->next_number = s->number + 1;
        return 0;
}

static struct segment *segment_new(enum log_stream stream, uint64_t number)
{
        struct segment *s = calloc(1, sizeof(struct segment));

        if (s) {
                s->stream = stream;
                s->number = number;
                s->file = -1;
                s->size = 0;
        }
        return s;
}

/* ---- at start ----------------------------------------------------------- */

struct finding {
        struct log *log;
        enum log_stream stream;
        int result;
        char *error;
};

static bool parse_name(const char *name, uint64_t *ret_number)
{
        uint64_t number = 0;

        if (strlen(name) != NAME_LEN || strcmp(name + 16, ".seg") != 0)
                return false;
        for (size_t i = 0; i < 16; i++) {
                const char c = name[i];

                if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
                        return false;
                number = number << 4 | (uint64_t) (c <= '9' ? c - '0' : c - 'a' + 10);
        }
        *ret_number = number;
        return true;
}

static void found(void *arg, const char *name)
{
        struct finding *f = arg;
        char path[LOG_PATH_MAX];
        struct segment *s;
        uint64_t number;

        if (f->result < 0)
                return;
        if (!parse_name(name, &number)) { /* one that was being made */
                snprintf(path, sizeof path, "%s/%.40s", log_folders[f->stream], name);
                if (strlen(name) <= 40 && strstr(name, ".new"))
                        io_unlink(f->log->io, path);
                return;
        }
        s = segment_new(f->stream, number);
        f->result = s ? 0 : -ENOMEM;
        if (!s)
                return;
        s->file = io_open(f->log->io, log_path(s, path), 0);
        f->result = s->file < 0 ? s->file : 0;
        if (f->result == 0)
                f->result = check_segment_head(f->log, s);
        if (f->result == -EBADMSG)
                snprintf(f->error, 256, "%s: the head of the segment is damaged", path);
        if (f->result == 0) {
                s->size = (uint64_t) io_size(f->log->io, s->file);
                f->result = insert(f->log, s);
        }
        if (f->result < 0 || f->log->open_files >= LOG_OPEN_FILES_MAX) {
                io_close(f->log->io, s->file);
                s->file = -1;
        } else {
                f->log->open_files++;
        }
        if (f->result < 0)
                free(s);
}

int log_find_segments(struct log *l, char *error)
{
        error[0] = '\0';
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                struct finding f = {.log = l, .stream = i, .error = error};
                int r = io_list(l->io, log_folders[i], found, &f);

                if (r == 0)
                        r = f.result;
                if (r < 0) {
                        if (!error[0])
                                snprintf(error, 256, "%s: %s", log_folders[i], strerror(-r));
                        return r;
                }
        }
        return 0;
}

/* ---- ahead -------------------------------------------------------------- */

static int fill_file(struct log *l, const struct segment *s, int file)
{
        int r = 0;

        for (uint64_t at = 0; at < s->size && r == 0; at += FILL_STEP) {
                const uint64_t rest = s->size - at;
                struct iovec part = {zeros, rest < FILL_STEP ? (size_t) rest : FILL_STEP};

                r = io_pwritev(l->io, file, &part, 1, at);
                /* By small steps, so that no commit waits behind all of it. */
                if (r == 0 && at % FILL_SYNC == 0)
                        r = io_sync(l->io, file);
        }
        return r == 0 ? io_sync(l->io, file) : r;
}

/* Under a name that recovery removes, until it is whole. */
static const char *path_new(const struct segment *s, char *out)
{
        snprintf(out, LOG_PATH_MAX, "%s/%016llx.new", log_folders[s->stream],
                 (unsigned long long) s->number);
        return out;
}

/* Zeros need not pass the system's cache, where that can be avoided. */
static int fill(struct log *l, const struct segment *s)
{
        char path[LOG_PATH_MAX];
        const int file = io_open(l->io, path_new(s, path), IO_WRITE_ONLY | IO_DIRECT);
        int r = file < 0 ? file : io_allocate(l->io, file, s->size);

        if (r == 0)
                r = fill_file(l, s, file);
        io_close(l->io, file);
        return r == -EINVAL ? fill_file(l, s, s->file) : r;
}

static int publish(struct log *l, struct segment *s)
{
        char path[LOG_PATH_MAX], path_before[LOG_PATH_MAX];
        int r = write_segment_head(l, s);

        if (r == 0)
                r = io_rename(l->io, path_new(s, path_before), log_path(s, path));
        if (r == 0)
                r = io_sync_directory(l->io, log_folders[s->stream]);
        if (r < 0)
                return r;
        pthread_mutex_lock(&l->mutex);
        r = insert(l, s);
        if (r == 0) {
                l->open_files++;
                l->next[s->stream] = s;
        }
        pthread_mutex_unlock(&l->mutex);
        return r;
}

static int make(struct log *l, struct segment *s, bool is_filled)
{
        char path[LOG_PATH_MAX];
        int r;

        s->file = io_open(l->io, path_new(s, path), IO_CREATE | IO_EXCLUSIVE);
        if (s->file < 0)
                return s->file;
        r = is_filled ? fill(l, s) : io_allocate(l->io, s->file, s->size);
        if (r == 0)
                r = publish(l, s);
        if (r < 0) {
                io_close(l->io, s->file);
                io_unlink(l->io, path);
        }
        return r;
}

/* What the bodies in it would take elsewhere, with what goes with each. */
static uint64_t weight(const struct segment *s)
{
        return s->live_octets + s->live_blobs * BODY_EXTRA;
}

/* Can what lives in it be given another place, as far as is known? */
static bool is_movable(const struct segment *s)
{
        return s->is_sealed && s->live_blobs && s->times_emptied < TIMES_EMPTIED_MAX;
}

static uint64_t live_octets(const struct log *l)
{
        uint64_t live = 0;

        for (enum log_stream i = 0; i < LOG_STREAMS; i++)
                LIST_FOR_EACH(node, &l->streams[i])
                        live += weight(LIST_OBJECT(node, struct segment, node));
        return live;
}

void log_measure(struct log *l, struct log_room *ret_room)
{
        struct log_room room = {0};

        pthread_mutex_lock(&l->mutex);
        room.live = live_octets(l);
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                LIST_FOR_EACH(node, &l->streams[i]) {
                        const struct segment *s = LIST_OBJECT(node, struct segment, node);

                        room.used += is_movable(s) ? s->size : 0;
                }
        }
        pthread_mutex_unlock(&l->mutex);
        *ret_room = room;
}

/* Some segments are always being filled, made ready or about to die. So that they are
 * little beside what lives, segments are small in a small store; but where hardly anything
 * lives, as in a queue that runs, what counts is that they are not made all the time. */
static uint64_t choose_size(const struct log *l)
{
        const uint64_t live = live_octets(l);
        const uint64_t before = l->has_chosen ? l->new_size : 0;
        const uint64_t share = live / LOG_SEGMENTS_LIVE;
        uint64_t size = LOG_SEGMENT_MIN;

        /* Another size not at once: around a border, each would be removed for another. */
        if (live < (before == LOG_SEGMENT_MIN ? LOG_LITTLE / 2 : LOG_LITTLE))
                size = LOG_SEGMENT_FIRST;
        while (size < l->segment_size && size < share)
                size *= 2;
        if (size < before && before <= share * 4)
                size = before;
        return size < l->segment_size ? size : l->segment_size;
}

static struct segment *next_of(struct log *l, enum log_stream stream)
{
        struct segment *s;

        pthread_mutex_lock(&l->mutex);
        s = segment_new(stream, l->next_number++);
        l->new_size = choose_size(l);
        l->has_chosen = true;
        if (s)
                s->size = l->new_size;
        pthread_mutex_unlock(&l->mutex);
        return s;
}

int log_create(struct log *l, enum log_stream stream, uint64_t part_size)
{
        struct segment *s = next_of(l, stream);
        int r;

        if (!s)
                return -ENOMEM;
        if (s->size < LOG_BLOCK + part_size)
                s->size = LOG_BLOCK + part_size;
        r = make(l, s, false);

        if (r < 0)
                free(s);
        return r;
}

static bool may_go(struct log *l)
{
        return l->may_reclaim && !atomic_load(&l->is_pinned);
}

/* Takes a dead segment out of the log, or NULL. Its file stays. To be removed:
 * any but the first of its stream that is as large as new ones are; to be
 * recycled: only such a one. */
static struct segment *take_dead(struct log *l, const struct log_position *safe, bool is_recycled)
{
        struct segment *dead = NULL;

        pthread_mutex_lock(&l->mutex);
        for (enum log_stream i = 0; i < LOG_STREAMS && !dead && may_go(l); i++) {
                bool is_kept = !is_recycled;

                LIST_FOR_EACH(node, &l->streams[i]) {
                        struct segment *s = LIST_OBJECT(node, struct segment, node);

                        if (s->number >= safe->at[i].segment)
                                break;
                        if (dead || !s->is_sealed || s->live_blobs || s->users)
                                continue;
                        if (s->size != l->new_size ? is_recycled : is_kept)
                                is_kept = is_kept && s->size != l->new_size;
                        else
                                dead = s;
                }
        }
        if (dead) {
                table_remove(&l->by_number, &dead->by_number);
                list_remove(&dead->node);
                if (dead->file >= 0)
                        l->open_files--;
        }
        pthread_mutex_unlock(&l->mutex);
        return dead;
}

void log_pin(struct log *l, bool is_pinned)
{
        pthread_mutex_lock(&l->mutex);
        atomic_store(&l->is_pinned, is_pinned);
        pthread_mutex_unlock(&l->mutex);
}

bool log_has_dead(struct log *l)
{
        bool has_dead = false;

        pthread_mutex_lock(&l->mutex);
        for (enum log_stream i = 0; i < LOG_STREAMS && may_go(l); i++) {
                LIST_FOR_EACH(node, &l->streams[i]) {
                        const struct segment *s = LIST_OBJECT(node, struct segment, node);

                        has_dead |= s->is_sealed && !s->live_blobs && !s->users;
                }
        }
        pthread_mutex_unlock(&l->mutex);
        return has_dead;
}

/* Is it emptier than `best`, and worth the copying? */
static bool is_emptier(const struct segment *s, const struct segment *best, uint64_t per_mille)
{
        return weight(s) * per_mille <= s->size * 1000 &&
               (!best || weight(s) * best->size < weight(best) * s->size);
}

uint64_t log_emptiest(struct log *l, uint64_t per_mille, uint64_t spare, uint64_t except)
{
        uint64_t size = 0, live = 0, number;
        const struct segment *best = NULL;

        pthread_mutex_lock(&l->mutex);
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                const struct segment *last = NULL; /* a younger one must follow it */

                LIST_FOR_EACH(node, &l->streams[i]) {
                        const struct segment *s = LIST_OBJECT(node, struct segment, node);

                        if (!s->is_sealed)
                                continue;
                        if (last && is_emptier(last, best, per_mille))
                                best = last;
                        last = is_movable(s) && s->number != except ? s : NULL;
                        size += is_movable(s) ? s->size : 0;
                        live += is_movable(s) ? weight(s) : 0;
                }
        }
        if (size * 1000 <= live * per_mille || size - live < spare)
                best = NULL;
        number = best ? best->number : 0;
        pthread_mutex_unlock(&l->mutex);
        return number;
}

void log_note_emptied(struct log *l, uint64_t segment)
{
        struct segment *s;

        pthread_mutex_lock(&l->mutex);
        s = log_segment(l, segment);
        if (s && s->live_blobs)
                s->times_emptied++;
        pthread_mutex_unlock(&l->mutex);
}

static int recycle(struct log *l, struct segment *dead, struct segment *s)
{
        char path[LOG_PATH_MAX], path_before[LOG_PATH_MAX];
        int r = io_rename(l->io, log_path(dead, path_before), path_new(s, path));

        /* The old name must be gone for good before the head is written over. */
        if (r == 0)
                r = io_sync_directory(l->io, log_folders[dead->stream]);
        if (r == 0 && dead->stream != s->stream)
                r = io_sync_directory(l->io, log_folders[s->stream]);
        if (r == 0) {
                s->size = dead->size;
                s->file = io_open(l->io, path, 0);
                r = s->file < 0 ? s->file : publish(l, s);
                if (r < 0)
                        io_close(l->io, s->file);
        }
        return r;
}

static int prepare(struct log *l, enum log_stream stream, const struct log_position *safe)
{
        struct segment *dead, *s = next_of(l, stream);
        int r;

        if (!s)
                return -ENOMEM;
        dead = take_dead(l, safe, true);
        if (dead) {
                io_close(l->io, dead->file);
                r = recycle(l, dead, s);
                free(dead);
        } else {
                r = make(l, s, true);
        }
        if (r < 0)
                free(s);
        return r;
}

int log_prepare(struct log *l, enum log_stream stream, const struct log_position *safe)
{
        bool is_ready;
        int r = 0;

        pthread_mutex_lock(&l->making);
        pthread_mutex_lock(&l->mutex);
        is_ready = l->next[stream] != NULL;
        pthread_mutex_unlock(&l->mutex);
        if (!is_ready)
                r = prepare(l, stream, safe);
        pthread_mutex_unlock(&l->making);
        return r;
}

uint64_t log_dead_octets(struct log *l, const struct log_position *safe,
                         const struct log_position *reach)
{
        uint64_t octets = 0;

        pthread_mutex_lock(&l->mutex);
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                LIST_FOR_EACH(node, &l->streams[i]) {
                        const struct segment *s = LIST_OBJECT(node, struct segment, node);

                        if (s->is_sealed && !s->live_blobs && s->number >= safe->at[i].segment &&
                            s->number < reach->at[i].segment)
                                octets += s->size;
                }
        }
        pthread_mutex_unlock(&l->mutex);
        return octets;
}

bool log_is_whole(struct log *l)
{
        bool is_whole;

        pthread_mutex_lock(&l->mutex);
        is_whole = l->by_number.count + 1 == l->next_number;
        pthread_mutex_unlock(&l->mutex);
        return is_whole;
}

int log_reclaim(struct log *l, const struct log_position *safe, uint64_t kept)
{
        static const struct log_position none;
        struct segment *dead;
        int r = 0;

        while (r == 0 && log_dead_octets(l, &none, safe) > kept &&
               (dead = take_dead(l, safe, false))) {
                char path[LOG_PATH_MAX];

                io_close(l->io, dead->file);
                r = io_unlink(l->io, log_path(dead, path));
                free(dead);
        }
        return r;
}
