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
#include "ctl/maildir_uids.h"
#include "store/mailbox.h"

enum { ROWS_MAX = 512 * 1024 * 1024, TEXT_KEPT = 1024 * 1024 };
enum { FOLDER_TMP, FOLDER_NEW, FOLDER_CUR, FOLDER_COUNT };
static const char *const folder_names[FOLDER_COUNT] = { "tmp", "new", "cur" };

struct entry {
        uint32_t uid;
        uint64_t second; /* at the front of the name */
        char *name;
        int folder;
};

struct maildir {
        int fd, fds[FOLDER_COUNT];
        struct entry *entries;
        size_t count, room;
        unsigned written;
        struct maildir_uids uids;
        bool is_uidlist_ours;
        struct buffer rows, text; /* of the uidlist to be written; one message with LF */
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
        struct maildir *m;
        int fd, r;

        if (may_create && mkdir(path, 0700) < 0 && errno != EEXIST)
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        m = calloc(1, sizeof *m);
        if (!m) {
                close(fd);
                return -ENOMEM;
        }
        m->fd = fd;
        m->rows = BUFFER_INIT(ROWS_MAX);
        m->text = BUFFER_INIT(TRANSFER_MESSAGE_MAX);
        for (int i = 0; i < FOLDER_COUNT; i++)
                m->fds[i] = -1;
        set_hostname(m, hostname);
        r = open_folders(m, fd, may_create);
        if (r == 0)
                r = maildir_uids_read(fd, &m->uids);
        if (r < 0)
                maildir_close(m);
        else
                *ret_m = m;
        return r;
}

uint32_t maildir_uid_validity(const struct maildir *m)
{
        return m->uids.uid_validity;
}

uint32_t maildir_uid_next(const struct maildir *m)
{
        return m->uids.uid_next;
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
                close_fd(&m->fd);
                maildir_uids_done(&m->uids);
                buffer_done(&m->rows);
                buffer_done(&m->text);
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
        m->entries[m->count] = (struct entry) {
                .uid = maildir_uids_find(&m->uids, name),
                .second = strtoull(name, NULL, 10),
                .name = strdup(name),
                .folder = folder,
        };
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

        if (x->uid != y->uid) /* what has none comes last */
                return x->uid - 1 < y->uid - 1 ? -1 : 1;
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

static void add_keywords(const struct maildir *m, const char *name,
                         struct transfer_message *message)
{
        const char *info = strstr(name, ":2,");

        for (info = info ? info + 3 : ""; *info; info++)
                if (*info >= 'a' && *info <= 'z' && m->uids.keywords[*info - 'a'])
                        transfer_message_add_keyword(
                                message, span_from_string(m->uids.keywords[*info - 'a']));
}

int maildir_read(struct maildir *m, size_t i, struct transfer_message *message)
{
        const struct entry *e = &m->entries[i];
        /* A link in a Maildir would make us read what its owner may not. */
        _cleanup_(close_fd) int fd = openat(m->fds[e->folder], e->name,
                                            O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        struct stat st;
        int r;

        transfer_message_clear(message);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        m->text.size_max = message->octets.size_max;
        buffer_shrink(&m->text, TEXT_KEPT);
        r = file_read_fd(fd, &m->text);
        if (r == 0)
                r = append_lines(&message->octets, buffer_span(&m->text));
        if (r < 0)
                return r;
        message->uid = e->uid;
        message->arrived_us = st.st_mtim.tv_sec > 0 ? (uint64_t) st.st_mtim.tv_sec * 1000000 : 0;
        if (e->folder == FOLDER_CUR) {
                message->flags = maildir_flags_parse(e->name);
                add_keywords(m, e->name, message);
        }
        return 0;
}

/* ---- writing ------------------------------------------------------------ */

int maildir_set_uids(struct maildir *m, uint32_t uid_validity, uint32_t uid_next)
{
        size_t count;
        int r = maildir_list(m, &count);

        if (r < 0)
                return r;
        if (count)
                return -EEXIST;
        m->uids.uid_validity = uid_validity;
        m->uids.uid_next = uid_next;
        m->is_uidlist_ours = true;
        return 0;
}

/* The letters of keywords, behind those of flags; new keywords get one. */
static size_t add_letters(struct maildir *m, struct span keywords, char *out)
{
        struct span word;
        size_t len = 0;

        while (keywords.len && span_split(&keywords, '\0', &word)) {
                int i = 0;

                while (i < MAILDIR_KEYWORDS_MAX && m->uids.keywords[i] &&
                       !span_equal_nocase(span_from_string(m->uids.keywords[i]), word))
                        i++;
                if (!word.len || i == MAILDIR_KEYWORDS_MAX)
                        continue;
                if (!m->uids.keywords[i])
                        m->uids.keywords[i] = strndup(word.p, word.len);
                if (!memchr(out, 'a' + i, len))
                        out[len++] = (char) ('a' + i);
        }
        out[len] = '\0';
        return len;
}

/* CRLF becomes LF, as every program that reads Maildirs expects. */
static int write_text(struct maildir *m, int fd, struct span message)
{
        struct span rest = message, line;
        int r = 0;

        m->text.size_max = message.len + 1;
        buffer_shrink(&m->text, TEXT_KEPT);
        while (r == 0 && rest.len && span_split(&rest, '\n', &line)) {
                if (line.len && line.p[line.len - 1] == '\r')
                        line.len--;
                r = buffer_append_span(&m->text, line);
                if (r == 0)
                        r = buffer_append(&m->text, "\n", 1);
        }
        return r < 0 ? r : file_write_all(fd, buffer_span(&m->text).p, m->text.len);
}

/* The count in front of the rest keeps the order within a second. */
static void make_names(struct maildir *m, const struct transfer_message *message, char *name,
                       char *final)
{
        char letters_text[MAILDIR_FLAGS_MAX], keywords[MAILDIR_KEYWORDS_MAX + 1];
        const size_t len = add_letters(m, buffer_span(&message->keywords), keywords);

        snprintf(name, NAME_MAX + 1, "%llu.Q%08uM%06uP%d.%.150s",
                 (unsigned long long) (message->arrived_us / 1000000), m->written++,
                 (unsigned) (clock_now_us() % 1000000), (int) getpid(), m->hostname);
        snprintf(final, NAME_MAX + 1, "%.205s%s%s%s", name, message->flags || len ? ":2," : "",
                 maildir_flags_format(message->flags, letters_text), keywords);
}

int maildir_write(struct maildir *m, const struct transfer_message *message)
{
        const struct timespec times[2] = {
                { .tv_nsec = UTIME_NOW },
                { .tv_sec = (time_t) (message->arrived_us / 1000000) },
        };
        char name[NAME_MAX + 1], final[NAME_MAX + 1];
        _cleanup_(close_fd) int fd = -1;
        int r, folder;

        make_names(m, message, name, final);
        folder = strchr(final, ':') ? FOLDER_CUR : FOLDER_NEW;
        fd = openat(m->fds[FOLDER_TMP], name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_text(m, fd, buffer_span(&message->octets));
        if (r == 0 && futimens(fd, times) < 0)
                r = -errno;
        if (r == 0 && renameat(m->fds[FOLDER_TMP], name, m->fds[folder], final) < 0)
                r = -errno;
        if (r < 0)
                unlinkat(m->fds[FOLDER_TMP], name, 0);
        if (r == 0 && m->is_uidlist_ours && message->uid)
                r = buffer_printf(&m->rows, "%u :%s\n", message->uid, name);
        return r;
}

int maildir_sync(struct maildir *m)
{
        struct maildir_uids uids = m->uids;
        int r;

        if (!m->is_uidlist_ours)
                uids.uid_validity = 0; /* it stays as it is */
        r = maildir_uids_write(m->fd, &uids, buffer_span(&m->rows));
        if (r < 0)
                return r;
        /* One flush for the files of all messages, names included. */
        return syncfs(m->fd) < 0 ? -errno : 0;
}
