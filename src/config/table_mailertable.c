/* The mailertable: where mail for a domain is handed to.
 *
 *   example.gr.jp      smtp:[192.168.10.25]      that domain
 *   .example.gr.jp     esmtp:mx.example.co.jp    every name below it
 *   .                  smtp:[gw.example.co.jp]   all else
 *   example.co.jp      smtp:[a.example],[b.example]   the second when the first is away
 *
 * The value is a next hop, or local:, discard:, error:. In a snapshot the key
 * is the domain as it stands in the table; the value is a next hop that
 * next_hop_parse() reads, once "%1" (what stood before the key) was put in. */
#include "config/table.h"
#include "message/address.h"
#include "message/next_hop.h"

enum { NEXT_HOP_MAX = 500 };

/* Names that sendmail has for SMTP spoken one way or another. */
static const struct span smtp_names[] = {SPAN("relay"), SPAN("smtp8"), SPAN("dsmtp")};

static bool key_is_good(struct table_lines *t, struct span key)
{
        const bool is_below = key.len > 1 && key.p[0] == '.';

        if (span_equal(key, SPAN_LITERAL(".")) || table_is_domain(span_skip(key, is_below)))
                return true;
        table_error(t, "\"%.*s\" is no domain; write example.jp, .example.jp for all names below "
                    "it, or . for every other one; beyond ASCII in the form that begins with xn--",
                    TABLE_TEXT(key));
        return false;
}

/* Appends `text` with `with` in place of each "%1". */
static int fill_in(struct span text, struct span with, struct buffer *out)
{
        for (size_t i = 0; i < text.len; i++) {
                const bool is_one = text.p[i] == '%' && i + 1 < text.len && text.p[i + 1] == '1';
                const int r = is_one ? buffer_append_span(out, with)
                                     : buffer_append(out, text.p + i, 1);

                if (r < 0)
                        return r;
                i += is_one;
        }
        return 0;
}

/* The hop as it is kept: sendmail's other names for smtp become smtp. */
static void put_hop(struct span value, struct buffer *out)
{
        const size_t colon = span_find(value, ':');

        for (size_t i = 0; colon != SIZE_MAX && i < sizeof smtp_names / sizeof smtp_names[0]; i++)
                if (span_equal_nocase(span_first(value, colon), smtp_names[i])) {
                        (void) buffer_append_string(out, "smtp:");
                        value = span_skip(value, colon + 1);
                        break;
                }
        (void) buffer_append_span(out, value);
}

static bool hop_is_good(struct table_lines *t, struct span key, struct span hop)
{
        const bool has_part = key.p[0] == '.';
        struct buffer example = BUFFER_INIT(2 * NEXT_HOP_MAX);
        struct next_hop parsed;
        bool good = hop.len <= NEXT_HOP_MAX &&
                    fill_in(hop, has_part ? SPAN_LITERAL("a") : SPAN_LITERAL("%"), &example) == 0 &&
                    next_hop_parse(buffer_span(&example), &parsed) == 0 &&
                    (!parsed.is_unix || span_equal(parsed.mailer, SPAN_LITERAL("lmtp")));

        for (size_t i = 0; good && i < hop.len; i++)
                good = hop.p[i] > ' ' && hop.p[i] <= '~';
        if (good && span_equal(parsed.mailer, SPAN_LITERAL("local")) && parsed.host.len) {
                struct address user;

                good = address_parse(parsed.host, true, &user) == 0;
        }
        if (!good)
                table_error(t, "\"%.*s\" is no next hop; write it like smtp:[host], esmtp:host, "
                            "lmtp:[host]:24, lmtp:unix:/path, local:, discard: or error:5.1.2:550 "
                            "text",
                            TABLE_TEXT(hop));
        buffer_done(&example);
        return good;
}

/* Several hosts, with commas between them: each as it stands alone. */
static bool hops_are_good(struct table_lines *t, struct span key, struct span text,
                          struct buffer *out)
{
        struct buffer hop = BUFFER_INIT(TABLE_LINE_MAX + 8);
        struct span word;
        struct next_hop parsed;
        bool good = true;

        for (size_t i = 0; good && span_split(&text, ',', &word); i++) {
                buffer_clear(&hop);
                put_hop(span_trim(word), &hop);
                good = hop_is_good(t, key, buffer_span(&hop));
                if (!good)
                        break;
                if (next_hop_parse(buffer_span(&hop), &parsed) < 0) /* "%1" in its host */
                        parsed.mailer = SPAN_LITERAL("smtp");
                /* "error:" alone was read before; its words may have commas. */
                if (span_equal(parsed.mailer, SPAN_LITERAL("error")) ||
                    (i && (span_equal(parsed.mailer, SPAN_LITERAL("local")) ||
                           span_equal(parsed.mailer, SPAN_LITERAL("discard"))))) {
                        table_error(t, "\"%.*s\" cannot stand beside another host",
                                    TABLE_TEXT(word));
                        good = false;
                }
                if (i)
                        (void) buffer_append(out, ",", 1);
                (void) buffer_append_span(out, buffer_span(&hop));
        }
        if (good && out->len > NEXT_HOP_MAX) {
                table_error(t, "more than %d octets of next hops", NEXT_HOP_MAX);
                good = false;
        }
        buffer_done(&hop);
        return good;
}

static int parse_entry(struct table_lines *t, struct span entry, struct snapshot_build *b)
{
        const struct span error_prefix = SPAN("error:");
        struct buffer value = BUFFER_INIT(TABLE_LINE_MAX + 8);
        struct span key, text;
        bool good = table_split_entry(t, entry, &key, &text) && key_is_good(t, key);
        int r = 0;

        if (good && span_starts_with_nocase(text, error_prefix)) {
                (void) buffer_append_span(&value, error_prefix);
                good = table_reply_parse(t, span_skip(text, error_prefix.len),
                                         SPAN_LITERAL("5.1.2"), &value);
        } else if (good) {
                good = hops_are_good(t, key, text, &value);
        }
        if (good)
                r = snapshot_build_add(b, SNAPSHOT_MAILERTABLE, key, buffer_span(&value), t->line);
        buffer_done(&value);
        return r;
}

int table_mailertable_parse(struct span text, struct span name, struct snapshot_build *b,
                            struct buffer *error)
{
        struct table_lines t = TABLE_LINES(text, name, error);

        return table_each_entry(&t, SNAPSHOT_MAILERTABLE, b, parse_entry);
}
