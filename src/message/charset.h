/* Text in the charsets of mail, as it is really sent, to UTF-8.
 *
 * Uses ICU with our own table of names: what calls itself Shift_JIS is
 * windows-31j, ISO-2022-JP may hold the rows of NEC and IBM, half-width katakana
 * and empty escape sequences, or be UTF-8 in truth; ISO-8859-1 is windows-1252.
 *
 * Converters are kept open, a few a thread. ICU's data is part of its library, so that
 * a confined process opens them as well. */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/span.h"

/* Appends `text` as valid UTF-8; what cannot be read becomes U+FFFD. 0;
 * -ENOTSUP: no such charset, nothing appended; -ENOMEM, -EMSGSIZE: a part may
 * have been appended. An empty name is US-ASCII. */
int charset_to_utf8(struct span charset, struct span text, struct buffer *out);

bool charset_is_known(struct span charset);

/* The same for text whose charset nobody said: UTF-8 if it is, ISO-2022-JP where
 * it has its escapes, else the Japanese one it can be, else windows-1252. */
int charset_guess_to_utf8(struct span text, struct buffer *out);

/* ISO-2022-JP by ICU alone: what our table (iso_2022_jp.h) is checked against. */
int charset_japanese_by_library(struct span text, struct buffer *out);
