/* The parsers of tables: text in, rows of a snapshot out. One file a kind of
 * table (table_users.c, …); all have the form of table_parse_fn and are listed
 * in table.c by the table they make.
 *
 * Pure: they run in the confined compiler, over text that a person or program
 * wrote. */
#pragma once

#include "base/buffer.h"
#include "base/span.h"
#include "config/config.h"
#include "config/snapshot_build.h"

enum {
        TABLE_LINE_MAX = 64 * 1024,
        TABLE_ERRORS_MAX = 20, /* of one file; then we stop reading it */
};
#define TABLE_FILE_MAX ((size_t) 1 << 30)

/* Adds the rows of `text` to the builder; `name` is the file's in messages. 0;
 * -EINVAL with, in `error` (appended), a line "users:17: …" for each thing that
 * is wrong, with what to do; or what snapshot_build_add() returns. */
typedef int table_parse_fn(struct span text, struct span name, struct snapshot_build *b,
                           struct buffer *error);

table_parse_fn table_users_parse;

/* The parser of a table; NULL when it is not made from a file. */
table_parse_fn *table_parser(enum snapshot_table table);

/* Adds the tables that come from the configuration: SNAPSHOT_DOMAINS and
 * SNAPSHOT_RELAY_DOMAINS. As table_parse_fn. */
int table_domains_add(const struct config *c, struct snapshot_build *b);

/* What parsers share: the lines of a file, with their numbers. */
struct table_lines {
        struct span rest, name;
        struct buffer *error;
        uint32_t line;    /* the number of the line just read, from 1 */
        unsigned errors;
};

/* The next line without its end; false after the last one, and after too many
 * errors. Blank lines, and those that begin with "#", are left out. */
bool table_next_line(struct table_lines *t, struct span *ret_line);

/* Appends "users:17: …" and counts. */
void table_error(struct table_lines *t, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
