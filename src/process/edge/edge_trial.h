/* Trials: `hayauma try` speaks SMTP on the socket of local users, names a client
 * with XCLIENT … TRIAL=YES, and from then on is treated as that client would be,
 * by the same code; but nothing is counted, kept or sent, and the decision
 * records that would have been kept go to it behind our last reply, each after
 * its length in four octets, the highest first.
 *
 * Only for who may control us (process/control_access.h). */
#pragma once

#include "base/span.h"
#include "policy/verdict.h"
#include "wire/smtp/xclient.h"

struct edge_session;

/* The session is a trial for that client from now on. What speaks against a
 * connection of that client now. */
struct verdict edge_trial_begin(struct edge_session *s, const struct xclient *x);

/* A record. What finds no memory is left out. */
void edge_trial_keep(struct edge_session *s, struct span record);

/* The session ends: the records are sent. Does nothing outside a trial. */
void edge_trial_tell(struct edge_session *s);
