/* Command lines of programs that tables name ("|/usr/bin/procmail -a list").
 *
 * They are words with blanks between them, and no shell reads them. Quotes hold
 * words together: '…' as it stands, "…" with a backslash in front of " and \ only;
 * outside of quotes a backslash takes the next octet as it is. The first word is
 * the program's whole path. What would mean something to a shell (| & ; < > ( ) $ `
 * * ? [ ] { } ~ # ! and line ends, outside of quotes) is refused, so that nobody
 * believes it does: who wants a shell names it, /bin/sh -c '…'.
 *
 * Pure. */
#pragma once

#include <stddef.h>

#include "base/buffer.h"
#include "base/span.h"

enum { COMMAND_LINE_MAX = 1000, COMMAND_WORDS_MAX = 100 };

/* Appends each word and a NUL to `words`. 0 with how many; -EINVAL (nothing there, a
 * quote that never closes, or what is refused, in `*ret_why`); -ENOENT (the first is
 * no whole path); -E2BIG; -ENOMEM. */
int command_line_split(struct span text, struct buffer *words, size_t *ret_count,
                       const char **ret_why);
