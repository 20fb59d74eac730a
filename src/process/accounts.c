#include "process/accounts.h"

#include <pwd.h>

static const char *const names[PROCESS_KIND_END] = {
        [PROCESS_RESOLVER] = "hayauma-dns", [PROCESS_DIRECTORY] = "hayauma-dir",
        [PROCESS_WORKER] = "hayauma-work",  [PROCESS_KEEPER] = "hayauma-keeper",
        [PROCESS_RELAY] = "hayauma-relay",  [PROCESS_EDGE] = "hayauma-edge",
        [PROCESS_ACCESS] = "hayauma-access", [PROCESS_COMPILER] = "hayauma-work",
};

bool accounts_get(enum process_kind kind, uid_t *ret_uid, gid_t *ret_gid)
{
        const struct passwd *account = names[kind] ? getpwnam(names[kind]) : NULL;

        /* A user of that name with the rights of root would defeat it all. */
        if (account && account->pw_uid != 0 && account->pw_gid != 0) {
                *ret_uid = account->pw_uid;
                *ret_gid = account->pw_gid;
                return true;
        }
        *ret_uid = ACCOUNTS_UID_FIRST + (uid_t) kind;
        *ret_gid = ACCOUNTS_UID_FIRST + (gid_t) kind;
        return false;
}
