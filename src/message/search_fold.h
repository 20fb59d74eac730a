/* Folding for searches, NFKC_Casefold of Unicode ("Ａ" is "a", "ｶﾞ" is "ガ"): by
 * a table for the characters that stand for themselves whatever is around them,
 * which are nearly all there are, and by ICU for pieces that hold others. */
#pragma once

#include "base/buffer.h"
#include "base/span.h"

/* Appends UTF-8 text folded; octets that are none become U+FFFD. 0, -ENOMEM, or as
 * buffer_append(). */
int search_fold(struct span text, struct buffer *out);

/* The same by ICU alone: what the other is checked against. */
int search_fold_by_library(struct span text, struct buffer *out);
