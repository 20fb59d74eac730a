/* What tls_policy wants of a host, and whether it is that (RFC 7435, 7672,
 * 8314). */
#pragma once

#include "config/tls_policy.h"
#include "net/tls/tls.h"
#include "wire/smtp/smtp_client.h"

struct relay_address;
struct relay_connection;
struct relay_destination;

enum { RELAY_TLS_TEXT_MAX = 200 };

struct relay_tls {
        enum tls_level level;
        bool is_mandatory; /* without it, or where the check fails, nothing goes there */
        bool is_first;     /* TLS before SMTP, on the port of RFC 8314 section 3.3 */
        enum tls_check_kind check;
};

/* Whether the resolver is to be asked for TLSA records too. */
bool relay_tls_wants_tlsa(const struct relay_destination *d);

/* Sets c->tls for this address, before a connection. 0; -EACCES: it may not be
 * used; c->is_policy_failure and c->error say so. */
int relay_tls_decide(struct relay_connection *c, const struct relay_address *a);

enum smtp_client_tls relay_tls_mode(const struct relay_connection *c);

/* Starts it. `a` NULL: what was known of the host is known no more. 0 or a
 * negative errno. */
int relay_tls_start(struct relay_connection *c, const struct relay_address *a);

/* For the record: " policy=dane verified=dane-ee". */
void relay_tls_describe(const struct relay_connection *c, char out[RELAY_TLS_TEXT_MAX]);
