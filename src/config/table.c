#include "config/table.h"

#include <errno.h>
#include <stdio.h>

#include "base/number.h"

table_parse_fn *table_parser(enum snapshot_table table)
{
        static table_parse_fn *const parsers[SNAPSHOT_TABLE_END] = {
                [SNAPSHOT_USERS] = table_users_parse,
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
