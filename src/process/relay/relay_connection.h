/* One connection to a next hop: finding an address that answers, then a
 * session of wire/smtp/smtp_client over a stream. */
#pragma once

#include "net/stream.h"
#include "process/relay/relay_destination.h"
#include "process/relay/relay_login.h"
#include "process/relay/relay_socket.h"
#include "process/relay/relay_tls.h"

enum {
        RELAY_HOST_TEXT_MAX = 300, /* as ipc_outcome.host */
        RELAY_SESSION_TEXT_MAX = RELAY_TLS_TEXT_MAX + 100,
};

struct relay_connection {
        struct relay_destination *destination;
        struct list_node node; /* destination->idle or ->busy */
        bool is_idle, is_ready, is_quitting, is_tls_starting;
        struct stream *stream;
        struct smtp_client *client;
        struct timer *timer;
        struct list_node jobs; /* in order: under way, next, or waiting for READY */
        size_t address;         /* of destination->addresses: what is tried, or stands */
        uint32_t tried;         /* a bit for each of them */
        unsigned tried_version; /* of them */
        bool is_plain;               /* this attempt goes without TLS */
        bool is_policy_failure;      /* the last address was not what tls_policy wants */
        struct relay_tls tls;        /* what it wants of this one */
        struct relay_login_state login;
        struct relay_socket_state socket;
        uint64_t connect_until_ms;
        uint64_t dot_sent_ms;
        struct relay_job *cancelled; /* why it is given up; NULL: it is not */
        char host[RELAY_HOST_TEXT_MAX]; /* "mx.example.jp [192.0.2.1]:25" */
        char session[RELAY_SESSION_TEXT_MAX]; /* for the record: "tls=none policy=may" */
        char error[800];                /* why the last address failed */
};

/* Begins to connect and gives the job to the new connection. 0, or a negative
 * errno: the job is still the caller's. */
int relay_connection_new(struct relay_destination *d, struct relay_job *j);

/* Whether a job may be given to it now without waiting for anything slow. */
bool relay_connection_may_take(const struct relay_connection *c);
void relay_connection_take(struct relay_connection *c, struct relay_job *j);

/* The Unix socket that was asked for is connected, or an errno says why not. Takes
 * `fd` over. */
void relay_connection_attach(struct relay_connection *c, int result, int fd);

/* More of the body has come. */
void relay_connection_pump(struct relay_connection *c);

/* Something was said to the session: it goes on. */
void relay_connection_go_on(struct relay_connection *c);

/* Gives the connection up: what is open is answered with `text`. */
void relay_connection_abort(struct relay_connection *c, const char *text);

/* Ends a job as early as that can be done; after the final dot it cannot. */
void relay_connection_cancel(struct relay_connection *c, struct relay_job *j);

/* The keeper is gone: ends without a word about its jobs. */
void relay_connection_drop(struct relay_connection *c);

void relay_connection_quit(struct relay_connection *c);
