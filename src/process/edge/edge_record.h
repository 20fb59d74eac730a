/* What the edge writes into the decision record of a message. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"

struct edge_session;
struct edge_transaction;
struct route;
struct verdict;

/* A recipient was accepted: by which rule, and where its mail goes. `rule` says
 * who allowed it where the route is not to a domain of ours. `same_as`: the
 * index of an earlier recipient that leads to the same place, else UINT32_MAX.
 * 0, -EMSGSIZE, -ENOMEM. */
int edge_record_accepted(struct edge_transaction *t, uint32_t index, uint32_t same_as,
                         const struct route *route, const struct verdict *rule);

/* A recipient, or with DECISION_MESSAGE the message, was refused. Written into
 * the record and the log; above EDGE_REFUSALS_RECORDED a minute of one client
 * network for one rule it is counted only. */
void edge_record_refused(struct edge_transaction *t, uint32_t index, struct span rcpt_to,
                         const struct verdict *why);

/* A session was refused, outside of any message. `id` (ID_TEXT_LEN + 1 octets)
 * is what `why` finds it by. Recorded and logged as above. */
void edge_record_session_refused(struct edge_session *s, const struct verdict *why, char *id);

/* Puts the whole together in t->record: the session first, then the steps.
 * 0, -EMSGSIZE, -ENOMEM. */
int edge_record_finish(struct edge_transaction *t);

/* "helo_name=… protocol=…": who it is and how he came, in place of what is in the buffer. */
void edge_record_describe_session(const struct edge_session *s, struct buffer *detail);

/* "192.0.2.1:2525" */
enum { EDGE_RECORD_HOST_MAX = 96 };
struct span edge_record_format_host(const struct edge_session *s, char out[EDGE_RECORD_HOST_MAX]);

/* "ESMTPS", or "local" for the submission socket. */
const char *edge_record_protocol(const struct edge_session *s);
