#include "ctl/mail_folders.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/test.h"

static char root[] = "/tmp/mail_folders_test.XXXXXX";

static void begin(void)
{
        snprintf(root, sizeof root, "/tmp/mail_folders_test.XXXXXX");
        CHECK(mkdtemp(root), "folder");
}

static void end(void)
{
        char command[128];

        snprintf(command, sizeof command, "rm -rf %s", root);
        CHECK(system(command) == 0, "clean");
}

static void make(const char *name, bool is_folder)
{
        char path[512];
        FILE *f;

        snprintf(path, sizeof path, "%s/%s", root, name);
        if (is_folder) {
                CHECK(mkdir(path, 0700) == 0, name);
                return;
        }
        f = fopen(path, "w");
        CHECK(f, name);
        if (f)
                fclose(f);
}

static void make_maildir(const char *name)
{
        char cur[300];

        make(name, true);
        snprintf(cur, sizeof cur, "%s/cur", name);
        make(cur, true);
}

static const struct {
        const char *mailbox, *maildir, *mbox;
} names[] = {
        { "INBOX", "", "/INBOX" },
        { "a", "/.a", "/a" },
        { "a/b", "/.a.b", "/a/b" },
        { "a.b/c.", "/.a&AC4-b.c&AC4-", "/a.b/c." },
        { ".a", "/.&AC4-a", "/&AC4-a" },
        { "..", "/.&AC4-&AC4-", "/&AC4-." },
        { "\xE6\x97\xA5\xE6\x9C\xAC.\xE8\xAA\x9E", "/.&ZeVnLA-&AC4-&ip4-", "/&ZeVnLA-.&ip4-" },
        { "A&B", "/.A&-B", "/A&-B" },
};

TEST(names_become_paths)
{
        struct buffer path = BUFFER_INIT(4096);

        begin();
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
                const struct span mailbox = span_from_string(names[i].mailbox);

                CHECK(mail_folders_maildir_path(root, mailbox, &path) == 0, names[i].mailbox);
                CHECK(strcmp(path.data + strlen(root), names[i].maildir) == 0, path.data);
                CHECK(mail_folders_mbox_path(root, mailbox, &path) == 0, names[i].mailbox);
                CHECK(strcmp(path.data + strlen(root), names[i].mbox) == 0, path.data);
        }
        make("file", false);
        CHECK(mail_folders_mbox_path(root, SPAN_LITERAL("file/x"), &path) == 0, "below a file");
        CHECK(strcmp(path.data + strlen(root), "/file.sbd/x") == 0, path.data);
        buffer_done(&path);
        end();
}

TEST(a_maildir_is_listed)
{
        struct mail_folders f;
        char path[128];
        FILE *file;

        begin();
        for (size_t i = 1; i < sizeof names / sizeof names[0]; i++)
                make_maildir(names[i].maildir + 1);
        make(".no-maildir", true);
        make_maildir(".bad..name");
        snprintf(path, sizeof path, "%s/subscriptions", root);
        file = fopen(path, "w");
        CHECK(file && fputs("V\t2\n\na\tb\nA&-B\ngone\n", file) >= 0 && fclose(file) == 0, "file");
        CHECK(mail_folders_maildir(root, &f) == 0, "list");
        CHECK(f.count == sizeof names / sizeof names[0], "all");
        CHECK(f.bad && strstr(f.bad, ".bad..name"), "bad");
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
                size_t at = 0;

                while (at < f.count && strcmp(f.list[at].mailbox, names[i].mailbox) != 0)
                        at++;
                CHECK(at < f.count, names[i].mailbox);
                CHECK(strcmp(f.list[at].path + strlen(root), names[i].maildir) == 0,
                      f.list[at].path);
                CHECK(f.list[at].is_subscribed == (i == 2 || i == 7), names[i].mailbox);
        }
        mail_folders_done(&f);
        CHECK(mail_folders_put_subscriptions(root, SPAN_LITERAL("a.b/c.\0a\0")) == 0, "put");
        CHECK(mail_folders_maildir(root, &f) == 0, "list");
        for (size_t i = 0; i < f.count; i++)
                CHECK(f.list[i].is_subscribed == (strcmp(f.list[i].mailbox, "a") == 0 ||
                                                  strcmp(f.list[i].mailbox, "a.b/c.") == 0),
                      f.list[i].mailbox);
        mail_folders_done(&f);
        end();
        CHECK(mail_folders_maildir(root, &f) == -ENOENT, "gone");
}

TEST(mbox_files_are_listed)
{
        static const char *const wanted[] = { "INBOX", "a", "a/b", "a/c", "\xE6\x97\xA5" };
        struct mail_folders f;
        char path[128];

        begin();
        make("INBOX", false);
        make("a", false);
        make("a.sbd", true);
        make("a.sbd/b", false);
        make("a.sbd/c", false);
        make("a.sbd/b.msf", false);
        make(".hidden", false);
        make("INBOX.lock", false);
        make("&ZeU-", false);
        snprintf(path, sizeof path, "%s/link", root);
        CHECK(symlink("/etc/passwd", path) == 0, "link");
        CHECK(mail_folders_mbox(root, &f) == 0 && f.count == 5, "list");
        for (size_t i = 0; i < 5; i++)
                CHECK(strcmp(f.list[i].mailbox, wanted[i]) == 0, f.list[i].mailbox);
        mail_folders_done(&f);
        end();
}

TEST_MAIN()
