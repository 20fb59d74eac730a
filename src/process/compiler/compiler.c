#include "process/compiler/compiler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "config/snapshot_build.h"
#include "config/table.h"
#include "process/process.h"

enum {
        ERROR_MAX = 60 * 1024, /* below what `compiled` carries */
        FLUSH_MS = 10 * 1000,
        PATHS_MAX = 32 * 1024, /* of lists that are asked for */
};

/* Tables that came before `go`; their text is read once we are confined. */
struct compiler {
        struct compiler_table tables[COMPILER_TABLES_MAX];
        size_t count;
};

static const struct span include = SPAN(":include:");

/* Lists that are wanted and not there. */
struct wanted {
        const struct compiler_table *tables;
        size_t count;
        struct buffer paths; /* a line each */
};

static bool has_line(struct span lines, struct span line)
{
        struct span one;

        while (lines.len && span_split(&lines, '\n', &one))
                if (span_equal(one, line))
                        return true;
        return false;
}

static int want(void *arg, struct span path)
{
        struct wanted *w = arg;

        for (size_t i = 0; i < w->count; i++) {
                const struct span name = span_from_string(w->tables[i].name);

                if (span_starts_with_nocase(name, include) &&
                    span_equal(span_skip(name, include.len), path))
                        return 0;
        }
        if (has_line(buffer_span(&w->paths), path))
                return 0;
        return buffer_append_span(&w->paths, path) < 0 || buffer_append(&w->paths, "\n", 1) < 0
                       ? -E2BIG : 0;
}

/* Whose programs and files the aliases of this file may name. */
static int add_owner(const struct compiler_table *t, struct span path, struct snapshot_build *b)
{
        struct buffer key = BUFFER_INIT(SNAPSHOT_KEY_MAX), value = BUFFER_INIT(16);
        int r = buffer_append_string(&key, TABLE_OWNER_KEY);

        if (r == 0)
                r = buffer_append_span(&key, path);
        if (r == 0)
                r = buffer_printf(&value, "%u", t->owner);
        if (r == 0)
                r = snapshot_build_add(b, SNAPSHOT_ALIASES, buffer_span(&key),
                                       buffer_span(&value), 0);
        buffer_done(&key);
        buffer_done(&value);
        return r;
}

static int compile_table(const struct compiler_table *t, struct snapshot_build *b,
                         struct wanted *wanted, struct buffer *error)
{
        table_parse_fn *parse = table_parser(t->table);
        struct span name = span_from_string(t->name);
        const bool is_list = span_starts_with_nocase(name, include);
        struct buffer text = BUFFER_INIT(TABLE_FILE_MAX);
        int r;

        if (!parse) {
                buffer_printf(error, "%s: this version does not read this table; take it out of "
                              "the configuration\n", t->name);
                return -EOPNOTSUPP;
        }
        r = file_read_fd(t->fd, &text);
        if (r < 0)
                buffer_printf(error, "%s: cannot be read (%s)\n", t->name,
                              r == -EMSGSIZE ? "too large" : strerror(-r));
        else if (is_list)
                r = table_include_parse(buffer_span(&text), span_skip(name, include.len), b, error);
        else
                r = parse(buffer_span(&text), name, b, error);
        if (r == 0 && t->table == SNAPSHOT_ALIASES)
                r = add_owner(t, is_list ? span_skip(name, include.len) : (struct span) {NULL, 0},
                              b);
        if (r == 0 && t->table == SNAPSHOT_ALIASES)
                r = table_includes(buffer_span(&text), is_list, want, wanted);
        buffer_done(&text);
        return r;
}

/* Every table is read, so that all that is wrong is said at once. */
static int compile_all(const struct config *c, const struct compiler_table *tables, size_t count,
                       struct snapshot_build *b, struct buffer *error)
{
        struct wanted wanted = {.tables = tables, .count = count,
                                .paths = BUFFER_INIT(PATHS_MAX)};
        int result = table_domains_add(c, b);

        for (size_t i = 0; i < count && result != -ENOMEM; i++) {
                const int r = compile_table(&tables[i], b, &wanted, error);

                if (r < 0 && result == 0)
                        result = r;
        }
        if (result == 0 && wanted.paths.len)
                result = buffer_append_span(error, buffer_span(&wanted.paths)) < 0 ? -E2BIG
                                                                                   : -EAGAIN;
        buffer_done(&wanted.paths);
        return result;
}

int compiler_compile(const struct config *c, const struct compiler_table *tables, size_t count,
                     uint64_t generation, struct buffer *error, int *ret_fd)
{
        struct snapshot_build *b = NULL;
        uint64_t seed;
        int r;

        if (getrandom(&seed, sizeof seed, 0) != (ssize_t) sizeof seed)
                return -errno;
        r = snapshot_build_new(generation, seed, &b);
        if (r == 0)
                r = compile_all(c, tables, count, b, error);
        if (r == 0)
                r = snapshot_build_finish(b, error, ret_fd);
        if (r < 0 && error->len == 0)
                buffer_printf(error, "tables: they cannot be compiled (%s)\n", strerror(-r));
        snapshot_build_free(b);
        return r;
}

static int prepare(struct process *p)
{
        if (!p->role)
                p->role = calloc(1, sizeof(struct compiler));
        return p->role ? 0 : -ENOMEM;
}

static int table(struct process *p, const struct ipc_table *m, int fd)
{
        struct compiler *k;
        struct compiler_table *t;

        if (prepare(p) < 0)
                return -ENOMEM;
        k = p->role;
        t = &k->tables[k->count];
        if (k->count == COMPILER_TABLES_MAX || m->name.len >= sizeof t->name)
                return -EPROTO;
        t->table = (enum snapshot_table) m->table;
        t->owner = m->owner;
        t->fd = fd;
        if (m->name.len)
                memcpy(t->name, m->name.p, m->name.len);
        t->name[m->name.len] = '\0';
        k->count++;
        return 0;
}

/* All of the work, then the one answer; nothing else is going on here. */
static int start(struct process *p)
{
        const struct compiler *k = p->role;
        struct buffer error = BUFFER_INIT(ERROR_MAX);
        int fd = -1;
        int r = compiler_compile(p->config, k->tables, k->count, clock_now_us(), &error, &fd);

        for (size_t i = 0; i < k->count; i++)
                close(k->tables[i].fd);
        r = CHANNEL_SEND(p->supervisor, compiled, fd, .status = (uint32_t) -r,
                         .text = buffer_span(&error));
        if (r == 0)
                r = channel_flush(p->supervisor, FLUSH_MS);
        if (fd >= 0)
                close(fd);
        buffer_done(&error);
        process_end(p);
        return r;
}

const struct process_role compiler_role = {
        .kind = PROCESS_COMPILER,
        .prepare = prepare,
        .start = start,
        .table = table,
};
