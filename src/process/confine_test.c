/* Each kind of process, confined as it really is, tries what it must not be
 * able to do: as root (own uid, own root folder) and as an ordinary user.
 *
 * Every attempt is a child of its own, since most of them kill. */
#include "process/confine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "base/test.h"
#include "base/thread.h"

enum { NOBODY = 65534, TEST_UID = 61250 };

/* What the attempts of a child need, made before it is confined. */
static struct {
        uint16_t tcp_port; /* somebody listens there */
        pid_t victim;      /* another process of the same uid */
        char folder[64]; /* the state folder */
        char unix_path[72];
        int state_fd;
} world;

enum result { WORKS, REFUSED, KILLED };

/* ---- attempts: 0 or a negative errno ---- */

static int done(long r)
{
        return r < 0 ? -errno : 0;
}

static int open_passwd(void)
{
        return done(open("/etc/passwd", O_RDONLY));
}

static int open_passwd_raw(void)
{
        return done(syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY));
}

static int open_outside(void)
{
        return done(openat(world.state_fd, "../../etc/passwd", O_RDONLY));
}

static int open_memory_of_another(void)
{
        char path[64];

        snprintf(path, sizeof path, "/proc/%d/mem", (int) world.victim);
        return done(open(path, O_RDWR));
}

static int write_own_file(void)
{
        const int fd = openat(world.state_fd, "file", O_RDWR | O_CREAT, 0600);

        if (fd < 0)
                return -errno;
        return write(fd, "x", 1) == 1 && fdatasync(fd) == 0 &&
                               renameat(world.state_fd, "file", world.state_fd, "file2") == 0 &&
                               unlinkat(world.state_fd, "file2", 0) == 0
                       ? 0 : -errno;
}

static int link_to_outside(void)
{
        return done(symlinkat("/etc/passwd", world.state_fd, "link"));
}

static int connect_tcp(void)
{
        const struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(world.tcp_port),
                                      .sin_addr = {htonl(INADDR_LOOPBACK)}};
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        return fd < 0 ? -errno : done(connect(fd, (const struct sockaddr *) &a, sizeof a));
}

static int send_udp(void)
{
        const struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(53),
                                      .sin_addr = {htonl(INADDR_LOOPBACK)}};
        const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        return fd < 0 ? -errno
                      : done(sendto(fd, "x", 1, 0, (const struct sockaddr *) &a, sizeof a));
}

static int connect_unix(void)
{
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        memcpy(a.sun_path, world.unix_path, sizeof world.unix_path);
        return fd < 0 ? -errno : done(connect(fd, (const struct sockaddr *) &a, sizeof a));
}

static int open_raw_socket(void)
{
        return done(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static int open_netlink(void)
{
        return done(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int listen_tcp(void)
{
        const int fd = socket(AF_INET, SOCK_STREAM, 0);

        return fd < 0 ? -errno : done(listen(fd, 1));
}

static int execute(void)
{
        char *argv[] = {(char[]) {"true"}, NULL}, *none[] = {NULL};

        return done(execve("/bin/true", argv, none));
}

static int make_process(void)
{
        const pid_t pid = fork();

        if (pid == 0)
                _exit(0);
        return done(pid);
}

static void *run_thread(void *arg)
{
        return arg;
}

static int make_thread(void)
{
        pthread_t thread;
        const int r = pthread_create(&thread, NULL, run_thread, NULL);

        return r ? -r : -pthread_join(thread, NULL);
}

static int trace_another(void)
{
        return done(ptrace(PTRACE_ATTACH, world.victim, NULL, NULL));
}

static int read_another(void)
{
        char in[8];
        struct iovec here = {.iov_base = in, .iov_len = sizeof in};
        struct iovec there = {.iov_base = (void *) &world, .iov_len = sizeof in};

        return done(process_vm_readv(world.victim, &here, 1, &there, 1, 0));
}

static int signal_another(void)
{
        return done(kill(world.victim, 0));
}

static int map_code(void)
{
        const void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return p == MAP_FAILED ? -errno : 0;
}

static int become_root(void)
{
        return done(syscall(SYS_setresuid, 0, 0, 0));
}

static int map_memory(void)
{
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
        const void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, -1, 0);

        return p == MAP_FAILED ? -errno : 0;
}

static int tell_date(void)
{
        time_t now = time(NULL);
        char text[64];
        struct tm tm;

        return localtime_r(&now, &tm) && strftime(text, sizeof text, "%c %Z", &tm) ? 0 : -EIO;
}

static int give_way(void)
{
        thread_give_way();
        return done(getpriority(PRIO_PROCESS, 0) >= 10 ? 0 : -1);
}

static int slow_another_down(void)
{
        const char attributes[48] = {sizeof attributes};

        return done((int) syscall(SYS_sched_setattr, world.victim, attributes, 0));
}

static int call_unknown(void)
{
        return done(syscall(SYS_getpgid, 0)); /* in no list of ours */
}

/* Result of each attempt where no exception below says otherwise. */
static const struct {
        const char *name;
        int (*run)(void);
        enum result result;
} attempts[] = {
        { "open /etc/passwd", open_passwd, KILLED },
        { "open /etc/passwd, raw call", open_passwd_raw, KILLED },
        { "leave the state folder", open_outside, KILLED },
        { "open another's memory", open_memory_of_another, KILLED },
        { "write a file in the state folder", write_own_file, KILLED },
        { "link out of the state folder", link_to_outside, KILLED },
        { "connect with TCP", connect_tcp, KILLED },
        { "send with UDP", send_udp, KILLED },
        { "connect to a Unix socket", connect_unix, KILLED },
        { "raw socket", open_raw_socket, KILLED },
        { "netlink socket", open_netlink, KILLED },
        { "listen", listen_tcp, KILLED },
        { "exec", execute, KILLED },
        { "fork", make_process, KILLED },
        { "thread", make_thread, KILLED },
        { "ptrace", trace_another, KILLED },
        { "read another's memory", read_another, KILLED },
        { "signal another", signal_another, REFUSED },
        { "map code", map_code, KILLED },
        { "become root", become_root, KILLED },
        { "map memory", map_memory, WORKS },
        { "tell the date", tell_date, WORKS },
        { "give way", give_way, REFUSED },
        { "slow another down", slow_another_down, REFUSED },
        { "unknown call", call_unknown, REFUSED },
};
enum { ATTEMPTS = sizeof attempts / sizeof attempts[0] };

static const struct {
        enum process_kind kind;
        int (*run)(void);
        enum result result;
} exceptions[] = {
        { PROCESS_RESOLVER, send_udp, WORKS },
        { PROCESS_RESOLVER, connect_tcp, REFUSED }, /* not a DNS port */
        { PROCESS_RESOLVER, make_thread, WORKS },
        { PROCESS_RELAY, connect_tcp, WORKS },
        { PROCESS_RESOLVER, give_way, WORKS },
        { PROCESS_DIRECTORY, make_thread, WORKS },
        { PROCESS_DIRECTORY, give_way, WORKS },
        { PROCESS_KEEPER, make_thread, WORKS },
        { PROCESS_KEEPER, give_way, WORKS },
        { PROCESS_KEEPER, write_own_file, WORKS },
        { PROCESS_KEEPER, open_passwd, REFUSED },
        { PROCESS_KEEPER, open_passwd_raw, REFUSED },
        { PROCESS_KEEPER, open_outside, REFUSED },
        { PROCESS_KEEPER, open_memory_of_another, REFUSED },
};

static enum result wanted(enum process_kind kind, size_t attempt)
{
        for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++)
                if (exceptions[i].kind == kind && exceptions[i].run == attempts[attempt].run)
                        return exceptions[i].result;
        return attempts[attempt].result;
}

/* ---- children ---- */

__attribute__((noreturn)) static void try(enum process_kind kind, size_t attempt,
                                          bool is_privileged)
{
        struct config config = {.users = {.file = SPAN("/var/empty/hayauma-users")}};
        const struct confine_identity id = {
                .is_privileged = is_privileged, .uid = TEST_UID, .gid = TEST_UID,
                .state_fd = world.state_fd, .config = &config, .name = "test/0",
        };
        const char *what = "";
        int r = confine_warm_up(kind, &what);

        if (r == 0)
                r = confine_apply(kind, &id, &what);
        if (r < 0) {
                print_error("%s: %s\n", what, strerror(-r));
                _exit(100);
        }
        r = attempts[attempt].run();
        _exit(r < 0 ? 1 : 0);
}

static enum result result_of(pid_t pid)
{
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFSIGNALED(status))
                return WTERMSIG(status) == SIGSYS ? KILLED : 99;
        return WEXITSTATUS(status) == 0 ? WORKS : WEXITSTATUS(status) == 1 ? REFUSED : 98;
}

/* A sanitizer may look for /proc, so for it open is refused and does not kill. */
static bool is_good(enum result result, enum result want)
{
        return result == want || (IS_SANITIZED && want == KILLED && result == REFUSED);
}

static void try_all(bool is_privileged, bool is_nobody)
{
        /* Up to the agent, which becomes a user of the system instead. */
        for (enum process_kind kind = PROCESS_RESOLVER; kind < PROCESS_AGENT; kind++) {
                for (size_t i = 0; i < ATTEMPTS; i++) {
                        char label[128];
                        pid_t pid = fork();

                        if (pid == 0) {
                                if (is_nobody && (setgroups(0, NULL) < 0 ||
                                                  setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                                                  setresuid(NOBODY, NOBODY, NOBODY) < 0))
                                        _exit(100);
                                try(kind, i, is_privileged);
                        }
                        snprintf(label, sizeof label, "%s: %s", process_kind_name(kind),
                                 attempts[i].name);
                        CHECK(is_good(result_of(pid), wanted(kind, i)), label);
                }
        }
}

static void make_victim(uid_t uid)
{
        world.victim = fork();
        if (world.victim == 0) {
                if (geteuid() == 0 &&
                    (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0))
                        _exit(1);
                prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when a check fails */
                for (;;)
                        pause();
        }
}

static void make_world(uid_t uid)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        struct sockaddr_un u = {.sun_family = AF_UNIX};
        socklen_t size = sizeof a;
        const int tcp = socket(AF_INET, SOCK_STREAM, 0), local = socket(AF_UNIX, SOCK_STREAM, 0);

        snprintf(world.folder, sizeof world.folder, "/tmp/hayauma-confine-XXXXXX");
        assert_non_null(mkdtemp(world.folder));
        if (geteuid() == 0)
                assert_int_equal(chown(world.folder, uid, uid), 0);
        world.state_fd = open(world.folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_true(world.state_fd >= 0);
        assert_int_equal(bind(tcp, (struct sockaddr *) &a, sizeof a), 0);
        assert_int_equal(listen(tcp, 1000), 0);
        assert_int_equal(getsockname(tcp, (struct sockaddr *) &a, &size), 0);
        world.tcp_port = ntohs(a.sin_port);
        snprintf(world.unix_path, sizeof world.unix_path, "%s.socket", world.folder);
        memcpy(u.sun_path, world.unix_path, sizeof world.unix_path);
        assert_int_equal(bind(local, (struct sockaddr *) &u, sizeof u), 0);
        assert_int_equal(chmod(world.unix_path, 0666), 0);
        assert_int_equal(listen(local, 1000), 0);
        make_victim(uid);
}

/* Also after a test that failed. */
static int end_world(void **state)
{
        (void) state;
        if (!world.folder[0])
                return 0;
        if (world.victim > 0) {
                kill(world.victim, SIGKILL);
                waitpid(world.victim, NULL, 0);
        }
        close(world.state_fd);
        unlink(world.unix_path);
        if (rmdir(world.folder) < 0) /* nothing was left in it */
                return -1;
        memset(&world, 0, sizeof world);
        return 0;
}

TEST_WITH(as_root, NULL, end_world)
{
        if (geteuid() != 0)
                skip();
        unsetenv("HAYAUMA_SECCOMP_KILL"); /* here unknown calls are tried on purpose */
        make_world(TEST_UID);
        try_all(true, false);
}

TEST_WITH(as_ordinary_user, NULL, end_world)
{
        const bool is_root = geteuid() == 0;

        unsetenv("HAYAUMA_SECCOMP_KILL");
        make_world(is_root ? NOBODY : geteuid());
        try_all(false, is_root);
}

/* An unknown call is said once, in the process's own name; in CI it kills. */
TEST(unknown_calls_are_logged_once_or_kill)
{
        const struct confine_identity id = {.state_fd = -1, .name = "worker/3"};
        char said[256] = "";
        const char *what;
        int fds[2], status;
        pid_t pid;

        assert_int_equal(pipe(fds), 0);
        pid = fork();
        if (pid == 0) {
                dup2(fds[1], STDERR_FILENO);
                if (confine_apply(PROCESS_WORKER, &id, &what) < 0)
                        _exit(100);
                for (int i = 0; i < 3; i++)
                        if (call_unknown() != -ENOSYS)
                                _exit(101);
                _exit(0);
        }
        close(fds[1]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it goes on");
        assert_true(read(fds[0], said, sizeof said - 1) > 0);
        CHECK(strncmp(said, "warning worker/3 unknown_system_call number=", 44) == 0, said);
        CHECK(strchr(said, '\n') == said + strlen(said) - 1, "one line");

        pid = fork();
        if (pid == 0) {
                setenv("HAYAUMA_SECCOMP_KILL", "1", 1);
                if (confine_apply(PROCESS_WORKER, &id, &what) < 0)
                        _exit(100);
                call_unknown();
                _exit(0);
        }
        CHECK(result_of(pid) == KILLED, "in CI it kills");
        close(fds[0]);
}

TEST_MAIN()
