/* Relay control: who may send where (RFC 5321 section 3.6).
 *
 * Anybody may send to our own domains. To send elsewhere a client must be a
 * local user, have logged in, have shown a certificate of relay_certificates, or
 * come from one of relay_networks, from where
 * the access table says RELAY, or from where somebody has just logged in to
 * read mail (pop_before_smtp); the last three, with relay_mail_from, only with a
 * sender of these domains. What names
 * another place within a local part ("user%outside@ours", "outside!user@ours",
 * "\"user@outside\"@ours") is a local part like any other: no such user. */
#pragma once

#include "config/config.h"
#include "policy/verdict.h"
#include "route/route.h"

struct relay_client {
        unsigned char address[16]; /* IPv4 mapped; zeros for a local socket */
        bool is_local_user;        /* on the submission socket, known to the kernel */
        bool is_logged_in;
        bool has_certificate;      /* showed one of relay_certificates */
        bool has_read_mail;        /* somebody there has, within pop_before_smtp */
        struct span access_relay; /* where the access table says RELAY: "access:4"; else empty */
        struct span mail_from;    /* empty: the null sender, who may come from anywhere */
};

/* Whether this client may send to a recipient with this route. A ROUTE_ERROR
 * to a domain of ours, and what is not relayed, is allowed here: the route has
 * its own answer. A ROUTE_ERROR elsewhere is "Relaying denied" to strangers,
 * who learn nothing of our tables. */
struct verdict relay_control_judge(const struct config *c, const struct relay_client *client,
                                   const struct route *route);
