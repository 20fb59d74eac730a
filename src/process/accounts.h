/* Who the processes are when root started us: the users hayauma-edge and so
 * on, or, where the system has none of that name, fixed numbers. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "process/process.h"

enum { ACCOUNTS_UID_FIRST = 61200 }; /* between systemd's dynamic and container ranges */

/* The user and group of a kind. False when they are the fixed numbers. */
bool accounts_get(enum process_kind kind, uid_t *ret_uid, gid_t *ret_gid);
