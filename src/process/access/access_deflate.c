#include "process/access/access_deflate.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
        /* A window of 8 KiB, and hash chains to fit: 64 KiB, and nearly as good on
         * the kind of text that IMAP is. The client chooses its own, up to 32 KiB. */
        OUT_WINDOW_BITS = -13,
        OUT_MEMORY_LEVEL = 6,
        IN_WINDOW_BITS = -15,
        OUT_PIECE = 4096,
};

struct access_deflate {
        z_stream in, out;
        bool is_deflating; /* `out` is there */
        char *plain;       /* ACCESS_DEFLATE_PIECE; NULL while nothing is in it */
        size_t at, len;    /* of it, not used yet: [at, len) */
};

struct access_deflate *access_deflate_new(void)
{
        struct access_deflate *d = calloc(1, sizeof *d);

        if (d && inflateInit2(&d->in, IN_WINDOW_BITS) != Z_OK) {
                free(d);
                return NULL;
        }
        return d;
}

struct access_deflate *access_deflate_free(struct access_deflate *d)
{
        if (!d)
                return NULL;
        access_deflate_trim(d);
        inflateEnd(&d->in);
        free(d->plain);
        free(d);
        return NULL;
}

static void set_in(z_stream *z, struct span s)
{
        z->next_in = (Bytef *) (uintptr_t) s.p;
        z->avail_in = (uInt) (s.len < INT_MAX ? s.len : INT_MAX);
}

long access_deflate_read(struct access_deflate *d, struct span in)
{
        uInt before;
        int r;

        assert(d->at == d->len);
        if (!d->plain)
                d->plain = malloc(ACCESS_DEFLATE_PIECE);
        if (!d->plain)
                return -ENOMEM;
        set_in(&d->in, in);
        before = d->in.avail_in;
        d->in.next_out = (Bytef *) d->plain;
        d->in.avail_out = ACCESS_DEFLATE_PIECE;
        r = inflate(&d->in, Z_SYNC_FLUSH);
        d->at = 0;
        d->len = ACCESS_DEFLATE_PIECE - d->in.avail_out;
        if (r != Z_OK && r != Z_BUF_ERROR && !(r == Z_STREAM_END && d->len))
                return r == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
        return (long) (before - d->in.avail_in);
}

struct span access_deflate_plain(const struct access_deflate *d)
{
        return d->plain ? span_make(d->plain + d->at, d->len - d->at) : (struct span) {NULL, 0};
}

void access_deflate_used(struct access_deflate *d, size_t used)
{
        assert(used <= d->len - d->at);
        d->at += used;
}

static int begin(struct access_deflate *d)
{
        d->out = (z_stream) {0};
        if (deflateInit2(&d->out, Z_DEFAULT_COMPRESSION, Z_DEFLATED, OUT_WINDOW_BITS,
                         OUT_MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
                return -ENOMEM;
        d->is_deflating = true;
        return 0;
}

int access_deflate_write(struct access_deflate *d, struct span plain, struct buffer *out)
{
        int r = d->is_deflating ? 0 : begin(d);

        set_in(&d->out, plain);
        assert(plain.len <= INT_MAX);
        while (r == 0) {
                char *room;

                r = buffer_reserve(out, OUT_PIECE, &room);
                if (r < 0)
                        break;
                d->out.next_out = (Bytef *) room;
                d->out.avail_out = OUT_PIECE;
                (void) deflate(&d->out, Z_SYNC_FLUSH); /* Z_BUF_ERROR: nothing was left to say */
                buffer_commit(out, OUT_PIECE - d->out.avail_out);
                if (d->out.avail_out)
                        break;
        }
        return r;
}

/* Each write ends at an octet, between blocks (Z_SYNC_FLUSH). So a new deflater
 * may write on: its blocks refer to nothing that the old one has written. */
void access_deflate_trim(struct access_deflate *d)
{
        if (d->is_deflating)
                deflateEnd(&d->out);
        d->is_deflating = false;
        if (d->at == d->len) {
                free(d->plain);
                d->plain = NULL;
                d->at = d->len = 0;
        }
}
