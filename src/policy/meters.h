/* Meters: what all edges count together about a client network: connections
 * open now, and events of the running minute.
 *
 * They live in a memory area that the caller gives: memory of one process, or
 * one memfd that all edges map. Every operation is a few atomic ones on a slot
 * found by keyed hash; nothing waits. Lossy by design: where all slots of a
 * bucket are busy a client goes uncounted, and two processes that race for a
 * slot may lose a count. Nothing but limits may rest on these numbers.
 *
 * A permission is kept the same way: it may be lost when very many are given,
 * and is never there without having been given.
 *
 * Connections are counted by owner (the edge's number), so that those of an
 * edge that died can be forgotten. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum {
        METERS_OWNERS = 16,
        METERS_CLIENTS = 16 * 1024, /* networks counted at a time, usually */
        METERS_ALL = 2,             /* the key of all clients together: never a client's */
};

struct meters_head;
struct meters_slot;
struct meters {
        struct meters_head *head;
        struct meters_slot *slots;
        uint64_t slot_count; /* a power of two */
        uint64_t seed;
        unsigned owner;
};

/* Bytes of the area for at least this many clients at once. */
size_t meters_size(size_t clients);

/* Makes an area ready that is aligned for any type and all zero; done once,
 * before others attach. `seed` is random. */
void meters_format(void *area, size_t size, uint64_t seed);

/* Uses a formatted area as `owner` (taken modulo METERS_OWNERS), and forgets
 * what an earlier process in that place had open. 0 or -EBADMSG. */
int meters_attach(struct meters *m, void *area, size_t size, unsigned owner);

/* The key of a client: IPv4 by its address, IPv6 by its /64; and of events of
 * one kind by that client ("relay_networks"). Never 0. */
uint64_t meters_client(const struct meters *m, const unsigned char address[16]);
uint64_t meters_event(const struct meters *m, const unsigned char address[16], struct span kind);

/* The key of a permission for one address, IPv6 too. Never 0. */
uint64_t meters_permission(const struct meters *m, const unsigned char address[16],
                           struct span kind);

/* Gives a permission for `minutes` >= 1 from now on, at most METERS_PERMIT_MAX,
 * or makes it last so long; and is there one? */
enum { METERS_PERMIT_MAX = 24 * 60 };
void meters_permit(struct meters *m, uint64_t key, unsigned minutes, uint64_t now_us);
bool meters_is_permitted(const struct meters *m, uint64_t key, uint64_t now_us);

/* One connection more, or less. hold() returns how many the client has open at
 * all owners, this one included; 0 when it could not be counted (do not release
 * then). */
unsigned meters_hold(struct meters *m, uint64_t key, uint64_t now_us);
void meters_release(struct meters *m, uint64_t key);

/* One event more. Returns how many there were in the running minute, this one
 * included; 1 when it could not be counted. */
unsigned meters_tick(struct meters *m, uint64_t key, uint64_t now_us);

/* How many connections are open now at all owners, holding none. */
unsigned meters_held(const struct meters *m, uint64_t key);

/* How many there were in the running minute, counting none. */
unsigned meters_ticks(const struct meters *m, uint64_t key, uint64_t now_us);
