/* The log: events with typed fields, one a line, on standard error.
 *
 *   log_event(LOG_NOTICE, "message_accepted",
 *             LOG_SPAN("mail_from", from), LOG_U64("size", size));
 *
 *   notice edge/0 message_accepted mail_from=a@example.jp size=4096
 *
 * Every process but the supervisor has a pipe for standard error; the
 * supervisor puts the time in front and writes it out. Values with blanks,
 * quotes or control characters are quoted and escaped, so no peer can forge a
 * line or a field. Libraries do not log: they return errors. Secrets have no
 * log path. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG };

struct log_field {
        struct span before; /* " name=" */
        struct span text; /* used when is_number is 0 */
        uint64_t number;
        int is_number;
};

#define LOG_SPAN(n, s) ((struct log_field) {.before = SPAN(" " n "="), .text = (s)})
#define LOG_TEXT(n, s) ((struct log_field) {.before = SPAN(" " n "="), .text = span_from_string(s)})
#define LOG_U64(n, v)                                                                              \
        ((struct log_field) {.before = SPAN(" " n "="), .number = (uint64_t) (v), .is_number = 1})
/* A negative errno, as its text. */
#define LOG_ERRNO(n, r) LOG_TEXT(n, strerror(-(r)))

/* The name in front of every line, "edge/0"; copied. */
void log_set_process(const char *name);

/* Events above this level are dropped. LOG_INFO at start. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* Of "notice" and so on; -1 when it is none of them. */
int log_level_parse(struct span name);

/* Whether each line begins with the time, "2026-11-22T04:25:03.123456Z ": for
 * the supervisor, whose lines nobody else stamps. False at start. */
void log_set_clock(bool with_time);

/* From now on lines of LOG_NOTICE and below wait in a buffer of 16 KiB: one
 * system call for many of them. `request_flush` is called when the first line
 * waits and sees to it that log_flush() is called soon. Whoever ends calls
 * log_flush(), or loses what waits; so does a crash. NULL: every line is written
 * at once again. */
void log_set_buffered(void (*request_flush)(void *arg), void *arg);
void log_flush(void);

/* Writes one line of at most LOG_LINE_MAX bytes; longer ones are cut. */
enum { LOG_LINE_MAX = 2048 };
void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count);

/* What is not written costs nothing: its fields are not even computed. */
#define log_event(level, event, ...)                                                               \
        do {                                                                                       \
                if ((level) <= log_get_level())                                                    \
                        log_write((level), (event), (const struct log_field[]) {__VA_ARGS__},      \
                                  sizeof((const struct log_field[]) {__VA_ARGS__}) /               \
                                          sizeof(struct log_field));                               \
        } while (0)
