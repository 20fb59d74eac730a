/* Who may control us through the sockets in run_dir: root, the user the
 * process itself runs as, and members of the group hayauma. */
#pragma once

#include <stdbool.h>

/* Looks the group up; before confinement, once. */
void control_access_init(void);

/* Asks the kernel who is at the other end of this Unix socket. */
bool control_access_may(int fd);
