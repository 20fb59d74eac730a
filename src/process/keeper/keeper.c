#include "process/keeper/keeper.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "process/keeper/keeper_bounce.h"
#include "process/keeper/keeper_commit.h"
#include "process/keeper/keeper_control.h"
#include "process/keeper/keeper_expire.h"
#include "process/keeper/keeper_hosts.h"
#include "process/keeper/keeper_job.h"
#include "process/keeper/keeper_queue.h"
#include "process/keeper/keeper_retry.h"
#include "process/keeper/keeper_view.h"
#include "route/route.h"
#include "store/index.h"

/* How often it is looked at whether mail may come in: seldom where it may and the queue is
 * empty, since a commit that is refused has it looked at, too. */
enum { INTAKE_CHECK_MS = 2000, INTAKE_REST_MS = 5000 };

/* ---- peers ------------------------------------------------------------- */

static void edge_closed(struct channel *ch, void *arg, int reason)
{
        struct keeper_peer *peer = arg;

        (void) reason;
        peer->channel = NULL;
        keeper_forget_incoming(peer);
        channel_free(ch);
}

static void relay_closed(struct channel *ch, void *arg, int reason)
{
        struct keeper_peer *peer = arg;

        (void) reason;
        peer->channel = NULL;
        channel_free(ch);
        keeper_queue_relay_gone(peer);
}

static void relay_credit(struct channel *ch, void *arg)
{
        struct keeper_peer *peer = arg;

        (void) ch;
        keeper_queue_pump(peer->keeper);
}

static void worker_closed(struct channel *ch, void *arg, int reason)
{
        struct keeper_peer *peer = arg;

        (void) reason;
        peer->channel = NULL;
        channel_free(ch);
        keeper_bounce_worker_gone(peer);
}

static void access_closed(struct channel *ch, void *arg, int reason)
{
        struct keeper_peer *peer = arg;

        (void) reason;
        peer->channel = NULL;
        keeper_forget_incoming(peer);
        keeper_view_forget(peer);
        channel_free(ch);
}

static const struct channel_handler access_handler = {
        .on = {[IPC_body] = keeper_on_body, [IPC_drop] = keeper_on_drop,
               [IPC_lend] = keeper_on_lend, [IPC_view_open] = keeper_on_view_open,
               [IPC_view_close] = keeper_on_view_close,
               [IPC_folder_order] = keeper_on_folder_order,
               [IPC_change_order] = keeper_on_change_order,
               [IPC_append_order] = keeper_on_append_order,
               [IPC_blob_query] = keeper_on_blob_query,
               [IPC_place_query] = keeper_on_place_query,
               [IPC_segment_query] = keeper_on_segment_query},
        .credit = keeper_view_credit,
        .closed = access_closed,
};
static const struct channel_handler edge_handler = {
        .on = {[IPC_body] = keeper_on_body, [IPC_commit] = keeper_on_commit,
               [IPC_drop] = keeper_on_drop, [IPC_lend] = keeper_on_lend,
               [IPC_refused] = keeper_on_refused, [IPC_retry] = keeper_on_retry},
        .closed = edge_closed,
};
static const struct channel_handler relay_handler = {
        .on = {[IPC_outcome] = keeper_on_outcome},
        .credit = relay_credit,
        .closed = relay_closed,
};
static const struct channel_handler worker_handler = {
        .on = {[IPC_dsn_text] = keeper_on_dsn_text},
        .closed = worker_closed,
};

static void tell_intake(struct keeper *k, struct keeper_peer *edge)
{
        const struct span reason = k->intake_is_open
                                           ? SPAN_LITERAL("")
                                           : SPAN_LITERAL("the mail store takes no more mail now");

        if (edge->channel)
                CHANNEL_SEND(edge->channel, intake, -1, .is_open = k->intake_is_open,
                             .reason = reason);
}

/* A new channel to a process; what came over an older one ends first. */
static void connect_peer(struct keeper_peer *peer, const struct channel_handler *handler, int fd,
                         uint64_t generation)
{
        struct keeper *k = peer->keeper;

        if (peer->channel)
                handler->closed(peer->channel, peer, 0);
        peer->generation = generation;
        if (channel_new(k->process->loop, fd, handler, peer, &peer->channel) < 0) {
                log_event(LOG_ERROR, "channel_failed", LOG_U64("number", peer->number));
                peer->channel = NULL;
                close(fd);
        }
}

static void on_peer(struct process *p, enum process_kind kind, unsigned number, uint64_t generation,
                    int fd)
{
        struct keeper *k = p->role;

        if (kind == PROCESS_EDGE && number < KEEPER_EDGES_MAX) {
                connect_peer(&k->edges[number], &edge_handler, fd, generation);
                tell_intake(k, &k->edges[number]);
        } else if (kind == PROCESS_RELAY && number < KEEPER_RELAYS_MAX) {
                if (number >= k->relay_count)
                        k->relay_count = number + 1;
                connect_peer(&k->relays[number], &relay_handler, fd, generation);
                keeper_queue_pump(k);
        } else if (kind == PROCESS_WORKER && number < KEEPER_WORKERS_MAX) {
                if (number >= k->worker_count)
                        k->worker_count = number + 1;
                connect_peer(&k->workers[number], &worker_handler, fd, generation);
                keeper_bounce_worker_came(k);
        } else if (kind == PROCESS_ACCESS && number < KEEPER_ACCESSES_MAX) {
                connect_peer(&k->accesses[number], &access_handler, fd, generation);
        } else if (kind == PROCESS_RESOLVER) {
                keeper_hosts_connect(k, fd);
        } else {
                close(fd);
        }
}

/* ---- may mail come in? -------------------------------------------------- */

static void check_intake(void *arg)
{
        struct keeper *k = arg;
        const enum store_state state = store_state(k->store);
        const bool is_open = state == STORE_GOOD;

        if (is_open != k->intake_is_open) {
                k->intake_is_open = is_open;
                log_event(is_open ? LOG_NOTICE : LOG_ERROR,
                          is_open ? "intake_open" : "intake_closed",
                          LOG_TEXT("reason", state == STORE_FULL     ? "the disk is full"
                                             : state == STORE_FAILED ? "the store failed"
                                                                     : "the store is good"));
                for (unsigned i = 0; i < KEEPER_EDGES_MAX; i++)
                        tell_intake(k, &k->edges[i]);
        }
        keeper_expire_disk(k, state == STORE_FULL);
        queue_sweep(&k->queue, clock_now_us());
        timer_set(k->intake_timer, is_open && k->queue.destinations.count == 0 ? INTAKE_REST_MS
                                                                            : INTAKE_CHECK_MS);
}

bool keeper_store_refused(struct keeper *k, int result)
{
        if (result == -EIO && !k->has_said_failure && k->store &&
            store_state(k->store) == STORE_FAILED) {
                k->has_said_failure = true;
                log_event(LOG_ERROR, "store_failed", LOG_TEXT("reason", store_failure(k->store)),
                          LOG_TEXT("hint", "nothing more is accepted; what was acknowledged is "
                                           "kept: see to the disk, then restart"));
                timer_set(k->intake_timer, 0);
        } else if (result == -ENOSPC && k->intake_is_open) {
                timer_set(k->intake_timer, 0);
        }
        return result != -EIO && result != -ENOSPC && result != -ESHUTDOWN;
}

/* ---- life -------------------------------------------------------------- */

/* While the group file can still be read. */
static int prepare(struct process *p)
{
        struct keeper *k = calloc(1, sizeof *k);
        const struct group *g = getgrnam("hayauma");

        char error[256];

        if (!k || route_warm_up() < 0)
                return -ENOMEM;
        if (index_rocksdb_load(error) < 0) {
                log_event(LOG_ERROR, "index_not_loaded",
                          LOG_TEXT("reason", error));
                free(k);
                return -ELIBACC;
        }
        p->role = k;
        k->process = p;
        k->privileged_gid = g ? g->gr_gid : UINT64_MAX;
        k->ids.number = KEEPER_MAKER;
        list_init(&k->control_sessions);
        list_init(&k->free_commits);
        list_init(&k->free_jobs);
        list_init(&k->free_conclusions);
        list_init(&k->free_bodies);
        k->targets = BUFFER_INIT(IPC_PAYLOAD_MAX);
        k->plain_next_hop = BUFFER_INIT(IPC_PAYLOAD_MAX);
        k->record = BUFFER_INIT(IPC_RECORD_MAX);
        for (unsigned i = 0; i < KEEPER_EDGES_MAX; i++)
                k->edges[i] = (struct keeper_peer) {.keeper = k, .number = i};
        for (unsigned i = 0; i < KEEPER_RELAYS_MAX; i++)
                k->relays[i] = (struct keeper_peer) {.keeper = k, .number = i};
        for (unsigned i = 0; i < KEEPER_WORKERS_MAX; i++)
                k->workers[i] = (struct keeper_peer) {.keeper = k, .number = i};
        for (unsigned i = 0; i < KEEPER_ACCESSES_MAX; i++) {
                k->accesses[i] = (struct keeper_peer) {.keeper = k, .number = i};
                list_init(&k->accesses[i].starved);
        }
        return 0;
}

static int start(struct process *p)
{
        struct keeper *k = p->role;
        char index_path[4096], error[256];
        const struct store_options options = {
                .trace_size_max = p->config->trace_size,
                .trace_days = (unsigned) p->config->trace_days,
                .directory_fd = p->state_fd,
                .index_path = index_path,
        };
        int r;

        snprintf(index_path, sizeof index_path, "%s/index", p->state_path);
        r = store_open("local:", &options, p->loop, &k->store, error);
        if (r < 0) {
                log_event(LOG_ERROR, "store_not_opened", LOG_TEXT("reason", error));
                return r;
        }
        k->shard = partition_of(PARTITION_QUEUE, SPAN_LITERAL("0"));
        k->started_us = clock_now_us();
        r = mailboxes_new(k->store, &k->mailboxes);
        if (r == 0)
                r = keeper_hosts_start(k);
        if (r == 0)
                r = keeper_queue_start(k);
        if (r == 0)
                r = keeper_expire_start(k);
        if (r == 0)
                r = timer_new(p->loop, check_intake, k, &k->intake_timer);
        if (r < 0)
                return r;
        k->intake_is_open = store_state(k->store) == STORE_GOOD;
        timer_set(k->intake_timer, INTAKE_CHECK_MS);
        return 0;
}

static void on_listener(struct process *p, const struct config_listen *listen, int fd)
{
        struct keeper *k = p->role;

        if (listen->protocol != LISTEN_CONTROL || keeper_control_listen(k, fd) < 0)
                close(fd);
}

static void on_reloaded(struct process *p)
{
        struct keeper *k = p->role;
        const struct config *c = p->config;

        k->retry = (struct retry_times) {c->queue.retry_min_ms, c->queue.retry_max_ms};
        k->queue.concurrency_max = c->queue.concurrency_per_destination;
        k->queue.block_min_us = c->queue.retry_min_ms * 1000;
        k->queue.block_max_us = c->queue.retry_max_ms * 1000;
        keeper_hosts_reload(k);
        keeper_expire_reload(k);
}

/* Edges have ended before us and relays are asked to end with us: whatever is
 * still under way lies in the store. */
static void on_stop(struct process *p, uint64_t drain_ms)
{
        struct keeper *k = p->role;

        (void) drain_ms;
        keeper_control_stop(k);
        keeper_expire_stop(k);
        k->is_stopping = true;
        k->store = store_close(k->store); /* what was committed becomes durable and is answered */
        for (unsigned i = 0; i < KEEPER_EDGES_MAX; i++)
                if (k->edges[i].channel)
                        channel_flush(k->edges[i].channel, 1000);
        for (unsigned i = 0; i < KEEPER_ACCESSES_MAX; i++)
                if (k->accesses[i].channel)
                        channel_flush(k->accesses[i].channel, 1000);
        process_end(p);
}

static void add_metric(struct buffer *items, struct ipc_items *ret, const char *name,
                       uint64_t value)
{
        ipc_add_metric(items, ret, &(struct ipc_metric) {span_from_string(name), value});
}

static void status(struct process *p, struct buffer *items, struct ipc_items *ret)
{
        const struct keeper *k = p->role;
        struct store_metrics m;

        store_get_metrics(k->store, &m);
        add_metric(items, ret, "accepted", k->count.accepted);
        add_metric(items, ret, "recipients_local", k->count.recipients_local);
        add_metric(items, ret, "entries_queued", k->count.recipients_queued);
        add_metric(items, ret, "relayed", k->count.relayed);
        add_metric(items, ret, "deferred", k->count.deferred);
        add_metric(items, ret, "failed", k->count.failed);
        add_metric(items, ret, "bounces", k->count.bounces);
        add_metric(items, ret, "commits_failed", k->count.commits_failed);
        add_metric(items, ret, "queue_active", k->queue.active_count);
        add_metric(items, ret, "queue_rows_read", k->count.queue_rows_read);
        add_metric(items, ret, "intake_open", k->intake_is_open);
        add_metric(items, ret, "store_groups", m.groups);
        add_metric(items, ret, "store_commits", m.commits);
        add_metric(items, ret, "store_octets_written", m.octets_written);
        add_metric(items, ret, "store_sync_us_max", m.sync_us_max);
        add_metric(items, ret, "store_log_bytes", m.log_bytes);
        add_metric(items, ret, "store_free_disk_bytes", m.free_disk_bytes);
}

/* An agent's, which the supervisor passes on. */
static void outcome(struct process *p, const union ipc_message *m)
{
        struct keeper *k = p->role;
        int fd = -1;

        k->agents.keeper = k;
        keeper_on_outcome(p->supervisor, &k->agents, m, &fd);
}

const struct process_role keeper_role = {
        .kind = PROCESS_KEEPER,
        .prepare = prepare,
        .start = start,
        .listener = on_listener,
        .peer = on_peer,
        .reloaded = on_reloaded,
        .stop = on_stop,
        .status = status,
        .outcome = outcome,
};
