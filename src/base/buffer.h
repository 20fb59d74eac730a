/* A growing run of octets with a limit, appended at its end and consumed at
 * its front: socket input and output, records being built.
 *
 * Whoever makes a buffer says how large it may become, because somebody else
 * decides how much is put into it. */
#pragma once

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/span.h"

struct buffer {
        char *data;   /* what is held: data[start] … data[start + len - 1] */
        size_t start; /* octets already consumed */
        size_t len;
        size_t room;     /* allocated */
        size_t size_max; /* most that `len` may become */
};

#define BUFFER_INIT(max) ((struct buffer) {.size_max = (max)})

/* Frees the memory; the buffer is then empty and may be used again. */
void buffer_done(struct buffer *b);

/* Forgets the contents and keeps the memory. */
void buffer_clear(struct buffer *b);

/* As buffer_clear, but gives memory above `keep` octets back. */
void buffer_shrink(struct buffer *b, size_t keep);

static inline struct span buffer_span(const struct buffer *b)
{
        return (struct span) {b->data ? b->data + b->start : NULL, b->len};
}

/* Makes room for `n` more octets and sets `*ret_p` to it; buffer_commit()
 * says how many were written. -EMSGSIZE over size_max, -ENOMEM. */
int buffer_make_room(struct buffer *b, size_t n);
static inline int buffer_reserve(struct buffer *b, size_t n, char **ret_p)
{
        /* Nearly always there is room; what is left for the rest to say is why not. The
         * address of the caller's pointer goes nowhere, so that it stays in a register. */
        if (!b->data || n > b->room - b->start - b->len || n > b->size_max - b->len) {
                const int r = buffer_make_room(b, n);

                if (r < 0) {
                        *ret_p = NULL; /* who looks at it all the same faults */
                        return r;
                }
        }
        *ret_p = b->data ? b->data + b->start + b->len : NULL; /* no octets, no memory yet */
        return 0;
}
static inline void buffer_commit(struct buffer *b, size_t n)
{
        assert(b->start + b->len + n <= b->room);
        b->len += n;
}

/* Octets that still fit below size_max. */
static inline size_t buffer_room(const struct buffer *b)
{
        return b->size_max - b->len;
}

/* 0, or as buffer_reserve(); on failure nothing was appended. */
int buffer_append_slowly(struct buffer *b, const void *p, size_t n);
static inline int buffer_append(struct buffer *b, const void *p, size_t n)
{
        if (n == 0 || n > b->room - b->start - b->len || n > b->size_max - b->len)
                return buffer_append_slowly(b, p, n);
        memcpy(b->data + b->start + b->len, p, n);
        b->len += n;
        return 0;
}
static inline int buffer_append_span(struct buffer *b, struct span s)
{
        return buffer_append(b, s.p, s.len);
}
int buffer_append_string(struct buffer *b, const char *s);
int buffer_printf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buffer_vprintf(struct buffer *b, const char *format, va_list args);

/* Drops `n` <= len octets from the front. */
void buffer_consume(struct buffer *b, size_t n);
