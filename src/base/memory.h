/* Memory of objects that come and go thousands of times a second. */
#pragma once

#include <stdlib.h>
#include <string.h>

/* Zeroed, to be freed by free(); NULL without memory. Where calloc() of glibc
 * takes the slow way each time, this one gets what was freed last (its calloc()
 * passes by the thread's cache, up to release 2.40 at least). */
static inline void *memory_zeroed(size_t size)
{
        void *p = malloc(size);

        if (p)
                memset(p, 0, size);
        return p;
}
