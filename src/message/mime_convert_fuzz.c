/* Cuts do not matter; what comes out is fit, needs no further conversion, and its
 * leaves hold the very octets that went in. Octet 0: the piece, and for whom. */
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

static int convert(struct span in, enum mime_convert_to to, size_t piece, struct buffer *out)
{
        struct mime_convert *c = mime_convert_new(to, false);
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

/* A text in quoted-printable ends its last line. */
static bool is_same(struct span decoded, struct span wanted)
{
        if (decoded.len == wanted.len + 2 && span_ends_with_nocase(decoded, SPAN_LITERAL("\r\n")))
                decoded.len -= 2;
        return span_equal(decoded, wanted);
}

static void compare(struct span in, const struct mime_part *a, struct span out,
                    const struct mime_part *b)
{
        struct buffer decoded = BUFFER_INIT(OUT_MAX), wanted = BUFFER_INIT(OUT_MAX);

        for (; a && b; a = a->next, b = b->next) {
                demand(a->kind == b->kind && !a->first_child == !b->first_child);
                if (a->first_child) {
                        compare(in, a->first_child, out, b->first_child);
                        continue;
                }
                if (a->kind != MIME_LEAF || span_equal(a->encoding, b->encoding))
                        continue; /* passed on: the whole text is compared by idempotence */
                buffer_clear(&decoded);
                buffer_clear(&wanted);
                demand(transfer_decode(b->encoding, body(out, b), &decoded) == 0);
                demand(transfer_decode(a->encoding, body(in, a), &wanted) == 0);
                demand(is_same(buffer_span(&decoded), buffer_span(&wanted)));
        }
        demand(!a && !b);
        buffer_done(&decoded);
        buffer_done(&wanted);
}

static void check_fit(struct span s, enum mime_convert_to to)
{
        for (size_t i = 0; i < s.len; i++) {
                demand(to != MIME_CONVERT_TO_7BIT || (unsigned char) s.p[i] < 0x80);
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
        enum mime_convert_to to;
        struct span in;
        int r;

        if (size < 2 || size > 64 * 1024)
                return 0;
        in = span_make((const char *) data + 1, size - 1);
        to = (enum mime_convert_to) (data[0] % 3);
        r = convert(in, to, in.len, &whole);
        demand(convert(in, to, 1 + (size_t) data[0], &cut) == r);
        if (r == 0) {
                demand(span_equal(buffer_span(&whole), buffer_span(&cut)));
                check_fit(buffer_span(&whole), to);
                demand(convert(buffer_span(&whole), to, 7, &again) == 0);
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
