#include "process/log_pipe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/octets.h"
#include "base/span.h"

enum {
        READ_MAX = 64 * 1024,
        LINE_MAX_BYTES = LOG_LINE_MAX, /* what log_write() writes at most */
        OUT_MAX = 4 * READ_MAX,
};

struct log_pipe {
        char name[32];
        size_t name_len;
        int fd;
        struct poller *poller;
        bool is_skipping; /* within a line that was too long; its start is out */
        size_t line_len;
        char line[LINE_MAX_BYTES];
        struct buffer out;
};

/* "notice edge/0 event …", printable throughout. */
static bool is_event_of(struct span line, struct span name)
{
        struct span rest = line, level, process;

        return span_split(&rest, ' ', &level) && log_level_parse(level) >= 0 &&
               span_split(&rest, ' ', &process) && span_equal(process, name) && rest.len > 0 &&
               octets_until(line, octets_controls) == line.len;
}

static void put_quoted(struct buffer *b, struct span line)
{
        for (size_t i = 0; i < line.len; i++) {
                const unsigned char c = (unsigned char) line.p[i];

                if (c == '"' || c == '\\')
                        buffer_printf(b, "\\%c", c);
                else if (c < ' ' || c == 127)
                        buffer_printf(b, "\\x%02x", c);
                else
                        buffer_append(b, &line.p[i], 1);
        }
}

/* Out of memory or room, the line is lost: the log is not worth the mail. */
static void put_line(struct log_pipe *p, struct span time, struct span line)
{
        if (line.len == 0)
                return;
        buffer_append_span(&p->out, time);
        if (is_event_of(line, span_make(p->name, p->name_len))) {
                buffer_append_span(&p->out, line);
        } else {
                buffer_printf(&p->out, "warning %s stderr text=\"", p->name);
                put_quoted(&p->out, line);
                buffer_append(&p->out, "\"", 1);
        }
        buffer_append(&p->out, "\n", 1);
}

static void write_out(struct log_pipe *p)
{
        const struct span text = buffer_span(&p->out);

        (void) file_write_all(STDERR_FILENO, text.p, text.len); /* nowhere to complain */
        buffer_clear(&p->out);
}

/* More of a line; what is too long goes out without its rest. */
static void add_to_line(struct log_pipe *p, struct span time, struct span octets)
{
        const size_t room = sizeof p->line - p->line_len;
        const size_t n = octets.len < room ? octets.len : room;

        if (n)
                memcpy(p->line + p->line_len, octets.p, n);
        p->line_len += n;
        if (n < octets.len && !p->is_skipping) {
                put_line(p, time, span_make(p->line, p->line_len));
                p->is_skipping = true;
        }
}

/* The end of the line has come. */
static void end_line(struct log_pipe *p, struct span time, struct span octets)
{
        if (p->line_len == 0 && !p->is_skipping && octets.len <= sizeof p->line) {
                put_line(p, time, octets); /* it came as a whole */
                return;
        }
        add_to_line(p, time, octets);
        if (!p->is_skipping)
                put_line(p, time, span_make(p->line, p->line_len));
        p->is_skipping = false;
        p->line_len = 0;
}

static void take(struct log_pipe *p, struct span in)
{
        char text[CLOCK_DATE_MAX + 1];
        struct span time = span_from_string(clock_format_iso(clock_now_us(), text));

        text[time.len++] = ' '; /* in front of what follows it */
        while (in.len) {
                const size_t end = span_find(in, '\n');

                if (end == SIZE_MAX) {
                        add_to_line(p, time, in);
                        break;
                }
                end_line(p, time, span_first(in, end));
                in = span_skip(in, end + 1);
                if (p->out.len > READ_MAX)
                        write_out(p);
        }
        write_out(p);
}

/* False at EOF, or when nothing is there. */
static bool read_some(struct log_pipe *p)
{
        static char in[READ_MAX];
        ssize_t n = read(p->fd, in, sizeof in);

        if (n > 0)
                take(p, span_make(in, (size_t) n));
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
                poller_set(p->poller, 0);
        return n > 0;
}

static void on_ready(void *arg, int events)
{
        (void) events;
        read_some(arg);
}

int log_pipe_new(struct loop *l, int fd, const char *name, struct log_pipe **ret_p)
{
        struct log_pipe *p = calloc(1, sizeof *p);
        int r;

        if (!p)
                return -ENOMEM;
        snprintf(p->name, sizeof p->name, "%s", name);
        p->name_len = strlen(p->name);
        p->out = BUFFER_INIT(OUT_MAX);
        p->fd = fd;
        r = poller_new(l, fd, on_ready, p, &p->poller);
        if (r < 0) {
                free(p);
                return r;
        }
        poller_set(p->poller, POLL_READ);
        *ret_p = p;
        return 0;
}

struct log_pipe *log_pipe_free(struct log_pipe *p)
{
        if (!p)
                return NULL;
        while (read_some(p))
                ;
        if (p->line_len)
                take(p, SPAN_LITERAL("\n"));
        poller_free(p->poller);
        close(p->fd);
        buffer_done(&p->out);
        free(p);
        return NULL;
}
