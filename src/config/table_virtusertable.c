/* The virtusertable: recipients by whole address or by domain.
 *
 *   info@example.jp      hanako
 *   joe+*@example.jp     joe-%2@example.com
 *   @example.com         %1%3@example.jp
 *   @example.net         error:nouser No such user here
 *
 * %1 is the user, %2 the detail behind "+", %3 the detail with its "+". In a
 * snapshot key and value are as they stand, errors in the form of
 * table_reply_split() behind "error:". */
#include "config/table.h"
#include "message/address.h"

enum { VALUE_MAX = 600 };

static bool key_is_good(struct table_lines *t, struct span key)
{
        const size_t at = span_find_last(key, '@');
        struct span local = span_first(key, at);
        struct address address;
        bool good = at != SIZE_MAX && table_is_domain(span_skip(key, at + 1));

        if (good && span_ends_with_nocase(local, SPAN_LITERAL("+*")))
                local.len -= 2;
        else if (good && span_ends_with_nocase(local, SPAN_LITERAL("++")))
                local.len -= 2;
        if (good && local.len)
                good = address_parse(local, true, &address) == 0 && address.domain.len == 0;
        if (!good)
                table_error(t, "\"%.*s\" is no key; write user@example.jp, user+*@example.jp or "
                            "@example.jp", TABLE_TEXT(key));
        return good;
}

/* The value with something in place of %1 to %3 is an address. */
static bool value_is_good(struct table_lines *t, struct span value)
{
        struct buffer example = BUFFER_INIT(2 * VALUE_MAX);
        struct address address;
        bool good = value.len <= VALUE_MAX;

        for (size_t i = 0; good && i < value.len; i++) {
                const bool is_part = value.p[i] == '%' && i + 1 < value.len &&
                                     value.p[i + 1] >= '1' && value.p[i + 1] <= '9';

                good = !is_part || value.p[i + 1] <= '3';
                if (good && is_part)
                        good = buffer_append(&example, "a", 1) == 0;
                else if (good)
                        good = buffer_append(&example, value.p + i, 1) == 0;
                i += is_part;
        }
        if (good)
                good = address_parse(buffer_span(&example), true, &address) == 0;
        buffer_done(&example);
        if (!good)
                table_error(t, "\"%.*s\" is no recipient; write one name or address, with %%1, %%2 "
                            "and %%3 where parts belong, or error:nouser text; several need an "
                            "alias", TABLE_TEXT(value));
        return good;
}

static int parse_entry(struct table_lines *t, struct span entry, struct snapshot_build *b)
{
        const struct span error_prefix = SPAN("error:");
        struct buffer value = BUFFER_INIT(TABLE_LINE_MAX);
        struct span key, text;
        bool good = table_split_entry(t, entry, &key, &text) && key_is_good(t, key);
        int r = 0;

        if (good && span_starts_with_nocase(text, error_prefix)) {
                (void) buffer_append_span(&value, error_prefix);
                good = table_reply_parse(t, span_skip(text, error_prefix.len),
                                         SPAN_LITERAL("5.1.1"), &value);
                text = buffer_span(&value);
        } else if (good) {
                good = value_is_good(t, text);
        }
        if (good)
                r = snapshot_build_add(b, SNAPSHOT_VIRTUSERTABLE, key, text, t->line);
        buffer_done(&value);
        return r;
}

int table_virtusertable_parse(struct span text, struct span name, struct snapshot_build *b,
                              struct buffer *error)
{
        struct table_lines t = TABLE_LINES(text, name, error);

        return table_each_entry(&t, SNAPSHOT_VIRTUSERTABLE, b, parse_entry);
}
