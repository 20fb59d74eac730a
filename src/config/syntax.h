/* The text of hayauma.conf, cut into settings: libconfuse with its rough edges
 * taken off.
 *
 * What libconfuse would take in silence is refused here: environment variables
 * and includes (the file means the same whoever reads it), quotes that end on
 * another line, a section left open, an option set twice, characters that its
 * lexer drops. All that is wrong is collected, not only the first. */
#pragma once

#include <stddef.h>

#include "base/arena.h"
#include "base/span.h"
#include "config/config.h"

/* One option as the file sets it. */
struct syntax_setting {
        struct config_list texts;
        unsigned line; /* of its first value; 0: an empty list */
        bool is_set;
};

/* One thing that is wrong. */
struct syntax_error {
        unsigned line; /* 0: of no line */
        const char *text;
};

enum { SYNTAX_ERRORS_MAX = 50 };
struct syntax_errors {
        struct syntax_error items[SYNTAX_ERRORS_MAX];
        size_t count; /* further ones are dropped */
};

/* Adds an error; its text is copied into the arena. */
void syntax_error_add(struct syntax_errors *errors, struct arena *arena, unsigned line,
                      const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Reads `text` into `settings`, one for each row of the option table; the
 * texts live in the arena. 0, -ENOMEM, or -EINVAL with errors added. Not
 * thread-safe: libconfuse's lexer is one for the process. */
int syntax_read(struct span text, struct arena *arena, struct syntax_setting *settings,
                struct syntax_errors *errors);
