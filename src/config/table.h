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
        TABLE_KEY_MAX = SNAPSHOT_KEY_MAX - 16, /* there may be a tag in front */
        TABLE_ERRORS_MAX = 20, /* of one file; then we stop reading it */
};
#define TABLE_FILE_MAX ((size_t) 1 << 30)

/* Adds the rows of `text` to the builder; `name` is the file's in messages. 0;
 * -EINVAL with, in `error` (appended), a line "users:17: …" for each thing that
 * is wrong, with what to do; or what snapshot_build_add() returns. */
typedef int table_parse_fn(struct span text, struct span name, struct snapshot_build *b,
                           struct buffer *error);

table_parse_fn table_users_parse;
table_parse_fn table_mailertable_parse;
table_parse_fn table_access_parse;
table_parse_fn table_aliases_parse;
table_parse_fn table_virtusertable_parse;
table_parse_fn table_genericstable_parse;

/* The same for a file that aliases include; its name is its path. */
table_parse_fn table_include_parse;

/* The paths that aliases, or with `is_list` a list that they include, include
 * themselves: `visit` is called for each; less than 0 from it ends the search
 * and is returned. Entries with errors are passed over. */
typedef int table_include_fn(void *arg, struct span path);
int table_includes(struct span text, bool is_list, table_include_fn *visit, void *arg);

/* Aliases and lists that name programs or files: they are run and written by the
 * owner of the list. In a snapshot the key TABLE_OWNER_KEY, and behind it the
 * path of a list, has the owner's number, or TABLE_OWNER_NONE where others may
 * write the file too: then nothing is run. */
#define TABLE_OWNER_KEY ":owner:"
#define TABLE_OWNER_NONE UINT32_MAX

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
        uint32_t continued;   /* lines that were read on behind it */
        void *arg;            /* of whoever adds the entries */
        struct buffer joined; /* of table_next_entry(): free it with buffer_done() */
};
#define TABLE_LINES(text, file_name, errors_to)                                                    \
        {.rest = (text), .name = (file_name), .error = (errors_to),                                \
         .joined = BUFFER_INIT(TABLE_LINE_MAX)}

/* The next line without its end; false after the last one, and after too many
 * errors. Blank lines, and those that begin with "#", are left out. */
bool table_next_line(struct table_lines *t, struct span *ret_line);

/* Appends "users:17: …" and counts. */
void table_error(struct table_lines *t, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* The next entry of a table in sendmail's form: a line, and those behind it
 * that begin with a blank, or that it runs on into with a backslash at its end.
 * Comments and blank lines are left out. `t->line` is the entry's first; the
 * span lives until the next call. False as table_next_line(). */
bool table_next_entry(struct table_lines *t, struct span *ret_entry);

/* Reads a whole table of such entries: names its file in the snapshot, calls
 * `add` for each, and lets `t` go. 0; -EINVAL where an error was said; or what
 * `add` returned, which ends the reading. */
typedef int table_entry_fn(struct table_lines *t, struct span entry, struct snapshot_build *b);
int table_each_entry(struct table_lines *t, enum snapshot_table table, struct snapshot_build *b,
                     table_entry_fn *add);

/* Cuts an entry at its first blank. False, with an error said, when there is
 * no value. */
bool table_split_entry(struct table_lines *t, struct span entry, struct span *ret_key,
                       struct span *ret_value);

/* For messages: the start of a text that may be long. */
#define TABLE_TEXT(span) (int) ((span).len < 100 ? (span).len : 100), (span).len ? (span).p : ""

/* A domain name in ASCII, "localhost" too; no literal, no U-labels. */
bool table_is_domain(struct span s);

/* What stands behind "error:" in sendmail's tables: "5.1.2:550 text", "550
 * text", "550 5.1.1 text", "nouser text" and the other words for it. Appends
 * "550 5.1.2 text" to `out`. `enhanced` is said where none is written; its
 * first digit gives way to that of the code. False, with an error said. */
bool table_reply_parse(struct table_lines *t, struct span text, struct span enhanced,
                       struct buffer *out);

/* Reads "550 5.1.2 text" back, as it stands in a snapshot. False: damaged. */
bool table_reply_split(struct span stored, uint16_t *ret_code, struct span *ret_enhanced,
                       struct span *ret_text);
