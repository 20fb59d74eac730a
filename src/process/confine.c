#include "process/confine.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

int confine_warm_up(enum process_kind kind, const char **ret_what)
{
        (void) kind;
        *ret_what = "warm up";
        return tls_warm_up();
}

int confine_apply(enum process_kind kind, const struct confine_identity *identity,
                  const char **ret_what)
{
        (void) kind;
        *ret_what = "uid";
        if (identity->is_privileged &&
            (setgroups(0, NULL) < 0 || setresgid(identity->gid, identity->gid, identity->gid) < 0 ||
             setresuid(identity->uid, identity->uid, identity->uid) < 0))
                return -errno;
        *ret_what = "no_new_privs";
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
            prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                return -errno;
        return 0;
}
