/* The structure of a message: MIME parts and where they lie (RFC 2045, 2046).
 *
 * Fed with octets as they come, so that a message of any size is read once and
 * never held: kept are the headers of parts, in an arena with a cap. A part
 * says where its header and body are; nothing is decoded or moved.
 *
 * Whatever comes in gives a tree that covers the octets without overlap:
 * missing delimiters, delimiters of an outer part within an inner one, parts
 * cut off by the end, nesting and numbers past the limits all have a meaning,
 * and a limit only makes a part that is not looked into (`is_opaque`). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "message/content_field.h"

struct header_summary;

struct mime_limits {
        unsigned depth_max;     /* nested multiparts and messages */
        unsigned parts_max;     /* in the whole tree */
        size_t part_header_max; /* octets of one header that are kept */
};
#define MIME_LIMITS                                                                                \
        ((struct mime_limits) {.depth_max = 50, .parts_max = 1000, .part_header_max = 64 * 1024})

enum mime_kind {
        MIME_LEAF,
        MIME_MULTIPART, /* has parts, or none where no delimiter came */
        MIME_MESSAGE,   /* message/rfc822 or message/global: one child, the message */
};

struct mime_part {
        struct mime_part *parent, *next, *first_child, *last_child;
        unsigned depth; /* of the root: 0 */
        enum mime_kind kind;
        bool is_opaque;       /* a limit was reached: not looked into */
        bool header_is_cut;   /* part_header_max, or no memory left in the arena */
        bool is_closed;       /* multipart: the close-delimiter came */
        uint64_t header_at;   /* octets from the start of the message */
        uint64_t body_at;     /* behind the empty line */
        uint64_t body_end;    /* within a multipart: without the CRLF before the delimiter */
        uint64_t body_lines;  /* line ends in the body */
        struct span header;   /* kept octets, the empty line not with them; see mime_parse() */
        struct content_field content_type; /* text/plain if none is given (RFC 2045 section 5.2) */
        struct span encoding; /* Content-Transfer-Encoding in lower case; "7bit" if none is given */
        struct span boundary;
};

/* Whether a line, without its CRLF, is a delimiter with that boundary (RFC 2046
 * section 5.1.1). A line longer than MIME_DELIMITER_MAX with its CRLF is none. */
enum mime_delimiter { MIME_NO_DELIMITER, MIME_DELIMITER, MIME_CLOSE_DELIMITER };
enum { MIME_DELIMITER_MAX = 2 + 70 + 2 + 256 }; /* dashes, boundary, dashes, blanks */
enum mime_delimiter mime_delimiter(struct span line, struct span boundary);

struct mime_parser;

/* Memory from `arena`, which must outlive the tree. NULL without memory. */
struct mime_parser *mime_parser_new(const struct mime_limits *limits, struct arena *arena);

/* The next octets of the message; cuts do not matter. */
void mime_parser_feed(struct mime_parser *p, struct span octets);

/* The message is whole: the root of the tree, never NULL. */
struct mime_part *mime_parser_end(struct mime_parser *p);

/* The tree of a message that is there as a whole, from which the headers of its parts
 * borrow: as the three above. `header`: what header_summarize() found in its header, or in
 * the part of it behind fields that are none of the content's; NULL: nobody looked. NULL without
 * memory. */
struct mime_part *mime_parse(const struct mime_limits *limits, struct span message,
                             const struct header_summary *header, struct arena *arena);

/* The part of an IMAP section number ("1.2" as numbers, RFC 9051 section
 * 6.4.5.1), or NULL. */
struct mime_part *mime_part_by_number(struct mime_part *root, const unsigned *numbers,
                                      size_t number_count);
