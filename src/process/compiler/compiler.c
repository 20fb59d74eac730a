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
};

/* Tables that came before `go`; their text is read once we are confined. */
struct compiler {
        struct compiler_table tables[SNAPSHOT_TABLE_END];
        size_t count;
};

static int compile_table(const struct compiler_table *t, struct snapshot_build *b,
                         struct buffer *error)
{
        table_parse_fn *parse = table_parser(t->table);
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
        else
                r = parse(buffer_span(&text), span_from_string(t->name), b, error);
        buffer_done(&text);
        return r;
}

/* Every table is read, so that all that is wrong is said at once. */
static int compile_all(const struct config *c, const struct compiler_table *tables, size_t count,
                       struct snapshot_build *b, struct buffer *error)
{
        int result = table_domains_add(c, b);

        for (size_t i = 0; i < count && result != -ENOMEM; i++) {
                const int r = compile_table(&tables[i], b, error);

                if (r < 0 && result == 0)
                        result = r;
        }
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

static int table(struct process *p, enum snapshot_table table, struct span name, int fd)
{
        struct compiler *k;
        struct compiler_table *t;

        if (prepare(p) < 0)
                return -ENOMEM;
        k = p->role;
        t = &k->tables[k->count];
        if (k->count == SNAPSHOT_TABLE_END || name.len >= sizeof t->name)
                return -EPROTO;
        t->table = table;
        t->fd = fd;
        if (name.len)
                memcpy(t->name, name.p, name.len);
        t->name[name.len] = '\0';
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
