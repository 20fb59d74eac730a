/* Cuts do not matter, nor whether the header was looked at before; the tree lies within the
 * message without overlap. */
#include <stdint.h>
#include <stdlib.h>

#include "message/header.h"
#include "message/mime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct mime_limits limits = {.depth_max = 8, .parts_max = 40, .part_header_max = 512};

static void demand(int condition)
{
        if (!condition)
                abort();
}

static void compare(const struct mime_part *a, const struct mime_part *b)
{
        demand(a->kind == b->kind && a->header_at == b->header_at && a->body_at == b->body_at);
        demand(a->body_end == b->body_end && a->body_lines == b->body_lines);
        demand(span_equal(a->header, b->header) && a->is_opaque == b->is_opaque);
        demand(!a->first_child == !b->first_child && !a->next == !b->next);
        if (a->first_child)
                compare(a->first_child, b->first_child);
        if (a->next)
                compare(a->next, b->next);
}

static void check(const struct mime_part *part, uint64_t from, uint64_t end)
{
        demand(part->header_at >= from && part->body_at >= part->header_at);
        demand(part->body_end >= part->body_at && part->body_end <= end);
        from = part->body_at;
        for (const struct mime_part *c = part->first_child; c; c = c->next) {
                check(c, from, part->body_end > c->body_end ? part->body_end : end);
                from = c->body_end;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct arena arena = ARENA_INIT(4 * 1024 * 1024);
        struct mime_parser *whole = mime_parser_new(&limits, &arena);
        struct mime_parser *cut = mime_parser_new(&limits, &arena);
        const struct span message = span_make((const char *) data, size);
        struct header_summary header;
        struct mime_part *root;

        (void) header_summarize(message, HEADER_SIZE_MAX, HEADER_FIELDS_MAX, &header);
        mime_parser_feed(whole, message);
        for (size_t i = 0; i < size; i++)
                mime_parser_feed(cut, span_make(message.p + i, 1));
        root = mime_parser_end(whole);
        check(root, 0, size);
        compare(root, mime_parser_end(cut));
        compare(root, mime_parse(&limits, message, &header, &arena));
        arena_done(&arena);
        return 0;
}
