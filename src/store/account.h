/* The inside of accounts (mailbox.h), shared by its parts:
 *
 *   account.c         cache, opening, batches, delivery
 *   account_names.c   mailboxes by name
 *   account_folders.c subscriptions, special uses, keywords
 *   account_list.c    messages, page by page
 *   account_import.c  many messages at once, with UIDs from elsewhere
 *   account_change.c  flags, expunge, copy, move
 *   account_watch.c   who is told of changes once they are durable
 *   account_chores.c  work that later batches take along
 *   account_gone.c    which UIDs went at which modseq
 *   account_kept.c    expunged messages that can still be brought back
 *
 * Keys in an account's partition; the letters are stored: add, never change.
 *
 *   h                 format, next mailbox id
 *   i id              special use
 *   j name            this name is subscribed to
 *   k id              keywords: names, in the order of their bits
 *   l id              a deleted mailbox whose messages are not yet gone: its name
 *   m id              uid_next, counters, modseq; what earlier releases wrote ends
 *                     before the deleted ones, or before what x needs
 *   n id              uid_validity, name
 *   e id uid          one message
 *   r id first-uid    a run: up to 256 messages, one behind the other
 *   x id slot         ranges of UIDs that went, each with its modseq
 *   d/key             delivered; the value says until when to remember
 *   ht                how many expunged messages are kept, their octets, a time that
 *                     none of them is older than, the address
 *   t time id uid     expunged messages that are kept, up to 256 that went together:
 *                     length and name of their mailbox, entries; they hold their bodies
 *
 * Invariants:
 *   1. Every run lies before every single entry of its mailbox, since the
 *      oldest entries are folded.
 *   2. What a batch of account_batch() says is in the struct at once: so two
 *      deliveries of one group get two UIDs.
 *   3. Entries that exist are rewritten by one at a time: the first of
 *      `changes`, or a chore while there is none. Whoever rewrites has read
 *      after all batches made before were visible. */
#pragma once

#include "base/codec.h"
#include "base/list.h"
#include "base/table.h"
#include "store/mailbox.h"

enum {
        ACCOUNT_FORMAT = 1,
        ACCOUNT_RUN = 256,
        ACCOUNT_FOLD_AT = 288, /* some may be under way and not yet be read */
        ACCOUNT_ENTRY_OCTETS = 52,
        ACCOUNT_KEY_MAX = 24,
        ACCOUNT_NAME_MAX = 255,
        ACCOUNT_MAILBOXES_MAX = 10000,
        ACCOUNT_SUBSCRIPTIONS_MAX = 10000,
        ACCOUNT_RECENT_KEYS = 16,
        ACCOUNT_SWEEP_EVERY = 64, /* deliveries */
        ACCOUNT_DELIVERY_KEY_MAX = 256,
};

#define ACCOUNT_DELIVERY_KEPT_US ((uint64_t) 7 * 86400 * 1000000)

/* Names of keywords, by their bit. Only grows. */
struct account_keywords {
        unsigned count;
        struct span names[MAILBOX_KEYWORDS_MAX];
        char octets[MAILBOX_KEYWORDS_MAX][MAILBOX_KEYWORD_LENGTH_MAX];
};

struct mailbox {
        uint64_t id;
        char *name; /* NULL: being read, or nameless and so damaged */
        size_t name_len;
        uint32_t uid_validity, uid_next, message_count, unseen_count, deleted_count;
        uint32_t special_use;
        struct account_keywords *keywords; /* NULL: none */
        uint32_t single_count; /* entries that are in no run */
        uint32_t fold_at;      /* as soon as there are so many */
        uint32_t singles_from; /* no single entry has a lower UID: where folded ones were, an
                                * engine passes over what it has not yet forgotten */
        uint32_t folded_to;    /* the same, once the last fold is visible */
        uint64_t highest_modseq, size;
        uint64_t gone_from;   /* what went at a greater modseq is, or was, among the slots */
        uint32_t gone_slots;  /* ever begun */
        struct account_gone *gone; /* the slot at hand; NULL: begin the next */
};

/* A deleted mailbox, some of whose messages are there. */
struct purged {
        uint64_t id;
        char name[ACCOUNT_NAME_MAX];
        size_t name_len; /* 0: a release that kept nothing deleted it */
};

/* Work that was read from the store and waits for a batch to go into. */
enum chore_kind { CHORE_NONE, CHORE_FOLD, CHORE_SWEEP, CHORE_PURGE, CHORE_EXPIRE };
struct chore {
        enum chore_kind kind;
        uint64_t mailbox_id;
        struct buffer octets; /* FOLD: entries; SWEEP, PURGE, EXPIRE: keys, entries; see
                               * account_chores.c */
};

struct account {
        struct table_node by_address;
        struct list_node recently_used, waiting; /* waiting: account_open()s */
        struct list_node leaving; /* forgotten, with batches on their way */
        struct mailboxes *mailboxes;
        struct partition partition;
        char *address;
        size_t address_len;
        unsigned references;
        bool is_open, is_forgotten, is_reading;
        bool is_delayed; /* reading begins when one that leaves has ended its batches */
        int result; /* of reading */

        uint64_t sequence; /* behind all batches made */
        uint64_t next_mailbox_id;
        struct mailbox *boxes; /* by id */
        size_t box_count, box_room;
        struct purged *purged;
        size_t purged_count;
        uint64_t kept_count, kept_size; /* expunged messages */
        uint64_t kept_from_us;  /* none of them went before that */
        uint64_t kept_look_us;  /* none is looked for before */
        uint64_t recent_keys[ACCOUNT_RECENT_KEYS];
        unsigned recent_at, deliveries_since_sweep;
        struct chore chore;
        bool is_chore_asked;
        uint64_t chore_sequence; /* of the batch that took the last one along */
        uint64_t chore_read_in; /* the epoch */
        uint64_t chore_epoch; /* counts changes begun: what was read before one is stale */
        struct list_node changes; /* the first is at work */
        struct list_node watches, news;
        uint64_t batches_made, batches_ended;
        struct list_node settling;
        char **subscriptions; /* names */
        size_t subscription_count, subscription_room;
        char *sweep_behind; /* where the next sweep begins; NULL: nowhere yet */
        size_t sweep_behind_len;
};

struct mailboxes {
        struct store *store;
        struct table by_address;
        struct list_node recently_used; /* without a reference, oldest first */
        struct list_node leaving;
        size_t cached;
        struct expunge_keep keep;
};

struct account *account_ref(struct account *a);

struct mailbox *account_find_name(const struct account *a, struct span name);
struct mailbox *account_find_id(const struct account *a, uint64_t id);
struct mailbox *account_add_box(struct account *a, uint64_t id);
void account_remove_box(struct account *a, struct mailbox *b);

/* The key of a letter, a mailbox and, for e and r, a UID. */
struct span account_key(char *out, char letter, uint64_t mailbox_id);
struct span account_key_uid(char *out, char letter, uint64_t mailbox_id, uint32_t uid);

void account_put_header(const struct account *a, struct store_batch *batch);
void account_put_box(struct account *a, const struct mailbox *b, struct store_batch *batch);
void account_put_name(const struct mailbox *b, struct store_batch *batch);

/* INBOX in capitals, the rest as it is; checks it. `out` holds
 * ACCOUNT_NAME_MAX. -EINVAL. */
int account_normalize(struct span name, char *out, struct span *ret_name);
struct mailbox *account_new_box(struct account *a, struct span name, struct store_batch *batch);

void account_encode_entry(const struct message_entry *e, char *out);
int account_decode_entry(struct reader *r, struct message_entry *ret_e);

/* Where to look for single entries from this UID on. */
uint32_t account_singles_from(const struct account *a, uint64_t mailbox_id, uint32_t uid);

/* A message comes in: gives it its UID and counts it. */
void account_count_new(struct mailbox *b, struct message_entry *e);

/* account_folders.c: reading, and what a deleted mailbox leaves. */
int account_read_keywords(struct mailbox *b, struct span value);
int account_read_subscription(struct account *a, struct span name);
struct purged *account_add_purged(struct account *a, uint64_t id, struct span name);
void account_free_subscriptions(struct account *a);
/* The bits of keywords by name, adding those that are new. -EDQUOT: the table
 * is full; -EINVAL: too long, or empty. */
int account_keyword_bits(struct mailbox *b, const struct span *names, size_t count,
                         struct store_batch *batch, uint32_t *ret_bits);
/* The bits that another mailbox's bits have in this one; those that find no
 * room are lost. */
uint32_t account_translate_keywords(struct mailbox *to, const struct mailbox *from, uint32_t bits,
                                    struct store_batch *batch);

/* account_watch.c: the batch that was made last says what it changes, for
 * those who watch. */
void account_begin_news(struct account *a, struct store_batch *batch);
void account_note_entry(struct account *a, const struct mailbox *b, const struct message_entry *e,
                        bool is_gone);
void account_note_box(struct account *a, const struct mailbox *b);
void account_note_deleted(struct account *a, const struct mailbox *b);
void account_tell_lost(struct account *a);
/* Calls back once every batch made so far is visible; the callback may come at once. */
struct account_settling {
        struct list_node node;
        uint64_t target;
        void (*settled)(struct account_settling *s);
};
void account_settle(struct account *a, struct account_settling *s);

/* account.c: the cached state is no more: the next account_open() reads it anew, once what is
 * on its way for this one is visible. */
void account_leave_cache(struct account *a);
/* The last of the batches of one that left has ended. */
void account_left(struct account *a);

/* Looks whether something is to be done (in this mailbox, or NULL: in any),
 * and reads what it needs. */
void account_look_for_chores(struct account *a, const struct mailbox *b);
/* A change begins: what chores have read is stale. */
void account_drop_chores(struct account *a);
void account_do_chores(struct account *a, struct store_batch *batch);

/* account_gone.c: the UIDs went at this modseq; account_put_box() must follow. */
void account_put_gone(struct mailbox *b, uint64_t modseq, const struct uid_range *uids,
                      size_t count, struct store_batch *batch);
void account_drop_gone(const struct mailbox *b, struct store_batch *batch);

/* account_kept.c: the entries of one mailbox that go in one batch. */
struct kept_page {
        uint64_t mailbox_id, expunged_us;
        char name[ACCOUNT_NAME_MAX];
        size_t name_len;
        uint32_t first_uid;
        size_t count;
        bool has_kept;
        struct buffer octets;
};
void account_keep_begin(struct kept_page *k, uint64_t mailbox_id, struct span name);
/* The entry is gone from its mailbox: its body is kept, or the reference to it given up. */
int account_keep(struct account *a, struct kept_page *k, const struct message_entry *e,
                 struct store_batch *batch);
/* Puts what is left, unless there is no batch, and frees. */
void account_keep_end(struct account *a, struct kept_page *k, struct store_batch *batch);

/* A value of the letter t taken apart; the name points into it. 0, -EBADMSG. */
struct kept_key {
        uint64_t expunged_us, mailbox_id;
        uint32_t first_uid;
};
int account_kept_decode(const struct store_entry *e, struct kept_key *ret_key,
                        struct span *ret_name, struct reader *ret_entries);
struct span account_kept_key(char *out, const struct kept_key *k);
void account_put_kept(const struct account *a, struct store_batch *batch);
int account_read_kept(struct account *a, struct span value);
/* Is something kept longer than it should be, as far as one knows? */
bool account_is_kept_due(const struct account *a);
