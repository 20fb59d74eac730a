/* The message as programs and files get it, and what their ends mean. */
#include "process/agent/agent.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/test.h"

static const struct {
        const char *name, *mail_from, *octets, *want;
        bool quotes;
} bodies[] = {
        { "usual", "a@b.example", "To: x\r\n\r\ntext\r\n",
          "From a@b.example Thu Jan  1 00:00:00 1970\nTo: x\n\ntext\n", false },
        { "null sender", "", "x\r\n", "From MAILER-DAEMON Thu Jan  1 00:00:00 1970\nx\n", false },
        { "blanks in the sender", "\"a b\"@c", "", "From \"a-b\"@c Thu Jan  1 00:00:00 1970\n",
          false },
        { "no line end", "a", "x\r\ny", "From a Thu Jan  1 00:00:00 1970\nx\ny\n", true },
        { "quoted", "a", "From x\r\n>From y\r\n From z\r\nFromage\r\n>>From \r\n",
          "From a Thu Jan  1 00:00:00 1970\n>From x\n>>From y\n From z\nFromage\n>>>From \n",
          true },
        { "not quoted", "a", "From x\r\n", "From a Thu Jan  1 00:00:00 1970\nFrom x\n", false },
        { "bare CR and NUL", "a", "x\ry\r\n", "From a Thu Jan  1 00:00:00 1970\nx\ry\n", true },
};

TEST(messages_are_given_with_unix_line_ends)
{
        for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
                struct agent_task t = {.mail_from = span_from_string(bodies[i].mail_from),
                                       .body_len = strlen(bodies[i].octets)};
                struct buffer got = BUFFER_INIT(1 << 20);
                struct agent_body b;
                struct span octets;

                t.body_fd = memfd_create("body", MFD_CLOEXEC);
                CHECK(write(t.body_fd, bodies[i].octets, t.body_len) == (ssize_t) t.body_len,
                      bodies[i].name);
                CHECK(agent_body_open(&b, &t, bodies[i].quotes, 0) == 0, bodies[i].name);
                while (agent_body_next(&b, &octets) == 0 && octets.len) {
                        CHECK(buffer_append(&got, octets.p, 1) == 0, bodies[i].name);
                        buffer_consume(&b.pending, 1); /* as slowly as can be */
                }
                if (!span_equal(buffer_span(&got), span_from_string(bodies[i].want)))
                        print_error("%.*s\n", (int) got.len, buffer_span(&got).p);
                CHECK(span_equal(buffer_span(&got), span_from_string(bodies[i].want)),
                      bodies[i].name);
                agent_body_close(&b);
                buffer_done(&got);
                close(t.body_fd);
        }
}

/* A status as waitpid() gives it. */
#define EXITED(n) ((n) << 8)

static const struct {
        int status;
        const char *output;
        uint16_t code;
        const char *enhanced, *text;
} ends[] = {
        { EXITED(0), "", 250, "2.1.5", "the program took it" },
        { EXITED(75), "", 450, "4.3.0", "the program wants to be asked later" },
        { EXITED(67), "no taro\n", 550, "5.1.1", "the program knows no such user: no taro" },
        { EXITED(77), " a\n\n b\t\x01\xff ", 550, "5.7.0",
          "the program says it is not allowed: a b ??" },
        { EXITED(127), "", 451, "4.3.5", "the program cannot be run" },
        { EXITED(3), "x", 554, "5.3.0", "the program ended with status 3: x" },
        { 9, "", 451, "4.3.0", "the program was ended by signal KILL" },
};

TEST(what_the_end_of_a_program_means)
{
        for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
                struct agent_reply r = {0};

                agent_program_judge(ends[i].status, span_from_string(ends[i].output), &r);
                CHECK(r.code == ends[i].code, ends[i].text);
                CHECK(strcmp(r.enhanced, ends[i].enhanced) == 0, ends[i].text);
                CHECK(strcmp(r.text, ends[i].text) == 0, ends[i].text);
        }
}

TEST(what_a_program_writes_is_bounded)
{
        struct agent_reply r = {0};
        char output[4096];

        memset(output, 'x', sizeof output);
        agent_program_judge(EXITED(1), span_make(output, sizeof output), &r);
        CHECK(strlen(r.text) <= AGENT_REPLY_MAX && r.code == 554, "bounded");
}

TEST_MAIN()
