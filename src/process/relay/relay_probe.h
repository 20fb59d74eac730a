/* Questions of edges: would this next hop take that recipient? Each becomes a
 * job without a message, on the same connections as all others. */
#pragma once

#include "process/relay/relay_job.h"

/* A channel to an edge; takes `fd` over. */
void relay_probe_peer(struct relay *r, unsigned number, int fd);

/* The answer to a job with `prober`; the edge may be gone. */
void relay_probe_answer(const struct relay_job *j, const struct smtp_reply *reply,
                        const char *host);
