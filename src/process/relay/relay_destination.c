#include "process/relay/relay_destination.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/number.h"
#include "config/sockets.h"
#include "net/dns/dns.h"
#include "process/relay/relay_connection.h"
#include "process/relay/relay_own.h"
#include "process/relay/relay_tls.h"
#include "route/route.h"

enum {
        TTL_MAX_S = 3600,
        CHAIN_FROM = 4,      /* connections of a destination, from which on jobs are chained */
        CHAIN_QUICK_MS = 20, /* to hosts that answer the end of a message so quickly; and the
                              * jobs that wait behind a connection's shall take no longer */
        CHAIN_MAX = 4,       /* of them */
        PENDING_MS = 50,     /* then other connections take what was to be chained */
        TLSA_MAX = RELAY_ADDRESSES_MAX * 4096,
};

static uint64_t now_ms(const struct relay *r)
{
        return loop_now_ms(r->loop);
}

/* Life. */

static struct relay_destination *find(const struct relay *r, struct span text)
{
        struct table_node *n = table_first(&r->destinations, hash_span(text, hash_seed()));

        for (; n; n = table_next(n)) {
                struct relay_destination *d = TABLE_OBJECT(n, struct relay_destination, by_text);

                if (span_equal(span_from_string(d->text), text))
                        return d;
        }
        return NULL;
}

static void destination_free(struct relay_destination *d)
{
        free(d->text);
        free(d->next_hop);
        free(d->name);
        free(d->addresses);
        timer_free(d->pending_timer);
        buffer_done(&d->tlsa);
        free(d);
}

void relay_destination_release(struct relay_destination *d)
{
        if (!list_is_empty(&d->idle) || !list_is_empty(&d->busy) || !list_is_empty(&d->waiting)
            || !list_is_empty(&d->pending) || d->query)
                return;
        /* What is known of a host without connections is not worth its memory:
         * the keeper, which knows the health of each, asks seldom for a dead
         * one. That TLS failed is: a host must not be asked twice each time; nor
         * must each message wait for dead hosts before it goes to the fallback. */
        if (d->plain_until_ms > now_ms(d->relay) || d->fallback_until_ms > now_ms(d->relay))
                return;
        table_remove(&d->relay->destinations, &d->by_text);
        destination_free(d);
}

static int set_literal(struct relay_destination *d, struct span host)
{
        d->addresses = calloc(1, sizeof *d->addresses);
        if (!d->addresses)
                return -ENOMEM;
        d->address_count = 1;
        return endpoint_from_host(host, d->port, &d->addresses[0].at);
}

/* A socket of this machine. */
static int set_path(struct relay_destination *d, const struct next_hop *hop)
{
        d->is_host = true;
        d->is_lmtp = span_equal_nocase(hop->mailer, SPAN_LITERAL("lmtp"));
        d->addresses = calloc(1, sizeof *d->addresses);
        if (!d->addresses)
                return -ENOMEM;
        d->address_count = 1;
        return endpoint_from_path(hop->host, &d->addresses[0].at);
}

/* 0, -ENOMEM, or -EINVAL: it is no next hop that a connection leads to. */
static int destination_fill(struct relay_destination *d, const struct next_hop *hop)
{
        struct endpoint literal;

        if (hop->is_unix)
                return set_path(d, hop);
        d->port = hop->port;
        d->is_host = hop->is_host;
        d->is_lmtp = span_equal_nocase(hop->mailer, SPAN_LITERAL("lmtp"));
        if (endpoint_from_host(hop->host, hop->port, &literal) == 0 && !literal.is_both)
                return set_literal(d, hop->host);
        /* Labs have their MX hosts on another port than 25. */
        if (!d->is_host && d->port == 25 && d->relay->process->config->dns.port)
                d->port = (uint16_t) d->relay->process->config->dns.port;
        d->name = strndup(hop->host.p, hop->host.len);
        return d->name ? 0 : -ENOMEM;
}

static int destination_new(struct relay *r, const struct relay_job *j, const struct next_hop *hop,
                           struct relay_destination **ret_d)
{
        struct relay_destination *d = calloc(1, sizeof *d);
        int s;

        if (!d)
                return -ENOMEM;
        d->relay = r;
        list_init(&d->waiting);
        list_init(&d->pending);
        list_init(&d->idle);
        list_init(&d->busy);
        d->text = strndup(j->key.p, j->key.len);
        d->next_hop = strndup(j->next_hop.p, j->next_hop.len);
        d->is_tls_required = j->mail.flags & SMTP_CLIENT_REQUIRETLS;
        d->quick_ms = UINT64_MAX;
        d->tlsa = BUFFER_INIT(TLSA_MAX);
        s = d->text && d->next_hop ? destination_fill(d, hop) : -ENOMEM;
        if (s == 0)
                s = table_add(&r->destinations, &d->by_text, hash_span(j->key, hash_seed()));
        if (s < 0) {
                destination_free(d);
                return s;
        }
        *ret_d = d;
        return 0;
}

/* Names. */

/* One host's addresses, IPv6 and IPv4 in turn (dns.ipv4_first says which
 * begins): where one family is broken the second try is of the other. */
static void add_host(struct relay_destination *d, const struct ipc_mx_host *h, size_t room,
                     bool is_name_secure)
{
        const size_t tlsa_at = d->tlsa.len;
        size_t i4 = 0, i6 = 0;
        bool is_v6_turn = !d->relay->process->config->dns.ipv4_first;

        if (buffer_append_span(&d->tlsa, h->tlsa) < 0)
                return; /* without its records it might be trusted where it must not */
        while (d->address_count < room && (i4 + 4 <= h->ipv4.len || i6 + 16 <= h->ipv6.len)) {
                unsigned char octets[16] = {[10] = 0xff, [11] = 0xff};
                struct relay_address *a = &d->addresses[d->address_count];
                bool has_v6 = i6 + 16 <= h->ipv6.len, has_v4 = i4 + 4 <= h->ipv4.len;

                if (has_v6 && (is_v6_turn || !has_v4)) {
                        memcpy(octets, h->ipv6.p + i6, 16);
                        i6 += 16;
                } else {
                        memcpy(octets + 12, h->ipv4.p + i4, 4);
                        i4 += 4;
                }
                is_v6_turn = !is_v6_turn;
                *a = (struct relay_address) {
                        .preference = h->preference, .tlsa_state = h->tlsa_state,
                        .tlsa_at = (uint32_t) tlsa_at, .tlsa_len = (uint16_t) h->tlsa.len,
                        .is_name_secure = is_name_secure,
                };
                snprintf(a->host, sizeof a->host, "%.*s", (int) h->name.len, h->name.p);
                endpoint_from_octets(octets, d->port, &a->at);
                d->address_count++;
        }
}

/* Whether the host is this one, by its name or by an address that we listen on. */
static bool is_ours(const struct relay_destination *d, const struct ipc_mx_host *h)
{
        const struct relay *r = d->relay;
        unsigned char octets[16] = {[10] = 0xff, [11] = 0xff};
        struct endpoint at;

        if (span_equal_nocase(h->name, span_from_string(r->hostname)))
                return true;
        for (size_t i = 0; i + 4 <= h->ipv4.len; i += 4) {
                memcpy(octets + 12, h->ipv4.p + i, 4);
                endpoint_from_octets(octets, d->port, &at);
                if (relay_own_is(r->process->config, &at))
                        return true;
        }
        for (size_t i = 0; i + 16 <= h->ipv6.len; i += 16) {
                endpoint_from_octets((const unsigned char *) h->ipv6.p + i, d->port, &at);
                if (relay_own_is(r->process->config, &at))
                        return true;
        }
        return false;
}

enum { PREFERENCE_END = 65536 };

/* RFC 5321 section 5.1: where we are an MX ourselves, only those before us
 * count. Returns the first preference that does not. */
static unsigned preference_of_ours(const struct relay_destination *d, struct ipc_items hosts)
{
        struct reader each = ipc_items_read(hosts);
        struct ipc_mx_host h;
        unsigned ours = PREFERENCE_END;

        while (!d->is_host && ipc_next_mx_host(&each, &h))
                if (h.preference < ours && is_ours(d, &h))
                        ours = h.preference;
        return ours;
}

/* Hosts come by preference: the resolver sorts them. 0; -ENOMEM; -ELOOP: the
 * mail would come back to us; -ENOENT: no addresses. */
static int set_addresses(struct relay_destination *d, struct ipc_items hosts, bool are_secure)
{
        unsigned ours = preference_of_ours(d, hosts);
        struct reader each = ipc_items_read(hosts);
        bool has_host = false;
        struct ipc_mx_host h;

        free(d->addresses);
        d->address_count = 0;
        buffer_clear(&d->tlsa);
        d->addresses_version++;
        d->addresses = calloc(RELAY_ADDRESSES_MAX, sizeof *d->addresses);
        if (!d->addresses)
                return -ENOMEM;
        while (ipc_next_mx_host(&each, &h)) {
                if (h.preference >= ours)
                        continue;
                has_host = true;
                add_host(d, &h, RELAY_ADDRESSES_MAX, are_secure);
        }
        if (d->address_count == 0)
                return ours < PREFERENCE_END && !has_host ? -ELOOP : -ENOENT;
        return 0;
}

/* How good an address is: less is better. */
static uint32_t rank(const struct relay_destination *d, size_t i)
{
        const struct relay_address *a = &d->addresses[i];

        return (a->failed_until_ms > now_ms(d->relay) ? (uint32_t) PREFERENCE_END : 0)
               + a->preference;
}

/* Whether an address before this one, of the same host, is as good. */
static bool is_behind_its_sibling(const struct relay_destination *d, uint32_t tried, size_t i)
{
        for (size_t k = 0; k < i; k++)
                if (!(tried & 1u << k) && rank(d, k) == rank(d, i)
                    && strcmp(d->addresses[k].host, d->addresses[i].host) == 0)
                        return true;
        return false;
}

int relay_destination_choose(const struct relay_destination *d, uint32_t tried, size_t *ret_index)
{
        uint32_t best = UINT32_MAX, equal = 0;
        uint64_t random = clock_monotonic_us();
        size_t chosen = 0;

        for (size_t i = 0; i < d->address_count; i++) {
                if (tried & 1u << i || rank(d, i) > best || is_behind_its_sibling(d, tried, i))
                        continue;
                if (rank(d, i) < best)
                        equal = 0;
                best = rank(d, i);
                random = random * 6364136223846793005u + 1442695040888963407u;
                if ((random >> 33) % ++equal == 0)
                        chosen = i;
        }
        if (best == UINT32_MAX)
                return -ENOENT;
        *ret_index = chosen;
        return 0;
}

/* Every job that waits for the addresses is answered. It frees the destination,
 * since nothing is known of it; the last job that moves on to another one must
 * find it gone from the list. */
static void fail_waiting(struct relay_destination *d, unsigned code, const char *enhanced,
                         const char *format)
{
        struct list_node failed, *node;
        char text[400];

        snprintf(text, sizeof text, format, d->name);
        list_init(&failed);
        while ((node = list_take_first(&d->waiting)) != NULL)
                list_append(&failed, node);
        while ((node = list_take_first(&failed)) != NULL) {
                struct relay_job *j = LIST_OBJECT(node, struct relay_job, in_connection);

                if (code)
                        relay_job_fail(j, code, enhanced, text, "");
                else
                        relay_destination_unreachable(d, j, enhanced, text, "");
        }
        relay_destination_release(d);
}

static void connect_job(struct relay_destination *d, struct relay_job *j);

static void fail_without_addresses(struct relay_destination *d, int error)
{
        if (error == -ENOMEM)
                fail_waiting(d, 0, "4.3.0", "there is no memory for the addresses of %s");
        else if (error == -ELOOP)
                fail_waiting(d, 554, "5.4.6", "mail for %s would come back to this host (MX)");
        else
                fail_waiting(d, 0, "4.4.4", "no mail host of %s has an address (DNS)");
}

static void connect_waiting(struct relay_destination *d)
{
        struct list_node *node;

        /* A job that fails here may free the destination only when the last
         * has gone: it is still linked in `waiting`. */
        while ((node = d->waiting.next) != &d->waiting) {
                bool is_last = node->next == &d->waiting;

                list_remove(node);
                connect_job(d, LIST_OBJECT(node, struct relay_job, in_connection));
                if (is_last)
                        return;
        }
}

void relay_on_mx_answer(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        static const struct {
                unsigned code;
                const char *enhanced, *text;
        } troubles[] = {
                [DNS_NXDOMAIN] = {550, "5.1.2", "the domain %s does not exist (DNS)"},
                [DNS_NODATA] = {550, "5.1.2", "the domain %s has no host for mail (DNS)"},
                [DNS_SERVFAIL] = {0, "4.4.3", "the DNS servers for %s failed"},
                [DNS_TIMEOUT] = {0, "4.4.3", "no DNS server answered for %s in time"},
                [DNS_BOGUS] = {0, "4.4.3", "the DNS answer for %s is forged (DNSSEC)"},
                [DNS_NULL_MX] = {556, "5.1.10", "the domain %s takes no mail (null MX, RFC 7505)"},
        };
        const struct ipc_mx_answer *a = &m->mx_answer;
        struct relay *r = arg;
        struct table_node *n = table_first(&r->queries, a->query);
        struct relay_destination *d;
        uint64_t ttl_ms = (uint64_t) (a->ttl_s < TTL_MAX_S ? a->ttl_s : TTL_MAX_S) * 1000;
        int s;

        (void) ch;
        (void) fd;
        if (!n)
                return;
        d = TABLE_OBJECT(n, struct relay_destination, by_query);
        table_remove(&r->queries, n);
        d->query = 0;
        if (a->status != DNS_OK) {
                size_t i = a->status < DNS_STATUS_END ? a->status : DNS_SERVFAIL;

                fail_waiting(d, troubles[i].code, troubles[i].enhanced, troubles[i].text);
                return;
        }
        s = set_addresses(d, a->hosts, a->is_secure);
        if (s < 0) {
                fail_without_addresses(d, s);
                return;
        }
        d->addresses_until_ms = now_ms(r)
                + (ttl_ms > RELAY_ADDRESSES_KEPT_MS ? ttl_ms : RELAY_ADDRESSES_KEPT_MS);
        connect_waiting(d);
}

static void gone(struct table_node *n, void *arg)
{
        struct relay_destination *d = TABLE_OBJECT(n, struct relay_destination, by_query);
        struct relay *r = arg;

        table_remove(&r->queries, n);
        d->query = 0;
        fail_waiting(d, 0, "4.3.0", "the resolver process ended while it looked up %s");
}

void relay_destinations_resolver_gone(struct relay *r)
{
        table_visit(&r->queries, gone, r);
}

static void ask(struct relay_destination *d, struct relay_job *j)
{
        struct relay *r = d->relay;

        list_append(&d->waiting, &j->in_connection);
        if (d->query)
                return;
        if (!r->resolver) {
                fail_waiting(d, 0, "4.3.0", "no resolver process runs, which would look up %s");
                return;
        }
        d->query = ++r->query_last;
        if (table_add(&r->queries, &d->by_query, d->query) < 0) {
                d->query = 0;
                fail_waiting(d, 0, "4.3.0", "there is no memory to look up %s");
                return;
        }
        if (CHANNEL_SEND(r->resolver, mx_query, -1, .query = d->query,
                         .name = span_from_string(d->name), .is_host = d->is_host,
                         .tlsa_port = relay_tls_wants_tlsa(d) ? d->port : 0) < 0)
                gone(&d->by_query, r);
}

/* Jobs. */

/* On an idle connection, or a new one. */
static void connect_now(struct relay_destination *d, struct relay_job *j)
{
        int s;

        if (!list_is_empty(&d->idle)) {
                relay_connection_take(
                        LIST_OBJECT(d->idle.next, struct relay_connection, node), j);
                return;
        }
        s = relay_connection_new(d, j);
        if (s < 0) {
                relay_job_fail(j, 0, "4.3.0", s == -EMFILE ? "too many connections are open"
                                                            : strerror(-s), "");
                relay_destination_release(d);
        }
}

/* A host that was quick is not any more. */
static void on_pending_timer(void *arg)
{
        struct relay_destination *d = arg;
        struct list_node *node;

        /* The last may take the destination with it. */
        while ((node = d->pending.next) != &d->pending) {
                const bool is_last = node->next == &d->pending;

                relay_destination_forget(LIST_OBJECT(node, struct relay_job, in_connection));
                connect_now(d, LIST_OBJECT(node, struct relay_job, in_connection));
                if (is_last)
                        return;
        }
}

/* Whether its busy connections will soon take one more. */
static bool may_pend(const struct relay_destination *d)
{
        uint64_t each = CHAIN_MAX;

        if (d->busy_count < CHAIN_FROM || d->quick_ms > CHAIN_QUICK_MS)
                return false;
        if (d->quick_ms > CHAIN_QUICK_MS / CHAIN_MAX)
                each = CHAIN_QUICK_MS / d->quick_ms;
        return d->pending_count < each * d->busy_count;
}

/* Where there is mail enough for several connections to a host that is quick, they
 * are fewer and each sends the next commands together with a body: half the packets
 * of a message, on both sides. */
static void connect_job(struct relay_destination *d, struct relay_job *j)
{
        if (!may_pend(d) ||
            (!d->pending_timer &&
             timer_new(d->relay->loop, on_pending_timer, d, &d->pending_timer) < 0)) {
                connect_now(d, j);
                return;
        }
        if (list_is_empty(&d->pending))
                timer_set(d->pending_timer, PENDING_MS);
        list_append(&d->pending, &j->in_connection);
        d->pending_count++;
        j->pending_at = d;
}

void relay_destination_forget(struct relay_job *j)
{
        list_remove(&j->in_connection);
        if (j->pending_at)
                j->pending_at->pending_count--;
        j->pending_at = NULL;
}

struct relay_job *relay_destination_next(struct relay_destination *d)
{
        struct relay_job *j = list_is_empty(&d->pending)
                ? NULL : LIST_OBJECT(d->pending.next, struct relay_job, in_connection);

        if (!j)
                return NULL;
        relay_destination_forget(j);
        if (d->pending_count == 0)
                timer_stop(d->pending_timer);
        return j;
}

/* "error:550 5.1.1 text": a recipient that an alias names and that cannot be
 * reached. The text is a table's. */
static void fail_as_told(struct relay_job *j, struct span reply)
{
        struct span word, enhanced;
        uint64_t code = 0;
        char status[16], text[IPC_TEXT_MAX];

        (void) span_split(&reply, ' ', &word);
        (void) span_split(&reply, ' ', &enhanced);
        if (number_parse(word, 599, &code) < 0 || code < 400)
                code = 550;
        snprintf(status, sizeof status, "%.*s", (int) enhanced.len, enhanced.len ? enhanced.p : "");
        snprintf(text, sizeof text, "%.*s", (int) reply.len, reply.len ? reply.p : "");
        relay_job_fail(j, (unsigned) code, status, text, "");
}

static const char *unsendable(const struct relay *r, const struct next_hop *hop)
{
        if (hop->is_unix && !sockets_may_reach(r->process->config, hop->host))
                return "mail may not go to this Unix socket: lmtp_sockets does not name it";
        if (!span_equal_nocase(hop->mailer, SPAN_LITERAL("smtp"))
            && !span_equal_nocase(hop->mailer, SPAN_LITERAL("esmtp"))
            && !span_equal_nocase(hop->mailer, SPAN_LITERAL("lmtp")))
                return "the next hop names a mailer that sends nothing to other hosts";
        return NULL;
}

static int destination_get(struct relay *r, struct relay_job *j, struct relay_destination **ret_d)
{
        struct relay_destination *d = find(r, j->key);
        const char *why = NULL;
        struct next_hop hop;
        int s = 0;

        if (!d && next_hop_parse(j->next_hop, &hop) < 0)
                why = "the next hop cannot be understood";
        else if (!d && span_equal(hop.mailer, SPAN_LITERAL("error"))) {
                fail_as_told(j, hop.host);
                return -EINVAL;
        } else if (!d)
                why = unsendable(r, &hop);
        if (why) {
                relay_job_fail(j, 0, "4.3.5", why, "");
                return -EINVAL;
        }
        if (!d)
                s = destination_new(r, j, &hop, &d);
        if (s < 0)
                relay_job_fail(j, 0, "4.3.0", strerror(-s), "");
        else
                *ret_d = d;
        return s;
}

/* Not for a host that somebody named: that one was meant. */
static bool may_fall_back(const struct relay_destination *d, const struct relay_job *j)
{
        const struct span fallback = d->relay->process->config->fallback_mx;

        return fallback.len && !j->prober
               && d->name && !d->is_host && !d->is_lmtp && !j->fallback_for.len
               && !span_equal_nocase(fallback, j->next_hop);
}

static void fall_back(struct relay_destination *d, struct relay_job *j)
{
        struct relay *r = d->relay;
        struct span fallback = arena_copy(&j->arena, r->process->config->fallback_mx);

        if (!fallback.p) {
                relay_job_fail(j, 0, "4.3.0", strerror(ENOMEM), "");
                return;
        }
        j->fallback_for = j->destination.len ? j->destination : j->next_hop;
        j->destination = (struct span) {NULL, 0};
        j->next_hop = fallback;
        if (relay_job_set_key(j) < 0)
                relay_job_fail(j, 0, "4.3.0", strerror(ENOMEM), "");
        else
                relay_destination_take(r, j);
}

static void take_rest(struct relay *r, struct relay_job *j)
{
        j->next_hop = j->next_hops;
        j->next_hops = (struct span) {NULL, 0};
        if (relay_job_set_key(j) < 0)
                relay_job_fail(j, 0, "4.3.0", strerror(ENOMEM), "");
        else
                relay_destination_take(r, j);
}

/* The next of several hosts that a table names. */
static bool take_next_of_several(struct relay_destination *d, struct relay_job *j)
{
        if (!j->next_hops.len)
                return false;
        d->fallback_until_ms = now_ms(d->relay) + RELAY_FAILED_MS;
        take_rest(d->relay, j);
        return true;
}

void relay_destination_unreachable(struct relay_destination *d, struct relay_job *j,
                                   const char *enhanced, const char *text, const char *host)
{
        char both[700];

        if (take_next_of_several(d, j))
                return;
        if (may_fall_back(d, j)) {
                if (d->fallback_until_ms <= now_ms(d->relay))
                        log_event(LOG_NOTICE, "fallback_used", LOG_TEXT("next_hop", d->text),
                                  LOG_TEXT("reason", text));
                d->fallback_until_ms = now_ms(d->relay) + RELAY_FALLBACK_MS;
                fall_back(d, j);
                return;
        }
        if (j->fallback_for.len) {
                snprintf(both, sizeof both, "no host of %.*s could be reached, and the fallback "
                         "neither: %.400s", (int) span_first(j->fallback_for, 200).len,
                         j->fallback_for.p, text);
                text = both;
        }
        relay_job_fail(j, 0, enhanced, text, host);
}

/* The keeper asked already, and found these hosts. */
static void connect_with_hosts(struct relay_destination *d, struct relay_job *j)
{
        const uint64_t now = now_ms(d->relay);
        int s = 0;

        if (d->addresses_until_ms <= now && list_is_empty(&d->idle)) {
                s = set_addresses(d, j->hosts, j->are_hosts_secure);
                d->addresses_until_ms = j->hosts_until_ms > now + RELAY_ADDRESSES_KEPT_MS
                                                ? j->hosts_until_ms
                                                : now + RELAY_ADDRESSES_KEPT_MS;
        }
        if (s < 0) {
                d->addresses_until_ms = 0;
                list_append(&d->waiting, &j->in_connection);
                fail_without_addresses(d, s);
                return;
        }
        connect_job(d, j);
}

/* "smtp:[a],smtp:[b]": the first, and what stands behind it. 0 or -ENOMEM. */
static int split_next_hops(struct relay_job *j)
{
        struct span rest = j->next_hop;

        if (span_find(rest, ',') == SIZE_MAX ||
            span_starts_with_nocase(rest, SPAN_LITERAL("error:")))
                return 0;
        span_split(&rest, ',', &j->next_hop);
        j->next_hops = rest;
        return relay_job_set_key(j);
}

void relay_destination_take(struct relay *r, struct relay_job *j)
{
        struct relay_destination *d;

        if (r->is_stopping) {
                relay_job_fail(j, 0, "4.3.2", "the relay process is ending", "");
                return;
        }
        if (split_next_hops(j) < 0) {
                relay_job_fail(j, 0, "4.3.0", strerror(ENOMEM), "");
                return;
        }
        if (destination_get(r, j, &d) < 0)
                return;
        if (d->fallback_until_ms > now_ms(r) && j->next_hops.len) {
                take_rest(r, j);
                return;
        }
        if (d->fallback_until_ms > now_ms(r) && may_fall_back(d, j))
                fall_back(d, j);
        else if (j->destination.len)
                connect_with_hosts(d, j);
        else if (d->name && (d->query || d->addresses_until_ms <= now_ms(r))
                 && list_is_empty(&d->idle))
                ask(d, j);
        else
                connect_job(d, j);
}

static void quit_idle(struct table_node *n, void *arg)
{
        struct relay_destination *d = TABLE_OBJECT(n, struct relay_destination, by_text);

        (void) arg;
        LIST_FOR_EACH(node, &d->idle)
                relay_connection_quit(LIST_OBJECT(node, struct relay_connection, node));
}

void relay_destinations_quit(struct relay *r)
{
        table_visit(&r->destinations, quit_idle, NULL);
}

static void expire(struct table_node *n, void *arg)
{
        struct relay_destination *d = TABLE_OBJECT(n, struct relay_destination, by_text);

        (void) arg;
        d->addresses_until_ms = 0;
}

void relay_destinations_reload(struct relay *r)
{
        table_visit(&r->destinations, expire, NULL);
        relay_destinations_quit(r);
}
