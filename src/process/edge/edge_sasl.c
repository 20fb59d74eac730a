#include "process/edge/edge_sasl.h"

#include <string.h>

#include "config/options.h"

static bool is_possible(const struct sasl_mechanism *m, struct tls_session *tls,
                        bool may_say_password)
{
        unsigned char exporter[SASL_EXPORTER_LEN];
        char name[EDGE_ACCOUNT_MAX];

        if (m->flags & SASL_PLAINTEXT)
                return may_say_password;
        if (m->flags & SASL_BINDING)
                return tls && tls_session_exporter(tls, exporter, sizeof exporter);
        if (m->flags & SASL_EXTERNAL)
                return tls && tls_session_peer_address(tls, name, sizeof name);
        return true;
}

size_t edge_sasl_offer(const struct config_list *wanted, struct tls_session *tls,
                       bool may_say_password, char out[EDGE_MECHANISMS_MAX])
{
        size_t len = 0;

        for (size_t i = 0; i < wanted->count; i++) {
                const struct sasl_mechanism *m = sasl_mechanism_find(wanted->items[i]);

                if (!m || !is_possible(m, tls, may_say_password) ||
                    len + m->name.len + 2 > EDGE_MECHANISMS_MAX)
                        continue;
                if (len)
                        out[len++] = ' ';
                memcpy(out + len, m->name.p, m->name.len);
                len += m->name.len;
        }
        out[len] = '\0';
        return len;
}

bool edge_sasl_is_offered(const char *offered, struct span mechanism)
{
        struct span rest = span_from_string(offered), word;

        while (rest.len && span_split(&rest, ' ', &word))
                if (span_equal_nocase(word, mechanism))
                        return true;
        return false;
}

/* Told of the binding, the directory takes a client that could bind and was not
 * offered it for one who is lied to: so only where it was. */
void edge_sasl_tell(const char *offered, const struct sasl_mechanism *m, struct tls_session *tls,
                    struct edge_sasl *ret)
{
        *ret = (struct edge_sasl) {.name_octets = ""};
        if (tls && m->flags & SASL_PROOF &&
            (edge_sasl_is_offered(offered, SPAN_LITERAL("SCRAM-SHA-256-PLUS")) ||
             edge_sasl_is_offered(offered, SPAN_LITERAL("SCRAM-SHA-1-PLUS"))) &&
            tls_session_exporter(tls, ret->exporter_octets, sizeof ret->exporter_octets)) {
                ret->exporter = span_make((const char *) ret->exporter_octets,
                                          sizeof ret->exporter_octets);
                ret->end_point = span_make((const char *) ret->end_point_octets,
                                           tls_session_end_point(tls, ret->end_point_octets));
        }
        if (tls && m->flags & SASL_EXTERNAL &&
            tls_session_peer_address(tls, ret->name_octets, sizeof ret->name_octets))
                ret->certificate_name = span_from_string(ret->name_octets);
}
