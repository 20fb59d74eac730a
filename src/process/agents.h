/* Agents: the keeper asks the supervisor for deliveries to programs and files, and
 * each is made by a process of its own, which root starts and which becomes the
 * user it works for (process/agent/).
 *
 *   WAITING --a place is free--> RUNNING --outcome, or its end--> answered
 *
 * A job names a row of the aliases, never a command: what is run stands in the
 * snapshot. The supervisor looks at no field of it. */
#pragma once

#include "base/list.h"
#include "ipc/channel.h"
#include "process/place.h"
#include "process/settings.h"

enum {
        AGENTS_MAX = 8,           /* at once */
        AGENTS_WAITING_MAX = 256, /* jobs; more are to come again later */
};

struct agents_job;

struct agent {
        struct agents *agents;
        struct place place;
        struct agents_job *job; /* NULL: idle */
        struct timer *timeout;  /* behind the agent's own */
};

struct agents {
        struct loop *loop;
        const struct settings *settings;
        const struct place *keeper;
        bool is_privileged;
        struct agent agents[AGENTS_MAX];
        struct list_node waiting; /* struct agents_job */
        size_t waiting_count;
};

/* 0 or -ENOMEM. `settings` and `keeper` outlive it. */
int agents_init(struct agents *a, struct loop *l, const struct settings *settings,
                const struct place *keeper, bool is_privileged);

/* A job of the keeper's. `*fd`, the body, is taken. It is answered with an outcome
 * for each recipient, whatever happens. */
void agents_take(struct agents *a, const union ipc_message *m, int *fd);

/* After SIGCHLD. */
void agents_reap(struct agents *a);

/* Ends all that run; what waits is forgotten: the queue has it. */
void agents_stop(struct agents *a);

/* Whether none runs any more. */
bool agents_are_idle(const struct agents *a);
