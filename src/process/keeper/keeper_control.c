#include "process/keeper/keeper_control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"

enum {
        SESSIONS_MAX = 100,
        ARGUMENTS_MEMORY_MAX = 256 * 1024,
        INPUT_MAX = 3 * 1024 * 1024, /* in memory: fits a batch of the store */
        GROUPS_MAX = 256,
};

struct keeper_listeners {
        struct poller *poller;
        int fd;
        unsigned session_count;
};

static const struct {
        const char *name;
        void (*start)(struct control_session *s);
        bool has_input;
        int (*part)(struct control_session *s, struct span part); /* NULL: gathered in memory */
} verbs[] = {
        { "queue.list",       control_queue_list,       false, NULL },
        { "queue.show",       control_queue_show,       false, NULL },
        { "queue.retry",      control_queue_change,     false, NULL },
        { "queue.drop",       control_queue_change,     false, NULL },
        { "queue.move",       control_queue_change,     false, NULL },
        { "queue.hold",       control_queue_change,     false, NULL },
        { "queue.release",    control_queue_change,     false, NULL },
        { "why",              control_why,              false, NULL },
        { "mailbox.list",     control_mailbox_list,     false, NULL },
        { "mailbox.messages", control_mailbox_messages, false, NULL },
        { "mailbox.fetch",    control_mailbox_fetch,    false, NULL },
        { "mailbox.append",   control_mailbox_append,   true,
          control_mailbox_append_part },
        { "mailbox.import",   control_mailbox_import,   true, NULL },
        { "mailbox.export",   control_mailbox_export,   false, NULL },
        { "mailbox.create",   control_mailbox_create,   false, NULL },
        { "mailbox.expunged", control_mailbox_expunged, false, NULL },
        { "mailbox.undelete", control_mailbox_undelete, false, NULL },
        { "backup.begin",     control_store_backup_begin, false, NULL },
        { "backup.end",       control_store_backup_end, false, NULL },
};

/* ---- sessions ---------------------------------------------------------- */

static void end_lent(struct control_session *s)
{
        if (s->lent_fd >= 0)
                close(s->lent_fd);
        if (s->lent_id && s->keeper->store)
                store_blob_return(s->keeper->store, s->lent_id);
        s->lent_fd = -1;
        s->lent_id = 0;
}

static void session_free(struct control_session *s)
{
        if (s->has_backup && s->keeper->store)
                store_backup_end(s->keeper->store);
        s->keeper->listeners->session_count--;
        list_remove(&s->in_keeper);
        timer_free(s->turn);
        channel_free(s->channel);
        buffer_done(&s->input);
        arena_done(&s->arena);
        end_lent(s);
        free(s->verb);
        free(s);
}

struct span control_argument(const struct control_session *s, const char *name)
{
        for (size_t i = 0; i < s->argument_count; i++)
                if (span_equal(s->arguments[i].name, span_from_string(name)))
                        return s->arguments[i].value;
        return (struct span) {NULL, 0};
}

void control_end(struct control_session *s, int status, const char *text)
{
        if (s->channel)
                CHANNEL_SEND(s->channel, control_done, -1, .status = (uint8_t) status,
                             .text = span_first(span_from_string(text), IPC_TEXT_MAX));
        s->is_busy = false;
        s->on_input_end = NULL;
        s->on_input_part = NULL;
        s->on_turn = NULL;
        end_lent(s);
        free(s->verb);
        s->verb = NULL;
        buffer_shrink(&s->input, 0);
        arena_clear(&s->arena);
        s->argument_count = 0;
        if (!s->channel)
                session_free(s);
}

void control_end_errno(struct control_session *s, int result, const char *what)
{
        char text[IPC_TEXT_MAX];

        switch (result) {
        case 0:
                control_end(s, EX_OK, "");
                return;
        case -ENOENT:
                snprintf(text, sizeof text, "%s: there is none", what);
                control_end(s, EX_NOINPUT, text);
                return;
        case -EBUSY:
                snprintf(text, sizeof text, "%s: it is being delivered; try again in a moment",
                         what);
                control_end(s, EX_TEMPFAIL, text);
                return;
        default:
                snprintf(text, sizeof text, "%s: %s", what, strerror(-result));
                control_end(s, EX_TEMPFAIL, text);
        }
}

static int copy_arguments(struct control_session *s, const struct ipc_control *m)
{
        struct ipc_argument *list = arena_alloc(&s->arena, (m->arguments.count + 1) * sizeof *list);
        struct reader each = ipc_items_read(m->arguments);
        struct ipc_argument a;

        s->argument_count = 0;
        s->arguments = list;
        if (!list)
                return -ENOMEM;
        while (ipc_next_argument(&each, &a)) {
                struct ipc_argument *to = &list[s->argument_count++];

                to->name = arena_copy(&s->arena, a.name);
                to->value = arena_copy(&s->arena, a.value);
                if (!to->name.p || !to->value.p)
                        return -ENOMEM;
        }
        return 0;
}

static void on_control(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct control_session *s = arg;

        (void) ch;
        (void) fd;
        if (s->is_busy) {
                control_end(s, EX_PROTOCOL, "one command at a time");
                return;
        }
        s->is_busy = true;
        CHANNEL_SEND(s->channel, control_octets, -1, .octets = {0}); /* it has arrived */
        if (copy_arguments(s, &m->control) < 0) {
                control_end(s, EX_TEMPFAIL, "out of memory");
                return;
        }
        for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
                if (!span_equal(m->control.verb, span_from_string(verbs[i].name)))
                        continue;
                s->verb_name = verbs[i].name;
                s->on_input_part = verbs[i].part;
                if (verbs[i].has_input)
                        s->on_input_end = verbs[i].start;
                else
                        verbs[i].start(s);
                return;
        }
        control_end(s, EX_USAGE, "the keeper does not know this command; is the daemon of the same "
                                 "release as the command line?");
}

static void on_input(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct control_session *s = arg;
        void (*start)(struct control_session *) = s->on_input_end;
        int r;

        (void) ch;
        (void) fd;
        if (!s->is_busy || !start)
                return; /* of a command that was refused */
        if (m->control_input.octets.len) {
                r = s->on_input_part ? s->on_input_part(s, m->control_input.octets)
                                     : buffer_append_span(&s->input, m->control_input.octets);
                if (r == -EMSGSIZE)
                        control_end(s, EX_DATAERR, "the message is too large");
                else if (r < 0)
                        control_end_errno(s, r, "taking the message");
                return;
        }
        s->on_input_end = NULL;
        start(s);
}

static void take_turn(void *arg)
{
        struct control_session *s = arg;
        void (*next)(struct control_session *) = s->on_turn;

        if (!next || (s->channel && !channel_has_credit(s->channel)))
                return; /* on_credit() comes */
        s->on_turn = NULL;
        next(s);
}

void control_go_on(struct control_session *s, void (*next)(struct control_session *s))
{
        s->on_turn = next;
        timer_set(s->turn, 0);
}

static void on_credit(struct channel *ch, void *arg)
{
        (void) ch;
        take_turn(arg);
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct control_session *s = arg;

        (void) reason;
        s->channel = NULL;
        channel_free(ch);
        if (s->on_turn)
                timer_set(s->turn, 0); /* ends at its next step */
        else if (!s->is_busy || s->on_input_end)
                session_free(s); /* nothing of ours is under way */
}

static const struct channel_handler session_handler = {
        .on = {[IPC_control] = on_control, [IPC_control_input] = on_input},
        .credit = on_credit,
        .closed = on_closed,
};

/* ---- the door ---------------------------------------------------------- */

static bool is_member(int fd, uint64_t gid)
{
        gid_t groups[GROUPS_MAX];
        socklen_t size = sizeof groups;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
                return false;
        for (size_t i = 0; i < size / sizeof groups[0]; i++)
                if (groups[i] == gid)
                        return true;
        return false;
}

static bool may_control(const struct keeper *k, int fd)
{
        struct ucred peer;
        socklen_t size = sizeof peer;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return false;
        return peer.uid == 0 || peer.uid == geteuid() || peer.gid == k->privileged_gid ||
               is_member(fd, k->privileged_gid);
}

static void refuse(struct channel *ch)
{
        CHANNEL_SEND(ch, control_done, -1, .status = EX_NOPERM,
                     .text = SPAN("only root and members of the group hayauma may do this"));
        channel_flush(ch, 100);
        channel_free(ch);
}

static void session_new(struct keeper *k, int fd)
{
        struct control_session *s = calloc(1, sizeof *s);

        if (!s || timer_new(k->process->loop, take_turn, s, &s->turn) < 0 ||
            channel_new(k->process->loop, fd, &session_handler, s, &s->channel) < 0) {
                if (s)
                        timer_free(s->turn);
                free(s);
                close(fd);
                return;
        }
        if (!may_control(k, fd)) {
                refuse(s->channel);
                timer_free(s->turn);
                free(s);
                return;
        }
        s->keeper = k;
        s->lent_fd = -1;
        s->input = BUFFER_INIT(INPUT_MAX);
        s->arena = ARENA_INIT(ARGUMENTS_MEMORY_MAX);
        list_append(&k->control_sessions, &s->in_keeper);
        k->listeners->session_count++;
}

static void on_knock(void *arg, int events)
{
        struct keeper *k = arg;
        int fd = accept4(k->listeners->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        (void) events;
        if (fd < 0)
                return;
        if (k->listeners->session_count >= SESSIONS_MAX)
                close(fd);
        else
                session_new(k, fd);
}

int keeper_control_listen(struct keeper *k, int fd)
{
        struct keeper_listeners *l = k->listeners ? NULL : calloc(1, sizeof *l);
        int r;

        if (!l)
                return k->listeners ? -EEXIST : -ENOMEM;
        r = poller_new(k->process->loop, fd, on_knock, k, &l->poller);
        if (r < 0) {
                free(l);
                return r;
        }
        l->fd = fd;
        k->listeners = l;
        poller_set(l->poller, POLL_READ);
        return 0;
}

void keeper_control_stop(struct keeper *k)
{
        LIST_FOR_EACH (node, &k->control_sessions) {
                struct control_session *s = LIST_OBJECT(node, struct control_session, in_keeper);

                s->channel = channel_free(s->channel);
                if (!s->is_busy || s->on_input_end)
                        session_free(s);
        }
        if (k->listeners)
                poller_set(k->listeners->poller, 0);
}
