#include "process/relay/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "process/relay/relay_connection.h"
#include "process/relay/relay_own.h"
#include "process/relay/relay_probe.h"
#include "process/relay/relay_socket.h"

/* One relay a process; it lives until the process ends. */
static struct tls_context *client_tls;

static int prepare(struct process *p)
{
        char error[TLS_ERROR_MAX];
        int r = tls_warm_up();

        (void) p;
        if (r < 0) {
                log_event(LOG_ERROR, "tls_not_ready", LOG_ERRNO("error", r));
                return r;
        }
        r = relay_own_init();
        if (r < 0)
                log_event(LOG_WARNING, "interfaces_unknown", LOG_ERRNO("error", r));
        r = tls_context_new_client((struct span) {NULL, 0}, &client_tls, error);
        if (r < 0)
                log_event(LOG_ERROR, "tls_not_ready", LOG_TEXT("reason", error));
        return r;
}

static int set_hostname(struct relay *r)
{
        struct span name = r->process->config->hostname;
        char *copy = strndup(name.len ? name.p : "localhost", name.len ? name.len : 9);

        if (!copy)
                return -ENOMEM;
        /* Sessions under way still say the old one. It is a few octets. */
        r->hostname = copy;
        return 0;
}

static void release(struct table_node *n, void *arg)
{
        (void) arg;
        relay_destination_release(TABLE_OBJECT(n, struct relay_destination, by_text));
}

/* Destinations that outlived their connections for what is known of them. */
static void sweep(void *arg)
{
        struct relay *r = arg;

        table_visit(&r->destinations, release, NULL);
        relay_job_trim(r);
        buffer_done(&r->output);
        timer_set(r->sweep, RELAY_PLAIN_MS);
}

void relay_push_outcomes(struct relay *r)
{
        if (r->keeper && r->outcomes_waiting)
                channel_push(r->keeper);
        r->outcomes_waiting = 0;
        timer_stop(r->push);
}

static void on_push(void *arg)
{
        relay_push_outcomes(arg);
}

static int make_timers(struct relay *r)
{
        const int s = timer_new(r->loop, sweep, r, &r->sweep);

        return s < 0 ? s : timer_new(r->loop, on_push, r, &r->push);
}

static int start(struct process *p)
{
        struct relay *r = calloc(1, sizeof *r);

        if (!r)
                return -ENOMEM;
        r->process = p;
        r->loop = p->loop;
        r->tls = client_tls;
        r->login_hosts = BUFFER_INIT(IPC_PAYLOAD_MAX);
        list_init(&r->jobs);
        list_init(&r->probers);
        list_init(&r->spare_jobs);
        list_init(&r->spare_parts);
        r->output = BUFFER_INIT(SIZE_MAX);
        r->file_buffer = malloc(RELAY_FILE_STEP);
        if (!r->file_buffer || set_hostname(r) < 0 || make_timers(r) < 0) {
                timer_free(r->sweep);
                free(r->hostname);
                free(r->file_buffer);
                free(r);
                return -ENOMEM;
        }
        timer_set(r->sweep, RELAY_PLAIN_MS);
        p->role = r;
        return 0;
}

/* Whose outcomes nobody waits for any more: a new keeper reads its queue and
 * sends them again. What is past the final dot cannot be called back. */
static void drop_jobs(struct relay *r)
{
        while (!list_is_empty(&r->jobs)) {
                struct relay_job *j = LIST_OBJECT(r->jobs.next, struct relay_job, in_relay);

                if (j->connection) {
                        relay_connection_drop(j->connection);
                } else {
                        relay_destination_forget(j);
                        relay_job_drop(j);
                }
        }
}

static void keeper_closed(struct channel *ch, void *arg, int reason)
{
        struct relay *r = arg;

        (void) reason;
        log_event(LOG_WARNING, "keeper_gone", LOG_U64("jobs", r->job_count));
        r->keeper = NULL; /* no credit, no outcomes */
        drop_jobs(r);
        channel_free(ch);
}

static void resolver_closed(struct channel *ch, void *arg, int reason)
{
        struct relay *r = arg;

        (void) reason;
        r->resolver = NULL;
        relay_destinations_resolver_gone(r);
        channel_free(ch);
}

static const struct channel_handler keeper_handler = {
        .on = {
                [IPC_job] = relay_on_job,
                [IPC_body] = relay_on_body,
                [IPC_job_cancel] = relay_on_job_cancel,
        },
        .closed = keeper_closed,
};

static const struct channel_handler resolver_handler = {
        .on = {[IPC_mx_answer] = relay_on_mx_answer},
        .closed = resolver_closed,
};

static void peer(struct process *p, enum process_kind kind, unsigned number, uint64_t generation,
                 int fd)
{
        struct relay *r = p->role;
        int s = 0;

        (void) generation;
        if (kind == PROCESS_EDGE) {
                relay_probe_peer(r, number, fd);
        } else if (kind == PROCESS_KEEPER) {
                if (r->keeper)
                        keeper_closed(r->keeper, r, 0);
                s = channel_new(r->loop, fd, &keeper_handler, r, &r->keeper);
        } else if (kind == PROCESS_RESOLVER) {
                if (r->resolver)
                        resolver_closed(r->resolver, r, 0);
                s = channel_new(r->loop, fd, &resolver_handler, r, &r->resolver);
        } else if (kind == PROCESS_DIRECTORY) {
                relay_login_peer(r, fd);
        } else {
                close(fd);
        }
        if (s < 0) {
                log_event(LOG_ERROR, "channel_not_opened", LOG_ERRNO("error", s));
                close(fd);
        }
}

static void reloaded(struct process *p)
{
        set_hostname(p->role);
        relay_destinations_reload(p->role);
}

static void drained(void *arg)
{
        struct relay *r = arg;

        log_event(LOG_NOTICE, "jobs_abandoned", LOG_U64("jobs", r->job_count));
        relay_push_outcomes(r);
        process_end(r->process);
}

void relay_job_ended(struct relay *r)
{
        if (r->job_count > 0)
                return; /* it will not be long until the next */
        relay_push_outcomes(r);
        if (r->is_stopping)
                process_end(r->process);
}

static void stop(struct process *p, uint64_t drain_ms)
{
        struct relay *r = p->role;

        r->is_stopping = true;
        relay_destinations_quit(r);
        if (r->job_count == 0 || timer_new(r->loop, drained, r, &r->drain) < 0)
                process_end(p);
        else
                timer_set(r->drain, drain_ms);
}

static void add_metric(struct buffer *items, struct ipc_items *ret, const char *name,
                       uint64_t value)
{
        ipc_add_metric(items, ret,
                       &(struct ipc_metric) {.name = span_from_string(name), .value = value});
}

static void status(struct process *p, struct buffer *items, struct ipc_items *ret)
{
        const struct relay *r = p->role;

        add_metric(items, ret, "jobs", r->job_count);
        add_metric(items, ret, "connections", r->connection_count);
        add_metric(items, ret, "connections_idle", r->idle_count);
        add_metric(items, ret, "connections_made", r->connections_made);
        add_metric(items, ret, "recipients_delivered", r->delivered);
        add_metric(items, ret, "recipients_refused", r->refused);
        add_metric(items, ret, "recipients_failed", r->failed);
}

const struct process_role relay_role = {
        .kind = PROCESS_RELAY,
        .prepare = prepare,
        .start = start,
        .peer = peer,
        .reloaded = reloaded,
        .socket = relay_socket_answer,
        .stop = stop,
        .status = status,
};
