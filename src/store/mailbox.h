/* Accounts and their mailboxes on top of the store.
 *
 * An account is a partition: a list of mailboxes (64-bit ids, never reused;
 * the name stands only here), and for each the messages in packed runs of up
 * to 256, with flags, modseq (RFC 7162) and the id of the body. UIDs grow and
 * are never reused (RFC 9051 section 2.3.1.1).
 *
 * What is committed but not yet durable is kept here, so that two deliveries
 * in one group get two UIDs. Accounts in use are cached; the rest is read when
 * needed. All on the keeper's loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "store/store.h"

struct mailboxes; /* all accounts of a store */
struct account;   /* one in use */

int mailboxes_new(struct store *s, struct mailboxes **ret_m);
struct mailboxes *mailboxes_free(struct mailboxes *m);

/* How long expunged messages, and those of deleted mailboxes, can be brought
 * back, and how many octets of them an account keeps; the oldest go first.
 * Nothing is kept until this is said (age_us 0). What is kept already goes by
 * the rule that stands when it is looked at. */
struct expunge_keep {
        uint64_t age_us; /* 0: nothing is kept */
        uint64_t octets; /* of one account; 0: no bound */
};
void mailboxes_keep_expunged(struct mailboxes *m, const struct expunge_keep *keep);

enum message_flag { /* RFC 9051 section 2.3.2 */
        MESSAGE_SEEN = 1,
        MESSAGE_ANSWERED = 2,
        MESSAGE_FLAGGED = 4,
        MESSAGE_DELETED = 8,
        MESSAGE_DRAFT = 16,
};

enum { MAILBOX_KEYWORDS_MAX = 32, MAILBOX_KEYWORD_LENGTH_MAX = 64 };

struct message_entry {
        uint32_t uid;
        uint32_t flags;
        uint64_t modseq;
        uint64_t arrived_us; /* INTERNALDATE */
        uint64_t saved_us;   /* SAVEDATE, RFC 8514 */
        uint64_t blob_id;
        uint64_t size;       /* octets of the body, local prefix included */
        uint32_t keywords;   /* bits by the mailbox's keyword table */
};

struct mailbox_status {
        uint64_t mailbox_id;
        struct span name; /* UTF-8, "/" between levels; INBOX in capitals */
        uint32_t uid_validity, uid_next, message_count, unseen_count, deleted_count;
        uint32_t special_use; /* bits of the caller's; RFC 6154 */
        uint64_t highest_modseq, size;
};

/* Opens an account by its canonical address (lower case), creating nothing:
 * `done` gets it, empty if it was never written. Hold it until
 * account_release(). 0 or the store's errors. */
typedef void account_open_fn(void *arg, int result, struct account *a);
void account_open(struct mailboxes *m, struct span address, account_open_fn *done, void *arg);
void account_release(struct account *a);

/* Ready to deliver into without asking the disk, or NULL: the cache. A hit
 * must be released too. */
struct account *account_cached(struct mailboxes *m, struct span address);

/* Adds one message to a mailbox in the batch account_commit() will send;
 * INBOX comes into being by itself, others with `may_create`. The batch also
 * requires that `delivery_key` (may be empty) was never used in this account:
 * 0 with *ret_uid; -ENOENT (no such mailbox); -EEXIST (that key is known to be
 * used: already delivered); -EDQUOT (UIDs are used up); -EINVAL (a key of more
 * than 256 octets); all of them before anything was put into the batch, which
 * may take other deliveries. -ENOMEM: free the batch. When the commit says
 * -EEXIST, the key had been used before this account was opened. The body comes by
 * store_blob_put() or store_blob_reference() in a batch of the same commit. */
struct delivery {
        struct span mailbox;
        struct span delivery_key;
        struct message_entry entry; /* uid, modseq, saved_us are filled in */
        const struct span *keywords; /* by name; of more than 32 in a mailbox the last are lost */
        size_t keyword_count;
        bool may_create;
        uint32_t uid; /* account_import(): the one it had elsewhere; 0: the next */
};
int account_deliver(struct account *a, const struct delivery *d, struct store_batch *batch,
                    uint32_t *ret_uid);

/* Adds messages, at most 256, to a mailbox that is there, as account_deliver()
 * does each; delivery keys and `mailbox` of the list are not looked at. 0;
 * -ENOENT; -EINVAL (the UIDs do not grow, or one was given already); -EDQUOT;
 * -E2BIG; with nothing put. -ENOMEM shows at the commit. */
int account_import(struct account *a, struct span mailbox, const struct delivery *list,
                   size_t count, struct store_batch *batch);

/* Makes a mailbox that comes from elsewhere the one its readers know: its
 * UIDVALIDITY, and the UID that the next message has at least. -ENOENT; -EINVAL
 * (0); -EEXIST (another UIDVALIDITY, and there are messages, or there were and
 * it does not grow): nothing was put. */
int account_set_uid_validity(struct account *a, struct span name, uint32_t uid_validity,
                             uint32_t uid_next, struct store_batch *batch);

/* A batch for this account's partition, with the sequence it must have.
 * Everything put into it is part of the account's state at once. Batches must
 * be committed in the order they were made, each of them: when one is freed
 * instead, or its commit fails, call account_forget(), which drops the cached
 * state; the next account_open() reads it anew, once all batches that are on their way
 * have ended. Whoever holds the account must still release it. NULL without memory,
 * and of an account that was forgotten.
 *
 * The batch may take work along that is not urgent: entries being folded into
 * runs, old delivery keys, what a deleted mailbox left. account_has_chores()
 * says that some waits: an otherwise empty batch does it too. */
struct store_batch *account_batch(struct account *a);
void account_forget(struct account *a);
bool account_has_chores(const struct account *a);

/* Mailboxes by name; the spans live until the next change. Returns how many
 * there are in all. */
size_t account_mailboxes(const struct account *a, struct mailbox_status *ret, size_t room);
int account_mailbox(const struct account *a, struct span name, struct mailbox_status *ret);
int account_mailbox_by_id(const struct account *a, uint64_t id, struct mailbox_status *ret);

/* Octets of the messages in all its mailboxes, each as often as it is in one. */
uint64_t account_size(const struct account *a);

/* Puts the change into the batch. -EEXIST, -ENOENT, -EINVAL (a name that is
 * not UTF-8, has controls or empty levels, > 255 octets; INBOX cannot be
 * deleted, nothing be renamed to a name below itself), all with nothing put;
 * -ENOMEM: free the batch. RENAME takes along what is below (not for INBOX).
 * The messages of a deleted mailbox go little by little, with later batches. */
/* 0 or -EINVAL: can a mailbox be called that? */
int account_check_name(struct span name);
int account_create_mailbox(struct account *a, struct span name, struct store_batch *batch);
int account_rename_mailbox(struct account *a, struct span from, struct span to,
                           struct store_batch *batch);
int account_delete_mailbox(struct account *a, struct span name, struct store_batch *batch);

/* A mailbox's special use, and names one is subscribed to, there or not (RFC
 * 9051 section 6.3.7). -ENOENT, -EINVAL (no such name can be), -EDQUOT, -ENOMEM;
 * doing again what is done already is 0. */
int account_set_special_use(struct account *a, struct span name, uint32_t special_use,
                            struct store_batch *batch);
int account_subscribe(struct account *a, struct span name, bool is_subscribed,
                      struct store_batch *batch);
bool account_is_subscribed(const struct account *a, struct span name);
size_t account_subscriptions(const struct account *a, struct span *ret, size_t room);

/* The keywords of a mailbox in the order of their bits, into room for
 * MAILBOX_KEYWORDS_MAX; the spans live until the next change. */
unsigned account_keywords(const struct account *a, uint64_t mailbox_id, struct span *ret);

/* Messages with uid_from <= uid, in order, a page of at most `limit` <= 1000
 * at a time. Only what is committed shows. */
typedef void account_list_fn(void *arg, int result, const struct message_entry *entries,
                             size_t count, bool has_more);
void account_list(struct account *a, uint64_t mailbox_id, uint32_t uid_from, size_t limit,
                  account_list_fn *done, void *arg);

/* ---- changing what is there ------------------------------------------- */

struct uid_range {
        uint32_t first, last; /* both belong to it */
};

enum account_change_kind {
        ACCOUNT_FLAGS,
        ACCOUNT_EXPUNGE,
        ACCOUNT_COPY,
        ACCOUNT_MOVE,
        /* Expunged messages come back, with new UIDs and without \\Deleted, into `to`.
         * `mailbox_id` is where they were, there or not; `uids` those they had. */
        ACCOUNT_UNDELETE,
};
enum account_flags_mode { ACCOUNT_FLAGS_REPLACE, ACCOUNT_FLAGS_ADD, ACCOUNT_FLAGS_REMOVE };

struct account_change {
        enum account_change_kind kind;
        uint64_t mailbox_id;
        const struct uid_range *uids; /* growing, apart; UIDs that are not there are passed over */
        size_t uid_count;             /* ranges */

        /* FLAGS. RFC 7162 section 3.1.3: a message changed since is left alone. */
        enum account_flags_mode mode;
        uint32_t flags;
        const struct span *keywords;
        size_t keyword_count;
        bool has_unchanged_since;
        uint64_t unchanged_since;

        bool only_deleted; /* EXPUNGE: those that have \Deleted */
        struct span to;    /* COPY, MOVE, UNDELETE: the name of the mailbox, which is there */
};

/* What was done; lives until the callback returns. COPY, MOVE, UNDELETE: `source` and
 * `uids` in the same order. EXPUNGE: `uids` are those that went. FLAGS: `uids`
 * are those left alone. */
struct account_changed {
        uint32_t uid_validity; /* of `to` */
        const struct uid_range *source, *uids;
        size_t source_count, uid_count;
};

/* Changes messages, batch by batch of some thousand, each atomic; durable when
 * the callback says 0, and whoever watches was told before. Changes of one
 * account happen one after the other. The arguments are copied.
 *
 * -ENOENT (no such mailbox), -EDQUOT (UIDs or keywords are used up), -EINVAL (a
 * keyword); -ESTALE: the account was forgotten, open it anew; the store's. */
typedef void account_change_fn(void *arg, int result, const struct account_changed *changed);
void account_change(struct account *a, const struct account_change *c, account_change_fn *done,
                    void *arg);

/* ---- what was expunged -------------------------------------------------- */

/* Messages that can be brought back, oldest first: those that one batch expunged
 * from one mailbox. `name` is what it was called then. All live until the
 * callback returns. */
struct kept_messages {
        uint64_t mailbox_id, expunged_us;
        struct span name;
        const struct message_entry *entries;
        size_t count; /* ≤ 256 */
};
struct kept_place { /* behind it to go on; all zero: from the beginning */
        uint64_t expunged_us, mailbox_id;
        uint32_t uid;
};
typedef void account_kept_fn(void *arg, int result, const struct kept_messages *list, size_t count,
                             const struct kept_place *last, bool has_more);
void account_list_kept(struct account *a, const struct kept_place *behind, account_kept_fn *done,
                       void *arg);

/* Which UIDs went, in the order of their modseq: everything that went at a
 * greater modseq than `since`, and perhaps some that went before. */
struct expunged_range {
        uint64_t modseq;
        uint32_t first, last;
};
typedef void account_expunged_fn(void *arg, int result, uint64_t since,
                                 const struct expunged_range *list, size_t count);
void account_expunged(struct account *a, uint64_t mailbox_id, account_expunged_fn *done, void *arg);

/* Does this account keep expunged messages too long? 0 with its address; -EAGAIN:
 * not too long; -ENOENT: none. Opens nothing. */
typedef void account_keeps_fn(void *arg, int result, struct span address);
void account_keeps(struct mailboxes *m, const struct partition *p, account_keeps_fn *done,
                   void *arg);

/* Some are kept too long: batches take them along as they take chores. May say
 * yes once too often, and looks after itself then. */
bool account_has_expired(const struct account *a);

/* ---- being told -------------------------------------------------------- */

struct mailbox_news {
        const struct mailbox_status *status; /* as of this change; NULL: lost or deleted */
        const struct message_entry *entries; /* as they are now; in the order of their modseq */
        size_t entry_count;
        const uint32_t *gone;
        size_t gone_count;
        bool is_deleted; /* the mailbox */
        bool is_lost;    /* the account's state was dropped: nothing more will be
                          * told, open it anew and read it all */
};

/* Tells of each change of a mailbox as soon as it is durable. `ready` says that
 * from here on account_list() shows everything that is not told of: what is
 * listed may be told again, and be newer than what is told. Holds the account
 * until account_unwatch(), which may be called in the callbacks. */
struct mailbox_watch;
struct mailbox_watch_handler {
        void (*ready)(void *arg);
        void (*news)(void *arg, const struct mailbox_news *n);
};
int account_watch(struct account *a, uint64_t mailbox_id,
                  const struct mailbox_watch_handler *handler, void *arg,
                  struct mailbox_watch **ret_w);
struct mailbox_watch *account_unwatch(struct mailbox_watch *w); /* accepts NULL */
