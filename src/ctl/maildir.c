#include "ctl/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "store/mailbox.h"

enum { FOLDER_TMP, FOLDER_NEW, FOLDER_CUR, FOLDER_COUNT };
static const char *const folder_names[FOLDER_COUNT] = { "tmp", "new", "cur" };

struct entry {
        uint64_t second; /* at the front of the name */
        char *name;
        int folder;
};

struct maildir {
        int fds[FOLDER_COUNT];
        struct entry *entries;
        size_t count, room;
        unsigned written;
        char hostname[256];
};

/* ---- flags -------------------------------------------------------------- */

static const struct {
        char letter; /* in the order of ASCII, as the names want it */
        uint32_t flag;
} letters[] = {
        { 'D', MESSAGE_DRAFT }, { 'F', MESSAGE_FLAGGED }, { 'R', MESSAGE_ANSWERED },
        { 'S', MESSAGE_SEEN },  { 'T', MESSAGE_DELETED },
};
enum { LETTER_COUNT = sizeof letters / sizeof letters[0] };

uint32_t maildir_flags_parse(const char *name)
{
        const char *info = strstr(name, ":2,");
        uint32_t flags = 0;

        for (size_t i = 0; info && i < LETTER_COUNT; i++)
                if (strchr(info + 3, letters[i].letter))
                        flags |= letters[i].flag;
        return flags;
}

const char *maildir_flags_format(uint32_t flags, char *out)
{
        size_t len = 0;

        for (size_t i = 0; i < LETTER_COUNT; i++)
                if (flags & letters[i].flag)
                        out[len++] = letters[i].letter;
        out[len] = '\0';
        return out;
}

/* ---- opening ------------------------------------------------------------ */

/* "/" and ":" mean something in names; they become octal, as is custom. */
static void set_hostname(struct maildir *m, struct span hostname)
{
        size_t len = 0;

        for (size_t i = 0; i < hostname.len && len + 5 < sizeof m->hostname; i++) {
                const char c = hostname.p[i];

                if (c == '/' || c == ':')
                        len += (size_t) snprintf(m->hostname + len, 5, "\\%03o", (unsigned) c);
                else if (c > ' ')
                        m->hostname[len++] = c;
        }
}

static int open_folders(struct maildir *m, int fd, bool may_create)
{
        for (int i = 0; i < FOLDER_COUNT; i++) {
                if (may_create && mkdirat(fd, folder_names[i], 0700) < 0 && errno != EEXIST)
                        return -errno;
                m->fds[i] = openat(fd, folder_names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (m->fds[i] < 0)
                        return errno == ENOENT ? -ENOTDIR : -errno;
        }
        return 0;
}

int maildir_open(const char *path, bool may_create, struct span hostname, struct maildir **ret_m)
{
        _cleanup_(close_fd) int fd = -1;
        struct maildir *m;
        int r;

        if (may_create && mkdir(path, 0700) < 0 && errno != EEXIST)
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        m = calloc(1, sizeof *m);
        if (!m)
                return -ENOMEM;
        for (int i = 0; i < FOLDER_COUNT; i++)
                m->fds[i] = -1;
        set_hostname(m, hostname);
        r = open_folders(m, fd, may_create);
        if (r < 0)
                maildir_close(m);
        else
                *ret_m = m;
        return r;
}

static void clear_entries(struct maildir *m)
{
        for (size_t i = 0; i < m->count; i++)
                free(m->entries[i].name);
        m->count = 0;
}

struct maildir *maildir_close(struct maildir *m)
{
        if (m) {
                clear_entries(m);
                free(m->entries);
                for (int i = 0; i < FOLDER_COUNT; i++)
                        close_fd(&m->fds[i]);
                free(m);
        }
        return NULL;
}

/* ---- reading ------------------------------------------------------------ */

static int add_entry(struct maildir *m, const char *name, int folder)
{
        if (m->count == m->room) {
                const size_t room = m->room ? m->room * 2 : 256;
                struct entry *entries = reallocarray(m->entries, room, sizeof *entries);

                if (!entries)
                        return -ENOMEM;
                m->entries = entries;
                m->room = room;
        }
        m->entries[m->count] = (struct entry) {strtoull(name, NULL, 10), strdup(name), folder};
        if (!m->entries[m->count].name)
                return -ENOMEM;
        m->count++;
        return 0;
}

static int list_folder(struct maildir *m, int folder)
{
        int fd = openat(m->fds[folder], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);

        if (!dir) {
                r = -errno;
                close_fd(&fd);
                return r;
        }
        while (r == 0) {
                const struct dirent *each;

                errno = 0;
                each = readdir(dir);
                if (!each) {
                        r = -errno;
                        break;
                }
                if (each->d_name[0] != '.')
                        r = add_entry(m, each->d_name, folder);
        }
        closedir(dir);
        return r;
}

static int compare_entries(const void *a, const void *b)
{
        const struct entry *x = a, *y = b;

        if (x->second != y->second)
                return x->second < y->second ? -1 : 1;
        return strcmp(x->name, y->name);
}

int maildir_list(struct maildir *m, size_t *ret_count)
{
        int r;

        clear_entries(m);
        r = list_folder(m, FOLDER_NEW);
        if (r == 0)
                r = list_folder(m, FOLDER_CUR);
        if (r < 0)
                return r;
        if (m->count)
                qsort(m->entries, m->count, sizeof *m->entries, compare_entries);
        *ret_count = m->count;
        return 0;
}

const char *maildir_name(const struct maildir *m, size_t i)
{
        return m->entries[i].name;
}

static int append_lines(struct buffer *message, struct span text)
{
        struct span rest = text, line;
        int r = 0;

        while (r == 0 && rest.len && span_split(&rest, '\n', &line)) {
                if (line.len && line.p[line.len - 1] == '\r')
                        line.len--;
                r = buffer_append_span(message, line);
                if (r == 0)
                        r = buffer_append(message, "\r\n", 2);
        }
        return r;
}

int maildir_read(struct maildir *m, size_t i, struct buffer *message, uint64_t *ret_at_us,
                 uint32_t *ret_flags)
{
        const struct entry *e = &m->entries[i];
        /* A link in a Maildir would make us read what its owner may not. */
        _cleanup_(close_fd) int fd = openat(m->fds[e->folder], e->name,
                                            O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        struct buffer text = BUFFER_INIT(message->size_max);
        struct stat st;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        r = file_read_fd(fd, &text);
        buffer_clear(message);
        if (r == 0)
                r = append_lines(message, buffer_span(&text));
        buffer_done(&text);
        if (r < 0)
                return r;
        *ret_at_us = st.st_mtim.tv_sec > 0 ? (uint64_t) st.st_mtim.tv_sec * 1000000 : 0;
        *ret_flags = e->folder == FOLDER_CUR ? maildir_flags_parse(e->name) : 0;
        return 0;
}

/* ---- writing ------------------------------------------------------------ */

/* CRLF becomes LF, as every program that reads Maildirs expects. */
static int write_text(int fd, struct span message)
{
        struct buffer text = BUFFER_INIT(message.len + 1);
        struct span rest = message, line;
        int r = 0;

        while (r == 0 && rest.len && span_split(&rest, '\n', &line)) {
                if (line.len && line.p[line.len - 1] == '\r')
                        line.len--;
                r = buffer_append_span(&text, line);
                if (r == 0)
                        r = buffer_append(&text, "\n", 1);
        }
        if (r == 0)
                r = file_write_all(fd, buffer_span(&text).p, text.len);
        buffer_done(&text);
        return r;
}

int maildir_write(struct maildir *m, struct span message, uint64_t at_us, uint32_t flags)
{
        const uint64_t now_us = clock_now_us();
        const int folder = flags ? FOLDER_CUR : FOLDER_NEW;
        const struct timespec times[2] = {
                { .tv_nsec = UTIME_NOW },
                { .tv_sec = (time_t) (at_us / 1000000) },
        };
        char name[NAME_MAX + 1], final[NAME_MAX + 1], letters_text[MAILDIR_FLAGS_MAX];
        _cleanup_(close_fd) int fd = -1;
        int r, len;

        /* The count in front of the rest keeps the order within a second. */
        len = snprintf(name, sizeof name, "%llu.Q%08uM%06uP%d.%.150s",
                       (unsigned long long) (at_us / 1000000), m->written++,
                       (unsigned) (now_us % 1000000), (int) getpid(), m->hostname);
        snprintf(final, sizeof final, "%.*s%s%s", len < 230 ? len : 230, name, flags ? ":2," : "",
                 maildir_flags_format(flags, letters_text));
        fd = openat(m->fds[FOLDER_TMP], name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_text(fd, message);
        if (r == 0 && (futimens(fd, times) < 0 || fsync(fd) < 0))
                r = -errno;
        if (r == 0 &&
            renameat(m->fds[FOLDER_TMP], name, m->fds[folder], final) < 0)
                r = -errno;
        if (r < 0)
                unlinkat(m->fds[FOLDER_TMP], name, 0);
        return r;
}

int maildir_sync(struct maildir *m)
{
        return fsync(m->fds[FOLDER_NEW]) < 0 || fsync(m->fds[FOLDER_CUR]) < 0 ? -errno : 0;
}
