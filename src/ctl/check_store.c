#include "ctl/check_store.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/backup.h"
#include "ctl/console.h"
#include "queue/entry.h"
#include "store/store_check.h"

enum { FAULTS_SHOWN_MAX = 1000 };

struct shown {
        unsigned count;
};

static void show_fault(void *arg, const char *text)
{
        struct shown *shown = arg;

        if (shown->count++ < FAULTS_SHOWN_MAX)
                puts(text);
        else if (shown->count == FAULTS_SHOWN_MAX + 1)
                puts("and more");
}

static int read_queue_entry(void *arg, struct span key, struct span value, uint64_t *ret_blob_id)
{
        struct queue_entry *e;
        int r;

        (void) arg;
        if (key.len == 0 || (key.p[0] != 'e' && key.p[0] != 'f'))
                return 0; /* a due time */
        r = queue_entry_decode(value, &e);
        if (r < 0)
                return r;
        *ret_blob_id = e->blob_id;
        queue_entry_free(e);
        return 0;
}

/* What is written must belong to whom the server runs as, or it could not start. */
static int become_owner(const char *folder)
{
        struct stat st;

        if (stat(folder, &st) < 0)
                return console_fail(EX_NOINPUT, "cannot open %s: %m", folder);
        if (geteuid() != 0 || st.st_uid == 0)
                return EX_OK;
        if (setgroups(0, NULL) < 0 || setresgid(st.st_gid, st.st_gid, st.st_gid) < 0 ||
            setresuid(st.st_uid, st.st_uid, st.st_uid) < 0)
                return console_fail(EX_OSERR, "cannot become the owner of %s: %m", folder);
        return EX_OK;
}

static int repair(const char *folder)
{
        char error[256] = "";
        const int r = store_check_rebuild(folder, error);

        if (r == -ENODATA)
                return console_fail(EX_DATAERR, "%s; restore a backup", error);
        if (r == -EBUSY)
                return console_fail(EX_TEMPFAIL, "the server runs: stop it first");
        if (r < 0)
                return console_fail(EX_IOERR, "cannot make the index anew: %s", error);
        puts("the index was made anew; the old one is index.old");
        return EX_OK;
}

static int verify(const char *folder)
{
        struct shown shown = {0};
        struct store_check check = {
                .fault = show_fault, .queue_entry = read_queue_entry, .arg = &shown,
        };
        char error[256] = "";
        const int r = store_check(folder, &check, error);

        if (r == -EBUSY)
                return console_fail(EX_TEMPFAIL, "%s is in use", folder);
        if (r < 0)
                return console_fail(r == -EBADMSG ? EX_DATAERR : EX_IOERR, "%s", error);
        printf("%llu groups of %llu records; %llu bodies of %llu octets; %llu mailboxes with %llu "
               "messages; %llu queue entries%s\n", (unsigned long long) check.groups,
               (unsigned long long) check.records, (unsigned long long) check.bodies,
               (unsigned long long) check.body_octets, (unsigned long long) check.mailboxes,
               (unsigned long long) check.messages, (unsigned long long) check.queue_entries,
               check.was_rebuilt ? "; the index is what checkpoint and log say" : "");
        if (check.faults)
                return console_fail(EX_DATAERR, "%llu faults", (unsigned long long) check.faults);
        puts("the store is good");
        return EX_OK;
}

/* A server has it open: what the server has is looked at as it was when we asked. */
static int verify_running(const struct config *config)
{
        struct backup_view *view;
        char path[4096];
        int status = backup_view_open(config, path, sizeof path, &view);

        if (status != EX_OK)
                return status;
        status = become_owner(path);
        if (status == EX_OK)
                status = verify(path);
        backup_view_close(view);
        return status;
}

static bool is_in_use(const char *folder)
{
        char path[4200];
        bool is_locked;
        int fd;

        snprintf(path, sizeof path, "%s/lock", folder);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return false;
        is_locked = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
        close(fd);
        return is_locked;
}

int check_store(const char *config_file, const char *folder, bool is_repair)
{
        struct config *config = NULL;
        char path[4096];
        int status = EX_OK;

        if (folder) {
                snprintf(path, sizeof path, "%s", folder);
        } else {
                status = console_config(config_file, &config);
                if (status == EX_OK)
                        snprintf(path, sizeof path, "%.*s", (int) config->state_dir.len,
                                 config->state_dir.p);
        }
        if (status == EX_OK && config && !is_repair && is_in_use(path)) {
                status = verify_running(config);
                config_free(config);
                return status;
        }
        config_free(config);
        if (status == EX_OK)
                status = become_owner(path);
        if (status == EX_OK && is_repair)
                status = repair(path);
        if (status == EX_OK)
                status = verify(path);
        return status;
}
