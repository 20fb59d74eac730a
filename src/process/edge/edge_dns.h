/* Questions of this edge to the resolver. Each is answered once, in its own
 * time: a resolver that is silent, or goes away, is an answer too. */
#pragma once

#include "base/list.h"
#include "base/table.h"
#include "ipc/channel.h"
#include "net/dns/dns.h"

struct edge;
struct edge_dns_question;

struct edge_dns_answer {
        enum dns_status status;
        struct ipc_items records; /* of kind dns_record, where status is DNS_OK */
};
typedef void edge_dns_fn(void *arg, const struct edge_dns_answer *answer);

/* Of the process. */
struct edge_dns {
        struct edge *edge;
        struct channel *channel; /* NULL: there is none */
        struct table by_number;
        struct list_node asked;
        uint64_t number_last;
};

void edge_dns_init(struct edge_dns *d, struct edge *e);
void edge_dns_done(struct edge_dns *d);

/* A new channel to the resolver; takes `fd` over. */
void edge_dns_peer(struct edge_dns *d, int fd);

/* Asks for records of a type; for DNS_TYPE_MX, whether the domain has hosts for
 * mail: MX records, or addresses of its own, and no record is given. `done` is
 * called once, later, unless the question is cancelled. 0 or a negative errno. */
struct edge_dns_query {
        struct span name;
        unsigned type;
        uint64_t timeout_ms;
        edge_dns_fn *done;
        void *arg;
};
int edge_dns_ask(struct edge_dns *d, const struct edge_dns_query *query,
                 struct edge_dns_question **ret_question);

/* Accepts NULL. Not after `done`. */
struct edge_dns_question *edge_dns_cancel(struct edge_dns_question *q);
