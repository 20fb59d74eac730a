#include "process/landlock.h"

#include <errno.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* The headers we build with end at ABI 2 (Debian 12); the kernel may be newer.
 * Numbers from the kernel's include/uapi/linux/landlock.h. */
enum {
        ACCESS_FS_TRUNCATE = 1 << 14,  /* ABI 3 */
        ACCESS_FS_IOCTL_DEV = 1 << 15, /* ABI 5 */
        ACCESS_NET_BIND_TCP = 1 << 0,  /* ABI 4 */
        ACCESS_NET_CONNECT_TCP = 1 << 1,
        SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0, /* ABI 6 */
        SCOPE_SIGNAL = 1 << 1,
        RULE_NET_PORT = 2,
};

struct ruleset {
        uint64_t handled_access_fs;
        uint64_t handled_access_net; /* ABI 4 */
        uint64_t scoped;             /* ABI 6 */
};

struct net_port {
        uint64_t allowed_access;
        uint64_t port;
};

/* What each ABI knows; a ruleset that asks for more is refused. */
static const struct {
        uint64_t fs, net, scoped;
        size_t ruleset_size;
} known[] = {
        [1] = { (1 << 13) - 1, 0, 0, 8 },
        [2] = { (1 << 14) - 1, 0, 0, 8 },
        [3] = { (1 << 15) - 1, 0, 0, 8 },
        [4] = { (1 << 15) - 1, ACCESS_NET_BIND_TCP | ACCESS_NET_CONNECT_TCP, 0, 16 },
        [5] = { (1 << 16) - 1, ACCESS_NET_BIND_TCP | ACCESS_NET_CONNECT_TCP, 0, 16 },
        [6] = { (1 << 16) - 1, ACCESS_NET_BIND_TCP | ACCESS_NET_CONNECT_TCP,
                SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL, 24 },
};
enum { ABI_MAX = sizeof known / sizeof known[0] - 1 };

static const uint64_t may_read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
static const uint64_t may_write =
        LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE |
        LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
        LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REFER |
        ACCESS_FS_TRUNCATE;

static int add_folder(int ruleset_fd, const struct landlock_rules *rules, uint64_t handled)
{
        const uint64_t wanted = rules->files == LANDLOCK_READ_WRITE ? may_write : may_read;
        const struct landlock_path_beneath_attr rule = {
                .allowed_access = wanted & handled, .parent_fd = rules->folder_fd,
        };

        if (rules->files == LANDLOCK_NO_FILES)
                return 0;
        return syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
                       ? -errno : 0;
}

/* Who may connect anywhere may also choose which of our addresses it comes from:
 * a bind to port 0, which makes no listener anybody could find. */
static int add_source(int ruleset_fd, uint64_t handled)
{
        const struct net_port rule = {.allowed_access = ACCESS_NET_BIND_TCP, .port = 0};

        if (!(handled & ACCESS_NET_BIND_TCP))
                return 0;
        return syscall(SYS_landlock_add_rule, ruleset_fd, RULE_NET_PORT, &rule, 0) < 0 ? -errno : 0;
}

static int add_ports(int ruleset_fd, const struct landlock_rules *rules, uint64_t handled)
{
        for (size_t i = 0; (handled & ACCESS_NET_CONNECT_TCP) && i < rules->port_count; i++) {
                const struct net_port rule = {
                        .allowed_access = ACCESS_NET_CONNECT_TCP, .port = rules->ports[i],
                };

                if (syscall(SYS_landlock_add_rule, ruleset_fd, RULE_NET_PORT, &rule, 0) < 0)
                        return -errno;
        }
        return 0;
}

int landlock_restrict(const struct landlock_rules *rules)
{
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        struct ruleset ruleset;
        int r;

        if (abi < 1)
                return abi < 0 ? -errno : -ENOSYS;
        if (abi > ABI_MAX)
                abi = ABI_MAX;
        ruleset = (struct ruleset) {
                .handled_access_fs = known[abi].fs,
                .handled_access_net = known[abi].net,
                .scoped = known[abi].scoped,
        };
        if (rules->may_connect && rules->port_count == 0) /* any port: not ours to handle */
                ruleset.handled_access_net &= ~(uint64_t) ACCESS_NET_CONNECT_TCP;
        _cleanup_(close_fd) int fd = (int) syscall(SYS_landlock_create_ruleset, &ruleset,
                                                   known[abi].ruleset_size, 0);
        if (fd < 0)
                return -errno;
        r = add_folder(fd, rules, ruleset.handled_access_fs);
        if (r == 0)
                r = add_ports(fd, rules, rules->may_connect ? ruleset.handled_access_net : 0);
        if (r == 0 && rules->may_connect && rules->port_count == 0)
                r = add_source(fd, ruleset.handled_access_net);
        if (r == 0 && syscall(SYS_landlock_restrict_self, fd, 0) < 0)
                r = -errno;
        return r;
}
