/* The role of the directory process: keeps the channels of its peers. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "process/process.h"

struct asker {
        struct list_node node;
        struct directory *directory;
        enum process_kind kind;
        unsigned number;
        struct channel *channel;
};

struct directory {
        struct list_node askers;
        uint64_t count;
};

static void asker_free(struct asker *a)
{
        a->directory->count--;
        list_remove(&a->node);
        channel_free(a->channel);
        free(a);
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        (void) ch;
        (void) reason;
        asker_free(arg);
}

static const struct channel_handler asker_handler = {.closed = on_closed};

static int directory_start(struct process *p)
{
        struct directory *d = calloc(1, sizeof *d);

        if (!d)
                return -ENOMEM;
        list_init(&d->askers);
        p->role = d;
        return 0;
}

static void directory_peer(struct process *p, enum process_kind kind, unsigned number,
                           uint64_t generation, int fd)
{
        struct directory *d = p->role;
        struct asker *a;

        (void) generation;
        LIST_FOR_EACH(node, &d->askers) {
                struct asker *old = LIST_OBJECT(node, struct asker, node);

                if (old->kind == kind && old->number == number)
                        asker_free(old);
        }
        a = calloc(1, sizeof *a);
        if (!a || channel_new(p->loop, fd, &asker_handler, a, &a->channel) < 0) {
                log_event(LOG_ERROR, "no_channel", LOG_TEXT("peer", process_kind_name(kind)));
                close(fd);
                free(a);
                return;
        }
        a->directory = d;
        a->kind = kind;
        a->number = number;
        list_append(&d->askers, &a->node);
        d->count++;
}

static void directory_status(struct process *p, struct buffer *b, struct ipc_items *items)
{
        const struct directory *d = p->role;
        const struct ipc_metric peers = {.name = SPAN("peers"), .value = d->count};

        (void) ipc_add_metric(b, items, &peers); /* full: it is left out */
}

const struct process_role directory_role = {
        .kind = PROCESS_DIRECTORY,
        .start = directory_start,
        .peer = directory_peer,
        .status = directory_status,
};
