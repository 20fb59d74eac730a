#include "process/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unicode/uclean.h>
#include <unicode/udata.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/number.h"
#include "process/call_filter.h"
#include "process/landlock.h"

#define UNLIMITED RLIM_INFINITY

enum { DNS_PORT = 53, PORTS_MAX = 64, ARENAS_MAX = 4 };

/* What files a kind may use, apart from descriptors it is handed. */
enum files {
        FILES_NONE,
        FILES_STATE, /* everything in the state folder, which is its root folder */
};

/* Where it may connect to with TCP. */
enum connects { CONNECTS_NOWHERE, CONNECTS_DNS, CONNECTS_ANYWHERE };

/* What must be warm before, since it would need files later. */
enum warm { WARM_NOTHING, WARM_ICU, WARM_ICU_AND_TLS };

struct confinement {
        enum files files;
        enum connects connects;
        unsigned calls;    /* set of enum call_group */
        enum warm warm;
        rlim_t open_files; /* at most; what the system grants may be less */
        rlim_t file_size;  /* 0: writes no file. memfds count */
        rlim_t threads;    /* as root, where the uid is ours alone; 0: none, always */
        bool is_batch;     /* it takes nobody's turn: less in pieces, it does more at once */
};

/* The table: one row a kind. Who runs each is in accounts.c. */
static const struct confinement table[PROCESS_KIND_END] = {
        [PROCESS_RESOLVER] = {
                .connects = CONNECTS_DNS, .calls = CALLS_THREADS | CALLS_TCP | CALLS_UDP,
                .open_files = 8192, .threads = 64,
        },
        [PROCESS_DIRECTORY] = {
                /* The users file comes as a descriptor. */
                .calls = CALLS_THREADS, .warm = WARM_ICU_AND_TLS, .open_files = 4096,
                .threads = 256,
        },
        [PROCESS_WORKER] = {
                .warm = WARM_ICU, .open_files = 1024, .file_size = 1ULL << 30,
        },
        [PROCESS_KEEPER] = {
                .files = FILES_STATE, .calls = CALLS_THREADS | CALLS_FILES | CALLS_ACCEPT,
                .open_files = 1 << 20, .file_size = UNLIMITED, .threads = 256,
        },
        [PROCESS_RELAY] = {
                .connects = CONNECTS_ANYWHERE, .calls = CALLS_TCP, .warm = WARM_ICU_AND_TLS,
                .open_files = 1 << 20, .is_batch = true,
        },
        [PROCESS_EDGE] = {
                /* Files the keeper lends for large bodies; pairs that carry what is
                 * under TLS to access processes. */
                .calls = CALLS_ACCEPT | CALLS_PAIR, .warm = WARM_ICU_AND_TLS, .open_files = 1 << 20,
                .file_size = UNLIMITED,
        },
        [PROCESS_ACCESS] = {
                /* Files the keeper lends for large appended messages. */
                .warm = WARM_ICU, .open_files = 1 << 20, .file_size = UNLIMITED,
        },
        [PROCESS_COMPILER] = {
                .warm = WARM_ICU, .open_files = 64, .file_size = 8ULL << 30,
        },
};

/* ---- warming up ---- */

/* With TZ set, the C library never looks at the file again. */
static int warm_up_time_zone(void)
{
        if (!getenv("TZ") && setenv("TZ", ":/etc/localtime", 1) < 0)
                return -errno;
        tzset();
        return 0;
}

static int warm_up_icu(void)
{
        UErrorCode error = U_ZERO_ERROR;

        udata_setFileAccess(UDATA_NO_FILES, &error); /* all its data is in the library */
        u_init(&error);
        return U_FAILURE(error) ? -EIO : 0;
}

int confine_warm_up(enum process_kind kind, const char **ret_what)
{
        int r;

        /* More arenas cost memory, and counting cores costs a look into /sys. */
        mallopt(M_ARENA_MAX, ARENAS_MAX);
        *ret_what = "time zone";
        r = warm_up_time_zone();
        if (r < 0 || table[kind].warm == WARM_NOTHING)
                return r;
        *ret_what = "text conversion";
        r = warm_up_icu();
        if (r < 0 || table[kind].warm == WARM_ICU)
                return r;
        *ret_what = "TLS";
        return tls_warm_up();
}

/* ---- the steps ---- */

static int set_limit(__rlimit_resource_t resource, rlim_t wanted)
{
        struct rlimit limit;

        if (getrlimit(resource, &limit) < 0)
                return -errno;
        limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        limit.rlim_max = limit.rlim_cur;
        return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

static int limit(const struct confinement *c, const struct confine_identity *id)
{
        const struct sched_param batch = {0};
        int r = set_limit(RLIMIT_CORE, 0); /* a core would hold keys and mail */

        /* Writing past a limit is an error to handle, not the end. */
        signal(SIGXFSZ, SIG_IGN);
        if (r == 0)
                r = set_limit(RLIMIT_NOFILE, c->open_files);
        if (r == 0)
                r = set_limit(RLIMIT_FSIZE, c->file_size);
        /* Counted by user: of a shared one, others' processes would count too. */
        if (r == 0 && (c->threads == 0 || id->is_privileged))
                r = set_limit(RLIMIT_NPROC, c->threads);
        /* What waits for it has its 250 already, while clients wait for the others. What an
         * administrator has chosen stays. */
        if (r == 0 && c->is_batch && sched_getscheduler(0) == SCHED_OTHER &&
            sched_setscheduler(0, SCHED_BATCH, &batch) < 0)
                r = -errno;
        return r;
}

/* A folder that is empty for ever: it has been removed already. */
static int enter_empty_folder(void)
{
        char path[] = "/tmp/hayauma-empty-XXXXXX";

        if (!mkdtemp(path))
                return -errno;
        if (chdir(path) < 0) {
                const int r = -errno;

                rmdir(path);
                return r;
        }
        return rmdir(path) < 0 ? -errno : 0;
}

static int enter_root(const struct confinement *c, const struct confine_identity *id)
{
        int r = 0;

        if (c->files == FILES_STATE) {
                if (id->state_fd < 0)
                        return -ENOENT;
                r = fchdir(id->state_fd) < 0 ? -errno : 0;
        } else if (id->is_privileged) {
                r = enter_empty_folder();
        } else {
                r = chdir("/") < 0 ? -errno : 0;
        }
        if (r < 0 || !id->is_privileged)
                return r;
        return chroot(".") < 0 ? -errno : 0;
}

static int change_user(const struct confine_identity *id)
{
        if (!id->is_privileged)
                return 0;
        if (id->uid == 0 || id->gid == 0)
                return -EPERM;
        if (setgroups(0, NULL) < 0 || setresgid(id->gid, id->gid, id->gid) < 0 ||
            setresuid(id->uid, id->uid, id->uid) < 0)
                return -errno;
        return setresuid(0, 0, 0) == 0 ? -EPERM : 0; /* no way back */
}

/* Those that a service manager lent the supervisor for low ports. */
static int drop_capabilities(void)
{
        const struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        const struct __user_cap_data_struct none[2] = {{0}};

        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
                return -errno;
        return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

static int give_up_privileges(void)
{
        /* Not dumpable: our siblings, where they share our uid, cannot trace us or
         * read our memory. A change of uid has cleared PDEATHSIG. */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                return -errno;
        return 0;
}

/* ---- Landlock ---- */

/* "192.0.2.1@5353", "192.0.2.1": where a forwarder listens. */
static uint16_t port_of(struct span server)
{
        const size_t at = span_find(server, '@');
        uint64_t port;

        if (at == SIZE_MAX || number_parse(span_skip(server, at + 1), UINT16_MAX, &port) < 0)
                return DNS_PORT;
        return (uint16_t) port;
}

static size_t dns_ports(const struct config *config, uint16_t *out)
{
        size_t count = 0;

        out[count++] = DNS_PORT;
        for (size_t i = 0; i < config->dns.servers.count && count < PORTS_MAX; i++)
                out[count++] = port_of(config->dns.servers.items[i]);
        return count;
}

static int restrict_paths(const struct confinement *c, const struct confine_identity *id)
{
        uint16_t ports[PORTS_MAX];
        struct landlock_rules rules = {
                .folder_fd = -1, .may_connect = c->connects != CONNECTS_NOWHERE, .ports = ports,
        };
        int r;

        if (c->files == FILES_STATE) {
                rules.files = LANDLOCK_READ_WRITE;
                rules.folder_fd = id->state_fd;
        }
        if (c->connects == CONNECTS_DNS)
                rules.port_count = dns_ports(id->config, ports);
        r = landlock_restrict(&rules);
        if (r != -ENOSYS && r != -EOPNOTSUPP)
                return r;
        /* The rest still holds: root folder, uid, system calls. */
        log_event(LOG_WARNING, "no_landlock", LOG_ERRNO("error", r));
        return 0;
}

int confine_apply(enum process_kind kind, const struct confine_identity *id, const char **ret_what)
{
        const struct confinement *c = &table[kind];
        int r;

        *ret_what = "limits";
        r = limit(c, id);
        if (r < 0)
                return r;
        *ret_what = "root folder";
        r = enter_root(c, id);
        if (r < 0)
                return r;
        *ret_what = "user";
        r = change_user(id);
        if (r < 0)
                return r;
        *ret_what = "privileges";
        r = drop_capabilities();
        if (r == 0)
                r = give_up_privileges();
        if (r < 0)
                return r;
        *ret_what = "Landlock";
        r = restrict_paths(c, id);
        if (r < 0)
                return r;
        *ret_what = "system calls";
        return call_filter_apply(c->calls, id->name);
}
