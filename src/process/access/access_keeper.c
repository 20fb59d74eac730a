#include "process/access/access_keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "process/access/access.h"
#include "process/access/access_session.h"
#include "process/access/access_view.h"

struct access_order {
        struct table_node by_number;
        uint64_t number;
        access_answer_fn *answer; /* NULL: nobody wants it */
        void *arg;
        struct access_order *next_failing;
};

static struct access_order *find(const struct access_keeper *k, uint64_t number)
{
        struct table_node *n = table_first(&k->orders, number);

        return n ? TABLE_OBJECT(n, struct access_order, by_number) : NULL;
}

/* The last word about an order. */
static void end_order(struct access_keeper *k, uint64_t number, unsigned type,
                      const union ipc_message *m, int *fd)
{
        struct access_order *o = find(k, number);
        access_answer_fn *answer;
        void *arg;

        if (!o)
                return;
        table_remove(&k->orders, &o->by_number);
        answer = o->answer;
        arg = o->arg;
        free(o);
        if (answer)
                answer(arg, type, m, fd);
}

static void on_folder_rows(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct access_order *o = find(arg, m->folder_rows.order);

        (void) ch;
        if (o && o->answer)
                o->answer(o->arg, IPC_folder_rows, m, fd);
}

static void on_folder_done(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch;
        end_order(arg, m->folder_done.order, IPC_folder_done, m, fd);
}

static void on_change_done(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch;
        end_order(arg, m->change_done.order, IPC_change_done, m, fd);
}

static void on_blob_octets(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch;
        end_order(arg, m->blob_octets.query, IPC_blob_octets, m, fd);
}

static void on_places(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch;
        end_order(arg, m->places.query, IPC_places, m, fd);
}

static void on_segment_file(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch;
        end_order(arg, m->segment_file.query, IPC_segment_file, m, fd);
}

static void on_lent(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch;
        end_order(arg, m->lent.message_id, IPC_lent, m, fd);
}

static void on_view_head(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct access_keeper *k = arg;

        (void) ch;
        (void) fd;
        access_view_on_head(k->access, &m->view_head);
}

static void on_view_expunged(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct access_keeper *k = arg;

        (void) ch;
        (void) fd;
        access_view_on_expunged(k->access, &m->view_expunged);
}

static void on_view_page(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct access_keeper *k = arg;

        (void) ch;
        (void) fd;
        access_view_on_page(k->access, &m->view_page);
}

static void on_view_change(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct access_keeper *k = arg;

        (void) ch;
        (void) fd;
        access_view_on_change(k->access, &m->view_change);
}

static void on_view_gone(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct access_keeper *k = arg;

        (void) ch;
        (void) fd;
        access_view_on_gone(k->access, &m->view_gone);
}

static void on_credit(struct channel *ch, void *arg)
{
        struct access_keeper *k = arg;

        while (!list_is_empty(&k->starved) && channel_has_credit(ch))
                access_session_fed(LIST_OBJECT(list_take_first(&k->starved),
                                               struct access_session, starved));
}

struct failing {
        struct access_order *first;
};

static void collect(struct table_node *node, void *arg)
{
        struct failing *f = arg;
        struct access_order *o = TABLE_OBJECT(node, struct access_order, by_number);

        o->next_failing = f->first;
        f->first = o;
}

/* Answers may give new orders, which fail at once, and forget others: so first
 * all are out of the table, then each is told. */
static void fail_all(struct access_keeper *k)
{
        struct failing f = {NULL};

        table_visit(&k->orders, collect, &f);
        table_done(&k->orders);
        k->failing = f.first;
        while (k->failing) {
                struct access_order *o = k->failing;
                int none = -1;

                k->failing = o->next_failing;
                if (o->answer)
                        o->answer(o->arg, 0, NULL, &none);
                free(o);
        }
}

static void on_closed(struct channel *ch, void *arg, int reason);

static const struct channel_handler handler = {
        .on = {
                [IPC_folder_rows] = on_folder_rows, [IPC_folder_done] = on_folder_done,
                [IPC_change_done] = on_change_done, [IPC_blob_octets] = on_blob_octets,
                [IPC_places] = on_places,           [IPC_segment_file] = on_segment_file,
                [IPC_lent] = on_lent,               [IPC_view_head] = on_view_head,
                [IPC_view_expunged] = on_view_expunged,
                [IPC_view_page] = on_view_page,     [IPC_view_change] = on_view_change,
                [IPC_view_gone] = on_view_gone,
        },
        .credit = on_credit,
        .closed = on_closed,
};

static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct access_keeper *k = arg;

        (void) ch;
        log_event(LOG_WARNING, "keeper_gone", LOG_ERRNO("reason", reason));
        k->channel = channel_free(k->channel);
        fail_all(k);
        while (!list_is_empty(&k->starved))
                access_session_fed(LIST_OBJECT(list_take_first(&k->starved),
                                               struct access_session, starved));
}

void access_keeper_init(struct access_keeper *k, struct access *a)
{
        *k = (struct access_keeper) {.access = a};
        list_init(&k->starved);
}

void access_keeper_peer(struct access_keeper *k, int fd)
{
        int r;

        if (k->channel)
                on_closed(k->channel, k, 0);
        r = channel_new(k->access->process->loop, fd, &handler, k, &k->channel);
        if (r < 0) {
                log_event(LOG_ERROR, "keeper_not_reached", LOG_ERRNO("error", r));
                close(fd);
                k->channel = NULL;
                return;
        }
        access_view_reopen_all(k->access);
}

uint64_t access_keeper_number(struct access_keeper *k)
{
        return ++k->last_order;
}

struct access_order *access_keeper_ask(struct access_keeper *k, unsigned type,
                                       const union ipc_message *m, uint64_t number,
                                       access_answer_fn *answer, void *arg)
{
        struct access_order *o = k->channel ? calloc(1, sizeof *o) : NULL;

        if (!o)
                return NULL;
        *o = (struct access_order) {.number = number, .answer = answer, .arg = arg};
        if (table_add(&k->orders, &o->by_number, number) < 0) {
                free(o);
                return NULL;
        }
        if (channel_send(k->channel, type, m, -1) < 0) {
                table_remove(&k->orders, &o->by_number);
                free(o);
                return NULL;
        }
        return o;
}

struct access_order *access_keeper_forget(struct access_keeper *k, struct access_order *o)
{
        (void) k;
        if (o)
                o->answer = NULL; /* freed when the answer comes */
        return NULL;
}
