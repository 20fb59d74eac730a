/* Logging in to a next hop (RFC 4954): the directory process has the password and
 * makes the blobs, we carry them. */
#pragma once

#include "base/buffer.h"
#include "base/table.h"
#include "ipc/channel.h"
#include "wire/smtp/smtp_client.h"

struct relay;
struct relay_connection;

enum { RELAY_MECHANISM_MAX = 24 };

struct relay_login_state {
        bool is_wanted;
        bool is_under_way; /* in relay->logins */
        bool is_waiting;   /* for an answer of the directory */
        bool is_done;      /* the host has proved what it has to */
        uint64_t number;
        struct table_node by_number;
        char mechanism[RELAY_MECHANISM_MAX + 1]; /* once known */
};

/* Whether we log in to this host: 1, 0, or -EAGAIN: not known yet. */
int relay_login_is_wanted(const struct relay *r, struct span host, uint16_t port);

/* LOGIN, CHALLENGE, LOGGED_IN. False: the connection may be gone. */
bool relay_login_event(struct relay_connection *c, const struct smtp_client_event *e);

/* The session has ended: so does its login. */
void relay_login_end(struct relay_connection *c);

/* Octets that were just written may hold a password. */
void relay_login_wipe(const struct relay_connection *c, struct buffer *out);

/* The directory: a new channel to it, or its end. */
void relay_login_peer(struct relay *r, int fd);
