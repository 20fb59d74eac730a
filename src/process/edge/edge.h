/* What the files of the edge process share: one struct of the whole process.
 *
 *   edge.c              the role: start, reload, stop, status
 *   edge_listener.c     accepting connections
 *   edge_session.c      one connection: stream and SMTP engine
 *   edge_guard.c        turns, time and errors: what an attacker would spend
 *   edge_ask.c          VRFY, EXPN, ETRN
 *   edge_front.c        PROXY and XCLIENT: front ends that speak for others
 *   edge_transaction.c  one message: envelope, recipients, decision record
 *   edge_admission.c    how many messages come in at once
 *   edge_checks.c       what is asked of DNS and of next hops before a recipient
 *   edge_dnsbl.c        the lists in DNS, and whether they are in order
 *   edge_probe.c        what next hops know, remembered
 *   edge_dns.c          the channel to the resolver
 *   edge_trial.c        sessions of `hayauma try`, of which nothing is kept
 *   edge_body.c         its text: in memory or in a file the keeper lent
 *   edge_login.c        logins, by the channel to the directory
 *   edge_reading*.c     IMAP and POP3 up to the login, and the hand-over
 *   edge_keeper.c       the channel to the keeper: commits, loans, intake */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/id.h"
#include "base/list.h"
#include "policy/meters.h"
#include "process/edge/edge_admission.h"
#include "process/edge/edge_dns.h"
#include "process/edge/edge_keeper.h"
#include "process/edge/edge_limited.h"
#include "process/edge/edge_login.h"
#include "process/edge/edge_probe.h"
#include "process/edge/edge_reading.h"
#include "process/process.h"

enum {
        EDGE_BODY_MEMORY = 256 * 1024,        /* a message above it goes to a lent file */
        EDGE_BODY_MEMORY_CROWDED = 32 * 1024, /* the same while memory is short */
        EDGE_BODIES_CROWDED = 64 << 20,       /* bytes of all bodies held: memory is short */
        EDGE_SPARE_TRANSACTIONS = 64,
        EDGE_REFUSALS_RECORDED = 100,         /* a minute, of one client network for one reason */
};

struct edge_counters {
        uint64_t connections, connections_refused;
        uint64_t messages, messages_refused, recipients_accepted, recipients_refused;
        uint64_t refusals_unrecorded, octets, sessions_refused, fields_struck, digests;
};

struct edge {
        struct process *process;
        struct id_maker ids;
        struct meters meters;
        void *meters_area; /* where none is shared */
        struct edge_keeper keeper;
        struct edge_admission admission;
        struct edge_directory directory;
        struct edge_readings readings;
        struct edge_dns dns;
        struct edge_probe probe;
        struct list_node dnsbls; /* struct edge_dnsbl */
        struct list_node listeners;
        bool are_listeners_paused;
        struct timer *listeners_timer; /* accept() failed for want of descriptors */
        struct list_node fronts;       /* connections whose PROXY header has not come */
        struct list_node sessions;
        size_t session_count;
        struct list_node starved;      /* sessions that wait for credit to the keeper */
        struct list_node warm;         /* sessions that did something lately */
        struct timer *cooling;
        struct list_node spare;        /* transactions kept for their memory */
        size_t spare_count;
        size_t bodies_held;            /* bytes of message text in memory */
        struct arena scratch;          /* of one command */
        struct buffer text;            /* of one record step, log line or trace field */
        struct buffer digest;          /* of one message */
        bool is_stopping;
        struct timer *drain;
        struct edge_counters counters;
        struct edge_limited limited; /* edge_limited.h */
};

/* Frees it all, sessions in the middle of something too: for tests, a process
 * just ends. Accepts NULL. */
void edge_free(struct edge *e);

/* A session ended: with the last one of a process that stops, this ends. */
void edge_session_ended(struct edge *e);
