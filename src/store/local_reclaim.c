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
        BATCH_OCTETS = 1024 * 1024,    /* of one commit */
        STEP_OCTETS = 4 * 1024 * 1024, /* read in one piece of work */
        /* Disk for 1000 octets that live: with this, and when the disk is full.
         * Copying costs at most three octets for each that is given back. */
        PER_MILLE = 1350,
        PER_MILLE_FULL = 1100,
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
        l->reclaim.is_under_way = false;
        l->reclaim.result = result;
        l->reclaim.group = l->acknowledged;
        pthread_mutex_unlock(&l->mutex);
}

/* Hands what was found to the sync thread. */
static void submit(struct local *l)
{
        struct store_batch *b = l->reclaim.batch;
        struct commit *c = calloc(1, sizeof(struct commit));

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
        l->reclaim.batch = NULL;
        l->reclaim.is_under_way = true;
        list_append(&l->commits, &c->node);
        l->urgent++;
        pthread_cond_signal(&l->has_commits);
        local_call_leader(l, c->begun_us);
        pthread_mutex_unlock(&l->mutex);
}

/* ---- what lives in a group --------------------------------------------------- */

/* Adds a body to the batch, if it lives and lies here. False: the batch is full. */
static bool add_body(struct local *l, const struct batch_op *op, uint64_t offset)
{
        struct reclaim *m = &l->reclaim;
        struct buffer scratch = BUFFER_INIT(1024);
        uint64_t max = l->commit_max / 4 < BATCH_OCTETS ? l->commit_max / 4 : BATCH_OCTETS;
        struct blob_place place;
        int r = apply_find_blob(l->index, op->number, true, &scratch, &place);

        buffer_done(&scratch);
        if (r < 0 || place.kind != BLOB_IN_SEGMENT || place.segment != m->segment ||
            place.offset != offset || place.size != op->value.len ||
            place.checksum != apply_checksum(op->value))
                return true;
        if (m->batch && m->batch->record.len > BATCH_HEAD &&
            m->batch->record.len + op->value.len > max)
                return false;
        if (!m->batch)
                m->batch = batch_new(l);
        if (!m->batch)
                return false;
        batch_blob_move(m->batch, op->number, op->key, op->value);
        atomic_fetch_add(&m->moved_octets, op->value.len);
        return true;
}

/* -ENOSPC: the batch is full. */
static int add_bodies(struct local *l, struct span records, uint64_t offset)
{
        const char *const begin = records.p;
        struct batch_view view;
        struct span record;
        struct batch_op op;

        while (records.len) {
                int r = batch_open(&records, &view, &record);

                if (r < 0)
                        return r;
                while (batch_next(&view, &op))
                        if ((op.kind == BATCH_BLOB_PUT || op.kind == BATCH_BLOB_MOVE) &&
                            !add_body(l, &op, offset + (uint64_t) (op.value.p - begin)))
                                return -ENOSPC;
        }
        return 0;
}

/* One group. 0 with where the next one begins; -ENOENT: that was all of them;
 * -ENOSPC: the batch is full. */
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

static bool is_busy(struct local *l)
{
        bool is_busy;

        pthread_mutex_lock(&l->mutex);
        /* Until the index has it, it would be found and copied again. */
        is_busy = l->reclaim.is_under_way || atomic_load(&l->applied) < l->reclaim.group;
        pthread_mutex_unlock(&l->mutex);
        return is_busy;
}

/* The result of the last batch, once. */
static int take_result(struct local *l)
{
        int result;

        pthread_mutex_lock(&l->mutex);
        result = l->reclaim.result;
        l->reclaim.result = 0;
        pthread_mutex_unlock(&l->mutex);
        return result;
}

static void choose(struct local *l)
{
        struct reclaim *m = &l->reclaim;

        m->segment = log_emptiest(&l->log, atomic_load(&l->is_full) || atomic_load(&m->is_eager)
                                                   ? PER_MILLE_FULL
                                                   : PER_MILLE);
        m->offset = LOG_BLOCK;
}

bool local_reclaim(struct local *l)
{
        struct reclaim *m = &l->reclaim;
        uint64_t next, end;
        int r = 0;

        if (is_busy(l))
                return true;
        if (take_result(l) < 0)
                return false;
        if (!m->segment)
                choose(l);
        if (!m->segment)
                return atomic_load(&m->is_eager);
        end = m->offset + STEP_OCTETS;
        while (r == 0 && m->offset < end) {
                r = take_group(l, &next);
                if (r == 0)
                        m->offset = next;
        }
        if (m->batch && (r != 0 || m->batch->record.len >= BATCH_OCTETS)) {
                submit(l);
                return true; /* the end of the segment is looked at again */
        }
        if (r < 0 && r != -ENOSPC) {
                if (r == -ENOENT)
                        log_set_stuck(&l->log, m->segment);
                m->segment = 0;
        }
        return r != -ENOMEM;
}
