#include "process/edge/edge_probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "process/edge/edge.h"
#include "process/edge/edge_checks.h"

enum {
        ENTRIES_MAX = 20 * 1000,
        ASKED_MAX = 1000, /* at a time */
        UNSURE_MS = 30 * 1000,
};

/* A session that waits. */
struct edge_probe_question {
        struct list_node node; /* edge_probe_entry.waiting */
        struct edge_session *session;
};

static uint64_t now_ms(const struct edge_probe *p)
{
        return loop_now_ms(p->edge->process->loop);
}

static uint64_t key_hash(struct span next_hop, struct span rcpt_to)
{
        return hash_span(rcpt_to, hash_span(next_hop, hash_seed()));
}

static struct span hop_of(const struct edge_probe_entry *e)
{
        return span_make(e->key, e->hop_len);
}

static struct span rcpt_of(const struct edge_probe_entry *e)
{
        return span_make(e->key + e->hop_len, e->rcpt_len);
}

static struct edge_probe_entry *find(const struct edge_probe *p, struct span next_hop,
                                     struct span rcpt_to)
{
        struct table_node *n = table_first(&p->by_key, key_hash(next_hop, rcpt_to));

        for (; n; n = table_next(n)) {
                struct edge_probe_entry *e = TABLE_OBJECT(n, struct edge_probe_entry, by_key);

                if (span_equal(hop_of(e), next_hop) && span_equal(rcpt_of(e), rcpt_to))
                        return e;
        }
        return NULL;
}

static void stop_asking(struct edge_probe_entry *e)
{
        if (e->number)
                table_remove(&e->probe->by_number, &e->by_number);
        e->number = 0;
        e->timer = timer_free(e->timer);
}

static void entry_free(struct edge_probe_entry *e)
{
        stop_asking(e);
        while (!list_is_empty(&e->waiting))
                edge_probe_cancel(
                        LIST_OBJECT(e->waiting.next, struct edge_probe_question, node));
        table_remove(&e->probe->by_key, &e->by_key);
        list_remove(&e->node);
        free(e);
}

/* ---- answers ---- */

static void wake(struct edge_probe_entry *e)
{
        struct list_node *node;

        stop_asking(e);
        while ((node = list_take_first(&e->waiting))) {
                struct edge_probe_question *q =
                        LIST_OBJECT(node, struct edge_probe_question, node);
                struct edge_session *s = q->session;

                free(q);
                edge_checks_probed(s);
        }
}

/* It speaks of the recipient, not of us or of the sender: 5.1.x, or an old
 * server's words (RFC 5321 section 4.2.2). */
static bool is_about_recipient(uint16_t code, struct span enhanced)
{
        if (enhanced.len)
                return code / 100 == 5 && span_starts_with_nocase(enhanced, SPAN_LITERAL("5.1."));
        return code == 550 || code == 551 || code == 553;
}

static void learn(struct edge_probe_entry *e, const struct ipc_probed *m)
{
        const struct config *c = e->probe->edge->process->config;

        snprintf(e->text, sizeof e->text, "%.*s%s%.*s", (int) span_first(m->host, 100).len,
                 m->host.len ? m->host.p : "", m->host.len ? " said: " : "",
                 (int) span_first(m->text, 190).len, m->text.len ? m->text.p : "");
        for (char *p = e->text; *p; p++)
                if (*p < ' ')
                        *p = ' ';
        e->latest = m->code / 100 == 2 ? EDGE_PROBE_KNOWN
                    : is_about_recipient(m->code, m->enhanced) ? EDGE_PROBE_UNKNOWN
                                                               : EDGE_PROBE_UNSURE;
        if (e->latest == EDGE_PROBE_UNSURE) {
                e->probe->unanswered++;
                e->until_ms = now_ms(e->probe) + UNSURE_MS;
                return;
        }
        e->state = e->latest;
        e->code = m->code;
        snprintf(e->enhanced, sizeof e->enhanced, "%.*s", (int) m->enhanced.len,
                 m->enhanced.len ? m->enhanced.p : "");
        e->until_ms = now_ms(e->probe) +
                      (e->state == EDGE_PROBE_KNOWN ? c->probe.good_ms : c->probe.bad_ms);
}

static void fail(struct edge_probe_entry *e, const char *text)
{
        learn(e, &(struct ipc_probed) {.text = span_from_string(text)});
        wake(e);
}

static void on_probed(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct edge_probe *p = arg;
        struct table_node *n = table_first(&p->by_number, m->probed.query);
        struct edge_probe_entry *e;

        (void) ch;
        (void) fd;
        if (!n)
                return; /* it took too long */
        e = TABLE_OBJECT(n, struct edge_probe_entry, by_number);
        learn(e, &m->probed);
        wake(e);
}

static void on_timeout(void *arg)
{
        fail(arg, "the next hop did not answer in time");
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct edge_probe *p = arg;

        (void) reason;
        for (unsigned i = 0; i < p->relay_count; i++)
                if (p->relays[i] == ch)
                        p->relays[i] = NULL; /* what it was asked ends by the timers */
        channel_free(ch);
}

static const struct channel_handler handler = {
        .on = {[IPC_probed] = on_probed},
        .closed = on_closed,
};

/* ---- life ---- */

void edge_probe_init(struct edge_probe *p, struct edge *e)
{
        *p = (struct edge_probe) {.edge = e};
        list_init(&p->used);
}

void edge_probe_done(struct edge_probe *p)
{
        for (unsigned i = 0; i < p->relay_count; i++)
                channel_free(p->relays[i]);
        while (!list_is_empty(&p->used))
                entry_free(LIST_OBJECT(p->used.next, struct edge_probe_entry, node));
        table_done(&p->by_key);
        table_done(&p->by_number);
}

void edge_probe_peer(struct edge_probe *p, unsigned number, int fd)
{
        struct channel *ch;

        if (number >= EDGE_RELAYS_MAX || channel_new(p->edge->process->loop, fd, &handler, p,
                                                     &ch) < 0) {
                log_event(LOG_ERROR, "relay_not_reached", LOG_U64("relay", number));
                close(fd);
                return;
        }
        channel_free(p->relays[number]);
        p->relays[number] = ch;
        if (number >= p->relay_count)
                p->relay_count = number + 1;
}

/* ---- questions ---- */

static bool make_room(struct edge_probe *p)
{
        if (p->by_key.count < ENTRIES_MAX)
                return true;
        LIST_FOR_EACH(node, &p->used) {
                struct edge_probe_entry *e = LIST_OBJECT(node, struct edge_probe_entry, node);

                if (e->number)
                        continue;
                entry_free(e);
                return true;
        }
        return false;
}

static struct edge_probe_entry *get(struct edge_probe *p, struct span next_hop,
                                    struct span rcpt_to)
{
        struct edge_probe_entry *e = find(p, next_hop, rcpt_to);

        if (e) {
                list_remove(&e->node);
                list_append(&p->used, &e->node);
                return e;
        }
        if (!make_room(p))
                return NULL;
        e = calloc(1, sizeof *e + next_hop.len + rcpt_to.len);
        if (!e)
                return NULL;
        e->probe = p;
        e->hop_len = next_hop.len;
        e->rcpt_len = rcpt_to.len;
        memcpy(e->key, next_hop.p, next_hop.len);
        memcpy(e->key + next_hop.len, rcpt_to.p, rcpt_to.len);
        list_init(&e->waiting);
        if (table_add(&p->by_key, &e->by_key, key_hash(next_hop, rcpt_to)) < 0) {
                free(e);
                return NULL;
        }
        list_append(&p->used, &e->node);
        return e;
}

/* All that is said to one next hop goes through one relay. */
static struct channel *relay_for(const struct edge_probe *p, struct span next_hop)
{
        const uint64_t h = hash_span(next_hop, 0);

        return p->relay_count ? p->relays[h % p->relay_count] : NULL;
}

static bool begin(struct edge_probe_entry *e)
{
        struct edge_probe *p = e->probe;
        struct channel *relay = relay_for(p, hop_of(e));
        const uint64_t ms = p->edge->process->config->probe.timeout_ms;

        if (!relay || p->by_number.count >= ASKED_MAX ||
            timer_new(p->edge->process->loop, on_timeout, e, &e->timer) < 0)
                return false;
        e->number = ++p->number_last;
        if (table_add(&p->by_number, &e->by_number, e->number) < 0) {
                e->number = 0;
                stop_asking(e);
                return false;
        }
        if (CHANNEL_SEND(relay, probe, -1, .query = e->number, .timeout_ms = (uint32_t) ms,
                         .next_hop = hop_of(e), .rcpt_to = rcpt_of(e)) < 0) {
                stop_asking(e);
                return false;
        }
        timer_set(e->timer, ms);
        p->asked++;
        return true;
}

const struct edge_probe_entry *edge_probe_ask(struct edge_probe *p, struct edge_session *s,
                                              struct span next_hop, struct span rcpt_to,
                                              struct edge_probe_question **ret_question)
{
        struct edge_probe_entry *e = get(p, next_hop, rcpt_to);
        struct edge_probe_question *q;

        *ret_question = NULL;
        if (!e)
                return NULL;
        if (!e->number && e->until_ms > now_ms(p))
                return e;
        q = calloc(1, sizeof *q);
        if (!q || (!e->number && !begin(e))) {
                free(q);
                return NULL;
        }
        q->session = s;
        list_append(&e->waiting, &q->node);
        *ret_question = q;
        return NULL;
}

const struct edge_probe_entry *edge_probe_find(struct edge_probe *p, struct span next_hop,
                                               struct span rcpt_to)
{
        return find(p, next_hop, rcpt_to);
}

struct edge_probe_question *edge_probe_cancel(struct edge_probe_question *q)
{
        if (q) {
                list_remove(&q->node);
                free(q);
        }
        return NULL;
}

void edge_probe_status(const struct edge_probe *p, struct buffer *items, struct ipc_items *ret)
{
        const struct ipc_metric metrics[] = {
                {SPAN("probe_asked"), p->asked},
                {SPAN("probe_unanswered"), p->unanswered},
                {SPAN("probe_remembered"), p->by_key.count},
        };

        for (size_t i = 0; p->asked && i < sizeof metrics / sizeof metrics[0]; i++)
                (void) ipc_add_metric(items, ret, &metrics[i]);
}
