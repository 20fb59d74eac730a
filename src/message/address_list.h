/* The addresses of a header field: RFC 5322 section 3.4, with groups, comments,
 * the obsolete forms, and what senders make of it. Pure; results live in the
 * arena, or where the value does. */
#pragma once

#include <stddef.h>

#include "base/arena.h"
#include "base/span.h"

enum address_kind {
        ADDRESS_MAILBOX,
        ADDRESS_GROUP_BEGIN, /* `name` is the group's */
        ADDRESS_GROUP_END,
};

struct address_entry {
        enum address_kind kind;
        struct span name;  /* display name, quotes taken off, encoded words left; p NULL: none */
        struct span local; /* quotes taken off; p NULL: none */
        struct span domain;
};

/* More entries than this are left out. A group that begins has an end behind it,
 * and none lies within another. */
enum { ADDRESS_LIST_MAX = 10000 };

/* 0 or -ENOMEM. Anything is an address list: what makes no sense gives entries
 * without a domain, or none. */
int address_list_parse(struct span value, struct arena *arena, struct address_entry **ret,
                       size_t *ret_count);
