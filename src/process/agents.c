#include "process/agents.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

enum { GRACE_MS = 30 * 1000, JOB_MAX = IPC_PAYLOAD_MAX };

struct agents_job {
        struct list_node node; /* agents.waiting */
        struct buffer octets;  /* the job as it came */
        int fd;
        uint64_t generation;   /* of the keeper that asked */
};

static void job_free(struct agents_job *j)
{
        if (j->fd >= 0)
                close(j->fd);
        buffer_done(&j->octets);
        free(j);
}

/* ---- answers ---- */

static void answer_keeper(const struct agents *a, const struct agents_job *j,
                          const union ipc_message *m)
{
        if (a->keeper->channel && a->keeper->generation == j->generation)
                channel_send(a->keeper->channel, IPC_outcome, m, -1);
}

/* The same for every recipient: come again later. */
static void put_off(const struct agents *a, const struct agents_job *j, const char *text)
{
        struct buffer items = BUFFER_INIT(IPC_PAYLOAD_MAX);
        union ipc_message job, m = {.outcome = {.host = SPAN("agent")}};
        struct reader each;
        struct ipc_target target;

        if (ipc_decode(IPC_job, buffer_span(&j->octets), &job) < 0)
                return;
        m.outcome.job = job.job.job;
        m.outcome.message_id = job.job.message_id;
        each = ipc_items_read(job.job.recipients);
        while (ipc_next_target(&each, &target))
                (void) ipc_add_result(&items, &m.outcome.results, &(struct ipc_result) {
                        .index = target.index, .code = 451, .enhanced = SPAN("4.3.0"),
                        .text = span_from_string(text)});
        answer_keeper(a, j, &m);
        buffer_done(&items);
}

static void start_next(struct agents *a);

static void end_job(struct agent *agent)
{
        timer_stop(agent->timeout);
        job_free(agent->job);
        agent->job = NULL;
}

static void on_outcome(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct agent *agent = ((struct place *) arg)->owner;
        union ipc_message job, answer = *m;

        (void) ch;
        (void) fd;
        if (!agent->job || ipc_decode(IPC_job, buffer_span(&agent->job->octets), &job) < 0)
                return;
        answer.outcome.job = job.job.job; /* an agent speaks of its own job only */
        answer.outcome.message_id = job.job.message_id;
        answer_keeper(agent->agents, agent->job, &answer);
        end_job(agent); /* its place is free when it has ended */
}

static void on_ready(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch, (void) arg, (void) m, (void) fd;
}

/* Its end is seen by SIGCHLD. */
static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct place *p = arg;

        channel_free(ch);
        p->channel = NULL;
        if (reason == -EBADMSG && p->pid)
                kill(p->pid, SIGKILL);
}

static const struct channel_handler handler = {
        .on = {[IPC_outcome] = on_outcome, [IPC_ready] = on_ready},
        .closed = on_closed,
};

static void on_timeout(void *arg)
{
        struct agent *agent = arg;

        if (agent->place.pid)
                kill(agent->place.pid, SIGKILL);
}

/* ---- starting ---- */

static int instruct(struct agent *agent)
{
        const struct settings *set = agent->agents->settings;
        struct channel *ch = agent->place.channel;
        union ipc_message job;
        int r = ipc_decode(IPC_job, buffer_span(&agent->job->octets), &job);

        if (r == 0)
                r = CHANNEL_SEND(ch, start, set->config_fd, .kind = PROCESS_AGENT,
                                 .number = (uint8_t) agent->place.number,
                                 .generation = agent->place.generation,
                                 .is_privileged = agent->agents->is_privileged);
        if (r == 0)
                r = CHANNEL_SEND(ch, snapshot, set->snapshot_fd, .generation = 1);
        if (r == 0)
                r = channel_send(ch, IPC_job, &job, agent->job->fd);
        if (r == 0)
                r = CHANNEL_SEND(ch, go, -1, .reserved = 0);
        return r;
}

static void start(struct agent *agent, struct agents_job *j)
{
        struct agents *a = agent->agents;
        int r = a->settings->snapshot_fd < 0 ? -ENOENT
                                             : place_spawn(&agent->place, a->loop, &handler);

        agent->job = j;
        if (r == 0) {
                timer_set(agent->timeout, a->settings->config->agent.timeout_ms + GRACE_MS);
                r = instruct(agent);
                if (r < 0)
                        kill(agent->place.pid, SIGKILL);
                return;
        }
        log_event(LOG_ERROR, "cannot_spawn", LOG_TEXT("process", agent->place.name),
                  LOG_ERRNO("error", r));
        put_off(a, j, "no agent could be started");
        end_job(agent);
}

static void start_next(struct agents *a)
{
        for (size_t i = 0; i < AGENTS_MAX && !list_is_empty(&a->waiting); i++) {
                struct list_node *node;

                if (a->agents[i].place.pid || a->agents[i].job)
                        continue;
                node = list_take_first(&a->waiting);
                a->waiting_count--;
                start(&a->agents[i], LIST_OBJECT(node, struct agents_job, node));
        }
}

void agents_take(struct agents *a, const union ipc_message *m, int *fd)
{
        struct agents_job *j = *fd < 0 ? NULL : calloc(1, sizeof *j);

        if (!j)
                return; /* the keeper hears nothing, and asks again when it starts */
        j->octets = BUFFER_INIT(JOB_MAX);
        j->generation = a->keeper->generation;
        j->fd = *fd;
        *fd = -1;
        if (ipc_encode_job(&j->octets, &m->job) < 0 || a->waiting_count >= AGENTS_WAITING_MAX) {
                put_off(a, j, "too many programs are to be run");
                job_free(j);
                return;
        }
        list_append(&a->waiting, &j->node);
        a->waiting_count++;
        start_next(a);
}

/* ---- ends ---- */

void agents_reap(struct agents *a)
{
        char why[PLACE_STATUS_MAX], text[PLACE_STATUS_MAX + 32];
        int status;

        for (size_t i = 0; i < AGENTS_MAX; i++) {
                struct agent *agent = &a->agents[i];

                if (!place_reap(&agent->place, &status))
                        continue;
                if (agent->job) { /* it ended without an answer */
                        log_event(LOG_ERROR, "process_ended",
                                  LOG_TEXT("process", agent->place.name),
                                  LOG_TEXT("how", place_status_text(status, why)));
                        snprintf(text, sizeof text, "the agent ended with %s", why);
                        put_off(a, agent->job, text);
                        end_job(agent);
                }
        }
        start_next(a);
}

void agents_stop(struct agents *a)
{
        struct list_node *node;

        while ((node = list_take_first(&a->waiting)))
                job_free(LIST_OBJECT(node, struct agents_job, node));
        a->waiting_count = 0;
        for (size_t i = 0; i < AGENTS_MAX; i++)
                if (a->agents[i].place.pid)
                        kill(a->agents[i].place.pid, SIGKILL);
}

bool agents_are_idle(const struct agents *a)
{
        for (size_t i = 0; i < AGENTS_MAX; i++)
                if (a->agents[i].place.pid)
                        return false;
        return true;
}

int agents_init(struct agents *a, struct loop *l, const struct settings *settings,
                const struct place *keeper, bool is_privileged)
{
        int r = 0;

        *a = (struct agents) {.loop = l, .settings = settings, .keeper = keeper,
                              .is_privileged = is_privileged};
        list_init(&a->waiting);
        for (unsigned i = 0; r == 0 && i < AGENTS_MAX; i++) {
                a->agents[i].agents = a;
                place_init(&a->agents[i].place, PROCESS_AGENT, i, &a->agents[i]);
                r = timer_new(l, on_timeout, &a->agents[i], &a->agents[i].timeout);
        }
        return r;
}
