/* The role of the resolver process: questions of other processes in, answers
 * of libunbound out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/list.h"
#include "base/log.h"
#include "process/process.h"
#include "process/resolver/lookup.h"
#include "process/resolver/mx.h"

enum {
        QUESTIONS_MAX = 10 * 1000, /* of all peers; more are answered "servfail" at once */
        ANSWER_MAX = IPC_PAYLOAD_MAX,
};

/* Another process that asks. */
struct asker {
        struct list_node node;
        struct resolver *resolver;
        enum process_kind kind;
        unsigned number;
        struct channel *channel;
        struct list_node questions;
};

struct question {
        struct list_node node;
        struct asker *asker;
        uint64_t query;
        struct mx *mx;         /* one of the two */
        struct lookup *lookup;
};

struct resolver {
        struct loop *loop;
        struct lookups *lookups;
        struct list_node askers;
        size_t question_count;
        uint64_t questions, refused;
        uint64_t answers[DNS_STATUS_END];
};

static void question_free(struct question *q)
{
        list_remove(&q->node);
        q->asker->resolver->question_count--;
        free(q);
}

static void asker_free(struct asker *asker)
{
        LIST_FOR_EACH(node, &asker->questions) {
                struct question *q = LIST_OBJECT(node, struct question, node);

                mx_cancel(q->mx);
                lookup_cancel(q->lookup);
                question_free(q);
        }
        list_remove(&asker->node);
        channel_free(asker->channel);
        free(asker);
}

static void send_answer(struct asker *asker, uint64_t query, const struct mx_answer *answer)
{
        struct buffer hosts = BUFFER_INIT(ANSWER_MAX);
        struct ipc_items items = {0};
        int r = 0;

        for (size_t i = 0; r == 0 && i < answer->count; i++) {
                const struct mx_host *from = &answer->hosts[i];
                const struct ipc_mx_host host = {
                        .preference = from->preference,
                        .is_secure = from->is_secure,
                        .name = span_from_string(from->name),
                        .ipv4 = span_make((const char *) from->ipv4, 4ULL * from->ipv4_count),
                        .ipv6 = span_make((const char *) from->ipv6, 16ULL * from->ipv6_count),
                        .tlsa_state = (uint8_t) from->tlsa_state,
                        .tlsa = span_make((const char *) from->tlsa, from->tlsa_len),
                };

                r = ipc_add_mx_host(&hosts, &items, &host);
        }
        if (r == 0)
                r = CHANNEL_SEND(asker->channel, mx_answer, -1, .query = query,
                                 .status = (uint8_t) answer->status,
                                 .is_secure = answer->is_secure, .ttl_s = answer->ttl_s,
                                 .hosts = items);
        if (r < 0)
                log_event(LOG_ERROR, "answer_lost",
                          LOG_TEXT("process", process_kind_name(asker->kind)),
                          LOG_ERRNO("error", r));
        buffer_done(&hosts);
}

static void on_answer(void *arg, const struct mx_answer *answer)
{
        struct question *q = arg;

        q->asker->resolver->answers[answer->status]++;
        for (size_t i = 0; i < answer->count; i++)
                if (answer->hosts[i].is_alias)
                        log_event(LOG_INFO, "mx_is_alias",
                                  LOG_TEXT("host", answer->hosts[i].name),
                                  LOG_TEXT("text", "an MX must not be a CNAME (RFC 2181 section "
                                                   "10.3); it is used all the same"));
        send_answer(q->asker, q->query, answer);
        question_free(q);
}

static void refuse(struct asker *asker, uint64_t query, enum dns_status status)
{
        const struct mx_answer answer = {.status = status};

        asker->resolver->refused++;
        send_answer(asker, query, &answer);
}

static int ask(struct asker *asker, const struct ipc_mx_query *query)
{
        struct resolver *r = asker->resolver;
        struct question *q = calloc(1, sizeof *q);
        const struct mx_question question = {
                .name = query->name, .is_host = query->is_host, .tlsa_port = query->tlsa_port,
                .done = on_answer, .arg = q,
        };

        if (!q)
                return -ENOMEM;
        q->asker = asker;
        q->query = query->query;
        if (mx_new(r->loop, r->lookups, &question, &q->mx) < 0) {
                free(q);
                return -ENOMEM;
        }
        list_append(&asker->questions, &q->node);
        r->question_count++;
        return 0;
}

static void on_mx_query(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct asker *asker = arg;
        struct resolver *r = asker->resolver;

        (void) ch;
        (void) fd;
        r->questions++;
        if (!dns_name_is_valid(m->mx_query.name))
                refuse(asker, m->mx_query.query, DNS_NXDOMAIN); /* no such name can be */
        else if (r->question_count >= QUESTIONS_MAX || ask(asker, &m->mx_query) < 0)
                refuse(asker, m->mx_query.query, DNS_SERVFAIL);
}

/* ---- single questions ---- */

static void send_records(struct asker *asker, uint64_t query, const struct lookup_answer *answer)
{
        struct buffer records = BUFFER_INIT(ANSWER_MAX);
        struct ipc_items items = {0};

        for (size_t i = 0; i < answer->count; i++)
                (void) ipc_add_dns_record(&records, &items, &(struct ipc_dns_record) {
                        .rdata = span_make(answer->rdata[i], (size_t) answer->rdata_len[i])});
        if (CHANNEL_SEND(asker->channel, dns_answer, -1, .query = query,
                         .status = (uint8_t) answer->status, .is_secure = answer->is_secure,
                         .ttl_s = answer->ttl_s, .records = items) < 0)
                log_event(LOG_ERROR, "answer_lost",
                          LOG_TEXT("process", process_kind_name(asker->kind)));
        buffer_done(&records);
}

static void on_lookup(void *arg, const struct lookup_answer *answer)
{
        struct question *q = arg;

        q->asker->resolver->answers[answer->status]++;
        send_records(q->asker, q->query, answer);
        question_free(q);
}

static int ask_dns(struct asker *asker, const struct ipc_dns_query *query)
{
        struct resolver *r = asker->resolver;
        struct question *q = calloc(1, sizeof *q);

        if (!q)
                return -ENOMEM;
        q->asker = asker;
        q->query = query->query;
        if (lookup_new(r->lookups, query->name, query->type, on_lookup, q, &q->lookup) < 0) {
                free(q);
                return -ENOMEM;
        }
        list_append(&asker->questions, &q->node);
        r->question_count++;
        return 0;
}

static void on_dns_query(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct asker *asker = arg;
        struct resolver *r = asker->resolver;
        struct lookup_answer answer = {.status = DNS_SERVFAIL};

        (void) ch;
        (void) fd;
        r->questions++;
        if (!dns_name_is_valid(m->dns_query.name))
                answer.status = DNS_NXDOMAIN;
        else if (r->question_count < QUESTIONS_MAX && ask_dns(asker, &m->dns_query) == 0)
                return;
        r->refused++;
        send_records(asker, m->dns_query.query, &answer);
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        (void) ch;
        (void) reason;
        asker_free(arg);
}

static const struct channel_handler asker_handler = {
        .on = {[IPC_mx_query] = on_mx_query, [IPC_dns_query] = on_dns_query},
        .closed = on_closed,
};

/* ---- the role ---- */

static int resolver_prepare(struct process *p)
{
        struct resolver *r = calloc(1, sizeof *r);
        const char *what;
        int error;

        if (!r)
                return -ENOMEM;
        r->loop = p->loop;
        list_init(&r->askers);
        error = lookups_new(p->loop, p->config, &r->lookups, &what);
        if (error < 0) {
                log_event(LOG_ERROR, "cannot_resolve", LOG_TEXT("what", what),
                          LOG_ERRNO("error", error));
                free(r);
                return error;
        }
        p->role = r;
        return 0;
}

static int resolver_start(struct process *p)
{
        struct resolver *r = p->role;

        return lookups_start(r->lookups);
}

static void resolver_peer(struct process *p, enum process_kind kind, unsigned number,
                          uint64_t generation, int fd)
{
        struct resolver *r = p->role;
        struct asker *asker;

        (void) generation;
        LIST_FOR_EACH(node, &r->askers) {
                struct asker *old = LIST_OBJECT(node, struct asker, node);

                if (old->kind == kind && old->number == number)
                        asker_free(old);
        }
        asker = calloc(1, sizeof *asker);
        if (!asker || channel_new(p->loop, fd, &asker_handler, asker, &asker->channel) < 0) {
                log_event(LOG_ERROR, "no_channel", LOG_TEXT("peer", process_kind_name(kind)));
                close(fd);
                free(asker);
                return;
        }
        asker->resolver = r;
        asker->kind = kind;
        asker->number = number;
        list_init(&asker->questions);
        list_append(&r->askers, &asker->node);
}

static void add_metric(struct buffer *b, struct ipc_items *items, const char *name, uint64_t value)
{
        const struct ipc_metric metric = {.name = span_from_string(name), .value = value};

        (void) ipc_add_metric(b, items, &metric); /* full: this one is left out */
}

static void resolver_status(struct process *p, struct buffer *b, struct ipc_items *items)
{
        const struct resolver *r = p->role;

        add_metric(b, items, "questions", r->questions);
        add_metric(b, items, "questions_open", r->question_count);
        add_metric(b, items, "questions_refused", r->refused);
        add_metric(b, items, "lookups_at_work", lookups_at_work(r->lookups));
        add_metric(b, items, "lookups_waiting", lookups_waiting(r->lookups));
        for (unsigned i = 0; i < DNS_STATUS_END; i++) {
                char name[32];

                snprintf(name, sizeof name, "answers_%s", dns_status_name(i));
                add_metric(b, items, name, r->answers[i]);
        }
}

const struct process_role resolver_role = {
        .kind = PROCESS_RESOLVER,
        .prepare = resolver_prepare,
        .start = resolver_start,
        .peer = resolver_peer,
        .status = resolver_status,
};
