#include "process/resolver/mx.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        TTL_MAX_S = 24 * 3600, /* nobody may be believed for longer */
        TTL_FAILED_S = 60,
};

/* A host while its addresses are asked for. */
struct asked_host {
        struct mx *mx;
        struct lookup *a, *aaaa, *tlsa;
        enum dns_status a_status, aaaa_status;
        bool a_is_secure, aaaa_is_secure;
};

struct mx {
        struct loop *loop;
        struct lookups *lookups;
        mx_fn *done;
        void *arg;
        char name[DNS_NAME_MAX + 1];
        bool is_implicit; /* the host is the name itself */
        bool is_host;
        bool is_tlsa_asked;
        uint16_t tlsa_port;
        struct lookup *mx_lookup;
        struct deferred finish;
        size_t waiting; /* address look-ups under way */
        struct mx_answer answer;
        struct mx_host *hosts;
        struct asked_host *asked;
};

static struct mx *mx_free(struct mx *mx)
{
        deferred_cancel(&mx->finish);
        for (size_t i = 0; mx->hosts && i < mx->answer.count; i++)
                free(mx->hosts[i].tlsa);
        free(mx->hosts);
        free(mx->asked);
        free(mx);
        return NULL;
}

static void use_ttl(struct mx *mx, const struct lookup_answer *from)
{
        uint32_t ttl_s = from->ttl_s < TTL_MAX_S ? from->ttl_s : TTL_MAX_S;

        if (dns_status_is_temporary(from->status) && ttl_s > TTL_FAILED_S)
                ttl_s = TTL_FAILED_S;
        if (ttl_s < mx->answer.ttl_s)
                mx->answer.ttl_s = ttl_s;
}

static void on_finish(struct deferred *d)
{
        struct mx *mx = (struct mx *) (void *) ((char *) d - offsetof(struct mx, finish));
        mx_fn *done = mx->done;

        mx->answer.hosts = mx->hosts;
        done(mx->arg, &mx->answer);
        mx_free(mx);
}

/* Put off, so that `done` is never called from within mx_new(). */
static void finish(struct mx *mx, enum dns_status status)
{
        mx->answer.status = status;
        loop_defer(mx->loop, &mx->finish);
}

/* ---- addresses ---- */

/* Which of two failures says more. Temporary before final: mail that could
 * still be delivered does not bounce. */
static enum dns_status worse(enum dns_status a, enum dns_status b)
{
        static const int rank[DNS_STATUS_END] = {
                [DNS_OK] = 0,      [DNS_NXDOMAIN] = 1, [DNS_NODATA] = 2, [DNS_NULL_MX] = 0,
                [DNS_TIMEOUT] = 3, [DNS_SERVFAIL] = 4, [DNS_BOGUS] = 5,
        };

        return rank[a] > rank[b] ? a : b;
}

static bool is_localhost(struct span name)
{
        return span_equal_nocase(name, SPAN_LITERAL("localhost")) ||
               span_ends_with_nocase(name, SPAN_LITERAL(".localhost"));
}

static struct mx_host *host_of(struct asked_host *asked)
{
        return &asked->mx->hosts[asked - asked->mx->asked];
}

/* Of a family that could not be asked for nothing is used: to make that question
 * fail must not be a way to make the host look unsigned. */
static bool is_secure(const struct asked_host *asked)
{
        return (asked->a_is_secure || dns_status_is_temporary(asked->a_status)) &&
               (asked->aaaa_is_secure || dns_status_is_temporary(asked->aaaa_status)) &&
               (asked->a_is_secure || asked->aaaa_is_secure);
}

static void conclude(struct mx *mx)
{
        enum dns_status failure = DNS_NXDOMAIN;
        bool has_address = false;

        for (size_t i = 0; i < mx->answer.count; i++) {
                struct mx_host *host = &mx->hosts[i];
                const struct asked_host *asked = &mx->asked[i];

                host->is_secure = is_secure(asked);
                has_address = has_address || host->ipv4_count || host->ipv6_count;
                failure = worse(failure, worse(asked->a_status, asked->aaaa_status));
        }
        if (has_address) {
                finish(mx, DNS_OK);
                return;
        }
        /* "No such host" is final for the domain only if it is the domain. */
        if (failure == DNS_NXDOMAIN && !mx->is_implicit)
                failure = DNS_NODATA;
        finish(mx, failure);
}

/* Takes note of an answer; true where it may be used. An answer whose
 * addresses are all nonsense counts as none. */
static bool note(struct asked_host *asked, const struct lookup_answer *answer,
                 enum dns_status *status, bool *is_secure)
{
        *status = answer->status == DNS_OK ? DNS_NODATA : answer->status;
        *is_secure = answer->is_secure;
        use_ttl(asked->mx, answer);
        if (answer->is_alias && !asked->mx->is_implicit && !asked->mx->is_host)
                host_of(asked)->is_alias = true;
        return answer->status == DNS_OK;
}

static void ask_tlsa(struct mx *mx);

static void one_less(struct mx *mx)
{
        if (--mx->waiting)
                return;
        if (mx->tlsa_port && !mx->is_tlsa_asked)
                ask_tlsa(mx);
        else
                conclude(mx);
}

/* ---- TLSA ---- */

static void add_tlsa(struct mx_host *host, const struct dns_tlsa *t)
{
        const size_t len = 5 + t->data.len;
        unsigned char *more;

        if (host->tlsa_len + len > MX_TLSA_MAX)
                return;
        more = realloc(host->tlsa, host->tlsa_len + len);
        if (!more)
                return;
        host->tlsa = more;
        more += host->tlsa_len;
        more[0] = t->usage;
        more[1] = t->selector;
        more[2] = t->matching;
        more[3] = (unsigned char) (t->data.len >> 8);
        more[4] = (unsigned char) t->data.len;
        memcpy(more + 5, t->data.p, t->data.len);
        host->tlsa_len += len;
}

/* RFC 7672 section 2.1: what is not proved is as if it were not there; what
 * cannot be had, or is forged, stops the mail. */
static void on_tlsa(void *arg, const struct lookup_answer *answer)
{
        struct asked_host *asked = arg;
        struct mx_host *host = host_of(asked);

        asked->tlsa = NULL;
        use_ttl(asked->mx, answer);
        if (dns_status_is_temporary(answer->status)) {
                host->tlsa_state = MX_TLSA_FAILED;
        } else if (answer->status == DNS_OK && answer->is_secure) {
                for (size_t i = 0; i < answer->count; i++) {
                        struct dns_tlsa t;

                        if (dns_tlsa_parse(span_make(answer->rdata[i],
                                                     (size_t) answer->rdata_len[i]), &t) == 0)
                                add_tlsa(host, &t);
                }
                host->tlsa_state = host->tlsa_len ? MX_TLSA_USABLE : MX_TLSA_UNUSABLE;
        }
        one_less(asked->mx);
}

/* Only behind names that DNSSEC vouches for: an unsigned way there could lead
 * to any host that has TLSA records (section 2.2.1). */
static void ask_tlsa(struct mx *mx)
{
        mx->is_tlsa_asked = true;
        mx->waiting = 1;
        for (size_t i = 0; i < mx->answer.count; i++) {
                struct asked_host *asked = &mx->asked[i];
                struct mx_host *host = &mx->hosts[i];
                char name[DNS_NAME_MAX + 16];
                const int len = snprintf(name, sizeof name, "_%u._tcp.%s", mx->tlsa_port,
                                         host->name);

                if ((!mx->is_host && !mx->answer.is_secure) || !is_secure(asked) ||
                    (!host->ipv4_count && !host->ipv6_count) || len > DNS_NAME_MAX ||
                    is_localhost(span_from_string(host->name)))
                        continue;
                host->tlsa_state = MX_TLSA_FAILED; /* should the question not get out */
                if (lookup_new(mx->lookups, span_make(name, (size_t) len), DNS_TYPE_TLSA, on_tlsa,
                               asked, &asked->tlsa) == 0) {
                        host->tlsa_state = MX_TLSA_NONE;
                        mx->waiting++;
                }
        }
        one_less(mx);
}

static void on_a(void *arg, const struct lookup_answer *answer)
{
        struct asked_host *asked = arg;
        struct mx_host *host = host_of(asked);

        asked->a = NULL;
        if (note(asked, answer, &asked->a_status, &asked->a_is_secure)) {
                for (size_t i = 0; i < answer->count && host->ipv4_count < MX_ADDRESSES_MAX; i++)
                        if (dns_a_parse(span_make(answer->rdata[i], (size_t) answer->rdata_len[i]),
                                        host->ipv4[host->ipv4_count]) == 0)
                                host->ipv4_count++;
        }
        one_less(asked->mx);
}

static void on_aaaa(void *arg, const struct lookup_answer *answer)
{
        struct asked_host *asked = arg;
        struct mx_host *host = host_of(asked);

        asked->aaaa = NULL;
        if (note(asked, answer, &asked->aaaa_status, &asked->aaaa_is_secure)) {
                for (size_t i = 0; i < answer->count && host->ipv6_count < MX_ADDRESSES_MAX; i++)
                        if (dns_aaaa_parse(span_make(answer->rdata[i],
                                                     (size_t) answer->rdata_len[i]),
                                           host->ipv6[host->ipv6_count]) == 0)
                                host->ipv6_count++;
        }
        one_less(asked->mx);
}

static void use_loopback(struct mx_host *host)
{
        static const unsigned char ipv4[4] = {127, 0, 0, 1};

        memcpy(host->ipv4[0], ipv4, sizeof ipv4);
        host->ipv6[0][15] = 1;
        host->ipv4_count = 1;
        host->ipv6_count = 1;
}

/* mx->waiting is one too many meanwhile: nothing is concluded too early. */
static void ask_host(struct mx *mx, size_t i)
{
        const struct span name = span_from_string(mx->hosts[i].name);
        struct asked_host *asked = &mx->asked[i];

        asked->mx = mx;
        asked->a_status = DNS_SERVFAIL; /* should the question not get out */
        asked->aaaa_status = DNS_SERVFAIL;
        if (is_localhost(name)) {
                use_loopback(&mx->hosts[i]);
                asked->a_is_secure = true;
                asked->aaaa_is_secure = true;
                return;
        }
        if (lookup_new(mx->lookups, name, DNS_TYPE_A, on_a, asked, &asked->a) == 0)
                mx->waiting++;
        if (lookup_new(mx->lookups, name, DNS_TYPE_AAAA, on_aaaa, asked, &asked->aaaa) == 0)
                mx->waiting++;
}

static void ask_addresses(struct mx *mx)
{
        mx->asked = calloc(mx->answer.count, sizeof *mx->asked);
        if (!mx->asked) {
                mx->answer.count = 0;
                finish(mx, DNS_SERVFAIL);
                return;
        }
        mx->waiting = 1;
        for (size_t i = 0; i < mx->answer.count; i++)
                ask_host(mx, i);
        one_less(mx);
}

static void ask_implicit(struct mx *mx)
{
        mx->is_implicit = true;
        mx->hosts = calloc(1, sizeof *mx->hosts);
        if (!mx->hosts) {
                finish(mx, DNS_SERVFAIL);
                return;
        }
        memcpy(mx->hosts[0].name, mx->name, sizeof mx->name);
        mx->answer.count = 1;
        ask_addresses(mx);
}

/* ---- MX ---- */

static int by_preference(const void *a, const void *b)
{
        const struct mx_host *x = a, *y = b;

        if (x->preference != y->preference)
                return x->preference < y->preference ? -1 : 1;
        return strcmp(x->name, y->name); /* an order that does not change */
}

/* Inserts into the MX_HOSTS_MAX best, so that a domain with thousands of
 * records costs no more than one with 64. */
static void add_host(struct mx *mx, const struct dns_mx *record)
{
        struct mx_host host = {.preference = record->preference};
        size_t at = mx->answer.count;

        memcpy(host.name, record->exchange, sizeof host.name);
        while (at > 0 && by_preference(&host, &mx->hosts[at - 1]) < 0)
                at--;
        if (at > 0 && by_preference(&host, &mx->hosts[at - 1]) == 0)
                return; /* the same record twice */
        if (at == MX_HOSTS_MAX)
                return;
        if (mx->answer.count == MX_HOSTS_MAX)
                mx->answer.count--;
        memmove(&mx->hosts[at + 1], &mx->hosts[at], (mx->answer.count - at) * sizeof host);
        mx->hosts[at] = host;
        mx->answer.count++;
}

static bool is_null_mx(const struct lookup_answer *answer)
{
        struct dns_mx record;

        return answer->count == 1 &&
               dns_mx_parse(span_make(answer->rdata[0], (size_t) answer->rdata_len[0]), &record) ==
                       0 &&
               record.exchange[0] == '\0';
}

static void use_records(struct mx *mx, const struct lookup_answer *answer)
{
        if (is_null_mx(answer)) {
                finish(mx, DNS_NULL_MX);
                return;
        }
        mx->hosts = calloc(MX_HOSTS_MAX, sizeof *mx->hosts);
        for (size_t i = 0; mx->hosts && i < answer->count; i++) {
                struct dns_mx record;

                if (dns_mx_parse(span_make(answer->rdata[i], (size_t) answer->rdata_len[i]),
                                 &record) == 0 &&
                    record.exchange[0])
                        add_host(mx, &record);
        }
        /* Records that nobody can use are a mistake that may be mended. */
        if (mx->answer.count == 0)
                finish(mx, DNS_SERVFAIL);
        else
                ask_addresses(mx);
}

static void on_mx(void *arg, const struct lookup_answer *answer)
{
        struct mx *mx = arg;

        mx->mx_lookup = NULL;
        mx->answer.is_secure = answer->is_secure;
        use_ttl(mx, answer);
        if (answer->status == DNS_OK)
                use_records(mx, answer);
        else if (answer->status == DNS_NODATA)
                ask_implicit(mx);
        else
                finish(mx, answer->status);
}

int mx_new(struct loop *loop, struct lookups *lookups, const struct mx_question *question,
           struct mx **ret_mx)
{
        struct mx *mx = calloc(1, sizeof *mx);
        int r = 0;

        if (!mx)
                return -ENOMEM;
        mx->loop = loop;
        mx->lookups = lookups;
        mx->done = question->done;
        mx->arg = question->arg;
        mx->is_host = question->is_host;
        mx->tlsa_port = question->tlsa_port;
        mx->finish.run = on_finish;
        mx->answer.ttl_s = TTL_MAX_S;
        ascii_lower_copy(mx->name, question->name);
        if (question->is_host || is_localhost(question->name))
                ask_implicit(mx);
        else
                r = lookup_new(lookups, question->name, DNS_TYPE_MX, on_mx, mx, &mx->mx_lookup);
        if (r < 0) {
                mx_free(mx);
                return r;
        }
        *ret_mx = mx;
        return 0;
}

struct mx *mx_cancel(struct mx *mx)
{
        if (!mx)
                return NULL;
        lookup_cancel(mx->mx_lookup);
        for (size_t i = 0; mx->asked && i < mx->answer.count; i++) {
                lookup_cancel(mx->asked[i].a);
                lookup_cancel(mx->asked[i].aaaa);
                lookup_cancel(mx->asked[i].tlsa);
        }
        return mx_free(mx);
}
