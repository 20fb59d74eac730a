/* What SEARCH, SORT and THREAD share: visiting the messages that match. */
#pragma once

#include "wire/imap/imap_search.h"
#include "wire/imap/imap_server_engine.h"

enum imap_return { /* RFC 4731, RFC 5182 */
        IMAP_RETURN_MIN = 1,
        IMAP_RETURN_MAX = 2,
        IMAP_RETURN_ALL = 4,
        IMAP_RETURN_COUNT = 8,
        IMAP_RETURN_SAVE = 16,
};

struct imap_searching {
        struct imap_key *key;
        struct imap_key_context context;
        struct imap_candidate candidate;
        size_t index; /* of the next message */
        bool is_missing;
        bool wants_fields; /* the digest of every match */
        unsigned returns;  /* enum imap_return; 0 without is_extended */
        bool is_extended;  /* ESEARCH */
        uint64_t modseq_max;

        /* A match: imap_search_digest() is there where it is wanted. */
        bool (*found)(struct imap_server *s, struct imap_candidate *c, size_t index);
        void (*end)(struct imap_server *s);
        void *state; /* of the command */
};

/* " RETURN (…)", if there. */
bool imap_server_search_returns(struct imap_parser *p, struct imap_searching *ret);

/* Reads the keys and begins, or answers BAD or NO. `charset` empty: US-ASCII. */
void imap_server_search_begin(struct imap_server *s, struct imap_parser *p,
                              struct imap_searching *g, struct span charset);

/* For `end`: the command is answered with OK, or with NO if messages were gone. */
void imap_server_search_finish(struct imap_server *s);

/* "* ESEARCH (TAG "x") UID …", without its end. */
void imap_server_search_put_begin(struct imap_server *s);

/* `$` becomes these; growing. */
void imap_server_search_save(struct imap_server *s, const struct imap_uid_list *uids);

/* imap_server_sort.c: appends the base subject of the first Subject, folded, as octets to
 * compare. 0, or as buffer_append(). */
int imap_server_sort_subject(struct imap_candidate *c, struct buffer *out, bool *ret_is_reply);
