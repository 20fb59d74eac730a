/* Logging in: what is offered to whom, and the exchange with the directory.
 *
 * The directory runs the mechanisms; here blobs go in and out of base64, and
 * an account stands in the session once it said yes. The same channel answers
 * whether an account may send to more recipients.
 *
 *   NONE --AUTH--> ASKED --challenge--> CHALLENGED --response--> ASKED
 *     ^              |                      |
 *     +---answer-----+-------cancel---------+
 *   NONE --DATA--> QUOTA --answer--> NONE
 *
 * A directory that goes away answers nothing: whoever waits is told 454. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/table.h"
#include "ipc/channel.h"
#include "process/edge/edge_sasl.h"
#include "wire/smtp/smtp_server.h"

struct edge;
struct edge_session;

enum edge_login_state {
        EDGE_LOGIN_NONE, EDGE_LOGIN_ASKED, EDGE_LOGIN_CHALLENGED, EDGE_LOGIN_QUOTA,
};

/* Of a session; embedded. */
struct edge_login {
        struct table_node by_number; /* while ASKED, CHALLENGED or QUOTA */
        uint64_t number;
        enum edge_login_state state;
        char *account;  /* canonical address; NULL: not logged in */
        char mechanisms[EDGE_MECHANISMS_MAX]; /* offered; the engine refers to it */
};

/* Of the process. */
struct edge_directory {
        struct edge *edge;
        struct channel *channel; /* NULL: there is none */
        struct table asked;      /* logins, by number */
        uint64_t number_last;
};

void edge_login_init(struct edge_directory *d, struct edge *e);
void edge_login_done(struct edge_directory *d);

/* A new channel to the directory; takes `fd` over. */
void edge_login_peer(struct edge_directory *d, int fd);

/* Whether a login is possible on this session's listener at all. */
bool edge_login_is_possible(const struct edge_session *s);

/* Sets what EHLO offers, as TLS and policy have it now. */
void edge_login_offer(struct edge_session *s);

/* AUTH, and the lines that follow it; answered each. */
void edge_login_begin(struct edge_session *s, const struct smtp_event *event);
void edge_login_response(struct edge_session *s, struct span base64);

/* The client gave up, or the session ends: no answer comes any more. */
void edge_login_cancel(struct edge_session *s);

/* Whether the account may send from this address. */
bool edge_login_owns(const struct edge_session *s, struct span mail_from);

/* Asks whether so many recipients more are allowed: edge_transaction_quota()
 * is called, later. False where nobody needs to be asked. */
bool edge_login_ask_quota(struct edge_session *s, size_t recipients);
