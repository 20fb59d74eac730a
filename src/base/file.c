#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { READ_STEP = 64 * 1024 };

int file_read_fd(int fd, struct buffer *b)
{
        for (;;) {
                const size_t room = buffer_room(b);
                size_t want = room < READ_STEP ? room : READ_STEP;
                char last, *to = &last;
                ssize_t n;
                int r = want ? buffer_reserve(b, want, &to) : 0;

                if (r < 0)
                        return r;
                n = read(fd, to, want ? want : 1); /* full: is there one octet more? */
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return 0;
                if (!want)
                        return -EMSGSIZE;
                buffer_commit(b, (size_t) n);
        }
}

int file_read_at(int directory_fd, const char *path, struct buffer *b)
{
        _cleanup_(close_fd) int fd = openat(directory_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

        return fd < 0 ? -errno : file_read_fd(fd, b);
}

int file_write_all(int fd, const void *p, size_t n)
{
        const char *at = p;

        while (n) {
                ssize_t written = write(fd, at, n);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return -errno;
                at += written;
                n -= (size_t) written;
        }
        return 0;
}

static int sync_directory_of(int directory_fd, const char *path)
{
        const size_t slash = span_find_last(span_from_string(path), '/');
        char parent[4096];
        _cleanup_(close_fd) int fd = -1;

        if (slash == SIZE_MAX)
                snprintf(parent, sizeof parent, ".");
        else
                snprintf(parent, sizeof parent, "%.*s", (int) (slash ? slash : 1), path);
        fd = openat(directory_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

static int write_and_sync(int fd, struct span text)
{
        int r = file_write_all(fd, text.p, text.len);

        if (r == 0 && fsync(fd) < 0)
                r = -errno;
        return r;
}

/* Writes `text` beside `path` and renames it. `like` may be NULL. */
static int replace(int directory_fd, const char *path, struct span text, mode_t mode,
                   const struct stat *like)
{
        _cleanup_(close_fd) int fd = -1;
        char beside[4096];
        int r = 0;

        if (snprintf(beside, sizeof beside, "%s.new", path) >= (int) sizeof beside)
                return -ENAMETOOLONG;
        unlinkat(directory_fd, beside, 0); /* left by a crash */
        fd = openat(directory_fd, beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0)
                return -errno;
        if (like && ((like->st_uid != (uid_t) -1 && fchown(fd, like->st_uid, like->st_gid) < 0) ||
                     fchmod(fd, like->st_mode & 07777) < 0))
                r = -errno;
        if (r == 0)
                r = write_and_sync(fd, text);
        if (r == 0 && renameat(directory_fd, beside, directory_fd, path) < 0)
                r = -errno;
        if (r < 0) {
                unlinkat(directory_fd, beside, 0);
                return r;
        }
        return sync_directory_of(directory_fd, path);
}

int file_replace_at(int directory_fd, const char *path, struct span text, mode_t mode)
{
        return replace(directory_fd, path, text, mode, NULL);
}

int file_replace_keeping_at(int directory_fd, const char *path, struct span text, mode_t mode)
{
        struct stat like = {.st_mode = mode, .st_uid = (uid_t) -1};

        if (fstatat(directory_fd, path, &like, 0) < 0 && errno != ENOENT)
                return -errno;
        /* Never wider than it will be, not even before it has its owner. */
        return replace(directory_fd, path, text, mode & 0600, &like);
}
