/* Giving room back: what lives in a segment that is mostly dead is copied, as
 * records of its own kind (BATCH_BLOB_MOVE) in ordinary commits, so the
 * segment dies and is used again.
 *
 * Nothing is ever without a durable copy: the index names the new place when
 * the group with the copy is durable, and the old segment goes when the index
 * that names the new place is. A copy that was torn off by a crash is not in
 * the log; one of a body that went meanwhile is dead where it lies. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "store/local.h"

enum {
        BATCH_OCTETS = 512 * 1024, /* of one commit */
        BATCHES_MAX = 16,          /* on their way: a segment's worth, 8 MiB at most */
        BATCHES_A_SEGMENT = 16,    /* where one does not fit, room stays empty */
        STEP_OCTETS = 2 * 1024 * 1024, /* read in one piece of work */
        /* Disk for 1000 octets that live: of all files; of segments with what lives, at
         * least and at most; when the disk is full. Below, copying costs too much: with
         * 1200 up to two octets for each that is written where bodies die at random. */
        PER_MILLE = 1510,
        PER_MILLE_MIN = 1200,
        PER_MILLE_MAX = 1400,
        PER_MILLE_FULL = 1100,
        INDEX_UNMERGED = 16 * 1024 * 1024,
        SPARE_SHARE = 5, /* of what lives, but so much at least: */
        SPARE_MIN = 40 * 1024 * 1024,
        /* Beyond PER_MILLE by as much as this, commits wait so long for each MiB: then
         * what is written is no more than can be moved. A small store may grow instead. */
        BRAKE_PER_MILLE = 60,
        BRAKE_US_MAX = 200 * 1000,
        BRAKE_SEGMENTS = 2, /* these are on their way elsewhere */
        BRAKE_LIVE_MIN = 32 * 1024 * 1024,
};

/* ---- a commit of the helper thread's --------------------------------------- */

static struct store_batch *batch_new(struct local *l)
{
        static const struct partition own = {{PARTITION_STORE}};
        struct store_batch *b = calloc(1, sizeof(struct store_batch));
        char *head;

        if (!b)
                return NULL;
        b->record = BUFFER_INIT(STORE_BATCH_MAX + BATCH_HEAD);
        if (buffer_reserve(&b->record, BATCH_HEAD, &head) < 0) {
                free(b);
                return NULL;
        }
        memset(head, 0, BATCH_HEAD);
        memcpy(head + 8, own.octets, sizeof own.octets);
        buffer_commit(&b->record, BATCH_HEAD);
        b->store = &l->store;
        b->expected_sequence = STORE_ANY_SEQUENCE;
        return b;
}

static void batch_drop(struct local *l)
{
        struct store_batch *b = l->reclaim.batch;

        if (b)
                buffer_done(&b->record);
        free(b);
        l->reclaim.batch = NULL;
}

void local_reclaim_done(struct local *l)
{
        batch_drop(l);
}

/* On the loop. After a failure what was not moved is still there, and is found
 * again later. */
static void moved(void *arg, int result)
{
        struct local *l = arg;

        pthread_mutex_lock(&l->mutex);
        l->reclaim.completed++;
        if (result < 0)
                l->reclaim.result = result;
        l->reclaim.group = l->acknowledged;
        pthread_cond_signal(&l->has_chores);
        pthread_mutex_unlock(&l->mutex);
}

/* Hands what was found to the sync thread. */
static void submit(struct local *l)
{
        struct store_batch *b = l->reclaim.batch;
        struct commit *c = calloc(1, sizeof(struct commit));
        bool is_called;

        pthread_mutex_lock(&l->mutex);
        if (!c || l->is_closing) {
                pthread_mutex_unlock(&l->mutex);
                free(c);
                batch_drop(l);
                return;
        }
        batch_seal(b, clock_now_us());
        *c = (struct commit) {
                .batches = c->few, .few = {b}, .batch_count = 1, .has = b->has,
                .size = b->record.len, .result = b->error, .begun_us = clock_monotonic_us(),
                .done = moved, .arg = l,
        };
        local_measure(c);
        l->reclaim.batch = NULL;
        l->reclaim.submitted++;
        list_append(&l->moves, &c->node);
        is_called = local_call_leader(l, c->begun_us);
        pthread_mutex_unlock(&l->mutex);
        pthread_cond_signal(is_called ? &l->may_lead : &l->has_commits);
}

/* ---- what lives in a group --------------------------------------------------- */

static uint64_t batch_octets(const struct local *l)
{
        const uint64_t of_segment = atomic_load(&l->log.new_size) / BATCHES_A_SEGMENT;

        return of_segment < BATCH_OCTETS ? of_segment : BATCH_OCTETS;
}

/* Adds a body to the batch, if it lives and lies here. -EAGAIN: so many batches are on
 * their way that it must wait. */
static int add_body(struct local *l, const struct batch_op *op, uint64_t offset)
{
        struct reclaim *m = &l->reclaim;
        struct buffer scratch = BUFFER_INIT(1024);
        struct blob_place place;
        int r = apply_find_blob(l->index, op->number, true, &scratch, &place);

        buffer_done(&scratch);
        if (r < 0 || place.kind != BLOB_IN_SEGMENT || place.segment != m->segment ||
            place.offset != offset || place.size != op->value.len ||
            place.checksum != apply_checksum(op->value))
                return 0;
        if (m->batch && m->batch->record.len + op->value.len > batch_octets(l)) {
                if (m->submitted - m->ended >= BATCHES_MAX)
                        return -EAGAIN;
                submit(l);
        }
        if (!m->batch)
                m->batch = batch_new(l);
        if (!m->batch)
                return -ENOMEM;
        batch_blob_move(m->batch, op->number, op->key, op->value);
        atomic_fetch_add(&m->moved_octets, op->value.len);
        return 0;
}

/* From the body on that had to wait before. */
static int add_bodies(struct local *l, struct span records, uint64_t offset)
{
        const char *const begin = records.p;
        struct batch_view view;
        struct span record;
        struct batch_op op;
        uint64_t at;

        while (records.len) {
                int r = batch_open(&records, &view, &record);

                if (r < 0)
                        return r;
                while (batch_next(&view, &op)) {
                        if (op.kind != BATCH_BLOB_PUT && op.kind != BATCH_BLOB_MOVE)
                                continue;
                        at = offset + (uint64_t) (op.value.p - begin);
                        if (at < l->reclaim.body)
                                continue;
                        l->reclaim.body = at;
                        r = add_body(l, &op, at);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* One group. 0 with where the next one begins; -ENOENT: that was all of them; -EAGAIN:
 * the rest of it must wait. */
static int take_group(struct local *l, uint64_t *ret_next)
{
        struct reclaim *m = &l->reclaim;
        struct group_head head;
        char octets[LOG_HEAD], *records;
        int r = log_read(&l->log, m->segment, m->offset, octets, sizeof octets);

        if (r < 0 || log_decode_head(&l->log, m->segment, octets, &head) < 0)
                return -ENOENT;
        records = malloc((size_t) head.len + 1);
        if (!records)
                return -ENOMEM;
        r = log_read(&l->log, m->segment, m->offset + LOG_HEAD, records, head.len);
        if (r == 0)
                r = add_bodies(l, span_make(records, head.len), m->offset + LOG_HEAD);
        free(records);
        *ret_next = m->offset + log_part_size(head.len);
        return r == -EBADMSG ? 0 : r; /* the next may still be good */
}

/* ---- pieces of work ---------------------------------------------------------- */

/* How many batches of all there were are in the index; a failure of one of them, once. */
static uint64_t find_ended(struct local *l, int *ret_result)
{
        struct reclaim *m = &l->reclaim;
        uint64_t count;

        pthread_mutex_lock(&l->mutex);
        if (atomic_load(&l->applied) >= m->group)
                m->ended = m->completed;
        count = m->ended;
        *ret_result = m->result;
        m->result = 0;
        pthread_mutex_unlock(&l->mutex);
        return count;
}

/* What segments with something in them may take for 1000 octets that live, so that all
 * files keep within PER_MILLE: beside them there are those that are being filled, made
 * ready or dead, the checkpoint and the one that is made, and the index, which takes twice
 * as much as one of these, and what waits to be merged. */
static uint64_t per_mille(struct local *l, uint64_t live)
{
        const uint64_t checkpoint = l->checkpoint.size;
        const uint64_t others = 2 * LOG_STREAMS * atomic_load(&l->log.new_size) +
                                local_dead_wanted(l) + local_dead_kept(l) + 4 * checkpoint +
                                INDEX_UNMERGED;
        const uint64_t share = live ? others * 1000 / live : PER_MILLE;

        if (atomic_load(&l->is_full) || atomic_load(&l->reclaim.is_eager))
                return PER_MILLE_FULL;
        if (share > PER_MILLE - PER_MILLE_MIN)
                return PER_MILLE_MIN;
        return share < PER_MILLE - PER_MILLE_MAX ? PER_MILLE_MAX : PER_MILLE - share;
}

/* So much may be dead beside what lives: in a queue that runs, bodies die by themselves
 * before they would be moved. */
static uint64_t spare_octets(struct local *l, uint64_t live)
{
        const uint64_t segment = atomic_load(&l->log.new_size);
        uint64_t spare = live / SPARE_SHARE;

        if (atomic_load(&l->is_full) || atomic_load(&l->reclaim.is_eager))
                return segment;
        if (spare < SPARE_MIN)
                spare = SPARE_MIN;
        if (spare > l->log.segment_size)
                spare = l->log.segment_size;
        return spare > segment ? spare : segment;
}

static void choose(struct local *l)
{
        struct reclaim *m = &l->reclaim;
        struct log_room room;

        log_measure(&l->log, &room);
        atomic_store(&m->per_mille, per_mille(l, room.live));
        m->segment = log_emptiest(&l->log, atomic_load(&m->per_mille), spare_octets(l, room.live),
                                  m->emptied);
        m->offset = LOG_BLOCK;
        m->body = 0;
}

void local_set_brake(struct local *l)
{
        struct log_room room;
        uint64_t wanted, excess = 0;

        log_measure(&l->log, &room);
        wanted = room.live / 1000 * atomic_load(&l->reclaim.per_mille);
        if (wanted < room.live + spare_octets(l, room.live))
                wanted = room.live + spare_octets(l, room.live);
        wanted += BRAKE_SEGMENTS * atomic_load(&l->log.new_size);
        if (room.live >= BRAKE_LIVE_MIN && room.used > wanted)
                excess = (room.used - wanted) * 1000 / room.live;
        if (excess > BRAKE_PER_MILLE)
                excess = BRAKE_PER_MILLE;
        atomic_store(&l->brake_us, excess * BRAKE_US_MAX / BRAKE_PER_MILLE);
}

/* While what lived in one segment is on its way elsewhere, the next one is looked at, but
 * no more than one. False: something is still to come. */
static bool end_emptied(struct local *l, uint64_t ended)
{
        struct reclaim *m = &l->reclaim;

        if (m->emptied && ended < m->emptied_with)
                return false;
        if (m->emptied)
                log_note_emptied(&l->log, m->emptied);
        m->emptied = 0;
        return true;
}

/* Looks at some of the segment; what lives in it goes. */
static int step(struct local *l)
{
        struct reclaim *m = &l->reclaim;
        const uint64_t end = m->offset + STEP_OCTETS;
        uint64_t next;
        int r = 0;

        while (r == 0 && m->offset < end) {
                r = take_group(l, &next);
                if (r == 0)
                        m->offset = next;
        }
        if (r == -ENOENT && m->batch)
                submit(l);
        return r;
}

bool local_reclaim(struct local *l)
{
        struct reclaim *m = &l->reclaim;
        int r;
        const uint64_t ended = find_ended(l, &r);
        const bool has_ended = end_emptied(l, ended);

        if (r < 0) {
                m->segment = 0;
                return false;
        }
        if (!m->segment)
                choose(l);
        local_set_brake(l);
        if (!m->segment)
                return !has_ended || atomic_load(&m->is_eager);
        r = step(l);
        if (r < 0 && r != -ENOMEM && r != -EAGAIN) {
                if (!has_ended)
                        return true; /* its end is looked at again */
                m->emptied = m->segment;
                m->emptied_with = m->submitted;
                m->segment = 0;
        }
        return r != -ENOMEM;
}
