#include "ctl/control_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/console.h"
#include "ipc/channel.h"
#include "net/loop.h"

struct control_client {
        struct loop *loop;
        struct channel *channel;
        struct timer *silence;
        char daemon[32];
        const struct control_client_request *request; /* at work */
        int status;                                   /* of it; -1: not yet */
        int sending;                                  /* what became of sending it */
        bool is_closed, is_silent, is_bad;
        bool is_there; /* something came: it runs */
};

/* ---- what comes --------------------------------------------------------- */

static void hear(struct control_client *client)
{
        client->is_there = true;
        timer_set(client->silence, CONTROL_CLIENT_SILENCE_MS);
}

static void on_row(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct control_client *client = arg;
        const struct span text = m->control_row.json;
        json_t *row;

        (void) ch;
        (void) fd;
        hear(client);
        if (!client->request || !client->request->row)
                return;
        row = json_loadb(text.p, text.len, 0, NULL);
        if (json_is_object(row))
                client->request->row(client->request->arg, row);
        else
                client->is_bad = true;
        json_decref(row);
}

static void on_octets(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct control_client *client = arg;

        (void) ch;
        (void) fd;
        hear(client);
        if (m->control_octets.octets.len && client->request && client->request->octets)
                client->request->octets(client->request->arg, m->control_octets.octets);
}

static void on_done(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct control_client *client = arg;
        const struct span text = m->control_done.text;

        (void) ch;
        (void) fd;
        if (!client->request)
                return;
        client->status = m->control_done.status;
        if (client->status != EX_OK && client->status != client->request->unsaid)
                console_fail(client->status, "%.*s", (int) text.len, text.p ? text.p : "");
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct control_client *client = arg;

        (void) ch;
        client->is_closed = true;
        client->is_bad |= reason == -EBADMSG;
}

static void on_silence(void *arg)
{
        struct control_client *client = arg;

        client->is_silent = true;
}

static const struct channel_handler handler = {
        .on = {
                [IPC_control_row] = on_row,
                [IPC_control_octets] = on_octets,
                [IPC_control_done] = on_done,
        },
        .closed = on_closed,
};

/* ---- connecting --------------------------------------------------------- */

static int connect_failed(int r, const char *path)
{
        if (r == -ENOENT || r == -ECONNREFUSED)
                return console_fail(EX_TEMPFAIL, "the server is not running (nobody answers at "
                                    "%s): start it with \"hayauma run\"", path);
        if (r == -EACCES || r == -EPERM)
                return console_fail(EX_NOPERM, "%s may not be used by you: be root, or in the "
                                    "group hayauma", path);
        if (r == -EAGAIN)
                return console_fail(EX_TEMPFAIL, "too many commands at once wait at %s: try again",
                                    path);
        return console_fail(EX_TEMPFAIL, "cannot connect to %s: %s", path, strerror(-r));
}

static int connect_to(const struct config *c, const char *daemon, int *ret_fd)
{
        const struct timeval limit = {.tv_sec = CONTROL_CLIENT_FIRST_MS / 1000};
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        int fd, r;

        if (snprintf(at.sun_path, sizeof at.sun_path, "%.*s/%s", (int) c->run_dir.len,
                     c->run_dir.p, daemon) >= (int) sizeof at.sun_path)
                return console_fail(EX_CONFIG, "run_dir is too long for a socket: make it shorter "
                                    "than %zu octets", sizeof at.sun_path - 20);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return console_fail(EX_OSERR, "cannot make a socket: %m");
        /* The limit is for connect(), which waits where the backlog is full. */
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
            connect(fd, (const struct sockaddr *) &at, sizeof at) < 0) {
                r = -errno;
                close(fd);
                return connect_failed(r, at.sun_path);
        }
        *ret_fd = fd;
        return EX_OK;
}

int control_client_open(const struct config *c, const char *daemon,
                        struct control_client **ret_client)
{
        struct control_client *client;
        int fd = -1, status = connect_to(c, daemon, &fd);

        if (status != EX_OK)
                return status;
        client = calloc(1, sizeof *client);
        if (client) {
                snprintf(client->daemon, sizeof client->daemon, "%s", daemon);
                client->loop = loop_new();
        }
        if (!client || !client->loop ||
            timer_new(client->loop, on_silence, client, &client->silence) < 0 ||
            channel_new(client->loop, fd, &handler, client, &client->channel) < 0) {
                close(fd);
                control_client_close(client);
                return console_fail(EX_OSERR, "there is not enough memory");
        }
        *ret_client = client;
        return EX_OK;
}

struct control_client *control_client_close(struct control_client *client)
{
        if (client) {
                channel_free(client->channel);
                timer_free(client->silence);
                loop_free(client->loop);
                free(client);
        }
        return NULL;
}

/* ---- asking ------------------------------------------------------------- */

static bool is_over(const struct control_client *client)
{
        return client->status >= 0 || client->is_closed || client->is_silent || client->is_bad;
}

static int send_request(struct control_client *client, const struct control_client_request *q)
{
        struct buffer b = BUFFER_INIT(128 * 1024);
        struct ipc_items items = {0};
        int r = 0;

        for (size_t i = 0; i < CONTROL_CLIENT_ARGUMENTS_MAX && r == 0; i++)
                if (q->arguments[i].value.p)
                        r = ipc_add_argument(&b, &items, &(struct ipc_argument) {
                                .name = span_from_string(q->arguments[i].name),
                                .value = q->arguments[i].value});
        if (r == 0)
                r = CHANNEL_SEND(client->channel, control, -1, .verb = span_from_string(q->verb),
                                 .arguments = items);
        buffer_done(&b);
        return r;
}

/* The input in parts as the credit allows, and the empty one that ends it. */
static int send_input(struct control_client *client, struct span input)
{
        int r = 0;

        while (r == 0 && input.len && !is_over(client)) {
                const struct span part = span_first(input, IPC_BODY_PART_MAX);

                if (!channel_has_credit(client->channel)) {
                        loop_run_once(client->loop, -1);
                        if (client->is_there)
                                timer_set(client->silence, CONTROL_CLIENT_SILENCE_MS);
                        continue;
                }
                r = CHANNEL_SEND(client->channel, control_input, -1, .octets = part);
                input = span_skip(input, part.len);
        }
        if (r == 0 && !is_over(client))
                r = CHANNEL_SEND(client->channel, control_input, -1, .octets = {0});
        return r;
}

void control_client_begin(struct control_client *client, const struct control_client_request *q)
{
        int r;

        client->request = q;
        client->status = -1;
        client->is_there = false;
        timer_set(client->silence, CONTROL_CLIENT_FIRST_MS);
        r = client->is_closed ? -EPIPE : send_request(client, q);
        if (r == 0 && q->input)
                r = send_input(client, *q->input);
        if (r == 0 && q->input)
                channel_flush(client->channel, CONTROL_CLIENT_FIRST_MS); /* finish() waits on */
        client->sending = r;
}

static int explain(struct control_client *client, const struct control_client_request *q)
{
        if (client->sending == -EMSGSIZE)
                return console_fail(EX_USAGE, "an argument is too long");
        if (client->is_bad)
                return console_fail(EX_PROTOCOL, "the %s's answer makes no sense: is the server of "
                                    "the same release as this program?", client->daemon);
        if (client->status >= 0)
                return client->status;
        if (client->is_silent && !client->is_there)
                return console_fail(EX_TEMPFAIL, "the %s does not answer: if it is just being "
                                    "started (`hayauma status` says so), try again; else see its "
                                    "log", client->daemon);
        if (client->is_silent)
                return console_fail(EX_TEMPFAIL, "the %s says nothing for a minute: see its log",
                                    client->daemon);
        if (q->may_close)
                return EX_OK;
        return console_fail(EX_TEMPFAIL, "the %s closed the connection: it was stopped just now, "
                            "or you are neither root nor in the group hayauma", client->daemon);
}

int control_client_finish(struct control_client *client)
{
        const struct control_client_request *q = client->request;

        /* What the caller did meanwhile was no silence of the server's. */
        timer_set(client->silence,
                  client->is_there ? CONTROL_CLIENT_SILENCE_MS : CONTROL_CLIENT_FIRST_MS);
        while (client->sending == 0 && !is_over(client))
                loop_run_once(client->loop, -1);
        timer_stop(client->silence);
        client->request = NULL;
        return explain(client, q);
}

int control_client_call(struct control_client *client, const struct control_client_request *q)
{
        control_client_begin(client, q);
        return control_client_finish(client);
}

int control_client_ask(const struct config *c, const char *daemon,
                       const struct control_client_request *q)
{
        struct control_client *client = NULL;
        int status = control_client_open(c, daemon, &client);

        if (status == EX_OK)
                status = control_client_call(client, q);
        control_client_close(client);
        return status;
}
