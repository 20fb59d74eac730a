#include "process/agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"

enum { LOCK_TRIES = 300, LOCK_WAIT_NS = 100 * 1000 * 1000 };

/* A plain file of one name, which is no program: whatever else stands there
 * (a link, a pipe) may be somebody's trap. */
static int open_file(const char *path, int *ret_fd, off_t *ret_size)
{
        struct stat st;
        int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY |
                            O_NONBLOCK, 0600);

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 ||
            st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH | S_ISUID | S_ISGID)) {
                close(fd);
                return -EPERM;
        }
        *ret_fd = fd;
        *ret_size = st.st_size;
        return 0;
}

/* Whoever reads the file locks it, too: fcntl() is what mail readers agree on. */
static int lock(int fd)
{
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

        for (int i = 0; i < LOCK_TRIES; i++) {
                if (fcntl(fd, F_SETLK, &whole) == 0)
                        return 0;
                if (errno != EAGAIN && errno != EACCES)
                        return -errno;
                nanosleep(&(struct timespec) {.tv_nsec = LOCK_WAIT_NS}, NULL);
        }
        return -EAGAIN;
}

static int write_all(const struct agent_task *t, int fd)
{
        struct agent_body body;
        struct span octets;
        int r = agent_body_open(&body, t, true, (int64_t) (clock_now_us() / 1000000));

        if (r < 0)
                return r;
        while ((r = agent_body_next(&body, &octets)) == 0 && octets.len) {
                r = file_write_all(fd, octets.p, octets.len);
                if (r < 0)
                        break;
                buffer_consume(&body.pending, octets.len);
        }
        agent_body_close(&body);
        if (r == 0)
                r = file_write_all(fd, "\n", 1); /* between one message and the next */
        if (r == 0 && fsync(fd) < 0)
                r = -errno;
        return r;
}

static int append(const struct agent_task *t, const char *path)
{
        _cleanup_(close_fd) int fd = -1;
        struct stat st;
        off_t size;
        int r = open_file(path, &fd, &size);

        if (r == 0)
                r = lock(fd);
        if (r == 0 && fstat(fd, &st) < 0)
                r = -errno;
        if (r < 0)
                return r;
        r = write_all(t, fd);
        if (r < 0 && ftruncate(fd, st.st_size) < 0) /* half a message would spoil the next */
                return r;
        return r;
}

void agent_file_append(const struct agent_task *t, struct agent_reply *ret)
{
        char path[1024];
        int r = -ENAMETOOLONG;

        if (t->what.len < sizeof path) {
                memcpy(path, t->what.p, t->what.len);
                path[t->what.len] = '\0';
                r = strcmp(path, "/dev/null") == 0 ? 0 : append(t, path);
        }
        if (r == 0)
                agent_reply_set(ret, 250, "2.1.5", "written to %s", path);
        else if (r == -EACCES || r == -EPERM || r == -ENOENT || r == -ELOOP || r == -EISDIR ||
                 r == -ENOTDIR || r == -ENAMETOOLONG)
                agent_reply_set(ret, 550, "5.2.0", "%.*s cannot be written: %s", (int) t->what.len,
                                t->what.p, r == -EPERM ? "it must be a plain file, not linked and "
                                                         "no program" : strerror(-r));
        else
                agent_reply_set(ret, 451, "4.2.0", "%.*s cannot be written now: %s",
                                (int) t->what.len, t->what.p, strerror(-r));
}
