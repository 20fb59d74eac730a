/* The users file on disk: reading it, and edits under a lock. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>

#include "auth/users.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"

enum { FILE_MODE = 0640, LOCK_RETRY_MS = 20 };

static const char *last_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

int users_read(const char *path, struct users **ret_u, struct buffer *error)
{
        struct buffer text = BUFFER_INIT(USERS_FILE_MAX);
        int r = file_read_at(AT_FDCWD, path, &text);

        if (r == 0)
                r = users_parse(buffer_span(&text), last_name(path), ret_u, error);
        buffer_done(&text);
        return r;
}

/* flock() has no time limit of its own, so it is asked again and again. */
static int take_lock(const char *path, unsigned wait_ms, int *ret_fd)
{
        const uint64_t until_us = clock_monotonic_us() + (uint64_t) wait_ms * 1000;
        char name[4096];
        int fd;

        if (snprintf(name, sizeof name, "%s.lock", path) >= (int) sizeof name)
                return -ENAMETOOLONG;
        fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                const struct timespec pause = {.tv_nsec = LOCK_RETRY_MS * 1000000L};
                const int r = errno == EWOULDBLOCK ? -ETIMEDOUT : -errno;

                if (r == -EINTR)
                        continue;
                if (r != -ETIMEDOUT || clock_monotonic_us() >= until_us) {
                        close(fd);
                        return r;
                }
                nanosleep(&pause, NULL);
        }
        *ret_fd = fd;
        return 0;
}

int users_edit_begin(const char *path, unsigned wait_ms, struct users_edit *ret_e,
                     struct buffer *error)
{
        struct users_edit e = USERS_EDIT_INIT;
        int r;

        e.path = realpath(path, NULL);
        if (!e.path && errno != ENOENT)
                return -errno;
        if (!e.path && !(e.path = strdup(path)))
                return -ENOMEM;
        r = take_lock(e.path, wait_ms, &e.lock_fd);
        if (r == 0)
                r = users_read(e.path, &e.users, error);
        if (r == -ENOENT && e.lock_fd >= 0)
                r = users_parse((struct span) {0}, last_name(path), &e.users, error);
        if (r < 0) {
                users_edit_end(&e);
                return r;
        }
        *ret_e = e;
        return 0;
}

int users_edit_commit(struct users_edit *e)
{
        struct buffer text = BUFFER_INIT(USERS_FILE_MAX);
        int r = users_format(e->users, &text);

        if (r == 0)
                r = file_replace_keeping_at(AT_FDCWD, e->path, buffer_span(&text), FILE_MODE);
        buffer_done(&text);
        return r;
}

void users_edit_end(struct users_edit *e)
{
        users_free(e->users);
        free(e->path);
        close_fd(&e->lock_fd);
        *e = USERS_EDIT_INIT;
}
