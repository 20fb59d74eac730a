/* Notifications to the sender (RFC 3461, 3464): a worker writes the text, and
 * its commit carries the end of what it reports, so that neither is lost. */
#pragma once

#include "process/keeper/keeper.h"

/* Takes over an entry that owes a notification and is stored so.
 * What is left of it comes back by keeper_queue_add() or is done with. */
void keeper_bounce(struct keeper *k, struct queue_entry *e, struct keeper_body *body);

/* Sends orders again that a worker took with it. */
void keeper_bounce_worker_gone(struct keeper_peer *worker);
void keeper_bounce_worker_came(struct keeper *k);

void keeper_on_dsn_text(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
