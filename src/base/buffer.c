#include "base/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROOM_MIN = 256 };

void buffer_done(struct buffer *b)
{
        free(b->data);
        *b = BUFFER_INIT(b->size_max);
}

void buffer_clear(struct buffer *b)
{
        b->start = b->len = 0;
}

void buffer_shrink(struct buffer *b, size_t keep)
{
        if (b->room > keep)
                buffer_done(b);
        else
                buffer_clear(b);
}

static int grow(struct buffer *b, size_t need)
{
        size_t room = b->room ? b->room : ROOM_MIN;
        char *data;

        while (room < need)
                room *= 2;
        data = realloc(b->data, room);
        if (!data)
                return -ENOMEM;
        b->data = data;
        b->room = room;
        return 0;
}

int buffer_make_room(struct buffer *b, size_t n)
{
        if (n > b->size_max - b->len)
                return -EMSGSIZE;
        if (b->start + b->len + n > b->room) {
                if (b->start) {
                        memmove(b->data, b->data + b->start, b->len);
                        b->start = 0;
                }
                if (b->len + n > b->room) {
                        int r = grow(b, b->len + n);

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int buffer_append_slowly(struct buffer *b, const void *p, size_t n)
{
        char *to;
        int r;

        if (n == 0)
                return 0;
        r = buffer_reserve(b, n, &to);
        if (r < 0)
                return r;
        memcpy(to, p, n);
        b->len += n;
        return 0;
}

int buffer_append_string(struct buffer *b, const char *s)
{
        return buffer_append(b, s, strlen(s));
}

int buffer_vprintf(struct buffer *b, const char *format, va_list args)
{
        va_list again;
        char *to;
        int n, r;

        va_copy(again, args);
        n = vsnprintf(NULL, 0, format, again);
        va_end(again);
        if (n < 0)
                return -EINVAL;
        r = buffer_reserve(b, (size_t) n + 1, &to);
        if (r < 0)
                return r;
        vsnprintf(to, (size_t) n + 1, format, args);
        b->len += (size_t) n;
        return 0;
}

int buffer_printf(struct buffer *b, const char *format, ...)
{
        va_list args;
        int r;

        va_start(args, format);
        r = buffer_vprintf(b, format, args);
        va_end(args);
        return r;
}

void buffer_consume(struct buffer *b, size_t n)
{
        assert(n <= b->len);
        b->start += n;
        b->len -= n;
        if (b->len == 0)
                b->start = 0;
}
