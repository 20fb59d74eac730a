#include "store/recover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "store/keys.h"

enum { SCAN_STEP = 256 * LOG_BLOCK };

/* Where the reading of one stream stands, and the group it found there. */
struct cursor {
        uint64_t segment, offset, previous;
        bool has_head, is_whole; /* a head is there; its records are good */
        struct group_head head;
        char *records;
};

struct recovery {
        struct log *log;
        struct apply *apply;
        struct trace *trace;
        struct cursor cursors[LOG_STREAMS];
        struct log_position index_position; /* what the index has */
        struct log_position position;
        size_t leftover_count; /* heads behind the end of the log */
        char *error;
};

/* ---- what is kept in the index ------------------------------------------ */

int recover_put_position(struct index *index, const struct log_position *p,
                         const struct log_position *traces)
{
        char octets[2 * LOG_POSITION_OCTETS];
        const char key = KEYS_POSITION;

        log_encode_position(p, octets);
        log_encode_position(traces->group > p->group ? p : traces, octets + LOG_POSITION_OCTETS);
        return index_put_late(index, span_make(&key, 1), span_make(octets, sizeof octets));
}

int recover_decode_positions(struct span value, struct log_position *ret_p,
                             struct log_position *ret_traces)
{
        struct reader r = READER(value);

        log_decode_position(&r, ret_p);
        log_decode_position(&r, ret_traces);
        return read_is_complete(&r) ? 0 : -EBADMSG;
}

int recover_get_position(struct index *index, struct log_position *ret_p)
{
        struct buffer value = BUFFER_INIT(1024);
        struct log_position traces;
        const char key = KEYS_POSITION;
        int r = index_get(index, span_make(&key, 1), true, &value);

        if (r == 0)
                r = recover_decode_positions(buffer_span(&value), ret_p, &traces);
        buffer_done(&value);
        return r;
}

int recover_get_flushed_position(struct index *index, struct log_position *ret_traces)
{
        struct buffer value = BUFFER_INIT(1024);
        struct log_position p;
        const char key = KEYS_POSITION;
        int r = index_get_flushed(index, span_make(&key, 1), &value);

        if (r == 0)
                r = recover_decode_positions(buffer_span(&value), &p, ret_traces);
        buffer_done(&value);
        return r;
}

/* Of one that is gone: nothing lives in it. It may come back, when the machine stops
 * before the disk has forgotten its name, and must then be known to be dead. */
static int put_segment(struct log *log, struct index *index, uint64_t number)
{
        char key[KEYS_MAX], value[16];
        const struct segment *s;

        pthread_mutex_lock(&log->mutex);
        s = log_segment(log, number);
        key_put_u64(value, s ? s->live_blobs : 0);
        key_put_u64(value + 8, s ? s->live_octets : 0);
        pthread_mutex_unlock(&log->mutex);
        return index_put_late(index, keys_of_number(key, KEYS_SEGMENT, number),
                              span_make(value, sizeof value));
}

/* From where it lay to where it lies. */
static void account_blob(struct log *log, const struct blob_change *c)
{
        const uint64_t before = c->before ? c->segment_before : 0;
        const uint64_t after = c->place.references && c->place.kind == BLOB_IN_SEGMENT
                                       ? c->place.segment
                                       : 0;

        if (before == after)
                return;
        if (before)
                log_account(log, before, -1, -(int64_t) c->place.size);
        if (after)
                log_account(log, after, 1, (int64_t) c->place.size);
}

int recover_account(struct log *log, struct index *index, const struct apply_group *group)
{
        uint64_t last = 0;
        int r = 0;

        for (size_t i = 0; i < group->blob_count; i++)
                account_blob(log, &group->blobs[i]);
        /* Nearly always all of them are in one or two segments. */
        for (size_t i = 0; i < group->blob_count && r == 0; i++) {
                const struct blob_change *c = &group->blobs[i];
                const uint64_t touched[] = {
                        c->segment_before,
                        c->place.kind == BLOB_IN_SEGMENT ? c->place.segment : 0,
                };

                for (size_t k = 0; k < 2 && r == 0; k++) {
                        if (!touched[k] || touched[k] == last)
                                continue;
                        last = touched[k];
                        r = put_segment(log, index, last);
                }
        }
        return r;
}

static bool load_segment(void *arg, struct span key, struct span value)
{
        struct recovery *v = arg;
        struct segment *s;

        if (key.len != 9 || value.len != 16)
                return true;
        s = log_segment(v->log, key_get_u64(key.p + 1));
        if (s) {
                s->live_blobs = key_get_u64(value.p);
                s->live_octets = key_get_u64(value.p + 8);
        }
        return true;
}

/* ---- reading groups ------------------------------------------------------ */

static int refuse(struct recovery *v, const struct cursor *c, int stream, const char *what)
{
        snprintf(v->error, 256, "%s/%016llx.seg, octet %llu: %s", log_folders[stream],
                 (unsigned long long) c->segment, (unsigned long long) c->offset, what);
        return -EBADMSG;
}

/* The segment behind `number` in the stream, or NULL. */
static struct segment *next_segment(struct log *l, int stream, uint64_t number)
{
        LIST_FOR_EACH(node, &l->streams[stream]) {
                struct segment *s = LIST_OBJECT(node, struct segment, node);

                if (s->number > number)
                        return s;
        }
        return NULL;
}

/* What stands at this place: has_head, is_whole, records. */
static int look(struct recovery *v, struct cursor *c)
{
        const struct segment *s;
        char head[LOG_HEAD];
        int r = 0;

        c->has_head = c->is_whole = false;
        free(c->records);
        c->records = NULL;
        s = log_segment(v->log, c->segment);
        if (!s || c->offset + LOG_BLOCK > s->size)
                return 0;
        r = log_read(v->log, c->segment, c->offset, head, sizeof head);
        if (r == -EBADMSG) /* a segment shorter than it should be */
                return 0;
        if (r < 0 || log_decode_head(v->log, c->segment, head, &c->head) < 0)
                return r;
        c->has_head = true;
        if (c->offset + log_part_size(c->head.len) > s->size)
                return 0;
        c->records = malloc((size_t) c->head.len + 1);
        if (!c->records)
                return -ENOMEM;
        r = log_read(v->log, c->segment, c->offset + LOG_HEAD, c->records, c->head.len);
        if (r == 0)
                c->is_whole = hash_span(span_make(c->records, c->head.len),
                                        log_seed(v->log, c->segment)) == c->head.checksum;
        return r == -EBADMSG ? 0 : r;
}

static bool follows(const struct cursor *c)
{
        return c->has_head && c->head.previous == c->previous;
}

/* Stands at the next group of the stream, which may begin a segment further
 * on; empty ones may lie between. Without one, stays, unless that segment is
 * gone: then everything in it was taken in long ago, and writing goes on in
 * the next one. */
static int find_next(struct recovery *v, int stream)
{
        struct cursor *c = &v->cursors[stream];
        const struct segment *s;
        struct cursor ahead;
        int r = look(v, c);

        if (r == 0 && !c->has_head && !log_segment(v->log, c->segment) &&
            (s = next_segment(v->log, stream, c->segment))) {
                c->segment = s->number;
                c->offset = LOG_BLOCK;
                r = look(v, c);
        }
        ahead = *c;
        ahead.records = NULL;
        while (r == 0 && !ahead.has_head && (s = next_segment(v->log, stream, ahead.segment))) {
                ahead.segment = s->number;
                ahead.offset = LOG_BLOCK;
                r = look(v, &ahead);
                if (r == 0 && follows(&ahead)) {
                        *c = ahead;
                        ahead.records = NULL;
                }
        }
        free(ahead.records);
        c->has_head = follows(c); /* what else it may be, end_log() finds out */
        return r;
}

static void advance(struct cursor *c)
{
        c->previous = c->head.group;
        c->offset += log_part_size(c->head.len);
}

/* ---- taking groups in ---------------------------------------------------- */

static int replay_record(struct recovery *v, struct cursor *c, struct span *in, uint32_t *number)
{
        const struct record_place place = {
                c->segment, c->offset + LOG_HEAD + (uint64_t) (in->p - c->records)};
        struct batch_view view;
        struct span record;
        uint64_t sequence;
        int r = batch_open(in, &view, &record);

        if (r == 0)
                r = trace_add_batch(v->trace, record, BATCH_HEAD, c->head.group, number);
        if (r < 0 || c->head.group <= v->index_position.group)
                return r;
        return apply_record(v->apply, record, view.sequence - 1, place, &sequence);
}

/* The records of a group, in the order they were committed in, whichever
 * stream they went into. */
static int replay_records(struct recovery *v, uint8_t mask)
{
        struct span in[LOG_STREAMS] = {{0}};
        uint32_t trace_number = 0;
        int r = 0;

        for (int i = 0; i < LOG_STREAMS; i++)
                if (mask & 1 << i)
                        in[i] = span_make(v->cursors[i].records, v->cursors[i].head.len);
        for (;;) {
                int first = -1;

                for (int i = 0; i < LOG_STREAMS; i++)
                        if (in[i].len &&
                            (first < 0 || batch_number(in[i]) < batch_number(in[first])))
                                first = i;
                if (first < 0)
                        return 0;
                r = replay_record(v, &v->cursors[first], &in[first], &trace_number);
                if (r < 0) {
                        const struct cursor *c = &v->cursors[first];

                        snprintf(v->error, 256, "%s/%016llx.seg, octet %llu: a record does not fit "
                                 "the index: %s", log_folders[first],
                                 (unsigned long long) c->segment, (unsigned long long) c->offset,
                                 strerror(-r));
                        return r;
                }
        }
}

static int write_index(struct recovery *v)
{
        const struct log_position synced = trace_synced(v->trace);
        int r = apply_end_group(v->apply);

        if (r == 0)
                r = recover_account(v->log, v->apply->index, apply_oldest_group(v->apply));
        if (r == 0)
                r = recover_put_position(v->apply->index, &v->position, &synced);
        return r == 0 ? index_write(v->apply->index) : r;
}

static int replay_group(struct recovery *v, uint8_t mask)
{
        int r;

        apply_begin_commit(v->apply);
        r = replay_records(v, mask);
        if (r < 0)
                return r;
        v->position.group++;
        for (int i = 0; i < LOG_STREAMS; i++) {
                struct cursor *c = &v->cursors[i];

                if (!(mask & 1 << i))
                        continue;
                advance(c);
                v->position.at[i].segment = c->segment;
                v->position.at[i].offset = c->offset;
                v->position.at[i].group = v->position.group;
        }
        trace_set_position(v->trace, &v->position);
        if (v->position.group > v->index_position.group)
                r = write_index(v);
        apply_forget_group(v->apply);
        return r;
}

/* ---- the end of the log --------------------------------------------------- */

static int keep_open(struct log *l, struct segment *s)
{
        char path[LOG_PATH_MAX];

        if (!s || s->file >= 0)
                return 0;
        s->file = io_open(l->io, log_path(s, path), 0);
        if (s->file < 0)
                return s->file;
        l->open_files++;
        return 0;
}

/* A head behind the end of the log: of a group that was on its way when the machine
 * stopped, or the log did not end here. */
static int judge(struct recovery *v, int stream, const struct cursor *place)
{
        const struct group_head *h = &place->head;
        const uint64_t missing = v->position.group + 1;

        if (h->group < missing || h->group - 1 - h->under_way >= missing)
                return refuse(v, place, stream, "a group before this one is damaged or missing");
        v->leftover_count++;
        return 0;
}

static int wipe(struct recovery *v, struct segment *s, uint64_t offset)
{
        static char zeros[LOG_BLOCK];
        struct iovec part = {zeros, sizeof zeros};
        int r = keep_open(v->log, s);

        return r == 0 ? io_pwritev(v->log->io, s->file, &part, 1, offset) : r;
}

/* Judges, or wipes, every head in a segment from this block on. */
static int sweep_segment(struct recovery *v, int stream, struct segment *s, uint64_t offset,
                         bool is_wiping)
{
        struct cursor place = {.segment = s->number};
        char *octets = malloc(SCAN_STEP);
        bool has_wiped = false;
        int r = octets ? 0 : -ENOMEM;

        for (uint64_t at = offset; r == 0 && at + LOG_BLOCK <= s->size;
             at += SCAN_STEP) {
                const uint64_t rest = s->size - at;
                const size_t n = rest < SCAN_STEP ? (size_t) (rest / LOG_BLOCK * LOG_BLOCK)
                                                  : SCAN_STEP;

                if (log_read(v->log, s->number, at, octets, n) < 0)
                        break;
                for (size_t i = 0; i < n && r == 0; i += LOG_BLOCK) {
                        place.offset = at + i;
                        if (log_decode_head(v->log, s->number, octets + i, &place.head) < 0)
                                continue;
                        r = is_wiping ? wipe(v, s, place.offset) : judge(v, stream, &place);
                        has_wiped |= is_wiping;
                }
        }
        free(octets);
        return r == 0 && has_wiped ? io_sync(v->log->io, s->file) : r;
}

/* From where the log ends. What is left of groups that were on their way must not be
 * taken for later ones. */
static int sweep(struct recovery *v, int stream, bool is_wiping)
{
        const struct cursor *c = &v->cursors[stream];
        struct segment *s = log_segment(v->log, c->segment);
        uint64_t segment = c->segment;
        int r = s ? sweep_segment(v, stream, s, c->offset, is_wiping) : 0;

        while (r == 0 && (s = next_segment(v->log, stream, segment))) {
                segment = s->number;
                r = sweep_segment(v, stream, s, LOG_BLOCK, is_wiping);
        }
        return r;
}

/* Writing goes on where reading ended. The first segment behind is the one
 * that was made ahead; those behind it, left by a crash, are as dead ones. */
static int take_up(struct recovery *v, int stream)
{
        struct log *l = v->log;
        const struct cursor *c = &v->cursors[stream];
        struct segment *current = log_segment(l, c->segment);
        struct segment *next = next_segment(l, stream, c->segment);
        int r = keep_open(l, current);

        LIST_FOR_EACH(node, &l->streams[stream]) {
                struct segment *s = LIST_OBJECT(node, struct segment, node);

                s->is_sealed = s != current && s != next;
        }
        l->current[stream] = current;
        l->next[stream] = next;
        l->position.at[stream].segment = c->segment;
        l->position.at[stream].offset = c->offset;
        l->position.at[stream].group = c->previous;
        return r == 0 ? keep_open(l, next) : r;
}

static int end_log(struct recovery *v)
{
        int r = 0;

        for (int i = 0; i < LOG_STREAMS && r == 0; i++)
                r = sweep(v, i, false);
        for (int i = 0; i < LOG_STREAMS && r == 0 && v->leftover_count; i++)
                r = sweep(v, i, true);
        for (int i = 0; i < LOG_STREAMS && r == 0; i++)
                r = take_up(v, i);
        v->log->position.group = v->position.group;
        trace_end_recovery(v->trace, v->position.group);
        return r;
}

/* ---- from the beginning ---------------------------------------------------- */

static int find_start(struct recovery *v)
{
        struct buffer value = BUFFER_INIT(1024);
        const struct index_range segments = {SPAN("g"), SPAN("h"), false};
        struct log_position traces = {0};
        const char key = KEYS_POSITION;
        int r = index_get(v->apply->index, span_make(&key, 1), true, &value);

        if (r == 0)
                r = recover_decode_positions(buffer_span(&value), &v->index_position, &traces);
        else if (r == -ENOENT)
                r = 0; /* an empty index: all of the log, if it is whole */
        if (traces.group > v->index_position.group) /* as earlier releases could write it */
                traces = v->index_position;
        buffer_done(&value);
        if (r == 0)
                r = index_scan(v->apply->index, &segments, true, load_segment, v);
        if (r < 0) {
                snprintf(v->error, 256, "index: its position in the log cannot be read: %s",
                         strerror(-r));
                return r;
        }
        v->position = traces;
        trace_set_position(v->trace, &traces);
        for (int i = 0; i < LOG_STREAMS; i++)
                v->cursors[i] = (struct cursor) {
                        .segment = traces.at[i].segment,
                        .offset = traces.at[i].offset,
                        .previous = traces.at[i].group,
                };
        return 0;
}

static int sync_segment(struct log *l, const struct segment *s)
{
        char path[LOG_PATH_MAX];
        const int file = io_open(l->io, log_path(s, path), IO_READ_ONLY);
        const int r = file < 0 ? file : io_sync(l->io, file);

        io_close(l->io, file);
        return r;
}

/* What a process wrote that died before it was synced is there, but not durable: it
 * must be, before the index learns of it and more is built on it. */
static int sync_segments(struct recovery *v)
{
        int r = 0;

        for (int i = 0; i < LOG_STREAMS; i++) {
                LIST_FOR_EACH(node, &v->log->streams[i]) {
                        struct segment *s = LIST_OBJECT(node, struct segment, node);

                        if (r == 0 && s->number >= v->cursors[i].segment)
                                r = sync_segment(v->log, s);
                }
        }
        return r;
}

static int replay_all(struct recovery *v)
{
        uint8_t there, mask;
        int r = 0;

        for (;;) {
                there = mask = 0;
                for (int i = 0; i < LOG_STREAMS && r == 0; i++) {
                        struct cursor *c = &v->cursors[i];

                        r = find_next(v, i);
                        if (r == 0 && c->has_head && c->head.group == v->position.group + 1) {
                                mask |= c->head.mask;
                                there |= (uint8_t) (c->is_whole << i);
                        }
                }
                if (r < 0 || !mask || there != mask)
                        break;
                r = replay_group(v, mask);
                if (r < 0)
                        break;
        }
        if (r < 0)
                return r;
        if (v->position.group < v->index_position.group) {
                snprintf(v->error, 256, "the log ends at group %llu, the index knows of group %llu",
                         (unsigned long long) v->position.group,
                         (unsigned long long) v->index_position.group);
                return -EBADMSG;
        }
        return end_log(v);
}

int recover(struct log *log, struct apply *apply, struct trace *trace, char *error)
{
        struct recovery v = {.log = log, .apply = apply, .trace = trace, .error = error};
        int r = find_start(&v);

        if (r == 0)
                r = sync_segments(&v);
        if (r == 0)
                r = replay_all(&v);
        for (int i = 0; i < LOG_STREAMS; i++)
                free(v.cursors[i].records);
        if (r < 0 && !error[0])
                snprintf(error, 256, "the log cannot be read: %s", strerror(-r));
        return r;
}
