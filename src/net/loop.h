/* The event loop of a process: libuv's, seen through four things that own
 * nothing but themselves. One loop a process; nothing here is thread-safe but
 * waker_wake().
 *
 * Objects are freed with their _free function, which may be called in any
 * callback, their own too; a freed object calls back no more. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer_pool.h"
#include "base/list.h"

struct loop;

/* NULL without memory. From then on the process ignores SIGPIPE. Everything
 * made with a loop is freed before it. */
struct loop *loop_new(void);
struct loop *loop_free(struct loop *l);

/* Runs until loop_stop(). */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* One round, at most `timeout_ms` long (-1: until something happens): for
 * tests and the command line. */
void loop_run_once(struct loop *l, int timeout_ms);

/* Monotonic, as of the beginning of this round: cheap. */
uint64_t loop_now_ms(const struct loop *l);

/* Since 1970 and monotonic (base/clock.h), in µs, as of when this round first asked:
 * one look at each clock a round, for what need not be exact to the millisecond. */
uint64_t loop_wall_us(struct loop *l);
uint64_t loop_monotonic_us(struct loop *l);

/* For tests only: time stands still at `now_ms` until the next call; timers whose
 * time has come by then fire in the next round. 0 gives the real clock back. */
void loop_fake(struct loop *l, uint64_t now_ms);

/* One buffer that all streams of the loop read into: its contents live until
 * the callback that read returns. LOOP_READ_BUFFER_SIZE octets. */
enum { LOOP_READ_BUFFER_SIZE = 64 * 1024 };
char *loop_read_buffer(struct loop *l);

/* Memory of what is said: streams and their owners take it from here, and give it back
 * when all of it was sent. */
struct buffer_pool *loop_output_pool(struct loop *l);

/* Work put off to the end of this round, before the loop sleeps: many small
 * writes become one. Scheduling one that is already scheduled does nothing. */
struct deferred {
        struct list_node node; /* zero before its first use */
        void (*run)(struct deferred *d);
};
void loop_defer(struct loop *l, struct deferred *d);
void deferred_cancel(struct deferred *d);

/* Readiness of a descriptor, which is non-blocking and stays the caller's: free
 * the poller before closing it. Level-triggered. Starts with no events. */
enum { POLL_READ = 1, POLL_WRITE = 2 };
struct poller;
int poller_new(struct loop *l, int fd, void (*ready)(void *arg, int events), void *arg,
               struct poller **ret_p);
void poller_set(struct poller *p, int events); /* costs nothing when unchanged */
struct poller *poller_free(struct poller *p);

/* Fires once, `ms` from now; setting it again moves it. Moving a timer later
 * is cheap: nothing is re-sorted until the old time has come. */
struct timer;
int timer_new(struct loop *l, void (*fire)(void *arg), void *arg, struct timer **ret_t);
void timer_set(struct timer *t, uint64_t ms);
void timer_stop(struct timer *t);
bool timer_is_set(const struct timer *t);
struct timer *timer_free(struct timer *t);

/* Another thread wakes the loop; several wakes may become one call. */
struct waker;
int waker_new(struct loop *l, void (*woken)(void *arg), void *arg, struct waker **ret_w);
void waker_wake(struct waker *w); /* any thread */
struct waker *waker_free(struct waker *w);

/* A signal, as an event. */
struct signal_watch;
int signal_watch_new(struct loop *l, int signal_number, void (*fire)(void *arg, int signal_number),
                     void *arg, struct signal_watch **ret_s);
struct signal_watch *signal_watch_free(struct signal_watch *s);
