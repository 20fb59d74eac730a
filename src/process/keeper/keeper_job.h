/* Attempts: an entry goes to a relay as a job, or into a mailbox here
 * ("local:"), and its outcome into the store. */
#pragma once

#include "process/keeper/keeper.h"
#include "process/keeper/keeper_queue.h"

/* Is there a relay that can take a job? */
bool keeper_job_may_start(struct keeper *k);

/* Starts an attempt with an entry that queue_take() gave. */
void keeper_job_start(struct keeper *k, struct queue_entry *e);

/* Adds the trace of an administrator's change. */
struct outcome_trace;
void keeper_job_trace(struct outcome_trace *t, const struct queue_entry *e,
                      enum keeper_queue_verb verb);

/* The due time of an entry in the store has become earlier than known. */
void keeper_queue_expect(struct keeper *k, uint64_t due_us);
