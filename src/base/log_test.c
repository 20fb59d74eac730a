/* Lines cannot be forged, cut lines stay lines, buffered ones are not lost. */
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/test.h"

static char text[64 * 1024];

/* Runs `write_some` with standard error in a pipe; what came is in `text`. */
static size_t capture(void (*write_some)(void))
{
        int fds[2], saved = dup(STDERR_FILENO);
        ssize_t n;

        assert_int_equal(0, pipe2(fds, O_NONBLOCK));
        dup2(fds[1], STDERR_FILENO);
        write_some();
        dup2(saved, STDERR_FILENO);
        close(saved);
        close(fds[1]);
        n = read(fds[0], text, sizeof text - 1);
        close(fds[0]);
        text[n > 0 ? n : 0] = '\0';
        return n > 0 ? (size_t) n : 0;
}

static void forge(void)
{
        log_event(LOG_NOTICE, "test", LOG_TEXT("a", "x\nerror edge/0 forged b=1"),
                  LOG_TEXT("c", "say \"hi\""), LOG_TEXT("d", ""), LOG_U64("n", 7));
}

TEST(values_cannot_forge_lines_or_fields)
{
        capture(forge);
        assert_string_equal(text, "notice hayauma test a=\"x\\x0aerror edge/0 forged b=1\" "
                                  "c=\"say \\\"hi\\\"\" d=\"\" n=7\n");
}

static void overflow(void)
{
        static char blanks[4096];
        struct log_field fields[16];

        memset(blanks, ' ', sizeof blanks - 1);
        for (size_t i = 0; i < 16; i++)
                fields[i] = LOG_TEXT("field", blanks);
        log_write(LOG_NOTICE, "test", fields, 16);
}

TEST(a_line_too_long_is_cut)
{
        assert_true(capture(overflow) <= LOG_LINE_MAX);
        assert_int_equal('\n', text[strlen(text) - 1]);
        assert_int_equal(strlen(text) - 1, strcspn(text, "\n"));
}

static unsigned asked;

static void ask(void *arg)
{
        (void) arg;
        asked++;
}

static void buffer_two(void)
{
        log_set_buffered(ask, NULL);
        log_event(LOG_NOTICE, "first", LOG_U64("n", 1));
        log_event(LOG_NOTICE, "second", LOG_U64("n", 2));
}

static void flush_them(void)
{
        log_flush();
        log_event(LOG_ERROR, "third", LOG_U64("n", 3));
        log_set_buffered(NULL, NULL);
}

TEST(buffered_lines_wait_for_the_flush_and_errors_do_not)
{
        assert_int_equal(0, capture(buffer_two));
        assert_int_equal(1, asked);
        capture(flush_them);
        assert_string_equal(text, "notice hayauma first n=1\nnotice hayauma second n=2\n"
                                  "error hayauma third n=3\n");
}

TEST_MAIN()
