/* What a session may spend that the protocol engine does not count: turns, time,
 * and errors over all connections of a client.
 *
 * Time has one deadline a session at any moment: the delay of the greeting; the
 * TLS handshake in all; the next whole command; or the next minute of a
 * message, which must bring octets enough, or none for a while. Octets that
 * complete nothing move none of them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "policy/verdict.h"
#include "wire/smtp/smtp_server.h"

struct edge_session;

enum { EDGE_GUARD_WINDOW_MS = 60 * 1000 }; /* in which octets of a message are counted */

/* Whether this client is looked at: not local ones, nor those of
 * relay_networks. */
bool edge_guard_watches(const struct edge_session *s);

/* Says the refusal, records it, and ends the session: no more input is read. */
void edge_guard_cut(struct edge_session *s, const struct verdict *why);

/* Before the greeting. False: it is delayed, or the client spoke already and
 * was cut. */
bool edge_guard_may_greet(struct edge_session *s);

/* Whether octets may come behind this event before it is answered. False: they
 * did, and the session was cut. */
bool edge_guard_turn(struct edge_session *s, const struct smtp_event *event, size_t unread);

/* Something was achieved: a whole command, or octets of a message. */
void edge_guard_progress(struct edge_session *s);
void edge_guard_begin_tls(struct edge_session *s);
void edge_guard_begin_data(struct edge_session *s);

/* The deadline has come. */
void edge_guard_expired(struct edge_session *s);

/* A connection that lasts for days holds what others need: it ends once no
 * transaction is open. */
void edge_guard_check_age(struct edge_session *s);

/* What the engine refused by itself as a verdict, with the option that says so; and
 * keeps the one that it did not give with an event. */
struct verdict edge_guard_fault(const struct edge_session *s, enum smtp_fault fault);
void edge_guard_note_fault(struct edge_session *s);

/* Counts what was refused since the last time. False: cut, for errors. */
bool edge_guard_count_errors(struct edge_session *s);
