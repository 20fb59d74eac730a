/* Passwords of this machine's own accounts, asked of PAM.
 *
 * Modules of PAM read files, load code, wait and sometimes crash: none of that may
 * happen in the directory process, which is confined. So it leaves children behind
 * before it is: one for each of its threads, still whom it was (root, where shadow
 * passwords are to be read), with no network and no way to more rights; they know
 * one question and end with the directory.
 *
 *   thread ──{id, name, password}──► child: pam_authenticate, pam_acct_mgmt
 *          ◄──{id, result}──────────
 *
 * An account says {PAM}name in the users file; the name is of a local account. */
#pragma once

#include <stdbool.h>

#include "base/span.h"

enum { PAM_CHECK_CHILDREN_MAX = 8, PAM_CHECK_NAME_MAX = 64, PAM_CHECK_PATIENCE_S = 30 };

struct pam_check;

/* Before confinement and before any thread: starts the children. 0; -ENOPKG: there
 * is no libpam here; -ENOMEM or the errno of fork(2). */
int pam_check_new(struct span service, unsigned children, struct pam_check **ret_p);

/* From a thread, waits. `name` is what stands behind {PAM}. 0: it is the password, and
 * the account may be used; -EACCES: no; -EIO: PAM cannot tell now. */
int pam_check_verify(struct pam_check *p, struct span name, struct span password);

/* No child is left that could answer. */
bool pam_check_is_lost(struct pam_check *p);
