/* The relay process: what its files share. Read README.md first. */
#pragma once

#include "base/list.h"
#include "base/table.h"
#include "ipc/channel.h"
#include "net/loop.h"
#include "net/tls/tls.h"
#include "process/process.h"

enum {
        RELAY_CONNECTIONS_MAX = 2000, /* in all */
        RELAY_FILE_STEP = 64 * 1024,  /* octets of a lent file read at once */
};

/* Times of RFC 5321 section 4.5.3.2, and ours where it gives none. */
enum {
        RELAY_CONNECT_MS = 30 * 1000,           /* the last address left */
        RELAY_CONNECT_NEXT_MS = 5 * 1000,       /* one of several: the next may be quicker */
        RELAY_CONNECT_ALL_MS = 120 * 1000,      /* all addresses of one attempt */
        RELAY_GREETING_MS = 5 * 60 * 1000,      /* 4.5.3.2.1 */
        RELAY_COMMAND_MS = 5 * 60 * 1000,       /* 4.5.3.2.2, .3 */
        RELAY_TLS_MS = 60 * 1000,
        RELAY_DATA_MS = 2 * 60 * 1000,          /* 4.5.3.2.4 */
        RELAY_BLOCK_MS = 3 * 60 * 1000,         /* 4.5.3.2.5 */
        RELAY_DOT_MS = 10 * 60 * 1000,          /* 4.5.3.2.6 */
        RELAY_JOB_MS = 60 * 60 * 1000,          /* one job, however slowly it goes on */
        RELAY_IDLE_MS = 5 * 1000,               /* a warm connection without work */
        RELAY_QUIT_MS = 5 * 1000,
        RELAY_PLAIN_MS = 10 * 60 * 1000,        /* after TLS failed: no TLS there for so long */
        RELAY_FAILED_MS = 60 * 1000,            /* an address that failed comes last so long */
        RELAY_FALLBACK_MS = 5 * 60 * 1000,      /* a domain that failed goes to fallback_mx */
        RELAY_ADDRESSES_KEPT_MS = 60 * 1000,    /* at least, and at most an hour: the TTL */
        RELAY_OUTCOME_MS = 1,                   /* then the keeper learns what became of jobs */
};

struct relay {
        struct process *process;
        struct loop *loop;
        struct tls_context *tls; /* a client's that takes any certificate */
        char *hostname;          /* what we say in EHLO */
        struct channel *keeper;
        struct channel *resolver;
        struct channel *directory;
        struct table logins;         /* under way, by number */
        uint64_t login_last;
        bool knows_login_hosts;      /* the directory has said */
        uint32_t login_host_count;
        struct buffer login_hosts;   /* items of relay_host */
        struct list_node jobs;       /* all */
        struct table jobs_by_number;
        struct table destinations;   /* by the text of the next hop */
        struct table sockets;        /* connections that the supervisor makes for us */
        uint64_t socket_last;
        struct table queries;        /* to the resolver, by number */
        uint64_t query_last;
        size_t connection_count, idle_count, job_count;
        uint64_t delivered, refused, failed; /* recipients */
        uint64_t connections_made;
        struct list_node probers; /* relay_probe.h */
        uint64_t prober_last, probe_last;
        bool is_stopping;
        struct timer *drain, *sweep;
        struct timer *push;      /* set: outcomes wait for others that go with them */
        size_t outcomes_waiting;
        char *file_buffer; /* RELAY_FILE_STEP octets, for whoever reads a file now */
        struct buffer output; /* memory for what a session says next, lent to it */
        struct list_node spare_jobs, spare_parts; /* with their memory, last used first */
        size_t spare_job_count, spare_part_count;
};

/* A job has ended: the process may be waiting for that. */
void relay_job_ended(struct relay *r);

/* Outcomes that wait go to the keeper now. */
void relay_push_outcomes(struct relay *r);
