/* What every process but the supervisor is made of: one skeleton.
 *
 *     hayauma process edge 0
 *
 * finds its channel to the supervisor on descriptor 3, gets its place, the
 * configuration and descriptors, warms up, is confined, says ready, and runs
 * its loop until the supervisor's channel ends or says stop. A role fills in
 * struct process_role and nothing else. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "config/snapshot.h"
#include "ipc/channel.h"
#include "net/loop.h"
#include "net/tls/tls.h"

enum process_kind { /* numbers travel in IPC; the order is that of starting */
        PROCESS_SUPERVISOR = 0,
        PROCESS_RESOLVER = 1,
        PROCESS_DIRECTORY = 2,
        PROCESS_WORKER = 3,
        PROCESS_KEEPER = 4,
        PROCESS_RELAY = 5,
        PROCESS_EDGE = 6,
        PROCESS_ACCESS = 7,
        PROCESS_COMPILER = 8, /* started when tables are compiled, ends when they are */
        PROCESS_AGENT = 9,    /* started for one delivery to a program or file, ends with it */
        PROCESS_KIND_END,
        PROCESS_STATE = 100, /* not a process: the state folder, in `peer` */
};

struct process {
        enum process_kind kind;
        unsigned number;
        uint64_t generation;
        struct loop *loop;
        struct config *config;         /* replaced on reload */
        struct snapshot *snapshot;     /* NULL where the kind gets none */
        struct tls_context *tls;       /* NULL where none is configured */
        struct channel *supervisor;
        int state_fd;                  /* keeper: the state folder; else -1 */
        int meters_fd;                 /* edge: the shared meters; else -1 */
        const char *state_path;        /* its path after confinement, "" for the root; else NULL */
        void *role;                    /* the role's own state */
};

struct process_role {
        enum process_kind kind;
        /* Before confinement: open and warm up what needs the file system. Starts
         * no thread: Landlock would not hold it. As root it still is root.
         * 0 or negative errno (said in the log by the role). May be NULL. */
        int (*prepare)(struct process *p);
        /* After confinement: everything else. Listeners and peers follow. What may
         * be done from here on is the kind's row in confine.c; the keeper's
         * current folder is the state folder. */
        int (*start)(struct process *p);
        /* A listening socket; the role owns it. `listen` is of p->config and as
         * short-lived. The role closes by itself, in `reloaded`, those whose text
         * is not in p->config->listen any more; new ones follow `reloaded`. */
        void (*listener)(struct process *p, const struct config_listen *listen, int fd);
        /* A (new) channel end to another process; the role owns the fd and
         * replaces what it had to that one. */
        void (*peer)(struct process *p, enum process_kind kind, unsigned number,
                     uint64_t generation, int fd);
        /* A table's text, before `prepare`, for compiler and directory; for the
         * latter also later, each time the users file changes; for edge, only later,
         * the accounts of this machine whenever a table changes. On success the role
         * owns the fd. 0 or negative errno. NULL: none is taken. */
        int (*table)(struct process *p, const struct ipc_table *m, int fd);
        /* Of agent: the delivery it was started for, before `prepare`; `fd` has the
         * body and is the role's on success. 0 or negative errno. */
        int (*job)(struct process *p, const struct ipc_job *m, int fd);
        /* Instead of the kind's row in confine.c: agent, which becomes the user that
         * a delivery is made as. 0 or negative errno. */
        int (*confine)(struct process *p, bool is_privileged);
        /* Of keeper: what became of a delivery that it asked the supervisor for. */
        void (*outcome)(struct process *p, const union ipc_message *m);
        /* p->config, p->snapshot, p->tls were replaced; the old ones are freed
         * after this returns. */
        void (*reloaded)(struct process *p);
        /* The supervisor's answer to a socket_query: 0 and a connected socket, which
         * the role owns, or a negative errno. NULL: it asks nothing. */
        void (*socket)(struct process *p, uint64_t query, int result, int fd);
        /* Finish within drain_ms, then call process_end(). NULL: end at once. */
        void (*stop)(struct process *p, uint64_t drain_ms);
        /* Adds name/value pairs for `hayauma status`. */
        void (*status)(struct process *p, struct buffer *items, struct ipc_items *ret);
        /* The same: peers that ran into a limit lately. */
        void (*limited)(struct process *p, struct buffer *items, struct ipc_items *ret);
};

/* Runs the role and ends the program; returns an exit status (sysexits) only
 * where there is no supervisor to serve. */
int process_run(const struct process_role *role, unsigned number);

/* Ends the loop: the process exits with 0. */
void process_end(struct process *p);

const char *process_kind_name(enum process_kind kind); /* "edge" */
int process_kind_parse(struct span name);              /* -1: there is none of that name */

/* By kind; NULL where this program has no such role (roles.c). */
extern const struct process_role *const process_roles[PROCESS_KIND_END];

/* What each role is: process/edge/edge.c and so on. */
extern const struct process_role edge_role, resolver_role, directory_role, keeper_role, relay_role,
        worker_role, compiler_role, access_role, agent_role;
