#include "process/place.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
        CHANNEL_FD = 3,
        LOG_PIPE_SIZE = 256 * 1024, /* a child may log so much while we are busy */
};

void place_init(struct place *p, enum process_kind kind, unsigned number, void *owner)
{
        *p = (struct place) {.kind = kind, .number = number, .owner = owner};
        snprintf(p->name, sizeof p->name, "%s/%u", process_kind_name(kind), number);
}

/* In the child, between fork and exec: only async-signal-safe calls. */
__attribute__((noreturn)) static void become(char *const argv[], int channel_fd, int log_fd,
                                             pid_t parent)
{
        static const int ignored[] = {SIGINT, SIGTERM, SIGHUP};
        const int null_fd = open("/dev/null", O_RDWR);
        sigset_t none;

        /* Above what dup2() is about to fill. */
        channel_fd = fcntl(channel_fd, F_DUPFD, 10);
        log_fd = fcntl(log_fd, F_DUPFD, 10);
        for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
                signal(ignored[i], SIG_IGN);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (null_fd >= 0 && dup2(null_fd, 0) == 0 && dup2(null_fd, 1) == 1 &&
            dup2(log_fd, 2) == 2 && dup2(channel_fd, CHANNEL_FD) == CHANNEL_FD &&
            close_range(CHANNEL_FD + 1, ~0U, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
            getppid() == parent)
                execv("/proc/self/exe", argv);
        _exit(127);
}

static pid_t fork_child(const struct place *p, int channel_fd, int log_fd)
{
        char number[12];
        char *argv[] = {(char[]) {"hayauma"}, (char[]) {"process"},
                        (char *) (uintptr_t) process_kind_name(p->kind), number, NULL};
        const pid_t parent = getpid();
        sigset_t all, old;
        pid_t pid;

        snprintf(number, sizeof number, "%u", p->number);
        /* The loop's signal handlers must not run in the child: they would
         * write into a pipe that both share. */
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, &old);
        pid = fork();
        if (pid == 0)
                become(argv, channel_fd, log_fd, parent);
        sigprocmask(SIG_SETMASK, &old, NULL);
        return pid < 0 ? -errno : pid;
}

/* The child's end never blocks it: a log that nobody reads must not stop the
 * mail. Ours does not block us. */
static int make_log_pipe(int fds[2])
{
        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        (void) fcntl(fds[1], F_SETPIPE_SZ, LOG_PIPE_SIZE); /* over the user's limit: as it is */
        return 0;
}

int place_spawn(struct place *p, struct loop *l, const struct channel_handler *handler)
{
        _cleanup_(close_fd) int their_channel = -1, their_log = -1;
        int fds[2], r;
        pid_t pid;

        assert(p->state == PLACE_IDLE);
        r = make_log_pipe(fds);
        if (r < 0)
                return r;
        their_log = fds[1];
        r = log_pipe_new(l, fds[0], p->name, &p->log);
        if (r < 0) {
                close(fds[0]);
                return r;
        }
        r = channel_pair(fds);
        if (r == 0) {
                their_channel = fds[1];
                r = channel_new(l, fds[0], handler, p, &p->channel);
                if (r < 0)
                        close(fds[0]);
        }
        pid = r == 0 ? fork_child(p, their_channel, their_log) : r;
        if (pid < 0) {
                p->channel = channel_free(p->channel);
                p->log = log_pipe_free(p->log);
                return pid;
        }
        p->pid = pid;
        p->state = PLACE_STARTING;
        p->generation++;
        p->started_at_ms = loop_now_ms(l);
        return 0;
}

bool place_reap(struct place *p, int *ret_status)
{
        int status;

        if (p->pid == 0 || waitpid(p->pid, &status, WNOHANG) != p->pid)
                return false;
        p->pid = 0;
        p->state = PLACE_IDLE;
        p->channel = channel_free(p->channel);
        p->log = log_pipe_free(p->log); /* with its last words */
        *ret_status = status;
        return true;
}

const char *place_status_text(int status, char *out)
{
        if (WIFSIGNALED(status)) {
                const char *name = sigabbrev_np(WTERMSIG(status));

                snprintf(out, PLACE_STATUS_MAX, "signal %s", name ? name : "?");
        } else {
                snprintf(out, PLACE_STATUS_MAX, "exit status %d", WEXITSTATUS(status));
        }
        return out;
}
