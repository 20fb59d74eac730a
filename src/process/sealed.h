/* Octets handed to other processes: a memfd that nobody can change any more. */
#pragma once

#include <stddef.h>

#include "base/span.h"

/* A copy of `octets`, sealed. `name` shows up in /proc only.
 * 0 or a negative errno. */
int sealed_new(const char *name, struct span octets, int *ret_fd);

/* Maps what is in `fd` for reading; sealed_unmap() gives it back. Processes
 * that were sent the same memfd share its file position, so nobody uses
 * read(). 0; -EMSGSIZE over `size_max`; -EBADMSG where somebody could still
 * change it; or a negative errno. */
int sealed_map(int fd, size_t size_max, struct span *ret_octets);
void sealed_unmap(struct span octets);
