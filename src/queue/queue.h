/* The active queue: entries that may be tried now, by destination.
 *
 * A destination is what its key says, a next hop or the set of hosts behind
 * many next hops, with a health of its own. How many jobs it may
 * have at once grows by one on success and halves on failure; when its host
 * fails it is blocked for a while, and what waits for it is handed back to be
 * deferred: a dead host occupies no slots. Destinations take turns, so a long
 * queue for one never stands in the way of another.
 *
 * Only what is being worked on is in here, at most `active_max` entries; all
 * others lie in the store's due index. No I/O, no clock. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/table.h"
#include "queue/entry.h"
#include "route/route.h"

/* Envelope flags (route/route.h) of entries that go last. */
#define QUEUE_FLAGS_LAST ENVELOPE_BOUNCE

struct destination {
        struct table_node by_key;
        struct list_node in_turn; /* linked while it has something that may start */
        struct list_node waiting; /* entries, oldest first */
        struct list_node waiting_last; /* notifications of ours: behind all mail but every eighth */
        size_t waiting_count;          /* in both */
        unsigned turns;
        bool is_unknown;       /* its hosts are being asked for: nothing starts yet */
        bool has_stored;       /* entries that wait for it may lie in the store only */
        bool is_sparse;        /* few of those that lie between them are its own */
        bool is_refilling;     /* and are being looked for, */
        bool refill_again;     /* once more when all were, since some came behind, */
        char refill_from[QUEUE_HOP_KEY_LEN + 1]; /* from this key on */
        size_t refill_len;                       /* of it; 0: from the first */
        unsigned in_flight, concurrency;
        unsigned failures; /* of the host, in a row */
        uint64_t put_off;  /* entries, since it last took mail */
        uint64_t blocked_until_us;
        struct span key; /* own copy, behind the struct */
};

struct queue {
        struct table entries, destinations;
        struct list_node turn;
        size_t active_count; /* waiting and in flight */
        size_t active_max;
        unsigned concurrency_max;
        uint64_t block_min_us, block_max_us;
};

/* A failed host is blocked for block_min_us, twice as long each time it fails
 * again, up to block_max_us. */
struct queue_options {
        size_t active_max;
        unsigned concurrency_max;
        uint64_t block_min_us, block_max_us;
};
void queue_init(struct queue *q, const struct queue_options *o);

/* Frees all entries (their `body` is given to `drop_body`, which may be NULL). */
void queue_done(struct queue *q, void (*drop_body)(struct queue_entry *e));

static inline bool queue_has_room(const struct queue *q)
{
        return q->active_count < q->active_max;
}

/* The active entry with this key, or NULL. */
struct queue_entry *queue_find(const struct queue *q, uint64_t message_id, uint16_t group);

/* Where an entry for this destination waits. In here; in the store as it is, since
 * its row has nearly all the room there is, and is alone; or put off, since the
 * host is blocked or its row is so long that others would find no room: then
 * `ret_until_us` says when it is worth another look. */
enum queue_place { QUEUE_IN_ROW, QUEUE_IN_STORE, QUEUE_PUT_OFF };
enum queue_place queue_place_of(const struct queue *q, struct span key, uint64_t now_us,
                                uint64_t *ret_until_us);

/* NULL: nothing is known of it. */
struct destination *queue_find_destination(const struct queue *q, struct span key);

/* The destination wants more of what lies in the store: its host is well, and
 * few entries wait here. NULL: it does not, or there is none. */
struct destination *queue_wants_refill(const struct queue *q, struct span key, uint64_t now_us);
/* Notes that entries for it lie in the store, whatever was looked for already. No
 * destination yet: nothing is noted. */
void queue_note_stored(struct queue *q, struct span key);
/* All were looked for: none is left, but what was noted meanwhile. */
void queue_note_refilled(struct queue *q, struct span key);

/* Counts an entry that is put off without an attempt; how many were so since the
 * destination last took mail, this one with them. 1: nothing is known of it. */
uint64_t queue_count_put_off(struct queue *q, struct span key);

/* Takes the entry over, for the destination with this key. 0, -EEXIST (it is
 * active already), -ENOMEM. */
int queue_add(struct queue *q, struct queue_entry *e, struct span key);

/* Nothing is started for this destination while it is not known what it is. No
 * such destination: nothing is noted. */
void queue_set_unknown(struct queue *q, struct span key, bool is_unknown);

/* Whether other entries of the message of one that waits there are active too. */
bool queue_has_siblings(const struct queue *q, struct span key);

/* Takes an entry that waits there out of the queue; NULL: there is none. */
struct queue_entry *queue_take_out(struct queue *q, struct span key);

/* Takes an entry over that is not to be tried but must not be taken up again
 * either: something else is being done about it. 0, -EEXIST, -ENOMEM. */
int queue_park(struct queue *q, struct queue_entry *e);

/* The next entry to start: its destination's turn, not blocked, below its
 * concurrency. It counts as in flight. NULL when there is none. */
struct queue_entry *queue_take(struct queue *q, uint64_t now_us);

/* Another entry of the same message that waits for the same destination and has
 * at most `recipients_max` recipients left, to go with `e`, which was taken: it
 * counts as no job of its own and is reported already. NULL when there is none. */
struct queue_entry *queue_take_sibling(struct queue *q, struct queue_entry *e,
                                       size_t recipients_max);

/* When the first block ends behind which entries wait; UINT64_MAX: there is none. */
uint64_t queue_next_unblock_us(const struct queue *q, uint64_t now_us);

/* Takes an entry out of the queue for good, waiting or in flight: it is the
 * caller's again. For one in flight, `queue_report()` first. */
void queue_remove(struct queue *q, struct queue_entry *e);

/* How an attempt went for the destination as such. */
enum queue_health { QUEUE_HOST_GOOD, QUEUE_HOST_FAILED, QUEUE_HOST_UNKNOWN };
void queue_report(struct queue *q, struct queue_entry *e, enum queue_health health,
                  uint64_t now_us);

/* Takes an entry that waits at this blocked destination out of its row, or
 * NULL: to be deferred to `d->blocked_until_us`, then given to queue_remove(). */
struct queue_entry *queue_blocked(struct queue *q, struct destination *d, uint64_t now_us);

/* Forgets destinations that are idle and whose block is long over. */
void queue_sweep(struct queue *q, uint64_t now_us);

/* Lifts a block, as `queue retry` asks for. */
void queue_unblock(struct queue *q, struct span key);
