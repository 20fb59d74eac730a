/* What a mailbox looked like at one moment: its messages in the order of their
 * UIDs, shared by all sessions that have it selected.
 *
 * A view never changes. A change makes a new view, which shares the untouched
 * chunks with the old one; a session keeps the view whose sequence numbers its
 * client knows until it may tell of the next one. So a flag changed in a
 * mailbox of 100,000 messages costs one chunk and one row of pointers, and the
 * differences of two views are found in the chunks that they do not share.
 *
 * References are counted without locks: one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "wire/imap/imap_gone.h"

/* Flags of RFC 9051 section 2.3.2; the values are those of the store. */
enum imap_flag {
        IMAP_FLAG_SEEN = 1,
        IMAP_FLAG_ANSWERED = 2,
        IMAP_FLAG_FLAGGED = 4,
        IMAP_FLAG_DELETED = 8,
        IMAP_FLAG_DRAFT = 16,
        IMAP_FLAGS_ALL = 31,
};

enum {
        IMAP_VIEW_CHUNK = 256, /* messages a chunk, at most */
        IMAP_KEYWORDS_MAX = 32,
        IMAP_KEYWORD_LENGTH_MAX = 64,
};

struct imap_message {
        uint32_t uid;
        uint32_t flags;    /* enum imap_flag */
        uint32_t keywords; /* bits: rows of the view's keyword table */
        uint64_t modseq;
        uint64_t arrived_us; /* INTERNALDATE */
        uint64_t saved_us;   /* SAVEDATE; 0: not known */
        uint64_t size;       /* RFC822.SIZE */
        uint64_t body_id;    /* for the role, who finds the body by it; EMAILID */
};

struct imap_chunk {
        unsigned references;
        unsigned count; /* ≥ 1 */
        uint32_t flags_of_all, flags_of_any;
        uint64_t highest_modseq;
        struct imap_message messages[];
};

struct imap_view_row {
        struct imap_chunk *chunk;
        size_t first; /* index of its first message in the view, from 0 */
};

struct imap_view {
        unsigned references;
        uint32_t uid_validity, uid_next;
        uint64_t highest_modseq;
        uint64_t mailbox_id; /* MAILBOXID */
        size_t count;        /* messages */
        unsigned keyword_count;
        struct span keywords[IMAP_KEYWORDS_MAX]; /* names, owned by the view */
        size_t row_count;
        struct imap_view_row *rows;
        struct imap_gone *gone; /* NULL: not known; of it the first: */
        size_t gone_count;
};

/* The mailbox beside its messages. */
struct imap_view_head {
        uint32_t uid_validity, uid_next;
        uint64_t highest_modseq;
        uint64_t mailbox_id;
        const struct span *keywords; /* copied */
        unsigned keyword_count;      /* ≤ IMAP_KEYWORDS_MAX */
        struct imap_gone *gone;      /* as of now; the view takes a reference; or NULL */
};

/* A view of `count` messages with growing UIDs, copied; one reference, the
 * caller's. NULL: no memory, or an argument that breaks the rules above. */
struct imap_view *imap_view_new(const struct imap_view_head *head,
                                const struct imap_message *messages, size_t count);

/* One change: the message as it now is, or gone. */
struct imap_view_change {
        struct imap_message message; /* of a message that is gone: the uid alone counts */
        bool is_gone;
};

/* The next view: `old` with `changes`, whose UIDs grow, applied, and with a new
 * head. A message unknown so far is added wherever its UID belongs; one that
 * is gone and was not there is passed over. One reference, the caller's; `old`
 * stays as it is. NULL as imap_view_new(). */
struct imap_view *imap_view_apply(const struct imap_view *old, const struct imap_view_head *head,
                                  const struct imap_view_change *changes, size_t count);

struct imap_view *imap_view_ref(struct imap_view *v);
struct imap_view *imap_view_unref(struct imap_view *v); /* accepts NULL; returns it */

/* The message at an index from 0 < count. */
const struct imap_message *imap_view_at(const struct imap_view *v, size_t index);

/* The index of the first message with at least this UID; `count` if none. */
size_t imap_view_find(const struct imap_view *v, uint32_t uid);

/* The index of the first message from `index` on that has not all of `flags`; that
 * has one of them; that has changed since `modseq`. `count` if none. Chunks in which
 * there is none are passed over. */
size_t imap_view_next_without(const struct imap_view *v, size_t index, uint32_t flags);
size_t imap_view_next_with(const struct imap_view *v, size_t index, uint32_t flags);
size_t imap_view_next_since(const struct imap_view *v, size_t index, uint64_t modseq);

/* imap_view_message() for UIDs that grow from call to call, without searching: a
 * finger starts as {0} and belongs to one view. The message or NULL. */
struct imap_finger {
        size_t row;
        unsigned at;
};
const struct imap_message *imap_view_forward(const struct imap_view *v, struct imap_finger *f,
                                             uint32_t uid);

/* The message of this UID, or NULL; `ret_index` may be NULL. */
const struct imap_message *imap_view_message(const struct imap_view *v, uint32_t uid,
                                             size_t *ret_index);
