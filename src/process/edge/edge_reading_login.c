/* Logins of those who read. As edge_login.c, for two more protocols. */
#include <errno.h>
#include <stdlib.h>

#include "auth/sasl.h"
#include "base/log.h"
#include "config/options.h"
#include "process/edge/edge.h"

bool edge_reading_may_say_password(const struct edge_reading *r)
{
        const struct config *c = r->edge->process->config;

        return stream_tls(r->stream) ||
               config_networks_contain(&c->auth.plaintext_without_tls, r->client.address);
}

void edge_reading_offer(struct edge_reading *r)
{
        edge_sasl_offer(&r->edge->process->config->auth.mechanisms, stream_tls(r->stream),
                        edge_reading_may_say_password(r), r->mechanisms);
}

/* ---- questions under way ---- */

static void forget(struct edge_reading *r)
{
        if (r->state != EDGE_READING_ASKED && r->state != EDGE_READING_CHALLENGED)
                return;
        table_remove(&r->edge->readings.asked, &r->by_number);
        r->state = EDGE_READING_TALKING;
}

void edge_reading_cancel(struct edge_reading *r)
{
        struct channel *ch = r->edge->directory.channel;
        const bool was_asked = r->state == EDGE_READING_ASKED ||
                               r->state == EDGE_READING_CHALLENGED;

        forget(r);
        if (was_asked && ch)
                CHANNEL_SEND(ch, auth_cancel, -1, .login = r->number);
}

/* Numbers are shared with the logins of edge_login.c: one channel, one row. */
static int remember(struct edge_reading *r)
{
        int result;

        r->number = ++r->edge->directory.number_last;
        result = table_add(&r->edge->readings.asked, &r->by_number, r->number);
        if (result == 0)
                r->state = EDGE_READING_ASKED;
        return result;
}

static void start(struct edge_reading *r, const struct sasl_mechanism *m, bool has_initial,
                  struct span initial)
{
        struct channel *ch = r->edge->directory.channel;
        struct edge_sasl told;

        edge_sasl_tell(r->mechanisms, m, stream_tls(r->stream), &told);
        edge_reading_cancel(r);
        if (!ch || remember(r) < 0) {
                edge_reading_refuse(r, EDGE_READING_TROUBLE);
                return;
        }
        if (CHANNEL_SEND(ch, auth_start, -1, .login = r->number, .mechanism = m->name,
                         .service = span_from_string(listen_protocol_name(r->listener->protocol)),
                         .client_address = {(const char *) r->client.address,
                                            sizeof r->client.address},
                         .has_initial = has_initial, .octets = initial,
                         .exporter = told.exporter, .end_point = told.end_point,
                         .certificate_name = told.certificate_name) < 0) {
                forget(r);
                edge_reading_refuse(r, EDGE_READING_TROUBLE);
        }
}

/* LOGIN, USER and PASS are PLAIN (RFC 4616) in other words. */
void edge_reading_password(struct edge_reading *r, struct span login_name, struct span password)
{
        char octets[SASL_BLOB_MAX];
        const size_t len = login_name.len + password.len + 2;

        if (len > sizeof octets || span_find(login_name, '\0') != SIZE_MAX ||
            span_find(password, '\0') != SIZE_MAX) {
                edge_reading_refuse(r, EDGE_READING_REFUSED);
                return;
        }
        octets[0] = '\0';
        if (login_name.len)
                memcpy(octets + 1, login_name.p, login_name.len);
        octets[1 + login_name.len] = '\0';
        if (password.len)
                memcpy(octets + 2 + login_name.len, password.p, password.len);
        start(r, sasl_mechanism_find(SPAN_LITERAL("PLAIN")), true, span_make(octets, len));
        explicit_bzero(octets, sizeof octets);
}

/* As one message: name NUL digest NUL stamp. */
void edge_reading_apop(struct edge_reading *r, struct span login_name, struct span digest)
{
        const struct span stamp = span_from_string(r->stamp);
        struct buffer octets = BUFFER_INIT(SASL_BLOB_MAX);

        if (span_find(login_name, '\0') != SIZE_MAX ||
            buffer_append_span(&octets, login_name) < 0 || buffer_append(&octets, "", 1) < 0 ||
            buffer_append_span(&octets, digest) < 0 || buffer_append(&octets, "", 1) < 0 ||
            buffer_append_span(&octets, stamp) < 0)
                edge_reading_refuse(r, EDGE_READING_REFUSED);
        else
                start(r, sasl_mechanism_find(SPAN_LITERAL("APOP")), true, buffer_span(&octets));
        buffer_done(&octets);
}

void edge_reading_authenticate(struct edge_reading *r, struct span mechanism, struct span base64)
{
        const struct sasl_mechanism *m = sasl_mechanism_find(mechanism);
        char initial[SASL_BLOB_MAX];
        size_t len = 0;

        if (!m || !edge_sasl_is_offered(r->mechanisms, mechanism) ||
            (base64.p && !sasl_decode(base64, initial, &len))) {
                edge_reading_refuse(r, EDGE_READING_MALFORMED);
                return;
        }
        start(r, m, base64.p != NULL, span_make(initial, len));
        explicit_bzero(initial, sizeof initial);
}

void edge_reading_response(struct edge_reading *r, struct span base64)
{
        struct channel *ch = r->edge->directory.channel;
        char octets[SASL_BLOB_MAX];
        size_t len;

        if (r->state != EDGE_READING_CHALLENGED || !ch) { /* who asked is gone */
                forget(r);
                edge_reading_refuse(r, EDGE_READING_TROUBLE);
                return;
        }
        if (!sasl_decode(base64, octets, &len)) {
                edge_reading_cancel(r);
                edge_reading_refuse(r, EDGE_READING_MALFORMED);
                return;
        }
        r->state = EDGE_READING_ASKED;
        if (CHANNEL_SEND(ch, auth_step, -1, .login = r->number,
                         .octets = span_make(octets, len)) < 0) {
                forget(r);
                edge_reading_refuse(r, EDGE_READING_TROUBLE);
        }
        explicit_bzero(octets, sizeof octets);
}

/* ---- the directory's side ---- */

void edge_reading_on_result(struct edge_readings *all, const struct ipc_auth_result *result)
{
        static const enum edge_reading_answer answers[] = {
                [AUTH_REFUSED] = EDGE_READING_REFUSED, [AUTH_MALFORMED] = EDGE_READING_MALFORMED,
                [AUTH_UNKNOWN] = EDGE_READING_MALFORMED, [AUTH_LATER] = EDGE_READING_LATER,
                [AUTH_TROUBLE] = EDGE_READING_TROUBLE,
        };
        struct table_node *n = table_first(&all->asked, result->login);
        char text[SASL_BASE64_MAX + 1];
        struct edge_reading *r;

        if (!n)
                return; /* the client went away meanwhile */
        r = TABLE_OBJECT(n, struct edge_reading, by_number);
        if (r->state != EDGE_READING_ASKED)
                return;
        if (result->status == AUTH_CHALLENGE) {
                r->state = EDGE_READING_CHALLENGED;
                sasl_encode(result->octets, text);
                edge_reading_challenge(r, text);
                edge_reading_go_on(r);
                return;
        }
        forget(r);
        if (result->status == AUTH_GRANTED && result->account.len) {
                edge_reading_granted(r, result);
                return;
        }
        edge_reading_refuse(r, result->status <= AUTH_TROUBLE && result->status > AUTH_GRANTED
                                       ? answers[result->status] : EDGE_READING_TROUBLE);
        edge_reading_go_on(r);
}

static void fail_one(struct table_node *node, void *arg)
{
        struct edge_reading *r = TABLE_OBJECT(node, struct edge_reading, by_number);
        const bool waits = r->state == EDGE_READING_ASKED;

        (void) arg;
        forget(r);
        if (!waits)
                return; /* told when it responds */
        edge_reading_refuse(r, EDGE_READING_TROUBLE);
        edge_reading_go_on(r);
}

void edge_reading_lost(struct edge_readings *all)
{
        table_visit(&all->asked, fail_one, NULL);
}
