/* Sections dnsbl "zone" { … }: from the one text that a section is while the
 * configuration travels, and back. */

#include <errno.h>
#include <string.h>

#include "base/number.h"
#include "config/options.h"

enum { ZONE_MAX = 180, MESSAGE_MAX = 200, ANSWERS_MAX = 32 };

const char *const option_dnsbl_names[] = {"answers", "allow", "on_outage", "message", NULL};

#define REFUSE(why, ...) (buffer_printf((why), __VA_ARGS__), -EINVAL)
#define TEXT(s) (int) ((s).len < 200 ? (s).len : 200), (s).p

/* 73 octets of an IPv6 address in front of it must still make a name. */
static int check_zone(struct span zone, struct buffer *why)
{
        bool is_good = zone.len > 0 && zone.len <= ZONE_MAX && zone.p[0] != '.' &&
                       zone.p[zone.len - 1] != '.';

        for (size_t i = 0; is_good && i < zone.len; i++) {
                const char c = ascii_lower(zone.p[i]);

                is_good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                          c == '_' || (c == '.' && zone.p[i - 1] != '.');
        }
        if (is_good)
                return 0;
        return REFUSE(why, "\"%.*s\" is no zone of a list; write it like dnsbl \"bl.example.net\" "
                      "{ }, in at most %d octets", TEXT(zone), ZONE_MAX);
}

/* sendmail's tables have a dot behind each answer. */
static int parse_answers(struct span list, struct arena *arena, struct config_networks *ret,
                         struct buffer *why)
{
        struct span rest = list, word;
        int r = 0;

        ret->items = arena_alloc(arena, ANSWERS_MAX * sizeof *ret->items);
        ret->count = 0;
        if (!ret->items)
                return -ENOMEM;
        while (r == 0 && span_split(&rest, ',', &word)) {
                if (word.len && word.p[word.len - 1] == '.')
                        word.len--;
                if (ret->count == ANSWERS_MAX)
                        return REFUSE(why, "answers: at most %d", ANSWERS_MAX);
                r = option_parse_network(word, &ret->items[ret->count++], why);
        }
        return r;
}

static int parse_pair(struct span name, struct span value, struct arena *arena,
                      struct config_dnsbl *d, struct buffer *why)
{
        uint64_t line;

        if (span_equal(name, SPAN_LITERAL("line")) && number_parse(value, 1000000, &line) == 0) {
                d->line = (unsigned) line;
                return 0;
        }
        if (span_equal(name, SPAN_LITERAL("answers")))
                return parse_answers(value, arena, &d->answers, why);
        if (span_equal(name, SPAN_LITERAL("allow"))) {
                d->is_allow = span_equal(value, SPAN_LITERAL("yes"));
                if (!d->is_allow && !span_equal(value, SPAN_LITERAL("no")))
                        return REFUSE(why, "allow must be yes or no");
                return 0;
        }
        if (span_equal(name, SPAN_LITERAL("on_outage"))) {
                d->is_tempfail = span_equal(value, SPAN_LITERAL("tempfail"));
                if (!d->is_tempfail && !span_equal(value, SPAN_LITERAL("accept")))
                        return REFUSE(why, "on_outage must be \"accept\" or \"tempfail\"");
                return 0;
        }
        return REFUSE(why, "\"%.*s\" means nothing in a section dnsbl", TEXT(name));
}

int option_dnsbl_parse(struct span s, struct arena *arena, struct config_dnsbl *ret_d,
                       struct buffer *why)
{
        struct config_dnsbl d = {.text = s};
        struct span rest = s, pair;
        int r;

        span_split(&rest, ' ', &d.zone);
        r = check_zone(d.zone, why);
        while (r == 0 && rest.p) {
                const size_t equals = span_find(rest, '=');
                const struct span name = span_first(rest, equals);

                if (equals == SIZE_MAX)
                        return REFUSE(why, "\"%.*s\" is no name=value", TEXT(rest));
                if (span_equal(name, SPAN_LITERAL("message"))) {
                        d.message = span_skip(rest, equals + 1);
                        if (d.message.len > MESSAGE_MAX)
                                return REFUSE(why, "message: at most %d octets", MESSAGE_MAX);
                        break;
                }
                span_split(&rest, ' ', &pair);
                r = parse_pair(name, span_skip(pair, name.len + 1), arena, &d, why);
        }
        if (r == 0)
                *ret_d = d;
        return r;
}

static int print_quoted(struct span text, struct buffer *b)
{
        int r = buffer_append(b, "\"", 1);

        for (size_t i = 0; r == 0 && i < text.len; i++) {
                if (text.p[i] == '"' || text.p[i] == '\\')
                        r = buffer_append(b, "\\", 1);
                if (r == 0)
                        r = buffer_append(b, &text.p[i], 1);
        }
        return r < 0 ? r : buffer_append(b, "\"", 1);
}

static int print_answers(struct span list, struct buffer *b)
{
        struct span word;
        bool is_first = true;
        int r = buffer_append_string(b, " answers = { ");

        while (r == 0 && span_split(&list, ',', &word)) {
                if (!is_first)
                        r = buffer_append_string(b, ", ");
                is_first = false;
                if (r == 0)
                        r = print_quoted(word, b);
        }
        return r < 0 ? r : buffer_append_string(b, " }");
}

int option_dnsbl_print(struct span text, struct buffer *b)
{
        struct span rest = text, zone, pair;
        int r = buffer_append_string(b, "dnsbl ");

        span_split(&rest, ' ', &zone);
        if (r == 0)
                r = print_quoted(zone, b);
        if (r == 0)
                r = buffer_append_string(b, " {");
        while (r == 0 && rest.p) {
                const struct span name = span_first(rest, span_find(rest, '='));
                const bool is_message = span_equal(name, SPAN_LITERAL("message"));

                if (is_message) {
                        pair = rest;
                        rest.p = NULL;
                } else {
                        span_split(&rest, ' ', &pair);
                }
                pair = span_skip(pair, name.len + 1);
                if (span_equal(name, SPAN_LITERAL("answers")))
                        r = print_answers(pair, b);
                else if (span_equal(name, SPAN_LITERAL("allow")))
                        r = buffer_printf(b, " allow = %.*s", (int) pair.len, pair.p);
                else if (!span_equal(name, SPAN_LITERAL("line")))
                        r = buffer_printf(b, " %.*s = ", (int) name.len, name.p);
                if (r == 0 && (is_message || span_equal(name, SPAN_LITERAL("on_outage"))))
                        r = print_quoted(pair, b);
        }
        return r < 0 ? r : buffer_append_string(b, " }");
}
