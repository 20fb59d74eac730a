#include "process/compile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "config/snapshot.h"
#include "config/table.h"
#include "process/accounts.h"

enum {
        TIMEOUT_MS = 120 * 1000,
        INCLUDES_MAX = 256, /* lists that aliases include, all together */
        ROUNDS_MAX = 10,    /* lists within lists */
        TEXT_MAX = 16 * 1024,
};

/* A list that aliases include: only the compiler, which reads them, knows its
 * path; only we can open it. So it ends with the names of what it misses, and
 * is started again with all of them. */
struct include {
        char *path;
        unsigned round; /* 1: named in the aliases; above: in another list */
};

struct compile {
        struct loop *loop;
        const struct settings *settings;
        bool is_privileged;
        struct include includes[INCLUDES_MAX];
        size_t include_count;
        unsigned round;
        bool is_again; /* once this child has ended */
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

/* The paths that the compiler misses, a line each. */
static int note_includes(struct compile *c, struct span paths)
{
        struct span path;

        if (++c->round > ROUNDS_MAX)
                return -ELOOP;
        while (paths.len && span_split(&paths, '\n', &path)) {
                struct include *i = &c->includes[c->include_count];

                if (path.len == 0)
                        continue;
                if (c->include_count == INCLUDES_MAX)
                        return -E2BIG;
                i->path = strndup(path.p, path.len);
                if (!i->path)
                        return -ENOMEM;
                i->round = c->round;
                c->include_count++;
        }
        return 0;
}

static void ask_again(struct compile *c, struct span paths)
{
        const int r = note_includes(c, paths);

        timer_stop(c->timeout);
        if (r == 0)
                c->is_again = true;
        else
                finish(c, r, -1, r == -ENOMEM
                               ? SPAN_LITERAL("aliases: there is no memory for their lists\n")
                               : SPAN_LITERAL("aliases: too many lists are included\n"));
}

static void on_compiled(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct place *p = arg;
        const int taken = *fd;

        (void) ch;
        *fd = -1;
        if (m->compiled.status == EAGAIN) {
                close_fd(&(int) {taken});
                ask_again(p->owner, m->compiled.text);
        } else if (m->compiled.status == 0 && taken < 0)
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

static void start_again(struct compile *c);

void compile_reap(struct compile *c)
{
        char why[PLACE_STATUS_MAX], line[128];
        int status;

        if (!place_reap(&c->place, &status))
                return;
        if (c->is_again && !c->is_done) {
                start_again(c);
                return;
        }
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

/* Whose the file is; nobody's, where others may write it too. */
static uint32_t owner_of(int fd)
{
        struct stat st;

        if (fstat(fd, &st) < 0 || st.st_mode & (S_IWGRP | S_IWOTH))
                return TABLE_OWNER_NONE;
        return st.st_uid;
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

static int send_all(struct compile *c, const int *fds)
{
        const struct settings *settings = c->settings;
        struct channel *ch = c->place.channel;
        struct table_file files[TABLE_FILES];
        int r = CHANNEL_SEND(ch, start, settings->config_fd, .kind = PROCESS_COMPILER,
                             .generation = 1, .is_privileged = c->is_privileged,
                             .uid = c->place.uid, .gid = c->place.gid);

        list_files(settings->config, files);
        for (size_t i = 0; r == 0 && i < TABLE_FILES; i++)
                if (fds[i] >= 0)
                        r = CHANNEL_SEND(ch, table, fds[i], .table = (uint8_t) files[i].table,
                                         .owner = owner_of(fds[i]),
                                         .name = span_from_string(files[i].name));
        return r;
}

/* A list in another's is opened only where anybody may read it: who may write
 * the first need not be root, and must not learn by us what others wrote. */
static int open_include(const struct include *in, struct buffer *error, int *ret_fd)
{
        struct stat st;
        int fd = open(in->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

        if (fd < 0 || fstat(fd, &st) < 0) {
                const int r = -errno;

                buffer_printf(error, "aliases: cannot read \"%s\", which is included: %s\n",
                              in->path, strerror(-r));
                close_fd(&fd);
                return r;
        }
        if (!S_ISREG(st.st_mode) || (in->round > 1 && !(st.st_mode & S_IROTH))) {
                buffer_printf(error, "aliases: \"%s\" is included%s and %s\n", in->path,
                              in->round > 1 ? " by another list" : "",
                              S_ISREG(st.st_mode) ? "must be readable for all" : "is no file");
                close_fd(&fd);
                return -EACCES;
        }
        *ret_fd = fd;
        return 0;
}

static int send_includes(struct compile *c, struct buffer *error)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < c->include_count; i++) {
                char name[300];
                int fd = -1;

                snprintf(name, sizeof name, ":include:%s", c->includes[i].path);
                r = open_include(&c->includes[i], error, &fd);
                if (r == 0)
                        r = CHANNEL_SEND(c->place.channel, table, fd, .table = SNAPSHOT_ALIASES,
                                         .owner = owner_of(fd),
                                         .name = span_from_string(name));
                close_fd(&fd);
        }
        return r;
}

/* On failure a line was appended to `error` where a file is the reason. */
static int start(struct compile *c, const int *fds, struct buffer *error)
{
        int r = c->timeout ? 0 : timer_new(c->loop, on_timeout, c, &c->timeout);

        if (r == 0)
                r = place_spawn(&c->place, c->loop, &handler);
        if (r == 0)
                r = send_all(c, fds);
        if (r == 0)
                r = send_includes(c, error);
        if (r == 0)
                r = CHANNEL_SEND(c->place.channel, go, -1, .reserved = 0);
        if (r == 0)
                timer_set(c->timeout, TIMEOUT_MS);
        return r;
}

static void start_again(struct compile *c)
{
        struct buffer error = BUFFER_INIT(TEXT_MAX);
        struct table_file files[TABLE_FILES];
        int fds[TABLE_FILES], r;

        c->is_again = false;
        list_files(c->settings->config, files);
        r = open_files(files, fds, &error);
        if (r == 0)
                r = start(c, fds, &error);
        close_files(fds);
        if (r < 0 && error.len == 0)
                buffer_printf(&error, "tables: cannot start the compiler: %s\n", strerror(-r));
        if (r < 0)
                finish(c, r, -1, buffer_span(&error)); /* may free `c` */
        buffer_done(&error);
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
        c->settings = settings;
        c->is_privileged = is_privileged;
        c->events = *events;
        place_init(&c->place, PROCESS_COMPILER, 0, c);
        accounts_get(PROCESS_COMPILER, &c->place.uid, &c->place.gid);
        list_files(settings->config, files);
        r = open_files(files, fds, error);
        if (r == 0) {
                r = start(c, fds, error);
                if (r < 0 && error->len == 0)
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
        for (size_t i = 0; i < c->include_count; i++)
                free(c->includes[i].path);
        free(c);
        return NULL;
}
