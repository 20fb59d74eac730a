/* The names of local accounts, as they are read again from /etc/passwd. */
#include "process/edge/edge_local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/test.h"

static int read_text(const char *text)
{
        const int fd = memfd_create("passwd", 0);
        int r;

        CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t) strlen(text), "memfd");
        CHECK(lseek(fd, 0, SEEK_SET) == 0, "rewound");
        r = edge_local_read(fd);
        close(fd);
        return r;
}

static void check_name(uid_t uid, const char *want)
{
        char name[EDGE_LOCAL_NAME_MAX];

        edge_local_name(uid, name);
        CHECK(strcmp(name, want) == 0, want);
}

TEST(what_the_machine_knows_stays_known)
{
        CHECK(edge_local_load() == 0, "load");
        check_name(0, "root");
        check_name(900001, "uid-900001");
        CHECK(read_text("hanako:x:900001:900001::/home/hanako:/bin/sh\n") == 0, "read");
        check_name(900001, "hanako");
        check_name(0, "root");
        CHECK(read_text("reiko:x:900001:1::/:/bin/sh\n") == 0, "renamed");
        check_name(900001, "reiko");
}

TEST(lines_that_are_none_and_names_that_are_long)
{
        char line[300], want[EDGE_LOCAL_NAME_MAX];

        CHECK(read_text("\n:x:900010:1\nno colon\na:b\nc:x:\nd:x:-1:1\ne:x:99999999999:1\n"
                        "# f:x:900010:1\n+::::::\ng:x:900011:1\nh:x:900011:1\ni:x:900012") == 0,
              "odd lines");
        check_name(900010, "uid-900010");
        check_name(900011, "g");
        check_name(900012, "i");
        memset(line, 'n', sizeof line);
        snprintf(line + 100, sizeof line - 100, ":x:900013:1:::\n");
        CHECK(read_text(line) == 0, "long");
        memset(want, 'n', sizeof want - 1);
        want[sizeof want - 1] = '\0';
        check_name(900013, want);
}

TEST(what_cannot_be_read_changes_nothing)
{
        CHECK(read_text("ichiro:x:900020:1:::\n") == 0, "read");
        CHECK(edge_local_read(-1) == -EBADF, "no file");
        check_name(900020, "ichiro");
        CHECK(read_text("") == 0, "empty");
        check_name(900020, "ichiro");
}

TEST_MAIN()
