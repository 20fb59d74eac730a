#include "process/edge/edge_ask.h"

#include "base/clock.h"
#include "message/address.h"
#include "process/edge/edge.h"
#include "process/edge/edge_guard.h"
#include "process/edge/edge_session.h"
#include "route/route.h"

enum { ETRN_PER_MINUTE = 10 };

static void say_nothing_told(struct edge_session *s)
{
        /* RFC 5321 section 7.3: a list of our users is nobody's. */
        edge_session_say(s, 252, "2.1.5", "Cannot verify the user, but will take mail and try");
}

/* "<hanako@example.jp>", or without the brackets. */
static struct span bare(struct span text)
{
        if (text.len >= 2 && text.p[0] == '<' && text.p[text.len - 1] == '>')
                return span_skip(span_first(text, text.len - 1), 1);
        return text;
}

/* RFC 5321 section 4.1.1.7: EXPN tells where it leads, VRFY that it is. */
static void tell(struct edge_session *s, const struct route *r, bool is_expn)
{
        const struct span to = is_expn && r->kind == ROUTE_LOCAL ? r->account : r->rcpt_to;

        if (r->kind == ROUTE_LOCAL || (is_expn && r->kind == ROUTE_RELAY))
                edge_session_reply(s, 250, SPAN_LITERAL("2.1.5"), "<%.*s>", (int) to.len, to.p);
        else if (r->kind == ROUTE_ERROR)
                edge_session_reply(s, r->code, r->enhanced, "%.*s", (int) r->text.len, r->text.p);
        else
                say_nothing_told(s);
}

void edge_ask_verify(struct edge_session *s, struct span argument, bool is_expn)
{
        struct process *p = s->edge->process;
        const struct span path = bare(argument);
        struct address address;
        struct route r;

        if (is_expn && edge_guard_watches(s)) {
                edge_session_say(s, 550, "5.7.2", "Not for you");
                return;
        }
        if (!is_expn && !p->config->smtp.vrfy) {
                say_nothing_told(s);
                return;
        }
        if (address_parse(path, true, &address) < 0) {
                edge_session_say(s, 501, "5.1.3", "Malformed address");
                return;
        }
        arena_clear(&s->edge->scratch);
        if (route_recipient(p->config, p->snapshot, path, &s->edge->scratch, &r) < 0)
                edge_session_say(s, 451, "4.3.0", "Out of memory");
        else if (!r.is_ours && !is_expn)
                say_nothing_told(s);
        else
                tell(s, &r, is_expn);
}

/* Whether we hold mail for this domain at all: one of relay_domains, where
 * ".example.jp" stands for all below it. */
static bool is_ours_to_hold(const struct config *c, struct span domain)
{
        for (size_t i = 0; i < c->relay_domains.count; i++) {
                const struct span pattern = c->relay_domains.items[i];
                const bool is_tree = pattern.len && pattern.p[0] == '.';

                if (!is_tree ? span_equal_nocase(domain, pattern)
                             : domain.len > pattern.len &&
                                       span_equal_nocase(
                                               span_skip(domain, domain.len - pattern.len),
                                               pattern))
                        return true;
        }
        return false;
}

/* RFC 1985: "domain", or "@domain" for its subdomains too. Queues with names of
 * their own ("#name") we have none. */
void edge_ask_etrn(struct edge_session *s, struct span argument)
{
        struct meters *m = &s->edge->meters;
        const bool with_subdomains = argument.len && argument.p[0] == '@';
        const struct span domain = span_skip(argument, with_subdomains);

        if (!address_is_domain(domain) || domain.len > ADDRESS_DOMAIN_MAX) {
                edge_session_say(s, 501, "5.5.4", "ETRN wants a domain");
                return;
        }
        if (!is_ours_to_hold(s->edge->process->config, domain)) {
                edge_session_say(s, 459, "4.7.1", "We hold no mail for that domain");
                return;
        }
        if (meters_tick(m, meters_event(m, s->client.address, SPAN_LITERAL("etrn")),
                        clock_now_us()) > ETRN_PER_MINUTE) {
                edge_session_say(s, 458, "4.7.1", "Asked too often");
                return;
        }
        if (edge_keeper_retry(&s->edge->keeper, domain, with_subdomains))
                edge_session_say(s, 250, "2.0.0", "Queuing for that domain is started");
        else
                edge_session_say(s, 458, "4.3.0", "The queue cannot be reached now");
}
