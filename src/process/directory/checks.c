#include "process/directory/checks.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct checks {
        pthread_mutex_t mutex;
        pthread_cond_t more;
        struct list_node waiting, finished;
        size_t waiting_count;
        struct waker *waker;
};

/* The threads live as long as the process: it ends with _exit(). */
static void *run(void *arg)
{
        struct checks *c = arg;

        pthread_mutex_lock(&c->mutex);
        for (;;) {
                struct list_node *node;
                struct check *check;

                while (!(node = list_take_first(&c->waiting)))
                        pthread_cond_wait(&c->more, &c->mutex);
                c->waiting_count--;
                pthread_mutex_unlock(&c->mutex);
                check = LIST_OBJECT(node, struct check, node);
                check->work(check);
                pthread_mutex_lock(&c->mutex);
                list_append(&c->finished, &check->node);
                waker_wake(c->waker);
        }
        return NULL;
}

static void on_woken(void *arg)
{
        struct checks *c = arg;

        for (;;) {
                struct list_node *node;
                struct check *check;

                pthread_mutex_lock(&c->mutex);
                node = list_take_first(&c->finished);
                pthread_mutex_unlock(&c->mutex);
                if (!node)
                        return;
                check = LIST_OBJECT(node, struct check, node);
                check->done(check);
        }
}

unsigned checks_threads_wanted(void)
{
        const long cores = sysconf(_SC_NPROCESSORS_ONLN);

        return cores < 1 ? 1 : cores < CHECKS_THREADS ? (unsigned) cores : CHECKS_THREADS;
}

static int start_threads(struct checks *c, unsigned wanted)
{
        unsigned started = 0;
        int r = 0;

        for (; started < wanted && r == 0; started++) {
                pthread_t thread;

                r = pthread_create(&thread, NULL, run, c);
                if (r == 0)
                        pthread_detach(thread);
        }
        return started > 1 || r == 0 ? 0 : -r;
}

int checks_new(struct loop *l, unsigned threads, struct checks **ret_c)
{
        struct checks *c = calloc(1, sizeof *c);
        int r;

        if (!c)
                return -ENOMEM;
        pthread_mutex_init(&c->mutex, NULL);
        pthread_cond_init(&c->more, NULL);
        list_init(&c->waiting);
        list_init(&c->finished);
        r = waker_new(l, on_woken, c, &c->waker);
        if (r == 0)
                r = start_threads(c, threads);
        if (r < 0) {
                waker_free(c->waker);
                free(c);
                return r;
        }
        *ret_c = c;
        return 0;
}

int checks_add(struct checks *c, struct check *check)
{
        int r = -EBUSY;

        pthread_mutex_lock(&c->mutex);
        if (c->waiting_count < CHECKS_WAITING_MAX) {
                list_append(&c->waiting, &check->node);
                c->waiting_count++;
                pthread_cond_signal(&c->more);
                r = 0;
        }
        pthread_mutex_unlock(&c->mutex);
        return r;
}

size_t checks_waiting(struct checks *c)
{
        size_t count;

        pthread_mutex_lock(&c->mutex);
        count = c->waiting_count;
        pthread_mutex_unlock(&c->mutex);
        return count;
}
