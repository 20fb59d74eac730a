/* Handles that close themselves when they go out of scope:
 *
 *   _cleanup_(close_fd) int fd = open(…); */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

static inline void close_fd(int *fd)
{
        if (*fd >= 0)
                close(*fd);
}

static inline void free_pointer(void *p)
{
        free(*(void **) p);
}
