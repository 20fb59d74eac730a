#include "process/control_access.h"

#include <grp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GROUPS_MAX = 1024 };

static gid_t control_group = (gid_t) -1;

void control_access_init(void)
{
        const struct group *g = getgrnam("hayauma");

        control_group = g ? g->gr_gid : (gid_t) -1;
}

static bool is_in_control_group(int fd)
{
        static gid_t groups[GROUPS_MAX];
        socklen_t size = sizeof groups;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
                return false;
        for (size_t i = 0; i < size / sizeof groups[0]; i++)
                if (groups[i] == control_group)
                        return true;
        return false;
}

bool control_access_may(int fd)
{
        struct ucred peer;
        socklen_t size = sizeof peer;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return false;
        if (peer.uid == 0 || peer.uid == geteuid())
                return true;
        return control_group != (gid_t) -1 &&
               (peer.gid == control_group || is_in_control_group(fd));
}
