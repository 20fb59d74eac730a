#include "process/edge/edge_local.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/options.h"
#include "process/edge/edge.h"
#include "process/edge/edge_session.h"

struct local_user {
        uid_t uid;
        char name[EDGE_LOCAL_NAME_MAX];
};

/* Of the process: filled before there is a role to keep it in. */
static struct local_user *users;
static size_t user_count;

int edge_local_load(void)
{
        const struct passwd *found;
        size_t room = 0;
        int r = 0;

        free(users); /* tests begin more than once */
        users = NULL;
        user_count = 0;
        setpwent();
        while (r == 0 && user_count < EDGE_LOCAL_USERS_MAX && (found = getpwent())) {
                if (user_count == room) {
                        struct local_user *more;

                        room = room ? 2 * room : 64;
                        more = reallocarray(users, room, sizeof *users);
                        r = more ? 0 : -ENOMEM;
                        users = more ? more : users;
                }
                if (r == 0) {
                        users[user_count].uid = found->pw_uid;
                        snprintf(users[user_count++].name, EDGE_LOCAL_NAME_MAX, "%s",
                                 found->pw_name);
                }
        }
        endpwent();
        return r;
}

void edge_local_name(uid_t uid, char out[EDGE_LOCAL_NAME_MAX])
{
        for (size_t i = 0; i < user_count; i++) {
                if (users[i].uid == uid) {
                        memcpy(out, users[i].name, EDGE_LOCAL_NAME_MAX);
                        return;
                }
        }
        snprintf(out, EDGE_LOCAL_NAME_MAX, "uid-%u", (unsigned) uid);
}

/* "name" or "name+detail", at this host or a domain of ours. */
static bool is_own(const struct edge_session *s, struct span mail_from, struct span name)
{
        const struct config *c = s->edge->process->config;
        const size_t at = span_find_last(mail_from, '@');
        struct span local = span_first(mail_from, at);
        const struct span domain = at == SIZE_MAX ? (struct span) {0}
                                                  : span_skip(mail_from, at + 1);

        local = span_first(local, span_find(local, '+'));
        if (!span_equal_nocase(local, name))
                return false;
        if (domain.len == 0 || span_equal_nocase(domain, c->hostname))
                return true;
        for (size_t i = 0; i < c->domains.count; i++)
                if (span_equal_nocase(domain, c->domains.items[i]))
                        return true;
        return false;
}

bool edge_local_must_warn(const struct edge_session *s, struct span mail_from,
                          char ret_name[EDGE_LOCAL_NAME_MAX])
{
        const struct config_list *trusted = &s->edge->process->config->trusted_users;
        char name[EDGE_LOCAL_NAME_MAX];

        if (!s->client.is_local_user || s->client.uid == 0)
                return false;
        edge_local_name(s->client.uid, name);
        for (size_t i = 0; i < trusted->count; i++)
                if (span_equal_nocase(trusted->items[i], span_from_string(name)))
                        return false;
        if (is_own(s, mail_from, span_from_string(name)))
                return false;
        memcpy(ret_name, name, EDGE_LOCAL_NAME_MAX);
        return true;
}
