/* A message on its way into a mailbox, or out of one. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"

enum { TRANSFER_MESSAGE_MAX = 256 * 1024 * 1024 }; /* what the keeper takes, too */

struct transfer_message {
        uint32_t uid;      /* 0: not known */
        uint32_t flags;    /* enum message_flag */
        uint64_t arrived_us;
        struct buffer keywords; /* each with a NUL behind it */
        struct buffer octets;   /* CRLF */
};

#define TRANSFER_MESSAGE_INIT(octets_max)                                                          \
        ((struct transfer_message) {.keywords = BUFFER_INIT(2200),                                 \
                                    .octets = BUFFER_INIT(octets_max)})

/* As new, with the memory kept. */
static inline void transfer_message_clear(struct transfer_message *m)
{
        m->uid = m->flags = 0;
        m->arrived_us = 0;
        buffer_clear(&m->keywords);
        buffer_clear(&m->octets);
}

static inline void transfer_message_done(struct transfer_message *m)
{
        buffer_done(&m->keywords);
        buffer_done(&m->octets);
}

/* A keyword behind the others; one that is too long, or too many, is left out. */
static inline void transfer_message_add_keyword(struct transfer_message *m, struct span name)
{
        if (name.len && name.len <= 64 && m->keywords.len + name.len + 1 <= m->keywords.size_max) {
                (void) buffer_append_span(&m->keywords, name);
                (void) buffer_append(&m->keywords, "", 1);
        }
}
