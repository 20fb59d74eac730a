/* What a backup copies: while it is made, no segment is used again or removed,
 * and no file of a body goes; so its reader may take its time.
 *
 * The order matters. First everything is pinned. Then the index makes a copy of
 * itself, which knows the log up to some group. Then we ask the index, which has
 * gone on meanwhile, up to which group it has the log now: the backup is the store
 * as it is behind that one, since all the log up to there is copied, and nothing
 * behind it. Traces may be of later groups, which recovery minds. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "store/local.h"
#include "store/recover.h"

static const char copy_folder[] = "index.backup";

enum { PATH_ROOM = 320 };

struct giving {
        struct local *local;
        struct query *query;
        const char *folder, *to; /* names are in `folder`, and shall be in `to` */
        int result;
};

static void give(struct giving *g, const char *path, const char *to, uint64_t size)
{
        const struct store_backup_file file = {span_from_string(path), span_from_string(to), size};

        if (g->result == 0)
                g->result = query_give_file(g->query, &file);
}

/* One file, as large as it is now. What is gone again is left out. */
static void give_file(void *arg, const char *name)
{
        struct giving *g = arg;
        char path[PATH_ROOM], to[PATH_ROOM];
        int64_t size;
        int file;

        snprintf(path, sizeof path, "%s/%.200s", g->folder, name);
        snprintf(to, sizeof to, "%s/%.200s", g->to, name);
        file = io_open(g->local->io, path, IO_READ_ONLY);
        if (file == -ENOENT)
                return;
        size = file < 0 ? file : io_size(g->local->io, file);
        io_close(g->local->io, file);
        if (size < 0 && g->result == 0)
                g->result = (int) size;
        give(g, path, to, (uint64_t) size);
}

static int give_folder(struct giving *g, const char *folder, const char *to)
{
        int r;

        g->folder = folder;
        g->to = to;
        r = io_list(g->local->io, folder, give_file, g);
        return r < 0 ? r : g->result;
}

static void give_day(void *arg, const char *name)
{
        struct giving *g = arg;
        char path[PATH_ROOM];

        snprintf(path, sizeof path, "trace/%.200s", name);
        if (g->result == 0)
                give_folder(g, path, path);
}

/* Segments of a stream up to where the index has the log. */
static void give_segments(struct giving *g, enum log_stream stream, const struct log_position *p)
{
        struct log *l = &g->local->log;
        char path[LOG_PATH_MAX];

        pthread_mutex_lock(&l->mutex);
        LIST_FOR_EACH(node, &l->streams[stream]) {
                const struct segment *s = LIST_OBJECT(node, struct segment, node);

                if (s->number > p->at[stream].segment)
                        break;
                log_path(s, path);
                give(g, path, path,
                     s->number < p->at[stream].segment ? s->size : p->at[stream].offset);
        }
        pthread_mutex_unlock(&l->mutex);
}

static void remove_file(void *arg, const char *name)
{
        char path[PATH_ROOM];

        snprintf(path, sizeof path, "%s/%.200s", copy_folder, name);
        io_unlink(arg, path);
}

static void remove_copy(struct local *l)
{
        io_list(l->io, copy_folder, remove_file, l->io);
        io_rmdir(l->io, copy_folder);
}

static int copy_index(struct local *l)
{
        int r = l->backup_path ? index_flush(l->index) : -EOPNOTSUPP;

        if (r < 0)
                return r;
        remove_copy(l); /* of one that came to nothing */
        atomic_store(&l->has_copy, true);
        return index_checkpoint(l->engine, l->backup_path);
}

/* The helper thread lets go soon; another backup does not. */
static int take_pin(struct local *l)
{
        const struct timespec pause = {0, 1000 * 1000};
        int before;

        atomic_store(&l->wants_pin, true);
        do {
                before = LOCAL_PIN_NONE;
                if (atomic_compare_exchange_strong(&l->pin, &before, LOCAL_PIN_BACKUP))
                        break;
                clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        } while (before == LOCAL_PIN_HELPER);
        atomic_store(&l->wants_pin, false);
        return before == LOCAL_PIN_NONE ? 0 : -EBUSY;
}

/* It stays as it is while pinned. */
static int give_checkpoint(struct giving *g)
{
        struct checkpoint found;
        const int r = checkpoint_find(g->local->io, g->local->log.store_id, &found);

        if (r == 0)
                give(g, "checkpoint", "checkpoint", found.size);
        return r == -ENOENT || r == -EBADMSG ? 0 : r;
}

int local_backup_begin(struct local *l, struct query *q)
{
        struct giving g = {.local = l, .query = q};
        struct log_position position = {0};
        int r;

        r = take_pin(l);
        if (r < 0)
                return r;
        log_pin(&l->log, true);
        r = copy_index(l);
        if (r == 0)
                r = recover_get_position(l->index, &position);
        if (r == 0)
                r = give_folder(&g, copy_folder, "index");
        for (enum log_stream i = 0; i < LOG_STREAMS && r == 0; i++)
                give_segments(&g, i, &position);
        if (r == 0)
                r = give_folder(&g, "blobs", "blobs");
        if (r == 0)
                r = io_list(l->io, "trace", give_day, &g);
        give(&g, "format", "format", 1024);
        if (r == 0)
                r = give_checkpoint(&g);
        if (r == 0)
                r = g.result;
        if (r < 0)
                local_backup_end(l);
        return r;
}

void local_backup_end(struct local *l)
{
        log_pin(&l->log, false);
        atomic_store(&l->pin, LOCAL_PIN_NONE);
}

void local_backup_clean(struct local *l)
{
        int none = LOCAL_PIN_NONE;

        if (!atomic_load(&l->has_copy) ||
            !atomic_compare_exchange_strong(&l->pin, &none, LOCAL_PIN_HELPER))
                return;
        atomic_store(&l->has_copy, false);
        remove_copy(l);
        atomic_store(&l->pin, LOCAL_PIN_NONE);
}
