/* Command lines into words: what each becomes, and that cuts break nothing. */
#include "config/command_line.h"

#include <string.h>

#include "base/test.h"

/* Words with "|" between them; NULL: refused. */
static const struct {
        const char *text, *want;
} cases[] = {
        { "/bin/cat", "/bin/cat" },
        { "  /bin/cat  -n\t-b ", "/bin/cat|-n|-b" },
        { "/bin/x 'a b' \"c d\" e'f'\"g\"", "/bin/x|a b|c d|efg" },
        { "/bin/x '' \"\"", "/bin/x||" },
        { "/bin/x '$HOME; a | b > c'", "/bin/x|$HOME; a | b > c" },
        { "/bin/x \"a\\\"b\\\\c\\d\"", "/bin/x|a\"b\\c\\d" },
        { "/bin/x a\\ b\\$c", "/bin/x|a b$c" },
        { "/bin/sh -c 'exit 75'", "/bin/sh|-c|exit 75" },
        { "'/usr/local/my programs/x' -a", "/usr/local/my programs/x|-a" },
        { "", NULL }, { "  ", NULL }, { "cat", NULL }, { "''", NULL },
        { "/bin/cat > /tmp/x", NULL }, { "/bin/a | /bin/b", NULL }, { "/bin/a; /bin/b", NULL },
        { "/bin/a && /bin/b", NULL }, { "/bin/echo $HOME", NULL }, { "/bin/echo `id`", NULL },
        { "/bin/echo *", NULL }, { "/bin/echo 'a", NULL }, { "/bin/echo \"a", NULL },
        { "/bin/echo a\nb", NULL }, { "~/bin/x", NULL },
};

static void check(struct span text, const char *want, const char *name)
{
        struct buffer words = BUFFER_INIT(4096);
        const char *why = NULL;
        size_t count = 0;
        const int r = command_line_split(text, &words, &count, &why);

        CHECK((r == 0) == (want != NULL), name);
        CHECK(r == 0 || why != NULL, name);
        if (r == 0) {
                char *p = words.data + words.start;

                CHECK(p[words.len - 1] == '\0', name);
                for (size_t i = 0; i + 1 < words.len; i++)
                        p[i] = p[i] ? p[i] : '|';
                CHECK(strcmp(p, want) == 0, name);
        }
        buffer_done(&words);
}

TEST(words)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                check(span_from_string(cases[i].text), cases[i].want, cases[i].text);
}

/* Every start of a line is words or an error that says why. */
TEST(cuts)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (size_t cut = 0; cut < strlen(cases[i].text); cut++) {
                        struct buffer words = BUFFER_INIT(4096);
                        const char *why = NULL;
                        size_t count = 0;
                        const int r = command_line_split(span_make(cases[i].text, cut), &words,
                                                         &count, &why);

                        CHECK(r == 0 ? count > 0 : why != NULL, cases[i].text);
                        buffer_done(&words);
                }
}

TEST(too_many_words)
{
        struct buffer text = BUFFER_INIT(4096), words = BUFFER_INIT(4096);
        const char *why = NULL;
        size_t count;

        CHECK(buffer_append_string(&text, "/x") == 0, "text");
        for (int i = 0; i < COMMAND_WORDS_MAX; i++)
                CHECK(buffer_append_string(&text, " a") == 0, "text");
        CHECK(command_line_split(buffer_span(&text), &words, &count, &why) < 0, "too many");
        buffer_done(&text);
        buffer_done(&words);
}

TEST_MAIN()
