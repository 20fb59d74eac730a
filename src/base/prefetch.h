/* Memory that is soon written to, and lies in another processor's cache or in none: it is
 * had for this one meanwhile. Else what is stored there waits, and all that is stored
 * behind it. Any address is allowed.
 *
 * A compiler for any x86-64 takes __builtin_prefetch(p, 1) for a read: the instruction is
 * younger than the first of them, to which it is no operation. */
#pragma once

static inline void prefetch_to_write(const void *p)
{
#ifdef __x86_64__
        __asm__ volatile("prefetchw %0" : : "m"(*(const char *) p));
#else
        __builtin_prefetch(p, 1);
#endif
}
