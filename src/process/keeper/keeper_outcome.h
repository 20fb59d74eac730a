/* What became of an attempt: answers per recipient, and the one commit that
 * makes them durable. */
#pragma once

#include "base/arena.h"
#include "policy/decision.h"
#include "process/keeper/keeper.h"
#include "route/route.h"

struct outcome_reply {
        bool is_answered;
        uint16_t code;
        struct span enhanced, text, host, detail;
        bool sends_dsn;  /* who took it notifies by itself */
        bool keeps_time; /* and knows by when it is to be delivered */
};

/* The answers to one entry's waiting recipients. */
struct outcome {
        struct arena arena;
        struct outcome_reply *replies; /* by place in entry->recipients */
        size_t reply_count;
        size_t open_count; /* waiting recipients without an answer */
};

/* `o` is {0}, or was cleared: then it keeps some memory for the next. */
int outcome_init(struct outcome *o, const struct queue_entry *e);
void outcome_clear(struct outcome *o);
void outcome_done(struct outcome *o);

/* One recipient's answer, with what `from` says of who gave it; a second one, or
 * one for a stranger, is ignored. */
void outcome_answer(struct outcome *o, const struct queue_entry *e, const struct ipc_result *result,
                    const struct ipc_outcome *from);
/* The same answer for all that have none. */
void outcome_answer_all(struct outcome *o, uint16_t code, struct span enhanced, struct span text);

/* Stores what the answers mean for an entry in flight: 2xx is done, 5xx given
 * up, anything else tried again until the lifetime ends. The entry leaves the
 * active queue once that is durable. Takes the entry over. */
void outcome_conclude(struct keeper *k, struct queue_entry *e, struct outcome *o,
                      enum queue_health health);

/* Stores an entry that is not active as one that waits for its host, to be looked
 * at again about `until_us`; its time may be over now. Takes the entry. */
void outcome_put_off(struct keeper *k, struct queue_entry *e, uint64_t until_us);

/* An attempt at "local:": into the mailboxes of this host. Takes the entry. */
void outcome_deliver_local(struct keeper *k, struct queue_entry *e, struct outcome *o);

/* RFC 3461 section 4.1: whether this recipient's fate is to be told when it is
 * `fate` (or one of several); without NOTIFY failures and delays are. Never about what would make a
 * loop of notifications (RFC 5321 section 4.5.5). */
bool outcome_is_told(const struct queue_entry *e, const struct queue_recipient *q,
                     unsigned fate);

/* -EDQUOT where the account would hold more than its quota (of the users file)
 * with a message of `size` octets, else 0. */
int outcome_check_quota(const struct keeper *k, const struct account *a, struct span account,
                        uint64_t size);

/* The answer for -EDQUOT (RFC 3463 section 3.3: X.2.2). */
void outcome_say_full(const struct keeper *k, struct ipc_result *result);

/* One step about every waiting recipient, with the batch. */
/* The same for many entries, one record a message as far as they come together: from
 * {.batch, .now_us} to outcome_trace_end(). */
struct outcome_trace {
        struct store_batch *batch;
        uint64_t now_us, message_id;
        struct buffer record;
};
void outcome_trace_add(struct outcome_trace *t, const struct queue_entry *e,
                       enum decision_kind kind, struct span text);
void outcome_trace_end(struct outcome_trace *t);
