/* The items of FETCH, shared by what parses and what answers them. */
#pragma once

#include "wire/imap/imap_server_engine.h"

enum imap_fetch_kind {
        IMAP_FETCH_UID,
        IMAP_FETCH_FLAGS,
        IMAP_FETCH_INTERNALDATE,
        IMAP_FETCH_SAVEDATE,
        IMAP_FETCH_SIZE,
        IMAP_FETCH_MODSEQ,
        IMAP_FETCH_EMAILID,
        IMAP_FETCH_THREADID,
        IMAP_FETCH_ENVELOPE,
        IMAP_FETCH_STRUCTURE, /* BODY */
        IMAP_FETCH_BODYSTRUCTURE,
        IMAP_FETCH_PREVIEW,
        IMAP_FETCH_SECTION, /* BODY[…], RFC822 … */
        IMAP_FETCH_BINARY,
        IMAP_FETCH_BINARY_SIZE,
};

enum imap_section {
        IMAP_SECTION_ALL,
        IMAP_SECTION_HEADER,
        IMAP_SECTION_FIELDS,
        IMAP_SECTION_FIELDS_NOT,
        IMAP_SECTION_TEXT,
        IMAP_SECTION_MIME,
};

enum { IMAP_SECTION_DEPTH_MAX = 64 };

struct imap_fetch_item {
        enum imap_fetch_kind kind;
        struct span label; /* as it is said in the response: "BODY[1.MIME]" */
        enum imap_section section;
        unsigned *numbers; /* of the part */
        size_t number_count;
        struct span *fields;
        size_t field_count;
        bool has_partial;
        uint64_t from, count; /* of the partial */
        bool sets_seen;
};

struct imap_fetch {
        struct imap_fetch_item *items;
        size_t item_count;
        uint64_t changed_since;
        bool has_changed_since, wants_vanished;
};

/* What stands behind the set, without its first blank. */
bool imap_server_fetch_parse(struct imap_parser *p, struct imap_fetch *ret);

/* The octets a section means within a message, or within `scratch`. False:
 * there is no such part. */
struct mime_part;
bool imap_server_fetch_section(struct imap_server *s, const struct imap_fetch_item *item,
                               struct span message, struct mime_part *root, struct span *ret);
