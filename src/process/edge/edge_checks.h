/* What is asked of others before a recipient is accepted: lists of client
 * addresses in DNS, whether the sender's domain exists, and whether the next hop
 * knows the recipient.
 *
 * Questions about client and sender go out at MAIL; nobody waits for them
 * before RCPT, which is held until they are answered and then looked at again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "policy/verdict.h"
#include "process/edge/edge_dns.h"
#include "wire/smtp/smtp_server.h"

struct edge;
struct edge_probe_question;
struct edge_session;
struct edge_transaction;
struct route_list;
struct edge_listing;

/* Of a session; embedded. */
struct edge_checks {
        struct edge_listing *listings; /* of its client; NULL: not begun */
        size_t listing_count;
        struct edge_dns_question *domain; /* under way */
        bool has_domain;                  /* the sender's was asked for, in this transaction */
        enum dns_status domain_status;
        bool are_told;                    /* in this transaction's record */
        struct edge_probe_question *probe; /* under way */
        bool is_probed;                    /* `rcpt` was, whatever came of it */
        bool is_rcpt_waiting;
        struct smtp_rcpt rcpt; /* which lives with the engine's transaction */
};

/* MAIL was accepted: what is not known yet of client and sender is asked. */
void edge_checks_begin(struct edge_session *s);

/* A recipient that nothing else speaks against. Either refused; or held until
 * more is known, when edge_transaction_rcpt() is called again (`*ret_is_held`).
 * Spans live in the transaction's arena. */
struct verdict edge_checks_recipient(struct edge_session *s, const struct smtp_rcpt *rcpt,
                                     const struct route_list *list, bool *ret_is_held);

/* The transaction is over. */
void edge_checks_end_transaction(struct edge_session *s);

/* The session is over, or another client speaks: nothing is known any more. */
void edge_checks_forget(struct edge_session *s);

/* A probe of this session's recipient is answered (edge_probe.h). */
void edge_checks_probed(struct edge_session *s);

/* A list was tested: sessions that wait for that go on. */
void edge_checks_list_tested(struct edge *e);
