/* What tests of the edge role share: the role with a fake keeper on a channel
 * pair and clients on loopback sockets, all in one loop; sessions are written
 * as transcripts. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/test.h"
#include "config/test_site.h"
#include "net/tls/session.h"
#include "net/tls/tls.h"
#include "policy/decision.h"
#include "process/edge/edge.h"
#include "process/edge/edge_transaction.h"
#include "route/route.h"

/* Each test file uses what it needs of this. */
#pragma GCC diagnostic ignored "-Wunused-function"

/* ---- the fake keeper ---- */

struct fake_keeper {
        struct channel *channel;
        bool is_silent;   /* takes commits and answers none */
        bool lends_nothing;
        unsigned status;
        int result_index; /* -1, or the recipient that is refused with 452 4.2.2 */
        unsigned commits, lends, drops, refusals;
        uint64_t message_id, first_id;
        unsigned flags;
        struct buffer body, record, refused;
        struct buffer told;      /* every record in order, each behind its length */
        struct buffer retried;   /* domains that are to be tried again, a line each */
        char mail_from[256], recipients[1024], header_message_id[256];
        uint32_t local_prefix_len;
        uint64_t body_len;
        size_t message_at, message_end; /* the last message, in `body` */
        int file;
};

static struct fake_keeper keeper;
static struct process process;
static unsigned process_ends;
static union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
} place; /* where clients connect to */
static socklen_t place_len;

/* Stands for the one of process/process.c. */
void process_end(struct process *p)
{
        (void) p;
        process_ends++;
}

static void on_body(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch, (void) arg, (void) fd;
        CHECK(buffer_append_span(&keeper.body, m->body.octets) == 0, "body");
}

static void keep_recipients(struct ipc_items items)
{
        struct reader r = ipc_items_read(items);
        struct ipc_recipient q;
        size_t at = 0;

        keeper.recipients[0] = '\0';
        while (ipc_next_recipient(&r, &q) && at < sizeof keeper.recipients) {
                const struct span to = q.kind == ROUTE_LOCAL ? q.account : q.next_hop;

                at += (size_t) snprintf(keeper.recipients + at, sizeof keeper.recipients - at,
                                        "%u:%.*s ", q.index, (int) to.len, to.p);
        }
}

static void answer_commit(void)
{
        struct buffer b = BUFFER_INIT(4096);
        struct ipc_items results = {0};
        const struct ipc_result result = {
                .index = (uint32_t) keeper.result_index,
                .code = 452,
                .enhanced = SPAN("4.2.2"),
                .text = SPAN("The mailbox is full"),
        };

        if (keeper.result_index >= 0)
                CHECK(ipc_add_result(&b, &results, &result) == 0, "result");
        CHANNEL_SEND(keeper.channel, committed, -1, .message_id = keeper.message_id,
                     .status = (uint8_t) keeper.status, .results = results);
        buffer_done(&b);
}

static void keep_told(struct span record)
{
        const uint32_t len = (uint32_t) record.len;

        CHECK(buffer_append(&keeper.told, &len, sizeof len) == 0, "told");
        CHECK(buffer_append_span(&keeper.told, record) == 0, "told");
}

static void on_commit(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct ipc_commit *c = &m->commit;

        (void) ch, (void) arg, (void) fd;
        keeper.commits++;
        keeper.message_id = c->message_id;
        if (!keeper.first_id)
                keeper.first_id = c->message_id;
        keeper.flags = c->flags;
        keeper.local_prefix_len = c->local_prefix_len;
        keeper.body_len = c->body_len;
        CHECK(buffer_append_span(&keeper.body, c->octets) == 0, "octets");
        keeper.message_at = keeper.message_end;
        keeper.message_end = keeper.body.len;
        keep_told(c->record);
        buffer_clear(&keeper.record);
        CHECK(buffer_append_span(&keeper.record, c->record) == 0, "record");
        snprintf(keeper.mail_from, sizeof keeper.mail_from, "%.*s", (int) c->mail_from.len,
                 c->mail_from.len ? c->mail_from.p : "");
        snprintf(keeper.header_message_id, sizeof keeper.header_message_id, "%.*s",
                 (int) c->header_message_id.len,
                 c->header_message_id.len ? c->header_message_id.p : "");
        keep_recipients(c->recipients);
        if (!keeper.is_silent)
                answer_commit();
}

static void on_lend(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) arg, (void) fd;
        keeper.lends++;
        if (keeper.lends_nothing) {
                CHANNEL_SEND(ch, lent, -1, .message_id = m->lend.message_id, .status = ENOSPC);
                return;
        }
        keeper.file = memfd_create("lent", MFD_CLOEXEC);
        CHANNEL_SEND(ch, lent, keeper.file, .message_id = m->lend.message_id);
}

static void on_drop(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch, (void) arg, (void) m, (void) fd;
        keeper.drops++;
}

static void on_refused(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch, (void) arg, (void) fd;
        keeper.refusals++;
        buffer_clear(&keeper.refused);
        CHECK(buffer_append_span(&keeper.refused, m->refused.record) == 0, "refused");
        keep_told(m->refused.record);
}

static void on_retry(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch, (void) arg, (void) fd;
        CHECK(buffer_append_span(&keeper.retried, m->retry.domain) == 0, "retry");
        CHECK(buffer_append_string(&keeper.retried, "\n") == 0, "retry");
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        (void) arg, (void) reason;
        keeper.channel = channel_free(ch);
}

static const struct channel_handler keeper_handler = {
        .on = {[IPC_body] = on_body, [IPC_commit] = on_commit, [IPC_lend] = on_lend,
               [IPC_drop] = on_drop, [IPC_refused] = on_refused, [IPC_retry] = on_retry},
        .closed = on_closed,
};

static void connect_keeper(uint64_t generation)
{
        int fds[2];

        keeper.channel = channel_free(keeper.channel);
        CHECK(channel_pair(fds) == 0, "pair");
        CHECK(channel_new(process.loop, fds[0], &keeper_handler, NULL, &keeper.channel) == 0,
              "keeper");
        edge_role.peer(&process, PROCESS_KEEPER, 0, generation, fds[1]);
}

/* ---- the site ---- */

static const char site[] = "hostname = \"mx1.example.jp\"\ndomains = { \"example.jp\" }\n";
static const char strangers[] = "relay_networks = { \"192.0.2.0/24\" }\n"; /* not the loopback */

static struct snapshot *build(void)
{
        struct snapshot_build *b = test_site_begin();

        CHECK(snapshot_build_source(b, SNAPSHOT_USERS, SPAN_LITERAL("users")) == 0, "source");
        CHECK(table_domains_add(process.config, b) == 0, "domains");
        test_site_add(b, SNAPSHOT_USERS, "taro@example.jp", "taro@example.jp", 1);
        test_site_add(b, SNAPSHOT_USERS, "hanako@example.jp", "hanako@example.jp", 2);
        return test_site_finish(b);
}

/* Local users are served on a socket without a name in any folder. */
static void listen_as(enum listen_protocol protocol, const char *text)
{
        const struct config_listen listen_on = {.protocol = protocol,
                                                .text = span_from_string(text)};
        int fd;

        place_len = sizeof place.in;
        place.in = (struct sockaddr_in) {.sin_family = AF_INET,
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        if (protocol == LISTEN_LOCAL) {
                place.un = (struct sockaddr_un) {.sun_family = AF_UNIX};
                place_len = sizeof place.un.sun_family; /* Linux finds a name */
        }
        fd = socket(place.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        CHECK(fd >= 0 && bind(fd, &place.any, place_len) == 0 && listen(fd, 100) == 0, "listen");
        place_len = sizeof place;
        CHECK(getsockname(fd, &place.any, &place_len) == 0, "place");
        edge_role.listener(&process, &listen_on, fd);
}

static void start_as(enum listen_protocol protocol, const char *text, const char *more)
{
        log_set_level(LOG_ERROR);
        keeper = (struct fake_keeper) {.result_index = -1, .file = -1};
        keeper.body = keeper.record = keeper.refused = keeper.told = keeper.retried =
                BUFFER_INIT(32 << 20);
        process_ends = 0;
        process = (struct process) {.kind = PROCESS_EDGE, .state_fd = -1};
        process.loop = loop_new();
        process.config = test_site_config(site, more);
        process.snapshot = build();
        CHECK(process.loop && edge_role.prepare(&process) == 0, "prepare");
        CHECK(edge_role.start(&process) == 0, "start");
        connect_keeper(1);
        listen_as(protocol, text);
}

static void start(const char *more)
{
        start_as(LISTEN_SMTP, "smtp://127.0.0.1:0", more);
}

static void finish(void)
{
        edge_free(process.role);
        channel_free(keeper.channel);
        buffer_done(&keeper.body);
        buffer_done(&keeper.record);
        buffer_done(&keeper.refused);
        buffer_done(&keeper.told);
        buffer_done(&keeper.retried);
        if (keeper.file >= 0)
                close(keeper.file);
        for (int i = 0; i < 3; i++)
                loop_run_once(process.loop, 0);
        config_free(process.config);
        snapshot_close(process.snapshot);
        loop_free(process.loop);
}

/* ---- a client ---- */

struct client {
        int fd;
        bool is_closed;
        struct tls_session *tls; /* NULL: in the clear */
        struct buffer input;
        struct buffer reply; /* the last one, with all its lines */
};

static struct client client_new(void)
{
        struct client c = {.input = BUFFER_INIT(1 << 20), .reply = BUFFER_INIT(1 << 20)};
        const int at_once = 1; /* else the kernel waits for more, in real time */

        c.fd = socket(place.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(c.fd >= 0 && connect(c.fd, &place.any, place_len) == 0, "connect");
        if (place.any.sa_family == AF_INET)
                CHECK(setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once) == 0,
                      "nodelay");
        return c;
}

static void client_done(struct client *c)
{
        tls_session_free(c->tls);
        close(c->fd);
        buffer_done(&c->input);
        buffer_done(&c->reply);
}

static void run(void)
{
        loop_run_once(process.loop, 10);
}

/* For what no reply tells; ten seconds at most. */
#define WAIT_FOR(condition)                                                                        \
        do {                                                                                       \
                for (int waited = 0; waited < 1000 && !(condition); waited++)                      \
                        run();                                                                     \
                CHECK(condition, #condition);                                                      \
        } while (0)

#define EDGE ((struct edge *) process.role)

static void client_read(struct client *c)
{
        size_t len;
        char *p;
        ssize_t n;

        CHECK(buffer_reserve(&c->input, 65536, &p) == 0, "memory");
        if (c->tls) {
                const enum tls_want want = tls_session_read(c->tls, p, 65536, &len);

                c->is_closed |= want == TLS_END || want == TLS_FAILED;
                if (want == TLS_DONE)
                        buffer_commit(&c->input, len);
                return;
        }
        n = recv(c->fd, p, 65536, MSG_DONTWAIT);
        if (n > 0)
                buffer_commit(&c->input, (size_t) n);
        c->is_closed |= n == 0 || (n < 0 && errno != EAGAIN);
}

static void say(struct client *c, struct span octets)
{
        for (int rounds = 0; octets.len && rounds < 10000; rounds++) {
                size_t len = 0;
                ssize_t n = 0;

                if (!c->tls)
                        n = send(c->fd, octets.p, octets.len, MSG_DONTWAIT | MSG_NOSIGNAL);
                else if (tls_session_write(c->tls, octets, &len) == TLS_DONE)
                        n = (ssize_t) len;
                if (n > 0)
                        octets = span_skip(octets, (size_t) n);
                loop_run_once(process.loop, octets.len ? 10 : 0);
        }
        CHECK(octets.len == 0, "sent");
}

/* The client's side of the handshake, whoever the server is. */
static void client_secure(struct client *c)
{
        enum tls_want want = TLS_WANT_READ;
        struct tls_context *context;
        char error[TLS_ERROR_MAX];

        CHECK(fcntl(c->fd, F_SETFL, O_NONBLOCK) == 0, "nonblocking");
        CHECK(tls_context_new_client((struct span) {0}, &context, error) == 0, error);
        CHECK(tls_session_new(context, c->fd, SPAN_LITERAL("mx1.example.jp"), &c->tls) == 0, "");
        tls_context_unref(context);
        for (int rounds = 0; rounds < 500 && want != TLS_DONE; rounds++) {
                want = tls_session_handshake(c->tls);
                run();
        }
        CHECK(want == TLS_DONE, "handshake");
}

/* The next reply's last line, without CRLF; "" when the connection ended. */
static void hear(struct client *c, char *line, size_t size)
{
        line[0] = '\0';
        buffer_clear(&c->reply);
        for (int rounds = 0; rounds < 500; rounds++) {
                const struct span in = buffer_span(&c->input);
                const size_t end = span_find(in, '\n');

                if (end != SIZE_MAX) {
                        const bool is_last = in.len > 3 && in.p[3] == ' ';

                        snprintf(line, size, "%.*s", (int) (end ? end - 1 : 0), in.p);
                        CHECK(buffer_append_span(&c->reply, span_first(in, end + 1)) == 0, "");
                        buffer_consume(&c->input, end + 1);
                        if (is_last)
                                return;
                        continue;
                }
                if (c->is_closed)
                        return;
                client_read(c);
                if (c->input.len == in.len && !c->is_closed)
                        run();
        }
}

/* Lines "C: text" are sent, "S: start" is how the next reply begins, "S: -" is
 * the end of the connection. */
static void play(struct client *c, const char *script)
{
        struct span rest = span_from_string(script), line;
        char reply[1024], command[1024];

        while (span_split(&rest, '\n', &line)) {
                const struct span text = span_skip(line, 3);

                if (line.len < 3)
                        continue;
                if (line.p[0] == 'C') {
                        snprintf(command, sizeof command, "%.*s\r\n", (int) text.len, text.p);
                        say(c, span_from_string(command));
                        continue;
                }
                hear(c, reply, sizeof reply);
                snprintf(command, sizeof command, "%.*s", (int) text.len, text.p);
                if (strcmp(command, "-") == 0)
                        CHECK(reply[0] == '\0' && c->is_closed, command);
                else if (strncmp(reply, command, text.len) != 0) {
                        print_error("heard: %s\n", reply);
                        CHECK(false, command);
                }
        }
}

#define HELLO "S: 220 mx1.example.jp\nC: EHLO client.example.net\nS: 250 \n"
#define TO_TARO                                                                                    \
        "C: MAIL FROM:<a@example.net>\nS: 250 2.1.0\n"                                             \
        "C: RCPT TO:<taro@example.jp>\nS: 250 2.1.5\n"
#define SMALL "C: DATA\nS: 354\nC: Message-ID: <1@example.net>\nC: \nC: text\nC: .\n"

static bool body_has(const char *text)
{
        return memmem(keeper.body.data + keeper.body.start, keeper.body.len, text, strlen(text));
}

/* "received accepted@0=local user refused@1=…" */
static void describe_record(struct span record, char *out, size_t size)
{
        struct decision_step step;
        struct reader r;
        uint64_t id;
        size_t at = 0;

        out[0] = '\0';
        CHECK(decision_open(record, &id, &r) == 0, "record");
        while (decision_next(&r, &step) && at < size) {
                at += (size_t) snprintf(out + at, size - at, "%s", decision_kind_name(step.kind));
                if (step.recipient != DECISION_MESSAGE)
                        at += (size_t) snprintf(out + at, size - at, "@%u", step.recipient);
                if (step.rule.len)
                        at += (size_t) snprintf(out + at, size - at, "=%.*s", (int) step.rule.len,
                                                step.rule.p);
                at += (size_t) snprintf(out + at, size - at, ";");
        }
        CHECK(!r.failed, "record is whole");
}

/* What stands in front for mailboxes only. */
#define LOCAL_TRACE "Return-Path: <a@example.net>\r\nDelivered-To: taro@example.jp\r\n"
