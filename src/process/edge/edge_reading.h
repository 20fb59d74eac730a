/* Clients that come to read: IMAP and POP3 up to the login, then the hand-over
 * to the access process that serves the account.
 *
 *   TALKING --login--> ASKED --granted, all output sent--> handed over, or
 *      ^                 |                                 under TLS: JOINED
 *      +---- refused ----+----challenge----> CHALLENGED --response--> ASKED
 *
 * In clear text the access process gets the socket itself, and nothing of the
 * client stays here. Under TLS it gets one end of a pair; octets are carried
 * between the two as long as the session lasts. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/list.h"
#include "base/table.h"
#include "net/stream.h"
#include "process/edge/edge_session.h"

struct edge;
struct imap_server;
struct pop3_server;

enum { EDGE_ACCESSES_MAX = 64 };

enum edge_reading_state {
        EDGE_READING_TALKING, EDGE_READING_ASKED, EDGE_READING_CHALLENGED, EDGE_READING_GRANTED,
        EDGE_READING_JOINED,
};

struct edge_reading {
        struct list_node node;
        struct table_node by_number; /* ASKED, CHALLENGED */
        struct edge *edge;
        struct edge_listener *listener;
        struct stream *stream;
        struct stream *inside; /* JOINED: our end of the pair */
        bool is_pop3;
        struct imap_server *imap; /* one of them, up to the hand-over */
        struct pop3_server *pop3;
        enum edge_reading_state state;
        uint64_t number; /* of the question to the directory */
        char *account;   /* GRANTED */
        uint64_t quota;  /* the same */
        struct buffer early; /* octets not yet fed */
        bool is_ending, is_dead, is_busy;
        uint64_t meter_key;
        struct edge_client client;
        char mechanisms[EDGE_MECHANISMS_MAX];
        char hostname[];
};

/* Of the process. */
struct edge_readings {
        struct edge *edge;
        struct list_node all;
        struct table asked;
        struct channel *accesses[EDGE_ACCESSES_MAX];
        uint64_t handed_over;
};

bool edge_reading_is_reading(enum listen_protocol protocol);

void edge_reading_init(struct edge_readings *all, struct edge *e);
void edge_reading_done(struct edge_readings *all);

/* A channel to an access process; takes `fd` over. */
void edge_reading_peer(struct edge_readings *all, unsigned number, int fd);

/* As edge_session_new(). */
void edge_reading_new(struct edge_listener *l, int fd, const struct edge_client *client,
                      uint64_t meter_key);
void edge_reading_free(struct edge_reading *r);

/* Has somebody logged in from this address, at any edge, within pop_before_smtp? */
bool edge_reading_was_here(const struct edge *e, const struct edge_client *client);

/* Says so at the next boundary between commands; joined ones end by themselves
 * when their access process does. */
void edge_reading_shut(struct edge_reading *r);

/* ---- between the two files of it ---- */

/* What the engine said: its event as both protocols have it. */
struct edge_reading_event {
        struct span login_name, password, mechanism, octets;
};

/* Answers the event that waits. `code` of IMAP; POP3 has its own for refusals. */
enum edge_reading_answer {
        EDGE_READING_REFUSED, EDGE_READING_LATER, EDGE_READING_TROUBLE, EDGE_READING_MALFORMED,
};
void edge_reading_refuse(struct edge_reading *r, enum edge_reading_answer why);
void edge_reading_challenge(struct edge_reading *r, const char *base64);

/* The engine may go on: feeds it. May free the session. */
void edge_reading_go_on(struct edge_reading *r);

/* The directory said yes; `result` is copied. Answers later, or never. */
void edge_reading_granted(struct edge_reading *r, const struct ipc_auth_result *result);

/* edge_reading_login.c: what is offered, and the exchange. */
bool edge_reading_may_say_password(const struct edge_reading *r);
void edge_reading_offer(struct edge_reading *r); /* fills `mechanisms` */
void edge_reading_password(struct edge_reading *r, struct span login_name, struct span password);
void edge_reading_authenticate(struct edge_reading *r, struct span mechanism, struct span octets);
void edge_reading_response(struct edge_reading *r, struct span octets);
void edge_reading_cancel(struct edge_reading *r);

/* For edge_login.c, which has the channel: an answer that is not for one of its
 * own; the directory is gone. */
void edge_reading_on_result(struct edge_readings *all, const struct ipc_auth_result *result);
void edge_reading_lost(struct edge_readings *all);
