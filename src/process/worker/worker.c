/* The role of the worker process: orders of the keeper in, texts out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "process/process.h"
#include "process/worker/notification.h"

struct worker {
        struct process *process;
        struct channel *keeper; /* NULL: there is none now */
        struct buffer text;     /* of the notification being made; its memory is kept */
        uint64_t notifications, failures;
};

static void on_dsn_order(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct worker *w = arg;
        const struct config *c = w->process->config;
        int r = notification_format(&m->dsn_order, c->hostname,
                                    c->queue.notices_in_japanese ? STATUS_JAPANESE
                                                                 : STATUS_ENGLISH,
                                    clock_now_us(), &w->text);

        (void) fd;
        if (r == 0)
                r = CHANNEL_SEND(ch, dsn_text, -1, .order = m->dsn_order.order,
                                 .flags = notification_flags(&m->dsn_order,
                                                             buffer_span(&w->text)),
                                 .octets = buffer_span(&w->text));
        if (r < 0) {
                w->failures++;
                log_event(LOG_ERROR, "notification_failed", LOG_U64("order", m->dsn_order.order),
                          LOG_ERRNO("error", r));
                return;
        }
        w->notifications++;
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct worker *w = arg;

        (void) reason;
        w->keeper = channel_free(ch);
}

static const struct channel_handler keeper_handler = {
        .on = {[IPC_dsn_order] = on_dsn_order},
        .closed = on_closed,
};

/* ---- the role ---- */

static int worker_start(struct process *p)
{
        struct worker *w = calloc(1, sizeof *w);

        if (!w)
                return -ENOMEM;
        w->process = p;
        w->text = BUFFER_INIT(NOTIFICATION_SIZE_MAX);
        p->role = w;
        return 0;
}

static void worker_peer(struct process *p, enum process_kind kind, unsigned number,
                        uint64_t generation, int fd)
{
        struct worker *w = p->role;

        (void) number;
        (void) generation;
        if (kind != PROCESS_KEEPER) { /* nobody else orders here */
                close(fd);
                return;
        }
        channel_free(w->keeper);
        w->keeper = NULL;
        if (channel_new(p->loop, fd, &keeper_handler, w, &w->keeper) < 0) {
                log_event(LOG_ERROR, "no_channel", LOG_TEXT("peer", process_kind_name(kind)));
                close(fd);
        }
}

static void add_metric(struct buffer *b, struct ipc_items *items, const char *name, uint64_t value)
{
        const struct ipc_metric metric = {.name = span_from_string(name), .value = value};

        (void) ipc_add_metric(b, items, &metric); /* full: this one is left out */
}

static void worker_status(struct process *p, struct buffer *b, struct ipc_items *items)
{
        const struct worker *w = p->role;

        add_metric(b, items, "notifications", w->notifications);
        add_metric(b, items, "failures", w->failures);
}

const struct process_role worker_role = {
        .kind = PROCESS_WORKER,
        .start = worker_start,
        .peer = worker_peer,
        .status = worker_status,
};
