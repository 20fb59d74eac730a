/* The text of messages, for searching and sorting: decoded, and folded so that
 * what people take for the same compares equal (NFKC and case folding: "Ａ" is
 * "a", "ｶﾞ" is "ガ"). Substrings of folded text are found by search_text_contains().
 *
 */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/span.h"
#include "message/mime.h"

/* Appends UTF-8 text folded. 0, or as buffer_append(). */
int search_text_fold(struct span text, struct buffer *out);

/* Both folded. The empty needle is in everything. */
bool search_text_contains(struct span folded, struct span needle);

/* Appends the value of a field, decoded and folded. */
int search_text_field(struct span value, struct buffer *out);

/* Appends a whole header, decoded and folded, a field a line. */
int search_text_header(struct span header, struct buffer *out);

/* Appends the decoded and folded text of all text parts, and the headers of
 * messages within the message. */
int search_text_body(struct span message, struct arena *arena, struct buffer *out);

/* A short way to "no". In a plain message (ASCII, one text part, nothing encoded)
 * decoding and unfolding join no octets that stood apart but at blanks; so where
 * a word of a needle (without blanks, controls and ":") is not in its
 * octets folded by search_text_fold(), it is in none of the texts above. */
bool search_text_is_plain(struct span message, struct arena *arena);

/* The longest word of a needle, which is in every text that the needle is in;
 * empty: it has none. */
struct span search_text_word(struct span needle);

/* Appends the beginning of the first text part, blanks joined, at most
 * `characters`. -ENOENT: there is none. */
int search_text_preview(struct span message, const struct mime_part *root, unsigned characters,
                        struct buffer *out);

/* RFC 5256 section 2.1: the base subject of a decoded one, folded for comparison.
 * `*ret_is_reply`: "Re:", "Fwd:" or the like was taken off. */
int search_text_base_subject(struct span subject, struct buffer *out, bool *ret_is_reply);
