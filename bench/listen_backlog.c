/* A longer queue of connections that wait for accept(): preloaded into a peer
 * that asks the kernel for fewer than come at once, and has no option for it.
 * Linux drops the end of a handshake that finds the queue full; the client
 * believes that it is connected, and waits for a greeting that never comes. */
#include <dlfcn.h>
#include <sys/socket.h>

enum { BACKLOG_MIN = 4096 };

int listen(int fd, int backlog)
{
        int (*next)(int, int);

        /* The cast of a symbol to a function, as dlsym(3) has it. */
        *(void **) &next = dlsym(RTLD_NEXT, "listen");
        return next(fd, backlog < BACKLOG_MIN ? BACKLOG_MIN : backlog);
}
