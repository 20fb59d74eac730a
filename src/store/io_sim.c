#include "store/io_sim.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SECTOR = 512, FILES_MAX = 4096, PATH_MAX_LEN = 64 };

struct content {
        char *octets;
        size_t len, room;
};

struct change { /* of a file, not yet durable */
        struct change *next;
        uint64_t number; /* of its inode's */
        bool is_length;
        uint64_t at;
        size_t len;
        char *octets; /* behind it */
};

struct inode {
        size_t number; /* in io_sim.inodes */
        struct content now, durable;
        struct change *first, **last;
        uint64_t changes; /* that there ever were */
        uint64_t late; /* IO_SIM_LATE_SYNC: up to here at the next sync */
        unsigned errors; /* writes that failed for good */
        bool is_error_seen; /* the last of them, by anybody */
};

struct name {
        char path[PATH_MAX_LEN];
        struct inode *inode; /* NULL: a folder */
};

struct names {
        struct name *names;
        size_t count, room;
};

enum rename_kind { NAME_ADD, NAME_REMOVE, NAME_RENAME };
struct name_change {
        struct name_change *next;
        enum rename_kind kind;
        char folder[PATH_MAX_LEN];
        char path[PATH_MAX_LEN], old_path[PATH_MAX_LEN];
        struct inode *inode;
};

enum call_kind { CALL_WRITE, CALL_LENGTH, CALL_SYNC, CALL_NAME, CALL_SYNC_FOLDER };
struct call {
        enum call_kind kind;
        enum rename_kind name_kind;
        size_t inode; /* its number */
        uint64_t at;
        size_t len;
        char *octets;
        char path[PATH_MAX_LEN], old_path[PATH_MAX_LEN];
};

struct io_sim {
        struct io io;
        pthread_mutex_t mutex;
        struct names now, durable;
        struct name_change *name_changes;
        struct inode *files[FILES_MAX]; /* by handle */
        unsigned errors_seen[FILES_MAX];
        struct inode **inodes;          /* all there ever were */
        size_t inode_count, inode_room;
        enum io_sim_lie lie;
        unsigned calls_left, failing_syncs;
        unsigned failing_opens;
        unsigned sync_us, syncing, syncs_at_once;
        bool is_writeback_failing;
        bool has_limit, has_crashed;
        uint64_t free_bytes, random;
        struct call *calls; /* recorded */
        size_t call_count, call_room, replayed;
        bool is_recording;
};

static struct io_sim *sim_of(const struct io *io)
{
        return (struct io_sim *) (uintptr_t) io;
}

static void *need(void *p)
{
        if (!p)
                abort(); /* a test without memory has nothing to say */
        return p;
}

static unsigned pick(struct io_sim *s, unsigned n)
{
        s->random = s->random * 6364136223846793005ull + 1442695040888963407ull;
        return (unsigned) (s->random >> 33) % n;
}

/* The inode before anything else: calls that need none give NULL. */
static struct call *record(struct io_sim *s, enum call_kind kind, const struct inode *inode)
{
        struct call *c;

        if (!s->is_recording)
                return NULL;
        if (s->call_count == s->call_room) {
                s->call_room = s->call_room ? s->call_room * 2 : 1024;
                s->calls = need(realloc(s->calls, s->call_room * sizeof(struct call)));
        }
        c = &s->calls[s->call_count++];
        *c = (struct call) {.kind = kind, .inode = inode ? inode->number : SIZE_MAX};
        return c;
}

/* ---- contents and names ------------------------------------------------------ */

static void set_len(struct content *c, size_t len)
{
        if (len > c->room) {
                c->room = len * 2;
                c->octets = need(realloc(c->octets, c->room));
        }
        if (len > c->len)
                memset(c->octets + c->len, 0, len - c->len);
        c->len = len;
}

static void write_at(struct content *c, uint64_t at, const char *octets, size_t len)
{
        if (at + len > c->len)
                set_len(c, (size_t) at + len);
        if (len)
                memcpy(c->octets + at, octets, len);
}

static void apply_change(struct content *c, const struct change *change)
{
        if (change->is_length)
                set_len(c, (size_t) change->at);
        else
                write_at(c, change->at, change->octets, change->len);
}

static void copy_path(char *out, const char *path)
{
        const size_t len = strlen(path);

        if (len >= PATH_MAX_LEN)
                abort(); /* the driver's paths are short */
        memcpy(out, path, len + 1);
}

static struct name *find(const struct names *n, const char *path)
{
        for (size_t i = 0; i < n->count; i++)
                if (strcmp(n->names[i].path, path) == 0)
                        return &n->names[i];
        return NULL;
}

static void add_name(struct names *n, const char *path, struct inode *inode)
{
        struct name *at = find(n, path);

        if (!at) {
                if (n->count == n->room) {
                        n->room = n->room ? n->room * 2 : 16;
                        n->names = need(realloc(n->names, n->room * sizeof(struct name)));
                }
                at = &n->names[n->count++];
                copy_path(at->path, path);
        }
        at->inode = inode;
}

static void remove_name(struct names *n, const char *path)
{
        struct name *at = find(n, path);

        if (at)
                *at = n->names[--n->count];
}

static void folder_of(const char *path, char *out)
{
        const char *slash = strrchr(path, '/');
        const size_t len = slash ? (size_t) (slash - path) : 0;

        memcpy(out, path, len);
        out[len] = '\0';
}

static void apply_name_change(struct names *n, const struct name_change *c)
{
        if (c->kind != NAME_ADD)
                remove_name(n, c->kind == NAME_RENAME ? c->old_path : c->path);
        if (c->kind != NAME_REMOVE)
                add_name(n, c->path, c->inode);
}

/* Takes effect now, and durably when the folder is synced. */
static void change_name(struct io_sim *s, enum rename_kind kind, const char *path,
                        const char *old_path, struct inode *inode)
{
        struct name_change *c = need(calloc(1, sizeof(struct name_change))), **last;
        struct call *call = record(s, CALL_NAME, inode);

        if (call) {
                call->name_kind = kind;
                copy_path(call->path, path);
                copy_path(call->old_path, old_path);
        }

        c->kind = kind;
        c->inode = inode;
        folder_of(path, c->folder);
        copy_path(c->path, path);
        copy_path(c->old_path, old_path);
        for (last = &s->name_changes; *last; last = &(*last)->next)
                ;
        *last = c;
        apply_name_change(&s->now, c);
}

static struct inode *inode_new(struct io_sim *s)
{
        struct inode *i = need(calloc(1, sizeof(struct inode)));

        i->last = &i->first;
        i->number = s->inode_count;
        if (s->inode_count == s->inode_room) {
                s->inode_room = s->inode_room ? s->inode_room * 2 : 64;
                s->inodes = need(realloc(s->inodes, s->inode_room * sizeof(struct inode *)));
        }
        s->inodes[s->inode_count++] = i;
        return i;
}

static void append_change(struct inode *i, bool is_length, uint64_t at, const char *octets,
                          size_t len)
{
        struct change *c = need(malloc(sizeof(struct change) + len));

        *c = (struct change) {.number = ++i->changes, .is_length = is_length, .at = at,
                              .len = len, .octets = (char *) (c + 1)};
        if (len)
                memcpy(c->octets, octets, len);
        *i->last = c;
        i->last = &c->next;
        apply_change(&i->now, c);
}

static void change_file(struct io_sim *s, struct inode *i, bool is_length, uint64_t at,
                        const char *octets, size_t len)
{
        struct call *call = record(s, is_length ? CALL_LENGTH : CALL_WRITE, i);

        if (call) {
                call->at = at;
                call->len = len;
                call->octets = need(malloc(len + 1));
                if (len)
                        memcpy(call->octets, octets, len);
        }
        append_change(i, is_length, at, octets, len);
}

static struct change *take_change(struct inode *i)
{
        struct change *c = i->first;

        i->first = c->next;
        if (!i->first)
                i->last = &i->first;
        return c;
}

/* Makes the changes up to and with this one durable. */
static void settle(struct inode *i, uint64_t until)
{
        while (i->first && i->first->number <= until) {
                struct change *c = take_change(i);

                apply_change(&i->durable, c);
                free(c);
        }
}

/* ---- calls ------------------------------------------------------------------- */

/* Begins a call that changes something; false: it must fail. */
static bool begin(struct io_sim *s)
{
        pthread_mutex_lock(&s->mutex);
        if (s->has_limit && !s->has_crashed) {
                if (s->calls_left == 0)
                        s->has_crashed = true;
                else
                        s->calls_left--;
        }
        return !s->has_crashed;
}

static int end(struct io_sim *s, int result)
{
        pthread_mutex_unlock(&s->mutex);
        return result;
}

static int sim_open(struct io *io, const char *path, unsigned flags)
{
        struct io_sim *s = sim_of(io);
        const struct name *name;
        struct inode *inode;
        char folder[PATH_MAX_LEN];

        if (!begin(s))
                return end(s, -EIO);
        if (s->failing_opens) {
                s->failing_opens--;
                return end(s, -EMFILE);
        }
        name = find(&s->now, path);
        if (name && (flags & IO_EXCLUSIVE))
                return end(s, -EEXIST);
        inode = name ? name->inode : NULL;
        if (!name) {
                folder_of(path, folder);
                if (!(flags & IO_CREATE) || (folder[0] && !find(&s->now, folder)))
                        return end(s, -ENOENT);
                inode = inode_new(s);
                change_name(s, NAME_ADD, path, "", inode);
        }
        for (int file = 3; file < FILES_MAX; file++) {
                if (!s->files[file]) {
                        s->files[file] = inode;
                        s->errors_seen[file] = inode->errors -
                                               (inode->errors && !inode->is_error_seen);
                        return end(s, file);
                }
        }
        return end(s, -EMFILE);
}

static void sim_close(struct io *io, int file)
{
        struct io_sim *s = sim_of(io);

        pthread_mutex_lock(&s->mutex);
        s->files[file] = NULL;
        pthread_mutex_unlock(&s->mutex);
}

static int64_t sim_pread(struct io *io, int file, void *out, size_t n, uint64_t at)
{
        struct io_sim *s = sim_of(io);
        const struct content *c;
        int64_t got = -EIO;

        pthread_mutex_lock(&s->mutex);
        if (!s->has_crashed) {
                c = &s->files[file]->now;
                got = at >= c->len ? 0 : (int64_t) (n < c->len - at ? n : c->len - at);
                if (got)
                        memcpy(out, c->octets + at, (size_t) got);
        }
        pthread_mutex_unlock(&s->mutex);
        return got;
}

static int sim_pwritev(struct io *io, int file, struct iovec *parts, size_t count, uint64_t at)
{
        struct io_sim *s = sim_of(io);
        struct content whole = {0};
        int r = begin(s) ? 0 : -EIO;

        for (size_t i = 0; i < count && r == 0; i++)
                write_at(&whole, whole.len, parts[i].iov_base, parts[i].iov_len);
        if (r == 0)
                change_file(s, s->files[file], false, at, whole.octets, whole.len);
        free(whole.octets);
        return end(s, r);
}

static int sim_truncate(struct io *io, int file, uint64_t size)
{
        struct io_sim *s = sim_of(io);

        if (!begin(s))
                return end(s, -EIO);
        change_file(s, s->files[file], true, size, NULL, 0);
        return end(s, 0);
}

static void sync_inode(struct io_sim *s, struct inode *i, uint64_t until)
{
        struct call *call = record(s, CALL_SYNC, i);

        if (call)
                call->at = until;
        if (s->lie == IO_SIM_LATE_SYNC) {
                settle(i, i->late);
                i->late = until;
        } else if (s->lie != IO_SIM_NO_SYNC) {
                settle(i, until);
        }
}

/* Nobody knows the octets that were not written but the reader of the file. */
static void fail_writeback(struct io_sim *s, struct inode *i)
{
        while (i->first)
                free(take_change(i));
        i->errors++;
        i->is_error_seen = false;
        s->is_writeback_failing = false;
}

static void take_time(struct io_sim *s)
{
        const struct timespec t = {.tv_nsec = pick(s, s->sync_us + 1) * 1000L};

        s->syncing++;
        if (s->syncing > s->syncs_at_once)
                s->syncs_at_once = s->syncing;
        pthread_mutex_unlock(&s->mutex);
        nanosleep(&t, NULL);
        pthread_mutex_lock(&s->mutex);
        s->syncing--;
}

static int sim_sync(struct io *io, int file)
{
        struct io_sim *s = sim_of(io);
        struct inode *i;
        uint64_t until;

        if (!begin(s))
                return end(s, -EIO);
        if (s->failing_syncs) {
                s->failing_syncs--;
                return end(s, -EIO);
        }
        i = s->files[file];
        until = i->changes;
        if (s->sync_us)
                take_time(s);
        if (s->has_crashed)
                return end(s, -EIO);
        if (s->is_writeback_failing && i->first)
                fail_writeback(s, i);
        if (s->errors_seen[file] != i->errors) {
                s->errors_seen[file] = i->errors;
                i->is_error_seen = true;
                return end(s, -EIO);
        }
        sync_inode(s, i, until);
        return end(s, 0);
}

static int64_t sim_size(struct io *io, int file)
{
        struct io_sim *s = sim_of(io);
        int64_t size;

        pthread_mutex_lock(&s->mutex);
        size = s->has_crashed ? -EIO : (int64_t) s->files[file]->now.len;
        pthread_mutex_unlock(&s->mutex);
        return size;
}

static int sim_rename(struct io *io, const char *old_path, const char *new_path)
{
        struct io_sim *s = sim_of(io);
        const struct name *name;
        char from[PATH_MAX_LEN], to[PATH_MAX_LEN];
        struct inode *inode;

        if (!begin(s))
                return end(s, -EIO);
        name = find(&s->now, old_path);
        if (!name)
                return end(s, -ENOENT);
        inode = name->inode;
        folder_of(old_path, from);
        folder_of(new_path, to);
        if (strcmp(from, to) == 0) {
                change_name(s, NAME_RENAME, new_path, old_path, inode);
        } else {
                change_name(s, NAME_REMOVE, old_path, "", NULL);
                change_name(s, NAME_ADD, new_path, "", inode);
        }
        return end(s, 0);
}

static int sim_unlink(struct io *io, const char *path)
{
        struct io_sim *s = sim_of(io);

        if (!begin(s))
                return end(s, -EIO);
        if (!find(&s->now, path))
                return end(s, -ENOENT);
        change_name(s, NAME_REMOVE, path, "", NULL);
        return end(s, 0);
}

static int sim_mkdir(struct io *io, const char *path)
{
        struct io_sim *s = sim_of(io);

        if (!begin(s))
                return end(s, -EIO);
        if (!find(&s->now, path))
                change_name(s, NAME_ADD, path, "", NULL);
        return end(s, 0);
}

static void sync_folder(struct io_sim *s, const char *path)
{
        struct name_change **at = &s->name_changes;
        struct call *call = record(s, CALL_SYNC_FOLDER, NULL);

        if (call)
                copy_path(call->path, path);
        while (*at && s->lie != IO_SIM_NO_DIRECTORY_SYNC) {
                struct name_change *c = *at;

                if (strcmp(c->folder, path) != 0) {
                        at = &c->next;
                        continue;
                }
                apply_name_change(&s->durable, c);
                *at = c->next;
                free(c);
        }
}

static int sim_sync_directory(struct io *io, const char *path)
{
        struct io_sim *s = sim_of(io);

        if (!begin(s))
                return end(s, -EIO);
        sync_folder(s, path);
        return end(s, 0);
}

static int sim_list(struct io *io, const char *path, io_list_fn *each, void *arg)
{
        struct io_sim *s = sim_of(io);
        struct names copy = {0};
        char folder[PATH_MAX_LEN];
        int r = 0;

        pthread_mutex_lock(&s->mutex);
        if (s->has_crashed)
                r = -EIO;
        else if (!find(&s->now, path))
                r = -ENOENT;
        for (size_t i = 0; i < s->now.count && r == 0; i++)
                add_name(&copy, s->now.names[i].path, NULL);
        pthread_mutex_unlock(&s->mutex);
        for (size_t i = 0; i < copy.count; i++) {
                folder_of(copy.names[i].path, folder);
                if (strcmp(folder, path) == 0)
                        each(arg, strrchr(copy.names[i].path, '/') + 1);
        }
        free(copy.names);
        return r;
}

static int sim_space(struct io *io, uint64_t *ret_free, uint64_t *ret_total)
{
        *ret_free = sim_of(io)->free_bytes;
        *ret_total = (uint64_t) 1 << 40;
        return 0;
}

static int sim_lock(struct io *io, const char *path)
{
        (void) io;
        (void) path;
        return 0;
}

static int sim_has_no_writer(struct io *io, const char *path)
{
        (void) io;
        (void) path;
        return 0; /* whoever wrote to it is done: a test sees to that */
}

static void sim_free(struct io *io)
{
        (void) io; /* it outlives the store */
}

static const struct io_driver sim_driver = {
        .open = sim_open,
        .close = sim_close,
        .pread = sim_pread,
        .pwritev = sim_pwritev,
        .allocate = sim_truncate,
        .truncate = sim_truncate,
        .sync = sim_sync,
        .size = sim_size,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .mkdir = sim_mkdir,
        .rmdir = sim_unlink,
        .sync_directory = sim_sync_directory,
        .list = sim_list,
        .space = sim_space,
        .lock = sim_lock,
        .has_no_writer = sim_has_no_writer,
        .free = sim_free,
};

/* ---- what tests do ------------------------------------------------------------ */

struct io *io_sim_new(void)
{
        struct io_sim *s = need(calloc(1, sizeof(struct io_sim)));

        s->io.driver = &sim_driver;
        s->free_bytes = (uint64_t) 1 << 39;
        pthread_mutex_init(&s->mutex, NULL);
        return &s->io;
}

static void forget_changes(struct io_sim *s)
{
        for (size_t i = 0; i < s->inode_count; i++) {
                struct inode *inode = s->inodes[i];

                while (inode->first) {
                        struct change *c = inode->first;

                        inode->first = c->next;
                        free(c);
                }
                inode->last = &inode->first;
                inode->late = 0;
        }
        while (s->name_changes) {
                struct name_change *c = s->name_changes;

                s->name_changes = c->next;
                free(c);
        }
}

void io_sim_destroy(struct io *io)
{
        struct io_sim *s = sim_of(io);

        forget_changes(s);
        for (size_t i = 0; i < s->inode_count; i++) {
                free(s->inodes[i]->now.octets);
                free(s->inodes[i]->durable.octets);
                free(s->inodes[i]);
        }
        for (size_t i = 0; i < s->call_count; i++)
                free(s->calls[i].octets);
        free(s->calls);
        free(s->inodes);
        free(s->now.names);
        free(s->durable.names);
        pthread_mutex_destroy(&s->mutex);
        free(s);
}

void io_sim_set_lie(struct io *io, enum io_sim_lie lie)
{
        sim_of(io)->lie = lie;
}

void io_sim_crash_after(struct io *io, unsigned calls)
{
        struct io_sim *s = sim_of(io);

        pthread_mutex_lock(&s->mutex);
        s->calls_left = calls;
        s->has_limit = calls != 0;
        pthread_mutex_unlock(&s->mutex);
}

bool io_sim_has_crashed(const struct io *io)
{
        struct io_sim *s = sim_of(io);
        bool has_crashed;

        pthread_mutex_lock(&s->mutex);
        has_crashed = s->has_crashed;
        pthread_mutex_unlock(&s->mutex);
        return has_crashed;
}

void io_sim_fail_syncs(struct io *io, unsigned count)
{
        struct io_sim *s = sim_of(io);

        pthread_mutex_lock(&s->mutex);
        s->failing_syncs = count;
        pthread_mutex_unlock(&s->mutex);
}

void io_sim_fail_writeback(struct io *io)
{
        struct io_sim *s = sim_of(io);

        pthread_mutex_lock(&s->mutex);
        s->is_writeback_failing = true;
        pthread_mutex_unlock(&s->mutex);
}

void io_sim_set_sync_us(struct io *io, unsigned us)
{
        struct io_sim *s = sim_of(io);

        pthread_mutex_lock(&s->mutex);
        s->sync_us = us;
        pthread_mutex_unlock(&s->mutex);
}

unsigned io_sim_syncs_at_once(const struct io *io)
{
        struct io_sim *s = sim_of(io);
        unsigned at_once;

        pthread_mutex_lock(&s->mutex);
        at_once = s->syncs_at_once;
        pthread_mutex_unlock(&s->mutex);
        return at_once;
}

void io_sim_fail_opens(struct io *io, unsigned count)
{
        struct io_sim *s = sim_of(io);

        pthread_mutex_lock(&s->mutex);
        s->failing_opens = count;
        pthread_mutex_unlock(&s->mutex);
}

void io_sim_set_free(struct io *io, uint64_t free_bytes)
{
        sim_of(io)->free_bytes = free_bytes;
}

/* Some sectors of a write reached the disk, the others did not. */
static void tear(struct io_sim *s, struct inode *i, const struct change *c)
{
        for (size_t at = 0; at < c->len; at += SECTOR) {
                const size_t len = c->len - at < SECTOR ? c->len - at : SECTOR;

                if (pick(s, 2))
                        write_at(&i->durable, c->at + at, c->octets + at, len);
        }
}

/* As a log sees it: in order, then nothing, and the last write as far as it came. */
static void cut_off(struct io_sim *s, struct inode *i)
{
        for (const struct change *c = i->first; c; c = c->next) {
                if (pick(s, 3)) {
                        apply_change(&i->durable, c);
                        continue;
                }
                if (!c->is_length && c->len)
                        write_at(&i->durable, c->at, c->octets, pick(s, (unsigned) c->len));
                return;
        }
}

static void lose_some(struct io_sim *s, struct inode *i)
{
        for (const struct change *c = i->first; c; c = c->next) {
                const unsigned what = pick(s, 3);

                if (what == 0 && !c->is_length)
                        tear(s, i, c);
                else if (what == 1)
                        apply_change(&i->durable, c);
        }
}

void io_sim_restart(struct io *io, enum io_sim_loss loss, uint64_t seed)
{
        struct io_sim *s = sim_of(io);
        struct names after = {0};

        s->random = seed;
        memset(s->files, 0, sizeof s->files);
        s->has_limit = s->has_crashed = false;
        s->failing_syncs = 0;
        s->lie = IO_SIM_HONEST;
        if (loss == IO_SIM_KILL)
                return;
        for (size_t i = 0; i < s->inode_count; i++) {
                struct inode *inode = s->inodes[i];

                if (loss == IO_SIM_KEEP)
                        settle(inode, UINT64_MAX);
                else if (loss == IO_SIM_TEAR)
                        lose_some(s, inode);
                else if (loss == IO_SIM_CUT)
                        cut_off(s, inode);
                set_len(&inode->now, 0);
                write_at(&inode->now, 0, inode->durable.octets, inode->durable.len);
        }
        /* Names change in the order of the calls, as a journal keeps it: some
         * of the last changes are lost. */
        for (struct name_change *c = s->name_changes; c && loss != IO_SIM_DROP; c = c->next) {
                if (loss != IO_SIM_KEEP && pick(s, 3) == 0)
                        break;
                apply_name_change(&s->durable, c);
        }
        forget_changes(s);
        for (size_t i = 0; i < s->durable.count; i++) {
                char folder[PATH_MAX_LEN];

                folder_of(s->durable.names[i].path, folder);
                if (!folder[0] || find(&s->durable, folder))
                        add_name(&after, s->durable.names[i].path, s->durable.names[i].inode);
        }
        free(s->now.names);
        free(s->durable.names);
        s->now = after;
        s->durable = (struct names) {0};
        for (size_t i = 0; i < after.count; i++)
                add_name(&s->durable, after.names[i].path, after.names[i].inode);
}

/* ---- recording and replay ------------------------------------------------------- */

void io_sim_record(struct io *io)
{
        sim_of(io)->is_recording = true;
}

size_t io_sim_calls(const struct io *io)
{
        struct io_sim *s = sim_of(io);
        size_t calls;

        pthread_mutex_lock(&s->mutex);
        calls = s->call_count;
        pthread_mutex_unlock(&s->mutex);
        return calls;
}

static struct inode *inode_at(struct io_sim *s, size_t number)
{
        while (number != SIZE_MAX && s->inode_count <= number)
                inode_new(s);
        return number == SIZE_MAX ? NULL : s->inodes[number];
}

static void do_call(struct io_sim *s, const struct call *c)
{
        struct inode *inode = inode_at(s, c->inode);

        if (c->kind == CALL_NAME)
                change_name(s, c->name_kind, c->path, c->old_path, inode);
        else if (c->kind == CALL_SYNC)
                sync_inode(s, inode, c->at);
        else if (c->kind == CALL_SYNC_FOLDER)
                sync_folder(s, c->path);
        else
                append_change(inode, c->kind == CALL_LENGTH, c->at, c->octets, c->len);
}

/* Is this the sync before a file gets its lasting name, or, 1 and 2 calls on, what
 * follows it? -1: none of that. */
static int place_in_publishing(const struct io_sim *r, size_t i)
{
        for (size_t back = 0; back < 3 && back <= i; back++) {
                const struct call *c = &r->calls[i - back];

                if (i - back + 2 < r->call_count && c[0].kind == CALL_SYNC &&
                    c[1].kind == CALL_NAME && c[1].name_kind == NAME_RENAME &&
                    c[1].inode == c[0].inode && c[2].kind == CALL_SYNC_FOLDER)
                        return (int) back;
        }
        return -1;
}

void io_sim_replay(struct io *to, const struct io *recorded, size_t calls)
{
        struct io_sim *s = sim_of(to);
        const struct io_sim *r = sim_of(recorded);

        for (; s->replayed < calls && s->replayed < r->call_count; s->replayed++) {
                const size_t i = s->replayed;
                const int place = s->lie == IO_SIM_RENAME_FIRST ? place_in_publishing(r, i) : -1;

                do_call(s, &r->calls[place < 0 ? i : place < 2 ? i + 1 : i - 2]);
        }
}

static void copy_names(struct names *to, const struct names *names, struct io_sim *s)
{
        for (size_t i = 0; i < names->count; i++)
                add_name(to, names->names[i].path,
                         names->names[i].inode ? s->inodes[names->names[i].inode->number] : NULL);
}

struct io *io_sim_clone(const struct io *io)
{
        struct io *copy = io_sim_new();
        struct io_sim *s = sim_of(copy), *r = sim_of(io);
        struct name_change **last = &s->name_changes;

        for (size_t i = 0; i < r->inode_count; i++) {
                struct inode *to = inode_at(s, i);
                const struct inode *inode = r->inodes[i];

                write_at(&to->durable, 0, inode->durable.octets, inode->durable.len);
                write_at(&to->now, 0, inode->durable.octets, inode->durable.len);
                for (const struct change *c = inode->first; c; c = c->next)
                        append_change(to, c->is_length, c->at, c->octets, c->len);
        }
        copy_names(&s->now, &r->now, s);
        copy_names(&s->durable, &r->durable, s);
        for (const struct name_change *c = r->name_changes; c; c = c->next) {
                *last = need(malloc(sizeof **last));
                **last = *c;
                (*last)->next = NULL;
                (*last)->inode = c->inode ? s->inodes[c->inode->number] : NULL;
                last = &(*last)->next;
        }
        return copy;
}

size_t io_sim_count(const struct io *io, const char *prefix)
{
        const struct io_sim *s = sim_of(io);
        size_t count = 0;

        for (size_t i = 0; i < s->now.count; i++)
                count += s->now.names[i].inode &&
                         strncmp(s->now.names[i].path, prefix, strlen(prefix)) == 0;
        return count;
}

bool io_sim_damage(struct io *io, const char *path, uint64_t at)
{
        const struct name *name = find(&sim_of(io)->now, path);

        if (!name || !name->inode || at >= name->inode->now.len)
                return false;
        name->inode->now.octets[at] ^= 1;
        write_at(&name->inode->durable, at, name->inode->now.octets + at, 1);
        return true;
}
