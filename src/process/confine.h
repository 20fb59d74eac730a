/* Confinement: what each kind of process may still do once it speaks to
 * others. One table, a row a kind (confine.c): uid, root folder, Landlock
 * rights, system calls, limits.
 *
 * As root: empty root folder (the keeper: the state folder), own uid, no
 * capabilities. As an ordinary user the rest applies: Landlock, seccomp,
 * limits, no new privileges, not dumpable, ended with its parent. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "process/process.h"

struct confine_identity {
        bool is_privileged; /* root: change uid, change the root folder */
        uid_t uid;
        gid_t gid;
        int state_fd;                /* the state folder, or -1 */
        const struct config *config; /* ports, folders */
        const char *name;            /* in the log: "edge/0" */
};

/* Does now what would need files later: time zone, OpenSSL, ICU. On failure
 * `*ret_what` says what, for the log. 0 or a negative errno. */
int confine_warm_up(enum process_kind kind, const char **ret_what);

/* Confines the calling process, all its threads where the kernel can. There
 * is no way back. On failure the process is half confined and must end. */
int confine_apply(enum process_kind kind, const struct confine_identity *identity,
                  const char **ret_what);
