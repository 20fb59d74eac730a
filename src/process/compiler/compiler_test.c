/* The compiler's work: tables as the supervisor hands them over, and the
 * snapshot or the messages that come of them. */
#include "process/compiler/compiler.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/test.h"

static const char config_text[] = "hostname = \"mx1.example.jp\"\n"
                                  "domains = { \"example.jp\" }\n"
                                  "relay_domains = { \".example.com\" }\n";

static struct config *test_config(void)
{
        struct buffer error = BUFFER_INIT(4096);
        struct config *c = NULL;

        assert_int_equal(config_parse(span_from_string(config_text), "t.conf", &c, &error), 0);
        return c;
}

static struct compiler_table users_table(const char *text)
{
        struct compiler_table t = {.table = SNAPSHOT_USERS, .name = "users"};

        t.fd = memfd_create("users", MFD_CLOEXEC);
        assert_true(t.fd >= 0);
        assert_int_equal(file_write_all(t.fd, text, strlen(text)), 0);
        lseek(t.fd, 0, SEEK_SET);
        return t;
}

static const struct {
        const char *name, *users, *error; /* error NULL: it compiles */
} cases[] = {
        { "no users", "", NULL },
        { "comments and blank lines", "# users\n\n  # more\n", NULL },
        { "no line end at the end", "a@example.jp:{X}y", NULL },
        { "CRLF", "a@example.jp:{X}y\r\n", NULL },
        { "fields", "a@example.jp:{X}y:scram-sha-256=4096,a,b,c addresses=b@example.jp quota=1G\n",
          NULL },
        { "no hash", "a@example.jp\n",
          "users:1: there is no password hash; a line is address:{SCHEME}hash, and hayauma user "
          "passwd writes it\n" },
        { "no domain", "\na:{X}y\n",
          "users:2: \"a\" is no address; write it like taro@example.jp\n" },
        { "empty local part", "@example.jp:{X}y\n",
          "users:1: \"@example.jp\" is no address; write it like taro@example.jp\n" },
        { "two errors", "a\nb\n",
          "users:1: there is no password hash; a line is address:{SCHEME}hash, and hayauma user "
          "passwd writes it\n"
          "users:2: there is no password hash; a line is address:{SCHEME}hash, and hayauma user "
          "passwd writes it\n" },
        { "an account twice", "a@example.jp:{X}y\nA@Example.jp:{X}y\n",
          "users:2: \"a@example.jp\" is there a second time, after line 1; remove one\n" },
        { "an address of two accounts",
          "a@example.jp:{X}y:addresses=c@example.jp\nb@example.jp:{X}y:addresses=c@example.jp\n",
          "users:2: \"c@example.jp\" is there a second time, after line 1; remove one\n" },
        { "a bad further address", "a@example.jp:{X}y:addresses=c@example.jp,d\n",
          "users:1: \"d\" is no address; write it like taro@example.jp\n" },
};

TEST(users_files_good_and_bad)
{
        struct config *c = test_config();

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct compiler_table t = users_table(cases[i].users);
                struct buffer error = BUFFER_INIT(4096);
                struct snapshot *s = NULL;
                int fd = -1;
                const int r = compiler_compile(c, &t, 1, 1, &error, &fd);

                CHECK((r == 0) == (cases[i].error == NULL), cases[i].name);
                CHECK(span_equal(buffer_span(&error), span_from_string(cases[i].error)),
                      cases[i].name);
                CHECK((fd >= 0) == (r == 0), cases[i].name);
                if (fd >= 0) {
                        CHECK(snapshot_open(fd, &s) == 0, cases[i].name);
                        close(fd);
                }
                snapshot_close(s);
                buffer_done(&error);
                close(t.fd);
        }
        config_free(c);
}

TEST(addresses_lead_to_their_account_and_domains_to_their_line)
{
        struct compiler_table t = users_table(
                "Taro@Example.jp:{ARGON2ID}$argon2id$v=19$m=1:"
                "addresses=t.y@example.jp,T@example.jp\n");
        struct buffer error = BUFFER_INIT(4096);
        struct config *c = test_config();
        struct snapshot *s = NULL;
        struct span value;
        uint32_t line = 0;
        int fd = -1;

        assert_int_equal(compiler_compile(c, &t, 1, 42, &error, &fd), 0);
        assert_int_equal(snapshot_open(fd, &s), 0);
        close(fd);
        close(t.fd);
        assert_int_equal(snapshot_generation(s), 42);
        assert_int_equal(snapshot_count(s, SNAPSHOT_USERS), 3);
        assert_true(snapshot_get(s, SNAPSHOT_USERS, SPAN_LITERAL("t@example.jp"), &value, &line));
        assert_true(span_equal(value, SPAN_LITERAL("taro@example.jp")));
        assert_int_equal(line, 1);
        assert_true(snapshot_get(s, SNAPSHOT_USERS, SPAN_LITERAL("taro@example.jp"), &value, NULL));
        assert_true(span_equal(value, SPAN_LITERAL("taro@example.jp")));
        assert_true(snapshot_get(s, SNAPSHOT_DOMAINS, SPAN_LITERAL("example.jp"), &value, &line));
        assert_int_equal(line, 2);
        assert_true(span_equal(snapshot_source(s, SNAPSHOT_DOMAINS), SPAN_LITERAL("t.conf")));
        assert_true(snapshot_get(s, SNAPSHOT_RELAY_DOMAINS, SPAN_LITERAL(".example.com"), &value,
                                 &line));
        assert_int_equal(line, 3);
        snapshot_close(s);
        config_free(c);
}

TEST(a_table_without_a_parser_is_refused)
{
        struct compiler_table t = users_table("example.jp REJECT\n");
        struct buffer error = BUFFER_INIT(4096);
        struct config *c = test_config();
        int fd = -1;

        t.table = SNAPSHOT_DOMAINS; /* made from the configuration */
        snprintf(t.name, sizeof t.name, "domains");
        assert_int_equal(compiler_compile(c, &t, 1, 1, &error, &fd), -EOPNOTSUPP);
        assert_true(span_equal(buffer_span(&error),
                               SPAN_LITERAL("domains: this version does not read this table; take "
                                            "it out of the configuration\n")));
        t.table = (enum snapshot_table) 200;
        assert_int_equal(compiler_compile(c, &t, 1, 1, &error, &fd), -EOPNOTSUPP);
        close(t.fd);
        buffer_done(&error);
        config_free(c);
}

TEST(no_hash_gets_into_a_snapshot)
{
        struct compiler_table t = users_table("a@example.jp:{X}secrethash:"
                                              "scram-sha-256=secretkey\n");
        struct buffer error = BUFFER_INIT(4096), whole = BUFFER_INIT(1 << 20);
        struct config *c = test_config();
        int fd = -1;

        assert_int_equal(compiler_compile(c, &t, 1, 1, &error, &fd), 0);
        lseek(fd, 0, SEEK_SET);
        assert_int_equal(file_read_fd(fd, &whole), 0);
        assert_null(memmem(whole.data, whole.len, "secret", 6));
        close(fd);
        close(t.fd);
        buffer_done(&whole);
        config_free(c);
}

TEST_MAIN()
