#include "ctl/maildir_uids.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/number.h"
#include "base/span.h"

enum { FILE_MAX = 512 * 1024 * 1024 };

/* The file's text with a NUL behind it; empty when there is none. */
static int read_text(int folder_fd, const char *name, struct buffer *text)
{
        _cleanup_(close_fd) int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        int r = 0;

        if (fd < 0 && errno != ENOENT)
                return -errno;
        if (fd >= 0)
                r = file_read_fd(fd, text);
        return r < 0 ? r : buffer_append(text, "", 1);
}

static uint32_t number_of(struct span text)
{
        uint64_t number = 0;

        return number_parse(text, UINT32_MAX, &number) < 0 ? 0 : (uint32_t) number;
}

/* "3 V1700000000 N42 G…" of today, "1 1700000000 42" of long ago. */
static void read_head(struct maildir_uids *u, struct span line)
{
        struct span word;
        const bool is_new = span_starts_with_nocase(line, SPAN_LITERAL("3 "));

        line = span_skip(line, 2);
        for (int i = 0; span_split(&line, ' ', &word); i++) {
                if (is_new ? span_starts_with_nocase(word, SPAN_LITERAL("V")) : i == 0)
                        u->uid_validity = number_of(span_skip(word, is_new));
                else if (is_new ? span_starts_with_nocase(word, SPAN_LITERAL("N")) : i == 1)
                        u->uid_next = number_of(span_skip(word, is_new));
        }
}

static int compare_rows(const void *a, const void *b)
{
        return strcmp(((const struct maildir_uid_row *) a)->name,
                      ((const struct maildir_uid_row *) b)->name);
}

/* "42 W1234 S1200 :1700000000.M1P2.host:2,S", or "42 1700000000.M1P2.host". The
 * line ends in NUL. */
static void read_row(struct maildir_uids *u, char *line, size_t *room)
{
        char *name = strchr(line, ' '), *behind, *flags;
        struct maildir_uid_row *rows;

        if (!name)
                return;
        *name++ = '\0';
        behind = strstr(name, " :");
        if (*name == ':')
                name++;
        else if (behind)
                name = behind + 2;
        flags = strchr(name, ':');
        if (flags)
                *flags = '\0';
        if (u->count == *room) {
                const size_t grown = *room ? *room * 2 : 1024;

                rows = reallocarray(u->rows, grown, sizeof *rows);
                if (!rows)
                        return;
                u->rows = rows;
                *room = grown;
        }
        u->rows[u->count] = (struct maildir_uid_row) {name, number_of(span_from_string(line))};
        if (u->rows[u->count].uid)
                u->count++;
}

static void read_rows(struct maildir_uids *u)
{
        char *at = u->text.data ? u->text.data + u->text.start : NULL;
        char *const end = at ? at + u->text.len - 1 : NULL;
        bool is_head = true;
        size_t room = 0;

        while (at && at < end) {
                char *line_end = memchr(at, '\n', (size_t) (end - at));

                if (!line_end)
                        return; /* it was being written */
                *line_end = '\0';
                if (is_head)
                        read_head(u, span_from_string(at));
                else
                        read_row(u, at, &room);
                is_head = false;
                at = line_end + 1;
        }
}

/* "0 $Forwarded" */
static void read_keywords(struct maildir_uids *u, struct span text)
{
        struct span line, number;
        uint64_t i;

        while (span_split(&text, '\n', &line)) {
                if (!span_split(&line, ' ', &number) || !line.len ||
                    number_parse(number, MAILDIR_KEYWORDS_MAX - 1, &i) < 0 || u->keywords[i])
                        continue;
                u->keywords[i] = strndup(line.p, line.len);
        }
}

int maildir_uids_read(int folder_fd, struct maildir_uids *ret_u)
{
        struct buffer keywords = BUFFER_INIT(64 * 1024);
        struct maildir_uids u = {.text = BUFFER_INIT(FILE_MAX)};
        int r = read_text(folder_fd, "dovecot-uidlist", &u.text);

        if (r == 0)
                r = read_text(folder_fd, "dovecot-keywords", &keywords);
        if (r == 0) {
                read_rows(&u);
                read_keywords(&u, span_first(buffer_span(&keywords), keywords.len - 1));
                if (u.count)
                        qsort(u.rows, u.count, sizeof *u.rows, compare_rows);
                *ret_u = u;
        } else {
                maildir_uids_done(&u);
        }
        buffer_done(&keywords);
        return r;
}

void maildir_uids_done(struct maildir_uids *u)
{
        for (size_t i = 0; i < MAILDIR_KEYWORDS_MAX; i++)
                free(u->keywords[i]);
        free(u->rows);
        buffer_done(&u->text);
        *u = (struct maildir_uids) {0};
}

uint32_t maildir_uids_find(const struct maildir_uids *u, const char *name)
{
        char base[256];
        const struct maildir_uid_row wanted = {base, 0}, *found;
        const size_t len = strcspn(name, ":");

        if (len >= sizeof base || !u->count)
                return 0;
        memcpy(base, name, len);
        base[len] = '\0';
        found = bsearch(&wanted, u->rows, u->count, sizeof *u->rows, compare_rows);
        return found ? found->uid : 0;
}

static int write_file(int folder_fd, const char *name, struct span head, struct span text)
{
        _cleanup_(close_fd) int fd = openat(folder_fd, name,
                                            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                                            0600);
        int r = fd < 0 ? -errno : file_write_all(fd, head.p, head.len);

        return r == 0 && text.len ? file_write_all(fd, text.p, text.len) : r;
}

int maildir_uids_write(int folder_fd, const struct maildir_uids *u, struct span rows)
{
        struct buffer keywords = BUFFER_INIT(64 * 1024);
        char head[64];
        int r = 0;

        for (int i = 0; i < MAILDIR_KEYWORDS_MAX && r == 0; i++)
                if (u->keywords[i])
                        r = buffer_printf(&keywords, "%d %s\n", i, u->keywords[i]);
        if (r == 0 && keywords.len)
                r = write_file(folder_fd, "dovecot-keywords", buffer_span(&keywords),
                               (struct span) {0});
        buffer_done(&keywords);
        if (r < 0 || !u->uid_validity)
                return r;
        snprintf(head, sizeof head, "3 V%u N%u\n", u->uid_validity, u->uid_next);
        return write_file(folder_fd, "dovecot-uidlist", span_from_string(head), rows);
}
