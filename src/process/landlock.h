/* Landlock: what a process may do with paths, TCP ports, abstract sockets and
 * signals, as far as the kernel knows how (ABI 1 and up; nothing without it). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum landlock_files { LANDLOCK_NO_FILES, LANDLOCK_READ, LANDLOCK_READ_WRITE };

struct landlock_rules {
        enum landlock_files files; /* beneath `folder_fd` only */
        int folder_fd;             /* may be O_PATH; -1 with LANDLOCK_NO_FILES */
        bool may_connect;          /* TCP, to any port or to `ports` only */
        const uint16_t *ports;
        size_t port_count; /* 0: any */
};

/* Restricts the calling thread and all it will start; not threads that run
 * already. Needs no_new_privs. 0 or a negative errno; -ENOSYS and -EOPNOTSUPP
 * where this kernel has no Landlock. */
int landlock_restrict(const struct landlock_rules *rules);
