/* The access process: who has logged in reads mail here. */
#include "process/access/access.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "process/access/access_session.h"
#include "process/access/access_view.h"

/* Ids of appended messages: the upper half of the makers, edges have the lower
 * one, the last is the keeper's. */
enum { MAKER_FIRST = ID_MAKERS / 2, MAKERS = ID_MAKERS / 2 - 1 };

/* ---- accounts -------------------------------------------------------------------- */

struct span access_account_name(const struct access_account *account)
{
        return span_make(account->name, account->name_len);
}

struct access_account *access_account_get(struct access *a, struct span name)
{
        const uint64_t hash = hash_span(name, hash_seed());
        struct access_account *account;

        for (struct table_node *n = table_first(&a->accounts, hash); n; n = table_next(n)) {
                account = TABLE_OBJECT(n, struct access_account, by_name);
                if (span_equal(access_account_name(account), name))
                        return account;
        }
        account = calloc(1, sizeof *account + name.len + 1);
        if (!account)
                return NULL;
        account->access = a;
        account->name_len = name.len;
        memcpy(account->name, name.p ? name.p : "", name.len);
        list_init(&account->views);
        if (table_add(&a->accounts, &account->by_name, hash) < 0) {
                free(account);
                return NULL;
        }
        return account;
}

void access_account_settle(struct access_account *account)
{
        if (account->session_count || account->view_count)
                return;
        table_remove(&account->access->accounts, &account->by_name);
        free(account);
}

/* ---- peers ------------------------------------------------------------------------ */

static void on_handover(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct access_edge *edge = arg;

        (void) ch;
        if (*fd >= 0 && !edge->access->is_stopping && m->handover.account.len)
                access_session_new(edge->access, &m->handover, fd);
}

static void edge_closed(struct channel *ch, void *arg, int reason)
{
        struct access_edge *edge = arg;

        (void) reason;
        edge->channel = NULL;
        channel_free(ch);
}

static const struct channel_handler edge_handler = {
        .on = {[IPC_handover] = on_handover},
        .closed = edge_closed,
};

static void peer(struct process *p, enum process_kind kind, unsigned number, uint64_t generation,
                 int fd)
{
        struct access *a = p->role;

        (void) generation;
        if (kind == PROCESS_KEEPER && number == 0) {
                access_keeper_peer(&a->keeper, fd);
        } else if (kind == PROCESS_EDGE && number < ACCESS_EDGES_MAX) {
                struct access_edge *edge = &a->edges[number];

                edge->channel = channel_free(edge->channel);
                if (channel_new(p->loop, fd, &edge_handler, edge, &edge->channel) < 0)
                        close(fd);
        } else {
                close(fd);
        }
}

/* ---- life ------------------------------------------------------------------------- */

static void cool(void *arg)
{
        access_session_cool(arg);
}

static void drained(void *arg)
{
        struct access *a = arg;

        log_event(LOG_INFO, "sessions_cut_off", LOG_U64("sessions", a->session_count));
        process_end(a->process);
}

static int start(struct process *p)
{
        struct access *a = calloc(1, sizeof *a);
        int r;

        if (!a)
                return -ENOMEM;
        p->role = a;
        a->process = p;
        a->ids.number = (uint8_t) (MAKER_FIRST + p->number % MAKERS);
        for (unsigned i = 0; i < ACCESS_EDGES_MAX; i++)
                a->edges[i] = (struct access_edge) {.access = a, .number = i};
        list_init(&a->sessions);
        list_init(&a->warm);
        list_init(&a->idle_views);
        access_digests_init(&a->digests);
        access_keeper_init(&a->keeper, a);
        r = timer_new(p->loop, cool, a, &a->cooling);
        if (r == 0)
                r = access_segments_init(a);
        if (r == 0)
                r = timer_new(p->loop, drained, a, &a->drain);
        return r;
}

void access_session_ended(struct access *a)
{
        if (a->is_stopping && a->session_count == 0)
                process_end(a->process);
}

/* Sessions read the configuration when they begin. */
static void reloaded(struct process *p)
{
        (void) p;
}

static void stop(struct process *p, uint64_t drain_ms)
{
        struct access *a = p->role;
        struct list_node all;

        a->is_stopping = true;
        timer_set(a->drain, drain_ms);
        if (a->session_count == 0) {
                process_end(p);
                return;
        }
        list_init(&all);
        while (!list_is_empty(&a->sessions))
                list_append(&all, list_take_first(&a->sessions));
        while (!list_is_empty(&all)) {
                struct list_node *node = list_take_first(&all);

                list_append(&a->sessions, node);
                access_session_shut(LIST_OBJECT(node, struct access_session, node),
                                    "The server is going down");
        }
}

static void status(struct process *p, struct buffer *items, struct ipc_items *ret)
{
        const struct access *a = p->role;
        const struct {
                const char *name;
                uint64_t value;
        } rows[] = {
                {"sessions", a->session_count},
                {"handed_over", a->counters.handed_over},
                {"refused", a->counters.refused},
                {"accounts", a->accounts.count},
                {"views", a->views.count},
                {"view_changes", a->counters.view_changes},
                {"views_lost", a->counters.views_lost},
                {"bodies", a->counters.bodies},
                {"bodies_read", a->counters.bodies_read},
                {"segments_open", a->segments.count},
                {"body_octets", a->counters.body_octets},
                {"body_bytes_held", a->body_bytes},
                {"digests_found", a->digests.hits},
                {"digests_read", a->counters.digests},
                {"digests_made", a->digests.made},
                {"digest_bytes_held", a->digests.bytes},
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
                (void) ipc_add_metric(items, ret, &(const struct ipc_metric) {
                        .name = span_from_string(rows[i].name), .value = rows[i].value});
}

const struct process_role access_role = {
        .kind = PROCESS_ACCESS,
        .start = start,
        .peer = peer,
        .reloaded = reloaded,
        .stop = stop,
        .status = status,
};
