#include "process/agent/agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { PIECE = 64 * 1024, PENDING_MAX = 256 * 1024 * 1024 };

/* "From hanako@example.jp Mon Jan  2 15:04:05 2006": blanks in an address would
 * make the line another one. */
static int put_first_line(struct agent_body *b, const struct agent_task *t, int64_t now_s)
{
        const time_t now = (time_t) now_s;
        struct tm tm;
        char date[40];
        int r = buffer_append_string(&b->pending, "From ");

        if (!gmtime_r(&now, &tm) ||
            strftime(date, sizeof date, " %a %b %e %H:%M:%S %Y\n", &tm) == 0)
                return -EINVAL;
        if (r == 0 && t->mail_from.len == 0)
                r = buffer_append_string(&b->pending, "MAILER-DAEMON");
        for (size_t i = 0; r == 0 && i < t->mail_from.len; i++) {
                const unsigned char c = (unsigned char) t->mail_from.p[i];

                r = buffer_append(&b->pending, c <= ' ' || c == 127 ? "-" : (const char *) &c, 1);
        }
        return r < 0 ? r : buffer_append_string(&b->pending, date);
}

int agent_body_open(struct agent_body *b, const struct agent_task *t, bool quotes, int64_t now_s)
{
        void *map = t->body_len ? mmap(NULL, t->body_len, PROT_READ, MAP_PRIVATE, t->body_fd, 0)
                                : NULL;
        int r;

        if (map == MAP_FAILED)
                return -errno;
        *b = (struct agent_body) {.octets = span_make(map, t->body_len), .quotes = quotes,
                                  .pending = BUFFER_INIT(PENDING_MAX)};
        b->rest = b->octets;
        r = put_first_line(b, t, now_s);
        if (r < 0)
                agent_body_close(b);
        return r;
}

void agent_body_close(struct agent_body *b)
{
        if (b->octets.len)
                munmap((void *) (uintptr_t) b->octets.p, b->octets.len);
        buffer_done(&b->pending);
}

static bool is_from_line(struct span line)
{
        size_t i = 0;

        while (i < line.len && line.p[i] == '>')
                i++;
        return line.len - i >= 5 && memcmp(line.p + i, "From ", 5) == 0;
}

static int put_line(struct agent_body *b, struct span line)
{
        int r = 0;

        if (line.len && line.p[line.len - 1] == '\r')
                line.len--;
        if (b->quotes && is_from_line(line))
                r = buffer_append(&b->pending, ">", 1);
        if (r == 0)
                r = buffer_append_span(&b->pending, line);
        return r < 0 ? r : buffer_append(&b->pending, "\n", 1);
}

int agent_body_next(struct agent_body *b, struct span *ret_octets)
{
        struct span line;
        int r = 0;

        while (r == 0 && b->pending.len < PIECE && b->rest.len) {
                span_split(&b->rest, '\n', &line);
                r = put_line(b, line);
        }
        if (r == 0)
                *ret_octets = buffer_span(&b->pending);
        return r;
}
