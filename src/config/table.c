#include "config/table.h"

#include <errno.h>
#include <stdio.h>

#include "base/number.h"
#include "message/address.h"

table_parse_fn *table_parser(enum snapshot_table table)
{
        static table_parse_fn *const parsers[SNAPSHOT_TABLE_END] = {
                [SNAPSHOT_USERS] = table_users_parse,
                [SNAPSHOT_MAILERTABLE] = table_mailertable_parse,
                [SNAPSHOT_ACCESS] = table_access_parse,
                [SNAPSHOT_ALIASES] = table_aliases_parse,
                [SNAPSHOT_VIRTUSERTABLE] = table_virtusertable_parse,
                [SNAPSHOT_GENERICSTABLE] = table_genericstable_parse,
        };

        return (unsigned) table < SNAPSHOT_TABLE_END ? parsers[table] : NULL;
}

void table_error(struct table_lines *t, const char *format, ...)
{
        char text[1024];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        /* What does not fit is not said; it was counted. */
        buffer_printf(t->error, "%.*s:%u: %s\n", (int) t->name.len, t->name.p, t->line, text);
        t->errors++;
}

bool table_next_line(struct table_lines *t, struct span *ret_line)
{
        struct span line;

        while (t->errors < TABLE_ERRORS_MAX && t->rest.len) {
                span_split(&t->rest, '\n', &line);
                t->line++;
                if (line.len > TABLE_LINE_MAX) {
                        table_error(t, "the line has more than %d octets; is it the right file?",
                                    TABLE_LINE_MAX);
                        continue;
                }
                line = span_trim(line);
                if (line.len == 0 || line.p[0] == '#')
                        continue;
                *ret_line = line;
                return true;
        }
        return false;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t';
}

/* The next line as it stands, without its end. */
static bool next_raw_line(struct table_lines *t, struct span *ret_line)
{
        if (t->rest.len == 0)
                return false;
        span_split(&t->rest, '\n', ret_line);
        if (ret_line->len && ret_line->p[ret_line->len - 1] == '\r')
                ret_line->len--;
        return true;
}

/* Does the text go on with a line that belongs to this one? Steps over what
 * lies between them. */
static bool skip_to_continuation(struct table_lines *t)
{
        struct span rest = t->rest, line;
        uint32_t lines = 0;

        while (rest.len) {
                const struct span here = rest;

                span_split(&rest, '\n', &line);
                if (here.p[0] != '#' && span_trim(line).len) {
                        if (!is_blank(here.p[0]))
                                return false;
                        t->rest = here;
                        t->continued += lines;
                        return true;
                }
                lines++;
        }
        return false;
}

/* "\\" at the end: taken off, and the next line belongs to it as it is. */
static bool take_backslash(struct span *line)
{
        if (line->len == 0 || line->p[line->len - 1] != '\\')
                return false;
        line->len--;
        return true;
}

static bool join(struct table_lines *t, struct span first, bool goes_on, struct span *ret_entry)
{
        struct span line = first;
        int r = 0;

        buffer_clear(&t->joined);
        for (;;) {
                if (t->joined.len)
                        r = buffer_append(&t->joined, " ", 1);
                if (r == 0)
                        r = buffer_append_span(&t->joined, span_trim(line));
                if (r < 0) {
                        table_error(t, "the entry has more than %d octets; is it the right file?",
                                    TABLE_LINE_MAX);
                        return false;
                }
                if (!goes_on && !skip_to_continuation(t))
                        break;
                if (!next_raw_line(t, &line))
                        break;
                t->continued++;
                goes_on = take_backslash(&line);
        }
        *ret_entry = buffer_span(&t->joined);
        return true;
}

bool table_next_entry(struct table_lines *t, struct span *ret_entry)
{
        struct span line;

        while (t->errors < TABLE_ERRORS_MAX) {
                bool is_indented, goes_on;

                t->line += t->continued;
                t->continued = 0;
                if (!next_raw_line(t, &line))
                        return false;
                t->line++;
                if (line.len > TABLE_LINE_MAX) {
                        table_error(t, "the line has more than %d octets; is it the right file?",
                                    TABLE_LINE_MAX);
                        continue;
                }
                if (span_trim(line).len == 0 || line.p[0] == '#')
                        continue;
                is_indented = is_blank(line.p[0]);
                if (is_indented) {
                        table_error(t, "the line begins with a blank, which continues the line "
                                    "before, but there is none; take the blank out");
                        continue;
                }
                goes_on = take_backslash(&line);
                if (!goes_on && (t->rest.len == 0 || !skip_to_continuation(t))) {
                        *ret_entry = span_trim(line);
                        return true;
                }
                if (join(t, line, goes_on, ret_entry))
                        return true;
        }
        return false;
}

int table_each_entry(struct table_lines *t, enum snapshot_table table, struct snapshot_build *b,
                     table_entry_fn *add)
{
        struct span entry;
        int r = snapshot_build_source(b, table, t->name);

        while (r == 0 && table_next_entry(t, &entry))
                r = add(t, entry, b);
        buffer_done(&t->joined);
        if (r < 0)
                return r;
        return t->errors ? -EINVAL : 0;
}

bool table_split_entry(struct table_lines *t, struct span entry, struct span *ret_key,
                       struct span *ret_value)
{
        size_t at = 0;

        while (at < entry.len && !is_blank(entry.p[at]))
                at++;
        *ret_key = span_first(entry, at);
        *ret_value = span_trim(span_skip(entry, at));
        if (at > TABLE_KEY_MAX) {
                table_error(t, "\"%.*s\" is too long for a key, which may have %d octets",
                            TABLE_TEXT(*ret_key), TABLE_KEY_MAX);
                return false;
        }
        if (ret_value->len)
                return true;
        table_error(t, "behind \"%.*s\" there is nothing; a line is a key, blanks and a value",
                    TABLE_TEXT(*ret_key));
        return false;
}

bool table_is_domain(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if ((unsigned char) s.p[i] > 127)
                        return false;
        return address_is_domain(s);
}

/* A list in the configuration, all of it at the line where the option is set. */
static int add_list(const struct config *c, const char *option, const struct config_list *list,
                    enum snapshot_table table, struct snapshot_build *b)
{
        const struct span origin = span_from_string(config_origin(c, option));
        const size_t colon = span_find_last(origin, ':');
        uint64_t line = 0;
        int r;

        if (number_parse(span_skip(origin, colon == SIZE_MAX ? origin.len : colon + 1), UINT32_MAX,
                         &line) < 0)
                line = 0;
        r = snapshot_build_source(b, table, line ? span_first(origin, colon) : origin);
        for (size_t i = 0; r == 0 && i < list->count; i++)
                r = snapshot_build_add(b, table, list->items[i], (struct span) {NULL, 0},
                                       (uint32_t) line);
        return r;
}

int table_domains_add(const struct config *c, struct snapshot_build *b)
{
        int r = add_list(c, "domains", &c->domains, SNAPSHOT_DOMAINS, b);

        return r < 0 ? r
                     : add_list(c, "relay_domains", &c->relay_domains, SNAPSHOT_RELAY_DOMAINS, b);
}
