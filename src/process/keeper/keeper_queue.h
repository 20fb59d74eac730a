/* The queue at work: entries from the store into the active queue, jobs to the
 * relays, outcomes back into the store. */
#pragma once

#include "process/keeper/keeper.h"

int keeper_queue_start(struct keeper *k);

/* A new entry is durable; takes it over. Its body may come with it. */
void keeper_queue_add(struct keeper *k, struct queue_entry *e, struct keeper_body *body);

/* keeper_refill.c: takes up more of what waits in the store for a destination that is
 * well again. */
void keeper_queue_refill(struct keeper *k, struct span key);

/* An entry that was read from the store becomes active, where it is not, and is not held. */
struct keeper_reading;
void keeper_queue_take_up(struct keeper_reading *reading, struct span value);

/* Reads one, and takes it up. */
void keeper_queue_read(struct keeper_reading *reading, uint64_t message_id, uint16_t group);

/* Starts what may start, at the end of this round of the loop. */
void keeper_queue_pump(struct keeper *k);

/* A relay's channel ended: its jobs are tried again. */
void keeper_queue_relay_gone(struct keeper_peer *relay);

void keeper_on_outcome(struct channel *ch, void *peer, const union ipc_message *m, int *fd);

/* Replaces a stored entry (`before`) by another form of it, or by nothing
 * (`after` NULL: the body's reference goes too), in a batch of the shard. */
void keeper_queue_put(struct store_batch *batch, const struct queue_entry *before,
                      const struct queue_entry *after);

/* An entry left the active queue as the store has it: scans from the beginning will
 * find it, within a second. */
void keeper_queue_scan_again(struct keeper *k);

/* Administration. `done` gets 0, -ENOENT, or the store's error. */
enum keeper_queue_verb { KEEPER_QUEUE_RETRY, KEEPER_QUEUE_DROP, KEEPER_QUEUE_HOLD,
                         KEEPER_QUEUE_RELEASE, KEEPER_QUEUE_MOVE };
struct keeper_queue_change {
        uint64_t message_id;
        uint16_t group;
        enum keeper_queue_verb verb;
        struct span next_hop; /* KEEPER_QUEUE_MOVE: the new one; copied */
};
void keeper_queue_change(struct keeper *k, const struct keeper_queue_change *what,
                         void (*done)(void *arg, int result), void *arg);
