#include "ctl/mail_folders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "store/mailbox.h"
#include "wire/imap/mailbox_name.h"

enum { DEPTH_MAX = 20, MAILBOX_MAX = 255, SUBSCRIPTIONS_MAX = 4 * 1024 * 1024 };

#define DOT "&AC4-"

/* ---- names of levels ---------------------------------------------------- */

/* `level`, of which dots are to be written another way where `is_dot_special`,
 * else only the first octet's. */
static int encode_level(struct span level, bool is_dot_special, struct buffer *out)
{
        int r = 0;

        for (bool is_first = true; r == 0 && level.len; is_first = false) {
                const size_t dot = is_dot_special || is_first ? span_find(level, '.') : SIZE_MAX;
                const size_t len = dot == SIZE_MAX || (!is_dot_special && dot) ? level.len : dot;

                if (len)
                        r = mailbox_name_encode(span_first(level, len), out);
                level = span_skip(level, len);
                if (r == 0 && level.len && level.p[0] == '.') {
                        r = buffer_append_string(out, DOT);
                        level = span_skip(level, 1);
                }
        }
        return r;
}

/* The name of a level; what is no modified UTF-7 is taken as it stands. */
static int decode_level(struct span text, struct buffer *out)
{
        const struct span dot = SPAN_LITERAL(DOT);
        const size_t begun = out->len;
        struct span rest = text;
        int r = 0;

        while (r == 0 && rest.len) {
                const char *at = memmem(rest.p, rest.len, dot.p, dot.len);
                const struct span part = span_first(rest, at ? (size_t) (at - rest.p) : rest.len);
                size_t len;
                char *p;

                r = buffer_reserve(out, MAILBOX_NAME_DECODED_MAX(part.len), &p);
                if (r == 0)
                        r = mailbox_name_decode(part, p, &len);
                if (r == 0)
                        buffer_commit(out, len);
                if (r == 0 && at)
                        r = buffer_append(out, ".", 1);
                rest = span_skip(rest, part.len + (at ? dot.len : 0));
        }
        if (r != -EINVAL)
                return r;
        out->len = begun;
        return buffer_append_span(out, text);
}

/* ---- the list ----------------------------------------------------------- */

static int add(struct mail_folders *f, const char *path, struct span mailbox)
{
        const bool is_good = account_check_name(mailbox) == 0;

        if (!is_good) {
                if (!f->bad)
                        f->bad = strdup(path);
                return f->bad ? 0 : -ENOMEM;
        }
        if (f->count == f->room) {
                const size_t room = f->room ? f->room * 2 : 64;
                struct mail_folder *list = reallocarray(f->list, room, sizeof *list);

                if (!list)
                        return -ENOMEM;
                f->list = list;
                f->room = room;
        }
        f->list[f->count] = (struct mail_folder) {strdup(path), strndup(mailbox.p, mailbox.len),
                                                  false};
        if (!f->list[f->count].path || !f->list[f->count].mailbox) {
                free(f->list[f->count].path);
                free(f->list[f->count].mailbox);
                return -ENOMEM;
        }
        f->count++;
        return 0;
}

void mail_folders_done(struct mail_folders *f)
{
        for (size_t i = 0; i < f->count; i++) {
                free(f->list[i].path);
                free(f->list[i].mailbox);
        }
        free(f->list);
        free(f->bad);
        *f = (struct mail_folders) {0};
}

static int compare(const void *a, const void *b)
{
        return strcmp(((const struct mail_folder *) a)->mailbox,
                      ((const struct mail_folder *) b)->mailbox);
}

static int finish(struct mail_folders *f, int r, struct mail_folders *ret_f)
{
        if (r < 0) {
                mail_folders_done(f);
                return r;
        }
        if (f->count)
                qsort(f->list, f->count, sizeof *f->list, compare);
        *ret_f = *f;
        return 0;
}

/* ---- Maildir++ ---------------------------------------------------------- */

static int decode_maildir(struct span name, char separator, struct buffer *out)
{
        struct span level;
        int r = 0;

        buffer_clear(out);
        while (r == 0 && span_split(&name, separator, &level)) {
                if (out->len)
                        r = buffer_append(out, "/", 1);
                if (r == 0)
                        r = decode_level(level, out);
        }
        return r;
}

static void subscribe(struct mail_folders *f, struct span name)
{
        for (size_t i = 0; i < f->count; i++)
                if (span_equal(span_from_string(f->list[i].mailbox), name))
                        f->list[i].is_subscribed = true;
}

/* "Archive.2026" in a line, or, below a line "V<TAB>2" and an empty one,
 * "Archive<TAB>2026". */
static int read_subscriptions(const char *root, struct mail_folders *f)
{
        struct buffer text = BUFFER_INIT(SUBSCRIPTIONS_MAX), name = BUFFER_INIT(4096);
        char path[PATH_MAX];
        struct span rest, line;
        bool is_new;
        int r;

        if (snprintf(path, sizeof path, "%s/subscriptions", root) >= (int) sizeof path)
                return -ENAMETOOLONG;
        r = file_read_at(AT_FDCWD, path, &text);
        rest = buffer_span(&text);
        is_new = span_starts_with_nocase(rest, SPAN_LITERAL("V\t"));
        while (r == 0 && rest.len && span_split(&rest, '\n', &line)) {
                if (!line.len || (is_new && span_starts_with_nocase(line, SPAN_LITERAL("V\t"))))
                        continue;
                if (decode_maildir(line, is_new ? '\t' : '.', &name) == 0)
                        subscribe(f, buffer_span(&name));
        }
        buffer_done(&name);
        buffer_done(&text);
        return r == -ENOENT ? 0 : r;
}

static bool is_maildir(const char *path)
{
        char cur[PATH_MAX];
        struct stat st;

        return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
               snprintf(cur, sizeof cur, "%s/cur", path) < (int) sizeof cur &&
               lstat(cur, &st) == 0 && S_ISDIR(st.st_mode);
}

int mail_folders_maildir(const char *root, struct mail_folders *ret_f)
{
        struct mail_folders f = {0};
        struct buffer name = BUFFER_INIT(4096);
        DIR *dir = opendir(root);
        const struct dirent *each;
        int r = dir ? add(&f, root, SPAN_LITERAL("INBOX")) : -errno;

        while (r == 0 && (each = readdir(dir))) {
                char path[PATH_MAX];

                if (each->d_name[0] != '.' || !each->d_name[1] || each->d_name[1] == '.')
                        continue;
                if (snprintf(path, sizeof path, "%s/%s", root, each->d_name) >= (int) sizeof path)
                        r = -ENAMETOOLONG;
                else if (is_maildir(path))
                        r = decode_maildir(span_from_string(each->d_name + 1), '.', &name);
                else
                        continue;
                if (r == 0)
                        r = add(&f, path, buffer_span(&name));
        }
        if (dir)
                closedir(dir);
        if (r == 0)
                r = read_subscriptions(root, &f);
        buffer_done(&name);
        return finish(&f, r, ret_f);
}

int mail_folders_maildir_path(const char *root, struct span mailbox, struct buffer *path)
{
        struct span level;
        int r;

        buffer_clear(path);
        r = buffer_append_string(path, root);
        if (r == 0 && !span_equal(mailbox, SPAN_LITERAL("INBOX"))) {
                r = buffer_append(path, "/", 1);
                while (r == 0 && mailbox.len && span_split(&mailbox, '/', &level)) {
                        r = buffer_append(path, ".", 1);
                        if (r == 0)
                                r = encode_level(level, true, path);
                }
        }
        return r < 0 ? -ENAMETOOLONG : buffer_append(path, "", 1);
}

int mail_folders_put_subscriptions(const char *root, struct span names)
{
        struct buffer text = BUFFER_INIT(SUBSCRIPTIONS_MAX);
        char path[PATH_MAX];
        struct span name, level;
        int r = buffer_append_string(&text, "V\t2\n\n");

        while (r == 0 && names.len && span_split(&names, '\0', &name)) {
                const size_t begun = text.len;

                while (r == 0 && name.len && span_split(&name, '/', &level)) {
                        if (text.len > begun)
                                r = buffer_append(&text, "\t", 1);
                        if (r == 0)
                                r = encode_level(level, true, &text);
                }
                if (r == 0 && text.len > begun)
                        r = buffer_append(&text, "\n", 1);
        }
        if (r == 0 && snprintf(path, sizeof path, "%s/subscriptions", root) >= (int) sizeof path)
                r = -ENAMETOOLONG;
        if (r == 0)
                r = file_replace_at(AT_FDCWD, path, buffer_span(&text), 0600);
        buffer_done(&text);
        return r;
}

/* ---- mbox --------------------------------------------------------------- */

/* Files that programs keep beside their mailboxes. */
static bool is_foreign(struct span name)
{
        static const struct span ends[] = { SPAN(".lock"), SPAN(".msf"), SPAN(".dat") };

        if (name.p[0] == '.' || span_starts_with_nocase(name, SPAN_LITERAL("dovecot")) ||
            span_equal(name, SPAN_LITERAL("subscriptions")))
                return true;
        for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
                if (span_ends_with_nocase(name, ends[i]))
                        return true;
        return false;
}

static int walk(const char *root, struct span above, int depth, struct mail_folders *f);

static int walk_entry(const char *root, struct span above, int depth, struct span name,
                      struct mail_folders *f)
{
        struct buffer mailbox = BUFFER_INIT(8192);
        char path[PATH_MAX];
        struct stat st;
        int r;

        if (snprintf(path, sizeof path, "%s/%s", root, name.p) >= (int) sizeof path)
                return -ENAMETOOLONG;
        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (S_ISDIR(st.st_mode) && span_ends_with_nocase(name, SPAN_LITERAL(".sbd")))
                name.len -= 4;
        r = buffer_append_span(&mailbox, above);
        if (r == 0 && above.len)
                r = buffer_append(&mailbox, "/", 1);
        if (r == 0)
                r = decode_level(name, &mailbox);
        if (r == 0 && S_ISDIR(st.st_mode))
                r = walk(path, buffer_span(&mailbox), depth + 1, f);
        else if (r == 0 && S_ISREG(st.st_mode))
                r = add(f, path, buffer_span(&mailbox));
        buffer_done(&mailbox);
        return r;
}

static int walk(const char *root, struct span above, int depth, struct mail_folders *f)
{
        DIR *dir = depth < DEPTH_MAX ? opendir(root) : NULL;
        const struct dirent *each;
        int r = 0;

        if (!dir)
                return depth < DEPTH_MAX ? -errno : 0;
        while (r == 0 && (each = readdir(dir)))
                if (!is_foreign(span_from_string(each->d_name)))
                        r = walk_entry(root, above, depth, span_from_string(each->d_name), f);
        closedir(dir);
        return r;
}

int mail_folders_mbox(const char *root, struct mail_folders *ret_f)
{
        struct mail_folders f = {0};

        return finish(&f, walk(root, (struct span) {0}, 0, &f), ret_f);
}

/* Makes the folder that is asked for, or one beside a file of that name. */
static int make_folder(struct buffer *path)
{
        struct stat st;
        int r = buffer_append(path, "", 1);

        if (r < 0)
                return r;
        if (lstat(buffer_span(path).p, &st) == 0 && S_ISREG(st.st_mode)) {
                path->len--;
                r = buffer_append(path, ".sbd", 5);
        }
        if (r == 0 && mkdir(buffer_span(path).p, 0700) < 0 && errno != EEXIST)
                r = -errno;
        path->len--;
        return r;
}

int mail_folders_mbox_path(const char *root, struct span mailbox, struct buffer *path)
{
        struct span level;
        int r;

        buffer_clear(path);
        r = buffer_append_string(path, root);
        while (r == 0 && span_split(&mailbox, '/', &level)) {
                if (r == 0)
                        r = make_folder(path);
                if (r == 0)
                        r = buffer_append(path, "/", 1);
                if (r == 0)
                        r = encode_level(level, false, path);
                if (!mailbox.p)
                        break;
        }
        if (r == -EMSGSIZE)
                return -ENAMETOOLONG;
        return r < 0 ? r : buffer_append(path, "", 1);
}
