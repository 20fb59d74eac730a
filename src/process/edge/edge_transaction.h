/* One message from MAIL to its answer.
 *
 *   IDLE --MAIL--> OPEN --DATA, a place--> BODY --end--> COMMITTING --answer--> IDLE
 *                                     BODY --large--> BORROWING --lent--> BODY
 *
 * RSET or the end of the connection give it back from any state; from
 * COMMITTING it lives on without a session until the keeper has answered.
 * Nothing in it points into the configuration or the snapshot: both may be
 * replaced between two commands. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/list.h"
#include "ipc/message.h"
#include "process/edge/edge_access.h"
#include "process/edge/edge_admission.h"
#include "process/edge/edge_body.h"
#include "process/edge/edge_keeper.h"
#include "wire/smtp/smtp_server.h"

struct edge_session;

enum edge_state { EDGE_IDLE, EDGE_OPEN, EDGE_BODY, EDGE_BORROWING, EDGE_COMMITTING };

/* An accepted recipient: which of the recipients that go to the keeper it is
 * (another address may lead to the same place). */
struct edge_rcpt {
        uint64_t hash; /* of the place */
        uint32_t index;
        bool is_more; /* the one before came of the same RCPT command, by an alias */
};

struct edge_transaction {
        struct list_node node; /* of edge.spare */
        struct edge *edge;
        struct edge_session *session; /* NULL: the client went away */
        enum edge_state state;
        struct edge_place place;
        struct edge_order order;
        uint64_t message_id, arrived_us, hold_until_us, deliver_by_us;
        uint32_t flags; /* enum envelope_flag */
        uint64_t size_announced;
        struct arena arena;
        struct span mail_from, envid;
        struct buffer recipient_octets;
        struct ipc_items recipients;
        struct edge_rcpt *rcpts;
        size_t rcpt_count, rcpt_room;
        bool has_local; /* one of those is for a mailbox here */
        uint32_t next_index;
        uint32_t rcpt_commands;   /* accepted ones */
        uint32_t routes_tried;    /* of all RCPT commands: aliases are work */
        struct span return_path;  /* of the arena: set by an alias "owner-…"; else empty */
        struct edge_access access;
        struct span held_for; /* of the arena: why it is to be held in the queue; else empty */
        struct span first_account; /* of the arena: the first recipient's mailbox here, if it has */
        struct span first_rcpt_to; /* of the arena: for the trace field of a single recipient */
        struct buffer steps, record; /* of the decision record; the whole of it */
        uint32_t refusals; /* steps in it that refuse */
        struct edge_body body;
};

/* The commands of a session, answered each. */
void edge_transaction_mail(struct edge_session *s, const struct smtp_mail *mail);
void edge_transaction_rcpt(struct edge_session *s, const struct smtp_rcpt *rcpt);
void edge_transaction_data(struct edge_session *s);
void edge_transaction_octets(struct edge_session *s, struct span octets);
void edge_transaction_end(struct edge_session *s, enum smtp_fault fault);

/* It has its place: answers DATA. */
void edge_transaction_admitted(struct edge_transaction *t);

/* It still waits for its place: the client hears what was kept back for it. */
void edge_transaction_speaks(struct edge_transaction *t);

/* What the directory says of the account's recipients, NULL: nothing, which grants
 * them; answers DATA. */
void edge_transaction_quota(struct edge_session *s, const struct ipc_quota_answer *answer);

/* RSET, or the connection is gone: the session has no transaction any more. */
void edge_transaction_abandon(struct edge_session *s);

/* Answers of the keeper. `fd` is taken over. */
void edge_transaction_lent(struct edge_transaction *t, int fd_or_error);
void edge_transaction_committed(struct edge_transaction *t, unsigned status,
                                struct ipc_items results);
void edge_transaction_order_failed(struct edge_transaction *t);

/* What the keeper is told; spans live until `t` changes. */
void edge_transaction_fill_commit(struct edge_transaction *t, struct ipc_commit *ret);

void edge_transaction_free_spares(struct edge *e);
