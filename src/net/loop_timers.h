/* The timers of one loop, private to net/loop.c: a heap ordered by time.
 *
 * A timer that is moved later, or stopped, stays where it is in the heap until
 * its old time has come; only then is it put where it belongs. So a timeout
 * that every packet moves costs one assignment a packet. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

struct timer {
        struct loop *loop;
        void (*fire)(void *arg);
        void *arg;
        uint64_t at_ms;     /* when it fires, if it is set */
        uint64_t sorted_ms; /* its key in the heap, <= at_ms */
        uint32_t place;     /* in the heap, or TIMER_NOT_IN */
        bool is_set;
};

struct loop_timers {
        struct timer **heap; /* the smallest sorted_ms first */
        size_t len, room;
        size_t count; /* timers that exist: the heap has room for all */
};

void loop_timers_done(struct loop_timers *s);

/* 0 or -ENOMEM; reserves what loop_timers_set() needs. */
int loop_timers_add(struct loop_timers *s, struct loop *l, void (*fire)(void *arg), void *arg,
                    struct timer **ret_t);
/* Takes it out and frees it. */
void loop_timers_remove(struct loop_timers *s, struct timer *t);

void loop_timers_set(struct loop_timers *s, struct timer *t, uint64_t at_ms);

/* When to look again; UINT64_MAX: no timer. */
uint64_t loop_timers_next_ms(const struct loop_timers *s);

/* Fires what is due at `now_ms`. A timer that sets itself again to a time
 * already come fires at the next call. */
void loop_timers_fire(struct loop_timers *s, uint64_t now_ms);
