#include "process/agent/agent.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
#include "base/sanitizer.h"
#include "config/table.h"

enum {
        PREFIX_LEN = sizeof "agent:0000:" - 1,
        NUMBER_AT = sizeof "agent:" - 1,
        FILES_MAX = 256,
        PROCESSES_MAX = 512, /* of that user, all of his together */
};
#define FILE_SIZE_MAX ((rlim_t) 4 << 30)
#define MEMORY_MAX ((rlim_t) 2 << 30)

static const struct span include = SPAN(":include:");

static bool find_what(struct agent_task *t, const struct snapshot *s, struct span key)
{
        struct span value, line;
        uint64_t number;

        if (t->next_hop.len <= PREFIX_LEN ||
            number_parse(span_make(t->next_hop.p + NUMBER_AT, 4), 9999, &number) < 0 || !s ||
            !snapshot_get(s, SNAPSHOT_ALIASES, key, &value, NULL))
                return false;
        while (value.len && span_split(&value, '\n', &line)) {
                if (line.len == 0 || (line.p[0] != '|' && line.p[0] != '/'))
                        continue;
                if (number-- == 0) {
                        t->what = line;
                        return true;
                }
        }
        return false;
}

/* Who owns the file that the row stands in. False: nobody alone. */
static bool find_owner(const struct snapshot *s, struct span key, uid_t *ret_uid)
{
        const struct span prefix = SPAN(TABLE_OWNER_KEY);
        const struct span path = span_starts_with_nocase(key, include)
                                         ? span_skip(key, include.len) : (struct span) {"", 0};
        char owner_key[SNAPSHOT_KEY_MAX];
        struct span value;
        uint64_t uid;

        if (path.len > sizeof owner_key - prefix.len)
                return false;
        memcpy(owner_key, prefix.p, prefix.len);
        if (path.len)
                memcpy(owner_key + prefix.len, path.p, path.len);
        if (!snapshot_get(s, SNAPSHOT_ALIASES, span_make(owner_key, prefix.len + path.len), &value,
                          NULL) || number_parse(value, UINT32_MAX, &uid) < 0 ||
            uid == TABLE_OWNER_NONE)
                return false;
        *ret_uid = (uid_t) uid;
        return true;
}

static int set_user(struct agent_task *t, const struct passwd *account)
{
        t->uid = account->pw_uid;
        t->gid = account->pw_gid;
        t->user = arena_copy(&t->arena, span_from_string(account->pw_name));
        t->home = arena_copy(&t->arena, span_from_string(account->pw_dir));
        return t->user.p && t->home.p ? 0 : -ENOMEM;
}

/* root's is done as agent.user; without root's rights, all is done as who we are. */
static const struct passwd *find_account(struct agent_task *t, const struct config *c, uid_t owner,
                                         bool is_privileged)
{
        const struct passwd *account;
        char name[64];

        if (!is_privileged && owner != 0 && owner != geteuid()) {
                agent_reply_set(&t->refusal, 451, "4.3.5", "without the rights of root nothing can "
                                "be done as user %u, who owns the alias", (unsigned) owner);
                return NULL;
        }
        snprintf(name, sizeof name, "%.*s", (int) c->agent.user.len, c->agent.user.p);
        if (!is_privileged)
                account = getpwuid(geteuid());
        else
                account = owner == 0 ? getpwnam(name) : getpwuid(owner);
        if (account && (!is_privileged || (account->pw_uid != 0 && account->pw_gid != 0)))
                return account;
        agent_reply_set(&t->refusal, 451, "4.3.5", "there is no account, other than root, that it "
                        "could be done as");
        return NULL;
}

/* The user whose .forward is meant, where he is one of the system's, and not root. */
static int find_forward(struct agent_task *t, struct span name, bool is_privileged)
{
        const struct passwd *account;
        uint64_t number = 0;
        char text[256];

        (void) number_parse(span_make(t->next_hop.p + NUMBER_AT, 4), 9999, &number);
        t->is_forward = true;
        t->number = (unsigned) number;
        snprintf(text, sizeof text, "%.*s", (int) name.len, name.len ? name.p : "");
        account = name.len < sizeof text ? getpwnam(text) : NULL;
        t->has_no_account = !account || account->pw_uid == 0 || account->pw_gid == 0 ||
                            (!is_privileged && account->pw_uid != geteuid());
        return t->has_no_account ? 0 : set_user(t, account);
}

int agent_owner_find(struct agent_task *t, const struct config *c, const struct snapshot *s,
                     bool is_privileged)
{
        const struct span key = span_skip(t->next_hop, PREFIX_LEN), forward = SPAN(":forward:");
        const struct passwd *account;
        uid_t owner = 0;

        if (span_starts_with_nocase(key, forward))
                return find_forward(t, span_skip(key, forward.len), is_privileged);
        if (!find_what(t, s, key))
                agent_reply_set(&t->refusal, 451, "4.3.5", "the alias does not name such a program "
                                "or file any more");
        else if (!find_owner(s, key, &owner))
                agent_reply_set(&t->refusal, 451, "4.3.5", "the file of the alias may be written "
                                "by others than its owner");
        account = t->refusal.code ? NULL : find_account(t, c, owner, is_privileged);
        return account ? set_user(t, account) : 0;
}

static int set_limit(__rlimit_resource_t resource, rlim_t wanted)
{
        const struct rlimit limit = {wanted, wanted};

        return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

static int limit(bool is_privileged)
{
        int r = set_limit(RLIMIT_CORE, 0);

        if (r == 0)
                r = set_limit(RLIMIT_NOFILE, FILES_MAX);
        if (r == 0)
                r = set_limit(RLIMIT_FSIZE, FILE_SIZE_MAX);
        if (r == 0 && !IS_SANITIZED)
                r = set_limit(RLIMIT_DATA, MEMORY_MAX);
        if (r == 0 && is_privileged)
                r = set_limit(RLIMIT_NPROC, PROCESSES_MAX);
        return r;
}

static int change_user(const struct agent_task *t)
{
        char name[256];

        snprintf(name, sizeof name, "%.*s", (int) t->user.len, t->user.p);
        if (t->uid == 0 || t->gid == 0)
                return -EPERM;
        if (initgroups(name, t->gid) < 0 || setresgid(t->gid, t->gid, t->gid) < 0 ||
            setresuid(t->uid, t->uid, t->uid) < 0)
                return -errno;
        return setresuid(0, 0, 0) == 0 ? -EPERM : 0; /* no way back */
}

/* Nothing will be done but to say why not. */
static int become_nobody(void)
{
        enum { NOBODY = 65534 };

        if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
            setresuid(NOBODY, NOBODY, NOBODY) < 0)
                return -errno;
        return 0;
}

int agent_owner_become(const struct agent_task *t, bool is_privileged)
{
        char home[4096];
        int r = limit(is_privileged);

        if (r == 0 && is_privileged)
                r = t->refusal.code || t->has_no_account ? become_nobody() : change_user(t);
        if (r < 0)
                return r;
        /* Not dumpable: a program of the same user cannot look into us, who hold a
         * channel to the supervisor. The change of uid has cleared PDEATHSIG. */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                return -errno;
        umask(077);
        snprintf(home, sizeof home, "%.*s", (int) t->home.len, t->home.len ? t->home.p : "");
        return (home[0] == '/' && chdir(home) == 0) || chdir("/") == 0 ? 0 : -errno;
}
