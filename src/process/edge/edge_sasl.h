/* What SMTP, IMAP and POP3 have in common of a login (RFC 4954, 9051, 5034): which
 * mechanisms are offered, and what the directory is told of the connection.
 *
 * `offered` is the names with a space between, ended by NUL. */
#pragma once

#include <stdbool.h>

#include "auth/sasl.h"
#include "net/tls/tls.h"

struct config_list;

enum { EDGE_MECHANISMS_MAX = 160, EDGE_ACCOUNT_MAX = 320 };

/* Of one connection, for the directory; empty where it has none. The spans lie in
 * the struct itself. */
struct edge_sasl {
        struct span exporter, end_point; /* channel bindings: RFC 9266, RFC 5929 section 4 */
        struct span certificate_name;    /* an address that the client's certificate proves */
        unsigned char exporter_octets[SASL_EXPORTER_LEN], end_point_octets[TLS_END_POINT_MAX];
        char name_octets[EDGE_ACCOUNT_MAX];
};

/* Fills `out` with the mechanisms that are wanted and possible; `tls` may be NULL. Those
 * that say the password are offered where `may_say_password`. Returns its length. */
size_t edge_sasl_offer(const struct config_list *wanted, struct tls_session *tls,
                       bool may_say_password, char out[EDGE_MECHANISMS_MAX]);

bool edge_sasl_is_offered(const char *offered, struct span mechanism);

/* What this mechanism may want to know; `tls` may be NULL. */
void edge_sasl_tell(const char *offered, const struct sasl_mechanism *m, struct tls_session *tls,
                    struct edge_sasl *ret);
