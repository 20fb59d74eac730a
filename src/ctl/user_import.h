/* Lines ADDRESS:{SCHEME}HASH from elsewhere as accounts.
 *
 * What can be wrong is looked for before the first password is hashed: an
 * import of 100,000 {PLAIN} lines takes hours. */
#pragma once

#include <stdbool.h>

#include "auth/users.h"
#include "base/span.h"

struct user_import {
        const struct users *existing; /* NULL: none */
        bool may_replace;
        unsigned jobs; /* threads that hash; 0: one a processor */
};

/* Makes accounts of all lines of `text`; `name` stands in messages. EX_OK, or,
 * said on standard error, EX_DATAERR (nothing is taken then) or EX_OSERR. */
int user_import_parse(struct span text, const char *name, const struct user_import *import,
                      struct users **ret_users);

/* Whether `a` may be put into `users`: EX_OK, or, said on standard error,
 * EX_CANTCREAT. NULL users have no accounts. */
int user_import_may_put(const struct users *users, const struct users_account *a,
                        bool may_replace);
