#include "process/compile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "config/snapshot.h"
#include "process/accounts.h"

enum { TIMEOUT_MS = 120 * 1000 };

struct compile {
        struct loop *loop;
        struct place place;
        struct timer *timeout;
        struct compile_events events;
        bool is_done;
};

struct table_file {
        enum snapshot_table table;
        const char *name;
        struct span path;
        bool may_be_missing;
};

enum { TABLE_FILES = 6 };

static void list_files(const struct config *c, struct table_file out[TABLE_FILES])
{
        const struct table_file files[TABLE_FILES] = {
                /* No user yet is no mistake: the first `user add` makes the file. */
                { SNAPSHOT_USERS, "users", c->users.file, true },
                { SNAPSHOT_MAILERTABLE, "mailertable", c->tables.mailertable, false },
                { SNAPSHOT_ACCESS, "access", c->tables.access, false },
                { SNAPSHOT_ALIASES, "aliases", c->tables.aliases, false },
                { SNAPSHOT_VIRTUSERTABLE, "virtusertable", c->tables.virtusertable, false },
                { SNAPSHOT_GENERICSTABLE, "genericstable", c->tables.genericstable, false },
        };

        memcpy(out, files, sizeof files);
}

size_t compile_files(const struct config *config, struct span *ret_paths)
{
        struct table_file files[TABLE_FILES];
        size_t count = 0;

        list_files(config, files);
        for (size_t i = 0; i < TABLE_FILES; i++)
                if (files[i].path.len)
                        ret_paths[count++] = files[i].path;
        return count;
}

static void finish(struct compile *c, int status, int fd, struct span text)
{
        struct compile_result result = {.status = status, .snapshot_fd = fd, .text = text};

        if (c->is_done)
                return;
        c->is_done = true;
        timer_stop(c->timeout);
        c->events.done(c->events.arg, &result);
        if (result.snapshot_fd >= 0)
                close(result.snapshot_fd);
}

static void on_compiled(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct place *p = arg;
        const int taken = *fd;

        (void) ch;
        *fd = -1;
        if (m->compiled.status == 0 && taken < 0)
                finish(p->owner, -EPROTO, -1, SPAN_LITERAL("tables: the compiler sent nothing\n"));
        else
                finish(p->owner, -(int) m->compiled.status, taken, m->compiled.text);
}

static void on_ready(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch;
        (void) arg;
        (void) m;
        (void) fd;
}

/* What is wrong is known once the child was reaped. */
static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct place *p = arg;

        (void) reason;
        channel_free(ch);
        p->channel = NULL;
}

static const struct channel_handler handler = {
        .on = {[IPC_compiled] = on_compiled, [IPC_ready] = on_ready},
        .closed = on_closed,
};

void compile_reap(struct compile *c)
{
        char why[PLACE_STATUS_MAX], line[128];
        int status;

        if (!place_reap(&c->place, &status))
                return;
        snprintf(line, sizeof line, "tables: the compiler ended with %s\n",
                 place_status_text(status, why));
        finish(c, -EIO, -1, span_from_string(line));
}

static void on_timeout(void *arg)
{
        struct compile *c = arg;

        if (c->place.pid)
                kill(c->place.pid, SIGKILL);
        finish(c, -ETIMEDOUT, -1, SPAN_LITERAL("tables: the compiler took too long\n"));
}

static int open_file(const struct table_file *file, struct buffer *error, int *ret_fd)
{
        char path[4096];
        int fd;

        *ret_fd = -1;
        if (file->path.len == 0)
                return 0;
        snprintf(path, sizeof path, "%.*s", (int) file->path.len, file->path.p);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 && !(errno == ENOENT && file->may_be_missing)) {
                const int r = -errno;

                buffer_printf(error, "%s: cannot read \"%s\": %s\n", file->name, path,
                              strerror(-r));
                return r;
        }
        *ret_fd = fd;
        return 0;
}

static int open_files(const struct table_file *files, int *fds, struct buffer *error)
{
        int failed = 0;

        for (size_t i = 0; i < TABLE_FILES; i++) {
                const int r = open_file(&files[i], error, &fds[i]);

                failed = r < 0 ? r : failed;
        }
        return failed;
}

static void close_files(int *fds)
{
        for (size_t i = 0; i < TABLE_FILES; i++)
                close_fd(&fds[i]);
}

static int send_all(struct compile *c, const struct settings *settings, bool is_privileged,
                    const int *fds)
{
        struct channel *ch = c->place.channel;
        struct table_file files[TABLE_FILES];
        int r = CHANNEL_SEND(ch, start, settings->config_fd, .kind = PROCESS_COMPILER,
                             .generation = 1, .is_privileged = is_privileged,
                             .uid = c->place.uid, .gid = c->place.gid);

        list_files(settings->config, files);
        for (size_t i = 0; r == 0 && i < TABLE_FILES; i++)
                if (fds[i] >= 0)
                        r = CHANNEL_SEND(ch, table, fds[i], .table = (uint8_t) files[i].table,
                                         .name = span_from_string(files[i].name));
        return r < 0 ? r : CHANNEL_SEND(ch, go, -1, .reserved = 0);
}

static int start(struct compile *c, const struct settings *settings, bool is_privileged,
                 const int *fds)
{
        int r = timer_new(c->loop, on_timeout, c, &c->timeout);

        if (r == 0)
                r = place_spawn(&c->place, c->loop, &handler);
        if (r == 0)
                r = send_all(c, settings, is_privileged, fds);
        if (r == 0)
                timer_set(c->timeout, TIMEOUT_MS);
        return r;
}

int compile_new(struct loop *l, const struct settings *settings, bool is_privileged,
                const struct compile_events *events, struct buffer *error, struct compile **ret_c)
{
        struct compile *c = calloc(1, sizeof *c);
        struct table_file files[TABLE_FILES];
        int fds[TABLE_FILES], r;

        if (!c)
                return -ENOMEM;
        c->loop = l;
        c->events = *events;
        place_init(&c->place, PROCESS_COMPILER, 0, c);
        accounts_get(PROCESS_COMPILER, &c->place.uid, &c->place.gid);
        list_files(settings->config, files);
        r = open_files(files, fds, error);
        if (r == 0) {
                r = start(c, settings, is_privileged, fds);
                if (r < 0)
                        buffer_printf(error, "tables: cannot start the compiler: %s\n",
                                      strerror(-r));
        }
        close_files(fds);
        if (r < 0) {
                compile_free(c);
                return r;
        }
        *ret_c = c;
        return 0;
}

struct compile *compile_free(struct compile *c)
{
        if (!c)
                return NULL;
        c->is_done = true;
        if (c->place.pid) {
                kill(c->place.pid, SIGKILL);
                while (waitpid(c->place.pid, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
        channel_free(c->place.channel);
        log_pipe_free(c->place.log);
        timer_free(c->timeout);
        free(c);
        return NULL;
}
