/* The edge process: everyone not yet trusted speaks to it. */
#include "process/edge/edge.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "message/digest.h"
#include "process/control_access.h"
#include "process/edge/edge_dnsbl.h"
#include "process/edge/edge_front.h"
#include "process/edge/edge_listener.h"
#include "process/edge/edge_local.h"
#include "process/edge/edge_session.h"
#include "process/edge/edge_transaction.h"
#include "process/meters_area.h"
#include "route/route.h"

enum {
        SCRATCH_MAX = 4 * 1024 * 1024, /* a thousand routes behind one alias */
        TEXT_MAX = 16 * 1024,
};

/* Where the shared meters are mapped: before confinement, so before there is a
 * role to keep it in. */
static void *shared_meters;
static size_t shared_meters_size;

static int prepare(struct process *p)
{
        int r = route_warm_up();

        control_access_init();
        if (r == 0)
                r = edge_local_load();
        if (r == 0 && p->meters_fd > 0) {
                r = meters_area_map(p->meters_fd, &shared_meters, &shared_meters_size);
                close(p->meters_fd);
                p->meters_fd = -1;
        }
        return r;
}

static void listeners_rested(void *arg)
{
        edge_listener_balance(arg);
}

static void cool(void *arg)
{
        edge_session_cool(arg);
}

static void drained(void *arg)
{
        struct edge *e = arg;

        log_event(LOG_WARNING, "sessions_cut_off", LOG_U64("sessions", e->session_count));
        process_end(e->process);
}

static int open_meters(struct edge *e)
{
        const size_t size = meters_size(METERS_CLIENTS);

        if (shared_meters)
                return meters_attach(&e->meters, shared_meters, shared_meters_size,
                                     e->process->number);
        e->meters_area = calloc(1, size);
        if (!e->meters_area)
                return -ENOMEM;
        meters_format(e->meters_area, size, hash_seed());
        return meters_attach(&e->meters, e->meters_area, size, e->process->number);
}

static int start(struct process *p)
{
        struct edge *e = calloc(1, sizeof *e);
        int r;

        if (!e)
                return -ENOMEM;
        e->process = p;
        e->ids.number = (uint8_t) (p->number % ID_MAKERS);
        e->scratch = ARENA_INIT(SCRATCH_MAX);
        e->text = BUFFER_INIT(TEXT_MAX);
        e->digest = BUFFER_INIT(DIGEST_STORED_MAX);
        list_init(&e->listeners);
        list_init(&e->fronts);
        list_init(&e->sessions);
        list_init(&e->starved);
        list_init(&e->warm);
        list_init(&e->spare);
        list_init(&e->dnsbls);
        p->role = e;
        edge_login_init(&e->directory, e);
        edge_reading_init(&e->readings, e);
        edge_dns_init(&e->dns, e);
        edge_probe_init(&e->probe, e);
        r = open_meters(e);
        if (r == 0)
                r = edge_keeper_init(&e->keeper, e);
        if (r == 0)
                r = edge_admission_init(&e->admission, e);
        if (r == 0)
                r = timer_new(p->loop, listeners_rested, e, &e->listeners_timer);
        if (r == 0)
                r = timer_new(p->loop, cool, e, &e->cooling);
        if (r == 0)
                r = timer_new(p->loop, drained, e, &e->drain);
        return r;
}

void edge_free(struct edge *e)
{
        if (!e)
                return;
        edge_listener_close_all(e);
        edge_front_close_all(e);
        while (!list_is_empty(&e->sessions))
                edge_session_free(LIST_OBJECT(e->sessions.next, struct edge_session, node));
        edge_dnsbl_free_all(e);
        edge_probe_done(&e->probe);
        edge_dns_done(&e->dns);
        edge_reading_done(&e->readings);
        edge_keeper_done(&e->keeper);
        edge_admission_done(&e->admission);
        edge_login_done(&e->directory);
        edge_transaction_free_spares(e);
        timer_free(e->listeners_timer);
        timer_free(e->cooling);
        timer_free(e->drain);
        arena_done(&e->scratch);
        buffer_done(&e->text);
        buffer_done(&e->digest);
        free(e->meters_area);
        free(e);
}

static bool speaks_smtp(enum listen_protocol protocol)
{
        return protocol == LISTEN_SMTP || protocol == LISTEN_SUBMISSION ||
               protocol == LISTEN_SUBMISSIONS || protocol == LISTEN_LMTP ||
               protocol == LISTEN_LOCAL;
}

static void listener(struct process *p, const struct config_listen *listen, int fd)
{
        struct edge *e = p->role;

        if (e->is_stopping ||
            !(speaks_smtp(listen->protocol) || edge_reading_is_reading(listen->protocol))) {
                close(fd);
                return;
        }
        edge_listener_add(e, listen, fd);
}

static void peer(struct process *p, enum process_kind kind, unsigned number, uint64_t generation,
                 int fd)
{
        struct edge *e = p->role;

        if (kind == PROCESS_KEEPER && number == 0)
                edge_keeper_peer(&e->keeper, generation, fd);
        else if (kind == PROCESS_DIRECTORY)
                edge_login_peer(&e->directory, fd);
        else if (kind == PROCESS_ACCESS)
                edge_reading_peer(&e->readings, number, fd);
        else if (kind == PROCESS_RESOLVER)
                edge_dns_peer(&e->dns, fd);
        else if (kind == PROCESS_RELAY)
                edge_probe_peer(&e->probe, number, fd);
        else
                close(fd);
}

/* Sessions and transactions point into nothing that is replaced. */
static void reloaded(struct process *p)
{
        struct edge *e = p->role;

        edge_listener_drop_old(e);
}

static void stop(struct process *p, uint64_t drain_ms)
{
        struct edge *e = p->role;

        e->is_stopping = true;
        edge_listener_close_all(e);
        edge_front_close_all(e);
        timer_set(e->drain, drain_ms);
        LIST_FOR_EACH(node, &e->sessions)
                edge_session_shut(LIST_OBJECT(node, struct edge_session, node));
        LIST_FOR_EACH(node, &e->readings.all)
                edge_reading_shut(LIST_OBJECT(node, struct edge_reading, node));
        if (e->session_count == 0)
                process_end(p);
}

void edge_session_ended(struct edge *e)
{
        if (e->is_stopping && e->session_count == 0)
                process_end(e->process);
}

static void status(struct process *p, struct buffer *items, struct ipc_items *ret)
{
        const struct edge *e = p->role;
        const int64_t ends_at = p->tls ? tls_context_ends_at(p->tls) : 0;
        const int64_t left_s = ends_at - (int64_t) (clock_now_us() / 1000000);
        const struct {
                const char *name;
                uint64_t value;
        } rows[] = {
                {"certificates", p->tls != NULL},
                {"certificate_days_left", left_s > 0 ? (uint64_t) left_s / 86400 : 0},
                {"sessions", e->session_count},
                {"connections", e->counters.connections},
                {"handed_over", e->readings.handed_over},
                {"connections_refused", e->counters.connections_refused},
                {"sessions_refused", e->counters.sessions_refused},
                {"fields_struck", e->counters.fields_struck},
                {"messages", e->counters.messages},
                {"messages_refused", e->counters.messages_refused},
                {"recipients_accepted", e->counters.recipients_accepted},
                {"recipients_refused", e->counters.recipients_refused},
                {"refusals_unrecorded", e->counters.refusals_unrecorded},
                {"octets", e->counters.octets},
                {"digests_made", e->counters.digests},
                {"bodies_held", e->bodies_held},
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                const struct ipc_metric metric = {
                        .name = span_from_string(rows[i].name),
                        .value = rows[i].value,
                };

                (void) ipc_add_metric(items, ret, &metric); /* full: it is left out */
        }
        edge_dnsbl_status(e, items, ret);
        edge_probe_status(&e->probe, items, ret);
}

static void limited(struct process *p, struct buffer *items, struct ipc_items *ret)
{
        const struct edge *e = p->role;

        edge_limited_status(&e->limited, items, ret);
}

static int table(struct process *p, const struct ipc_table *m, int fd)
{
        int r;

        (void) p;
        if (m->table != SNAPSHOT_LOCAL_NAMES)
                return -EPROTO;
        r = edge_local_read(fd);
        if (r < 0) /* those known before stay known */
                log_event(LOG_WARNING, "local_names_not_read", LOG_ERRNO("error", r));
        close(fd);
        return 0;
}

const struct process_role edge_role = {
        .kind = PROCESS_EDGE,
        .table = table,
        .prepare = prepare,
        .start = start,
        .listener = listener,
        .peer = peer,
        .reloaded = reloaded,
        .stop = stop,
        .status = status,
        .limited = limited,
};
