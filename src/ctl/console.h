/* What the commands share: the one sentence on standard error, the
 * configuration, secrets from a terminal, JSON lines. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "config/config.h"

/* Where the configuration is read from when no -c names another. */
#define CONSOLE_CONFIG_FILE "/etc/hayauma/hayauma.conf"

/* The command in messages, "hayauma queue"; copied. */
void console_set_name(const char *name);

/* Writes "hayauma queue: …\n", one sentence that says what failed, where, and
 * what to do. Returns `status`, for `return console_fail(EX_…, …)`. */
int console_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One option of a command line: "--quota 10G", "--quota=10G" or, with
 * is_short, "-c FILE". Exactly one of `value` and `is_set` is not NULL. */
struct console_option {
        const char *name; /* "quota", or "c" */
        bool is_short;
        const char **value;
        bool *is_set;
};
#define CONSOLE_OPTION_CONFIG(at) { "c", true, (at), NULL }
#define CONSOLE_OPTION_JSON(at) { "json", false, NULL, (at) }

/* Takes the options out of argv[1 … argc - 1], wherever they stand; "--" ends
 * them. Returns how many words are left; they then stand from argv[1] on. -1: a
 * wrong option, which was said on standard error: return EX_USAGE. */
int console_options(int argc, char **argv, const struct console_option *options, size_t count);

/* Reads the configuration at `path`, or, if NULL, at CONSOLE_CONFIG_FILE.
 * EX_OK, or, said on standard error, EX_NOINPUT or EX_CONFIG. */
int console_config(const char *path, struct config **ret_config);

/* Reads a line from the terminal without showing it, or from standard input
 * when that is no terminal; without its line end. 0, -EMSGSIZE, -ENODATA (no
 * line came) or -errno. The caller wipes it. */
int console_secret(const char *prompt, char *out, size_t room);

/* One JSON object, one line; takes the reference. */
void console_json(json_t *object);

/* Text of `s` for a terminal: controls (escape sequences that a peer chose)
 * become "?". */
void console_text(struct span s);

/* "2026-11-22 04:25:03" in local time. Returns `out`. */
enum { CONSOLE_TIME_MAX = 32 };
const char *console_time(uint64_t at_us, char *out);

/* A string or number of a row; empty or 0 when it is not there. */
struct span console_row_text(const json_t *row, const char *name);
uint64_t console_row_number(const json_t *row, const char *name);
