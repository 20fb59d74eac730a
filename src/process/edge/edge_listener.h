/* Listening sockets: connections are taken in batches, checked against the
 * limits, and become sessions. With no descriptors left listeners pause, and
 * clients wait in the kernel's queue. */
#pragma once

#include "base/list.h"
#include "base/span.h"
#include "config/config.h"

struct edge;

/* Outlives its socket while sessions refer to it. */
struct edge_listener {
        struct list_node node;
        struct edge *edge;
        struct poller *poller;
        int fd; /* -1: closed */
        unsigned references;
        enum listen_protocol protocol;
        struct span text; /* own copy, as in the option listen */
};

struct edge_client;

/* A client by its address: sets address, port and text. */
void edge_listener_describe(const unsigned char address[16], uint16_t port,
                            struct edge_client *ret);

/* A connection with a client that is known now: a session, or a refusal in one
 * line. Takes `fd` over. */
void edge_listener_welcome(struct edge_listener *l, int fd, const struct edge_client *client);

/* Takes `fd` over. */
void edge_listener_add(struct edge *e, const struct config_listen *listen, int fd);

/* Closes those that are not in the configuration any more; or all. */
void edge_listener_drop_old(struct edge *e);
void edge_listener_close_all(struct edge *e);

/* Pauses, or resumes after a rest. */
void edge_listener_balance(struct edge *e);

void edge_listener_unref(struct edge_listener *l);
