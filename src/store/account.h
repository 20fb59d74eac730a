/* The inside of accounts (mailbox.h), shared by its parts:
 *
 *   account.c         cache, opening, batches, delivery
 *   account_names.c   mailboxes by name
 *   account_list.c    messages, page by page
 *   account_chores.c  work that later batches take along
 *
 * Keys in an account's partition; the letters are stored: add, never change.
 *
 *   h                 format, next mailbox id
 *   l id              a deleted mailbox whose messages are not yet gone
 *   m id              uid_next, counters, modseq
 *   n id              uid_validity, name
 *   e id uid          one message
 *   r id first-uid    a run: up to 256 messages, one behind the other
 *   d/key             delivered; the value says until when to remember
 *
 * Invariants:
 *   1. Every run lies before every single entry of its mailbox, since the
 *      oldest entries are folded.
 *   2. What a batch of account_batch() says is in the struct at once: so two
 *      deliveries of one group get two UIDs. */
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
        ACCOUNT_KEY_MAX = 16,
        ACCOUNT_NAME_MAX = 255,
        ACCOUNT_MAILBOXES_MAX = 10000,
        ACCOUNT_RECENT_KEYS = 16,
        ACCOUNT_SWEEP_EVERY = 64, /* deliveries */
        ACCOUNT_DELIVERY_KEY_MAX = 256,
};

#define ACCOUNT_DELIVERY_KEPT_US ((uint64_t) 7 * 86400 * 1000000)

struct mailbox {
        uint64_t id;
        char *name; /* NULL: being read, or nameless and so damaged */
        size_t name_len;
        uint32_t uid_validity, uid_next, message_count, unseen_count;
        uint32_t single_count; /* entries that are in no run */
        uint32_t fold_at;      /* as soon as there are so many */
        uint64_t highest_modseq, size;
};

/* Work that was read from the store and waits for a batch to go into. */
enum chore_kind { CHORE_NONE, CHORE_FOLD, CHORE_SWEEP, CHORE_PURGE };
struct chore {
        enum chore_kind kind;
        uint64_t mailbox_id;
        struct buffer octets; /* FOLD: entries; SWEEP, PURGE: keys, entries; see
                               * account_chores.c */
};

struct account {
        struct table_node by_address;
        struct list_node recently_used, waiting; /* waiting: account_open()s */
        struct mailboxes *mailboxes;
        struct partition partition;
        char *address;
        size_t address_len;
        unsigned references;
        bool is_open, is_forgotten, is_reading;
        int result; /* of reading */

        uint64_t sequence; /* behind all batches made */
        uint64_t next_mailbox_id;
        struct mailbox *boxes; /* by id */
        size_t box_count, box_room;
        uint64_t *purged; /* ids of deleted mailboxes */
        size_t purged_count;
        uint64_t recent_keys[ACCOUNT_RECENT_KEYS];
        unsigned recent_at, deliveries_since_sweep;
        struct chore chore;
        bool is_chore_asked;
        uint64_t chore_sequence; /* of the batch that took the last one along */
        char *sweep_behind; /* where the next sweep begins; NULL: nowhere yet */
        size_t sweep_behind_len;
};

struct mailboxes {
        struct store *store;
        struct table by_address;
        struct list_node recently_used; /* without a reference, oldest first */
        size_t cached;
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
void account_put_box(const struct mailbox *b, struct store_batch *batch);
void account_put_name(const struct mailbox *b, struct store_batch *batch);

/* INBOX in capitals, the rest as it is; checks it. `out` holds
 * ACCOUNT_NAME_MAX. -EINVAL. */
int account_normalize(struct span name, char *out, struct span *ret_name);
struct mailbox *account_new_box(struct account *a, struct span name, struct store_batch *batch);

void account_encode_entry(const struct message_entry *e, char *out);
int account_decode_entry(struct reader *r, struct message_entry *ret_e);

/* Looks whether something is to be done (in this mailbox, or NULL: in any),
 * and reads what it needs. */
void account_look_for_chores(struct account *a, const struct mailbox *b);
void account_do_chores(struct account *a, struct store_batch *batch);
