/* Commits: a message becomes durable. */
#pragma once

#include "process/keeper/keeper.h"

/* Handlers of an edge's channel. */
void keeper_on_body(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
void keeper_on_commit(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
void keeper_on_drop(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
void keeper_on_lend(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
void keeper_on_refused(struct channel *ch, void *peer, const union ipc_message *m, int *fd);

/* Takes what came for this message: octets into `*body`, which is empty so far,
 * or a file that was lent; and the credit for it. False: nothing came. */
bool keeper_take_incoming(struct keeper_peer *peer, uint64_t message_id, struct buffer *body,
                          bool *ret_is_lent, size_t *ret_held);

/* Forgets bodies that an edge began to send: its channel is gone. */
void keeper_forget_incoming(struct keeper_peer *peer);

/* A message made here (a notification), or appended by an administrator.
 *
 * `finish`, which may be NULL, adds to the queue shard's batch what must
 * happen together with it: the end of the entry that is bounced. `done` says
 * whether it is durable. Spans are copied. 0 or -ENOMEM; then `done` is not called. */
struct keeper_message {
        uint64_t message_id;
        uint32_t flags;
        struct span mail_from, envid, header_message_id;
        uint32_t local_prefix_len;
        const struct span *body_parts;
        size_t body_part_count;
        const struct ipc_recipient *recipients;
        size_t recipient_count;
        struct span record; /* decision_begin() and steps */
        void (*finish)(void *arg, struct store_batch *shard_batch);
        void (*done)(void *arg, int result);
        void *arg;
};
int keeper_commit_message(struct keeper *k, const struct keeper_message *m);
