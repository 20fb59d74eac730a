/* Cuts do not matter; what comes out has only lines, needs no further
 * conversion, and its leaves hold the very octets that went in. Octet 0: the
 * piece. */
#include <stdint.h>
#include <stdlib.h>

#include "message/mime.h"
#include "message/mime_convert.h"
#include "message/transfer_decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_MAX = 8 << 20, MEMORY = 64 << 20 };

static const struct mime_limits limits = {.depth_max = 50, .parts_max = 1000000,
                                          .part_header_max = 256 * 1024};

static void demand(bool condition)
{
        if (!condition)
                abort();
}

static int convert(struct span in, size_t piece, struct buffer *out)
{
        struct mime_convert *c = mime_convert_new(false);
        int r;

        for (size_t at = 0; at < in.len; at += piece)
                (void) mime_convert_feed(c, span_first(span_skip(in, at), piece), out);
        r = mime_convert_end(c, out);
        c = mime_convert_free(c);
        return r;
}

static struct mime_part *parse(struct span message, struct arena *arena)
{
        struct mime_parser *p = mime_parser_new(&limits, arena);

        mime_parser_feed(p, message);
        return mime_parser_end(p);
}

static struct span body(struct span message, const struct mime_part *part)
{
        return span_make(message.p + part->body_at, (size_t) (part->body_end - part->body_at));
}

static void compare(struct span in, const struct mime_part *a, struct span out,
                    const struct mime_part *b)
{
        struct buffer decoded = BUFFER_INIT(OUT_MAX);

        for (; a && b; a = a->next, b = b->next) {
                demand(a->kind == b->kind && !a->first_child == !b->first_child);
                if (a->first_child) {
                        compare(in, a->first_child, out, b->first_child);
                        continue;
                }
                if (a->kind != MIME_LEAF || span_equal(a->encoding, b->encoding))
                        continue; /* passed on: the whole text is compared by idempotence */
                buffer_clear(&decoded);
                demand(transfer_decode_base64(body(out, b), &decoded) == 0);
                demand(span_equal(buffer_span(&decoded), body(in, a)));
        }
        demand(!a && !b);
        buffer_done(&decoded);
}

static void check_lines(struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                demand(s.p[i] != '\0');
                if (s.p[i] == '\r')
                        demand(i + 1 < s.len && s.p[i + 1] == '\n');
                if (s.p[i] == '\n')
                        demand(i > 0 && s.p[i - 1] == '\r');
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct buffer whole = BUFFER_INIT(OUT_MAX), cut = BUFFER_INIT(OUT_MAX),
                      again = BUFFER_INIT(OUT_MAX);
        struct arena arena = ARENA_INIT(MEMORY);
        struct span in;
        int r;

        if (size < 2 || size > 64 * 1024)
                return 0;
        in = span_make((const char *) data + 1, size - 1);
        r = convert(in, in.len, &whole);
        demand(convert(in, 1 + (size_t) data[0], &cut) == r);
        if (r == 0) {
                demand(span_equal(buffer_span(&whole), buffer_span(&cut)));
                check_lines(buffer_span(&whole));
                demand(convert(buffer_span(&whole), 7, &again) == 0);
                demand(span_equal(buffer_span(&whole), buffer_span(&again)));
                compare(in, parse(in, &arena), buffer_span(&whole),
                        parse(buffer_span(&whole), &arena));
        }
        arena_done(&arena);
        buffer_done(&whole);
        buffer_done(&cut);
        buffer_done(&again);
        return 0;
}
