#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "net/loop_timers.h"

/* Rounds of deferred work that defers more of it, before the loop looks at its
 * descriptors again: nobody may keep it from them. */
enum { DEFERRED_PASSES_MAX = 8 };

/* Descriptors served between two looks at all else. */
enum { READY_MAX = 64 };

/* libuv's own descriptors (signals) are one in our set: what a peer sends passes
 * through one set on its way to us, not through a set in a set, and libuv runs when it
 * has something to do.
 *
 * A thread that wakes us says so in `is_woken`, and writes to `wake_fd` only if we
 * sleep: we look at the one after we set `is_asleep`, it at the other after it set the
 * one, so that one of both sees it. The descriptor is never read: each write is an edge. */
struct loop {
        uv_loop_t uv;
        uv_check_t anchor; /* active: without a handle libuv would never let us sleep */
        uint64_t fake_ms;  /* the time stands still here; 0: it goes on */
        uint64_t wall_us, monotonic_us; /* in this round; 0: nobody asked so far */
        struct loop_timers timers;
        struct list_node deferred, wakers;
        _Atomic bool is_woken, is_asleep;
        uint64_t wake_round;
        int wake_fd;
        bool is_running, is_stopped;
        int set; /* epoll: the pollers' descriptors and libuv's */
        struct epoll_event ready[READY_MAX]; /* of this round; an entry may be freed meanwhile */
        int ready_count;
        char *read_buffer;
        struct buffer_pool outputs;
};

/* The uv handle comes first in each object, so that one function frees all. */
static void free_handle(uv_handle_t *h)
{
        free(h);
}

static void on_anchor(uv_check_t *h)
{
        (void) h;
}

static bool watch_own(struct loop *l)
{
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = l};
        struct epoll_event wake = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};

        uv_check_init(&l->uv, &l->anchor);
        uv_check_start(&l->anchor, on_anchor);
        return epoll_ctl(l->set, EPOLL_CTL_ADD, uv_backend_fd(&l->uv), &e) == 0 &&
               epoll_ctl(l->set, EPOLL_CTL_ADD, l->wake_fd, &wake) == 0;
}

static void close_uv(struct loop *l)
{
        int r;

        uv_close((uv_handle_t *) &l->anchor, NULL);
        uv_run(&l->uv, UV_RUN_NOWAIT);
        r = uv_loop_close(&l->uv);
        assert(r == 0); /* else somebody still has a signal */
        (void) r;
}

struct loop *loop_new(void)
{
        struct loop *l = calloc(1, sizeof *l);

        if (!l)
                return NULL;
        l->read_buffer = malloc(LOOP_READ_BUFFER_SIZE);
        l->set = epoll_create1(EPOLL_CLOEXEC);
        l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (!l->read_buffer || l->set < 0 || l->wake_fd < 0 || uv_loop_init(&l->uv) != 0)
                goto failed;
        if (!watch_own(l)) {
                close_uv(l);
                goto failed;
        }
        /* Writing to a peer that went away is an error of that write. */
        signal(SIGPIPE, SIG_IGN);
        list_init(&l->deferred);
        list_init(&l->wakers);
        return l;
failed:
        if (l->set >= 0)
                close(l->set);
        if (l->wake_fd >= 0)
                close(l->wake_fd);
        free(l->read_buffer);
        free(l);
        return NULL;
}

struct loop *loop_free(struct loop *l)
{
        if (!l)
                return NULL;
        close_uv(l);
        assert(l->timers.count == 0 && list_is_empty(&l->wakers));
        loop_timers_done(&l->timers);
        buffer_pool_done(&l->outputs);
        close(l->set);
        close(l->wake_fd);
        free(l->read_buffer);
        free(l);
        return NULL;
}

static void run_deferred(struct loop *l)
{
        for (int pass = 0; pass < DEFERRED_PASSES_MAX && !list_is_empty(&l->deferred); pass++) {
                struct list_node now, *node;

                list_insert_before(l->deferred.next, &now);
                list_remove(&l->deferred);
                list_init(&l->deferred);
                while ((node = list_take_first(&now)) != NULL) {
                        struct deferred *d = LIST_OBJECT(node, struct deferred, node);

                        d->run(d);
                }
        }
}

/* How long there is nothing to do but for descriptors; -1: for ever. */
static int sleep_ms(const struct loop *l, int at_most_ms)
{
        const uint64_t at_ms = loop_timers_next_ms(&l->timers), now_ms = loop_now_ms(l);
        const int uv_ms = uv_backend_timeout(&l->uv);
        uint64_t ms = at_most_ms < 0 ? UINT64_MAX : (uint64_t) at_most_ms;

        if (!list_is_empty(&l->deferred) || at_ms <= now_ms || atomic_load(&l->is_woken))
                return 0;
        if (at_ms != UINT64_MAX && !l->fake_ms && at_ms - now_ms < ms)
                ms = at_ms - now_ms;
        if (uv_ms >= 0 && (uint64_t) uv_ms < ms)
                ms = (uint64_t) uv_ms;
        return ms == UINT64_MAX ? -1 : ms > INT_MAX ? INT_MAX : (int) ms;
}

static bool serve_ready(struct loop *l);
static void serve_wakers(struct loop *l);

static void forget_clocks(struct loop *l)
{
        l->wall_us = l->monotonic_us = 0;
}

/* One round, or what is left of it once the loop is stopped: descriptors, libuv's
 * own, wakers, timers; deferred work before and after. */
static void turn(struct loop *l, int at_most_ms)
{
        bool is_uv_due;

        run_deferred(l);
        if (l->is_stopped)
                return;
        forget_clocks(l);
        atomic_store(&l->is_asleep, true);
        l->ready_count = epoll_wait(l->set, l->ready, READY_MAX, sleep_ms(l, at_most_ms));
        atomic_store(&l->is_asleep, false);
        uv_update_time(&l->uv);
        is_uv_due = serve_ready(l);
        if (is_uv_due || uv_backend_timeout(&l->uv) == 0)
                uv_run(&l->uv, UV_RUN_NOWAIT);
        serve_wakers(l);
        if (!l->is_stopped) /* what a timer needs may be gone by now */
                loop_timers_fire(&l->timers, loop_now_ms(l));
        run_deferred(l);
}

void loop_run(struct loop *l)
{
        l->is_running = true;
        uv_update_time(&l->uv);
        while (!l->is_stopped)
                turn(l, -1);
        l->is_running = l->is_stopped = false;
        forget_clocks(l);
}

void loop_stop(struct loop *l)
{
        l->is_stopped = true;
}

void loop_run_once(struct loop *l, int timeout_ms)
{
        l->is_running = true;
        uv_update_time(&l->uv);
        turn(l, timeout_ms);
        l->is_running = l->is_stopped = false;
        forget_clocks(l);
}

uint64_t loop_now_ms(const struct loop *l)
{
        if (l->fake_ms)
                return l->fake_ms;
        /* Outside of a run nobody else moves libuv's clock. */
        if (!l->is_running)
                uv_update_time((uv_loop_t *) &l->uv);
        return uv_now(&l->uv);
}

/* What the clock said when this round first asked. */
static uint64_t in_this_round(const struct loop *l, uint64_t *us, uint64_t (*clock)(void))
{
        if (!l->is_running)
                return clock();
        if (!*us)
                *us = clock();
        return *us;
}

uint64_t loop_wall_us(struct loop *l)
{
        return in_this_round(l, &l->wall_us, clock_now_us);
}

uint64_t loop_monotonic_us(struct loop *l)
{
        return in_this_round(l, &l->monotonic_us, clock_monotonic_us);
}

char *loop_read_buffer(struct loop *l)
{
        return l->read_buffer;
}

struct buffer_pool *loop_output_pool(struct loop *l)
{
        return &l->outputs;
}

void loop_defer(struct loop *l, struct deferred *d)
{
        if (!list_is_linked(&d->node))
                list_append(&l->deferred, &d->node);
}

void deferred_cancel(struct deferred *d)
{
        list_remove(&d->node);
}

/* Pollers: a descriptor costs one call when it comes and one when it goes; libuv's
 * own pollers cost six. */

struct poller {
        struct loop *loop;
        int fd;
        int events;
        void (*ready)(void *arg, int events);
        void *arg;
};

int poller_new(struct loop *l, int fd, void (*ready)(void *arg, int events), void *arg,
               struct poller **ret_p)
{
        struct poller *p = malloc(sizeof *p);

        if (!p)
                return -ENOMEM;
        *p = (struct poller) {.loop = l, .fd = fd, .ready = ready, .arg = arg};
        *ret_p = p;
        return 0;
}

void poller_set(struct poller *p, int events)
{
        struct epoll_event e = {.data.ptr = p};
        int what = EPOLL_CTL_MOD;

        if (p->events == events)
                return;
        if (events & POLL_READ)
                e.events |= EPOLLIN;
        if (events & POLL_WRITE)
                e.events |= EPOLLOUT;
        if (!p->events)
                what = EPOLL_CTL_ADD;
        else if (!events) /* else it would still be told of a peer that went away */
                what = EPOLL_CTL_DEL;
        p->events = epoll_ctl(p->loop->set, what, p->fd, &e) == 0 ? events : 0;
}

struct poller *poller_free(struct poller *p)
{
        if (!p)
                return NULL;
        poller_set(p, 0);
        for (int i = 0; i < p->loop->ready_count; i++)
                if (p->loop->ready[i].data.ptr == p)
                        p->loop->ready[i].data.ptr = NULL;
        free(p);
        return NULL;
}

static int ready_events(struct poller *p, uint32_t events)
{
        int ready = 0;

        if (events & EPOLLERR) {
                /* Whoever reads or writes now is told which error; until then
                 * it is not said again. */
                poller_set(p, 0);
                return POLL_READ | POLL_WRITE;
        }
        if (events & (EPOLLIN | EPOLLHUP))
                ready |= POLL_READ;
        if (events & (EPOLLOUT | EPOLLHUP))
                ready |= POLL_WRITE;
        return ready & p->events; /* which one before it may have changed */
}

/* Whether libuv has something to do. */
static bool serve_ready(struct loop *l)
{
        bool is_uv_due = false;

        for (int i = 0; i < l->ready_count; i++) {
                /* NULL: freed by one before it, or it is wake_fd. */
                struct poller *p = l->ready[i].data.ptr;
                int now;

                if (l->ready[i].data.ptr == l) {
                        is_uv_due = true;
                        continue;
                }
                now = p && p->events ? ready_events(p, l->ready[i].events) : 0;
                if (now)
                        p->ready(p->arg, now);
        }
        l->ready_count = 0;
        return is_uv_due;
}

/* Timers. */

void loop_fake(struct loop *l, uint64_t now_ms)
{
        l->fake_ms = now_ms;
}

int timer_new(struct loop *l, void (*fire)(void *arg), void *arg, struct timer **ret_t)
{
        return loop_timers_add(&l->timers, l, fire, arg, ret_t);
}

void timer_set(struct timer *t, uint64_t ms)
{
        struct loop *l = t->loop;

        loop_timers_set(&l->timers, t, loop_now_ms(l) + ms);
}

void timer_stop(struct timer *t)
{
        t->is_set = false; /* leaves the heap when its time comes */
}

bool timer_is_set(const struct timer *t)
{
        return t->is_set;
}

struct timer *timer_free(struct timer *t)
{
        if (t)
                loop_timers_remove(&t->loop->timers, t);
        return NULL;
}

/* Wakers. */

struct waker {
        struct list_node node; /* of the loop */
        struct loop *loop;
        _Atomic bool is_due;
        uint64_t served_in; /* wake_round */
        void (*woken)(void *arg);
        void *arg;
};

int waker_new(struct loop *l, void (*woken)(void *arg), void *arg, struct waker **ret_w)
{
        struct waker *w = calloc(1, sizeof *w);

        if (!w)
                return -ENOMEM;
        w->loop = l;
        w->woken = woken;
        w->arg = arg;
        list_append(&l->wakers, &w->node);
        *ret_w = w;
        return 0;
}

void waker_wake(struct waker *w)
{
        const uint64_t once = 1;
        struct loop *l = w->loop;

        atomic_store(&w->is_due, true);
        if (atomic_exchange(&l->is_woken, true) || !atomic_exchange(&l->is_asleep, false))
                return;
        /* Its counter never becomes full, so no other error is possible. */
        while (write(l->wake_fd, &once, sizeof once) < 0 && errno == EINTR)
                ;
}

/* One that is due and was not served in this round, or NULL. */
static struct waker *take_due(struct loop *l)
{
        LIST_FOR_EACH (node, &l->wakers) {
                struct waker *w = LIST_OBJECT(node, struct waker, node);

                if (w->served_in != l->wake_round && atomic_exchange(&w->is_due, false))
                        return w;
        }
        return NULL;
}

/* They are few, and each may free others. One that becomes due again meanwhile waits
 * for the next round: it may not keep the loop from its descriptors. */
static void serve_wakers(struct loop *l)
{
        struct waker *w;

        if (!atomic_load(&l->is_woken))
                return;
        atomic_store(&l->is_woken, false);
        l->wake_round++;
        while ((w = take_due(l))) {
                w->served_in = l->wake_round;
                w->woken(w->arg);
        }
}

struct waker *waker_free(struct waker *w)
{
        if (!w)
                return NULL;
        list_remove(&w->node);
        free(w);
        return NULL;
}

/* Signals. */

struct signal_watch {
        uv_signal_t uv;
        void (*fire)(void *arg, int signal_number);
        void *arg;
};

static void on_signal(uv_signal_t *h, int signal_number)
{
        struct signal_watch *s = h->data;

        s->fire(s->arg, signal_number);
}

int signal_watch_new(struct loop *l, int signal_number, void (*fire)(void *arg, int signal_number),
                     void *arg, struct signal_watch **ret_s)
{
        struct signal_watch *s = calloc(1, sizeof *s);
        int r;

        if (!s)
                return -ENOMEM;
        r = uv_signal_init(&l->uv, &s->uv);
        if (r < 0) {
                free(s);
                return r;
        }
        s->uv.data = s;
        s->fire = fire;
        s->arg = arg;
        r = uv_signal_start(&s->uv, on_signal, signal_number);
        if (r < 0) {
                uv_close((uv_handle_t *) &s->uv, free_handle);
                return r;
        }
        *ret_s = s;
        return 0;
}

struct signal_watch *signal_watch_free(struct signal_watch *s)
{
        if (s)
                uv_close((uv_handle_t *) &s->uv, free_handle);
        return NULL;
}
