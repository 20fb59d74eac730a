/* Memory that is soon looked at, or written to, is had from far away meanwhile. Any address is
 * allowed; nothing is read. */
#pragma once

#include <stddef.h>

enum { PREFETCH_LINE = 64 /* octets of a cache */ };

static inline void prefetch_octets(const void *p, size_t len)
{
        for (size_t at = 0; at < len; at += PREFETCH_LINE)
                __builtin_prefetch((const char *) p + at);
}

/* Memory that is soon written to, and lies in another processor's cache or in none: it is
 * had for this one meanwhile. Else what is stored there waits, and all that is stored
 * behind it.
 *
 * A compiler for any x86-64 takes __builtin_prefetch(p, 1) for a read: the instruction is
 * younger than the first of them, to which it is no operation. */
static inline void prefetch_to_write(const void *p)
{
#ifdef __x86_64__
        __asm__ volatile("prefetchw %0" : : "m"(*(const char *) p));
#else
        __builtin_prefetch(p, 1);
#endif
}
static inline void prefetch_octets_to_write(const void *p, size_t len)
{
        for (size_t at = 0; at < len; at += PREFETCH_LINE)
                prefetch_to_write((const char *) p + at);
}
