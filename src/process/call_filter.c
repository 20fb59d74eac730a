#include "process/call_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/sanitizer.h"

enum { CALL_NUMBER_MAX = 1024, SOCKET_TYPE_MASK = 0xf, PR_SET_VMA_NUMBER = 0x53564d41 };

/* Calls by name: libseccomp knows their numbers on each architecture, and
 * those that an architecture has not are left out. */
static const char *const always[] = {
        /* octets */
        "read", "write", "readv", "writev", "pread64", "pwrite64", "lseek", "close",
        "recvmsg", "sendmsg", "recvfrom", "sendto", "recvmmsg", "sendmmsg", "shutdown",
        "getsockopt", "setsockopt", "getsockname", "getpeername", "dup", "fcntl", "fstat",
        "pipe2", "eventfd2", "memfd_create", "ftruncate", "sync_file_range", "sendfile", "splice",
        "preadv2", "fadvise64",
        /* waiting */
        "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll",
        "select", "pselect6", "timerfd_create", "timerfd_settime", "timerfd_gettime",
        "nanosleep", "clock_nanosleep", "restart_syscall",
        /* time and self */
        "clock_gettime", "clock_getres", "gettimeofday", "time", "getpid", "gettid", "getppid",
        "getuid", "geteuid", "getgid", "getegid", "getrusage", "getrlimit", "getcpu", "sysinfo",
        "uname", "sched_yield", "sched_getaffinity", "getrandom", "times",
        /* memory, signals, ending */
        "munmap", "mremap", "madvise", "brk", "mlock", "munlock", "futex", "futex_waitv",
        "set_robust_list", "get_robust_list", "rseq", "membarrier", "rt_sigaction",
        "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "sigaltstack", "exit", "exit_group",
};

static const char *const for_reading[] = {
        "readahead", "getdents64", "statx", "stat", "lstat", "newfstatat", "access",
        "faccessat", "faccessat2", "getcwd", "fstatfs", "flock", "readlink", "readlinkat",
};

static const char *const for_files[] = {
        "open", "openat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir",
        "mkdirat", "rmdir", "link", "linkat", "truncate", "fsync", "fdatasync",
        "fallocate", "statfs", "chmod", "fchmod", "fchmodat", "utimensat", "copy_file_range",
        "preadv", "pwritev", "pwritev2", "ioprio_set", "ioprio_get", "syncfs",
        "msync",
};

/* Killed wherever they are not listed above. */
static const char *const forbidden[] = {
        "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise",
        "pidfd_open", "pidfd_getfd", "kcmp", "open", "openat", "openat2", "creat",
        "open_by_handle_at", "name_to_handle_at", "fork", "vfork", "socket", "connect", "bind",
        "listen", "mount", "umount2", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount",
        "pivot_root", "chroot", "setns", "unshare", "bpf", "perf_event_open", "userfaultfd",
        "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key",
        "request_key", "init_module", "finit_module", "delete_module", "kexec_load",
        "kexec_file_load", "reboot", "swapon", "swapoff", "setuid", "setgid", "setresuid",
        "setresgid", "setreuid", "setregid", "setgroups", "setfsuid", "setfsgid", "capset",
        "symlink", "symlinkat", "mknod", "mknodat", "modify_ldt", "iopl", "ioperm", "acct",
        "personality", "memfd_secret", "landlock_restrict_self", "seccomp",
};

struct filter {
        scmp_filter_ctx context;
        unsigned groups;
        uint32_t other; /* what happens on calls that nothing is said of */
        int error;      /* the first; later additions do nothing */
};

static void note(struct filter *f, int r)
{
        /* -EACCES: the action is the default one already. */
        if (r < 0 && r != -EACCES && f->error == 0)
                f->error = r;
}

static void add(struct filter *f, uint32_t action, const char *name)
{
        const int number = seccomp_syscall_resolve_name(name);

        if (number != __NR_SCMP_ERROR && f->error == 0)
                note(f, seccomp_rule_add(f->context, action, number, 0));
}

static void add_if(struct filter *f, uint32_t action, const char *name,
                   const struct scmp_arg_cmp *conditions, unsigned count)
{
        const int number = seccomp_syscall_resolve_name(name);

        if (number != __NR_SCMP_ERROR && f->error == 0)
                note(f, seccomp_rule_add_array(f->context, action, number, count, conditions));
}

#define ADD_IF(f, action, name, ...)                                                               \
        add_if((f), (action), (name), (const struct scmp_arg_cmp[]) {__VA_ARGS__},                 \
               sizeof((const struct scmp_arg_cmp[]) {__VA_ARGS__}) / sizeof(struct scmp_arg_cmp))

static void allow_all(struct filter *f, const char *const *names, size_t count)
{
        for (size_t i = 0; i < count; i++)
                add(f, SCMP_ACT_ALLOW, names[i]);
}
#define ALLOW_ALL(f, names) allow_all((f), (names), sizeof(names) / sizeof(names)[0])

static bool is_in(const char *name, const char *const *names, size_t count)
{
        for (size_t i = 0; i < count; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

/* ---- calls that depend on their arguments ---- */

static void allow_memory(struct filter *f)
{
        static const char *const names[] = {"mmap", "mprotect"};

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
                ADD_IF(f, SCMP_ACT_ALLOW, names[i], SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
                ADD_IF(f, SCMP_ACT_KILL_PROCESS, names[i],
                       SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
        }
}

static void allow_self(struct filter *f)
{
        static const int names[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_VMA_NUMBER, PR_GET_DUMPABLE,
                                    PR_GET_PDEATHSIG};
        const scmp_datum_t pid = (scmp_datum_t) getpid();

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                ADD_IF(f, SCMP_ACT_ALLOW, "prctl",
                       SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) names[i]));
        ADD_IF(f, SCMP_ACT_ALLOW, "tgkill", SCMP_A0(SCMP_CMP_EQ, pid)); /* abort() */
        ADD_IF(f, SCMP_ACT_ALLOW, "kill", SCMP_A0(SCMP_CMP_EQ, pid));
        /* Limits of ourselves, for reading. */
        ADD_IF(f, SCMP_ACT_ALLOW, "prlimit64", SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A2(SCMP_CMP_EQ, 0));
        ADD_IF(f, SCMP_ACT_ALLOW, "ioctl", SCMP_A1(SCMP_CMP_EQ, FIONREAD));
        ADD_IF(f, SCMP_ACT_ALLOW, "ioctl", SCMP_A1(SCMP_CMP_EQ, FIONBIO));
        /* isatty() and the like: not a terminal, and no reason to log. */
        ADD_IF(f, SCMP_ACT_ERRNO(ENOTTY), "ioctl", SCMP_A1(SCMP_CMP_EQ, TCGETS));
}

/* fstat() of newer libraries; by path only where files may be opened. */
static void allow_stat(struct filter *f)
{
        if (f->groups & (CALLS_FILES | CALLS_READ_FILES))
                return;
        ADD_IF(f, SCMP_ACT_ALLOW, "newfstatat",
               SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
        add(f, SCMP_ACT_ERRNO(EACCES), "stat");
        add(f, SCMP_ACT_ERRNO(EACCES), "access");
        add(f, SCMP_ACT_ERRNO(EACCES), "readlink");
}

static void allow_threads(struct filter *f)
{
        /* Its arguments are behind a pointer; the C library then uses clone. */
        add(f, SCMP_ACT_ERRNO(ENOSYS), "clone3");
        if (!(f->groups & CALLS_THREADS)) {
                add(f, SCMP_ACT_KILL_PROCESS, "clone");
                return;
        }
        ADD_IF(f, SCMP_ACT_ALLOW, "clone",
               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
        ADD_IF(f, SCMP_ACT_KILL_PROCESS, "clone", SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
        add(f, SCMP_ACT_ALLOW, "sched_getparam");
        add(f, SCMP_ACT_ALLOW, "sched_getscheduler");
        /* Of the thread that asks. */
        ADD_IF(f, SCMP_ACT_ALLOW, "sched_setattr", SCMP_A0(SCMP_CMP_EQ, 0));
        ADD_IF(f, SCMP_ACT_ALLOW, "getpriority", SCMP_A0(SCMP_CMP_EQ, PRIO_PROCESS),
               SCMP_A1(SCMP_CMP_EQ, 0));
}

static void allow_reading(struct filter *f)
{
        const scmp_datum_t writing = O_ACCMODE | O_CREAT | O_TRUNC;
        static const scmp_datum_t modes[] = {O_WRONLY, O_RDWR, O_ACCMODE};

        ALLOW_ALL(f, for_reading);
        if (f->groups & CALLS_FILES)
                return;
        ADD_IF(f, SCMP_ACT_ALLOW, "openat", SCMP_A2(SCMP_CMP_MASKED_EQ, writing, O_RDONLY));
        for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
                ADD_IF(f, SCMP_ACT_KILL_PROCESS, "openat",
                       SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE, modes[i]));
        ADD_IF(f, SCMP_ACT_KILL_PROCESS, "openat", SCMP_A2(SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT));
        ADD_IF(f, SCMP_ACT_KILL_PROCESS, "openat", SCMP_A2(SCMP_CMP_MASKED_EQ, O_TRUNC, O_TRUNC));
}

/* Every other family and type kills. */
static void allow_sockets(struct filter *f)
{
        const bool may[] = {
                [SOCK_STREAM] = (f->groups & CALLS_TCP) != 0,
                [SOCK_DGRAM] = (f->groups & CALLS_UDP) != 0,
        };

        for (scmp_datum_t family = 0; family <= AF_INET6; family++) {
                if (family != AF_INET && family != AF_INET6) {
                        ADD_IF(f, SCMP_ACT_KILL_PROCESS, "socket", SCMP_A0(SCMP_CMP_EQ, family));
                        continue;
                }
                for (scmp_datum_t type = 0; type <= SOCKET_TYPE_MASK; type++)
                        ADD_IF(f, type < sizeof may && may[type] ? SCMP_ACT_ALLOW
                                                                 : SCMP_ACT_KILL_PROCESS,
                               "socket", SCMP_A0(SCMP_CMP_EQ, family),
                               SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_TYPE_MASK, type));
        }
        ADD_IF(f, SCMP_ACT_KILL_PROCESS, "socket", SCMP_A0(SCMP_CMP_GT, AF_INET6));
        add(f, SCMP_ACT_ALLOW, "connect");
        add(f, SCMP_ACT_ALLOW, "bind"); /* the source address */
}

/* ---- the rest ---- */

static bool is_allowed_by_group(const struct filter *f, const char *name)
{
        static const char *const network[] = {"socket", "connect", "bind"};

        if ((f->groups & CALLS_FILES) &&
            is_in(name, for_files, sizeof for_files / sizeof for_files[0]))
                return true;
        if ((f->groups & CALLS_READ_FILES) && strcmp(name, "openat") == 0)
                return true;
        return (f->groups & (CALLS_TCP | CALLS_UDP)) &&
               is_in(name, network, sizeof network / sizeof network[0]);
}

/* A sanitizer that has something to report looks around in /proc first. */
static uint32_t action_for_forbidden(const char *name)
{
        static const char *const of_sanitizers[] = {"open", "openat", "personality"};

        return IS_SANITIZED && is_in(name, of_sanitizers, 3) ? SCMP_ACT_ERRNO(EACCES)
                                                            : SCMP_ACT_KILL_PROCESS;
}

static void fill(struct filter *f)
{
        ALLOW_ALL(f, always);
        allow_memory(f);
        allow_self(f);
        allow_stat(f);
        allow_threads(f);
        if (f->groups & CALLS_FILES)
                ALLOW_ALL(f, for_files);
        if (f->groups & (CALLS_FILES | CALLS_READ_FILES))
                allow_reading(f);
        if (f->groups & CALLS_PAIR)
                ADD_IF(f, SCMP_ACT_ALLOW, "socketpair", SCMP_A0(SCMP_CMP_EQ, AF_UNIX),
                       SCMP_A1(SCMP_CMP_EQ, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (f->groups & CALLS_ACCEPT) {
                add(f, SCMP_ACT_ALLOW, "accept4");
                add(f, SCMP_ACT_ALLOW, "accept");
        }
        if (f->groups & (CALLS_TCP | CALLS_UDP))
                allow_sockets(f);
        for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++)
                if (!is_allowed_by_group(f, forbidden[i]))
                        add(f, action_for_forbidden(forbidden[i]), forbidden[i]);
}

/* ---- calls that nothing is said of ---- */

static size_t put_number(char *out, unsigned n)
{
        char digits[12];
        size_t count = 0, len = 0;

        do {
                digits[count++] = (char) ('0' + n % 10);
                n /= 10;
        } while (n);
        while (count)
                out[len++] = digits[--count];
        return len;
}

static char log_prefix[96];

/* Only async-signal-safe calls: this interrupts anything. */
static void on_unknown_call(int signal_number, siginfo_t *info, void *context)
{
        static unsigned char seen[CALL_NUMBER_MAX];
        const unsigned number = (unsigned) info->si_syscall;
        ucontext_t *registers = context;
        char line[sizeof log_prefix + 16];

        (void) signal_number;
#if defined(__x86_64__)
        registers->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
#elif defined(__aarch64__)
        registers->uc_mcontext.regs[0] = (unsigned long long) -ENOSYS;
#else
#error "where does this architecture return a system call's result?"
#endif
        if (number < CALL_NUMBER_MAX && !seen[number]) {
                size_t len = strlen(log_prefix);

                seen[number] = 1;
                memcpy(line, log_prefix, len);
                len += put_number(line + len, number);
                line[len++] = '\n';
                if (write(STDERR_FILENO, line, len) < 0)
                        return;
        }
}

static int catch_unknown_calls(const char *name)
{
        const struct sigaction action = {
                .sa_sigaction = on_unknown_call, .sa_flags = SA_SIGINFO | SA_NODEFER,
        };

        /* As log_write() would: the supervisor passes on nothing else as it stands. */
        snprintf(log_prefix, sizeof log_prefix, "warning %s unknown_system_call number=", name);
        return sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}

static uint32_t action_for_others(unsigned groups)
{
        const char *kill = getenv("HAYAUMA_SECCOMP_KILL");

        if (kill && strcmp(kill, "1") == 0)
                return SCMP_ACT_KILL_PROCESS;
        return groups & CALLS_THREADS ? SCMP_ACT_ERRNO(ENOSYS) : SCMP_ACT_TRAP;
}

static int load(struct filter *f, const char *name)
{
        int r = seccomp_attr_set(f->context, SCMP_FLTATR_CTL_TSYNC, 1);

        if (r == 0)
                r = seccomp_attr_set(f->context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (r == 0 && f->other != SCMP_ACT_TRAP) /* then the kernel writes the log line */
                r = seccomp_attr_set(f->context, SCMP_FLTATR_CTL_LOG, 1);
        if (r == 0)
                r = seccomp_attr_set(f->context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        fill(f);
        if (r == 0)
                r = f->error;
        if (r == 0 && f->other == SCMP_ACT_TRAP)
                r = catch_unknown_calls(name);
        return r < 0 ? r : seccomp_load(f->context);
}

int call_filter_apply(unsigned groups, const char *name)
{
        struct filter f = {.groups = groups, .other = action_for_others(groups)};
        int r;

        f.context = seccomp_init(f.other);
        if (!f.context)
                return -ENOMEM;
        r = load(&f, name);
        seccomp_release(f.context);
        return r;
}
