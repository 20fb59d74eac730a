/* A user's .forward was read: his message's entry becomes one for each place. */
#pragma once

#include "process/keeper/keeper.h"

/* `places` are the lines of agent_forward_read(): "mailbox", "agent 0001", "address
 * taro@example.com". The entry, in flight, is taken over. The entries that take its
 * place share its body; they are stored in the commit that deletes it. Who is named
 * there and has a .forward himself gets the message into his mailbox: one step, and
 * no circles. */
void keeper_forward(struct keeper *k, struct queue_entry *e, struct span places);
