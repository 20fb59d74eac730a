#include "process/edge/edge_local.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/number.h"
#include "config/options.h"
#include "process/edge/edge.h"
#include "process/edge/edge_session.h"

enum { FILE_MAX = 16 * 1024 * 1024 };

struct local_user {
        uid_t uid;
        uint32_t place; /* of two names of one uid the first counts */
        char name[EDGE_LOCAL_NAME_MAX];
};

/* By uid, each once. */
struct local_users {
        struct local_user *items;
        size_t count, room;
};

/* Of the process: filled before there is a role to keep it in. */
static struct local_users known;

/* More than EDGE_LOCAL_USERS_MAX are not known. 0 or -ENOMEM. */
static int add(struct local_users *u, uid_t uid, struct span name)
{
        struct local_user *more;

        if (u->count == EDGE_LOCAL_USERS_MAX)
                return 0;
        if (u->count == u->room) {
                const size_t room = u->room ? 2 * u->room : 64;

                more = reallocarray(u->items, room, sizeof *more);
                if (!more)
                        return -ENOMEM;
                u->items = more;
                u->room = room;
        }
        more = &u->items[u->count];
        *more = (struct local_user) {.uid = uid, .place = (uint32_t) u->count++};
        name = span_first(name, EDGE_LOCAL_NAME_MAX - 1);
        memcpy(more->name, name.len ? name.p : "", name.len);
        return 0;
}

static int by_uid(const void *left, const void *right)
{
        const struct local_user *a = left, *b = right;

        if (a->uid != b->uid)
                return a->uid < b->uid ? -1 : 1;
        return a->place < b->place ? -1 : a->place > b->place;
}

/* From now on these are known; or what there is of them is freed. */
static int use(struct local_users *u, int r)
{
        size_t count = 0;

        if (r < 0) {
                free(u->items);
                return r;
        }
        if (u->count)
                qsort(u->items, u->count, sizeof *u->items, by_uid);
        for (size_t i = 0; i < u->count; i++)
                if (count == 0 || u->items[count - 1].uid != u->items[i].uid)
                        u->items[count++] = u->items[i];
        free(known.items);
        known = (struct local_users) {u->items, count, u->room};
        return 0;
}

int edge_local_load(void)
{
        const struct passwd *found;
        struct local_users u = {0};
        int r = 0;

        setpwent();
        while (r == 0 && u.count < EDGE_LOCAL_USERS_MAX && (found = getpwent()))
                r = add(&u, found->pw_uid, span_from_string(found->pw_name));
        endpwent();
        return use(&u, r);
}

/* "name:password:uid:…"; whatever else stands there is none. */
static int add_line(struct local_users *u, struct span line)
{
        struct span name, password, number;
        uint64_t uid;

        if (!span_split(&line, ':', &name) || !span_split(&line, ':', &password) ||
            !span_split(&line, ':', &number) || name.len == 0 || name.p[0] == '#' ||
            number_parse(number, UINT32_MAX, &uid) < 0)
                return 0;
        return add(u, (uid_t) uid, name);
}

int edge_local_read(int fd)
{
        struct buffer text = BUFFER_INIT(FILE_MAX);
        struct local_users u = {0};
        struct span rest, line;
        int r = file_read_fd(fd, &text);

        rest = buffer_span(&text);
        while (r == 0 && span_split(&rest, '\n', &line))
                r = add_line(&u, line);
        for (size_t i = 0; r == 0 && i < known.count; i++)
                r = add(&u, known.items[i].uid, span_from_string(known.items[i].name));
        buffer_done(&text);
        return use(&u, r);
}

void edge_local_name(uid_t uid, char out[EDGE_LOCAL_NAME_MAX])
{
        const struct local_user wanted = {.uid = uid};
        size_t low = 0, high = known.count;

        while (low < high) {
                const size_t middle = (low + high) / 2;

                if (by_uid(&known.items[middle], &wanted) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low < known.count && known.items[low].uid == uid)
                memcpy(out, known.items[low].name, EDGE_LOCAL_NAME_MAX);
        else
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
