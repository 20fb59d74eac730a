/* The sections of FETCH: which octets of a message they mean (RFC 9051 section
 * 6.4.5.1). */
#include <errno.h>

#include "message/header.h"
#include "message/mime.h"
#include "wire/imap/imap_server_fetch.h"

static struct span cut(struct span message, uint64_t from, uint64_t to)
{
        if (to > message.len)
                to = message.len;
        if (from > to)
                from = to;
        return span_make(message.p + from, (size_t) (to - from));
}

static bool is_named(const struct imap_fetch_item *item, struct span name)
{
        for (size_t i = 0; i < item->field_count; i++)
                if (span_equal_nocase(item->fields[i], name))
                        return true;
        return false;
}

/* The fields named, or all others, and the empty line. */
static bool pick_fields(struct imap_server *s, const struct imap_fetch_item *item,
                        struct span header, struct span *ret)
{
        struct header_scan scan = HEADER_SCAN(header, header.len, SIZE_MAX);
        const bool wanted = item->section == IMAP_SECTION_FIELDS;
        struct header_field field;
        int r;

        buffer_clear(&s->scratch);
        while ((r = header_next(&scan, &field)) != 0) {
                if (r != 1 && r != -EBADMSG)
                        break;
                if (is_named(item, field.name) != wanted || (r != 1 && wanted))
                        continue;
                if (buffer_append_span(&s->scratch, field.raw) < 0)
                        return false;
        }
        if (buffer_append(&s->scratch, "\r\n", 2) < 0)
                return false;
        *ret = buffer_span(&s->scratch);
        return true;
}

/* Header and text of a message, or of one within it. */
static bool pick(struct imap_server *s, const struct imap_fetch_item *item, struct span header,
                 struct span text, struct span *ret)
{
        switch (item->section) {
        case IMAP_SECTION_HEADER:
                *ret = header;
                return true;
        case IMAP_SECTION_TEXT:
                *ret = text;
                return true;
        case IMAP_SECTION_FIELDS:
        case IMAP_SECTION_FIELDS_NOT:
                return pick_fields(s, item, header, ret);
        default:
                return false;
        }
}

bool imap_server_fetch_section(struct imap_server *s, const struct imap_fetch_item *item,
                               struct span message, struct mime_part *root, struct span *ret)
{
        struct mime_part *part;
        size_t body;

        if (item->number_count == 0 && item->section == IMAP_SECTION_ALL) {
                *ret = message;
                return true;
        }
        if (item->number_count == 0) {
                header_len(message, &body);
                return pick(s, item, span_first(message, body), span_skip(message, body), ret);
        }
        part = mime_part_by_number(root, item->numbers, item->number_count);
        if (!part)
                return false;
        if (item->section == IMAP_SECTION_ALL || item->section == IMAP_SECTION_MIME) {
                const bool is_all = item->section == IMAP_SECTION_ALL;

                *ret = is_all ? cut(message, part->body_at, part->body_end)
                              : cut(message, part->header_at, part->body_at);
                return true;
        }
        if (part->kind != MIME_MESSAGE || !part->first_child)
                return false;
        part = part->first_child;
        return pick(s, item, cut(message, part->header_at, part->body_at),
                    cut(message, part->body_at, part->body_end), ret);
}
