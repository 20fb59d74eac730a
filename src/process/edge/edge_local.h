/* Local users: what the accounts of this machine are called, so that whoever sends
 * as somebody else is told from who sends as himself. sendmail marks such a message
 * with X-Authentication-Warning, and so do we.
 *
 * All names that the machine knows are read before confinement. When /etc/passwd
 * changes the supervisor hands it in again; an account of another directory that is
 * made later is "uid-1234" until the process begins anew. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/span.h"

struct edge_session;

enum { EDGE_LOCAL_NAME_MAX = 64, EDGE_LOCAL_USERS_MAX = 100 * 1000 };

/* Reads the names of this machine's accounts: before confinement. 0 or -ENOMEM. */
int edge_local_load(void);

/* Reads them again from the text of /etc/passwd; `fd` stays the caller's. Accounts
 * that are not in it are called what they were called. 0 or a negative errno: nothing
 * has changed. */
int edge_local_read(int fd);

/* What the account is called. */
void edge_local_name(uid_t uid, char out[EDGE_LOCAL_NAME_MAX]);

/* Whether the message of a local user must say who set its sender: he is not among
 * trusted_users, and it is not his own address. `*ret_name` is who. */
bool edge_local_must_warn(const struct edge_session *s, struct span mail_from,
                          char ret_name[EDGE_LOCAL_NAME_MAX]);
