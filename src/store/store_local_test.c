/* The local: driver on a real disk: the conformance suite, and what is its
 * own: the lock, writers of lent files, damage, the reserve. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/store_conformance.c"

static char folder[64];
static const struct store_options small = {
        .segment_size = 8 * 1024 * 1024, .reserve_bytes = 4096, .directory_fd = -1};

static int conformance_reopen(struct loop *l, struct store **ret)
{
        char uri[128], error[256];
        int r;

        snprintf(uri, sizeof uri, "local:%s", folder);
        r = store_open(uri, &small, l, ret, error);
        if (r < 0)
                print_error("%s\n", error);
        return r;
}

static int conformance_open(struct loop *l, struct store **ret)
{
        snprintf(folder, sizeof folder, "/tmp/store-test.XXXXXX");
        CHECK(mkdtemp(folder), "folder");
        return conformance_reopen(l, ret);
}

static void conformance_clean(void)
{
        char command[128];

        snprintf(command, sizeof command, "rm -rf %s", folder);
        CHECK(system(command) == 0, "clean");
}

TEST_MAIN()
