/* Connections to Unix sockets ("lmtp:unix:/path"): we have no file system, the
 * supervisor connects for us. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/table.h"

struct process;
struct relay_connection;
struct relay_address;

struct relay_socket_state {
        bool is_asked; /* in relay->sockets */
        uint64_t number;
        struct table_node by_number;
};

/* Asks; relay_connection_attach() is called with the answer. 0 or a negative errno. */
int relay_socket_ask(struct relay_connection *c, const struct relay_address *a);

/* The answer is not wanted any more, if there was to be one. */
void relay_socket_end(struct relay_connection *c);

/* The answer (struct process_role). */
void relay_socket_answer(struct process *p, uint64_t query, int result, int fd);
