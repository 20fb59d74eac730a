/* ETRN (RFC 1985): what waits for a domain is tried now. */
#pragma once

#include "process/keeper/keeper.h"

/* One walk over the stored queue at a time, page by page, and so many changes
 * in it: a client asks for it. A request that comes meanwhile is dropped; the
 * client was told only that we begin. */
void keeper_on_retry(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
