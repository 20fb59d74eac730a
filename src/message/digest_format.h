/* The octets of a digest, for digest.c and digest_make.c: digest.h says how they lie. */
#pragma once

#include "message/digest.h"

#define DIGEST_MAGIC "HyD2"

/* The text of fields that are there and say nothing: the NUL between two of them. */
#define DIGEST_EMPTY_TEXT span_make("", 1)

enum { DIGEST_LENGTH_MAX = 5 }; /* octets of a length */

enum digest_section {
        SECTION_FIELDS,
        SECTION_TEXTS = SECTION_FIELDS + DIGEST_FIELDS,
        SECTION_REFERENCES = SECTION_TEXTS + DIGEST_TEXTS,
        SECTION_STRUCTURE,
        SECTION_EXTENSIONS, /* for each part: octets up to its extension data, octets of that */
        SECTION_PREVIEW,    /* empty: not made; else a blank, then the text, if there is any */
        SECTIONS,
};

/* The parts of an address in the text that people write, if the field is one address and
 * just that: "name <local@domain>" or "local@domain". The text is stored only where it is
 * another. */
static inline void digest_plain_address(struct span name, struct span local, struct span domain,
                                        struct span ret[6])
{
        const bool has_name = name.p != NULL;

        ret[0] = name;
        ret[1] = has_name ? SPAN_LITERAL(" <") : (struct span) {NULL, 0};
        ret[2] = local;
        ret[3] = SPAN_LITERAL("@");
        ret[4] = domain;
        ret[5] = has_name ? SPAN_LITERAL(">") : (struct span) {NULL, 0};
}
