#include "process/edge/edge_checks.h"

#include <stdio.h>
#include <stdlib.h>

#include "policy/decision.h"
#include "process/edge/edge.h"
#include "process/edge/edge_dnsbl.h"
#include "process/edge/edge_guard.h"
#include "process/edge/edge_probe.h"
#include "process/edge/edge_session.h"
#include "process/edge/edge_transaction.h"
#include "route/route.h"

enum { DOMAIN_MS = 10 * 1000, TEXT_MAX = 480 };

enum listing_state { ASKED, ANSWERED, FAILED };

/* What one list says about the client. */
struct edge_listing {
        struct edge_session *session;
        struct edge_dnsbl *list;
        struct edge_dns_question *question;
        enum listing_state state;
        enum dnsbl_answer answer;
        unsigned char address[4]; /* that it answered with */
        bool is_reason_asked;
        size_t reason_len;
        char reason[160];
};

static struct verdict refuse(uint16_t code, const char *enhanced, struct span text,
                             const char *rule, struct span origin)
{
        return (struct verdict) {code, span_from_string(enhanced), text, span_from_string(rule),
                                 origin};
}

static struct span option_origin(const struct edge_session *s, const char *option)
{
        return span_from_string(config_origin(s->edge->process->config, option));
}

/* ---- waiting ---- */

static bool is_listing_open(const struct edge_listing *l)
{
        return l->question || l->list->state == EDGE_DNSBL_UNKNOWN;
}

static bool are_listings_open(const struct edge_checks *k)
{
        for (size_t i = 0; i < k->listing_count; i++)
                if (is_listing_open(&k->listings[i]))
                        return true;
        return false;
}

static bool is_open(const struct edge_checks *k)
{
        return k->domain || k->probe || are_listings_open(k);
}

/* May end the session. */
static void go_on(struct edge_session *s)
{
        struct edge_checks *k = &s->checks;

        if (!k->is_rcpt_waiting || is_open(k))
                return;
        k->is_rcpt_waiting = false;
        edge_transaction_rcpt(s, &k->rcpt);
        if (!k->is_rcpt_waiting)
                edge_session_answered(s, EDGE_HOLD_ANSWER);
}

void edge_checks_list_tested(struct edge *e)
{
        LIST_FOR_EACH(node, &e->sessions)
                go_on(LIST_OBJECT(node, struct edge_session, node));
}

/* ---- lists of client addresses ---- */

static void ask_reason(struct edge_listing *l);

static void on_reason(void *arg, const struct edge_dns_answer *answer)
{
        struct edge_listing *l = arg;
        struct reader items = ipc_items_read(answer->records);
        struct ipc_dns_record record;

        l->question = NULL;
        if (ipc_next_dns_record(&items, &record))
                l->reason_len = dnsbl_reason(record.rdata, l->reason, sizeof l->reason);
        go_on(l->session);
}

static void on_listing(void *arg, const struct edge_dns_answer *answer)
{
        struct edge_listing *l = arg;

        l->question = NULL;
        l->state = edge_dnsbl_learn(l->list, answer, &l->answer, l->address) < 0 ? FAILED
                                                                                 : ANSWERED;
        if (l->state == ANSWERED && l->answer == DNSBL_LISTED) {
                l->list->listed++;
                ask_reason(l);
        }
        go_on(l->session);
}

static int ask_list(struct edge_listing *l, unsigned type, edge_dns_fn *done)
{
        char name[DNSBL_NAME_ROOM];
        size_t len;

        if (!dnsbl_name(l->session->client.address, edge_dnsbl_zone(l->list), name, &len))
                return -1;
        return edge_dns_ask(&l->session->edge->dns,
                            &(struct edge_dns_query) {span_make(name, len), type, EDGE_DNSBL_MS,
                                                      done, l},
                            &l->question);
}

/* Its words are for people: without them the mail is refused all the same. */
static void ask_reason(struct edge_listing *l)
{
        l->is_reason_asked = true;
        if (ask_list(l, DNS_TYPE_TXT, on_reason) < 0)
                l->question = NULL;
}

static void begin_listings(struct edge_session *s)
{
        struct edge_checks *k = &s->checks;
        const struct config_dnsbls *all = &s->edge->process->config->dnsbl;

        k->listings = calloc(all->count, sizeof *k->listings);
        for (size_t i = 0; k->listings && i < all->count; i++) {
                struct edge_listing *l = &k->listings[k->listing_count];

                l->session = s;
                l->list = edge_dnsbl_get(s->edge, all->items[i].zone);
                if (!l->list)
                        continue;
                k->listing_count++;
                l->state = FAILED;
                if (l->list->state == EDGE_DNSBL_DOWN || l->list->state == EDGE_DNSBL_OFF)
                        continue;
                l->list->asked++;
                l->state = ASKED;
                if (ask_list(l, DNS_TYPE_A, on_listing) < 0) {
                        l->question = NULL;
                        l->state = FAILED;
                }
        }
}

static struct span listing_origin(const struct edge_session *s, const struct config_dnsbl *d)
{
        const struct span option = option_origin(s, "dnsbl");
        const struct span file = span_first(option, span_find_last(option, ':'));
        struct arena *arena = &s->transaction->arena;
        char text[300];

        if (d->line == 0 || file.len == option.len)
                return arena_copy(arena, option);
        snprintf(text, sizeof text, "%.*s:%u", (int) file.len, file.p, d->line);
        return arena_copy(arena, span_from_string(text));
}

/* One sentence for the record. */
static void describe(const struct edge_listing *l, char *out, size_t room)
{
        static const char *const answers[] = {
                [DNSBL_UNLISTED] = "the client is not listed",
                [DNSBL_LISTED] = "the client is listed",
                [DNSBL_UNWANTED] = "the client is listed for another reason than ours",
                [DNSBL_REFUSING] = "it refuses our questions",
                [DNSBL_STRANGE] = "that is no answer of a list",
        };
        int len;

        if (l->list->state == EDGE_DNSBL_OFF)
                snprintf(out, room, "%s is switched off: %s", l->list->zone, l->list->reason);
        else if (l->state != ANSWERED)
                snprintf(out, room, "%s does not answer", l->list->zone);
        else if (l->answer == DNSBL_UNLISTED)
                snprintf(out, room, "%s: %s", l->list->zone, answers[l->answer]);
        else {
                len = snprintf(out, room, "%s answers %u.%u.%u.%u: %s", l->list->zone,
                               l->address[0], l->address[1], l->address[2], l->address[3],
                               answers[l->answer]);
                if (l->reason_len && len > 0 && (size_t) len < room)
                        snprintf(out + len, room - (size_t) len, " (%.*s)", (int) l->reason_len,
                                 l->reason);
        }
}

static void tell_listing(struct edge_session *s, const struct edge_listing *l,
                         const struct config_dnsbl *d)
{
        struct edge_transaction *t = s->transaction;
        char text[TEXT_MAX];

        describe(l, text, sizeof text);
        (void) decision_add(&t->steps, &(struct decision_step) {
                .at_us = loop_wall_us(t->edge->process->loop),
                .recipient = DECISION_MESSAGE, .kind = DECISION_RULE,
                .rule = SPAN("dnsbl"), .origin = listing_origin(s, d),
                .text = span_from_string(text)});
}

static bool is_listed(const struct edge_listing *l)
{
        return l->list->state != EDGE_DNSBL_OFF && l->state == ANSWERED &&
               l->answer == DNSBL_LISTED;
}

static struct verdict refuse_listed(struct edge_session *s, const struct edge_listing *l,
                                    const struct config_dnsbl *d)
{
        char text[DNSBL_MESSAGE_ROOM];
        size_t len = dnsbl_message(d, span_from_string(s->client.text),
                                   span_make(l->reason, l->reason_len), text, sizeof text);

        return refuse(550, "5.7.1", arena_copy(&s->transaction->arena, span_make(text, len)),
                      "dnsbl", listing_origin(s, d));
}

static struct verdict refuse_outage(struct edge_session *s, const struct config_dnsbl *d)
{
        char text[TEXT_MAX];

        snprintf(text, sizeof text, "Your address could not be looked up in %.*s, try again later",
                 (int) d->zone.len, d->zone.p);
        return refuse(451, "4.7.1", arena_copy(&s->transaction->arena, span_from_string(text)),
                      "dnsbl", listing_origin(s, d));
}

/* Lists that allow go before those that refuse, and what is known before what is
 * not. */
static struct verdict judge_listings(struct edge_session *s)
{
        const struct edge_checks *k = &s->checks;
        const struct edge_listing *listed = NULL, *out = NULL;

        for (size_t i = 0; i < k->listing_count; i++) {
                const struct edge_listing *l = &k->listings[i];
                const struct config_dnsbl *d = edge_dnsbl_config(l->list);

                if (!d)
                        continue; /* a reload took it away */
                if (!k->are_told)
                        tell_listing(s, l, d);
                if (is_listed(l) && d->is_allow)
                        return (struct verdict) {0};
                if (is_listed(l) && !listed)
                        listed = l;
                if (l->state == FAILED && l->list->state != EDGE_DNSBL_OFF && d->is_tempfail &&
                    !d->is_allow && !out)
                        out = l;
        }
        if (listed)
                return refuse_listed(s, listed, edge_dnsbl_config(listed->list));
        if (out)
                return refuse_outage(s, edge_dnsbl_config(out->list));
        return (struct verdict) {0};
}

/* ---- the sender's domain ---- */

static void on_domain(void *arg, const struct edge_dns_answer *answer)
{
        struct edge_session *s = arg;

        s->checks.domain = NULL;
        s->checks.domain_status = answer->status;
        go_on(s);
}

/* As it is asked for; false: there is none that could be. */
static bool sender_domain(const struct edge_transaction *t, char *out, size_t *ret_len)
{
        const size_t at = span_find_last(t->mail_from, '@');
        const struct span domain = span_skip(t->mail_from, at + 1);

        return at != SIZE_MAX && domain.len && domain.p[0] != '[' &&
               route_normalise_domain(domain, out, ret_len);
}

static void begin_domain(struct edge_session *s)
{
        struct edge_checks *k = &s->checks;
        char name[ROUTE_DOMAIN_ROOM];
        size_t len;

        if (!sender_domain(s->transaction, name, &len) ||
            route_is_own_domain(s->edge->process->config, s->edge->process->snapshot,
                                span_make(name, len)))
                return;
        k->has_domain = true;
        k->domain_status = DNS_SERVFAIL;
        if (edge_dns_ask(&s->edge->dns,
                         &(struct edge_dns_query) {span_make(name, len), DNS_TYPE_MX, DOMAIN_MS,
                                                   on_domain, s},
                         &k->domain) < 0)
                k->domain = NULL;
}

static struct verdict judge_domain(const struct edge_session *s)
{
        static const char rule[] = "accept_unresolvable_domains";
        const struct edge_checks *k = &s->checks;
        const struct span origin = option_origin(s, rule);

        if (!k->has_domain)
                return (struct verdict) {0};
        switch (k->domain_status) {
        case DNS_NXDOMAIN:
                return refuse(553, "5.1.8", SPAN_LITERAL("The sender's domain does not exist"),
                              rule, origin);
        case DNS_NODATA:
                return refuse(553, "5.1.8", SPAN_LITERAL("The sender's domain has no mail host"),
                              rule, origin);
        case DNS_NULL_MX: /* RFC 7505 section 4.2 */
                return refuse(550, "5.7.27",
                              SPAN_LITERAL("The sender's domain says it has no mail"), rule,
                              origin);
        case DNS_OK:
                return (struct verdict) {0};
        default:
                return refuse(451, "4.1.8", SPAN_LITERAL("The sender's domain could not be looked "
                                                         "up, try again later"), rule, origin);
        }
}

/* ---- the next hop ---- */

/* The one place of this recipient that another host must know. */
static const struct route *probed_route(const struct edge_session *s,
                                        const struct route_list *list)
{
        const struct route *r = &list->items[0];

        if (!s->edge->process->config->probe.recipients || !list->is_ours || list->count != 1 ||
            r->kind != ROUTE_RELAY ||
            span_starts_with_nocase(r->next_hop, SPAN_LITERAL("error:")) ||
            span_starts_with_nocase(r->next_hop, SPAN_LITERAL("agent:")))
                return NULL;
        return r;
}

static void tell_probe(struct edge_session *s, const struct edge_probe_entry *e,
                       const char *text)
{
        (void) decision_add(&s->transaction->steps, &(struct decision_step) {
                .at_us = loop_wall_us(s->edge->process->loop),
                .recipient = s->transaction->next_index,
                .kind = DECISION_RULE, .rule = SPAN("probe"),
                .origin = option_origin(s, "probe.recipients"), .code = e ? e->code : 0,
                .text = span_from_string(text)});
}

static struct verdict judge_probe(struct edge_session *s, const struct edge_probe_entry *e)
{
        const struct span origin = option_origin(s, "probe.recipients");
        char text[TEXT_MAX];

        if (!e || e->latest == EDGE_PROBE_UNSURE) {
                if (e && e->state == EDGE_PROBE_UNKNOWN)
                        return refuse(450, "4.1.1", SPAN_LITERAL("User unknown until now, and the "
                                                                 "mailbox server is away"),
                                      "probe", origin);
                tell_probe(s, NULL, e ? e->text : "the next hop could not be asked");
                return (struct verdict) {0};
        }
        if (e->state == EDGE_PROBE_KNOWN) {
                tell_probe(s, e, e->text);
                return (struct verdict) {0};
        }
        snprintf(text, sizeof text, "User unknown: %s", e->text);
        return refuse(550, "5.1.1", arena_copy(&s->transaction->arena, span_from_string(text)),
                      "probe", origin);
}

void edge_checks_probed(struct edge_session *s)
{
        s->checks.probe = NULL;
        s->checks.is_probed = true;
        go_on(s);
}

/* ---- a recipient ---- */

/* Not ours: neither by network, nor login, nor as the access table has it. */
static bool is_outside(const struct edge_session *s)
{
        const struct edge_transaction *t = s->transaction;

        return !s->client.is_unix && edge_guard_watches(s) && !s->login.account &&
               !t->access.is_client_ok;
}

void edge_checks_begin(struct edge_session *s)
{
        const struct config *c = s->edge->process->config;

        edge_checks_end_transaction(s);
        if (!is_outside(s))
                return;
        if (c->dnsbl.count && !s->checks.listings)
                begin_listings(s);
        if (!c->accept_unresolvable_domains && !s->transaction->access.is_sender_ok)
                begin_domain(s);
}

static void hold(struct edge_session *s, const struct smtp_rcpt *rcpt)
{
        s->checks.is_rcpt_waiting = true;
        s->checks.rcpt = *rcpt;
        if (!(s->holds & EDGE_HOLD_ANSWER))
                edge_session_hold(s, EDGE_HOLD_ANSWER);
}

static struct verdict judge_outside(struct edge_session *s)
{
        struct verdict v = judge_listings(s);

        s->checks.are_told = true;
        return verdict_is_refusal(&v) ? v : judge_domain(s);
}

struct verdict edge_checks_recipient(struct edge_session *s, const struct smtp_rcpt *rcpt,
                                     const struct route_list *list, bool *ret_is_held)
{
        struct edge_checks *k = &s->checks;
        const struct edge_probe_entry *e;
        struct verdict v = {0};
        const struct route *r;

        *ret_is_held = is_outside(s) && is_open(k);
        if (*ret_is_held) {
                hold(s, rcpt);
                return v;
        }
        if (is_outside(s))
                v = judge_outside(s);
        r = probed_route(s, list);
        if (verdict_is_refusal(&v) || !r || !is_outside(s))
                return v;
        if (k->is_probed) {
                e = edge_probe_find(&s->edge->probe, r->next_hop, r->rcpt_to);
        } else {
                e = edge_probe_ask(&s->edge->probe, s, r->next_hop, r->rcpt_to, &k->probe);
                if (k->probe) {
                        *ret_is_held = true;
                        hold(s, rcpt);
                        return v;
                }
        }
        k->is_probed = false;
        return judge_probe(s, e);
}

void edge_checks_end_transaction(struct edge_session *s)
{
        struct edge_checks *k = &s->checks;

        k->domain = edge_dns_cancel(k->domain);
        k->probe = edge_probe_cancel(k->probe);
        k->has_domain = k->are_told = k->is_probed = k->is_rcpt_waiting = false;
}

void edge_checks_forget(struct edge_session *s)
{
        struct edge_checks *k = &s->checks;

        edge_checks_end_transaction(s);
        for (size_t i = 0; i < k->listing_count; i++)
                edge_dns_cancel(k->listings[i].question);
        free(k->listings);
        *k = (struct edge_checks) {0};
}
