#include "net/loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/test.h"

static int fired[64];
static size_t fired_len;

struct numbered {
        struct timer *t;
        int number;
};

static void record(void *arg)
{
        struct numbered *n = arg;

        fired[fired_len++] = n->number;
}

TEST(timers_fire_in_order_and_once)
{
        struct loop *l = loop_new();
        struct numbered n[6];
        const uint64_t ms[6] = {30, 10, 20, 5, 40, 1};

        loop_fake(l, 1000);
        fired_len = 0;
        for (int i = 0; i < 6; i++) {
                n[i].number = i;
                CHECK(timer_new(l, record, &n[i], &n[i].t) == 0, "timer_new");
                timer_set(n[i].t, ms[i]);
        }
        timer_stop(n[4].t);
        timer_set(n[5].t, 25); /* later */
        timer_set(n[0].t, 2);  /* earlier */
        CHECK(timer_is_set(n[0].t) && !timer_is_set(n[4].t), "is_set");
        for (uint64_t now_ms = 1000; now_ms < 1060; now_ms++) {
                loop_fake(l, now_ms);
                loop_run_once(l, 0);
        }
        CHECK(fired_len == 5, "five fire, the stopped one does not");
        const int want[5] = {0, 3, 1, 2, 5};
        for (int i = 0; i < 5; i++)
                CHECK(fired[i] == want[i], "order");
        for (int i = 0; i < 6; i++)
                timer_free(n[i].t);
        loop_free(l);
}

TEST(a_fake_clock_moves_by_hand)
{
        struct loop *l = loop_new();
        struct numbered n[2] = {{.number = 0}, {.number = 1}};

        fired_len = 0;
        loop_fake(l, 1000);
        for (int i = 0; i < 2; i++) {
                CHECK(timer_new(l, record, &n[i], &n[i].t) == 0, "timer_new");
                timer_set(n[i].t, i ? 1 : 3600 * 1000);
        }
        loop_run_once(l, 5);
        CHECK(fired_len == 0 && loop_now_ms(l) == 1000, "time stands still");
        loop_fake(l, 1001);
        loop_run_once(l, 50);
        CHECK(fired_len == 1 && fired[0] == 1, "the first");
        loop_fake(l, 1000 + 3600 * 1000);
        loop_run_once(l, 50);
        CHECK(fired_len == 2 && fired[1] == 0, "an hour later");
        loop_fake(l, 0);
        CHECK(loop_now_ms(l) != 1000 + 3600 * 1000, "the real clock");
        for (int i = 0; i < 2; i++)
                timer_free(n[i].t);
        loop_free(l);
}

/* Many timers set, moved, stopped and freed at random, against a plain list. */
TEST(timers_agree_with_a_list)
{
        enum { COUNT = 200 };
        struct loop *l = loop_new();
        struct numbered n[COUNT];
        uint64_t due[COUNT];

        loop_fake(l, 1000); /* none fires, however long this takes */
        srand(7);
        for (int i = 0; i < COUNT; i++) {
                n[i].number = i;
                CHECK(timer_new(l, record, &n[i], &n[i].t) == 0, "timer_new");
                due[i] = 0;
        }
        for (int step = 0; step < 5000; step++) {
                int i = rand() % COUNT;

                if (rand() % 4 == 0) {
                        timer_stop(n[i].t);
                        due[i] = 0;
                } else {
                        uint64_t ms = 1000 + (uint64_t) (rand() % 1000);

                        timer_set(n[i].t, ms);
                        due[i] = loop_now_ms(l) + ms;
                }
                CHECK(timer_is_set(n[i].t) == (due[i] != 0), "is_set");
        }
        for (int i = 0; i < COUNT; i += 3) {
                n[i].t = timer_free(n[i].t);
                due[i] = 0;
        }
        for (int i = 0; i < COUNT; i++)
                timer_free(n[i].t);
        loop_free(l);
}

struct again {
        struct timer *t;
        int times;
        struct loop *l;
};

static void set_again(void *arg)
{
        struct again *a = arg;

        a->times++;
        timer_set(a->t, 0);
}

static void free_itself(void *arg)
{
        struct again *a = arg;

        a->times++;
        a->t = timer_free(a->t);
}

TEST(a_timer_may_set_or_free_itself)
{
        struct loop *l = loop_new();
        struct again a = {.l = l}, b = {.l = l};

        CHECK(timer_new(l, set_again, &a, &a.t) == 0, "new");
        CHECK(timer_new(l, free_itself, &b, &b.t) == 0, "new");
        timer_set(a.t, 0);
        timer_set(b.t, 0);
        for (int i = 0; i < 10; i++)
                loop_run_once(l, 1);
        CHECK(a.times >= 5 && a.times <= 25, "once a round");
        CHECK(b.times == 1, "freed in its callback");
        timer_free(a.t);
        loop_free(l);
}

struct pipe_state {
        struct loop *l;
        struct poller *p;
        int fds[2];
        int ready;
        bool free_in_callback;
};

static void on_ready(void *arg, int events)
{
        struct pipe_state *s = arg;
        char c;

        CHECK(events & POLL_READ, "readable");
        s->ready++;
        if (s->free_in_callback) {
                s->p = poller_free(s->p);
                close(s->fds[0]);
        } else {
                CHECK(read(s->fds[0], &c, 1) == 1, "read");
        }
}

TEST(a_poller_is_level_triggered_and_may_be_freed_in_its_callback)
{
        struct pipe_state s = {.l = loop_new()};

        CHECK(pipe2(s.fds, O_CLOEXEC | O_NONBLOCK) == 0, "pipe");
        CHECK(poller_new(s.l, s.fds[0], on_ready, &s, &s.p) == 0, "new");
        CHECK(write(s.fds[1], "ab", 2) == 2, "write");
        loop_run_once(s.l, 5);
        CHECK(s.ready == 0, "no events at start");
        poller_set(s.p, POLL_READ);
        loop_run_once(s.l, 50);
        loop_run_once(s.l, 50);
        CHECK(s.ready == 2, "both octets, one a round");
        poller_set(s.p, 0);
        CHECK(write(s.fds[1], "c", 1) == 1, "write");
        loop_run_once(s.l, 5);
        CHECK(s.ready == 2, "off");
        s.free_in_callback = true;
        poller_set(s.p, POLL_READ);
        loop_run_once(s.l, 50);
        loop_run_once(s.l, 5);
        CHECK(s.ready == 3 && !s.p, "freed");
        close(s.fds[1]);
        loop_free(s.l);
}

struct chain {
        struct deferred d;
        struct loop *l;
        int runs, runs_max;
};

static void run_chain(struct deferred *d)
{
        struct chain *c = (struct chain *) (void *) d;

        if (++c->runs < c->runs_max)
                loop_defer(c->l, d);
}

TEST(deferred_work_runs_before_the_loop_sleeps)
{
        struct loop *l = loop_new();
        struct chain c = {.d.run = run_chain, .l = l, .runs_max = 5};
        struct chain endless = {.d.run = run_chain, .l = l, .runs_max = 1000000};
        uint64_t start = loop_now_ms(l);

        loop_defer(l, &c.d);
        loop_defer(l, &c.d); /* already scheduled */
        loop_run_once(l, 20);
        CHECK(c.runs == 5, "work that defers itself");
        loop_defer(l, &endless.d);
        for (int i = 0; i < 10; i++)
                loop_run_once(l, 60 * 1000);
        CHECK(endless.runs > 50 && endless.runs < 1000, "does not starve the loop");
        CHECK(loop_now_ms(l) - start < 60 * 1000, "nor lets it sleep");
        deferred_cancel(&endless.d);
        loop_free(l);
}

static void count_wake(void *arg)
{
        ++*(int *) arg;
}

struct clocks {
        struct loop *loop;
        uint64_t wall_us, monotonic_us;
};

static void look_at_clocks(void *arg)
{
        struct clocks *c = arg;

        c->wall_us = loop_wall_us(c->loop);
        c->monotonic_us = loop_monotonic_us(c->loop);
        clock_fake(2000);
        CHECK(loop_wall_us(c->loop) == c->wall_us, "wall: once a round");
        CHECK(loop_monotonic_us(c->loop) == c->monotonic_us, "monotonic: once a round");
}

TEST(clocks_are_looked_at_once_a_round)
{
        struct clocks c = {.loop = loop_new()};
        struct timer *t;

        assert_int_equal(0, timer_new(c.loop, look_at_clocks, &c, &t));
        for (int round = 0; round < 2; round++) {
                clock_fake(1000);
                timer_set(t, 0);
                loop_run_once(c.loop, 0);
                CHECK(c.wall_us == 1000 && c.monotonic_us == 1000, "as it is in the round");
                CHECK(loop_wall_us(c.loop) == 2000, "outside of one: now");
        }
        clock_fake(0);
        timer_free(t);
        loop_free(c.loop);
}

static void *wake_from_thread(void *arg)
{
        waker_wake(arg);
        return NULL;
}

struct two_wakers {
        struct waker *a, *b;
        int runs;
};

/* Wakes itself once more, and frees the other one, which is due too. */
static void wake_itself(void *arg)
{
        struct two_wakers *t = arg;

        t->b = waker_free(t->b);
        if (++t->runs == 1)
                waker_wake(t->a);
}

TEST(a_waker_is_served_once_a_round_and_may_free_another)
{
        struct loop *l = loop_new();
        struct two_wakers t = {.runs = 0};
        int woken = 0;

        assert_int_equal(0, waker_new(l, wake_itself, &t, &t.a));
        assert_int_equal(0, waker_new(l, count_wake, &woken, &t.b));
        waker_wake(t.b);
        waker_wake(t.a);
        loop_run_once(l, -1);
        CHECK(t.runs == 1 && woken == 0, "the first round");
        loop_run_once(l, -1);
        CHECK(t.runs == 2, "the second does not sleep");
        loop_run_once(l, 0);
        CHECK(t.runs == 2, "then none is due");
        waker_free(t.a);
        loop_free(l);
}

enum { WAKES = 20000 };

struct many_wakes {
        struct waker *waker;
        _Atomic int asked, answered;
};

static void answer_wakes(void *arg)
{
        struct many_wakes *m = arg;

        m->answered = m->asked;
}

/* Waits for every other answer: one that is lost would be waited for in vain. */
static void *wake_many(void *arg)
{
        struct many_wakes *m = arg;

        for (int i = 1; i <= WAKES; i++) {
                m->asked = i;
                waker_wake(m->waker);
                while (i % 2 && m->answered != i)
                        sched_yield();
        }
        return NULL;
}

TEST(no_wake_is_lost)
{
        struct loop *l = loop_new();
        struct many_wakes m = {.asked = 0};
        pthread_t thread;

        assert_int_equal(0, waker_new(l, answer_wakes, &m, &m.waker));
        assert_int_equal(0, pthread_create(&thread, NULL, wake_many, &m));
        while (m.answered < WAKES)
                loop_run_once(l, -1);
        pthread_join(thread, NULL);
        waker_free(m.waker);
        loop_free(l);
}

static void stop_loop(void *arg, int signal_number)
{
        CHECK(signal_number == SIGUSR1, "number");
        loop_stop(arg);
}

TEST(other_threads_and_signals_reach_the_loop)
{
        struct loop *l = loop_new();
        struct waker *w;
        struct signal_watch *s;
        pthread_t thread;
        int woken = 0;

        CHECK(waker_new(l, count_wake, &woken, &w) == 0, "waker");
        CHECK(pthread_create(&thread, NULL, wake_from_thread, w) == 0, "thread");
        for (int i = 0; i < 3000 && !woken; i++)
                loop_run_once(l, 20);
        pthread_join(thread, NULL);
        CHECK(woken == 1, "woken");
        waker_free(w);
        CHECK(signal_watch_new(l, SIGUSR1, stop_loop, l, &s) == 0, "signal");
        raise(SIGUSR1);
        loop_run(l); /* ends by the signal */
        signal_watch_free(s);
        loop_free(l);
}

static void stop_deferred(struct deferred *d)
{
        struct chain *c = (struct chain *) (void *) d;

        c->runs++;
        loop_stop(c->l);
}

static void stop_by_poller(void *arg, int events)
{
        (void) events;
        loop_stop(arg);
}

/* Whoever stops the loop frees what timers need; and is not kept waiting. */
TEST(a_stopped_loop_fires_no_timer_and_does_not_sleep)
{
        struct loop *l = loop_new();
        struct chain c = {.d.run = stop_deferred, .l = l};
        struct numbered n = {.number = 0};
        struct poller *p;
        int fds[2];

        fired_len = 0;
        CHECK(timer_new(l, record, &n, &n.t) == 0, "timer_new");
        loop_defer(l, &c.d);
        loop_run(l);
        CHECK(c.runs == 1, "stopped before it slept");
        CHECK(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0 && write(fds[1], "a", 1) == 1, "pipe");
        CHECK(poller_new(l, fds[0], stop_by_poller, l, &p) == 0, "new");
        poller_set(p, POLL_READ);
        timer_set(n.t, 0);
        loop_run(l);
        CHECK(fired_len == 0, "no timer");
        poller_free(p);
        loop_run_once(l, 5);
        CHECK(fired_len == 1, "but later");
        close(fds[0]);
        close(fds[1]);
        timer_free(n.t);
        loop_free(l);
}

TEST_MAIN()
