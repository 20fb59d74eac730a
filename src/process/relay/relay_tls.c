#include "process/relay/relay_tls.h"

#include <errno.h>
#include <stdio.h>

#include "message/next_hop.h"
#include "process/relay/relay_connection.h"

enum { PORT_TLS_FIRST = 465, NAMES_MAX = TLS_POLICY_NAMES_MAX + 2 };

/* As in the resolver's answer (process/resolver/mx.h). */
enum { TLSA_NONE = 0, TLSA_USABLE = 1, TLSA_UNUSABLE = 2, TLSA_FAILED = 3 };

/* The policy, and the host or domain it is of. */
static struct tls_policy policy_of(const struct relay_destination *d, struct span *ret_host)
{
        struct next_hop hop = {0};

        (void) next_hop_parse(span_from_string(d->next_hop), &hop); /* it was understood before */
        *ret_host = hop.host;
        return tls_policy_find(&d->relay->process->config->tls_policy, hop.host, hop.port);
}

bool relay_tls_wants_tlsa(const struct relay_destination *d)
{
        struct span host;
        const struct tls_policy p = policy_of(d, &host);

        return !d->is_lmtp && (p.level == TLS_LEVEL_DANE || p.level == TLS_LEVEL_DANE_ONLY);
}

static int refuse(struct relay_connection *c, const char *why)
{
        c->is_policy_failure = true;
        snprintf(c->error, sizeof c->error, "%s: not used: %s (tls_policy: %s)", c->host, why,
                 tls_level_name(c->tls.level));
        return -EACCES;
}

/* RFC 7672 section 2.2. */
static int decide_dane(struct relay_connection *c, const struct relay_address *a)
{
        const bool is_only = c->tls.level == TLS_LEVEL_DANE_ONLY;

        switch (a->tlsa_state) {
        case TLSA_USABLE:
                c->tls.is_mandatory = true;
                c->tls.check = TLS_CHECK_DANE;
                return 0;
        case TLSA_FAILED:
                return refuse(c, "whether it has TLSA records could not be learned, or the answer "
                                 "was forged (DNSSEC)");
        case TLSA_UNUSABLE:
                c->tls.is_mandatory = true;
                return is_only ? refuse(c, "none of its TLSA records can be used") : 0;
        default:
                return is_only ? refuse(c, "it has no TLSA records that DNSSEC vouches for") : 0;
        }
}

/* RFC 8689 section 4.2.1: the host is the right one for the domain, by DNSSEC or
 * since an administrator named it, and its certificate says that it is that host. */
static int decide_required(struct relay_connection *c, const struct relay_address *a,
                           const struct tls_policy *p)
{
        const struct relay_destination *d = c->destination;

        c->tls.is_mandatory = true;
        if (p->level == TLS_LEVEL_FINGERPRINT) {
                c->tls.check = TLS_CHECK_PINS;
                return 0;
        }
        if (a->tlsa_state == TLSA_USABLE) {
                c->tls.check = TLS_CHECK_DANE;
                return 0;
        }
        c->tls.check = TLS_CHECK_NAMES;
        if (d->name && !d->is_host && !a->is_name_secure && p->level != TLS_LEVEL_VERIFY)
                return refuse(c, "DNSSEC does not vouch for its being a mail host of the domain "
                                 "(REQUIRETLS)");
        if (!d->relay->process->tls)
                return refuse(c, "there are no authorities to check it with: see tls.ca");
        return 0;
}

static int decide(struct relay_connection *c, const struct relay_address *a)
{
        const struct relay_destination *d = c->destination;
        struct span host;
        struct tls_policy p = policy_of(d, &host);
        const int wanted = relay_login_is_wanted(d->relay, host, d->port);

        c->login.is_wanted = wanted > 0;
        if (endpoint_is_path(&a->at) && !d->is_tls_required)
                p.level = TLS_LEVEL_NONE; /* it leaves this machine's memory nowhere */
        if (c->login.is_wanted && (!p.host.len || span_equal(p.host, SPAN_LITERAL("*"))))
                p.level = TLS_LEVEL_VERIFY;
        c->tls = (struct relay_tls) {
                .level = p.level, .is_first = !d->is_lmtp && d->port == PORT_TLS_FIRST,
                .is_mandatory = !d->is_lmtp && d->port == PORT_TLS_FIRST,
        };
        if (wanted < 0)
                return refuse(c, "the directory process has not said yet where we log in");
        if (d->is_tls_required)
                return decide_required(c, a, &p);
        switch (c->tls.level) {
        case TLS_LEVEL_NONE:
                c->tls.is_first = c->tls.is_mandatory = false;
                return 0;
        case TLS_LEVEL_MAY:
                break;
        case TLS_LEVEL_ENCRYPT:
                c->tls.is_mandatory = true;
                break;
        case TLS_LEVEL_VERIFY:
                c->tls.is_mandatory = true;
                c->tls.check = TLS_CHECK_NAMES;
                if (!d->relay->process->tls)
                        return refuse(c, "there are no authorities to check it with: see tls.ca");
                break;
        case TLS_LEVEL_FINGERPRINT:
                c->tls.is_mandatory = true;
                c->tls.check = TLS_CHECK_PINS;
                break;
        case TLS_LEVEL_DANE:
        case TLS_LEVEL_DANE_ONLY:
                return decide_dane(c, a);
        }
        return 0;
}

/* A password goes only where the host is known to be the right one. */
static int decide_login(struct relay_connection *c)
{
        if (c->login.is_wanted && c->tls.check == TLS_CHECK_NOTHING)
                return refuse(c, "we log in there, and so must be sure of it: tls_policy must say "
                                 "verify, fingerprint or dane-only");
        return 0;
}

int relay_tls_decide(struct relay_connection *c, const struct relay_address *a)
{
        const int r = decide(c, a);

        return r < 0 ? r : decide_login(c);
}

enum smtp_client_tls relay_tls_mode(const struct relay_connection *c)
{
        if (c->tls.is_first || c->is_plain ||
            (c->tls.level == TLS_LEVEL_NONE && !c->tls.is_mandatory) ||
            !c->destination->relay->tls)
                return SMTP_CLIENT_TLS_NONE;
        return c->tls.is_mandatory ? SMTP_CLIENT_TLS_MUST : SMTP_CLIENT_TLS_MAY;
}

static int start(struct relay_connection *c, struct span server_name, const struct tls_check *check)
{
        const struct relay *r = c->destination->relay;
        struct tls_context *context = check->kind == TLS_CHECK_NAMES ? r->process->tls : r->tls;

        return context ? stream_start_tls_checked(c->stream, context, server_name, check) : -EACCES;
}

/* The names to be found: what the row says, else the destination's own, and its
 * MX host's where nobody can have put another in its place. */
static int start_named(struct relay_connection *c, const struct relay_address *a)
{
        struct span host, names[NAMES_MAX], rest, one;
        const struct tls_policy p = policy_of(c->destination, &host);
        struct tls_check check = {.kind = TLS_CHECK_NAMES, .names = names};

        for (rest = p.match; rest.len && check.name_count < TLS_POLICY_NAMES_MAX &&
                             span_split(&rest, ',', &one);)
                names[check.name_count++] = one;
        if (!p.match.len) {
                names[check.name_count++] = host;
                if (a->host[0] && a->is_name_secure)
                        names[check.name_count++] = span_from_string(a->host);
        }
        return start(c, a->host[0] ? span_from_string(a->host) : host, &check);
}

static int start_pinned(struct relay_connection *c, const struct relay_address *a)
{
        struct span host;
        const struct tls_policy p = policy_of(c->destination, &host);
        char pins[TLS_POLICY_FINGERPRINTS_MAX * TLS_FINGERPRINT_LEN];
        struct tls_check check = {.kind = TLS_CHECK_PINS, .records = {pins, 0}};

        for (struct span rest = p.fingerprints; check.records.len < sizeof pins;)
                if (tls_policy_next_fingerprint(&rest,
                                                (unsigned char *) pins + check.records.len))
                        check.records.len += TLS_FINGERPRINT_LEN;
                else
                        break;
        return start(c, span_from_string(a->host), &check);
}

/* RFC 7672 section 3.2.2: the TLSA base domain, and the domain the mail is for. */
static int start_dane(struct relay_connection *c, const struct relay_address *a)
{
        struct span names[2] = {span_from_string(a->host), {0}};
        struct tls_check check = {
                .kind = TLS_CHECK_DANE, .names = names, .name_count = 2,
                .records = span_make(c->destination->tlsa.data + a->tlsa_at, a->tlsa_len),
        };

        (void) policy_of(c->destination, &names[1]);
        if (!names[1].len) /* the mail of several domains, where no record asks for their names */
                check.name_count = 1;
        return start(c, names[0], &check);
}

int relay_tls_start(struct relay_connection *c, const struct relay_address *a)
{
        const struct tls_check none = {0};

        if (!a && c->tls.check != TLS_CHECK_NOTHING)
                return -ESTALE;
        switch (c->tls.check) {
        case TLS_CHECK_NAMES:
                return start_named(c, a);
        case TLS_CHECK_PINS:
                return start_pinned(c, a);
        case TLS_CHECK_DANE:
                return start_dane(c, a);
        default:
                return start(c, span_from_string(a ? a->host : ""), &none);
        }
}

void relay_tls_describe(const struct relay_connection *c, char out[RELAY_TLS_TEXT_MAX])
{
        const struct tls_session *tls = c->stream ? stream_tls(c->stream) : NULL;
        const char *verified = tls ? tls_session_verified(tls) : NULL;

        snprintf(out, RELAY_TLS_TEXT_MAX, " policy=%s%s%s%s%s", tls_level_name(c->tls.level),
                 verified ? " verified=" : "", verified ? verified : "",
                 c->login.mechanism[0] ? " login=" : "", c->login.mechanism);
}
