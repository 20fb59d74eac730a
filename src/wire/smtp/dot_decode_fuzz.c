/* The first octet says where to cut. Whole, cut and octet by octet must give
 * the same; the end is where CRLF "." CRLF first stands. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "wire/smtp/dot_decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
        bool is_end, is_bad;
        size_t used, len;
        char *out;
};

static void decode(struct span in, size_t piece, struct result *r)
{
        struct dot_decoder d = DOT_DECODER_INIT;

        *r = (struct result) { .out = malloc(in.len + 2) };
        while (!r->is_end && r->used < in.len) {
                struct span part = span_first(span_skip(in, r->used), piece), text;
                size_t n;

                r->is_end = dot_decode(&d, part, &n, &text);
                assert(n > 0 && n <= part.len);
                r->used += n;
                if (text.len)
                        memcpy(r->out + r->len, text.p, text.len);
                r->len += text.len;
                assert(r->len <= r->used);
        }
        r->is_bad = d.bad_line_end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct result whole, pieces;
        struct span in;
        const char *end;
        char *start;

        if (size < 1)
                return 0;
        in = span_make((const char *) data + 1, size - 1);
        decode(in, in.len, &whole);
        decode(in, 1 + data[0] % 16, &pieces);
        assert(whole.is_end == pieces.is_end && whole.is_bad == pieces.is_bad);
        assert(whole.used == pieces.used);
        if (!whole.is_bad)
                assert(whole.len == pieces.len && memcmp(whole.out, pieces.out, whole.len) == 0);

        /* The command's CRLF counts as the first line's start. */
        start = malloc(in.len + 2);
        memcpy(start, "\r\n", 2);
        memcpy(start + 2, in.p, in.len);
        end = memmem(start, in.len + 2, "\r\n.\r\n", 5);
        assert(whole.is_end == (end != NULL));
        assert(!end || whole.used == (size_t) (end - start) + 3);
        free(start);
        free(whole.out);
        free(pieces.out);
        return 0;
}
