/* Reading header text: the encoded words of RFC 2047 and the parameters of RFC
 * 2231, to UTF-8. Pure. */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "base/span.h"
#include "message/content_field.h"

/* Appends the value of a field as UTF-8: folds undone, encoded words decoded,
 * blanks between two of them left out. Octets of neighbouring words in one
 * charset are joined before they are converted, since senders cut characters in
 * two. Octets above 127 outside of words are guessed at. What only looks like an
 * encoded word stays. 0, or as buffer_append(). */
int encoded_word_decode(struct span value, struct buffer *out);

/* A parameter by its plain name, in lower case: RFC 2231 sections joined and
 * decoded, else encoded words in it decoded, which RFC 2047 forbids and mail is
 * full of. 0; -ENOENT; as buffer_append(). */
int encoded_word_parameter(const struct content_field *f, struct span name, struct buffer *out);
