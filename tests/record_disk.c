/* Preloaded into a program: records every call that changes something below
 * RECORD_ROOT into the file RECORD_TO, in an order in which the calls may have taken
 * effect: they are made one at a time, but for syncs of files, which may be side by side
 * with anything. What was written when one began is durable when it ends.
 * tests/recorded_disk.py reads it; that says what a record is.
 *
 * SYNC_LONGER_US: every sync of a file takes up to so much longer.
 *
 * The program asks record_count() how many there are so far. With CLOCK_JUMPS the time of
 * day goes a day ahead, or back, every hundred times it is asked for. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PATH_ROOM = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record_fd = -1;
static char root[PATH_ROOM];
static size_t root_len, count;

size_t record_count(void);

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
        const char *to = getenv("RECORD_TO"), *below = getenv("RECORD_ROOT");

        if (!to || !below)
                return;
        record_fd = REAL(open)(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        root_len = (size_t) snprintf(root, sizeof root, "%s/", below);
}

size_t record_count(void)
{
        size_t n;

        pthread_mutex_lock(&lock);
        n = count;
        pthread_mutex_unlock(&lock);
        return n;
}

/* ---- records: kind 1, three numbers of 8, length 4, octets ------------------------- */

static void put(char kind, uint64_t a, uint64_t b, const struct iovec *parts, int part_count)
{
        char head[29];
        uint64_t len = 0;
        const uint64_t c = 0;

        for (int i = 0; i < part_count; i++)
                len += parts[i].iov_len;
        head[0] = kind;
        memcpy(head + 1, &a, 8);
        memcpy(head + 9, &b, 8);
        memcpy(head + 17, &c, 8);
        memcpy(head + 25, &(uint32_t) {(uint32_t) len}, 4);
        if (REAL(write)(record_fd, head, sizeof head) != sizeof head)
                abort();
        for (int i = 0; i < part_count; i++)
                if (REAL(write)(record_fd, parts[i].iov_base, parts[i].iov_len) !=
                    (ssize_t) parts[i].iov_len)
                        abort();
        count++;
}

static void put_texts(char kind, uint64_t a, const char *text, const char *more)
{
        const struct iovec parts[] = {{(void *) (uintptr_t) text, strlen(text) + 1},
                                      {(void *) (uintptr_t) more, more ? strlen(more) : 0}};

        put(kind, a, 0, parts, more ? 2 : 1);
}

/* ---- what is meant ------------------------------------------------------------------ */

/* The path below the root, or NULL. */
static const char *below(int folder, const char *path, char *out)
{
        char link[64], whole[2 * PATH_ROOM];
        ssize_t n = 0;

        if (record_fd < 0)
                return NULL;
        if (path[0] == '/') {
                snprintf(whole, sizeof whole, "%s", path);
        } else {
                snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
                n = folder == AT_FDCWD ? (getcwd(whole, PATH_ROOM) ? (ssize_t) strlen(whole) : -1)
                                       : readlink(link, whole, PATH_ROOM);
                if (n < 0)
                        return NULL;
                snprintf(whole + n, sizeof whole - (size_t) n, "/%s", path);
        }
        if (strncmp(whole, root, root_len) != 0)
                return NULL;
        snprintf(out, PATH_ROOM, "%s", whole + root_len);
        return out;
}

static const char *path_of(int fd, char *out)
{
        char link[64], whole[PATH_ROOM];
        ssize_t n;

        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        n = record_fd < 0 || fd == record_fd ? -1 : readlink(link, whole, sizeof whole - 2);
        if (n < 0)
                return NULL;
        whole[n] = '/'; /* the root itself counts */
        whole[n + 1] = '\0';
        if (strncmp(whole, root, root_len) != 0)
                return NULL;
        whole[n] = '\0';
        snprintf(out, PATH_ROOM, "%s", (size_t) n >= root_len ? whole + root_len : "");
        return out;
}

static uint64_t inode_of(int fd)
{
        struct stat st;

        return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

/* ---- the clock ------------------------------------------------------------------------ */

int clock_gettime(clockid_t clock, struct timespec *ret)
{
        static __typeof__(&clock_gettime) real;
        static unsigned asked;
        int r;

        if (!real)
                real = REAL(clock_gettime);
        r = real(clock, ret);
        if (r == 0 && clock == CLOCK_REALTIME && getenv("CLOCK_JUMPS"))
                ret->tv_sec += ((long) (__atomic_fetch_add(&asked, 1, __ATOMIC_RELAXED) / 100 % 3) -
                                1) * 86400;
        return r;
}

/* ---- calls ---------------------------------------------------------------------------- */

static int open_recorded(int folder, const char *path, int flags, mode_t mode)
{
        char name[PATH_ROOM];
        const char *at = flags & (O_CREAT | O_TRUNC) ? below(folder, path, name) : NULL;
        struct stat st;
        int fd, is_new;

        if (!at)
                return REAL(openat)(folder, path, flags, mode);
        pthread_mutex_lock(&lock);
        is_new = fstatat(folder, path, &st, 0) < 0;
        fd = REAL(openat)(folder, path, flags, mode);
        if (fd >= 0 && is_new)
                put_texts('C', inode_of(fd), at, NULL);
        else if (fd >= 0 && flags & O_TRUNC)
                put('T', inode_of(fd), 0, NULL, 0);
        pthread_mutex_unlock(&lock);
        return fd;
}

#define MODE(flags)                                                                                \
        mode_t mode = 0;                                                                           \
        if ((flags) & O_CREAT) {                                                                   \
                va_list args;                                                                      \
                va_start(args, flags);                                                             \
                mode = va_arg(args, mode_t);                                                       \
                va_end(args);                                                                      \
        }

int open(const char *path, int flags, ...)
{
        MODE(flags)
        return open_recorded(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...)
{
        MODE(flags)
        return open_recorded(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...)
{
        /* REAL(openat) must not be this one. */
        MODE(flags)
        return open_recorded(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...)
{
        MODE(flags)
        return open_recorded(folder, path, flags, mode);
}

static void put_write(int fd, uint64_t at, const struct iovec *parts, int part_count, ssize_t done)
{
        struct iovec some[1024];
        int n = 0;

        for (; n < part_count && n < 1024 && done > 0; n++) {
                some[n] = parts[n];
                if ((ssize_t) some[n].iov_len > done)
                        some[n].iov_len = (size_t) done;
                done -= (ssize_t) some[n].iov_len;
        }
        put('W', inode_of(fd), at, some, n);
}

ssize_t pwritev(int fd, const struct iovec *parts, int part_count, off_t at)
{
        char name[PATH_ROOM];
        ssize_t n;

        if (!path_of(fd, name))
                return REAL(pwritev)(fd, parts, part_count, at);
        pthread_mutex_lock(&lock);
        n = REAL(pwritev)(fd, parts, part_count, at);
        if (n > 0)
                put_write(fd, (uint64_t) at, parts, part_count, n);
        pthread_mutex_unlock(&lock);
        return n;
}
ssize_t pwritev64(int fd, const struct iovec *parts, int part_count, off_t at)
{
        return pwritev(fd, parts, part_count, at);
}
ssize_t pwrite64(int fd, const void *p, size_t n, off_t at)
{
        return pwritev(fd, &(struct iovec) {(void *) (uintptr_t) p, n}, 1, at);
}
ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
        return pwrite64(fd, p, n, at);
}

ssize_t write(int fd, const void *p, size_t n)
{
        char name[PATH_ROOM];
        ssize_t done;
        off_t at;

        if (!path_of(fd, name))
                return REAL(write)(fd, p, n);
        pthread_mutex_lock(&lock);
        at = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
        done = REAL(write)(fd, p, n);
        if (done > 0)
                put_write(fd, (uint64_t) at, &(struct iovec) {(void *) (uintptr_t) p, n}, 1, done);
        pthread_mutex_unlock(&lock);
        return done;
}

static int record_length(int fd, int r)
{
        struct stat st;

        if (r == 0 && fstat(fd, &st) == 0)
                put('T', st.st_ino, (uint64_t) st.st_size, NULL, 0);
        return r;
}

int ftruncate64(int fd, off_t size)
{
        char name[PATH_ROOM];
        int r;

        if (!path_of(fd, name))
                return REAL(ftruncate64)(fd, size);
        pthread_mutex_lock(&lock);
        r = record_length(fd, REAL(ftruncate64)(fd, size));
        pthread_mutex_unlock(&lock);
        return r;
}
int ftruncate(int fd, off_t size)
{
        return ftruncate64(fd, size);
}

int fallocate64(int fd, int mode, off_t at, off_t len)
{
        char name[PATH_ROOM];
        int r;

        if (!path_of(fd, name))
                return REAL(fallocate64)(fd, mode, at, len);
        pthread_mutex_lock(&lock);
        r = record_length(fd, REAL(fallocate64)(fd, mode, at, len));
        pthread_mutex_unlock(&lock);
        return r;
}
int fallocate(int fd, int mode, off_t at, off_t len)
{
        return fallocate64(fd, mode, at, len);
}

static void take_longer(size_t seed)
{
        const char *most = getenv("SYNC_LONGER_US");
        const unsigned long us = most ? strtoul(most, NULL, 10) : 0;
        /* Neighbours differ. */
        const struct timespec t = {.tv_nsec = us ? (long) (seed * 2654435761u % us) * 1000 : 0};

        if (us)
                nanosleep(&t, NULL);
}

static int sync_recorded(int fd, int (*real)(int))
{
        char name[PATH_ROOM];
        struct stat st;
        size_t begun;
        int r;

        if (!path_of(fd, name) || fstat(fd, &st) < 0)
                return real(fd);
        pthread_mutex_lock(&lock);
        begun = count;
        if (S_ISDIR(st.st_mode)) {
                r = real(fd);
                if (r == 0)
                        put_texts('F', 0, name, NULL);
                pthread_mutex_unlock(&lock);
                return r;
        }
        pthread_mutex_unlock(&lock);
        r = real(fd);
        take_longer(begun);
        pthread_mutex_lock(&lock);
        if (r == 0)
                put('S', st.st_ino, begun, NULL, 0);
        pthread_mutex_unlock(&lock);
        return r;
}

int fdatasync(int fd)
{
        return sync_recorded(fd, REAL(fdatasync));
}
int fsync(int fd)
{
        return sync_recorded(fd, REAL(fsync));
}

int renameat(int old_folder, const char *old_path, int folder, const char *path)
{
        char old_name[PATH_ROOM], name[PATH_ROOM];
        int r;

        if (!below(old_folder, old_path, old_name) || !below(folder, path, name))
                return REAL(renameat)(old_folder, old_path, folder, path);
        pthread_mutex_lock(&lock);
        r = REAL(renameat)(old_folder, old_path, folder, path);
        if (r == 0)
                put_texts('R', 0, old_name, name);
        pthread_mutex_unlock(&lock);
        return r;
}
int rename(const char *old_path, const char *path)
{
        return renameat(AT_FDCWD, old_path, AT_FDCWD, path);
}

int linkat(int old_folder, const char *old_path, int folder, const char *path, int flags)
{
        char old_name[PATH_ROOM], name[PATH_ROOM];
        int r;

        if (!below(old_folder, old_path, old_name) || !below(folder, path, name))
                return REAL(linkat)(old_folder, old_path, folder, path, flags);
        pthread_mutex_lock(&lock);
        r = REAL(linkat)(old_folder, old_path, folder, path, flags);
        if (r == 0)
                put_texts('L', 0, old_name, name);
        pthread_mutex_unlock(&lock);
        return r;
}
int link(const char *old_path, const char *path)
{
        return linkat(AT_FDCWD, old_path, AT_FDCWD, path, 0);
}

int unlinkat(int folder, const char *path, int flags)
{
        char name[PATH_ROOM];
        int r;

        if (!below(folder, path, name))
                return REAL(unlinkat)(folder, path, flags);
        pthread_mutex_lock(&lock);
        r = REAL(unlinkat)(folder, path, flags);
        if (r == 0)
                put_texts('U', 0, name, NULL);
        pthread_mutex_unlock(&lock);
        return r;
}
int unlink(const char *path)
{
        return unlinkat(AT_FDCWD, path, 0);
}
int rmdir(const char *path)
{
        return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdirat(int folder, const char *path, mode_t mode)
{
        char name[PATH_ROOM];
        int r;

        if (!below(folder, path, name))
                return REAL(mkdirat)(folder, path, mode);
        pthread_mutex_lock(&lock);
        r = REAL(mkdirat)(folder, path, mode);
        if (r == 0)
                put_texts('M', 0, name, NULL);
        pthread_mutex_unlock(&lock);
        return r;
}
int mkdir(const char *path, mode_t mode)
{
        return mkdirat(AT_FDCWD, path, mode);
}
