/* What went from a mailbox, and when: ranges of UIDs, more or less in the order of
 * their modseq, shared by the views of the mailbox, each of which knows how many of
 * them were there when it was made. So a message that goes costs one range.
 * References are counted without locks: one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IMAP_GONE_MAX = 16384 };

struct imap_gone_range {
        uint64_t modseq;
        uint32_t first, last;
};

struct imap_gone {
        unsigned references;
        uint64_t since; /* whatever went at a greater modseq is among the ranges */
        size_t count, room;
        struct imap_gone_range ranges[];
};

/* One reference, the caller's. NULL without memory. */
struct imap_gone *imap_gone_new(uint64_t since, const struct imap_gone_range *ranges,
                                size_t count);
struct imap_gone *imap_gone_ref(struct imap_gone *g);     /* accepts NULL; returns it */
struct imap_gone *imap_gone_unref(struct imap_gone *g);   /* accepts NULL; returns it */

/* Adds what went last. Where there is no room the list becomes another one, and
 * the oldest are forgotten when they are too many. Without memory nothing is
 * known any more: *g is NULL then, as it may be before. */
void imap_gone_add(struct imap_gone **g, const struct imap_gone_range *range);
