/* What the access table says in one transaction: about the client and sender,
 * asked once at MAIL, and about each recipient. And whose mail is masqueraded. */
#pragma once

#include <stdbool.h>

#include "base/span.h"
#include "policy/access.h"
#include "policy/verdict.h"

struct arena;
struct edge_session;
struct edge_transaction;
struct route_list;

/* Of the transaction's arena: it must not point into a snapshot, which may be
 * replaced between two commands. */
struct edge_access {
        struct verdict refusal; /* of every recipient; code 0: none */
        struct span discard;    /* where it says to throw the message away; else empty */
        struct verdict quarantine; /* where it says to hold the message, and why; else empty */
        struct span relay;      /* where it lets this client relay; else empty */
        bool is_client_ok;      /* it says OK or RELAY: nobody else is asked about the client */
        bool is_sender_ok;      /* the same of the sender */
};

/* Asks about client and sender. 0, -ENOMEM. */
int edge_access_ask(struct edge_session *s, struct edge_transaction *t);

/* What it says about a recipient, with what it said about client and sender: a
 * refusal; or ACCESS_DISCARD, then the recipient is accepted and thrown away; or
 * ACCESS_QUARANTINE; or nothing of these. With RELAY the recipient counts as
 * ours. Spans are of the scratch arena and the snapshot. 0, -ENOMEM. */
int edge_access_recipient(struct edge_session *s, struct route_list *list,
                          struct access_judgement *ret);

/* A recipient was accepted that ACCESS_QUARANTINE was said about: the whole
 * message will be held, for the first reason there was. 0, -EMSGSIZE, -ENOMEM. */
int edge_access_quarantine(struct edge_transaction *t, const struct verdict *why);

/* Is this somebody whose mail we send: a local user, one who logged in, a
 * client that may relay? */
bool edge_access_is_ours(const struct edge_session *s, const struct edge_transaction *t);

/* Masquerades the envelope sender of our own clients where masquerade.envelope
 * says so. 0, -ENOMEM. */
int edge_access_masquerade(struct edge_session *s, struct edge_transaction *t);
