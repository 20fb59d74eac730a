/* The keys of SEARCH, as a tree, and whether a message has them (RFC 9051
 * section 6.4.4, RFC 5032 WITHIN, RFC 7162 MODSEQ, RFC 8514 SAVEDATE, RFC 8474
 * EMAILID). Pure. */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "base/span.h"
#include "message/digest.h"
#include "wire/imap/imap_parse.h"
#include "wire/imap/imap_view.h"

enum imap_key_kind {
        IMAP_KEY_ALL,
        IMAP_KEY_NONE, /* \Recent, which no message has */
        IMAP_KEY_AND,
        IMAP_KEY_OR,
        IMAP_KEY_NOT,
        IMAP_KEY_UIDS, /* sequence sets, too: resolved when parsed */
        IMAP_KEY_FLAG,
        IMAP_KEY_KEYWORD,
        IMAP_KEY_LARGER,
        IMAP_KEY_SMALLER,
        IMAP_KEY_BEFORE,  /* INTERNALDATE < day */
        IMAP_KEY_SINCE,   /* ≥ day */
        IMAP_KEY_SAVED_BEFORE,
        IMAP_KEY_SAVED_SINCE,
        IMAP_KEY_OLDER,   /* seconds */
        IMAP_KEY_YOUNGER,
        IMAP_KEY_MODSEQ,
        IMAP_KEY_EMAILID,
        IMAP_KEY_SENT_BEFORE, /* from here on the digest is needed, or the header */
        IMAP_KEY_SENT_SINCE,
        IMAP_KEY_FIELD,  /* `flag`: enum digest_text; `text` */
        IMAP_KEY_HEADER, /* the header is: `name`, `text` */
        IMAP_KEY_BODY,   /* from here on the body is */
        IMAP_KEY_TEXT,
};

struct imap_key {
        enum imap_key_kind kind;
        struct imap_key *children, *next; /* of AND, OR, NOT */
        unsigned flag;
        uint64_t number;
        int64_t day;
        struct span name, text; /* text: folded */
        const struct imap_range *uids;
        size_t uid_count;
};

/* What a key is resolved by when it is read. */
struct imap_key_context {
        const struct imap_view *view;
        struct imap_range *saved;
        size_t saved_count;
        bool has_modseq; /* set when MODSEQ is among them */
        unsigned keys, depth; /* so far */
        struct span charset;
};

/* Keys to the end of the command, joined by AND. 0; -EBADMSG (grammar, a limit,
 * a sequence number without a message); -ENOTSUP: the charset is not known. */
int imap_search_parse(struct imap_parser *p, struct imap_key_context *c, struct imap_key **ret);

/* One message, and what was made of it. */
struct imap_candidate {
        const struct imap_message *message;
        const struct imap_view *view;
        uint64_t now_us;
        bool has_digest;
        struct digest digest; /* its fields and texts */
        struct span octets;   /* p NULL: not there yet */
        bool is_whole;        /* `octets` has the body, too */
        struct arena *arena;  /* for the parts of this message */
        struct buffer *body;  /* folded text, made when it is first needed */
        struct buffer *header;
        struct buffer *raw;   /* octets folded as they stand, where is_plain */
        bool has_body, has_header, has_raw, is_plain;
};

enum imap_match {
        IMAP_MATCH_NO,
        IMAP_MATCH_YES,
        IMAP_MATCH_NEEDS_FIELDS,
        IMAP_MATCH_NEEDS_HEADER,
        IMAP_MATCH_NEEDS_BODY,
};

/* The digest, made of the header where it is not there; NULL without either, or without
 * memory. What points into it lives as long as the message's octets. */
const struct digest *imap_search_digest(struct imap_candidate *c);

/* When it was sent: Date, else when it arrived (RFC 5256 section 2.2). */
void imap_search_sent(struct imap_candidate *c, int64_t *ret_at, int64_t *ret_day);

/* NEEDS_…: it depends on a digest or octets that are not there. Cheap keys
 * are tried first, whatever their order. */
enum imap_match imap_search_match(const struct imap_key *key, struct imap_candidate *c);
