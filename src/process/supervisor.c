#include "process/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/sockets.h"
#include "net/endpoint.h"
#include "process/accounts.h"
#include "process/agents.h"
#include "process/compile.h"
#include "process/control.h"
#include "process/control_access.h"
#include "process/folders.h"
#include "process/listeners.h"
#include "process/meters_area.h"
#include "process/place.h"
#include "process/sealed.h"
#include "process/secrets.h"
#include "process/settings.h"
#include "process/settle.h"
#include "process/status.h"
#include "process/watch.h"

enum {
        BACK_OFF_MIN_MS = 100,
        BACK_OFF_MAX_MS = 10 * 1000,
        GOOD_AFTER_MS = 30 * 1000, /* a process that ran so long has no back-off */
        KILL_AFTER_MS = 2 * 1000,  /* beyond drain */
        DRAIN_MIN_MS = 500,        /* what a process stopped late still gets */
        PLACES_OF_KIND_MAX = 64,
        ERROR_MAX = 64 * 1024,
        TLS_RENEW_MS = 12 * 3600 * 1000,
        CERTIFICATE_WARN_DAYS = 14,
        LOST_ROWS_MIN = 20, /* fewer users may vanish without being asked about */
};

/*  COMPILING --snapshot--> STARTING --all ready--> RUNNING --stop--> STOPPING
 *
 * A reload is no phase: it happens within RUNNING. */
enum phase { COMPILING, STARTING, RUNNING, STOPPING };

/* Who starts after whom, and who stops after whom: edges first, so that what
 * they hold is committed, the keeper after the relays whose outcomes it keeps. */
static const enum process_kind start_order[] = {
        PROCESS_RESOLVER, PROCESS_DIRECTORY, PROCESS_WORKER, PROCESS_KEEPER,
        PROCESS_RELAY,    PROCESS_ACCESS,    PROCESS_EDGE,
};
enum { START_STAGES = sizeof start_order / sizeof start_order[0] };

static const unsigned stop_stage_of[PROCESS_KIND_END] = {
        [PROCESS_EDGE] = 0,   [PROCESS_ACCESS] = 0,   [PROCESS_RELAY] = 1,    [PROCESS_KEEPER] = 2,
        [PROCESS_WORKER] = 3, [PROCESS_DIRECTORY] = 3, [PROCESS_RESOLVER] = 3,
};
enum { STOP_STAGES = 4 };

static const struct {
        enum process_kind a, b;
} channels[] = {
        { PROCESS_EDGE, PROCESS_KEEPER },    { PROCESS_EDGE, PROCESS_RESOLVER },
        { PROCESS_EDGE, PROCESS_DIRECTORY }, { PROCESS_KEEPER, PROCESS_RELAY },
        { PROCESS_KEEPER, PROCESS_WORKER },  { PROCESS_KEEPER, PROCESS_RESOLVER },
        { PROCESS_EDGE, PROCESS_ACCESS },    { PROCESS_KEEPER, PROCESS_ACCESS },
        { PROCESS_RELAY, PROCESS_RESOLVER }, { PROCESS_RELAY, PROCESS_DIRECTORY },
        { PROCESS_EDGE, PROCESS_RELAY },
};

struct supervisor {
        const char *config_path;
        struct loop *loop;
        bool is_privileged;
        enum phase phase;
        unsigned stage; /* of STARTING or STOPPING */
        int exit_status;

        struct settings settings; /* in force */
        struct settings next;     /* being compiled: the first, or a reload's */
        struct compile *compile;
        bool is_reload;           /* of `compile`: false when only a table changed */
        bool tables_changed;      /* while `compile` ran */
        uint64_t reload_generation;
        uint64_t reload_client, stop_client; /* 0: nobody waits */

        int lock_fd, state_fd, submit_fd, keeper_control_fd, meters_fd;
        struct listeners listeners;
        struct control *control;
        struct watch *watch, *tls_watch;
        struct timer *tls_timer; /* new ticket keys, and a look at when certificates end */
        char ticket_keys[TLS_TICKET_KEYS_LEN]; /* all edges seal with the same ones */
        struct status status;

        struct listeners_edges edges;
        struct place places[(PROCESS_KIND_END - 1) * PLACES_OF_KIND_MAX];
        size_t place_count;
        struct agents agents;
        struct deferred first; /* what starts it all, once the loop runs */
        struct timer *kill_timer;
        uint64_t stop_deadline_ms;
        struct signal_watch *signals[4];
};

static void begin_stop(struct supervisor *s, int exit_status);
static void advance(struct supervisor *s);

/* ---- what a child is told ---- */

/* The keeper routes the notifications it sends. */
static bool wants_tables(const struct place *p)
{
        return p->kind == PROCESS_EDGE || p->kind == PROCESS_KEEPER;
}

static void send_tls(const struct supervisor *s, struct place *p)
{
        const struct settings *set = &s->settings;
        int fd;

        CHANNEL_SEND(p->channel, tls, set->tls_fd, .what = TLS_DEFAULT);
        for (size_t i = 0; i < set->more_tls_count; i++)
                CHANNEL_SEND(p->channel, tls, set->more_tls_fds[i], .what = TLS_MORE);
        if (set->client_ca_fd >= 0)
                CHANNEL_SEND(p->channel, tls, set->client_ca_fd, .what = TLS_CLIENT_CA);
        if (sealed_new("hayauma-tickets", span_make(s->ticket_keys, sizeof s->ticket_keys),
                       &fd) == 0) {
                CHANNEL_SEND(p->channel, tls, fd, .what = TLS_TICKET_KEYS);
                close(fd);
        }
}

static void send_tables(const struct supervisor *s, struct place *p)
{
        if (p->kind == PROCESS_DIRECTORY)
                secrets_send(s->settings.config, p);
        if (p->kind == PROCESS_EDGE && s->settings.tls_fd >= 0)
                send_tls(s, p);
        if (p->kind == PROCESS_RELAY && s->settings.ca_fd >= 0)
                CHANNEL_SEND(p->channel, tls, s->settings.ca_fd, .what = TLS_SERVER_CA);
        if (wants_tables(p) && s->settings.snapshot_fd >= 0)
                CHANNEL_SEND(p->channel, snapshot, s->settings.snapshot_fd,
                             .generation = s->reload_generation);
}

static void send_listeners(const struct supervisor *s, struct place *p, bool only_new)
{
        for (size_t i = 0; p->kind == PROCESS_EDGE && i < s->listeners.count; i++) {
                const struct listener *l = &s->listeners.items[i];

                if (listeners_is_for(l, &s->edges, p->number) && (l->is_new || !only_new))
                        CHANNEL_SEND(p->channel, listener, l->fd,
                                     .address = span_from_string(l->address));
        }
        if (only_new)
                return;
        if (p->kind == PROCESS_EDGE && p->number < s->edges.smtp)
                CHANNEL_SEND(p->channel, listener, s->submit_fd, .address = SPAN("local:"));
        if (p->kind == PROCESS_KEEPER)
                CHANNEL_SEND(p->channel, listener, s->keeper_control_fd,
                             .address = SPAN("control:"));
}

static bool should_talk(enum process_kind a, enum process_kind b)
{
        for (size_t i = 0; i < sizeof channels / sizeof channels[0]; i++)
                if ((channels[i].a == a && channels[i].b == b) ||
                    (channels[i].a == b && channels[i].b == a))
                        return true;
        return false;
}

static void send_peer(struct place *to, const struct place *peer, int fd)
{
        CHANNEL_SEND(to->channel, peer, fd, .kind = (uint8_t) peer->kind,
                     .number = (uint8_t) peer->number, .generation = peer->generation);
}

/* A new pair of ends between `p`, just started, and everybody it talks to. */
static void connect_peers(struct supervisor *s, struct place *p)
{
        for (size_t i = 0; i < s->place_count; i++) {
                struct place *other = &s->places[i];
                int fds[2], r;

                if (!other->channel || !should_talk(p->kind, other->kind))
                        continue;
                r = channel_pair(fds);
                if (r < 0) {
                        log_event(LOG_ERROR, "no_channel", LOG_TEXT("process", p->name),
                                  LOG_TEXT("peer", other->name), LOG_ERRNO("error", r));
                        continue;
                }
                send_peer(p, other, fds[0]);
                send_peer(other, p, fds[1]);
                close(fds[0]);
                close(fds[1]);
        }
}

static void instruct(struct supervisor *s, struct place *p)
{
        CHANNEL_SEND(p->channel, start, s->settings.config_fd, .kind = (uint8_t) p->kind,
                     .number = (uint8_t) p->number, .generation = p->generation,
                     .is_privileged = s->is_privileged, .uid = p->uid, .gid = p->gid);
        send_tables(s, p);
        if (p->kind == PROCESS_EDGE)
                CHANNEL_SEND(p->channel, meters, s->meters_fd, .reserved = 0);
        if (p->kind == PROCESS_KEEPER)
                CHANNEL_SEND(p->channel, peer, s->state_fd, .kind = PROCESS_STATE);
        send_listeners(s, p, false);
        connect_peers(s, p);
        CHANNEL_SEND(p->channel, go, -1, .reserved = 0);
}

/* ---- what a child says ---- */

static struct supervisor *supervisor_of(void *place)
{
        return ((struct place *) place)->owner;
}

static void on_ready(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct place *p = arg;
        struct supervisor *s = supervisor_of(p);

        (void) ch;
        (void) m;
        (void) fd;
        if (p->state != PLACE_STARTING)
                return;
        p->state = PLACE_READY;
        p->was_ready = true;
        log_event(LOG_INFO, "process_ready", LOG_TEXT("process", p->name),
                  LOG_U64("pid", p->pid), LOG_U64("generation", p->generation));
        advance(s);
}

static void on_status(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch;
        (void) fd;
        status_answered(&supervisor_of(arg)->status, arg, &m->status);
}

static void on_reloaded(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct place *p = arg;

        (void) ch;
        (void) fd;
        log_event(LOG_DEBUG, "process_reloaded", LOG_TEXT("process", p->name),
                  LOG_U64("generation", m->reloaded.generation));
}

/* Programs and files are the keeper's to ask for. */
static void on_job(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct place *p = arg;

        (void) ch;
        if (p->kind == PROCESS_KEEPER && supervisor_of(p)->phase != STOPPING)
                agents_take(&supervisor_of(p)->agents, m, fd);
}

static void tables_changed(void *arg);

static void on_users_changed(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch;
        (void) m;
        (void) fd;
        tables_changed(supervisor_of(arg));
}

/* For a relay, which has no file system. */
static void on_socket_query(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct config *c = supervisor_of(arg)->settings.config;
        const struct place *p = arg;
        struct endpoint at;
        bool is_connecting;
        int r = -EACCES, connected = -1;

        (void) fd;
        if (p->kind == PROCESS_RELAY && sockets_may_reach(c, m->socket_query.path))
                r = endpoint_from_path(m->socket_query.path, &at);
        if (r == 0)
                r = endpoint_connect(&at, NULL, &connected, &is_connecting);
        CHANNEL_SEND(ch, socket_answer, connected, .query = m->socket_query.query,
                     .error = (uint32_t) -r);
        if (connected >= 0)
                close(connected);
}

/* Its end is seen by SIGCHLD. One that closed its channel or talks nonsense
 * and lives on must not. */
static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct place *p = arg;

        channel_free(ch);
        p->channel = NULL;
        if (reason == -EBADMSG)
                log_event(LOG_ERROR, "process_not_understood", LOG_TEXT("process", p->name));
        if (p->pid && reason == -EBADMSG)
                kill(p->pid, SIGKILL);
}

static const struct channel_handler child_handler = {
        .on = {
                [IPC_ready] = on_ready,
                [IPC_status] = on_status,
                [IPC_reloaded] = on_reloaded,
                [IPC_users_changed] = on_users_changed,
                [IPC_socket_query] = on_socket_query,
                [IPC_job] = on_job,
        },
        .closed = on_closed,
};

/* ---- starting, and starting again ---- */

static void wait_and_start(struct place *p)
{
        p->back_off_ms = p->back_off_ms ? p->back_off_ms * 2 : BACK_OFF_MIN_MS;
        if (p->back_off_ms > BACK_OFF_MAX_MS)
                p->back_off_ms = BACK_OFF_MAX_MS;
        timer_set(p->back_off, p->back_off_ms);
}

static void start_place(struct supervisor *s, struct place *p)
{
        int r = place_spawn(p, s->loop, &child_handler);

        if (r < 0) {
                log_event(LOG_ERROR, "cannot_spawn", LOG_TEXT("process", p->name),
                          LOG_ERRNO("error", r));
                wait_and_start(p);
                return;
        }
        instruct(s, p);
}

static void on_back_off(void *arg)
{
        struct place *p = arg;
        struct supervisor *s = supervisor_of(p);

        if (s->phase != STOPPING && p->state == PLACE_IDLE)
                start_place(s, p);
}

/* All of a stage are ready before the next stage starts: whoever starts finds
 * whom it needs at work. */
static bool stage_is_ready(struct supervisor *s)
{
        bool all = true;

        for (size_t i = 0; i < s->place_count; i++) {
                struct place *p = &s->places[i];

                if (p->kind != start_order[s->stage])
                        continue;
                if (p->state == PLACE_IDLE && p->generation == 0 && !timer_is_set(p->back_off))
                        start_place(s, p);
                all = all && p->was_ready;
        }
        return all;
}

static bool all_ended(const struct supervisor *s)
{
        for (size_t i = 0; i < s->place_count; i++)
                if (s->places[i].pid)
                        return false;
        return agents_are_idle(&s->agents);
}

static void stop_place(struct supervisor *s, struct place *p)
{
        const uint64_t now = loop_now_ms(s->loop);
        const uint64_t left = s->stop_deadline_ms > now ? s->stop_deadline_ms - now : 0;

        if (p->is_stopping || !p->channel)
                return;
        p->is_stopping = true;
        CHANNEL_SEND(p->channel, stop, -1,
                     .drain_ms = (uint32_t) (left > DRAIN_MIN_MS ? left : DRAIN_MIN_MS));
}

/* True once all of the stage have ended. */
static bool stop_stage(struct supervisor *s)
{
        bool all = true;

        for (size_t i = 0; i < s->place_count; i++) {
                struct place *p = &s->places[i];

                if (stop_stage_of[p->kind] != s->stage || !p->pid)
                        continue;
                stop_place(s, p);
                all = false;
        }
        return all;
}

static void advance(struct supervisor *s)
{
        while (s->phase == STARTING && stage_is_ready(s)) {
                if (++s->stage < START_STAGES)
                        continue;
                s->phase = RUNNING;
                log_event(LOG_NOTICE, "ready", LOG_SPAN("hostname", s->settings.config->hostname));
                settle_later(s->loop);
                if (s->tables_changed)
                        tables_changed(s);
        }
        while (s->phase == STOPPING && s->stage < STOP_STAGES && stop_stage(s))
                s->stage++;
        if (s->phase == STOPPING && !s->compile && all_ended(s))
                loop_stop(s->loop);
}

static void ended(struct supervisor *s, struct place *p, int status)
{
        char why[PLACE_STATUS_MAX];
        const bool is_expected = s->phase == STOPPING && p->is_stopping;

        place_status_text(status, why);
        if (loop_now_ms(s->loop) - p->started_at_ms >= GOOD_AFTER_MS)
                p->back_off_ms = 0;
        log_event(is_expected ? LOG_INFO : LOG_ERROR, "process_ended",
                  LOG_TEXT("process", p->name), LOG_TEXT("how", why),
                  LOG_U64("generation", p->generation));
        if (s->phase == STARTING && !p->was_ready && WIFEXITED(status)) {
                /* It said why; trying again would only say it again. */
                log_event(LOG_ERROR, "cannot_start", LOG_TEXT("process", p->name));
                begin_stop(s, WEXITSTATUS(status) ? WEXITSTATUS(status) : EX_UNAVAILABLE);
        } else if (s->phase == STOPPING) {
                advance(s);
        } else {
                wait_and_start(p);
        }
}

static void reap(struct supervisor *s)
{
        int status;

        for (size_t i = 0; i < s->place_count; i++)
                if (place_reap(&s->places[i], &status))
                        ended(s, &s->places[i], status);
        if (s->compile)
                compile_reap(s->compile);
        agents_reap(&s->agents);
        if (s->phase == STOPPING)
                advance(s);
}

/* ---- configuration: the first, and reloads ---- */

static void log_lines(enum log_level level, const char *event, struct span text)
{
        struct span line;

        while (span_split(&text, '\n', &line))
                if (line.len)
                        log_event(level, event, LOG_SPAN("text", line));
}

static void answer_reload(struct supervisor *s, int status, struct span text)
{
        if (s->reload_client)
                control_done(s->control, s->reload_client, status, text);
        s->reload_client = 0;
}

static void refuse(struct supervisor *s, struct span text)
{
        settings_done(&s->next);
        if (s->phase == COMPILING) {
                log_lines(LOG_ERROR, "cannot_start", text);
                begin_stop(s, EX_CONFIG);
                return;
        }
        if (s->is_reload)
                listeners_undo(&s->listeners);
        log_lines(LOG_ERROR, "reload_refused", text);
        answer_reload(s, EX_CONFIG, text);
}

static void watch_tables(struct supervisor *s)
{
        struct span paths[COMPILE_FILES_MAX + 1], tls_paths[WATCH_FILES_MAX];
        size_t count = compile_files(s->settings.config, paths);

        paths[count++] = SPAN_LITERAL(SECRETS_LOCAL_NAMES);
        if (s->watch)
                watch_set(s->watch, paths, count);
        if (s->tls_watch)
                watch_set(s->tls_watch, tls_paths,
                          settings_tls_files(s->settings.config, tls_paths, WATCH_FILES_MAX));
}

/* Whom tables or certificates concern that changed by themselves. */
static bool wants_news(const struct supervisor *s, const struct place *p)
{
        return wants_tables(p) || (p->kind == PROCESS_RELAY && s->settings.ca_fd >= 0);
}

static void tell_all(struct supervisor *s)
{
        s->reload_generation++;
        for (size_t i = 0; i < s->place_count; i++) {
                struct place *p = &s->places[i];

                if (p->channel && !s->is_reload && p->kind == PROCESS_DIRECTORY)
                        secrets_send(s->settings.config, p);
                if (p->channel && p->kind == PROCESS_EDGE)
                        secrets_send_names(p);
                if (!p->channel || (!s->is_reload && !wants_news(s, p)))
                        continue;
                send_tables(s, p);
                CHANNEL_SEND(p->channel, reload, s->settings.config_fd,
                             .generation = s->reload_generation);
                if (s->is_reload)
                        send_listeners(s, p, true);
        }
}

/* Said early enough for somebody to do something about it, twice a day. */
static void warn_of_end(const struct supervisor *s)
{
        const int64_t left = s->settings.tls_ends_at - (int64_t) (clock_now_us() / 1000000);

        if (s->settings.tls_ends_at && left < CERTIFICATE_WARN_DAYS * 86400)
                log_event(LOG_WARNING, left < 0 ? "certificate_has_ended" : "certificate_ends",
                          LOG_U64("days_left", left < 0 ? 0 : left / 86400));
}

static void make_ticket_keys(struct supervisor *s)
{
        if (getrandom(s->ticket_keys, sizeof s->ticket_keys, 0) != sizeof s->ticket_keys)
                log_event(LOG_WARNING, "ticket_keys_not_renewed", LOG_ERRNO("error", -errno));
}

static void renew_tls(void *arg)
{
        struct supervisor *s = arg;

        timer_set(s->tls_timer, TLS_RENEW_MS);
        if (s->phase != RUNNING || s->compile)
                return;
        make_ticket_keys(s);
        warn_of_end(s);
        s->is_reload = false;
        tell_all(s);
}

static void certificates_changed(void *arg)
{
        struct supervisor *s = arg;
        struct buffer error = BUFFER_INIT(ERROR_MAX);

        if (s->phase == RUNNING && settings_refresh_tls(&s->settings, &error) < 0) {
                log_lines(LOG_ERROR, "certificates_not_read", buffer_span(&error));
        } else if (s->phase == RUNNING) {
                log_event(LOG_NOTICE, "certificates_read");
                renew_tls(s);
        }
        buffer_done(&error);
}

static void use_log_level(const struct config *c)
{
        const int level = log_level_parse(c->log_level);

        if (level >= 0)
                log_set_level((enum log_level) level);
}

/* What only a restart changes: said, so that nobody waits for it. */
static void warn_of_fixed(const struct config *old, const struct config *new)
{
        const struct {
                const char *name;
                bool changed;
        } options[] = {
                { "state_dir", !span_equal(old->state_dir, new->state_dir) },
                { "run_dir", !span_equal(old->run_dir, new->run_dir) },
                { "processes",
                  memcmp(&old->processes, &new->processes, sizeof old->processes) != 0 },
        };

        for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
                if (options[i].changed)
                        log_event(LOG_WARNING, "needs_restart",
                                  LOG_TEXT("option", options[i].name));
}

static void adopt(struct supervisor *s)
{
        if (s->phase != COMPILING)
                warn_of_fixed(s->settings.config, s->next.config);
        settings_done(&s->settings);
        s->settings = s->next;
        s->next = SETTINGS_INIT;
        listeners_keep(&s->listeners);
        use_log_level(s->settings.config);
        watch_tables(s);
        warn_of_end(s);
        if (s->phase == COMPILING) {
                s->phase = STARTING;
                advance(s);
                return;
        }
        tell_all(s);
        log_event(LOG_NOTICE, "reloaded", LOG_U64("generation", s->reload_generation));
        answer_reload(s, EX_OK, (struct span) {0});
}

static void use_snapshot(struct supervisor *s, int *fd)
{
        const uint64_t users = s->settings.users;
        int r;

        if (s->is_reload) {
                r = settings_set_snapshot(&s->next, *fd, 0);
        } else {
                /* A table that lost half of its rows by itself is a mistake
                 * until somebody says `reload`. */
                r = settings_set_snapshot(&s->settings, *fd, users < LOST_ROWS_MIN ? 0 : users / 2);
        }
        if (r < 0) {
                refuse(s, r == -ENODATA
                                  ? SPAN_LITERAL("users: more than half of the rows are gone: "
                                                 "if that is meant, say `hayauma reload`\n")
                                  : SPAN_LITERAL("tables: the compiled snapshot is damaged\n"));
                return;
        }
        *fd = -1;
        if (s->is_reload) {
                adopt(s);
                return;
        }
        tell_all(s);
        log_event(LOG_NOTICE, "tables_read", LOG_U64("users", s->settings.users));
}

static void begin_compile(struct supervisor *s, bool is_reload);

static void on_compiled(void *arg, struct compile_result *result)
{
        struct supervisor *s = arg;

        s->compile = compile_free(s->compile);
        if (s->phase == STOPPING) {
                advance(s);
                return;
        }
        if (result->status < 0)
                refuse(s, result->text);
        else
                use_snapshot(s, &result->snapshot_fd);
        if (s->tables_changed && s->phase == RUNNING && !s->compile)
                begin_compile(s, false);
}

static void begin_compile(struct supervisor *s, bool is_reload)
{
        struct buffer error = BUFFER_INIT(ERROR_MAX);
        const struct compile_events events = {.done = on_compiled, .arg = s};

        s->is_reload = is_reload;
        s->tables_changed = false;
        if (!process_roles[PROCESS_COMPILER]) {
                if (is_reload)
                        adopt(s);
        } else if (compile_new(s->loop, is_reload ? &s->next : &s->settings, s->is_privileged,
                               &events, &error, &s->compile) < 0) {
                refuse(s, buffer_span(&error));
        }
        buffer_done(&error);
}

static void tables_changed(void *arg)
{
        struct supervisor *s = arg;

        s->tables_changed = true;
        if (s->phase == RUNNING && !s->compile)
                begin_compile(s, false);
}

static void reload(struct supervisor *s, uint64_t client)
{
        struct buffer error = BUFFER_INIT(ERROR_MAX);
        int r;

        if (s->phase != RUNNING || s->reload_client || (s->compile && s->is_reload)) {
                control_done(s->control, client, EX_TEMPFAIL,
                             SPAN_LITERAL("busy starting, stopping or reloading: try again"));
                return;
        }
        s->compile = compile_free(s->compile); /* of tables only: we read them again */
        s->reload_client = client;
        r = settings_read(s->config_path, &s->next, &error);
        if (r == 0)
                r = listeners_bind(&s->listeners, s->next.config, &s->edges, &error);
        if (r == 0) {
                begin_compile(s, true);
        } else {
                s->is_reload = false; /* listeners_bind() has undone what it did */
                refuse(s, buffer_span(&error));
        }
        buffer_done(&error);
}

/* ---- the end ---- */

static void kill_all(void *arg)
{
        struct supervisor *s = arg;

        for (size_t i = 0; i < s->place_count; i++) {
                if (!s->places[i].pid)
                        continue;
                log_event(LOG_ERROR, "process_killed", LOG_TEXT("process", s->places[i].name),
                          LOG_TEXT("why", "did not end in time"));
                kill(s->places[i].pid, SIGKILL);
        }
}

static void begin_stop(struct supervisor *s, int exit_status)
{
        const struct config *c = s->settings.config;
        const uint64_t drain_ms = c ? c->drain_ms : 0;

        if (s->phase == STOPPING)
                return;
        log_event(LOG_NOTICE, "stopping", LOG_U64("drain_ms", drain_ms));
        s->phase = STOPPING;
        s->stage = 0;
        s->exit_status = exit_status;
        s->stop_deadline_ms = loop_now_ms(s->loop) + drain_ms;
        /* Callers are refused from now on, instead of waiting in vain. */
        listeners_close(&s->listeners);
        s->compile = compile_free(s->compile);
        agents_stop(&s->agents);
        answer_reload(s, EX_TEMPFAIL, SPAN_LITERAL("stopping"));
        for (size_t i = 0; i < s->place_count; i++)
                timer_stop(s->places[i].back_off);
        timer_set(s->kill_timer, drain_ms + KILL_AFTER_MS);
        advance(s);
}

static void on_signal(void *arg, int signal_number)
{
        struct supervisor *s = arg;

        if (signal_number == SIGCHLD)
                reap(s);
        else if (signal_number == SIGHUP)
                reload(s, 0);
        else if (s->phase == STOPPING)
                kill_all(s); /* asked a second time: now */
        else
                begin_stop(s, EX_OK);
}

static void on_request(void *arg, uint64_t client, struct span verb)
{
        struct supervisor *s = arg;

        if (span_equal(verb, SPAN_LITERAL("status"))) {
                status_ask(&s->status, client);
        } else if (span_equal(verb, SPAN_LITERAL("reload"))) {
                reload(s, client);
        } else if (span_equal(verb, SPAN_LITERAL("stop"))) {
                if (s->stop_client)
                        control_done(s->control, s->stop_client, EX_OK, (struct span) {0});
                s->stop_client = client;
                begin_stop(s, EX_OK);
        } else {
                control_done(s->control, client, EX_USAGE,
                             SPAN_LITERAL("the supervisor knows status, reload and stop"));
        }
}

/* ---- setting up ---- */

static unsigned wanted(const struct config *c, enum process_kind kind)
{
        unsigned n = 1;

        if (kind == PROCESS_EDGE)
                n = c->processes.edge + c->processes.login;
        else if (kind == PROCESS_RELAY)
                n = c->processes.relay;
        else if (kind == PROCESS_ACCESS)
                n = c->processes.access;
        else if (kind == PROCESS_WORKER)
                n = c->processes.worker;
        return n < PLACES_OF_KIND_MAX ? n : PLACES_OF_KIND_MAX;
}

static int add_place(struct supervisor *s, enum process_kind kind, unsigned number)
{
        struct place *p = &s->places[s->place_count];

        place_init(p, kind, number, s);
        accounts_get(kind, &p->uid, &p->gid);
        if (!s->is_privileged) {
                p->uid = geteuid();
                p->gid = getegid();
        }
        s->place_count++;
        return timer_new(s->loop, on_back_off, p, &p->back_off);
}

static int add_places(struct supervisor *s)
{
        const struct config *c = s->next.config;
        bool have_accounts = true;
        int r = 0;

        for (size_t i = 0; i < START_STAGES; i++) {
                const enum process_kind kind = start_order[i];
                uid_t uid;
                gid_t gid;

                if (!process_roles[kind])
                        continue;
                have_accounts = accounts_get(kind, &uid, &gid) && have_accounts;
                for (unsigned n = 0; r == 0 && n < wanted(c, kind); n++)
                        r = add_place(s, kind, n);
                if (r == 0 && kind == PROCESS_KEEPER)
                        r = agents_init(&s->agents, s->loop, &s->settings,
                                        &s->places[s->place_count - 1], s->is_privileged);
        }
        if (s->is_privileged && !have_accounts)
                log_event(LOG_NOTICE, "fixed_user_ids",
                          LOG_TEXT("text", "the system has no users hayauma-edge and so on: "
                                           "processes run under fixed numbers"),
                          LOG_U64("first", ACCOUNTS_UID_FIRST));
        return r;
}

static int open_folders(struct supervisor *s, struct buffer *error)
{
        const struct config *c = s->next.config;
        uid_t uid = geteuid();
        gid_t gid = getegid();
        int r, fd;

        s->edges.smtp = c->processes.edge;
        s->edges.login = wanted(c, PROCESS_EDGE) - c->processes.edge;
        if (s->is_privileged)
                accounts_get(PROCESS_KEEPER, &uid, &gid);
        r = folders_open_state(c->state_dir, uid, gid, error, &s->lock_fd, &s->state_fd);
        if (r == 0)
                r = folders_make_run(c->run_dir, error);
        if (r == 0)
                r = listeners_bind(&s->listeners, c, &s->edges, error);
        if (r == 0)
                r = s->submit_fd = folders_listen(c->run_dir, "submit", error);
        if (r >= 0)
                r = s->keeper_control_fd = folders_listen(c->run_dir, "keeper", error);
        fd = r < 0 ? r : folders_listen(c->run_dir, "supervisor", error);
        if (fd >= 0) {
                const struct control_hooks hooks = {.request = on_request, .arg = s};

                r = control_new(s->loop, fd, &hooks, &s->control);
                if (r < 0)
                        close(fd);
        }
        return fd < 0 ? fd : r;
}

static int make_events(struct supervisor *s)
{
        static const int numbers[] = {SIGCHLD, SIGHUP, SIGTERM, SIGINT};
        int r = timer_new(s->loop, kill_all, s, &s->kill_timer);

        signal(SIGPIPE, SIG_IGN);
        for (size_t i = 0; r == 0 && i < sizeof numbers / sizeof numbers[0]; i++)
                r = signal_watch_new(s->loop, numbers[i], on_signal, s, &s->signals[i]);
        make_ticket_keys(s);
        if (r == 0)
                r = timer_new(s->loop, renew_tls, s, &s->tls_timer);
        if (r == 0)
                timer_set(s->tls_timer, TLS_RENEW_MS);
        if (r == 0 && (watch_new(s->loop, tables_changed, s, &s->watch) < 0 ||
                       watch_new(s->loop, certificates_changed, s, &s->tls_watch) < 0))
                log_event(LOG_WARNING, "no_watch",
                          LOG_TEXT("text", "tables are read again at `hayauma reload` only"));
        return r;
}

static int set_up(struct supervisor *s, struct buffer *error)
{
        int r = settings_read(s->config_path, &s->next, error);

        if (r < 0)
                return r;
        use_log_level(s->next.config);
        s->loop = loop_new();
        if (!s->loop)
                return -ENOMEM;
        r = open_folders(s, error);
        if (r == 0)
                r = meters_area_new(&s->meters_fd);
        if (r == 0)
                r = make_events(s);
        if (r == 0)
                r = add_places(s);
        if (r < 0)
                return r;
        status_init(&s->status, s->loop, s->places, s->place_count);
        s->status.control = s->control;
        return 0;
}

static int complain(const struct supervisor *s, int r, struct span error)
{
        if (error.len)
                fprintf(stderr, "%.*s", (int) error.len, error.p);
        else
                fprintf(stderr, "hayauma: cannot start: %s\n", strerror(-r));
        if (!s->next.config)
                return EX_CONFIG;
        return r == -EACCES || r == -EPERM ? EX_NOPERM : EX_UNAVAILABLE;
}

static void raise_file_limit(void)
{
        const rlim_t wanted = 1 << 20; /* what the edges may have at most: confine.c */
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        if (limit.rlim_max < wanted && /* for root's asking, where root may */
            setrlimit(RLIMIT_NOFILE, &(struct rlimit) {wanted, wanted}) == 0)
                return;
        (void) setrlimit(RLIMIT_NOFILE, &limit); /* what we have is then the limit */
}

static void on_first_round(struct deferred *d)
{
        begin_compile((struct supervisor *) (void *) ((char *) d -
                                                      offsetof(struct supervisor, first)),
                      true);
}

int supervisor_run(const char *config_path)
{
        static struct supervisor s;
        struct buffer error = BUFFER_INIT(ERROR_MAX);
        int r;

        s = (struct supervisor) {
                .config_path = config_path, .is_privileged = geteuid() == 0,
                .settings = SETTINGS_INIT, .next = SETTINGS_INIT,
                .lock_fd = -1, .state_fd = -1, .submit_fd = -1, .keeper_control_fd = -1,
                .meters_fd = -1,
        };
        log_set_process("supervisor/0");
        log_set_clock(true);
        control_access_init();
        raise_file_limit();
        r = set_up(&s, &error);
        if (r < 0) {
                r = complain(&s, r, buffer_span(&error));
                buffer_done(&error);
                return r;
        }
        log_event(LOG_NOTICE, "starting", LOG_TEXT("version", HAYAUMA_VERSION));
        s.first.run = on_first_round;
        loop_defer(s.loop, &s.first);
        loop_run(s.loop);
        log_event(LOG_NOTICE, "stopped");
        if (s.stop_client)
                control_done(s.control, s.stop_client, EX_OK, (struct span) {0});
        return s.exit_status;
}
