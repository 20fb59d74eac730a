/* One job: a message, its recipients behind one next hop, and what became of
 * each of them. */
#pragma once

#include "base/arena.h"
#include "process/relay/relay.h"
#include "wire/smtp/smtp_client.h"

struct relay_connection;
struct relay_part;

struct relay_job {
        struct relay *relay;
        struct list_node in_relay;      /* relay->jobs */
        struct list_node in_connection; /* relay_connection->jobs */
        struct table_node by_number;
        struct relay_connection *connection;
        struct relay_destination *pending_at; /* waits there behind another job's body */
        uint64_t number, message_id;
        uint64_t deadline_ms;
        struct span next_hop;
        struct span key;         /* of its relay_destination; see relay_job_set_key() */
        struct span destination; /* whose hosts these are; empty: next_hop is to be looked up */
        struct ipc_items hosts;
        bool are_hosts_secure; /* DNSSEC vouches for their names */
        uint64_t hosts_until_ms;
        struct span next_hops; /* behind it, with commas between: where it is not reached */
        struct smtp_client_mail mail;
        struct smtp_client_rcpt *rcpts;
        uint32_t *indices; /* of each recipient in the decision record */
        bool *is_answered;
        size_t open_count; /* recipients not answered yet */
        unsigned tries;    /* connections that gave it back */
        bool is_host_failure;
        struct span fallback_for; /* the next hop that failed; empty: this is it */
        bool is_converted;        /* by relay_job_make_fit() */
        bool sends_dsn, keeps_time; /* the host that answers, as in the outcome */

        /* The body: parts in memory, in order, or a file. */
        struct list_node parts;
        struct relay_part *given; /* the one that relay_job_body() gave last */
        uint64_t body_missing; /* octets that have not come from the keeper */
        uint64_t body_unsent;  /* octets not yet given to a connection */
        size_t head_credit;    /* of the job's own frame; 0: given back */
        int file_fd;           /* -1: none */
        uint64_t file_at;

        uint64_t prober, probe; /* not 0: no message, a question of that edge (relay_probe.h) */

        struct ipc_items items; /* in `results` */

        /* What a job that ends leaves to the next one. */
        struct arena arena;    /* all spans above */
        struct buffer results; /* of the outcome being built */
        size_t detail_len;
        char detail[1000];
};

/* The keeper's messages. */
void relay_on_job(struct channel *ch, void *arg, const union ipc_message *m, int *fd);
void relay_on_body(struct channel *ch, void *arg, const union ipc_message *m, int *fd);
void relay_on_job_cancel(struct channel *ch, void *arg, const union ipc_message *m, int *fd);

/* A job without a message that asks whether one recipient would be taken. NULL:
 * no memory. To be given to relay_destination_take(). */
struct relay_job *relay_job_new_probe(struct relay *r, const struct ipc_probe *probe,
                                      uint64_t prober);

/* The next octets of the body, at most 64 KiB; they live until the next call.
 * 1; 0: they have not come yet, or all are given (body_unsent says which);
 * negative: the file cannot be read. */
int relay_job_body(struct relay_job *j, struct span *ret_octets);

/* What jobs share connections by: their hosts where the keeper found them, else
 * their next hop; and whether they insist on TLS (RFC 8689). After a change of
 * either. 0 or -ENOMEM. */
int relay_job_set_key(struct relay_job *j);

/* Gives the body a transfer encoding where a host with these offers (enum
 * smtp_client_offer) takes it only so; before the first relay_job_body(). 0;
 * -EPERM: it is signed; -ENOTSUP: it cannot be done, and the host will not have
 * it as it is; or what reading the file or memory gives. */
int relay_job_make_fit(struct relay_job *j, unsigned offers);

/* The answer for one recipient. Enough of them together go to the keeper. */
void relay_job_result(struct relay_job *j, size_t rcpt, const struct smtp_reply *reply,
                      const char *host);

/* Notes what the record is to tell of the session that answers ("tls=none policy=may"),
 * and what the host offers (enum smtp_client_offer). */
void relay_job_note_session(struct relay_job *j, unsigned offers, struct span session);

/* Every recipient not yet answered gets this answer, and the job ends. `code`
 * 0: there was none, `text` says why; with an `enhanced` of 4.4.x, the network
 * and its hosts (RFC 3463 section 3.5), that counts against the host. */
void relay_job_fail(struct relay_job *j, unsigned code, const char *enhanced, const char *text,
                    const char *host);

/* All recipients are answered: tells the keeper and frees the job. */
void relay_job_done(struct relay_job *j, const char *host, bool is_host_failure);

/* The keeper is gone: nobody wants the outcome. Frees the job. */
void relay_job_drop(struct relay_job *j);

/* Gives back the memory that no job has needed of late. */
void relay_job_trim(struct relay *r);
