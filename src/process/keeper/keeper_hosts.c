#include "process/keeper/keeper_hosts.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "config/tls_policy.h"
#include "net/dns/dns.h"
#include "net/endpoint.h"
#include "process/keeper/keeper_queue.h"
#include "queue/host_set.h"
#include "route/route.h"

enum {
        NAMES_MAX = 10000,
        MEMORY_MAX = 16 * 1024 * 1024, /* of all answers that are kept */
        ASKED_MAX = 2000,              /* at once: what comes beside them goes by its domain */
        WAIT_MS = 2000,                /* for an answer, before mail goes by its domain */
        GATHER_MS = 500, /* for the other names of a message, before a part of it goes */
        KEPT_MIN_MS = 60 * 1000,
        KEPT_MAX_MS = 3600 * 1000,
        STALE_MS = 60 * 1000,  /* what is over is good for what has begun so long */
        FAILED_MS = 30 * 1000, /* not asked again: the relay asks, and knows what to say */
};

/* A next hop that is looked up in DNS.  UNKNOWN ──ask──► ASKED ──answer──► READY
 * ──other names of its mail are answered, or GATHER_MS──► known, by its hosts or by
 * its own text, until `until_ms`. ASKED for WAIT_MS: known by its own text. */
struct name {
        struct table_node by_next_hop, by_query;
        struct list_node by_use;   /* the least recently used first */
        struct list_node in_asked; /* or in the ready ones: in order of wait_until_ms */
        uint64_t query;            /* under way; 0: none */
        uint64_t wait_until_ms;
        uint64_t until_ms; /* what is known is good so long; 0: nothing is */
        char *answer;      /* the key, then the hosts; NULL: it goes by its own text */
        size_t key_len, hosts_len;
        uint32_t host_count;
        uint16_t port;
        uint16_t tlsa_port; /* TLSA records are asked for of this port; 0: are not */
        bool is_alone;      /* what tls_policy wants is of this domain only */
        bool is_secure;     /* DNSSEC vouches for the hosts' names */
        size_t next_hop_len;
        char next_hop[];
};

static struct span next_hop_of(const struct name *n)
{
        return span_make(n->next_hop, n->next_hop_len);
}

static struct span key_of(const struct name *n)
{
        return n->answer ? span_make(n->answer, n->key_len) : next_hop_of(n);
}

static uint64_t now_ms(const struct keeper *k)
{
        return loop_now_ms(k->process->loop);
}

/* ---- what is known ----------------------------------------------------- */

static struct name *find(const struct keeper *k, struct span next_hop)
{
        struct table_node *node = table_first(&k->names, hash_span(next_hop, hash_seed()));

        for (; node; node = table_next(node)) {
                struct name *n = TABLE_OBJECT(node, struct name, by_next_hop);

                if (span_equal(next_hop_of(n), next_hop))
                        return n;
        }
        return NULL;
}

static void forget_answer(struct keeper *k, struct name *n)
{
        k->name_bytes -= n->key_len + n->hosts_len;
        free(n->answer);
        n->answer = NULL;
        n->key_len = n->hosts_len = 0;
        n->host_count = 0;
}

/* Whatever was used last stays. */
static void make_room(struct keeper *k)
{
        LIST_FOR_EACH (node, &k->names_by_use) {
                struct name *n = LIST_OBJECT(node, struct name, by_use);

                if (k->names.count <= NAMES_MAX && k->name_bytes <= MEMORY_MAX)
                        return;
                if (n->query || list_is_linked(&n->in_asked) || node->next == &k->names_by_use)
                        continue;
                forget_answer(k, n);
                list_remove(&n->by_use);
                table_remove(&k->names, &n->by_next_hop);
                free(n);
        }
}

/* Whether the hosts behind it are found by MX, and at which port. */
static bool is_by_mx(const struct keeper *k, struct span next_hop, uint16_t *ret_port)
{
        struct next_hop hop;
        struct endpoint literal;

        if (next_hop_parse(next_hop, &hop) < 0 || hop.is_host || hop.is_unix ||
            !dns_name_is_valid(hop.host) || endpoint_from_host(hop.host, 25, &literal) == 0)
                return false;
        if (!span_equal_nocase(hop.mailer, SPAN_LITERAL("smtp")) &&
            !span_equal_nocase(hop.mailer, SPAN_LITERAL("esmtp")))
                return false;
        *ret_port = hop.port;
        if (hop.port == 25 && k->process->config->dns.port)
                *ret_port = (uint16_t) k->process->config->dns.port;
        return true;
}

/* Domains share connections only as far as all of them want the same of TLS:
 * where no row of tls_policy names the domain, and the host's certificate is
 * not held against the domain's name. */
static void heed_tls_policy(const struct keeper *k, struct name *n)
{
        struct next_hop hop = {0};
        struct tls_policy p;

        (void) next_hop_parse(next_hop_of(n), &hop); /* it was understood before */
        p = tls_policy_find(&k->process->config->tls_policy, hop.host, hop.port);
        n->is_alone = p.level == TLS_LEVEL_VERIFY ||
                      (p.host.len && !span_equal(p.host, SPAN_LITERAL("*")));
        n->tlsa_port = p.level == TLS_LEVEL_DANE || p.level == TLS_LEVEL_DANE_ONLY ? n->port : 0;
}

/* A smart host, mostly: not to be taken apart for each message. What is not by MX never is. */
static bool is_plain(const struct keeper *k, struct span next_hop)
{
        return next_hop.len && span_equal(buffer_span(&k->plain_next_hop), next_hop);
}

static void note_plain(struct keeper *k, struct span next_hop)
{
        buffer_clear(&k->plain_next_hop);
        (void) buffer_append_span(&k->plain_next_hop, next_hop); /* else there is none */
}

static struct name *get(struct keeper *k, struct span next_hop)
{
        struct name *n = find(k, next_hop);
        uint16_t port;

        if (n) {
                list_remove(&n->by_use);
                list_append(&k->names_by_use, &n->by_use);
                return n;
        }
        if (is_plain(k, next_hop))
                return NULL;
        if (!is_by_mx(k, next_hop, &port)) {
                note_plain(k, next_hop);
                return NULL;
        }
        n = calloc(1, sizeof *n + next_hop.len);
        if (!n)
                return NULL;
        n->port = port;
        n->next_hop_len = next_hop.len;
        memcpy(n->next_hop, next_hop.p, next_hop.len);
        if (table_add(&k->names, &n->by_next_hop, hash_span(next_hop, hash_seed())) < 0) {
                free(n);
                return NULL;
        }
        list_append(&k->names_by_use, &n->by_use);
        heed_tls_policy(k, n);
        make_room(k);
        return n;
}

void keeper_hosts_reload(struct keeper *k)
{
        LIST_FOR_EACH (node, &k->names_by_use) {
                struct name *n = LIST_OBJECT(node, struct name, by_use);

                forget_answer(k, n);
                n->until_ms = 0;
                heed_tls_policy(k, n);
        }
}

/* ---- asking ------------------------------------------------------------ */

/* What waited under the next hop goes where it belongs now. */
static void hand_over(struct keeper *k, struct name *n)
{
        const struct span next_hop = next_hop_of(n);
        struct queue_entry *e;

        list_remove(&n->in_asked);
        queue_set_unknown(&k->queue, next_hop, false);
        while (n->answer && (e = queue_take_out(&k->queue, next_hop))) {
                struct keeper_body *body = e->body;

                e->body = NULL;
                keeper_queue_add(k, e, body);
        }
        keeper_queue_pump(k);
}

static void end_query(struct keeper *k, struct name *n)
{
        if (!n->query)
                return;
        table_remove(&k->name_queries, &n->by_query);
        n->query = 0;
}

static void set_wait_timer(struct keeper *k)
{
        const struct list_node *lists[] = {&k->names_asked, &k->names_ready};
        const uint64_t now = now_ms(k);
        uint64_t at_ms = UINT64_MAX;

        for (size_t i = 0; i < 2; i++) {
                const struct name *first = LIST_OBJECT(lists[i]->next, struct name, in_asked);

                if (!list_is_empty(lists[i]) && first->wait_until_ms < at_ms)
                        at_ms = first->wait_until_ms;
        }
        if (at_ms == UINT64_MAX)
                timer_stop(k->names_timer);
        else
                timer_set(k->names_timer, at_ms > now ? at_ms - now : 0);
}

/* Names whose answer is there, and whose mail waited for others of its message. */
static void hand_over_ready(struct keeper *k)
{
        LIST_FOR_EACH (node, &k->names_ready) {
                struct name *n = LIST_OBJECT(node, struct name, in_asked);

                if (n->wait_until_ms > now_ms(k) && !list_is_empty(&k->names_asked))
                        break;
                hand_over(k, n);
        }
}

/* The resolver takes its time: what waits goes by its domain. The answer is
 * used when it comes. */
static void on_wait_over(void *arg)
{
        struct keeper *k = arg;

        LIST_FOR_EACH (node, &k->names_asked) {
                struct name *n = LIST_OBJECT(node, struct name, in_asked);

                if (n->wait_until_ms > now_ms(k))
                        break;
                if (!n->answer)
                        n->until_ms = now_ms(k) + FAILED_MS;
                hand_over(k, n);
        }
        hand_over_ready(k);
        set_wait_timer(k);
}

static void ask(struct keeper *k, struct name *n)
{
        struct next_hop hop;

        if (n->query || !k->resolver || k->name_queries.count >= ASKED_MAX ||
            next_hop_parse(next_hop_of(n), &hop) < 0)
                return;
        n->query = ++k->last_name_query;
        if (table_add(&k->name_queries, &n->by_query, n->query) < 0) {
                n->query = 0;
                return;
        }
        if (CHANNEL_SEND(k->resolver, mx_query, -1, .query = n->query, .name = hop.host,
                         .tlsa_port = n->tlsa_port) < 0)
                end_query(k, n);
}

/* Asks where nobody does, and lets its mail wait for the answer. */
static bool ask_and_wait(struct keeper *k, struct name *n)
{
        ask(k, n);
        if (!n->query) {
                n->until_ms = now_ms(k) + FAILED_MS;
                return false;
        }
        if (!list_is_linked(&n->in_asked)) {
                n->wait_until_ms = now_ms(k) + WAIT_MS;
                list_append(&k->names_asked, &n->in_asked);
                if (k->names_asked.next == &n->in_asked)
                        set_wait_timer(k);
        }
        return true;
}

struct span keeper_hosts_key(struct keeper *k, struct span next_hop, bool *ret_is_asked)
{
        struct name *n = get(k, next_hop);

        *ret_is_asked = false;
        if (!n || n->is_alone)
                return next_hop;
        if (n->until_ms > now_ms(k) && !list_is_linked(&n->in_asked))
                return key_of(n);
        if (list_is_linked(&n->in_asked)) {
                *ret_is_asked = true;
                return next_hop;
        }
        if (n->answer && n->until_ms + STALE_MS > now_ms(k)) {
                ask(k, n);
                return key_of(n);
        }
        forget_answer(k, n);
        *ret_is_asked = ask_and_wait(k, n);
        return key_of(n);
}

struct span keeper_hosts_known(struct keeper *k, struct span next_hop)
{
        const struct name *n = find(k, next_hop);

        return n ? key_of(n) : next_hop;
}

bool keeper_hosts_get(struct keeper *k, struct span next_hop, struct span key,
                      struct keeper_hosts *ret)
{
        struct name *n = find(k, next_hop);
        const uint64_t now = now_ms(k);

        if (!n || !n->answer || !span_equal(key_of(n), key) || n->until_ms + STALE_MS <= now)
                return false;
        if (n->until_ms <= now)
                ask(k, n);
        ret->hosts.count = n->host_count;
        ret->hosts.octets = span_make(n->answer + n->key_len, n->hosts_len);
        ret->is_secure = n->is_secure;
        ret->ttl_s = n->until_ms > now ? (uint32_t) ((n->until_ms - now) / 1000) : 0;
        return true;
}

/* ---- answers ----------------------------------------------------------- */

static int set_answer(struct keeper *k, struct name *n, const struct ipc_mx_answer *a)
{
        const struct ipc_items hosts = a->hosts;
        char text[HOST_SET_KEY_MAX];
        const struct span key = host_set_key(hosts, n->port, a->is_secure, text);
        char *answer = malloc(key.len + hosts.octets.len);

        if (!answer)
                return -ENOMEM;
        memcpy(answer, key.p, key.len);
        memcpy(answer + key.len, hosts.octets.p, hosts.octets.len);
        forget_answer(k, n);
        n->answer = answer;
        n->key_len = key.len;
        n->hosts_len = hosts.octets.len;
        n->host_count = hosts.count;
        n->is_secure = a->is_secure;
        k->name_bytes += key.len + hosts.octets.len;
        return 0;
}

/* Whether a certificate may be held against the domain's name as well (RFC 7672
 * section 3.2.2: usage DANE-TA); in doubt it may. */
static bool heeds_domain(struct ipc_items hosts)
{
        enum { USAGE_DANE_EE = 3 };
        struct reader each = ipc_items_read(hosts);
        struct ipc_mx_host h;

        while (ipc_next_mx_host(&each, &h))
                for (struct reader records = READER(h.tlsa); records.rest.len;) {
                        const uint8_t usage = read_u8(&records);
                        size_t len;

                        read_raw(&records, 2);
                        len = read_u8(&records);
                        len = len << 8 | read_u8(&records);
                        read_raw(&records, len);
                        if (records.failed || usage != USAGE_DANE_EE)
                                return true;
                }
        return false;
}

static uint64_t kept_ms(uint32_t ttl_s)
{
        const uint64_t ms = (uint64_t) ttl_s * 1000;

        return ms < KEPT_MIN_MS ? KEPT_MIN_MS : ms < KEPT_MAX_MS ? ms : KEPT_MAX_MS;
}

static void on_mx_answer(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct ipc_mx_answer *a = &m->mx_answer;
        struct keeper *k = arg;
        struct table_node *node = table_first(&k->name_queries, a->query);
        struct name *n;

        (void) ch;
        (void) fd;
        if (!node)
                return;
        n = TABLE_OBJECT(node, struct name, by_query);
        end_query(k, n);
        if (a->status == DNS_OK && a->hosts.count && !n->is_alone &&
            !heeds_domain(a->hosts) && set_answer(k, n, a) == 0) {
                n->until_ms = now_ms(k) + kept_ms(a->ttl_s);
        } else { /* the relay asks as well, and says what is wrong */
                forget_answer(k, n);
                n->until_ms = now_ms(k) + FAILED_MS;
        }
        list_remove(&n->in_asked);
        if (queue_has_siblings(&k->queue, next_hop_of(n))) {
                n->wait_until_ms = now_ms(k) + GATHER_MS;
                list_append(&k->names_ready, &n->in_asked);
        } else {
                hand_over(k, n);
        }
        hand_over_ready(k);
        set_wait_timer(k);
        make_room(k);
}

static void give_up_all(struct keeper *k)
{
        LIST_FOR_EACH (node, &k->names_by_use)
                end_query(k, LIST_OBJECT(node, struct name, by_use));
        LIST_FOR_EACH (node, &k->names_asked)
                LIST_OBJECT(node, struct name, in_asked)->wait_until_ms = 0;
        on_wait_over(k);
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct keeper *k = arg;

        (void) reason;
        k->resolver = NULL;
        give_up_all(k);
        channel_free(ch);
}

static const struct channel_handler resolver_handler = {
        .on = {[IPC_mx_answer] = on_mx_answer},
        .closed = on_closed,
};

void keeper_hosts_connect(struct keeper *k, int fd)
{
        if (k->resolver)
                on_closed(k->resolver, k, 0);
        if (channel_new(k->process->loop, fd, &resolver_handler, k, &k->resolver) < 0) {
                log_event(LOG_ERROR, "channel_failed", LOG_TEXT("peer", "resolver"));
                k->resolver = NULL;
                close(fd);
        }
}

int keeper_hosts_start(struct keeper *k)
{
        list_init(&k->names_by_use);
        list_init(&k->names_asked);
        list_init(&k->names_ready);
        return timer_new(k->process->loop, on_wait_over, k, &k->names_timer);
}
