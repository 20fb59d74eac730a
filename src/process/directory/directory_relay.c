/* Logins of ours to other servers: relay forwards blobs, and never sees a
 * password but where PLAIN or LOGIN is all that the other server knows.
 *
 *   start, step ──► WORKING (a thread: SCRAM costs what the other server says)
 *                    └──► answered ──step──► WORKING …, or cancelled */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "process/directory/directory.h"

enum { EXCHANGES_MAX = 4000, FILE_MAX = 4 * 1024 * 1024 };

struct relay_exchange {
        struct list_node node; /* of the asker */
        struct asker *asker;   /* NULL: gone while a thread had work for it */
        uint64_t number;
        struct sasl_client *sasl;
        struct check check;
        bool is_working, is_first;
        struct span mechanism;
        struct buffer in, out;
        int r;
};

/* ---- the file ---- */

static int read_file(int fd, struct relay_logins **ret_l)
{
        struct buffer text = BUFFER_INIT(FILE_MAX), error = BUFFER_INIT(16 * 1024);
        int r = file_read_fd(fd, &text);
        struct span rest, line;

        if (r == 0)
                r = relay_logins_parse(buffer_span(&text), "relay_logins", ret_l, &error);
        for (rest = buffer_span(&error); rest.len && span_split(&rest, '\n', &line);)
                if (line.len)
                        log_event(LOG_ERROR, "relay_logins_not_read", LOG_SPAN("text", line));
        if (r < 0 && !error.len)
                log_event(LOG_ERROR, "relay_logins_not_read", LOG_ERRNO("error", r));
        if (text.data)
                explicit_bzero(text.data, text.room);
        buffer_done(&text);
        buffer_done(&error);
        return r;
}

void directory_relay_read(struct directory *d, int fd)
{
        struct relay_logins *fresh;
        const int r = read_file(fd, &fresh);

        close(fd);
        if (r < 0)
                return;
        relay_logins_free(d->relay_logins);
        d->relay_logins = fresh;
        LIST_FOR_EACH(node, &d->askers) {
                struct asker *a = LIST_OBJECT(node, struct asker, node);

                if (a->kind == PROCESS_RELAY)
                        directory_relay_tell(a);
        }
}

void directory_relay_tell(struct asker *a)
{
        const struct relay_logins *l = a->directory->relay_logins;
        struct buffer hosts = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct ipc_items items = {0};

        for (size_t i = 0; l && i < relay_logins_count(l); i++) {
                const struct relay_login *login = relay_logins_at(l, i);

                ipc_add_relay_host(&hosts, &items, &(struct ipc_relay_host) {
                        .name = login->host, .port = login->port});
        }
        if (l)
                CHANNEL_SEND(a->channel, relay_hosts, -1, .hosts = items);
        buffer_done(&hosts);
}

/* ---- one exchange ---- */

static struct relay_exchange *find(struct asker *a, uint64_t number)
{
        LIST_FOR_EACH(node, &a->relay_logins) {
                struct relay_exchange *x = LIST_OBJECT(node, struct relay_exchange, node);

                if (x->number == number)
                        return x;
        }
        return NULL;
}

static void destroy(struct relay_exchange *x)
{
        sasl_client_free(x->sasl);
        if (x->out.data)
                explicit_bzero(x->out.data, x->out.room);
        buffer_done(&x->in);
        buffer_done(&x->out);
        free(x);
}

static void drop(struct relay_exchange *x)
{
        list_remove(&x->node);
        x->asker->relay_login_count--;
        x->asker = NULL;
        if (!x->is_working)
                destroy(x);
}

void directory_relay_forget(struct asker *a)
{
        while (!list_is_empty(&a->relay_logins))
                drop(LIST_OBJECT(a->relay_logins.next, struct relay_exchange, node));
}

static void fail(struct asker *a, uint64_t number, const char *trouble)
{
        CHANNEL_SEND(a->channel, relay_login_answer, -1, .login = number,
                     .trouble = span_from_string(trouble));
}

static struct relay_exchange *exchange_of(struct check *c)
{
        return (struct relay_exchange *) (void *) ((char *) c -
                                                   offsetof(struct relay_exchange, check));
}

static void work(struct check *c)
{
        struct relay_exchange *x = exchange_of(c);

        x->r = sasl_client_step(x->sasl, buffer_span(&x->in), &x->out);
}

static void worked(struct check *c)
{
        struct relay_exchange *x = exchange_of(c);
        struct asker *a = x->asker;

        x->is_working = false;
        if (!a) {
                destroy(x);
                return;
        }
        if (x->r < 0) {
                fail(a, x->number, x->r == -EACCES
                     ? "the host did not prove that it knows the password"
                     : "what the host said is no message of this mechanism");
                drop(x);
                return;
        }
        CHANNEL_SEND(a->channel, relay_login_answer, -1, .login = x->number,
                     .mechanism = x->mechanism, .has_octets = true,
                     .is_done = sasl_client_is_done(x->sasl), .octets = buffer_span(&x->out));
}

static void step(struct relay_exchange *x)
{
        x->check = (struct check) {.work = work, .done = worked};
        x->is_working = checks_add(x->asker->directory->checks, &x->check) == 0;
        if (!x->is_working) {
                fail(x->asker, x->number, "too much is being computed here already");
                drop(x);
        }
}

static struct relay_exchange *begin(struct asker *a, const struct ipc_relay_login_start *m,
                                    const char **ret_why)
{
        const struct directory *d = a->directory;
        const struct relay_login *login =
                d->relay_logins ? relay_logins_find(d->relay_logins, m->host, m->port) : NULL;
        struct sasl_client_order order = {0};
        struct relay_exchange *x;

        *ret_why = "no login is known for this host";
        if (!login)
                return NULL;
        *ret_why = "the host offers no mechanism that we may log in with";
        order.mechanism = sasl_client_choose(m->mechanisms, login->mechanisms,
                                             m->exporter.len == SASL_EXPORTER_LEN);
        if (!order.mechanism.len)
                return NULL;
        if (span_ends_with_nocase(order.mechanism, SPAN_LITERAL("-PLUS")))
                order.exporter = m->exporter;
        order.login_name = login->login_name;
        order.password = login->password;
        *ret_why = "there is no memory for a login";
        x = calloc(1, sizeof *x);
        if (!x || sasl_client_new(d->sasl_client, &order, &x->sasl) < 0) {
                free(x);
                return NULL;
        }
        x->asker = a;
        x->number = m->login;
        x->mechanism = order.mechanism;
        x->in = x->out = BUFFER_INIT(SASL_BLOB_MAX);
        list_append(&a->relay_logins, &x->node);
        a->relay_login_count++;
        return x;
}

void directory_relay_start(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct ipc_relay_login_start *start = &m->relay_login_start;
        struct asker *a = arg;
        struct relay_exchange *x = find(a, start->login);
        const char *why;

        (void) fd;
        if (x)
                drop(x);
        if (a->relay_login_count >= EXCHANGES_MAX) {
                fail(a, start->login, "too many logins are under way");
                return;
        }
        x = begin(a, start, &why);
        if (!x)
                fail(a, start->login, why);
        else if (sasl_client_is_first(x->sasl))
                step(x);
        else
                CHANNEL_SEND(ch, relay_login_answer, -1, .login = x->number,
                             .mechanism = x->mechanism);
}

void directory_relay_step(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct asker *a = arg;
        struct relay_exchange *x = find(a, m->relay_login_step.login);

        (void) ch;
        (void) fd;
        if (!x || x->is_working) {
                fail(a, m->relay_login_step.login, "there is no such login");
                return;
        }
        buffer_clear(&x->in);
        if (buffer_append_span(&x->in, m->relay_login_step.octets) < 0) {
                fail(a, x->number, "there is no memory for a login");
                drop(x);
                return;
        }
        step(x);
}

void directory_relay_cancel(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct relay_exchange *x = find(arg, m->auth_cancel.login);

        (void) ch;
        (void) fd;
        if (x)
                drop(x);
}
