#include "ctl/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/test.h"
#include "store/mailbox.h"

#define AT_US (UINT64_C(1795321503) * 1000000)

static char folder[] = "/tmp/maildir_test.XXXXXX";

static const char *path_of(const char *name)
{
        static char path[512];

        snprintf(path, sizeof path, "%s%s%s", folder, *name ? "/" : "", name);
        return path;
}

static void write_file(const char *name, const char *text)
{
        FILE *f = fopen(path_of(name), "w");

        CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0, name);
}

static void remove_all(void)
{
        static const char *const names[] = { "tmp", "new", "cur", "" };

        for (size_t i = 0; i < 4; i++) {
                DIR *dir = opendir(path_of(names[i]));
                const struct dirent *each;

                while (dir && (each = readdir(dir)))
                        unlinkat(dirfd(dir), each->d_name, 0);
                if (dir)
                        closedir(dir);
                rmdir(path_of(names[i]));
        }
}

TEST(flags_stand_in_names)
{
        static const struct {
                const char *name, *back;
                uint32_t flags;
        } cases[] = {
                { "1.a.host:2,", "", 0 },
                { "1.a.host", "", 0 },
                { "1.a.host:2,FS", "FS", MESSAGE_FLAGGED | MESSAGE_SEEN },
                { "1.a.host:2,PSabc", "S", MESSAGE_SEEN },
                { "1.a.host:2,DFRST", "DFRST", 31 },
                { "1.SFT.host", "", 0 },
        };

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                char back[MAILDIR_FLAGS_MAX];

                CHECK(maildir_flags_parse(cases[i].name) == cases[i].flags, cases[i].name);
                CHECK(strcmp(maildir_flags_format(cases[i].flags, back), cases[i].back) == 0,
                      cases[i].name);
        }
}

TEST(what_is_written_is_read_back_in_order)
{
        struct transfer_message message = TRANSFER_MESSAGE_INIT(4096);
        struct maildir *m = NULL;
        size_t count;

        CHECK(mkdtemp(folder) && rmdir(folder) == 0, "folder");
        CHECK(maildir_open(folder, false, SPAN_LITERAL("mx"), &m) == -ENOENT, "not there");
        CHECK(maildir_open(folder, true, SPAN_LITERAL("m/x:1"), &m) == 0, "create");
        for (uint32_t i = 0; i < 3; i++) {
                transfer_message_clear(&message);
                message.arrived_us = AT_US + i / 2 * 1000000;
                message.flags = i * MESSAGE_FLAGGED;
                CHECK(buffer_append_string(&message.octets, "A: b\r\n\r\n.c\r\n") == 0, "text");
                CHECK(maildir_write(m, &message) == 0, "write");
        }
        CHECK(maildir_sync(m) == 0, "sync");
        CHECK(maildir_list(m, &count) == 0 && count == 3, "list");
        for (uint32_t i = 0; i < 3; i++) {
                CHECK(maildir_read(m, i, &message) == 0, "read");
                CHECK(span_equal(buffer_span(&message.octets), SPAN_LITERAL("A: b\r\n\r\n.c\r\n")),
                      "text");
                CHECK(message.arrived_us == AT_US + i / 2 * 1000000, "date");
                CHECK(message.flags == i * MESSAGE_FLAGGED, "flags");
                CHECK(strstr(maildir_name(m, i), ".m\\057x\\0721"), maildir_name(m, i));
        }
        CHECK(strstr(maildir_name(m, 1), ":2,F") && !strchr(maildir_name(m, 0), ':'), "names");
        maildir_close(m);
        remove_all();
        transfer_message_done(&message);
}

/* Dovecot's files, as they are written and read back. */
TEST(uids_and_keywords_are_kept)
{
        struct transfer_message message = TRANSFER_MESSAGE_INIT(4096);
        struct maildir *m = NULL;
        size_t count;

        CHECK(maildir_open(folder, true, SPAN_LITERAL("mx"), &m) == 0, "create");
        CHECK(maildir_set_uids(m, 1700000000, 99) == 0, "uids");
        for (uint32_t i = 0; i < 3; i++) {
                transfer_message_clear(&message);
                message.uid = 40 - i * 10; /* not in the order of arrival */
                message.arrived_us = AT_US + i * 1000000;
                if (i)
                        transfer_message_add_keyword(&message, SPAN_LITERAL("$Forwarded"));
                if (i == 2)
                        transfer_message_add_keyword(&message, SPAN_LITERAL("Work"));
                CHECK(buffer_append_string(&message.octets, "A: b\r\n\r\n") == 0, "text");
                CHECK(maildir_write(m, &message) == 0, "write");
        }
        CHECK(maildir_sync(m) == 0, "sync");
        m = maildir_close(m);
        write_file("new/1.none.host", "A: none\n");
        CHECK(maildir_open(folder, false, SPAN_LITERAL("mx"), &m) == 0, "open");
        CHECK(maildir_uid_validity(m) == 1700000000 && maildir_uid_next(m) == 99, "numbers");
        CHECK(maildir_list(m, &count) == 0 && count == 4, "list");
        CHECK(maildir_read(m, 0, &message) == 0 && message.uid == 20, "first");
        CHECK(span_equal(buffer_span(&message.keywords), SPAN_LITERAL("$Forwarded\0Work\0")),
              "keywords");
        CHECK(maildir_read(m, 2, &message) == 0 && message.uid == 40 && !message.keywords.len,
              "third");
        CHECK(maildir_read(m, 3, &message) == 0 && message.uid == 0, "without a UID: last");
        CHECK(maildir_set_uids(m, 1, 2) == -EEXIST, "not empty");
        m = maildir_close(m);
        write_file("dovecot-uidlist", "1 1234567890 8\n5 1.none.host\nx\n6\n7 ");
        write_file("dovecot-keywords", "0 one\n99 far\n1 two\n-1 x\nnonsense\n1 again");
        CHECK(maildir_open(folder, false, SPAN_LITERAL("mx"), &m) == 0, "open");
        CHECK(maildir_uid_validity(m) == 1234567890 && maildir_uid_next(m) == 8, "version 1");
        CHECK(maildir_list(m, &count) == 0 && count == 4, "list");
        CHECK(maildir_read(m, 0, &message) == 0 && message.uid == 5, "version 1");
        maildir_close(m);
        remove_all();
        transfer_message_done(&message);
}

TEST(odd_entries_do_no_harm)
{
        struct transfer_message message = TRANSFER_MESSAGE_INIT(16);
        struct maildir *m = NULL;
        size_t count;

        CHECK(mkdir(folder, 0700) == 0, "folder");
        CHECK(maildir_open(folder, false, SPAN_LITERAL("mx"), &m) == -ENOTDIR, "no Maildir");
        CHECK(maildir_open(folder, true, SPAN_LITERAL("mx"), &m) == 0, "create");
        write_file("tmp/1.a.x", "unfinished\n");
        write_file("new/.hidden", "x\n");
        write_file("new/1.a.x", "A: b\n\nlonger than it may be\n");
        CHECK(symlink("/etc/hostname", path_of("cur/2.a.x:2,S")) == 0, "link");
        CHECK(mkfifo(path_of("cur/3.a.x:2,S"), 0600) == 0, "fifo");
        write_file("cur/4.a.x:2,S", "A: b\n");
        CHECK(maildir_list(m, &count) == 0 && count == 4, "list");
        CHECK(maildir_read(m, 0, &message) == -EMSGSIZE, "too large");
        CHECK(maildir_read(m, 1, &message) == -ELOOP, "link");
        CHECK(maildir_read(m, 2, &message) == -EINVAL, "fifo");
        CHECK(unlink(path_of("cur/4.a.x:2,S")) == 0, "gone");
        CHECK(maildir_read(m, 3, &message) == -ENOENT, "gone");
        maildir_close(m);
        remove_all();
        transfer_message_done(&message);
}

TEST_MAIN()
