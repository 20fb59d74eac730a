/* What a child may get into the log: its own events as they stand, anything
 * else only as the quoted text of an event that says whose it is. */
#include "process/log_pipe.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/log.h"
#include "base/test.h"

#define EIGHTY_OCTETS                                                                              \
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
        const char *name, *in, *out; /* out without the time of each line */
} cases[] = {
        { "an event", "notice edge/0 a b=c\n", "notice edge/0 a b=c\n" },
        { "two events", "info edge/0 a\nerror edge/0 b\n", "info edge/0 a\nerror edge/0 b\n" },
        { "UTF-8", "info edge/0 a b=\xe6\x97\xa9\n", "info edge/0 a b=\xe6\x97\xa9\n" },
        { "empty lines", "\n\n", "" },
        { "no line end at the end", "info edge/0 a", "info edge/0 a\n" },
        { "another's name", "notice keeper/0 a\n",
          "warning edge/0 stderr text=\"notice keeper/0 a\"\n" },
        { "another edge's name", "notice edge/00 a\n",
          "warning edge/0 stderr text=\"notice edge/00 a\"\n" },
        { "no level", "hello edge/0 a\n", "warning edge/0 stderr text=\"hello edge/0 a\"\n" },
        { "a library's words", "unbound[1:0] error: \"x\\y\"\n",
          "warning edge/0 stderr text=\"unbound[1:0] error: \\\"x\\\\y\\\"\"\n" },
        { "a forged line behind a CR", "info edge/0 a\rnotice keeper/0 b\n",
          "warning edge/0 stderr text=\"info edge/0 a\\x0dnotice keeper/0 b\"\n" },
        { "terminal controls", "info edge/0 \x1b[2J\n",
          "warning edge/0 stderr text=\"info edge/0 \\x1b[2J\"\n" },
        { "no event", "info edge/0\n", "warning edge/0 stderr text=\"info edge/0\"\n" },
};

/* Runs `in`, cut in two at `cut`, through a pipe; what came out, without times. */
static void run(const char *in, size_t cut, struct buffer *out)
{
        struct loop *l = loop_new();
        struct log_pipe *p;
        struct buffer raw = BUFFER_INIT(1 << 20);
        char path[] = "/tmp/hayauma-log-XXXXXX";
        const int file = mkstemp(path), saved = dup(STDERR_FILENO);
        const size_t time_len = strlen("2026-11-22T05:20:40.230000Z ");
        struct span rest, line;
        int fds[2];

        assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
        assert_int_equal(dup2(file, STDERR_FILENO), STDERR_FILENO);
        assert_int_equal(log_pipe_new(l, fds[0], "edge/0", &p), 0);
        assert_int_equal(write(fds[1], in, cut), (ssize_t) cut);
        loop_run_once(l, 10);
        assert_int_equal(write(fds[1], in + cut, strlen(in) - cut), (ssize_t) (strlen(in) - cut));
        close(fds[1]);
        log_pipe_free(p);
        dup2(saved, STDERR_FILENO);
        close(saved);
        loop_free(l);
        lseek(file, 0, SEEK_SET);
        assert_int_equal(file_read_fd(file, &raw), 0);
        rest = buffer_span(&raw);
        while (rest.p && span_split(&rest, '\n', &line))
                if (line.len > time_len) {
                        buffer_append_span(out, span_skip(line, time_len));
                        buffer_append(out, "\n", 1);
                }
        buffer_done(&raw);
        close(file);
        unlink(path);
}

TEST(nobody_speaks_in_anothers_name)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                for (size_t cut = 0; cut <= strlen(cases[i].in); cut++) {
                        struct buffer out = BUFFER_INIT(1 << 16);

                        run(cases[i].in, cut, &out);
                        CHECK(span_equal(buffer_span(&out), span_from_string(cases[i].out)),
                              cases[i].name);
                        buffer_done(&out);
                }
        }
}

TEST(a_line_without_end_is_cut)
{
        struct buffer in = BUFFER_INIT(1 << 16), out = BUFFER_INIT(1 << 16);

        buffer_append_string(&in, "info edge/0 a b=");
        while (in.len < 2 * (size_t) LOG_LINE_MAX)
                buffer_append_string(&in, EIGHTY_OCTETS);
        buffer_append(&in, "\ninfo edge/0 next\n", sizeof "\ninfo edge/0 next\n"); /* with NUL */
        run(in.data, 100, &out);
        CHECK(out.len < LOG_LINE_MAX + 100, "cut");
        CHECK(span_ends_with_nocase(buffer_span(&out), SPAN_LITERAL("\ninfo edge/0 next\n")),
              "the next line is whole");
        buffer_done(&in);
        buffer_done(&out);
}

TEST_MAIN()
