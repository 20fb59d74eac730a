/* Front ends that speak for others: the PROXY header in front of a connection,
 * and XCLIENT within one. Only from networks that the configuration names. */
#pragma once

#include <stdbool.h>

#include "process/edge/edge_listener.h"
#include "process/edge/edge_session.h"

struct edge;

/* Whether connections of this peer begin with a PROXY header. */
bool edge_front_is_proxy(const struct edge *e, const struct edge_client *peer);

/* Reads the header of a new connection, then has the listener welcome the
 * client it names. Takes `fd` over. */
void edge_front_take(struct edge_listener *l, int fd, const struct edge_client *peer);

/* Ends all whose header has not come yet. */
void edge_front_close_all(struct edge *e);

/* Whether this client may say XCLIENT; and what is done then, answered. */
bool edge_front_may_xclient(const struct edge_session *s);
void edge_front_xclient(struct edge_session *s, struct span argument);
