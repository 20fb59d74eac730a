#include "process/folders.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "process/listeners.h"

enum {
        FOLDER_MAX = 4096,
        LISTEN_PATIENCE_US = 5 * 1000 * 1000,
        LISTEN_NAP_MS = 20,
};

static int copy_path(struct span path, char *out)
{
        if (path.len == 0)
                return -ENOENT;
        if (path.len >= FOLDER_MAX || memchr(path.p, '\0', path.len))
                return -ENAMETOOLONG;
        memcpy(out, path.p, path.len);
        out[path.len] = '\0';
        return 0;
}

/* As mkdir -p: parents are 0755, the last one is `mode`. */
static int make(char *path, mode_t mode)
{
        for (char *at = path + 1; (at = strchr(at, '/')); at++) {
                *at = '\0';
                if (mkdir(path, 0755) < 0 && errno != EEXIST) {
                        const int r = -errno;

                        *at = '/';
                        return r;
                }
                *at = '/';
        }
        return mkdir(path, mode) < 0 && errno != EEXIST ? -errno : 0;
}

static int complain(struct buffer *error, const char *option, struct span path, int r)
{
        buffer_printf(error, "%s \"%.*s\": %s\n", option, (int) path.len, path.p, strerror(-r));
        return r;
}

/* A folder that root owns is new or was made by hand for us; any other owner
 * than the keeper means files that the keeper could not read. */
static int give(int fd, struct span path, uid_t uid, gid_t gid, struct buffer *error)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return complain(error, "state_dir", path, -errno);
        if (st.st_uid == uid)
                return 0;
        if (geteuid() == 0 && st.st_uid == 0)
                return fchown(fd, uid, gid) < 0 ? complain(error, "state_dir", path, -errno) : 0;
        buffer_printf(error,
                      "state_dir \"%.*s\" belongs to uid %u, but the keeper runs as uid %u: "
                      "give it the folder (chown -R %u:%u) or choose another\n",
                      (int) path.len, path.p, (unsigned) st.st_uid, (unsigned) uid, (unsigned) uid,
                      (unsigned) gid);
        return -EPERM;
}

int folders_open_state(struct span path, uid_t uid, gid_t gid, struct buffer *error,
                       int *ret_lock_fd, int *ret_state_fd)
{
        _cleanup_(close_fd) int lock_fd = -1;
        char text[FOLDER_MAX];
        int r = copy_path(path, text), state_fd;

        if (r == 0)
                r = make(text, 0700);
        if (r < 0)
                return complain(error, "state_dir", path, r);
        lock_fd = open(text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (lock_fd < 0)
                return complain(error, "state_dir", path, -errno);
        r = give(lock_fd, path, uid, gid, error);
        if (r < 0)
                return r;
        if (flock(lock_fd, LOCK_EX | LOCK_NB) < 0) {
                buffer_printf(error, "state_dir \"%.*s\" is in use: another Hayauma runs on it\n",
                              (int) path.len, path.p);
                return errno == EWOULDBLOCK ? -EBUSY : -errno;
        }
        /* A description of its own: the lock must not live on in the keeper. */
        state_fd = open(text, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (state_fd < 0)
                return complain(error, "state_dir", path, -errno);
        *ret_state_fd = state_fd;
        *ret_lock_fd = lock_fd;
        lock_fd = -1;
        return 0;
}

int folders_make_run(struct span path, struct buffer *error)
{
        char text[FOLDER_MAX];
        int r = copy_path(path, text);

        if (r == 0)
                r = make(text, 0755);
        return r < 0 ? complain(error, "run_dir", path, r) : 0;
}

int folders_listen(struct span run_dir, const char *name, struct buffer *error)
{
        const struct timespec nap = {0, LISTEN_NAP_MS * 1000 * 1000};
        const uint64_t until_us = clock_monotonic_us() + LISTEN_PATIENCE_US;
        char path[FOLDER_MAX + 16];
        int fd;

        snprintf(path, sizeof path, "%.*s/%s", (int) run_dir.len, run_dir.p, name);
        while ((fd = listeners_unix(path, 0666)) == -EADDRINUSE && clock_monotonic_us() < until_us)
                nanosleep(&nap, NULL);
        if (fd == -EADDRINUSE)
                buffer_printf(error, "run_dir: somebody listens on \"%s\": another Hayauma runs "
                              "with this run_dir\n", path);
        else if (fd < 0)
                buffer_printf(error, "run_dir: cannot make \"%s\": %s\n", path, strerror(-fd));
        return fd;
}
