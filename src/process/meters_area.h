/* The memory that all edges count in (policy/meters.h): made by the supervisor,
 * mapped by each edge. Its size cannot be changed by anybody, so that none can
 * pull the ground from under the others; what stands in it is trusted by
 * nobody further than a count. */
#pragma once

#include <stddef.h>

/* A formatted area, all counts 0. 0 or a negative errno. */
int meters_area_new(int *ret_fd);

/* Maps it to read and write, for the life of the process. 0, -EBADMSG where its
 * size could still change, or a negative errno. */
int meters_area_map(int fd, void **ret_area, size_t *ret_size);
