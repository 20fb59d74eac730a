/* What is written about options agrees with their table, and every sample is a
 * configuration that can be used. With HAYAUMA_WRITE_MANUAL set, the generated
 * parts are written instead of compared. */
#include "config/manual.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/test.h"
#include "config/config.h"
#include "config/options.h"

#define BEGIN "; options: made from the option table\n"
#define END   "; end of options\n"

static struct buffer read_file(const char *path)
{
        struct buffer b = BUFFER_INIT(1 << 20);

        CHECK(file_read_at(AT_FDCWD, path, &b) == 0, path);
        return b;
}

static size_t find(struct span in, const char *what)
{
        const char *at = memmem(in.p, in.len, what, strlen(what));

        CHECK(at, what);
        return (size_t) (at - in.p);
}

static void compare_or_write(const char *path, struct span have, struct span want)
{
        if (getenv("HAYAUMA_WRITE_MANUAL"))
                assert_int_equal(file_replace_at(AT_FDCWD, path, want, 0644), 0);
        else if (!span_equal(have, want))
                fail_msg("%s does not agree with the option table: run HAYAUMA_WRITE_MANUAL=1 "
                         "build/manual_test", path);
}

TEST(manual_page_agrees_with_the_table)
{
        const char *path = HAYAUMA_SOURCE_ROOT "/man/hayauma.conf.5.scd";
        struct buffer have = read_file(path), want = BUFFER_INIT(1 << 20);
        const struct span text = buffer_span(&have);
        const size_t begin = find(text, BEGIN) + strlen(BEGIN), end = find(text, END);

        assert_int_equal(buffer_append_span(&want, span_first(text, begin)), 0);
        assert_int_equal(buffer_append_string(&want, "\n"), 0);
        assert_int_equal(manual_write_options(&want), 0);
        assert_int_equal(buffer_append_span(&want, span_skip(text, end)), 0);
        compare_or_write(path, text, buffer_span(&want));
        buffer_done(&have);
        buffer_done(&want);
}

TEST(sample_of_all_options_agrees_with_the_table)
{
        const char *path = HAYAUMA_SOURCE_ROOT "/conf/samples/options.conf";
        struct buffer want = BUFFER_INIT(1 << 20);
        struct buffer have = BUFFER_INIT(1 << 20);

        (void) file_read_at(AT_FDCWD, path, &have);
        assert_int_equal(manual_write_sample(&want), 0);
        compare_or_write(path, buffer_span(&have), buffer_span(&want));
        buffer_done(&have);
        buffer_done(&want);
}

/* With the comment signs taken off, it is read without a complaint about any
 * option; only domains in two lists may be. */
TEST(sample_of_all_options_is_well_formed)
{
        struct buffer b = read_file(HAYAUMA_SOURCE_ROOT "/conf/samples/options.conf");
        struct buffer error = BUFFER_INIT(1 << 16), text = BUFFER_INIT(1 << 20);
        struct span rest = buffer_span(&b), line;
        struct config *c = NULL;

        while (span_split(&rest, '\n', &line)) {
                const size_t sign = span_find(line, '#');

                if (sign != SIZE_MAX && sign + 1 < line.len && line.p[sign + 1] != ' ')
                        line = span_skip(line, sign + 1);
                assert_int_equal(buffer_append_span(&text, line), 0);
                assert_int_equal(buffer_append_string(&text, "\n"), 0);
        }
        config_parse(buffer_span(&text), "options.conf", &c, &error);
        for (rest = buffer_span(&error); rest.len && span_split(&rest, '\n', &line);)
                if (line.len && !memmem(line.p, line.len, "is in domains too", 17))
                        fail_msg("%.*s", (int) line.len, line.p);
        config_free(c);
        buffer_done(&b);
        buffer_done(&text);
        buffer_done(&error);
}

TEST(samples_can_be_used)
{
        static const char *const names[] = {"hayauma.conf",          "samples/gateway.conf",
                                            "samples/relay.conf",    "samples/mailbox.conf",
                                            "samples/backup-mx.conf", "samples/fallback.conf"};

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
                struct buffer error = BUFFER_INIT(1 << 16);
                struct config *c = NULL;
                char path[4096];

                snprintf(path, sizeof path, "%s/conf/%s", HAYAUMA_SOURCE_ROOT, names[i]);
                if (config_read(path, &c, &error) < 0)
                        fail_msg("%.*s", (int) error.len, buffer_span(&error).p);
                config_free(c);
        }
}

/* hayauma.conf(5) shows whole files before the rules: each must be good. */
TEST(examples_in_the_manual_can_be_used)
{
        struct buffer b = read_file(HAYAUMA_SOURCE_ROOT "/man/hayauma.conf.5.scd");
        struct span rest = span_first(buffer_span(&b), find(buffer_span(&b), BEGIN));
        unsigned count = 0;
        const char *at;

        while ((at = memmem(rest.p, rest.len, "```\n", 4))) {
                struct buffer error = BUFFER_INIT(1 << 16);
                struct config *c = NULL;
                struct span example;

                rest = span_skip(rest, (size_t) (at - rest.p) + 4);
                example = span_first(rest, find(rest, "```\n"));
                rest = span_skip(rest, example.len + 4);
                if (!memmem(example.p, example.len, "hostname", 8))
                        continue; /* a part, not a whole */
                count++;
                if (config_parse(example, "hayauma.conf(5)", &c, &error) < 0)
                        fail_msg("%.*s", (int) error.len, buffer_span(&error).p);
                config_free(c);
                buffer_done(&error);
        }
        assert_true(count >= 3);
        buffer_done(&b);
}

TEST_MAIN()
