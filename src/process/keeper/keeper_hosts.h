/* Which hosts are behind a next hop, so that recipients in many domains behind
 * one set of hosts are one destination: one health, shared connections, and one
 * transaction for all of a message's.
 *
 * Asks the resolver once a name and keeps the answer for its time to live. What
 * is not answered at once does not wait long: it goes by its domain, and the
 * relay finds out what it can. */
#pragma once

#include "process/keeper/keeper.h"

int keeper_hosts_start(struct keeper *k);

/* The configuration has changed: forgets what was known. */
void keeper_hosts_reload(struct keeper *k);

/* A channel to the resolver; its end. */
void keeper_hosts_connect(struct keeper *k, int fd);

/* The key of the destination that this next hop is (queue/host_set.h); the next
 * hop itself where its hosts are not known. `*ret_is_asked`: they are being
 * asked for, and keeper_hosts hands what waits under that key over once it is
 * known; nobody waits longer than two seconds. Lives until the next call. */
struct span keeper_hosts_key(struct keeper *k, struct span next_hop, bool *ret_is_asked);

/* The same from what is known now: nothing is asked. */
struct span keeper_hosts_known(struct keeper *k, struct span next_hop);

/* The hosts, where they are known and are the destination `key`; they live until
 * the next call. */
struct keeper_hosts {
        struct ipc_items hosts; /* ipc_mx_host */
        bool is_secure;         /* DNSSEC vouches for their names */
        uint32_t ttl_s;         /* how long a relay may use their addresses */
};
bool keeper_hosts_get(struct keeper *k, struct span next_hop, struct span key,
                      struct keeper_hosts *ret);
