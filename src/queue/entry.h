/* A queue entry: one message for the recipients behind one next hop.
 *
 * It is the unit of delivery, retry and storage: a message to recipients
 * behind three next hops is three entries that share one body (each holds one
 * reference to the blob). An entry is self-contained, so an outcome rewrites
 * one small value, whatever the size of the message.
 *
 * In memory an entry is one allocation that is never changed but through
 * queue_entry_update(); its spans point into its own encoded form, which is
 * also what the store keeps. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/table.h"

/* Stored: add, never renumber. */
enum recipient_state {
        RECIPIENT_WAITING = 1, /* to be tried, or tried and deferred */
        RECIPIENT_FAILED = 2,  /* given up; a notification is owed */
        RECIPIENT_DONE = 3,    /* nothing is left to do about it */
        RECIPIENT_RELAYED = 4,   /* taken by a host that will not tell; a notification is owed */
        RECIPIENT_DELIVERED = 5, /* in its mailbox; a notification is owed */
        RECIPIENT_EXPANDED = 6,  /* became several others; a notification is owed */
};

struct queue_recipient {
        uint32_t index; /* in the message's decision record */
        uint8_t state;  /* enum recipient_state */
        uint8_t notify; /* enum notify_flag */
        uint16_t code;  /* of the last reply; 0: none was had */
        struct span rcpt_to, orcpt;
        struct span account;              /* next hop "local:": whose mailbox */
        struct span enhanced, text, host; /* the last reply, and whose it was */
};

struct queue_entry {
        uint64_t message_id;
        uint16_t group;  /* which entry of its message */
        bool is_held;    /* by an administrator: not tried */
        bool delay_told; /* a notice of delay was sent */
        bool delay_owed; /* one is to be sent */
        bool waits_for_host; /* its last answer was none: it may go as soon as the host is back */
        uint64_t hop_hash;   /* of the destination it waits for; 0: of its next hop */
        uint32_t flags;  /* enum envelope_flag */
        uint32_t attempts;
        uint64_t arrived_us;
        uint64_t deliver_by_us; /* RFC 2852, with flags ENVELOPE_BY_…; 0: no such time */
        uint64_t due_us; /* of the next attempt; 0: fresh, never tried */
        uint64_t blob_id, body_len;
        uint32_t local_prefix_len; /* octets of the body that are not relayed */
        struct span mail_from, envid, header_message_id, next_hop;
        struct queue_recipient *recipients;
        size_t recipient_count;
        struct span encoded;

        /* of queue.c, while it is active */
        struct table_node by_key;
        struct list_node in_destination;
        struct list_node siblings; /* a ring: entries of the same message */
        struct destination *destination;
        /* of the role: the body while it is still in memory, and its job */
        void *body;
        uint64_t job;
};

enum {
        QUEUE_KEY_LEN = 11,     /* state, message id, group: big-endian */
        QUEUE_DUE_KEY_LEN = 19, /* 'd', due time, message id, group */
        QUEUE_HOP_KEY_LEN = 19, /* 'n', hash of the destination, message id, group */
        QUEUE_ENTRY_MAX = 192 * 1024,
        QUEUE_REPLY_MAX = 512, /* octets of a reply that are kept */
};

/* The due time of what is held. */
#define QUEUE_DUE_NEVER_US ((uint64_t) INT64_MAX)

/* An entry's keys in its shard. A fresh one stands under 'f', so that a message
 * that is relayed at once costs one put and one delete; one that has been tried
 * stands under 'e', and its due time in an empty value under 'd'. Both orders are
 * numeric: the oldest first, the next due first. */
struct span queue_entry_key(const struct queue_entry *e, char out[QUEUE_KEY_LEN]);
struct span queue_entry_due_key(const struct queue_entry *e, char out[QUEUE_DUE_KEY_LEN]);

/* Of an entry that waits for its host: an empty value there, by which all of them
 * are found when it is back. */
struct span queue_entry_hop_key(const struct queue_entry *e, char out[QUEUE_HOP_KEY_LEN]);
uint64_t queue_hop_hash(struct span destination);
/* The parts of such a key. 0 or -EINVAL. */
int queue_hop_key_parse(struct span key, uint64_t *ret_hash, uint64_t *ret_message_id,
                        uint16_t *ret_group);

/* The key of that entry, for state 'f' or 'e'. */
struct span queue_key(char state, uint64_t message_id, uint16_t group, char out[QUEUE_KEY_LEN]);

/* The parts of a due key. 0 or -EINVAL. */
int queue_due_key_parse(struct span key, uint64_t *ret_due_us, uint64_t *ret_message_id,
                        uint16_t *ret_group);

/* A new entry from the stored form, which is copied. 0, -EBADMSG, -ENOMEM. */
int queue_entry_decode(struct span encoded, struct queue_entry **ret_e);

/* A new entry like `e` with what the caller changed in a copy of the struct
 * (and its recipients array); `e` itself stays as it is. What is not stored is not
 * taken over. 0, -EMSGSIZE, -ENOMEM. */
int queue_entry_update(const struct queue_entry *changed, struct queue_entry **ret_e);

struct queue_entry *queue_entry_free(struct queue_entry *e);

/* Whether somebody is to be notified before anything else is done with it. */
bool queue_entry_owes(const struct queue_entry *e);

/* Recipients in this state. */
size_t queue_entry_count(const struct queue_entry *e, enum recipient_state state);
