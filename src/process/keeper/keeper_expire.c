#include "process/keeper/keeper_expire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        PAGE = 64,         /* accounts looked at in one step */
        HELD_MAX = PAGE,   /* accounts that are at work */
        STEPS_MAX = 400,   /* of one account: it comes again with the next walk */
        STEP_MS = 50,
        WALK_MIN_MS = 1000,
        WALK_MAX_MS = 3600 * 1000,
};

struct held {
        struct account *account;
        unsigned steps;
};

struct keeper_expire {
        struct keeper *keeper;
        struct timer *timer;
        struct partition behind;
        unsigned asked; /* answers to come */
        bool is_walking, is_full, is_stopped;
        struct held held[HELD_MAX];
        size_t held_count;
};

static void say_rule(struct keeper_expire *e)
{
        const struct config *c = e->keeper->process->config;

        mailboxes_keep_expunged(e->keeper->mailboxes, &(struct expunge_keep) {
                .age_us = e->is_full ? 0 : c->expunge_keep_ms * 1000,
                .octets = c->expunge_keep_size});
}

/* ---- accounts that keep too much --------------------------------------------- */

static void was_committed(void *arg, int result)
{
        struct keeper *k = arg;

        if (result < 0)
                keeper_store_refused(k, result);
}

/* A batch takes a page of it along. False: it is done with. */
static bool work(struct keeper_expire *e, struct held *h)
{
        struct store_batch *batch;

        if (!account_has_expired(h->account) || ++h->steps > STEPS_MAX)
                return false;
        batch = account_batch(h->account);
        if (batch)
                store_commit(e->keeper->store, &batch, 1, 0, was_committed, e->keeper);
        return batch != NULL;
}

static void work_all(struct keeper_expire *e)
{
        size_t left = 0;

        for (size_t i = 0; i < e->held_count; i++) {
                if (work(e, &e->held[i]))
                        e->held[left++] = e->held[i];
                else
                        account_release(e->held[i].account);
        }
        e->held_count = left;
}

static void opened(void *arg, int result, struct account *a)
{
        struct keeper_expire *e = arg;

        e->asked--;
        if (result < 0)
                return;
        if (e->is_stopped || e->held_count == HELD_MAX)
                account_release(a);
        else
                e->held[e->held_count++] = (struct held) {.account = a};
}

/* ---- the walk ------------------------------------------------------------------- */

static void got_answer(void *arg, int result, struct span address)
{
        struct keeper_expire *e = arg;

        if (result == 0 && !e->is_stopped)
                account_open(e->keeper->mailboxes, address, opened, e);
        else
                e->asked--;
}

static void got_partitions(void *arg, int result, const struct partition *partitions, size_t count,
                           bool has_more)
{
        struct keeper_expire *e = arg;

        if (result < 0 || !has_more || !count)
                e->is_walking = false;
        for (size_t i = 0; i < count && !e->is_stopped; i++) {
                e->behind = partitions[i];
                if (partitions[i].octets[0] != PARTITION_ACCOUNT) {
                        e->is_walking = false;
                        break;
                }
                e->asked++;
                account_keeps(e->keeper->mailboxes, &partitions[i], got_answer, e);
        }
        e->asked--;
}

/* Often enough that nothing stays an eighth longer than it should. */
static uint64_t pause_ms(const struct keeper_expire *e)
{
        const uint64_t ms = e->keeper->process->config->expunge_keep_ms / 8;

        return ms < WALK_MIN_MS ? WALK_MIN_MS : ms > WALK_MAX_MS ? WALK_MAX_MS : ms;
}

static void begin_walk(struct keeper_expire *e)
{
        if (e->is_walking)
                return;
        memset(&e->behind, 0, sizeof e->behind);
        e->behind.octets[0] = PARTITION_ACCOUNT;
        e->is_walking = true;
}

static void step(void *arg)
{
        struct keeper_expire *e = arg;

        if (!e->is_walking && !e->held_count && !e->asked)
                begin_walk(e);
        work_all(e);
        if (e->is_walking && !e->asked && !e->held_count) {
                e->asked++;
                store_partitions(e->keeper->store, &e->behind, PAGE, got_partitions, e);
        }
        timer_set(e->timer, e->is_walking || e->held_count || e->asked ? STEP_MS : pause_ms(e));
}

/* ---- life ----------------------------------------------------------------------- */

int keeper_expire_start(struct keeper *k)
{
        struct keeper_expire *e = calloc(1, sizeof *e);
        int r;

        if (!e)
                return -ENOMEM;
        e->keeper = k;
        r = timer_new(k->process->loop, step, e, &e->timer);
        if (r < 0) {
                free(e);
                return r;
        }
        k->expire = e;
        keeper_expire_reload(k);
        return 0;
}

void keeper_expire_reload(struct keeper *k)
{
        if (!k->expire)
                return;
        say_rule(k->expire);
        timer_set(k->expire->timer, WALK_MIN_MS);
}

void keeper_expire_disk(struct keeper *k, bool is_full)
{
        struct keeper_expire *e = k->expire;

        if (is_full == e->is_full)
                return;
        e->is_full = is_full;
        say_rule(e);
        if (is_full)
                timer_set(e->timer, 0);
}

void keeper_expire_stop(struct keeper *k)
{
        struct keeper_expire *e = k->expire;

        if (!e)
                return;
        timer_stop(e->timer);
        e->is_stopped = true;
        for (size_t i = 0; i < e->held_count; i++)
                account_release(e->held[i].account);
        e->held_count = 0;
}
