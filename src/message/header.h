/* The header of an Internet message (RFC 5322 section 2.2), given as octets.
 *
 * Pure; borrows from its input. Only CRLF ends a line (RFC 5321 section
 * 2.3.8): a bare CR or LF is an octet of the value it stands in, so that this
 * reads no other fields than the next system does. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

/* What callers without limits of their own use. */
enum { HEADER_SIZE_MAX = 256 * 1024, HEADER_FIELDS_MAX = 2000 };

struct header_field {
        struct span name;  /* without blanks around it; empty: no field, see below */
        struct span value; /* behind the colon, folds included, without the last CRLF */
        struct span raw;   /* all of it, with its line end where it has one */
};

/* Start from HEADER_SCAN(text, size_max, fields_max). `text` may have a body
 * behind its empty line. */
struct header_scan {
        struct span rest;
        size_t size_left; /* private */
        size_t fields_left;
};
#define HEADER_SCAN(text, size_max, fields_max)                                                    \
        ((struct header_scan) {(text), (size_max), (fields_max)})

/* The next field: 1; 0 at the empty line or the end of the text; -EBADMSG for
 * a line that is no field, `ret->raw` being that line: scanning may go on
 * behind it, or stop as at the start of a body; -EMSGSIZE past a limit, which
 * ends the scan. After 0, `rest` starts with the empty line, if there is one. */
int header_next(struct header_scan *s, struct header_field *ret);

/* As header_next(), passing over all that does not begin with that small letter or its
 * capital. */
int header_next_of(struct header_scan *s, char letter, struct header_field *ret);

/* Whether the field has that name; ASCII case does not matter. */
static inline bool header_is_named(const struct header_field *f, struct span name)
{
        return f->name.len == name.len && ascii_lower(f->name.p[0]) == ascii_lower(name.p[0]) &&
               span_equal_nocase(f->name, name);
}

/* Octets of the first line with its CRLF, or all of it where there is none. */
size_t header_line_len(struct span text);

/* Octets of the header at the start of `text` without the empty line, which
 * `*ret_body` is behind (NULL: not wanted; text.len where there is none). */
size_t header_len(struct span text, size_t *ret_body);

/* The first field of that name (ASCII case does not matter), within the
 * standard limits. */
bool header_find(struct span text, struct span name, struct header_field *ret);

/* The fields that somebody looks for by their names; those of an envelope first, in its order
 * (digest.h). */
enum header_name {
        HEADER_DATE,
        HEADER_SUBJECT,
        HEADER_FROM,
        HEADER_SENDER,
        HEADER_REPLY_TO,
        HEADER_TO,
        HEADER_CC,
        HEADER_BCC,
        HEADER_IN_REPLY_TO,
        HEADER_MESSAGE_ID,
        HEADER_REFERENCES,
        HEADER_CONTENT_TYPE,
        HEADER_CONTENT_TRANSFER_ENCODING,
        HEADER_CONTENT_ID,
        HEADER_CONTENT_DESCRIPTION,
        HEADER_CONTENT_DISPOSITION,
        HEADER_CONTENT_LANGUAGE,
        HEADER_CONTENT_LOCATION,
        HEADER_CONTENT_MD5,
        HEADER_RECEIVED,
        HEADER_DELIVERED_TO,
        HEADER_AUTHENTICATION_RESULTS,
        HEADER_NAMES,
};

/* What there is in a header, from one pass; borrows from it. */
struct header_summary {
        struct span header; /* without the empty line; past a limit all that was given */
        struct span values[HEADER_NAMES]; /* of the first of each name; p NULL: there is none */
        uint32_t several;                 /* a bit for each name that more than one has */
        size_t fields;
        size_t received; /* fields Received: the hops so far (RFC 5321 section 6.3) */
};

/* 0; -EMSGSIZE past a limit, and what was seen until then. */
int header_summarize(struct span text, size_t size_max, size_t fields_max,
                     struct header_summary *ret);

static inline bool header_has_several(const struct header_summary *s, enum header_name name)
{
        return s->several >> name & 1;
}

/* "<…>" of the first Message-ID; empty: none, or none fit for use. */
struct span header_message_id(const struct header_summary *s);

/* Whether a field has that name of the list. */
bool header_is(const struct header_field *f, enum header_name name);

/* Appends a value as one line: CRLFs of folds taken out (section 2.2.3), blanks
 * at both ends too, other controls turned into blanks. 0, or as buffer_append(). */
int header_unfold(struct span value, struct buffer *out);
