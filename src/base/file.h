/* Whole files, and reads and writes that finish what they began. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/buffer.h"

/* Everything from the current position to the end, appended to `b`.
 * 0, -EMSGSIZE (more than the buffer may hold), or a negative errno. */
int file_read_fd(int fd, struct buffer *b);
int file_read_at(int directory_fd, const char *path, struct buffer *b);

/* All `n` octets, through EINTR and short writes. 0 or a negative errno. */
int file_write_all(int fd, const void *p, size_t n);

/* Replaces `path` as a whole: written beside it, synced, renamed, the
 * directory synced. A crash leaves the old or the new file, never a part. */
int file_replace_at(int directory_fd, const char *path, struct span text, mode_t mode);

/* The same, and the new file has owner, group and mode of the one it replaces,
 * where there is one; -EPERM if it cannot (nothing was replaced then). `mode`,
 * whatever the umask, where there was none. */
int file_replace_keeping_at(int directory_fd, const char *path, struct span text, mode_t mode);
