/* The role of the directory process: its peers, the users file, status. */
#include "process/directory/directory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

/* ---- accounts ---- */

static bool is_disabled(const struct users_account *a)
{
        struct span rest = a->flags, word;

        while (span_split(&rest, ',', &word))
                if (span_equal_nocase(word, SPAN_LITERAL("disabled")))
                        return true;
        return false;
}

const struct users_account *directory_find(struct directory *d, struct span login_name)
{
        const struct config *c = d->process->config;
        const struct users_account *a;
        char text[USERS_ADDRESS_MAX];
        size_t len = login_name.len;

        if (len == 0 || len >= sizeof text)
                return NULL;
        memcpy(text, login_name.p, len);
        if (span_find(login_name, '@') == SIZE_MAX && c->domains.count) {
                const struct span domain = c->domains.items[0];

                if (len + 1 + domain.len >= sizeof text)
                        return NULL;
                text[len] = '@';
                memcpy(text + len + 1, domain.p, domain.len);
                len += 1 + domain.len;
        }
        a = users_owner(d->users, span_make(text, len));
        return a && !is_disabled(a) ? a : NULL;
}

/* ---- the users file ---- */

/* Read and parsed by a thread, while logins go on with the last one. */
struct load {
        struct check check;
        struct directory *directory;
        int fd;
        struct users *users;
        struct buffer error;
        int r;
};

static int read_users(int fd, struct users **ret_u, struct buffer *error)
{
        struct buffer text = BUFFER_INIT(USERS_FILE_MAX);
        int r = fd < 0 ? 0 : file_read_fd(fd, &text);

        if (r == 0)
                r = users_parse(buffer_span(&text), "users", ret_u, error);
        if (text.data)
                explicit_bzero(text.data, text.room);
        buffer_done(&text);
        return r;
}

static void use_users(struct directory *d, struct users *users)
{
        users_free(d->users);
        d->users = users;
        password_cache_clear(d->cache);
        log_event(LOG_INFO, "accounts_read", LOG_U64("accounts", users_count(users)));
}

/* The compiler reads the same file and says what is wrong with it, line by
 * line; here it is enough to say that the accounts of before are kept. */
static void complain(int r)
{
        log_event(LOG_ERROR, "accounts_not_read", LOG_ERRNO("error", r),
                  LOG_TEXT("text", "logins go on with the accounts read before"));
}

static void begin_load(struct directory *d, int fd);

static void load_work(struct check *c)
{
        struct load *l = (struct load *) (void *) ((char *) c - offsetof(struct load, check));

        l->r = read_users(l->fd, &l->users, &l->error);
}

static void load_done(struct check *c)
{
        struct load *l = (struct load *) (void *) ((char *) c - offsetof(struct load, check));
        struct directory *d = l->directory;
        const int next = d->next_users_fd;

        if (l->r == 0)
                use_users(d, l->users);
        else
                complain(l->r);
        close(l->fd);
        buffer_done(&l->error);
        free(l);
        d->is_loading = false;
        d->next_users_fd = -1;
        if (next >= 0)
                begin_load(d, next);
}

/* Takes `fd` over. Of several that come meanwhile the last one counts. */
static void begin_load(struct directory *d, int fd)
{
        struct load *l;

        if (d->is_loading) {
                close_fd(&d->next_users_fd);
                d->next_users_fd = fd;
                return;
        }
        l = calloc(1, sizeof *l);
        if (l) {
                *l = (struct load) {
                        .check = {.work = load_work, .done = load_done},
                        .directory = d, .fd = fd, .error = BUFFER_INIT(64 * 1024),
                };
                d->is_loading = checks_add(d->checks, &l->check) == 0;
        }
        if (!d->is_loading) {
                complain(-EBUSY);
                close(fd);
                free(l);
        }
}

/* It may come before the role's own state exists. */
static struct directory *state_of(struct process *p)
{
        struct directory *d = p->role;

        if (d)
                return d;
        d = calloc(1, sizeof *d);
        if (!d)
                return NULL;
        d->process = p;
        d->users_fd = d->next_users_fd = -1;
        list_init(&d->askers);
        list_init(&d->quota_ages);
        p->role = d;
        return d;
}

static int directory_table(struct process *p, const struct ipc_table *m, int fd)
{
        struct directory *d = state_of(p);

        if (!d)
                return -ENOMEM;
        if (m->table == SNAPSHOT_RELAY_LOGINS) {
                directory_relay_read(d, fd);
                return 0;
        }
        if (m->table != SNAPSHOT_USERS)
                return -EPROTO;
        if (d->checks) {
                begin_load(d, fd);
        } else {
                close_fd(&d->users_fd);
                d->users_fd = fd;
        }
        return 0;
}

static int first_load(struct directory *d)
{
        struct buffer error = BUFFER_INIT(64 * 1024);
        int r = read_users(d->users_fd, &d->users, &error);

        close_fd(&d->users_fd);
        buffer_done(&error);
        if (r == 0) {
                log_event(LOG_INFO, "accounts_read", LOG_U64("accounts", users_count(d->users)));
                return 0;
        }
        /* Mail comes in without logins too. */
        complain(r);
        return users_parse((struct span) {0}, "users", &d->users, &error);
}

/* ---- peers ---- */

static void asker_free(struct asker *a)
{
        directory_login_forget(a);
        directory_relay_forget(a);
        a->directory->asker_count--;
        list_remove(&a->node);
        channel_free(a->channel);
        free(a);
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        (void) ch;
        (void) reason;
        asker_free(arg);
}

/* Of those who serve clients. */
static const struct channel_handler server_handler = {
        .on = {
                [IPC_auth_start] = directory_login_start,
                [IPC_auth_step] = directory_login_step,
                [IPC_auth_cancel] = directory_login_cancel,
                [IPC_quota_ask] = directory_quota_ask,
        },
        .closed = on_closed,
};

/* Of those who log in to other servers. */
static const struct channel_handler relay_handler = {
        .on = {
                [IPC_relay_login_start] = directory_relay_start,
                [IPC_relay_login_step] = directory_relay_step,
                [IPC_auth_cancel] = directory_relay_cancel,
        },
        .closed = on_closed,
};

/* Of those who have nothing to ask: whoever asks all the same is cut off. */
static const struct channel_handler other_handler = {.closed = on_closed};

static void directory_peer(struct process *p, enum process_kind kind, unsigned number,
                           uint64_t generation, int fd)
{
        const struct channel_handler *handler =
                kind == PROCESS_EDGE || kind == PROCESS_ACCESS ? &server_handler
                : kind == PROCESS_RELAY ? &relay_handler : &other_handler;
        struct directory *d = p->role;
        struct asker *a;

        (void) generation;
        LIST_FOR_EACH(node, &d->askers) {
                struct asker *old = LIST_OBJECT(node, struct asker, node);

                if (old->kind == kind && old->number == number)
                        asker_free(old);
        }
        a = calloc(1, sizeof *a);
        if (!a || channel_new(p->loop, fd, handler, a, &a->channel) < 0) {
                log_event(LOG_ERROR, "no_channel", LOG_TEXT("peer", process_kind_name(kind)));
                close(fd);
                free(a);
                return;
        }
        a->directory = d;
        a->kind = kind;
        a->number = number;
        list_init(&a->logins);
        list_init(&a->relay_logins);
        list_append(&d->askers, &a->node);
        d->asker_count++;
        if (kind == PROCESS_RELAY)
                directory_relay_tell(a);
}

/* ---- the role ---- */

static const struct users_account *find(void *arg, struct span login_name)
{
        return directory_find(arg, login_name);
}

/* As many children as threads, since a thread waits for one. */
static int start_pam(struct directory *d)
{
        const struct span service = d->process->config->auth.pam_service;
        int r = service.len ? pam_check_new(service, d->threads, &d->pam) : 0;

        if (r < 0)
                log_event(LOG_ERROR, "pam_not_started", LOG_ERRNO("error", r));
        return r;
}

/* The random device is opened here, while that may be done. */
static int directory_prepare(struct process *p)
{
        struct directory *d = state_of(p);
        int r;

        if (!d)
                return -ENOMEM;
        d->sasl = sasl_engine_new(find, d);
        d->sasl_client = sasl_client_engine_new();
        d->cache = password_cache_new();
        d->throttle = throttle_new();
        d->threads = checks_threads_wanted();
        if (!d->sasl || !d->sasl_client || !d->cache || !d->throttle)
                return -ENOMEM;
        r = start_pam(d);
        return r < 0 ? r : password_hash_of_nobody(d->false_hash);
}

static int directory_start(struct process *p)
{
        struct directory *d = p->role;
        int r = first_load(d);

        return r < 0 ? r : checks_new(p->loop, d->threads, &d->checks);
}

static void directory_status(struct process *p, struct buffer *b, struct ipc_items *items)
{
        const struct directory *d = p->role;
        const struct {
                const char *name;
                uint64_t value;
        } rows[] = {
                {"peers", d->asker_count},
                {"accounts", users_count(d->users)},
                {"logins_under_way", d->logins.count},
                {"logins_granted", d->counters.granted},
                {"logins_refused", d->counters.refused},
                {"logins_malformed", d->counters.malformed},
                {"logins_turned_away", d->counters.turned_away},
                {"passwords_checked", d->counters.checked},
                {"passwords_from_cache", d->counters.from_cache},
                {"checks_waiting", checks_waiting(d->checks)},
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                const struct ipc_metric metric = {
                        .name = span_from_string(rows[i].name), .value = rows[i].value,
                };

                (void) ipc_add_metric(b, items, &metric); /* full: it is left out */
        }
}

const struct process_role directory_role = {
        .kind = PROCESS_DIRECTORY,
        .prepare = directory_prepare,
        .start = directory_start,
        .table = directory_table,
        .peer = directory_peer,
        .status = directory_status,
};
