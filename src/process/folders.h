/* The folders of a running Hayauma: made where missing, checked, locked. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/span.h"

/* Makes `path` (mode 0700) and its parents, gives it to `uid` and `gid` if we
 * are root, and locks it until `*ret_lock_fd` is closed. `*ret_state_fd` is for
 * the keeper, O_PATH. On failure a sentence in `error`; -EBUSY where another
 * supervisor has the folder, or a negative errno. */
int folders_open_state(struct span path, uid_t uid, gid_t gid, struct buffer *error,
                       int *ret_lock_fd, int *ret_state_fd);

/* Makes the run folder (mode 0755) and its parents. */
int folders_make_run(struct span path, struct buffer *error);

/* A listening socket PATH/NAME, mode 0666: the kernel says who calls. Processes of a
 * server that was killed may take a while to end, and hold it until they have: so it is
 * tried for up to five seconds. The descriptor, or a negative errno with a sentence in
 * `error`. */
int folders_listen(struct span run_dir, const char *name, struct buffer *error);
