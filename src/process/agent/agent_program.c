/* Running a program. No shell is in between, and nothing of the message stands in
 * its command line: the alias's words alone do (config/command_line.h). Its input is
 * the message; the envelope is in its environment. */
#include "process/agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "config/command_line.h"

enum {
        OUTPUT_KEPT = 4096,   /* octets; what is more is read and thrown away */
        GRACE_MS = 3 * 1000,  /* from SIGTERM to SIGKILL */
        ENVIRONMENT_MAX = 12,
        NOT_EXECUTED = 127,
};

struct run {
        pid_t pid;
        int pid_fd, in, out; /* the last two are ours: its input, its output */
        struct agent_body body;
        struct buffer output;
        int64_t end_ms;
        bool was_told; /* SIGTERM was sent */
        bool is_over;  /* it has ended, with `status` of waitpid() */
        int status;
};

/* ---- what it gets ---- */

static void make_environment(const struct agent_task *t, const struct agent_recipient *to,
                             struct arena *arena, char *out[ENVIRONMENT_MAX])
{
        const struct {
                const char *name;
                struct span value;
        } all[] = {
                { "PATH", SPAN("/usr/local/bin:/usr/bin:/bin") },
                { "SHELL", SPAN("/bin/sh") },
                { "HOME", t->home },
                { "USER", t->user },
                { "LOGNAME", t->user },
                { "LC_ALL", SPAN("C.UTF-8") },
                { "SENDER", t->mail_from },
                { "RECIPIENT", to->rcpt_to },
        };
        size_t count = 0;

        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
                const size_t room = strlen(all[i].name) + all[i].value.len + 2;
                char *text = arena_alloc(arena, room);

                if (!text || span_find(all[i].value, '\0') != SIZE_MAX)
                        continue;
                snprintf(text, room, "%s=%.*s", all[i].name, (int) all[i].value.len,
                         all[i].value.len ? all[i].value.p : "");
                out[count++] = text;
        }
        out[count] = NULL;
}

/* In the child. Signals that we ignore would be ignored by it, too. */
__attribute__((noreturn)) static void become(char *const argv[], char *const envp[], int in,
                                             int out)
{
        static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT, SIGXFSZ, SIGCHLD};

        for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
                signal(signals[i], SIG_DFL);
        setsid(); /* a group that can be ended as a whole */
        in = fcntl(in, F_DUPFD, 10);
        out = fcntl(out, F_DUPFD, 10);
        if (dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(out, 2) == 2 &&
            close_range(3, ~0U, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0) {
                execve(argv[0], argv, envp);
                dprintf(2, "%s cannot be run: %s", argv[0], strerror(errno));
        }
        _exit(NOT_EXECUTED);
}

static int make_pipe(int fds[2], int ours)
{
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        return fcntl(fds[ours], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int spawn(struct run *run, char *const argv[], char *const envp[])
{
        _cleanup_(close_fd) int their_in = -1, their_out = -1;
        int in[2] = {-1, -1}, out[2] = {-1, -1};
        int r = make_pipe(in, 1);

        if (r == 0)
                r = make_pipe(out, 0);
        their_in = in[0];
        their_out = out[1];
        run->in = in[1];
        run->out = out[0];
        if (r < 0)
                return r;
        run->pid = fork();
        if (run->pid < 0)
                return -errno;
        if (run->pid == 0)
                become(argv, envp, their_in, their_out);
        run->pid_fd = (int) syscall(SYS_pidfd_open, run->pid, 0);
        return run->pid_fd < 0 ? -errno : 0;
}

/* ---- while it runs ---- */

static int64_t now_ms(void)
{
        return (int64_t) (clock_monotonic_us() / 1000);
}

/* More of the message. A program that does not want the rest has had enough. */
static void feed(struct run *run)
{
        struct span octets = {NULL, 0};
        ssize_t n = -1;

        if (agent_body_next(&run->body, &octets) == 0 && octets.len)
                n = write(run->in, octets.p, octets.len);
        if (n > 0)
                buffer_consume(&run->body.pending, (size_t) n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR) || octets.len == 0)
                close_fd(&run->in);
}

static void hear(struct run *run)
{
        char octets[4096];
        const ssize_t n = read(run->out, octets, sizeof octets);

        if (n > 0 && run->output.len < OUTPUT_KEPT)
                (void) buffer_append(&run->output, octets,
                                     (size_t) n < OUTPUT_KEPT - run->output.len
                                             ? (size_t) n : OUTPUT_KEPT - run->output.len);
        else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                close_fd(&run->out);
}

static void heed_time(struct run *run)
{
        if (now_ms() < run->end_ms)
                return;
        kill(-run->pid, run->was_told ? SIGKILL : SIGTERM);
        run->was_told = true;
        run->end_ms = now_ms() + GRACE_MS;
}

/* Its end counts, not that of its output, which what it left behind may hold. */
static void attend(struct run *run)
{
        while (!run->is_over) {
                struct pollfd fds[] = {
                        {.fd = run->pid_fd, .events = POLLIN},
                        {.fd = run->in, .events = POLLOUT},
                        {.fd = run->out, .events = POLLIN},
                };
                const int64_t left = run->end_ms - now_ms();

                if (poll(fds, 3, left > 0 ? (int) left : 0) < 0 && errno != EINTR)
                        return;
                if (fds[1].revents)
                        feed(run);
                if (fds[2].revents)
                        hear(run);
                if (fds[0].revents)
                        run->is_over = waitpid(run->pid, &run->status, WNOHANG) == run->pid;
                else
                        heed_time(run);
        }
        for (int i = 0; run->out >= 0 && i < 32; i++) { /* its last words */
                struct pollfd last = {.fd = run->out, .events = POLLIN};

                if (poll(&last, 1, 0) <= 0)
                        break;
                hear(run);
        }
        kill(-run->pid, SIGKILL); /* what it left behind */
}

/* ---- what became of it ---- */

static const struct {
        int status;
        uint16_t code;
        const char *enhanced, *text;
} meanings[] = {
        { EX_OK, 250, "2.1.5", "the program took it" },
        { EX_USAGE, 554, "5.5.4", "the program was called wrongly" },
        { EX_DATAERR, 550, "5.6.0", "the program does not like the message" },
        { EX_NOINPUT, 550, "5.3.0", "the program cannot open its input" },
        { EX_NOUSER, 550, "5.1.1", "the program knows no such user" },
        { EX_NOHOST, 550, "5.1.2", "the program knows no such host" },
        { EX_UNAVAILABLE, 554, "5.0.0", "the program's service is not available" },
        { EX_SOFTWARE, 554, "5.3.0", "the program found an error in itself" },
        { EX_OSERR, 451, "4.3.0", "the program met an error of the system" },
        { EX_OSFILE, 554, "5.3.5", "the program misses a file of the system" },
        { EX_CANTCREAT, 550, "5.2.0", "the program cannot make its output" },
        { EX_IOERR, 451, "4.3.0", "the program could not read or write" },
        { EX_TEMPFAIL, 450, "4.3.0", "the program wants to be asked later" },
        { EX_PROTOCOL, 554, "5.5.0", "the program was not understood by another" },
        { EX_NOPERM, 550, "5.7.0", "the program says it is not allowed" },
        { EX_CONFIG, 554, "5.3.5", "the program is not set up" },
        { NOT_EXECUTED, 451, "4.3.5", "the program cannot be run" },
};

/* One line of plain text: what a program writes goes into a report. */
static void flatten(struct span output, char *out, size_t room)
{
        size_t len = 0;

        output = span_trim(output);
        for (size_t i = 0; i < output.len && len + 1 < room; i++) {
                const unsigned char c = (unsigned char) output.p[i];
                const char shown = c == '\n' || c == '\r' || c == '\t' ? ' '
                                   : c < ' ' || c > 126                ? '?'
                                                                       : (char) c;

                if (shown != ' ' || (len && out[len - 1] != ' '))
                        out[len++] = shown;
        }
        out[len] = '\0';
}

void agent_program_judge(int status, struct span output, struct agent_reply *ret)
{
        const size_t count = sizeof meanings / sizeof meanings[0];
        char said[AGENT_REPLY_MAX - 60];
        size_t i = 0;

        flatten(output, said, sizeof said);
        if (WIFSIGNALED(status)) {
                const char *name = sigabbrev_np(WTERMSIG(status));

                agent_reply_set(ret, 451, "4.3.0", "the program was ended by signal %s%s%s",
                                name ? name : "?", said[0] ? ": " : "", said);
                return;
        }
        while (i < count && meanings[i].status != WEXITSTATUS(status))
                i++;
        if (i == count)
                agent_reply_set(ret, 554, "5.3.0", "the program ended with status %d%s%s",
                                WEXITSTATUS(status), said[0] ? ": " : "", said);
        else
                agent_reply_set(ret, meanings[i].code, meanings[i].enhanced, "%s%s%s",
                                meanings[i].text, said[0] ? ": " : "", said);
}

static int run_words(const struct agent_task *t, const struct agent_recipient *to,
                     struct run *run, struct arena *arena)
{
        struct buffer words = BUFFER_INIT(2 * COMMAND_LINE_MAX);
        char *argv[COMMAND_WORDS_MAX + 1], *envp[ENVIRONMENT_MAX], *at;
        const char *why;
        size_t count = 0;
        int r = command_line_split(span_skip(t->what, 1), &words, &count, &why);

        at = words.data + words.start;
        for (size_t i = 0; r == 0 && i < count; i++) {
                argv[i] = at;
                at += strlen(at) + 1;
        }
        argv[r == 0 ? count : 0] = NULL;
        make_environment(t, to, arena, envp);
        if (r == 0)
                r = spawn(run, argv, envp);
        if (r == 0)
                attend(run);
        buffer_done(&words);
        return r;
}

void agent_program_run(const struct agent_task *t, const struct agent_recipient *to,
                       uint64_t timeout_ms, struct agent_reply *ret)
{
        struct run run = {.pid_fd = -1, .in = -1, .out = -1, .output = BUFFER_INIT(OUTPUT_KEPT),
                          .end_ms = now_ms() + (int64_t) timeout_ms};
        struct arena arena = ARENA_INIT(64 * 1024);
        int r = agent_body_open(&run.body, t, false, (int64_t) (clock_now_us() / 1000000));
        const bool has_body = r == 0;

        if (r == 0)
                r = run_words(t, to, &run, &arena);
        if (run.is_over && run.was_told)
                agent_reply_set(ret, 451, "4.3.0", "the program took longer than agent.timeout and "
                                "was ended");
        else if (run.is_over)
                agent_program_judge(run.status, buffer_span(&run.output), ret);
        else
                agent_reply_set(ret, 451, "4.3.0", "the program could not be run: %s",
                                strerror(r < 0 ? -r : EIO));
        if (has_body)
                agent_body_close(&run.body);
        close_fd(&run.pid_fd);
        close_fd(&run.in);
        close_fd(&run.out);
        buffer_done(&run.output);
        arena_done(&arena);
}
