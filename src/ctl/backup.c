#include "ctl/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ctl/console.h"
#include "ctl/control_client.h"

const char backup_help[] =
        "hayauma backup DIR [-c FILE]\n"
        "\n"
        "Copies everything the running server keeps, mailboxes, queue and decision\n"
        "records, to the new folder DIR, as it is at one moment; mail goes on meanwhile.\n"
        "The copy is whole when the command says so. `hayauma check --store DIR` verifies\n"
        "it, `hayauma restore DIR` makes it the server's.\n";

const char restore_help[] =
        "hayauma restore DIR [-c FILE]\n"
        "\n"
        "Copies a backup to the state folder of the configuration, which must hold no\n"
        "mail yet; the server must not run. The files get the owner of the state folder.\n";

enum { COPY_STEP = 64 * 1024 * 1024, PATH_ROOM = 4096, BUFFER_OCTETS = 128 * 1024 };

/* Its presence says that all files are there; written last. */
static const char complete_name[] = "complete";

struct copying {
        int from_fd, to_fd;
        uid_t uid; /* of what is made; -1: as it comes */
        gid_t gid;
        uint64_t files, octets;
        int result; /* negative errno, of */
        char path[PATH_ROOM];
};

/* ---- files --------------------------------------------------------------- */

static void fail(struct copying *c, int error, const char *path)
{
        if (c->result < 0)
                return;
        c->result = -error;
        snprintf(c->path, sizeof c->path, "%s", path);
}

/* Within a file system and where that can share blocks, nothing is read. */
static int copy_octets(int from, int to, uint64_t size, uint64_t *ret_copied)
{
        uint64_t left = size;

        while (left) {
                const size_t step = left < COPY_STEP ? (size_t) left : COPY_STEP;
                ssize_t n = copy_file_range(from, NULL, to, NULL, step, 0);

                if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP ||
                              errno == ENOSYS)) {
                        static char buffer[BUFFER_OCTETS];

                        n = read(from, buffer, step < sizeof buffer ? step : sizeof buffer);
                        if (n > 0)
                                n = write(to, buffer, (size_t) n);
                        /* a short write: the rest is read again */
                        if (n > 0 && lseek(from, lseek(to, 0, SEEK_CUR), SEEK_SET) < 0)
                                n = -1;
                }
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                left -= (uint64_t) n;
        }
        *ret_copied = size - left;
        return 0;
}

static int make_folder(const struct copying *c, const char *path)
{
        if (mkdirat(c->to_fd, path, 0700) < 0)
                return errno == EEXIST ? 0 : -errno;
        if (c->uid != (uid_t) -1 && fchownat(c->to_fd, path, c->uid, c->gid, 0) < 0)
                return -errno;
        return 0;
}

/* Makes the folders on the way to a file. */
static int make_parents(const struct copying *c, const char *path)
{
        char folder[PATH_ROOM];
        int r = 0;

        for (const char *slash = strchr(path, '/'); slash && r == 0;
             slash = strchr(slash + 1, '/')) {
                snprintf(folder, sizeof folder, "%.*s", (int) (slash - path), path);
                r = make_folder(c, folder);
        }
        return r;
}

/* -ENOENT: the file is not there (any more). */
static int copy_file(struct copying *c, const char *path, const char *to_path, uint64_t size)
{
        _cleanup_(close_fd) int from = openat(c->from_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        _cleanup_(close_fd) int to = -1;
        uint64_t copied = 0;
        int r;

        if (from < 0)
                return -errno;
        r = make_parents(c, to_path);
        if (r < 0)
                return r;
        to = openat(c->to_fd, to_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (to < 0)
                return -errno;
        r = copy_octets(from, to, size, &copied);
        if (r == 0 && c->uid != (uid_t) -1 && fchown(to, c->uid, c->gid) < 0)
                r = -errno;
        if (r == 0 && fsync(to) < 0)
                r = -errno;
        c->files += r == 0;
        c->octets += copied;
        return r;
}

static bool is_harmless(const char *path)
{
        return path[0] != '/' && !strstr(path, "..") && path[0];
}

/* ---- backup --------------------------------------------------------------- */

struct file_list {
        struct file {
                char *path, *to;
                uint64_t size;
        } *files;
        size_t count, room;
        bool has_failed;
};

static void keep_file(void *arg, const json_t *row)
{
        struct file_list *l = arg;
        const struct span path = console_row_text(row, "path"), to = console_row_text(row, "to");

        if (l->count == l->room) {
                const size_t room = l->room ? l->room * 2 : 256;
                struct file *grown = reallocarray(l->files, room, sizeof *grown);

                if (!grown) {
                        l->has_failed = true;
                        return;
                }
                l->files = grown;
                l->room = room;
        }
        l->files[l->count++] = (struct file) {
                .path = strndup(path.p ? path.p : "", path.len),
                .to = strndup(to.p ? to.p : "", to.len),
                .size = console_row_number(row, "size"),
        };
}

static void list_free(struct file_list *l)
{
        for (size_t i = 0; i < l->count; i++) {
                free(l->files[i].path);
                free(l->files[i].to);
        }
        free(l->files);
}

static int mark_complete(const struct copying *c)
{
        _cleanup_(close_fd) int fd = openat(c->to_fd, complete_name,
                                            O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        /* First all the names, then the one that says that they are there. */
        if (fd < 0 || syncfs(c->to_fd) < 0 || write(fd, "hayauma backup 1\n", 17) != 17 ||
            fsync(fd) < 0 || fsync(c->to_fd) < 0)
                return -errno;
        return 0;
}

/* What was listed comes from the keeper, and must not lead out of either folder. */
static bool may_copy(struct copying *c, const struct file *f)
{
        if (f->path && f->to && is_harmless(f->path) && is_harmless(f->to))
                return true;
        fail(c, EBADMSG, f->path ? f->path : "?");
        return false;
}

static void copy_list(struct copying *c, const struct file_list *l)
{
        for (size_t i = 0; i < l->count && c->result == 0; i++) {
                const struct file *f = &l->files[i];
                int r;

                if (!may_copy(c, f))
                        return;
                r = copy_file(c, f->path, f->to, f->size);
                if (r == -ENOENT && strncmp(f->path, "trace/", 6) == 0)
                        continue; /* a day that is too old now */
                if (r < 0)
                        fail(c, -r, f->path);
        }
        if (c->result == 0) {
                const int r = mark_complete(c);

                if (r < 0)
                        fail(c, -r, complete_name);
        }
}

static int back_up(const struct config *config, struct copying *c)
{
        struct control_client *client;
        struct file_list list = {0};
        int status = control_client_open(config, "keeper", &client);

        if (status != EX_OK)
                return status;
        status = control_client_call(client, &(struct control_client_request) {
                .verb = "backup.begin", .row = keep_file, .arg = &list});
        if (status == EX_OK && list.has_failed)
                status = console_fail(EX_OSERR, "out of memory");
        if (status == EX_OK) {
                copy_list(c, &list);
                status = control_client_call(client, &(struct control_client_request) {
                        .verb = "backup.end"});
        }
        if (status == EX_OK && c->result < 0)
                status = console_fail(EX_IOERR, "the backup is not complete: cannot copy %s: %s",
                                      c->path, strerror(-c->result));
        list_free(&list);
        control_client_close(client);
        return status;
}

/* The one word a command wants, and the configuration. */
static int begin(int argc, char **argv, const char **ret_folder, struct config **ret_config)
{
        const char *config_file = NULL;
        const struct console_option options[] = { CONSOLE_OPTION_CONFIG(&config_file) };
        const int words = console_options(argc, argv, options, 1);

        if (words < 0)
                return EX_USAGE;
        if (words != 1)
                return console_fail(EX_USAGE, "name one folder");
        *ret_folder = argv[1];
        return console_config(config_file, ret_config);
}

static int open_state(const struct config *config, int *ret_fd)
{
        char path[PATH_ROOM];

        snprintf(path, sizeof path, "%.*s", (int) config->state_dir.len, config->state_dir.p);
        *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*ret_fd < 0)
                return console_fail(EX_NOINPUT, "cannot open the state folder %s: %m", path);
        return EX_OK;
}

int backup_run(int argc, char **argv)
{
        _cleanup_(close_fd) int state_fd = -1, to_fd = -1;
        struct copying c = {.uid = (uid_t) -1, .gid = (gid_t) -1};
        struct config *config = NULL;
        const char *folder;
        int status = begin(argc, argv, &folder, &config);

        if (status == EX_OK)
                status = open_state(config, &state_fd);
        if (status == EX_OK && mkdir(folder, 0700) < 0)
                status = console_fail(EX_CANTCREAT, "cannot make %s, which must be new: %m",
                                      folder);
        if (status == EX_OK) {
                to_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                c.from_fd = state_fd;
                c.to_fd = to_fd;
                status = to_fd < 0 ? console_fail(EX_CANTCREAT, "cannot open %s: %m", folder)
                                   : back_up(config, &c);
        }
        if (status == EX_OK)
                printf("%llu files, %llu octets: the backup is complete\n",
                       (unsigned long long) c.files, (unsigned long long) c.octets);
        config_free(config);
        return status;
}

/* ---- a view ----------------------------------------------------------------- */

static const char view_name[] = "check.running";

struct backup_view {
        struct control_client *client;
        char path[PATH_ROOM];
        int state_fd, view_fd;
};

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
        (void) st;
        (void) kind;
        (void) at;
        remove(path);
        return 0;
}

static void remove_tree(const char *path)
{
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Segments that are full, bodies in files and the index's tables are never written
 * again; the rest is small, or still grows. */
static bool is_linked(const struct copying *c, const struct file *f)
{
        const size_t len = strlen(f->path);
        struct stat st;

        if (strncmp(f->path, "blobs/", 6) == 0 || strcmp(f->path, "checkpoint") == 0)
                return true;
        if (len > 4 && strcmp(f->path + len - 4, ".sst") == 0)
                return true;
        return len > 4 && strcmp(f->path + len - 4, ".seg") == 0 &&
               fstatat(c->from_fd, f->path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               (uint64_t) st.st_size == f->size;
}

/* Decision records still grow, and are not looked at: without them. */
static void fill_view(struct copying *c, const struct file_list *l)
{
        for (size_t i = 0; i < l->count && c->result == 0; i++) {
                const struct file *f = &l->files[i];
                int r;

                if (!may_copy(c, f))
                        return;
                if (strncmp(f->path, "trace/", 6) == 0)
                        continue;
                if (is_linked(c, f)) {
                        r = make_parents(c, f->to);
                        if (r == 0 && linkat(c->from_fd, f->path, c->to_fd, f->to, 0) < 0)
                                r = -errno;
                } else {
                        r = copy_file(c, f->path, f->to, f->size);
                }
                if (r < 0)
                        fail(c, -r, f->path);
        }
}

static int make_view(struct backup_view *v)
{
        struct copying c = {.from_fd = v->state_fd};
        struct file_list list = {0};
        struct stat st;
        int status = control_client_call(v->client, &(struct control_client_request) {
                .verb = "backup.begin", .row = keep_file, .arg = &list});

        remove_tree(v->path); /* of one that was cut short */
        if (status == EX_OK && (list.has_failed || fstat(v->state_fd, &st) < 0))
                status = console_fail(EX_OSERR, "out of memory");
        if (status == EX_OK && mkdirat(v->state_fd, view_name, 0700) < 0)
                status = console_fail(EX_CANTCREAT, "cannot make %s: %m", v->path);
        if (status == EX_OK) {
                v->view_fd = openat(v->state_fd, view_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                c.to_fd = v->view_fd;
                c.uid = geteuid() == 0 ? st.st_uid : (uid_t) -1;
                c.gid = st.st_gid;
                if (v->view_fd < 0 || (geteuid() == 0 && fchown(v->view_fd, c.uid, c.gid) < 0))
                        fail(&c, errno, view_name);
                fill_view(&c, &list);
                if (c.result < 0)
                        status = console_fail(EX_IOERR, "cannot link %s: %s", c.path,
                                              strerror(-c.result));
        }
        list_free(&list);
        return status;
}

int backup_view_open(const struct config *config, char *ret_path, size_t room,
                     struct backup_view **ret_view)
{
        struct backup_view *v = calloc(1, sizeof *v);
        int status;

        if (!v)
                return console_fail(EX_OSERR, "out of memory");
        v->state_fd = v->view_fd = -1;
        snprintf(v->path, sizeof v->path, "%.*s/%s", (int) config->state_dir.len,
                 config->state_dir.p, view_name);
        status = open_state(config, &v->state_fd);
        if (status == EX_OK)
                status = control_client_open(config, "keeper", &v->client);
        if (status == EX_OK)
                status = make_view(v);
        if (status != EX_OK) {
                backup_view_close(v);
                return status;
        }
        snprintf(ret_path, room, "%s", v->path);
        *ret_view = v;
        return EX_OK;
}

/* The end of the connection lets go of everything, too. */
struct backup_view *backup_view_close(struct backup_view *v)
{
        if (!v)
                return NULL;
        if (v->view_fd >= 0) {
                remove_tree(v->path);
                close(v->view_fd);
        }
        if (v->state_fd >= 0)
                close(v->state_fd);
        if (v->client)
                control_client_close(v->client);
        free(v);
        return NULL;
}

/* ---- restore --------------------------------------------------------------- */

/* Copies what is in a folder of the backup, "" for all of it. */
static void copy_folder(struct copying *c, const char *folder, unsigned depth)
{
        int fd = openat(c->from_fd, folder[0] ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;

        if (!dir || depth > 3) {
                fail(c, dir ? ELOOP : errno, folder);
                if (dir)
                        closedir(dir);
                return;
        }
        while (c->result == 0 && (e = readdir(dir))) {
                char path[PATH_ROOM];
                struct stat st;
                int r = 0;

                if (e->d_name[0] == '.' || (!folder[0] && strcmp(e->d_name, complete_name) == 0))
                        continue;
                snprintf(path, sizeof path, "%.3000s%s%.255s", folder, folder[0] ? "/" : "",
                         e->d_name);
                if (fstatat(c->from_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        r = -errno;
                else if (S_ISDIR(st.st_mode))
                        copy_folder(c, path, depth + 1);
                else if (strcmp(path, "format") != 0)
                        r = copy_file(c, path, path, (uint64_t) st.st_size);
                if (r < 0)
                        fail(c, -r, path);
        }
        closedir(dir);
}

static int restore(struct copying *c, const char *folder, int lock_fd)
{
        struct stat st;
        int r;

        if (flock(lock_fd, LOCK_EX | LOCK_NB) < 0)
                return console_fail(EX_TEMPFAIL, "the server runs: stop it first");
        if (faccessat(c->to_fd, "format", F_OK, 0) == 0)
                return console_fail(EX_CANTCREAT, "the state folder holds mail already: move it "
                                    "away first");
        if (fstat(c->to_fd, &st) == 0) {
                c->uid = st.st_uid;
                c->gid = st.st_gid;
        }
        if (fchown(lock_fd, c->uid, c->gid) < 0)
                return console_fail(EX_NOPERM, "cannot give the files to their owner: %m");
        copy_folder(c, "", 0);
        /* The name without which this is no store comes last. */
        r = c->result < 0 || syncfs(c->to_fd) == 0 ? 0 : -errno;
        if (r == 0 && c->result == 0)
                r = copy_file(c, "format", "format", BUFFER_OCTETS);
        if (r < 0)
                fail(c, -r, "format");
        if (c->result == 0 && fsync(c->to_fd) < 0)
                fail(c, errno, "the state folder");
        if (c->result < 0)
                return console_fail(EX_IOERR, "cannot copy %s from %s: %s", c->path, folder,
                                    strerror(-c->result));
        printf("%llu files, %llu octets: restored; `hayauma check --store` verifies them\n",
               (unsigned long long) c->files, (unsigned long long) c->octets);
        return EX_OK;
}

int restore_run(int argc, char **argv)
{
        _cleanup_(close_fd) int state_fd = -1, from_fd = -1, lock_fd = -1;
        struct copying c = {0};
        struct config *config = NULL;
        const char *folder;
        int status = begin(argc, argv, &folder, &config);

        if (status == EX_OK)
                status = open_state(config, &state_fd);
        if (status == EX_OK) {
                from_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (from_fd < 0)
                        status = console_fail(EX_NOINPUT, "cannot open %s: %m", folder);
                else if (faccessat(from_fd, complete_name, F_OK, 0) < 0)
                        status = console_fail(EX_DATAERR, "%s is not a complete backup", folder);
        }
        if (status == EX_OK) {
                lock_fd = openat(state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
                c.from_fd = from_fd;
                c.to_fd = state_fd;
                status = lock_fd < 0 ? console_fail(EX_NOPERM, "cannot lock the state folder: %m")
                                     : restore(&c, folder, lock_fd);
        }
        config_free(config);
        return status;
}
