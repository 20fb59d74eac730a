#include "process/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

enum {
        STILL_MS = 1000,
        EVENTS = IN_CLOSE_WRITE | IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_MOVED_FROM,
};

struct watched_file {
        int folder; /* inotify's number of the folder */
        char name[256];
};

struct watch {
        int fd;
        struct poller *poller;
        struct timer *still;
        void (*changed)(void *arg);
        void *arg;
        struct watched_file files[WATCH_FILES_MAX];
        size_t count;
};

static bool is_watched(const struct watch *w, const struct inotify_event *event)
{
        for (size_t i = 0; i < w->count; i++)
                if (w->files[i].folder == event->wd && event->len &&
                    strcmp(w->files[i].name, event->name) == 0)
                        return true;
        /* Events were lost: anything may have changed. */
        return (event->mask & IN_Q_OVERFLOW) != 0;
}

static void on_ready(void *arg, int events)
{
        struct watch *w = arg;
        _Alignas(struct inotify_event) char in[16 * 1024];
        bool is_touched = false;
        ssize_t n;

        (void) events;
        while ((n = read(w->fd, in, sizeof in)) > 0) {
                for (char *at = in; at < in + n;) {
                        const struct inotify_event *event = (const void *) at;

                        is_touched = is_touched || is_watched(w, event);
                        at += sizeof *event + event->len;
                }
        }
        if (is_touched)
                timer_set(w->still, STILL_MS);
}

static void on_still(void *arg)
{
        struct watch *w = arg;

        w->changed(w->arg);
}

int watch_new(struct loop *l, void (*changed)(void *arg), void *arg, struct watch **ret_w)
{
        struct watch *w = calloc(1, sizeof *w);
        int r;

        if (!w)
                return -ENOMEM;
        w->changed = changed;
        w->arg = arg;
        w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        r = w->fd < 0 ? -errno : poller_new(l, w->fd, on_ready, w, &w->poller);
        if (r == 0)
                r = timer_new(l, on_still, w, &w->still);
        if (r < 0) {
                watch_free(w);
                return r;
        }
        poller_set(w->poller, POLL_READ);
        *ret_w = w;
        return 0;
}

struct watch *watch_free(struct watch *w)
{
        if (!w)
                return NULL;
        poller_free(w->poller);
        timer_free(w->still);
        if (w->fd >= 0)
                close(w->fd);
        free(w);
        return NULL;
}

static void add_file(struct watch *w, struct span path)
{
        struct watched_file *file = &w->files[w->count];
        const size_t slash = span_find_last(path, '/');
        const struct span folder = slash == SIZE_MAX ? SPAN_LITERAL(".")
                                                     : span_first(path, slash ? slash : 1);
        const struct span name = slash == SIZE_MAX ? path : span_skip(path, slash + 1);
        char text[4096];

        if (w->count == WATCH_FILES_MAX || name.len >= sizeof file->name ||
            folder.len >= sizeof text)
                return;
        memcpy(file->name, name.p, name.len);
        file->name[name.len] = '\0';
        memcpy(text, folder.p, folder.len);
        text[folder.len] = '\0';
        file->folder = inotify_add_watch(w->fd, text, EVENTS); /* the same folder: same number */
        if (file->folder >= 0)
                w->count++;
}

void watch_set(struct watch *w, const struct span *paths, size_t count)
{
        for (size_t i = 0; i < w->count; i++)
                inotify_rm_watch(w->fd, w->files[i].folder); /* twice for a shared one: harmless */
        w->count = 0;
        for (size_t i = 0; i < count; i++)
                add_file(w, paths[i]);
}
