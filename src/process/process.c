#include "process/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "process/confine.h"
#include "process/sealed.h"
#include "process/settle.h"

enum {
        SUPERVISOR_FD = 3,
        CONFIG_SIZE_MAX = 16 * 1024 * 1024,
        PEM_SIZE_MAX = 1024 * 1024,
        STATUS_SIZE_MAX = 64 * 1024,
        LOG_HOLD_MS = 5, /* each write wakes the supervisor, who stamps the lines with the time */
};

static const char *const kind_names[PROCESS_KIND_END] = {
        [PROCESS_SUPERVISOR] = "supervisor", [PROCESS_RESOLVER] = "resolver",
        [PROCESS_DIRECTORY] = "directory",   [PROCESS_WORKER] = "worker",
        [PROCESS_KEEPER] = "keeper",         [PROCESS_RELAY] = "relay",
        [PROCESS_EDGE] = "edge",             [PROCESS_ACCESS] = "access",
        [PROCESS_COMPILER] = "compiler",     [PROCESS_AGENT] = "agent",
};

/* A listener or peer that came before `go`: the role gets it once it runs. */
struct early {
        struct list_node node;
        unsigned type; /* IPC_listener or IPC_peer */
        struct ipc_peer peer;
        char address[256];
        size_t address_len;
        int fd;
};

/*  WAITING --start--> STARTED --go--> RUNNING --stop--> STOPPING
 *
 * Any of them ends with the supervisor's channel. */
enum phase { WAITING, STARTED, RUNNING, STOPPING };

struct skeleton {
        struct process p;
        const struct process_role *role;
        char name[32]; /* "edge/0" */
        enum phase phase;
        int exit_status;
        struct confine_identity identity;
        struct list_node early;
        /* Of the start or reload that is under way. */
        struct tls_context *next_tls;
        struct snapshot *next_snapshot;
        struct timer *log_flush; /* one write for the lines of a while */
};

static struct skeleton *skeleton_of(struct process *p)
{
        return (struct skeleton *) (void *) ((char *) p - offsetof(struct skeleton, p));
}

const char *process_kind_name(enum process_kind kind)
{
        return (unsigned) kind < PROCESS_KIND_END ? kind_names[kind] : "unknown";
}

int process_kind_parse(struct span name)
{
        for (int i = 0; i < PROCESS_KIND_END; i++)
                if (span_equal(name, span_from_string(kind_names[i])))
                        return i;
        return -1;
}

/* ---- the end ---- */

static void end_with(struct skeleton *s, int exit_status)
{
        s->exit_status = exit_status;
        loop_stop(s->p.loop);
}

void process_end(struct process *p)
{
        end_with(skeleton_of(p), EX_OK);
}

static void fail(struct skeleton *s, const char *what, int r)
{
        log_event(LOG_ERROR, "cannot_start", LOG_TEXT("what", what), LOG_ERRNO("error", r));
        end_with(s, r == -EACCES || r == -EPERM ? EX_NOPERM : EX_UNAVAILABLE);
}

/* ---- what the supervisor says ---- */

static int take_config(int fd, struct config **ret_config)
{
        struct span text;
        int r = sealed_map(fd, CONFIG_SIZE_MAX, &text);

        if (r < 0)
                return r;
        r = config_decode(text, ret_config);
        sealed_unmap(text);
        return r;
}

static void use_log_level(const struct config *c)
{
        const int level = log_level_parse(c->log_level);

        if (level >= 0)
                log_set_level((enum log_level) level);
}

static void on_start(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;
        int r;

        (void) ch;
        if (s->phase != WAITING || m->start.kind != (unsigned) s->role->kind ||
            m->start.number != s->p.number) {
                fail(s, "start", -EPROTO);
                return;
        }
        r = take_config(*fd, &s->p.config);
        if (r < 0) {
                fail(s, "configuration", r);
                return;
        }
        use_log_level(s->p.config);
        s->p.generation = m->start.generation;
        s->identity.is_privileged = m->start.is_privileged;
        s->identity.uid = m->start.uid;
        s->identity.gid = m->start.gid;
        s->phase = STARTED;
}

static void on_snapshot(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;
        struct snapshot *snapshot = NULL;
        int r = snapshot_open(*fd, &snapshot);

        (void) ch;
        (void) m;
        if (r < 0) {
                log_event(LOG_ERROR, "snapshot_refused", LOG_ERRNO("error", r));
                return;
        }
        snapshot_close(s->next_snapshot);
        s->next_snapshot = snapshot;
}

static int add_tls(struct tls_context *tls, unsigned what, struct span octets, char *ret_error)
{
        switch (what) {
        case TLS_MORE:
                return tls_context_add_certificate(tls, octets, ret_error);
        case TLS_CLIENT_CA:
                return tls_context_set_client_ca(tls, octets, ret_error);
        case TLS_TICKET_KEYS:
                return tls_context_set_ticket_keys(tls, octets);
        default:
                return -EPROTO;
        }
}

static void on_meters(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;

        (void) ch;
        (void) m;
        if (s->p.meters_fd >= 0 || s->phase != STARTED)
                return;
        s->p.meters_fd = *fd;
        *fd = -1;
}

static void on_tls(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;
        struct tls_context *tls = NULL;
        char error[TLS_ERROR_MAX] = "";
        struct span pem;
        int r = sealed_map(*fd, PEM_SIZE_MAX, &pem);

        (void) ch;
        if (r == 0) {
                if (m->tls.what == TLS_DEFAULT)
                        r = tls_context_new_server(pem, &tls, error);
                else if (m->tls.what == TLS_SERVER_CA)
                        r = tls_context_new_client(pem, &tls, error);
                else
                        r = s->next_tls ? add_tls(s->next_tls, m->tls.what, pem, error) : -ENOENT;
                sealed_unmap(pem);
        }
        if (r < 0)
                log_event(LOG_ERROR, "certificate_refused", LOG_ERRNO("error", r),
                          LOG_TEXT("text", error));
        if (!tls)
                return;
        tls_context_unref(s->next_tls);
        s->next_tls = tls;
}

/* Who may relay by a certificate must be asked for it. */
static void ask_for_certificates(const struct process *p)
{
        if (p->tls && p->config->relay_certificates.count)
                tls_context_ask_clients(p->tls);
}

/* The entry of `listen` that a listener's address names: the supervisor sends
 * the text as it stands in the configuration we have. */
static bool find_listen(const struct config *c, struct span address, struct config_listen *ret)
{
        *ret = (struct config_listen) {.text = address, .is_unix = true};
        if (span_equal(address, SPAN_LITERAL("local:"))) {
                ret->protocol = LISTEN_LOCAL;
                return true;
        }
        if (span_equal(address, SPAN_LITERAL("control:"))) {
                ret->protocol = LISTEN_CONTROL;
                return true;
        }
        for (size_t i = 0; i < c->listen.count; i++) {
                if (span_equal(address, c->listen.items[i].text)) {
                        *ret = c->listen.items[i];
                        return true;
                }
        }
        return false;
}

/* Descriptors are for the role; one that wants none of a kind loses it. */
static void give_listener(struct skeleton *s, struct span address, int fd)
{
        struct config_listen listen;

        if (!s->role->listener || !find_listen(s->p.config, address, &listen)) {
                close(fd);
                return;
        }
        s->role->listener(&s->p, &listen, fd);
}

static void give_peer(struct skeleton *s, const struct ipc_peer *peer, int fd)
{
        if (!s->role->peer)
                close(fd);
        else
                s->role->peer(&s->p, (enum process_kind) peer->kind, peer->number,
                              peer->generation, fd);
}

static struct early *early_add(struct skeleton *s, unsigned type, int *fd)
{
        struct early *e = calloc(1, sizeof *e);

        if (!e) {
                fail(s, "start", -ENOMEM);
                return NULL;
        }
        e->type = type;
        e->fd = *fd;
        *fd = -1;
        list_append(&s->early, &e->node);
        return e;
}

static void on_listener(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;
        const struct span address = m->listener.address;
        struct early *e;

        (void) ch;
        if (*fd < 0) {
                fail(s, "listener", -EPROTO);
        } else if (s->phase >= RUNNING) {
                give_listener(s, address, *fd);
                *fd = -1;
        } else if ((e = early_add(s, IPC_listener, fd))) {
                memcpy(e->address, address.p, address.len);
                e->address_len = address.len;
        }
}

static void on_peer(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;
        struct early *e;

        (void) ch;
        if (*fd < 0) {
                fail(s, "peer", -EPROTO);
        } else if (m->peer.kind == PROCESS_STATE) {
                if (s->p.state_fd >= 0)
                        close(s->p.state_fd);
                s->p.state_fd = *fd;
                *fd = -1;
        } else if (s->phase >= RUNNING) {
                give_peer(s, &m->peer, *fd);
                *fd = -1;
        } else {
                e = early_add(s, IPC_peer, fd);
                if (e)
                        e->peer = m->peer;
        }
}

static void give_early(struct skeleton *s)
{
        LIST_FOR_EACH(node, &s->early) {
                struct early *e = LIST_OBJECT(node, struct early, node);

                list_remove(node);
                if (e->type == IPC_listener)
                        give_listener(s, span_make(e->address, e->address_len), e->fd);
                else
                        give_peer(s, &e->peer, e->fd);
                free(e);
        }
}

static void on_table(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;
        int r = -EPROTO;

        (void) ch;
        if ((s->phase == STARTED || s->phase == RUNNING) && s->role->table && *fd >= 0)
                r = s->role->table(&s->p, &m->table, *fd);
        if (r < 0)
                fail(s, "table", r);
        else
                *fd = -1;
}

static void on_job(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;
        int r = -EPROTO;

        (void) ch;
        if (s->phase == STARTED && s->role->job && *fd >= 0)
                r = s->role->job(&s->p, &m->job, *fd);
        if (r < 0)
                fail(s, "job", r);
        else
                *fd = -1;
}

static void on_outcome(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;

        (void) ch;
        (void) fd;
        if (s->phase == RUNNING && s->role->outcome)
                s->role->outcome(&s->p, m);
}

static int prepare_and_confine(struct skeleton *s, const char **ret_what)
{
        int r = confine_warm_up(s->role->kind, ret_what);

        if (r < 0)
                return r;
        *ret_what = "prepare";
        r = s->role->prepare ? s->role->prepare(&s->p) : 0;
        if (r < 0)
                return r;
        s->identity.state_fd = s->p.state_fd;
        s->identity.config = s->p.config;
        s->identity.name = s->name;
        if (s->role->confine) {
                *ret_what = "confine";
                return s->role->confine(&s->p, s->identity.is_privileged);
        }
        return confine_apply(s->role->kind, &s->identity, ret_what);
}

/* The state folder's path after confinement: as configured, or the root, where
 * the process was shut into it. */
static int find_state_path(struct skeleton *s)
{
        const struct span configured = s->p.config->state_dir;
        struct stat by_path, by_fd;
        char *path;

        if (s->p.state_fd < 0)
                return 0;
        path = strndup(configured.p, configured.len);
        if (!path)
                return -ENOMEM;
        if (fstat(s->p.state_fd, &by_fd) < 0 || stat(path, &by_path) < 0 ||
            by_fd.st_dev != by_path.st_dev || by_fd.st_ino != by_path.st_ino)
                path[0] = '\0';
        s->p.state_path = path;
        return 0;
}

static void on_go(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;
        const char *what;
        int r;

        (void) m;
        (void) fd;
        if (s->phase != STARTED) {
                fail(s, "go", -EPROTO);
                return;
        }
        s->p.tls = s->next_tls;
        ask_for_certificates(&s->p);
        s->p.snapshot = s->next_snapshot;
        s->next_tls = NULL;
        s->next_snapshot = NULL;
        r = prepare_and_confine(s, &what);
        if (r < 0) {
                fail(s, what, r);
                return;
        }
        r = find_state_path(s);
        if (r == 0 && s->role->start)
                r = s->role->start(&s->p);
        if (r < 0) {
                fail(s, "start", r);
                return;
        }
        s->phase = RUNNING;
        give_early(s);
        settle_later(s->p.loop);
        CHANNEL_SEND(ch, ready, -1, .reserved = 0);
}

static void on_reload(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;
        struct config *config = NULL, *old_config = s->p.config;
        struct snapshot *old_snapshot = s->p.snapshot;
        struct tls_context *old_tls = s->p.tls;
        int r = s->phase == RUNNING ? take_config(*fd, &config) : -EPROTO;

        if (r < 0) {
                log_event(LOG_ERROR, "reload_refused", LOG_ERRNO("error", r));
                return;
        }
        s->p.config = config;
        s->p.snapshot = s->next_snapshot;
        s->p.tls = s->next_tls;
        ask_for_certificates(&s->p);
        s->next_snapshot = NULL;
        s->next_tls = NULL;
        use_log_level(config);
        if (s->role->reloaded)
                s->role->reloaded(&s->p);
        config_free(old_config);
        snapshot_close(old_snapshot);
        tls_context_unref(old_tls);
        CHANNEL_SEND(ch, reloaded, -1, .generation = m->reload.generation);
}

static void on_socket_answer(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;
        const int error = m->socket_answer.error ? -(int) m->socket_answer.error
                          : *fd < 0              ? -EPROTO
                                                 : 0;

        (void) ch;
        if (!s->role->socket || s->phase < RUNNING)
                return;
        s->role->socket(&s->p, m->socket_answer.query, error, *fd);
        *fd = -1;
}

static void on_stop(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;

        (void) ch;
        (void) fd;
        if (s->phase == STOPPING)
                return;
        if (s->phase == RUNNING && s->role->stop) {
                s->phase = STOPPING;
                s->role->stop(&s->p, m->stop.drain_ms);
        } else {
                process_end(&s->p);
        }
}

static void add_metric(struct buffer *b, struct ipc_items *items, const char *name, uint64_t value)
{
        const struct ipc_metric metric = {.name = span_from_string(name), .value = value};

        (void) ipc_add_metric(b, items, &metric); /* full: this one is left out */
}

static uint64_t milliseconds(struct timeval t)
{
        return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_usec / 1000;
}

static void on_status_query(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct skeleton *s = arg;
        struct buffer b = BUFFER_INIT(STATUS_SIZE_MAX);
        struct buffer more = BUFFER_INIT(STATUS_SIZE_MAX);
        struct ipc_items items = {0}, limited = {0};
        struct rusage usage;

        (void) fd;
        if (getrusage(RUSAGE_SELF, &usage) == 0) {
                add_metric(&b, &items, "cpu_ms",
                           milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime));
                add_metric(&b, &items, "memory_max_kib", (uint64_t) usage.ru_maxrss);
        }
        if (s->role->status && s->phase >= RUNNING)
                s->role->status(&s->p, &b, &items);
        if (s->role->limited && s->phase >= RUNNING)
                s->role->limited(&s->p, &more, &limited);
        CHANNEL_SEND(ch, status, -1, .query = m->status_query.query, .metrics = items,
                     .limited = limited);
        buffer_done(&b);
        buffer_done(&more);
}

/* Without a supervisor nobody would restart, log or stop us: end at once.
 * What was acknowledged is durable; what was not, the peer tries again. */
static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct skeleton *s = arg;

        (void) ch;
        if (reason == -EBADMSG)
                log_event(LOG_ERROR, "supervisor_not_understood", LOG_TEXT("do", "restart"));
        end_with(s, EX_UNAVAILABLE);
}

static const struct channel_handler handler = {
        .on = {
                [IPC_start] = on_start,
                [IPC_listener] = on_listener,
                [IPC_peer] = on_peer,
                [IPC_snapshot] = on_snapshot,
                [IPC_tls] = on_tls,
                [IPC_meters] = on_meters,
                [IPC_table] = on_table,
                [IPC_job] = on_job,
                [IPC_outcome] = on_outcome,
                [IPC_go] = on_go,
                [IPC_reload] = on_reload,
                [IPC_stop] = on_stop,
                [IPC_socket_answer] = on_socket_answer,
                [IPC_status_query] = on_status_query,
        },
        .closed = on_closed,
};

/* The terminal's ^C and an init system's SIGTERM reach every process of a
 * group: only the supervisor acts on them, and tells us in what order. */
static void ignore_signals(void)
{
        static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT};

        for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
                signal(ignored[i], SIG_IGN);
}

static void flush_log(void *arg)
{
        (void) arg;
        log_flush();
}

static void request_log_flush(void *arg)
{
        struct skeleton *s = arg;

        timer_set(s->log_flush, LOG_HOLD_MS);
}

int process_run(const struct process_role *role, unsigned number)
{
        struct skeleton s = {
                .p = {.kind = role->kind, .number = number, .state_fd = -1, .meters_fd = -1},
                .role = role,
                .exit_status = EX_SOFTWARE,
        };
        int r;

        snprintf(s.name, sizeof s.name, "%s/%u", process_kind_name(role->kind), number);
        log_set_process(s.name);
        ignore_signals();
        list_init(&s.early);
        s.p.loop = loop_new();
        r = s.p.loop ? channel_new(s.p.loop, SUPERVISOR_FD, &handler, &s, &s.p.supervisor)
                     : -ENOMEM;
        if (r < 0) {
                log_event(LOG_ERROR, "cannot_start", LOG_ERRNO("error", r),
                          LOG_TEXT("do", "processes are started by: hayauma run"));
                return EX_OSERR;
        }
        if (timer_new(s.p.loop, flush_log, NULL, &s.log_flush) == 0)
                log_set_buffered(request_log_flush, &s);
        loop_run(s.p.loop);
        log_set_buffered(NULL, NULL);
        channel_flush(s.p.supervisor, 100);
        /* Not exit(): threads of libraries still run, and their destructors
         * would pull the ground from under them. The system takes it all back. */
        _exit(s.exit_status);
}
