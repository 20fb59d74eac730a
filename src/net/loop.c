#include "net/loop.h"

#include <assert.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>

#include "net/loop_timers.h"

/* Rounds of deferred work that defers more of it, before the loop looks at its
 * descriptors again: nobody may keep it from them. */
enum { DEFERRED_PASSES_MAX = 8 };

/* Descriptors served between two looks at all else. */
enum { READY_MAX = 64 };

struct loop {
        uv_loop_t uv;
        uv_prepare_t prepare; /* before sleeping: work put off by timers */
        uv_check_t check;     /* after the descriptors were looked at */
        uv_idle_t busy;       /* active: do not sleep, deferred work is left */
        uv_timer_t round;     /* limits loop_run_once() */
        uv_timer_t clock;     /* fires for the first of `timers` */
        uint64_t clock_at_ms; /* when; UINT64_MAX: not set */
        uint64_t fake_ms;     /* the time stands still here; 0: it goes on */
        struct loop_timers timers;
        struct list_node deferred;
        bool is_running;
        int set;              /* epoll: the pollers' descriptors */
        uv_poll_t set_watch;
        struct epoll_event ready[READY_MAX]; /* of this round; an entry may be freed meanwhile */
        int ready_count;
        char *read_buffer;
};

/* The uv handle comes first in each object, so that one function frees all. */
static void free_handle(uv_handle_t *h)
{
        free(h);
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
        if (list_is_empty(&l->deferred))
                uv_idle_stop(&l->busy);
}

static void on_idle(uv_idle_t *h)
{
        (void) h; /* its being active is what keeps the loop awake */
}

static void on_prepare(uv_prepare_t *h)
{
        struct loop *l = h->data;

        run_deferred(l);
        if (!list_is_empty(&l->deferred))
                uv_idle_start(&l->busy, on_idle);
}

static void on_check(uv_check_t *h)
{
        run_deferred(h->data);
}

/* It may fire before libuv looks at descriptors, which then must not sleep. */
static void on_round(uv_timer_t *h)
{
        uv_stop(h->loop);
}

static void on_set(uv_poll_t *h, int status, int events);

struct loop *loop_new(void)
{
        struct loop *l = calloc(1, sizeof *l);

        if (!l)
                return NULL;
        l->read_buffer = malloc(LOOP_READ_BUFFER_SIZE);
        l->set = epoll_create1(EPOLL_CLOEXEC);
        if (!l->read_buffer || l->set < 0 || uv_loop_init(&l->uv) != 0) {
                if (l->set >= 0)
                        close(l->set);
                free(l->read_buffer);
                free(l);
                return NULL;
        }
        /* Writing to a peer that went away is an error of that write. */
        signal(SIGPIPE, SIG_IGN);
        uv_prepare_init(&l->uv, &l->prepare);
        uv_check_init(&l->uv, &l->check);
        uv_idle_init(&l->uv, &l->busy);
        uv_timer_init(&l->uv, &l->round);
        uv_timer_init(&l->uv, &l->clock);
        uv_poll_init(&l->uv, &l->set_watch, l->set);
        l->prepare.data = l->check.data = l->clock.data = l->set_watch.data = l;
        l->clock_at_ms = UINT64_MAX;
        uv_prepare_start(&l->prepare, on_prepare);
        uv_check_start(&l->check, on_check);
        uv_poll_start(&l->set_watch, UV_READABLE, on_set);
        list_init(&l->deferred);
        return l;
}

struct loop *loop_free(struct loop *l)
{
        int r;

        if (!l)
                return NULL;
        uv_close((uv_handle_t *) &l->prepare, NULL);
        uv_close((uv_handle_t *) &l->check, NULL);
        uv_close((uv_handle_t *) &l->busy, NULL);
        uv_close((uv_handle_t *) &l->round, NULL);
        uv_close((uv_handle_t *) &l->clock, NULL);
        uv_close((uv_handle_t *) &l->set_watch, NULL);
        uv_run(&l->uv, UV_RUN_NOWAIT);
        r = uv_loop_close(&l->uv);
        assert(r == 0); /* else somebody still has a poller, waker or signal */
        (void) r;
        assert(l->timers.count == 0);
        loop_timers_done(&l->timers);
        close(l->set);
        free(l->read_buffer);
        free(l);
        return NULL;
}

void loop_run(struct loop *l)
{
        l->is_running = true;
        uv_run(&l->uv, UV_RUN_DEFAULT);
        run_deferred(l);
        l->is_running = false;
}

void loop_stop(struct loop *l)
{
        uv_stop(&l->uv);
}

void loop_run_once(struct loop *l, int timeout_ms)
{
        l->is_running = true;
        if (timeout_ms > 0) {
                uv_update_time(&l->uv);
                uv_timer_start(&l->round, on_round, (uint64_t) timeout_ms, 0);
        }
        uv_run(&l->uv, timeout_ms == 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        uv_timer_stop(&l->round);
        run_deferred(l);
        l->is_running = false;
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

char *loop_read_buffer(struct loop *l)
{
        return l->read_buffer;
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

/* Pollers: in a set of our own, which libuv watches as one descriptor. A
 * descriptor costs one call when it comes and one when it goes; libuv's own
 * pollers cost six. */

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
        struct poller *p = calloc(1, sizeof *p);

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

static void on_set(uv_poll_t *h, int status, int events)
{
        struct loop *l = h->data;

        (void) status;
        (void) events;
        l->ready_count = epoll_wait(l->set, l->ready, READY_MAX, 0);
        for (int i = 0; i < l->ready_count; i++) {
                struct poller *p = l->ready[i].data.ptr; /* NULL: freed by one before it */
                const int now = p && p->events ? ready_events(p, l->ready[i].events) : 0;

                if (now)
                        p->ready(p->arg, now);
        }
        l->ready_count = 0;
}

/* Timers: one of libuv's stands for the first of ours. */

static void on_clock(uv_timer_t *h);

static void set_clock(struct loop *l)
{
        uint64_t at_ms = loop_timers_next_ms(&l->timers);
        uint64_t now_ms = l->fake_ms ? l->fake_ms : uv_now(&l->uv);

        /* Firing too early costs one look; so it is only ever moved forward. */
        if (at_ms >= l->clock_at_ms || (l->fake_ms && at_ms > now_ms))
                return;
        l->clock_at_ms = at_ms;
        /* At least 1 ms: libuv fires a timer of 0 ms that is set in its own
         * callback again and again before it looks at descriptors. */
        uv_timer_start(&l->clock, on_clock, at_ms > now_ms ? at_ms - now_ms : 1, 0);
}

static void on_clock(uv_timer_t *h)
{
        struct loop *l = h->data;

        l->clock_at_ms = UINT64_MAX;
        loop_timers_fire(&l->timers, l->fake_ms ? l->fake_ms : uv_now(&l->uv));
        set_clock(l);
}

void loop_fake(struct loop *l, uint64_t now_ms)
{
        l->fake_ms = now_ms;
        l->clock_at_ms = UINT64_MAX;
        uv_timer_stop(&l->clock);
        set_clock(l);
}

int timer_new(struct loop *l, void (*fire)(void *arg), void *arg, struct timer **ret_t)
{
        return loop_timers_add(&l->timers, l, fire, arg, ret_t);
}

void timer_set(struct timer *t, uint64_t ms)
{
        struct loop *l = t->loop;

        if (loop_timers_set(&l->timers, t, loop_now_ms(l) + ms))
                set_clock(l);
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
        uv_async_t uv;
        void (*woken)(void *arg);
        void *arg;
};

static void on_wake(uv_async_t *h)
{
        struct waker *w = h->data;

        w->woken(w->arg);
}

int waker_new(struct loop *l, void (*woken)(void *arg), void *arg, struct waker **ret_w)
{
        struct waker *w = calloc(1, sizeof *w);
        int r;

        if (!w)
                return -ENOMEM;
        r = uv_async_init(&l->uv, &w->uv, on_wake);
        if (r < 0) {
                free(w);
                return r;
        }
        w->uv.data = w;
        w->woken = woken;
        w->arg = arg;
        *ret_w = w;
        return 0;
}

void waker_wake(struct waker *w)
{
        uv_async_send(&w->uv);
}

struct waker *waker_free(struct waker *w)
{
        if (w)
                uv_close((uv_handle_t *) &w->uv, free_handle);
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
