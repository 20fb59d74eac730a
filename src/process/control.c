#include "process/control.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/list.h"
#include "ipc/channel.h"
#include "process/control_access.h"

enum {
        CLIENTS_MAX = 64,
        STRANGERS_MAX = 8, /* of them, who may not ask: the oldest gives way */
        LAST_WORDS_MS = 200,
};

struct client {
        struct list_node node;
        struct control *control;
        uint64_t number;
        struct channel *channel;
        bool is_busy; /* has asked, waits for the answer */
        bool may;     /* else it is told so when it asks */
};

struct control {
        struct loop *loop;
        int fd;
        struct poller *poller;
        struct control_hooks hooks;
        struct list_node clients;
        size_t count;
        uint64_t last_number;
};

static void client_free(struct client *client)
{
        list_remove(&client->node);
        client->control->count--;
        channel_free(client->channel);
        free(client);
}

static struct client *find(struct control *c, uint64_t number)
{
        LIST_FOR_EACH(node, &c->clients) {
                struct client *client = LIST_OBJECT(node, struct client, node);

                if (client->number == number)
                        return client;
        }
        return NULL;
}

static void on_control(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct client *client = arg;

        (void) ch;
        (void) fd;
        if (client->is_busy) /* one question at a time */
                return;
        client->is_busy = true;
        if (!client->may) {
                control_done(client->control, client->number, EX_NOPERM,
                             SPAN_LITERAL("only root and the group hayauma may do that"));
                return;
        }
        CHANNEL_SEND(client->channel, control_octets, -1, .octets = {0});
        client->control->hooks.request(client->control->hooks.arg, client->number,
                                       m->control.verb);
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        (void) ch;
        (void) reason;
        client_free(arg);
}

static const struct channel_handler handler = {
        .on = {[IPC_control] = on_control},
        .closed = on_closed,
};

/* Nobody who may not ask can keep others from asking, by connecting and
 * saying nothing. */
static void limit_strangers(struct control *c)
{
        struct client *oldest = NULL;
        size_t count = 0;

        LIST_FOR_EACH(node, &c->clients) {
                struct client *client = LIST_OBJECT(node, struct client, node);

                if (client->may)
                        continue;
                count++;
                if (!oldest)
                        oldest = client;
        }
        if (count > STRANGERS_MAX)
                client_free(oldest);
}

static void client_new(struct control *c, int fd)
{
        struct client *client = c->count < CLIENTS_MAX ? calloc(1, sizeof *client) : NULL;

        if (!client || channel_new(c->loop, fd, &handler, client, &client->channel) < 0) {
                close(fd);
                free(client);
                return;
        }
        client->control = c;
        client->number = ++c->last_number;
        client->may = control_access_may(fd);
        list_append(&c->clients, &client->node);
        c->count++;
        limit_strangers(c);
}

static void on_ready(void *arg, int events)
{
        struct control *c = arg;
        const int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        (void) events;
        if (fd >= 0)
                client_new(c, fd);
}

int control_new(struct loop *l, int fd, const struct control_hooks *hooks, struct control **ret_c)
{
        struct control *c = calloc(1, sizeof *c);
        int r;

        if (!c)
                return -ENOMEM;
        *c = (struct control) {.loop = l, .fd = fd, .hooks = *hooks};
        list_init(&c->clients);
        r = poller_new(l, fd, on_ready, c, &c->poller);
        if (r < 0) {
                free(c);
                return r;
        }
        poller_set(c->poller, POLL_READ);
        *ret_c = c;
        return 0;
}

void control_row(struct control *c, uint64_t client, struct span json)
{
        const struct client *to = find(c, client);

        if (to)
                CHANNEL_SEND(to->channel, control_row, -1, .json = json);
}

/* The client hangs up when it has read this; one that does not is cut off, so
 * that idle connections cannot use up CLIENTS_MAX. */
void control_done(struct control *c, uint64_t client, int status, struct span text)
{
        struct client *to = find(c, client);

        if (!to)
                return;
        CHANNEL_SEND(to->channel, control_done, -1, .status = (uint8_t) status,
                     .text = span_first(text, IPC_TEXT_MAX));
        channel_flush(to->channel, LAST_WORDS_MS);
        client_free(to);
}
