/* Recovery: makes the index and the traces what the log says, and finds where
 * writing goes on.
 *
 * Reading begins at the position the index holds (its traces' one) and goes on
 * group by group through both streams. The first group that is not whole ends
 * the log: it was being written when the machine stopped, and nobody was told
 * that it was kept. Behind it there may be groups that were on their way with it:
 * they are wiped. If a group is there that was written when the missing one was
 * durable, a part of the log is damaged, and we refuse to go on. */
#pragma once

#include "store/apply.h"
#include "store/log.h"
#include "store/trace.h"

/* 0, with the log ready for writing; -EBADMSG or another, said in `error` (256
 * bytes). */
int recover(struct log *log, struct apply *apply, struct trace *trace, char *error);

/* Puts the position after a group into the index batch, and up to where the traces are
 * durable. Those may be further, since groups are answered before the index is told: but
 * recovery reads on from there, and the index must get all that is behind its own, so that
 * no more than that is kept. */
int recover_put_position(struct index *index, const struct log_position *p,
                         const struct log_position *traces);

/* The value of the index's position: up to where it has the log, and the traces. 0 or
 * -EBADMSG. */
int recover_decode_positions(struct span value, struct log_position *ret_p,
                             struct log_position *ret_traces);

/* Up to where the index has the log. */
int recover_get_position(struct index *index, struct log_position *ret_p);

/* The durable one of the traces: what is before it, the log need not keep. */
int recover_get_flushed_position(struct index *index, struct log_position *ret_traces);

/* Counts what the blobs of this group, which is durable, did to their segments, and
 * puts that into the index batch. */
int recover_account(struct log *log, struct index *index, const struct apply_group *group);
