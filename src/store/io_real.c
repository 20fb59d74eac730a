#include "store/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"

struct io_real {
        struct io io;
        int directory_fd, lock_fd;
};

enum { PARTS_MAX = 512 }; /* below IOV_MAX */

static int directory_of(struct io *io)
{
        return ((struct io_real *) io)->directory_fd;
}

static int result_of(int r)
{
        return r < 0 ? -errno : r;
}

static int real_open(struct io *io, const char *path, unsigned flags)
{
        int mode = flags & IO_READ_ONLY ? O_RDONLY : flags & IO_WRITE_ONLY ? O_WRONLY : O_RDWR;

        mode |= flags & IO_DIRECT ? O_DIRECT : 0;
        mode |= (flags & IO_CREATE ? O_CREAT : 0) | (flags & IO_EXCLUSIVE ? O_EXCL : 0);
        return result_of(openat(directory_of(io), path, mode | O_CLOEXEC | O_NOFOLLOW, 0600));
}

static void real_close(struct io *io, int file)
{
        (void) io;
        close(file);
}

static int64_t real_pread(struct io *io, int file, void *out, size_t n, uint64_t at)
{
        size_t done = 0;

        (void) io;
        while (done < n) {
                ssize_t r = pread(file, (char *) out + done, n - done, (off_t) (at + done));

                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return -errno;
                if (r == 0)
                        break;
                done += (size_t) r;
        }
        return (int64_t) done;
}

static int real_pwritev(struct io *io, int file, struct iovec *parts, size_t count, uint64_t at)
{
        (void) io;
        while (count) {
                const size_t some = count < PARTS_MAX ? count : PARTS_MAX;
                ssize_t r = pwritev(file, parts, (int) some, (off_t) at);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return -errno;
                at += (uint64_t) r;
                while (count && (size_t) r >= parts->iov_len) {
                        r -= (ssize_t) parts->iov_len;
                        parts++;
                        count--;
                }
                if (count) {
                        parts->iov_base = (char *) parts->iov_base + r;
                        parts->iov_len -= (size_t) r;
                }
        }
        return 0;
}

static int real_allocate(struct io *io, int file, uint64_t size)
{
        int r = result_of(fallocate(file, 0, 0, (off_t) size));

        (void) io;
        if (r == -EOPNOTSUPP)
                r = result_of(ftruncate(file, (off_t) size));
        return r;
}

static int real_truncate(struct io *io, int file, uint64_t size)
{
        (void) io;
        return result_of(ftruncate(file, (off_t) size));
}

static int real_sync(struct io *io, int file)
{
        (void) io;
        return result_of(fdatasync(file));
}

/* What fails is told by fdatasync(). */
static void real_begin_sync(struct io *io, int file)
{
        (void) io;
        (void) sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static int64_t real_size(struct io *io, int file)
{
        struct stat st;

        (void) io;
        return fstat(file, &st) < 0 ? -errno : (int64_t) st.st_size;
}

static int real_rename(struct io *io, const char *old_path, const char *new_path)
{
        return result_of(renameat(directory_of(io), old_path, directory_of(io), new_path));
}

static int real_unlink(struct io *io, const char *path)
{
        return result_of(unlinkat(directory_of(io), path, 0));
}

static int real_mkdir(struct io *io, const char *path)
{
        int r = result_of(mkdirat(directory_of(io), path, 0700));

        return r == -EEXIST ? 0 : r;
}

static int real_rmdir(struct io *io, const char *path)
{
        return result_of(unlinkat(directory_of(io), path, AT_REMOVEDIR));
}

static int open_directory(struct io *io, const char *path)
{
        return result_of(openat(directory_of(io), *path ? path : ".",
                                O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int real_sync_directory(struct io *io, const char *path)
{
        _cleanup_(close_fd) int fd = open_directory(io, path);

        return fd < 0 ? fd : result_of(fsync(fd));
}

static int real_list(struct io *io, const char *path, io_list_fn *each, void *arg)
{
        int fd = open_directory(io, path);
        struct dirent *entry;
        DIR *directory;

        if (fd < 0)
                return fd;
        directory = fdopendir(fd);
        if (!directory) {
                const int r = -errno;

                close(fd);
                return r;
        }
        while ((entry = readdir(directory)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        each(arg, entry->d_name);
        closedir(directory);
        return 0;
}

static int real_space(struct io *io, uint64_t *ret_free, uint64_t *ret_total)
{
        struct statvfs st;

        if (fstatvfs(directory_of(io), &st) < 0)
                return -errno;
        *ret_free = (uint64_t) st.f_bavail * st.f_frsize;
        *ret_total = (uint64_t) st.f_blocks * st.f_frsize;
        return 0;
}

static int real_lock(struct io *io, const char *path)
{
        int fd;

        if (((struct io_real *) io)->lock_fd >= 0)
                return 0;
        fd = real_open(io, path, IO_CREATE);
        if (fd < 0)
                return fd;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                const int r = -errno;

                close(fd);
                return r;
        }
        ((struct io_real *) io)->lock_fd = fd;
        return 0;
}

/* A read lease is granted only while nobody has the file open for writing,
 * mappings included. It is given back at once: the name is in a folder that
 * only we can open. */
static int real_has_no_writer(struct io *io, const char *path)
{
        _cleanup_(close_fd) int fd = real_open(io, path, IO_READ_ONLY);

        if (fd < 0)
                return fd;
        if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
                fcntl(fd, F_SETLEASE, F_UNLCK);
                return 0;
        }
        return errno == EAGAIN || errno == EBUSY ? -EBUSY : -EOPNOTSUPP;
}

static void real_free(struct io *io)
{
        struct io_real *r = (struct io_real *) io;

        if (r->lock_fd >= 0)
                close(r->lock_fd);
        close(r->directory_fd);
        free(r);
}

static const struct io_driver real_driver = {
        .open = real_open,
        .close = real_close,
        .pread = real_pread,
        .pwritev = real_pwritev,
        .allocate = real_allocate,
        .truncate = real_truncate,
        .sync = real_sync,
        .begin_sync = real_begin_sync,
        .size = real_size,
        .rename = real_rename,
        .unlink = real_unlink,
        .mkdir = real_mkdir,
        .rmdir = real_rmdir,
        .sync_directory = real_sync_directory,
        .list = real_list,
        .space = real_space,
        .lock = real_lock,
        .has_no_writer = real_has_no_writer,
        .free = real_free,
};

int io_real_new(const char *path, int directory_fd, struct io **ret_io)
{
        struct io_real *r;
        int fd;

        if (directory_fd < 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
                return -errno;
        fd = directory_fd >= 0 ? fcntl(directory_fd, F_DUPFD_CLOEXEC, 0)
                               : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = calloc(1, sizeof(struct io_real));
        if (!r) {
                close(fd);
                return -ENOMEM;
        }
        r->io.driver = &real_driver;
        r->io.has_descriptors = true;
        r->directory_fd = fd;
        r->lock_fd = -1;
        *ret_io = &r->io;
        return 0;
}
