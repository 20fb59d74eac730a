#include "process/edge/edge_access.h"

#include <errno.h>
#include <stdio.h>

#include "policy/decision.h"
#include "process/edge/edge.h"
#include "process/edge/edge_session.h"
#include "process/edge/edge_transaction.h"
#include "route/masquerade.h"
#include "route/route.h"

/* Texts of a verdict in the transaction's memory. */
static int keep(struct arena *arena, struct span *s)
{
        *s = arena_copy(arena, *s);
        return s->p ? 0 : -ENOMEM;
}

static int keep_verdict(struct edge_transaction *t, const struct verdict *v)
{
        struct edge_access *a = &t->access;

        a->refusal = *v;
        if (keep(&t->arena, &a->refusal.enhanced) < 0 || keep(&t->arena, &a->refusal.text) < 0 ||
            keep(&t->arena, &a->refusal.origin) < 0)
                return -ENOMEM;
        return 0;
}

/* What is said about client or sender; the first refusal counts. */
static int take(struct edge_transaction *t, const struct access_judgement *j, bool is_client)
{
        struct edge_access *a = &t->access;
        struct span *where = NULL;

        if (j->verdict.code && !verdict_is_refusal(&a->refusal))
                return keep_verdict(t, &j->verdict);
        if (j->letter == ACCESS_OK || j->letter == ACCESS_RELAY)
                *(is_client ? &a->is_client_ok : &a->is_sender_ok) = true;
        if (j->letter == ACCESS_QUARANTINE && !a->quarantine.text.len) {
                a->quarantine = j->verdict;
                return keep(&t->arena, &a->quarantine.text) < 0 ||
                       keep(&t->arena, &a->quarantine.origin) < 0 ? -ENOMEM : 0;
        }
        if (j->letter == ACCESS_DISCARD && a->discard.len == 0)
                where = &a->discard;
        else if (j->letter == ACCESS_RELAY && is_client)
                where = &a->relay;
        if (!where)
                return 0;
        *where = arena_copy(&t->arena, j->verdict.origin);
        return where->p ? 0 : -ENOMEM;
}

int edge_access_ask(struct edge_session *s, struct edge_transaction *t)
{
        const struct snapshot *snapshot = s->edge->process->snapshot;
        struct arena *scratch = &s->edge->scratch;
        struct access_judgement j;
        int r;

        t->access = (struct edge_access) {0};
        if (!snapshot || s->client.is_local_user || s->login.account)
                return 0;
        arena_clear(scratch);
        r = s->client.is_unix ? 0
                              : access_judge_client(snapshot, s->client.address,
                                                    (struct span) {NULL, 0}, scratch, &j);
        if (r == 0 && !s->client.is_unix)
                r = take(t, &j, true);
        if (r == 0)
                r = access_judge_address(snapshot, ACCESS_FROM, t->mail_from, scratch, &j);
        if (r == 0)
                r = take(t, &j, false);
        return r;
}

/* Anybody may send there. */
static void open_to_all(struct route_list *list, const struct access_judgement *j)
{
        list->is_ours = true;
        for (size_t i = 0; i < list->count; i++) {
                list->items[i].is_ours = true;
                list->items[i].rule = j->verdict.rule;
                list->items[i].origin = j->verdict.origin;
        }
}

int edge_access_recipient(struct edge_session *s, struct route_list *list,
                          struct access_judgement *ret)
{
        const struct edge_access *a = &s->transaction->access;
        struct access_judgement j;
        int r;

        *ret = (struct access_judgement) {.verdict = a->refusal};
        if (verdict_is_refusal(&a->refusal) || s->client.is_local_user)
                return 0;
        r = access_judge_address(s->edge->process->snapshot, ACCESS_TO, list->rcpt_to,
                                 &s->edge->scratch, &j);
        if (r < 0)
                return r;
        if (j.letter == ACCESS_RELAY && !list->is_ours)
                open_to_all(list, &j);
        if (!j.verdict.code && j.letter != ACCESS_DISCARD && a->discard.len) {
                j.letter = ACCESS_DISCARD;
                j.verdict = (struct verdict) {.rule = SPAN("access"), .origin = a->discard};
        } else if (!j.verdict.code && j.letter != ACCESS_DISCARD && a->quarantine.text.len) {
                j.letter = ACCESS_QUARANTINE;
                j.verdict = a->quarantine;
        }
        *ret = j;
        return 0;
}

int edge_access_quarantine(struct edge_transaction *t, const struct verdict *why)
{
        if (t->held_for.len)
                return 0;
        t->held_for = arena_copy(&t->arena, why->text);
        if (!t->held_for.p)
                return -ENOMEM;
        return decision_add(&t->steps, &(struct decision_step) {
                .at_us = loop_wall_us(t->edge->process->loop),
                .recipient = DECISION_MESSAGE, .kind = DECISION_HELD,
                .rule = why->rule, .origin = why->origin, .text = why->text});
}

bool edge_access_is_ours(const struct edge_session *s, const struct edge_transaction *t)
{
        if (s->client.is_local_user || s->login.account)
                return true;
        return t->access.relay.len || (!s->client.is_unix && config_networks_contain(
                &s->edge->process->config->relay_networks, s->client.address));
}

int edge_access_masquerade(struct edge_session *s, struct edge_transaction *t)
{
        const struct config *c = s->edge->process->config;
        struct masqueraded got;
        char text[2 * 1024];
        int r, len;

        if (!c->masquerade.envelope || t->mail_from.len == 0 || !edge_access_is_ours(s, t))
                return 0;
        arena_clear(&s->edge->scratch);
        r = masquerade_address(c, s->edge->process->snapshot, t->mail_from, &s->edge->scratch,
                               &got);
        if (r <= 0)
                return r;
        len = snprintf(text, sizeof text, "the sender was %.*s", (int) t->mail_from.len,
                       t->mail_from.p);
        t->mail_from = arena_copy(&t->arena, got.address);
        if (!t->mail_from.p)
                return -ENOMEM;
        return decision_add(&t->steps, &(struct decision_step) {
                .at_us = loop_wall_us(t->edge->process->loop),
                .recipient = DECISION_MESSAGE, .kind = DECISION_RULE,
                .rule = SPAN("masquerade"), .origin = got.origin, .next = got.address,
                .text = span_make(text, len < 0 ? 0 : (size_t) len)});
}
