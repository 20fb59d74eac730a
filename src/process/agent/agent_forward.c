/* ~/.forward, in the form of a list that aliases include. */
#include "process/agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "config/snapshot_build.h"
#include "config/table.h"

enum { FORWARD_MAX = 16 * 1024, ERROR_MAX = 2000 };

static const struct span name = SPAN(".forward");

/* What somebody else could have written there is not his will. */
static int read_text(const struct agent_task *t, struct buffer *text)
{
        _cleanup_(close_fd) int fd = open(".forward", O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
                                                              O_CLOEXEC | O_NOCTTY);
        struct stat file, folder;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &file) < 0 || stat(".", &folder) < 0)
                return -errno;
        if (!S_ISREG(file.st_mode) || file.st_mode & (S_IWGRP | S_IWOTH) ||
            folder.st_mode & (S_IWGRP | S_IWOTH) || (file.st_uid != t->uid && file.st_uid != 0))
                return -EPERM;
        return file_read_fd(fd, text);
}

/* As a snapshot of that one list, which the parser of the aliases makes. */
static int parse(struct span text, struct buffer *error, struct snapshot **ret_s)
{
        struct snapshot_build *b = NULL;
        int fd = -1, r = snapshot_build_new(1, 1, &b);

        if (r == 0)
                r = table_include_parse(text, name, b, error);
        if (r == 0)
                r = snapshot_build_finish(b, error, &fd);
        if (r == 0)
                r = snapshot_open(fd, ret_s);
        if (fd >= 0)
                close(fd);
        snapshot_build_free(b);
        return r;
}

static int load(const struct agent_task *t, struct snapshot **ret_s, struct span *ret_list)
{
        struct buffer text = BUFFER_INIT(FORWARD_MAX), error = BUFFER_INIT(ERROR_MAX);
        int r = t->has_no_account ? -ENOENT : read_text(t, &text);

        if (r == 0)
                r = parse(buffer_span(&text), &error, ret_s);
        if (r == 0 && !snapshot_get(*ret_s, SNAPSHOT_ALIASES, SPAN_LITERAL(":include:.forward"),
                                    ret_list, NULL)) {
                *ret_s = snapshot_close(*ret_s);
                r = -ENOENT;
        }
        if (r < 0 && r != -ENOENT)
                log_event(LOG_WARNING, "forward_not_used", LOG_SPAN("user", t->user),
                          LOG_ERRNO("error", r), LOG_SPAN("text", span_trim(buffer_span(&error))));
        buffer_done(&text);
        buffer_done(&error);
        return r;
}

static bool is_agent_line(struct span line)
{
        return line.len && (line.p[0] == '|' || line.p[0] == '/');
}

/* "\taro", "taro" and his own address are his mailbox. */
static int put_address(const struct agent_task *t, struct span line, struct buffer *out)
{
        const struct span own = t->recipient_count ? t->recipients[0].rcpt_to
                                                   : (struct span) {NULL, 0};
        const size_t at = span_find_last(own, '@');

        if (line.p[0] == '\\')
                line = span_skip(line, 1);
        if (span_equal_nocase(line, t->user) || span_equal_nocase(line, own))
                return buffer_append_string(out, "mailbox\n");
        if (span_starts_with_nocase(line, SPAN_LITERAL(":include:")))
                return -EINVAL;
        return buffer_printf(out, "address %.*s%.*s\n", (int) line.len, line.p,
                             span_find(line, '@') == SIZE_MAX ? (int) (own.len - at) : 0,
                             at == SIZE_MAX ? "" : own.p + at);
}

int agent_forward_read(const struct agent_task *t, struct buffer *out)
{
        const size_t start = out->len;
        struct snapshot *s = NULL;
        struct span list = {NULL, 0}, line;
        unsigned agents = 0;
        int r = load(t, &s, &list);

        while (r == 0 && list.len && span_split(&list, '\n', &line)) {
                if (is_agent_line(line))
                        r = buffer_printf(out, "agent %04u\n", ++agents);
                else if (line.len)
                        r = put_address(t, line, out);
        }
        snapshot_close(s);
        if (r < 0)
                out->len = start; /* all of it or his mailbox */
        return r == -ENOMEM ? r : out->len > start ? 0 : buffer_append_string(out, "mailbox\n");
}

bool agent_forward_find(struct agent_task *t)
{
        struct snapshot *s = NULL;
        struct span list = {NULL, 0}, line;
        unsigned agents = 0;

        if (load(t, &s, &list) < 0)
                return false;
        while (list.len && span_split(&list, '\n', &line))
                if (is_agent_line(line) && ++agents == t->number)
                        t->what = arena_copy(&t->arena, line);
        snapshot_close(s);
        return t->what.len > 0;
}
