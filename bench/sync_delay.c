/* A slower disk for every server alike: preloaded (LD_PRELOAD, or
 * /etc/ld.so.preload where a peer runs in its own mount namespace), it makes
 * each fsync and fdatasync last SYNC_DELAY_US longer. What it cannot see is
 * what a process writes with O_SYNC, or calls without the C library. */
#include <dlfcn.h>
#include <errno.h>
#include <time.h>
#include <unistd.h>

enum { SYNC_DELAY_US = 2000 };

static int later(const char *name, int fd)
{
        struct timespec left = {.tv_nsec = SYNC_DELAY_US * 1000L};
        int (*next)(int);
        int r;

        /* The cast of a symbol to a function, as dlsym(3) has it. */
        *(void **) &next = dlsym(RTLD_NEXT, name);
        r = next(fd);
        while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
                ;
        return r;
}

int fsync(int fd)
{
        return later("fsync", fd);
}

int fdatasync(int fd)
{
        return later("fdatasync", fd);
}
