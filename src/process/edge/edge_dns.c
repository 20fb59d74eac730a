#include "process/edge/edge_dns.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "process/edge/edge.h"

enum { QUESTIONS_MAX = 20 * 1000 };

struct edge_dns_question {
        struct table_node by_number;
        struct list_node node; /* edge_dns.asked */
        struct edge_dns *dns;
        struct timer *timer;
        uint64_t number;
        edge_dns_fn *done;
        void *arg;
};

struct edge_dns_question *edge_dns_cancel(struct edge_dns_question *q)
{
        if (!q)
                return NULL;
        table_remove(&q->dns->by_number, &q->by_number);
        list_remove(&q->node);
        timer_free(q->timer);
        free(q);
        return NULL;
}

static void finish(struct edge_dns_question *q, const struct edge_dns_answer *answer)
{
        edge_dns_fn *done = q->done;
        void *arg = q->arg;

        edge_dns_cancel(q);
        done(arg, answer);
}

static void fail(struct edge_dns_question *q, enum dns_status status)
{
        finish(q, &(struct edge_dns_answer) {.status = status});
}

static void on_timeout(void *arg)
{
        fail(arg, DNS_TIMEOUT);
}

/* Numbers are ours, one after the other: each is its own hash. */
static struct edge_dns_question *find(const struct edge_dns *d, uint64_t number)
{
        struct table_node *n = table_first(&d->by_number, number);

        return n ? TABLE_OBJECT(n, struct edge_dns_question, by_number) : NULL;
}

static enum dns_status checked(uint8_t status)
{
        return status < DNS_STATUS_END ? (enum dns_status) status : DNS_SERVFAIL;
}

static void on_dns_answer(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct edge_dns_question *q = find(arg, m->dns_answer.query);

        (void) ch;
        (void) fd;
        if (q)
                finish(q, &(struct edge_dns_answer) {.status = checked(m->dns_answer.status),
                                                     .records = m->dns_answer.records});
}

static void on_mx_answer(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct edge_dns_question *q = find(arg, m->mx_answer.query);

        (void) ch;
        (void) fd;
        if (q)
                fail(q, checked(m->mx_answer.status));
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct edge_dns *d = arg;

        (void) ch;
        log_event(LOG_WARNING, "resolver_gone", LOG_ERRNO("reason", reason));
        d->channel = channel_free(d->channel);
        while (!list_is_empty(&d->asked))
                fail(LIST_OBJECT(d->asked.next, struct edge_dns_question, node), DNS_SERVFAIL);
}

static const struct channel_handler handler = {
        .on = {[IPC_dns_answer] = on_dns_answer, [IPC_mx_answer] = on_mx_answer},
        .closed = on_closed,
};

void edge_dns_init(struct edge_dns *d, struct edge *e)
{
        *d = (struct edge_dns) {.edge = e};
        list_init(&d->asked);
}

void edge_dns_done(struct edge_dns *d)
{
        d->channel = channel_free(d->channel);
        while (!list_is_empty(&d->asked))
                edge_dns_cancel(LIST_OBJECT(d->asked.next, struct edge_dns_question, node));
        table_done(&d->by_number);
}

void edge_dns_peer(struct edge_dns *d, int fd)
{
        int r;

        if (d->channel)
                on_closed(d->channel, d, 0);
        r = channel_new(d->edge->process->loop, fd, &handler, d, &d->channel);
        if (r < 0) {
                log_event(LOG_ERROR, "resolver_not_reached", LOG_ERRNO("error", r));
                close(fd);
        }
}

static int send_question(struct edge_dns *d, const struct edge_dns_question *q, struct span name,
                         unsigned type)
{
        if (type == DNS_TYPE_MX)
                return CHANNEL_SEND(d->channel, mx_query, -1, .query = q->number, .name = name);
        return CHANNEL_SEND(d->channel, dns_query, -1, .query = q->number, .name = name,
                            .type = (uint16_t) type);
}

int edge_dns_ask(struct edge_dns *d, const struct edge_dns_query *query,
                 struct edge_dns_question **ret_question)
{
        struct edge_dns_question *q;
        int r;

        if (!d->channel)
                return -EPIPE;
        if (d->by_number.count >= QUESTIONS_MAX)
                return -EAGAIN;
        q = calloc(1, sizeof *q);
        if (!q)
                return -ENOMEM;
        *q = (struct edge_dns_question) {.dns = d, .number = ++d->number_last,
                                         .done = query->done, .arg = query->arg};
        r = table_add(&d->by_number, &q->by_number, q->number);
        if (r < 0) {
                free(q);
                return r;
        }
        list_append(&d->asked, &q->node);
        r = timer_new(d->edge->process->loop, on_timeout, q, &q->timer);
        if (r == 0)
                r = send_question(d, q, query->name, query->type);
        if (r < 0) {
                edge_dns_cancel(q);
                return r;
        }
        timer_set(q->timer, query->timeout_ms);
        *ret_question = q;
        return 0;
}
