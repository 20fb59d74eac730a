/* One recipient on its way through the files of this folder: what they share.
 * Not for others; they include route/route.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "message/address.h"
#include "route/route.h"

struct routing {
        const struct config *config;
        const struct snapshot *snapshot;
        struct arena *arena;
        struct address address; /* the domain normalised */
        bool is_local;          /* by routing_settle_domain(): one of domains, or our own name,
                                 * which is local unless it is a relay domain */
        struct route route;
};

/* "hayauma.conf:12" of an option. */
struct span routing_origin_of(const struct routing *t, const char *option);

/* The answer is no. 0. */
int routing_refuse(struct routing *t, uint16_t code, const char *enhanced, const char *text);

/* "users:17". p == NULL without memory. */
struct span routing_table_origin(const struct routing *t, enum snapshot_table table,
                                 uint32_t line);

/* Puts the parts one behind the other. p == NULL without memory. */
struct span routing_join(struct arena *arena, struct span a, struct span b, struct span c);

/* The address inside "[…]", 16 octets, IPv4 mapped. */
bool routing_literal_address(struct span literal, unsigned char *out);

/* What a missing domain means: the first of our domains, or our own name. */
struct span routing_own_domain(const struct config *c);

/* Writes the domain as everything else compares it: ours where it is missing or
 * a literal of ours, else A-labels in lower case. 1: refused; -ENOMEM. */
int routing_settle_domain(struct routing *t);

bool routing_is_relay_domain(const struct snapshot *s, struct span domain);

/* The route of an address that no alias applies to any more: mailertable, local,
 * local_relay, smart_host, MX. The domain is settled. 0 or -ENOMEM. */
int routing_finish(struct routing *t);

/* Whether there is such a local user, with "+detail" or without. 1: t->route is
 * set; 0; -ENOMEM. */
int routing_find_user(struct routing *t);

/* Looks the domain up in the mailertable, `is_exact` by its own name only, else
 * by the wider keys only. 1: found, t->route is set; 0; -ENOMEM. */
int routing_mailertable(struct routing *t, bool is_exact);

/* A local recipient of t->address: mailbox, local_relay or refused. */
int routing_local(struct routing *t);

/* Looks the address up in the virtusertable. 1: found, with the address that
 * takes its place, or t->route set to an error and an empty `ret_target`; 0;
 * -ENOMEM. */
int routing_virtual(struct routing *t, struct span *ret_target, uint32_t *ret_line);

/* Adds a step to the route's explanation. 0, -ENOMEM. */
int routing_add_step(struct routing *t, struct span rule, struct span origin, struct span next);
