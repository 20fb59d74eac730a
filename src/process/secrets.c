#include "process/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "config/snapshot.h"
#include "ipc/channel.h"
#include "process/sealed.h"

/* One that is missing is as good as empty where `may_miss`. -1: it was said. */
static int open_file(struct span path, bool may_miss)
{
        char name[4096];
        int fd = -1;

        snprintf(name, sizeof name, "%.*s", (int) path.len, path.p);
        if (path.len)
                fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 && (path.len == 0 || (errno == ENOENT && may_miss)) &&
            sealed_new("hayauma-empty", (struct span) {0}, &fd) < 0)
                fd = -1;
        if (fd < 0)
                log_event(LOG_ERROR, "file_not_opened", LOG_TEXT("path", name),
                          LOG_ERRNO("error", -errno));
        return fd;
}

static void send_file(struct place *p, enum snapshot_table table, struct span path, bool may_miss)
{
        const struct span name = table == SNAPSHOT_USERS       ? SPAN_LITERAL("users")
                                 : table == SNAPSHOT_LOCAL_NAMES ? SPAN_LITERAL("local_names")
                                                                 : SPAN_LITERAL("relay_logins");
        const int fd = open_file(path, may_miss);

        if (fd < 0)
                return;
        CHANNEL_SEND(p->channel, table, fd, .table = (uint8_t) table, .name = name);
        close(fd);
}

void secrets_send(const struct config *c, struct place *directory)
{
        send_file(directory, SNAPSHOT_USERS, c->users.file, true);
        send_file(directory, SNAPSHOT_RELAY_LOGINS, c->auth.relay_logins, false);
}

void secrets_send_names(struct place *edge)
{
        send_file(edge, SNAPSHOT_LOCAL_NAMES, SPAN_LITERAL(SECRETS_LOCAL_NAMES), true);
}
