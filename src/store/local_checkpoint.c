/* When the index is written down (checkpoint.h). A segment may be used again only
 * when nothing lives in it and the checkpoint is past it: so the checkpoint and the
 * log that is there always make the index.
 *
 * A new one is made when so much is dead behind the old one that writing it costs
 * half of what it gives back, or less: room that waits is twice the checkpoint at
 * most, a few per cent of what lives. */
#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "store/keys.h"
#include "store/local.h"
#include "store/recover.h"

enum {
        SEGMENTS_MIN = 2,     /* dead: fewer are not worth a sync */
        PER_CHECKPOINT = 2,   /* octets given back for each that is written */
        RETRY_US = 60 * 1000 * 1000,
        PAUSE_US = 2000,
};

/* What would be the position of one made now. (The engine learns of it late.) */
static int find_reach(struct local *l, struct log_position *ret_traces)
{
        struct buffer value = BUFFER_INIT(1024);
        const char key = KEYS_POSITION;
        struct log_position position;
        int r = index_get(l->index, span_make(&key, 1), true, &value);

        if (r == 0)
                r = recover_decode_positions(buffer_span(&value), &position, ret_traces);
        buffer_done(&value);
        return r;
}

static bool is_wanted(struct local *l, const struct log_position *safe)
{
        const bool is_urgent = atomic_load(&l->is_full) || atomic_load(&l->reclaim.is_eager);
        struct log_position reach;
        uint64_t gain;

        if (!l->log.may_reclaim || clock_monotonic_us() < l->checkpoint_retry_us ||
            find_reach(l, &reach) < 0)
                return false;
        if (!l->checkpoint.size && !l->is_without_checkpoint && !log_is_whole(&l->log))
                return true; /* of an earlier release, or a backup: the index is all there is */
        gain = log_dead_octets(&l->log, safe, &reach);
        return gain >= (is_urgent ? atomic_load(&l->log.new_size) : local_dead_wanted(l));
}

/* Commits come first: as long as the disk took, it rests; and segments are made, and
 * emptied, meanwhile. */
static bool goes_on(void *arg)
{
        struct local *l = arg;
        const struct timespec pause = {0, PAUSE_US * 1000};
        bool is_closing;

        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        local_prepare(l);
        local_reclaim(l);
        pthread_mutex_lock(&l->mutex);
        is_closing = l->is_closing;
        pthread_mutex_unlock(&l->mutex);
        return !is_closing && !atomic_load(&l->wants_pin) && !atomic_load(&l->has_failed);
}

/* Without room for one, giving room back counts more: then only the index itself
 * says what is in segments that were used again. */
static void do_without(struct local *l)
{
        if (checkpoint_remove(l->io) < 0)
                return;
        l->checkpoint = (struct checkpoint) {0};
        l->is_without_checkpoint = true;
}

static void write_new(struct local *l)
{
        const struct checkpoint_pace pace = {goes_on, l};
        struct checkpoint made;
        int none = LOCAL_PIN_NONE, r;

        if (!atomic_compare_exchange_strong(&l->pin, &none, LOCAL_PIN_HELPER))
                return;
        r = index_flush(l->index); /* the engine is told what waits for it */
        if (r == 0)
                r = checkpoint_write(l->io, l->log.store_id, l->engine, &pace,
                                     &made);
        /* What it has, the index must have too after a crash. */
        if (r == 0)
                r = index_flush(l->index);
        if (r == 0) {
                l->checkpoint = made;
                l->safe = made.traces;
                l->is_without_checkpoint = false;
        } else if (r == -ENOSPC) {
                do_without(l);
        }
        if (r < 0 && r != -ECANCELED)
                l->checkpoint_retry_us = clock_monotonic_us() + RETRY_US;
        atomic_store(&l->pin, LOCAL_PIN_NONE);
}

void local_checkpoint(struct local *l)
{
        if (is_wanted(l, &l->safe))
                write_new(l);
        if (l->is_without_checkpoint && log_has_dead(&l->log) && index_flush(l->index) == 0)
                recover_get_flushed_position(l->index, &l->safe);
}

void local_checkpoint_find(struct local *l)
{
        if (checkpoint_find(l->io, l->log.store_id, &l->checkpoint) < 0)
                return;
        /* Recovery may have put into the index what a crash would take out again. */
        if (!l->is_quiet && index_flush(l->index) == 0)
                l->safe = l->checkpoint.traces;
}

uint64_t local_dead_wanted(const struct local *l)
{
        const uint64_t least = SEGMENTS_MIN * atomic_load(&l->log.new_size);

        return least < l->checkpoint.size * PER_CHECKPOINT ? l->checkpoint.size * PER_CHECKPOINT
                                                           : least;
}

uint64_t local_dead_kept(const struct local *l)
{
        return atomic_load(&l->is_full) ? 0 : l->checkpoint.size * PER_CHECKPOINT;
}
