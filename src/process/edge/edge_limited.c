#include "process/edge/edge_limited.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "policy/limits.h"
#include "process/edge/edge.h"
#include "process/edge/edge_guard.h"
#include "process/edge/edge_session.h"

static bool is_text(const char *have, struct span s, size_t room)
{
        return span_equal(span_from_string(have), span_first(s, room - 1));
}

static void set_text(char *out, size_t room, struct span s)
{
        s = span_first(s, room - 1);
        if (s.len)
                memcpy(out, s.p, s.len);
        out[s.len] = '\0';
}

void edge_limited_add(struct edge_limited *l, struct span who, const struct verdict *v)
{
        struct edge_limited_peer *p = &l->peers[0];

        for (size_t i = 0; i < EDGE_LIMITED_MAX; i++) {
                struct edge_limited_peer *each = &l->peers[i];

                if (is_text(each->who, who, sizeof each->who) &&
                    is_text(each->rule, v->rule, sizeof each->rule)) {
                        p = each;
                        break;
                }
                if (each->last_us < p->last_us)
                        p = each;
        }
        if (!is_text(p->who, who, sizeof p->who) || !is_text(p->rule, v->rule, sizeof p->rule))
                p->count = 0;
        set_text(p->who, sizeof p->who, who);
        set_text(p->rule, sizeof p->rule, v->rule);
        set_text(p->origin, sizeof p->origin, v->origin);
        p->count++;
        p->last_us = clock_now_us();
}

void edge_limited_note(struct edge_session *s, struct span who, const struct verdict *v)
{
        if (verdict_is_refusal(v) && !s->is_trial)
                edge_limited_add(&s->edge->limited, who, v);
}

static unsigned count(struct edge_session *s, uint64_t key)
{
        struct meters *m = &s->edge->meters;

        if (s->is_trial)
                return meters_ticks(m, key, clock_now_us()) + 1;
        return meters_tick(m, key, clock_now_us());
}

/* A sender's key is no client's: the address is that of nobody. */
static unsigned count_sender(struct edge_session *s, const char *kind, struct span mail_from)
{
        static const unsigned char nobody[16];
        char text[320];
        const size_t len = strlen(kind);
        const struct span who = span_first(mail_from, sizeof text - len);

        memcpy(text, kind, len);
        ascii_lower_copy(text + len, who);
        return count(s, meters_event(&s->edge->meters, nobody, span_make(text, len + who.len)));
}

struct verdict edge_limited_mail(struct edge_session *s, struct span mail_from)
{
        const struct config *c = s->edge->process->config;
        struct verdict v = {0};

        if (c->limits.sender_messages_per_minute && mail_from.len) {
                v = limits_sender_messages(c, count_sender(s, "messages ", mail_from));
                edge_limited_note(s, mail_from, &v);
        }
        return v;
}

struct verdict edge_limited_rcpt(struct edge_session *s, struct span mail_from)
{
        const struct config *c = s->edge->process->config;
        struct meters *m = &s->edge->meters;
        struct verdict v = {0};

        if (c->limits.recipients_per_minute && edge_guard_watches(s)) {
                v = limits_recipients(c, count(s, meters_event(m, s->client.address,
                                                               SPAN_LITERAL("recipients"))));
                edge_limited_note(s, span_from_string(s->client.text), &v);
        }
        if (!verdict_is_refusal(&v) && c->limits.sender_recipients_per_minute && mail_from.len) {
                v = limits_sender_recipients(c, count_sender(s, "recipients ", mail_from));
                edge_limited_note(s, mail_from, &v);
        }
        return v;
}

void edge_limited_status(const struct edge_limited *l, struct buffer *items,
                         struct ipc_items *ret)
{
        const uint64_t now_us = clock_now_us();

        for (size_t i = 0; i < EDGE_LIMITED_MAX; i++) {
                const struct edge_limited_peer *p = &l->peers[i];

                if (p->count && now_us - p->last_us < EDGE_LIMITED_KEPT_S * UINT64_C(1000000))
                        (void) ipc_add_limited(items, ret, &(struct ipc_limited) {
                                .who = span_from_string(p->who),
                                .rule = span_from_string(p->rule),
                                .origin = span_from_string(p->origin),
                                .count = p->count, .last_us = p->last_us});
        }
}
