#include "net/loop_timers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define TIMER_NOT_IN UINT32_MAX

void loop_timers_done(struct loop_timers *s)
{
        free(s->heap);
        *s = (struct loop_timers) {0};
}

int loop_timers_add(struct loop_timers *s, struct loop *l, void (*fire)(void *arg), void *arg,
                    struct timer **ret_t)
{
        struct timer *t;

        if (s->count == s->room) {
                size_t room = s->room ? 2 * s->room : 16;
                struct timer **heap = room < TIMER_NOT_IN
                        ? realloc(s->heap, room * sizeof *heap) : NULL;

                if (!heap)
                        return -ENOMEM;
                s->heap = heap;
                s->room = room;
        }
        t = malloc(sizeof *t);
        if (!t)
                return -ENOMEM;
        *t = (struct timer) {.loop = l, .fire = fire, .arg = arg, .place = TIMER_NOT_IN};
        s->count++;
        *ret_t = t;
        return 0;
}

static void put(struct loop_timers *s, size_t place, struct timer *t)
{
        s->heap[place] = t;
        t->place = (uint32_t) place;
}

/* Moves `t`, for which there is a hole at `place`, towards the front. */
static void sift_up(struct loop_timers *s, size_t place, struct timer *t)
{
        while (place > 0 && s->heap[(place - 1) / 2]->sorted_ms > t->sorted_ms) {
                put(s, place, s->heap[(place - 1) / 2]);
                place = (place - 1) / 2;
        }
        put(s, place, t);
}

static void sift_down(struct loop_timers *s, size_t place, struct timer *t)
{
        for (;;) {
                size_t child = 2 * place + 1;

                if (child + 1 < s->len
                    && s->heap[child + 1]->sorted_ms < s->heap[child]->sorted_ms)
                        child++;
                if (child >= s->len || s->heap[child]->sorted_ms >= t->sorted_ms)
                        break;
                put(s, place, s->heap[child]);
                place = child;
        }
        put(s, place, t);
}

static void take_out(struct loop_timers *s, struct timer *t)
{
        size_t place = t->place;
        struct timer *last;

        assert(place < s->len && s->heap[place] == t);
        t->place = TIMER_NOT_IN;
        last = s->heap[--s->len];
        if (last == t)
                return;
        if (place > 0 && s->heap[(place - 1) / 2]->sorted_ms > last->sorted_ms)
                sift_up(s, place, last);
        else
                sift_down(s, place, last);
}

void loop_timers_remove(struct loop_timers *s, struct timer *t)
{
        if (t->place != TIMER_NOT_IN)
                take_out(s, t);
        s->count--;
        free(t);
}

void loop_timers_set(struct loop_timers *s, struct timer *t, uint64_t at_ms)
{
        t->at_ms = at_ms;
        t->is_set = true;
        if (t->place == TIMER_NOT_IN) {
                t->sorted_ms = at_ms;
                sift_up(s, s->len++, t);
        } else if (at_ms < t->sorted_ms) {
                t->sorted_ms = at_ms;
                sift_up(s, t->place, t);
        }
}

uint64_t loop_timers_next_ms(const struct loop_timers *s)
{
        return s->len ? s->heap[0]->sorted_ms : UINT64_MAX;
}

void loop_timers_fire(struct loop_timers *s, uint64_t now_ms)
{
        /* No more turns than there are timers now: one that sets itself to
         * 0 ms in its own callback must not hold up the loop. */
        for (size_t turns = s->len; turns > 0 && s->len > 0; turns--) {
                struct timer *t = s->heap[0];

                if (t->sorted_ms > now_ms)
                        return;
                if (!t->is_set) {
                        take_out(s, t);
                } else if (t->at_ms > now_ms) {
                        t->sorted_ms = t->at_ms;
                        sift_down(s, 0, t);
                } else {
                        take_out(s, t);
                        t->is_set = false;
                        t->fire(t->arg);
                }
        }
}
