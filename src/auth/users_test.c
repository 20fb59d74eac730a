#include "auth/users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/test.h"

#define HASH "{CRYPT}$6$salt$abc"
#define SCRAM                                                                                      \
        "scram-sha-256=4096,W22ZaJ0SNY7soEsUEjb6gQ==,"                                             \
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"                                            \
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static const struct {
        const char *name, *text;
        const char *error; /* the start of what is said; NULL: none */
        size_t count;
} cases[] = {
        { "nothing", "", NULL, 0 },
        { "one", "a@example.jp:" HASH "\n", NULL, 1 },
        { "no line feed at the end", "a@example.jp:" HASH, NULL, 1 },
        { "CRLF", "a@example.jp:" HASH "\r\nb@example.jp:" HASH "\r\n", NULL, 2 },
        { "comments and blank lines", "# x\n\n  # y\na@example.jp:" HASH "\n", NULL, 1 },
        { "all fields",
          "a@example.jp:" HASH ":" SCRAM " addresses=b@x.jp,c@x.jp quota=10G flags=z\n",
          NULL, 1 },
        { "no fields behind the colon", "a@example.jp:" HASH ":\n", NULL, 1 },
        { "upper case", "Alice@Example.JP:" HASH "\n", NULL, 1 },
        { "dots as carriers gave them out", "a..b.@docomo.ne.jp:" HASH "\n", NULL, 1 },
        { "UTF-8", "\xe6\x97\xa9@example.jp:" HASH "\n", NULL, 1 },
        { "no hash", "a@example.jp\n", "users:1: the address is followed by", 0 },
        { "empty hash", "a@example.jp:\n", "users:1: a hash has no blanks", 0 },
        { "no domain", "a:" HASH "\n", "users:1: an account starts", 0 },
        { "two @", "a@b@c:" HASH "\n", "users:1: an account starts", 0 },
        { "plain", "a@example.jp:{PLAIN}x\n", "users:1: a password must not stand here", 0 },
        { "unknown scheme", "a@example.jp:{X}x\n", "users:1: the scheme is none of", 0 },
        { "unknown field", "a@example.jp:" HASH ":x=y\n", "users:1: the fields are", 0 },
        { "field twice", "a@example.jp:" HASH ":quota=1 quota=2\n", "users:1: quota is", 0 },
        { "bad quota", "a@example.jp:" HASH ":quota=much\n", "users:1: quota is", 0 },
        { "bad scram", "a@example.jp:" HASH ":scram-sha-256=1,2,3,4\n", "users:1: scram", 0 },
        { "bad addresses", "a@example.jp:" HASH ":addresses=b\n", "users:1: addresses is", 0 },
        { "empty address", "a@example.jp:" HASH ":addresses=b@x.jp,\n", "users:1: addresses is",
          0 },
        { "bad flags", "a@example.jp:" HASH ":flags=a,,b\n", "users:1: flags is", 0 },
        { "blank inside", "a @example.jp:" HASH "\n", "users:1: an account starts", 0 },
        { "twice", "a@example.jp:" HASH "\n#\nA@EXAMPLE.JP:" HASH "\n", "users:3: an account above",
          0 },
        { "an address twice", "a@x.jp:" HASH ":addresses=b@x.jp\nb@x.jp:" HASH "\n",
          "users:2: an account above", 0 },
        { "an address twice in one", "a@x.jp:" HASH ":addresses=b@x.jp,b@x.jp\n",
          "users:1: an account above", 0 },
        { "its own address again", "a@x.jp:" HASH ":addresses=a@x.jp\n",
          "users:1: an account above", 0 },
};

TEST(lines_are_what_the_grammar_says)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct buffer error = BUFFER_INIT(4096);
                struct users *u = NULL;
                const int r = users_parse(span_from_string(cases[i].text), "users", &u, &error);

                if (cases[i].error) {
                        CHECK(r == -EINVAL && !u, cases[i].name);
                        CHECK(span_starts_with_nocase(buffer_span(&error),
                                                      span_from_string(cases[i].error)),
                              cases[i].name);
                } else {
                        CHECK(r == 0 && error.len == 0, cases[i].name);
                        CHECK(users_count(u) == cases[i].count, cases[i].name);
                }
                users_free(u);
                buffer_done(&error);
        }
}

TEST(a_cut_file_is_read_or_refused)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                for (size_t cut = 0; cut < strlen(cases[i].text); cut++) {
                        struct buffer error = BUFFER_INIT(4096);
                        struct users *u = NULL;
                        const int r = users_parse(span_make(cases[i].text, cut), "users", &u,
                                                  &error);

                        CHECK((r == 0) == (u != NULL) && (r == 0) == (error.len == 0),
                              cases[i].name);
                        users_free(u);
                        buffer_done(&error);
                }
        }
}

TEST(errors_are_bounded)
{
        struct buffer text = BUFFER_INIT(1 << 20), error = BUFFER_INIT(1 << 20);
        struct users *u = NULL;
        size_t lines = 0;

        for (int i = 0; i < 1000; i++)
                CHECK(buffer_append_string(&text, "x\n") == 0, "text");
        CHECK(users_parse(buffer_span(&text), "users", &u, &error) == -EINVAL, "refused");
        for (size_t i = 0; i < error.len; i++)
                lines += buffer_span(&error).p[i] == '\n';
        CHECK(lines == USERS_ERRORS_MAX + 1, "lines");
        buffer_done(&text);
        buffer_done(&error);
}

static struct users *parse(const char *text)
{
        struct buffer error = BUFFER_INIT(4096);
        struct users *u = NULL;

        CHECK(users_parse(span_from_string(text), "users", &u, &error) == 0, text);
        buffer_done(&error);
        return u;
}

static void check_format(const struct users *u, const char *want)
{
        struct buffer b = BUFFER_INIT(1 << 20);

        CHECK(users_format(u, &b) == 0, "format");
        CHECK(span_equal(buffer_span(&b), span_from_string(want)), want);
        buffer_done(&b);
}

TEST(lookup_is_by_any_address_in_any_case)
{
        struct users *u = parse("Alice@Example.JP:{sha512-crypt}$6$salt$abc"
                                ":addresses=Info@Example.JP quota=1G\n");
        const struct users_account *a = users_find(u, SPAN_LITERAL("ALICE@example.jp"));

        CHECK(a && span_equal(a->address, SPAN_LITERAL("alice@example.jp")), "account");
        CHECK(span_equal(a->hash, SPAN_LITERAL(HASH)), "our name of the scheme");
        CHECK(a->quota == (uint64_t) 1 << 30 && a->line == 1, "fields");
        CHECK(users_owner(u, SPAN_LITERAL("info@example.JP")) == a, "owner");
        CHECK(!users_find(u, SPAN_LITERAL("info@example.jp")), "not an account");
        CHECK(!users_owner(u, SPAN_LITERAL("bob@example.jp")), "nobody");
        users_free(u);
}

TEST(edits_keep_what_they_do_not_touch)
{
        struct users *u = parse("# staff\n A@x.jp:" HASH ":  quota=1024M  flags=y \n\n"
                                "b@x.jp:" HASH "\n# end");
        struct users_account a = {.address = SPAN("C@x.jp"), .hash = SPAN(HASH)};
        struct users_account changed;

        CHECK(users_put(u, &a) == 0, "add");
        check_format(u, "# staff\n A@x.jp:" HASH ":  quota=1024M  flags=y \n\nb@x.jp:" HASH
                        "\n# end\nc@x.jp:" HASH "\n");
        changed = *users_find(u, SPAN_LITERAL("a@x.jp"));
        changed.hash = SPAN_LITERAL("{CRYPT}$6$salt$new");
        changed.scram = span_skip(SPAN_LITERAL(SCRAM), strlen("scram-sha-256="));
        CHECK(users_put(u, &changed) == 0, "change");
        CHECK(users_remove(u, SPAN_LITERAL("B@x.jp")) == 0, "remove");
        CHECK(users_remove(u, SPAN_LITERAL("b@x.jp")) == -ENOENT, "remove again");
        check_format(u, "# staff\na@x.jp:{CRYPT}$6$salt$new:" SCRAM " quota=1G flags=y\n\n# end\n"
                        "c@x.jp:" HASH "\n");
        CHECK(users_count(u) == 2, "count");
        users_free(u);
}

TEST(a_bad_put_changes_nothing)
{
        static const char text[] = "a@x.jp:" HASH ":addresses=b@x.jp\nc@x.jp:" HASH "\n";
        static const struct {
                const char *name;
                struct users_account account;
                int want;
        } puts[] = {
                { "no address", { .address = SPAN("x"), .hash = SPAN(HASH) }, -EINVAL },
                { "a comment", { .address = SPAN("#x@y.jp"), .hash = SPAN(HASH) }, -EINVAL },
                { "no hash", { .address = SPAN("x@x.jp") }, -EINVAL },
                { "plain", { .address = SPAN("x@x.jp"), .hash = SPAN("{PLAIN}x") }, -EINVAL },
                { "a line feed", { .address = SPAN("x@x.jp"), .hash = SPAN(HASH "\n") }, -EINVAL },
                { "a second line in flags",
                  { .address = SPAN("x@x.jp"), .hash = SPAN(HASH),
                    .flags = SPAN("a\nb@x.jp:" HASH) },
                  -EINVAL },
                { "another's address", { .address = SPAN("B@x.jp"), .hash = SPAN(HASH) }, -EEXIST },
                { "another's account",
                  { .address = SPAN("d@x.jp"), .hash = SPAN(HASH), .addresses = SPAN("c@x.jp") },
                  -EEXIST },
                { "the other's account, changed",
                  { .address = SPAN("a@x.jp"), .hash = SPAN(HASH), .addresses = SPAN("c@x.jp") },
                  -EEXIST },
        };
        struct users *u = parse(text);

        for (size_t i = 0; i < sizeof puts / sizeof puts[0]; i++) {
                CHECK(users_put(u, &puts[i].account) == puts[i].want, puts[i].name);
                check_format(u, text);
        }
        CHECK(users_count(u) == 2 && users_owner(u, SPAN_LITERAL("b@x.jp")), "as before");
        users_free(u);
}

static char folder[] = "/tmp/users_test.XXXXXX";

static void path_in_folder(const char *name, char *out, size_t room)
{
        snprintf(out, room, "%s/%s", folder, name);
}

TEST(edits_on_disk_are_atomic_and_locked)
{
        struct buffer error = BUFFER_INIT(4096);
        struct users_edit e, second;
        struct users *u;
        struct stat st;
        char path[128], link[128];
        const struct users_account a = {.address = SPAN("a@x.jp"), .hash = SPAN(HASH)};

        CHECK(mkdtemp(folder) != NULL, "folder");
        path_in_folder("users", path, sizeof path);
        path_in_folder("link", link, sizeof link);
        CHECK(symlink(path, link) == 0, "link");
        umask(077);
        CHECK(users_read(path, &u, &error) == -ENOENT, "no file");
        CHECK(users_edit_begin(path, 0, &e, &error) == 0, "no file is an empty one");
        CHECK(users_edit_begin(path, 50, &second, &error) == -ETIMEDOUT, "locked");
        CHECK(users_put(e.users, &a) == 0 && users_edit_commit(&e) == 0, "commit");
        users_edit_end(&e);
        CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640, "mode of a new file");

        CHECK(chmod(path, 0600) == 0, "chmod");
        CHECK(users_edit_begin(link, 0, &e, &error) == 0, "through a link");
        CHECK(users_find(e.users, a.address) != NULL, "was written");
        CHECK(users_remove(e.users, a.address) == 0 && users_edit_commit(&e) == 0, "commit");
        users_edit_end(&e);
        CHECK(lstat(link, &st) == 0 && S_ISLNK(st.st_mode), "the link stays");
        CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600, "mode is kept");
        CHECK(users_read(path, &u, &error) == 0 && users_count(u) == 0, "empty again");
        users_free(u);
        CHECK(error.len == 0, "no errors");

        CHECK(file_replace_at(AT_FDCWD, path, SPAN_LITERAL("what is this"), 0600) == 0, "damage");
        CHECK(users_edit_begin(path, 0, &e, &error) == -EINVAL && error.len, "refused");
        buffer_done(&error);
        for (size_t i = 0; i < 3; i++) {
                path_in_folder((const char *[]) {"users", "users.lock", "link"}[i], path,
                               sizeof path);
                unlink(path);
        }
        rmdir(folder);
}

TEST_MAIN()
