/* Expunged messages are kept for a while (expunge_keep) and then given up, also
 * in accounts that nobody uses: now and then a walk over all accounts opens
 * those that keep something too long, a few at a time. On a full disk it begins
 * at once, and nothing is kept until there is room again. */
#pragma once

#include <stdbool.h>

#include "process/keeper/keeper.h"

int keeper_expire_start(struct keeper *k);
void keeper_expire_reload(struct keeper *k);
void keeper_expire_disk(struct keeper *k, bool is_full);
/* Before the store is closed. */
void keeper_expire_stop(struct keeper *k);
