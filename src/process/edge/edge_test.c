/* The edge role with a fake keeper on a channel pair and clients on loopback
 * sockets, all in one loop: sessions are written as transcripts. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/test.h"
#include "config/snapshot_build.h"
#include "policy/decision.h"
#include "process/edge/edge.h"
#include "process/edge/edge_transaction.h"
#include "route/route.h"

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
        char mail_from[256], recipients[1024], header_message_id[256];
        uint32_t local_prefix_len;
        uint64_t body_len;
        int file;
};

static struct fake_keeper keeper;
static struct process process;
static unsigned process_ends;
static uint16_t port;

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
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        (void) arg, (void) reason;
        keeper.channel = channel_free(ch);
}

static const struct channel_handler keeper_handler = {
        .on = {[IPC_body] = on_body, [IPC_commit] = on_commit, [IPC_lend] = on_lend,
               [IPC_drop] = on_drop, [IPC_refused] = on_refused},
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

static struct config *parse(const char *more)
{
        struct buffer error = BUFFER_INIT(4096);
        struct config *c = NULL;
        char text[2048];
        int r;

        snprintf(text, sizeof text, "%s%s\n", site, more);
        r = config_parse(span_from_string(text), "hayauma.conf", &c, &error);
        if (r < 0)
                print_error("%.*s\n", (int) error.len, buffer_span(&error).p);
        CHECK(r == 0, "configuration");
        buffer_done(&error);
        return c;
}

static struct snapshot *build(void)
{
        static const char *const users[] = {"taro@example.jp", "hanako@example.jp"};
        struct buffer error = BUFFER_INIT(4096);
        struct snapshot_build *b;
        struct snapshot *s;
        int fd;

        CHECK(snapshot_build_new(1, 42, &b) == 0, "builder");
        CHECK(snapshot_build_source(b, SNAPSHOT_USERS, SPAN_LITERAL("users")) == 0, "source");
        CHECK(snapshot_build_add(b, SNAPSHOT_DOMAINS, SPAN_LITERAL("example.jp"),
                                 SPAN_LITERAL(""), 0) == 0, "domain");
        for (uint32_t i = 0; i < 2; i++)
                CHECK(snapshot_build_add(b, SNAPSHOT_USERS, span_from_string(users[i]),
                                         span_from_string(users[i]), i + 1) == 0, "user");
        CHECK(snapshot_build_finish(b, &error, &fd) == 0, "finish");
        CHECK(snapshot_open(fd, &s) == 0, "open");
        close(fd);
        snapshot_build_free(b);
        buffer_done(&error);
        return s;
}

static void listen_as(enum listen_protocol protocol, const char *text)
{
        const struct config_listen listen_on = {.protocol = protocol,
                                                .text = span_from_string(text)};
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof a;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        CHECK(fd >= 0 && bind(fd, (struct sockaddr *) &a, sizeof a) == 0 && listen(fd, 100) == 0,
              "listen");
        CHECK(getsockname(fd, (struct sockaddr *) &a, &len) == 0, "port");
        port = ntohs(a.sin_port);
        edge_role.listener(&process, &listen_on, fd);
}

static void start(const char *more)
{
        log_set_level(LOG_ERROR);
        keeper = (struct fake_keeper) {.result_index = -1, .file = -1};
        keeper.body = keeper.record = keeper.refused = BUFFER_INIT(8 << 20);
        process_ends = 0;
        process = (struct process) {.kind = PROCESS_EDGE, .state_fd = -1};
        process.loop = loop_new();
        process.config = parse(more);
        process.snapshot = build();
        CHECK(process.loop && edge_role.prepare(&process) == 0, "prepare");
        CHECK(edge_role.start(&process) == 0, "start");
        connect_keeper(1);
        listen_as(LISTEN_SMTP, "smtp://127.0.0.1:0");
}

static void finish(void)
{
        edge_free(process.role);
        channel_free(keeper.channel);
        buffer_done(&keeper.body);
        buffer_done(&keeper.record);
        buffer_done(&keeper.refused);
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
        struct buffer input;
};

static struct client client_new(void)
{
        struct sockaddr_in a = {
                .sin_family = AF_INET,
                .sin_port = htons(port),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };
        struct client c = {.input = BUFFER_INIT(1 << 20)};

        c.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(c.fd >= 0 && connect(c.fd, (struct sockaddr *) &a, sizeof a) == 0, "connect");
        return c;
}

static void client_done(struct client *c)
{
        close(c->fd);
        buffer_done(&c->input);
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
        char *p;
        ssize_t n;

        CHECK(buffer_reserve(&c->input, 65536, &p) == 0, "memory");
        n = recv(c->fd, p, 65536, MSG_DONTWAIT);
        if (n > 0)
                buffer_commit(&c->input, (size_t) n);
        c->is_closed |= n == 0 || (n < 0 && errno != EAGAIN);
}

static void say(struct client *c, struct span octets)
{
        for (int rounds = 0; octets.len && rounds < 10000; rounds++) {
                ssize_t n = send(c->fd, octets.p, octets.len, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (n > 0)
                        octets = span_skip(octets, (size_t) n);
                loop_run_once(process.loop, octets.len ? 10 : 0);
        }
        CHECK(octets.len == 0, "sent");
}

/* The next reply's last line, without CRLF; "" when the connection ended. */
static void hear(struct client *c, char *line, size_t size)
{
        line[0] = '\0';
        for (int rounds = 0; rounds < 500; rounds++) {
                const struct span in = buffer_span(&c->input);
                const size_t end = span_find(in, '\n');

                if (end != SIZE_MAX) {
                        const bool is_last = in.len > 3 && in.p[3] == ' ';

                        snprintf(line, size, "%.*s", (int) (end ? end - 1 : 0), in.p);
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

/* ---- tests ---- */

TEST(a_message_is_committed_with_its_trace_and_record)
{
        struct client c;
        char record[512];

        start("");
        c = client_new();
        play(&c, HELLO TO_TARO SMALL "S: 250 2.0.0 0");
        CHECK(keeper.commits == 1, "one commit");
        CHECK(strcmp(keeper.mail_from, "a@example.net") == 0, "mail_from");
        CHECK(strcmp(keeper.recipients, "0:taro@example.jp ") == 0, "recipients");
        CHECK(strcmp(keeper.header_message_id, "<1@example.net>") == 0, "Message-ID");
        CHECK(keeper.body_len == keeper.body.len, "length");
        CHECK(strncmp(buffer_span(&keeper.body).p, "Return-Path: <a@example.net>\r\nReceived: ",
                      strlen("Return-Path: <a@example.net>\r\nReceived: ")) == 0, "trace fields");
        CHECK(keeper.local_prefix_len == strlen("Return-Path: <a@example.net>\r\n"), "prefix");
        CHECK(body_has("client.example.net") && body_has("127.0.0.1"), "client in Received");
        CHECK(body_has("\r\nMessage-ID: <1@example.net>\r\n\r\ntext\r\n"), "text");
        describe_record(buffer_span(&keeper.record), record, sizeof record);
        CHECK(strcmp(record, "received;accepted@0=local user;") == 0, record);
        CHECK(keeper.record.len < 400, "small record");
        play(&c, TO_TARO SMALL "S: 250 2.0.0 0\nC: QUIT\nS: 221\nS: -");
        client_done(&c);
        finish();
}

TEST(pipelined_messages_are_answered_in_order)
{
        struct client c;

        start("");
        c = client_new();
        play(&c, HELLO);
        say(&c, SPAN_LITERAL("MAIL FROM:<>\r\nRCPT TO:<taro@example.jp>\r\nDATA\r\n"));
        play(&c, "S: 250\nS: 250\nS: 354");
        say(&c, SPAN_LITERAL("\r\na\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<x@example.jp>\r\n"
                             "RCPT TO:<hanako@example.jp>\r\nDATA\r\n"));
        play(&c, "S: 250 2.0.0\nS: 250\nS: 550 5.1.1\nS: 250\nS: 354");
        say(&c, SPAN_LITERAL("\r\nb\r\n.\r\nQUIT\r\n"));
        play(&c, "S: 250 2.0.0\nS: 221\nS: -");
        CHECK(keeper.commits == 2, "two");
        CHECK(strcmp(keeper.recipients, "1:hanako@example.jp ") == 0, "index of the record");
        client_done(&c);
        finish();
}

TEST(refused_recipients_are_explained)
{
        struct client c;
        char record[512];

        start(strangers);
        c = client_new();
        play(&c, HELLO TO_TARO
             "C: RCPT TO:<jiro@example.jp>\nS: 550 5.1.1 No such user here (0\n"
             "C: RCPT TO:<x@outside.example>\nS: 550 5.7.1 Relaying denied (0\n" SMALL "S: 250");
        describe_record(buffer_span(&keeper.record), record, sizeof record);
        CHECK(strcmp(record, "received;accepted@0=local user;refused@1=local user;"
                             "refused@2=relay_networks;") == 0, record);
        CHECK(keeper.refusals == 0, "rode along");
        play(&c, "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<jiro@example.jp>\nS: 550 5.1.1\n"
                 "C: RSET\nS: 250\nC: NOOP\nS: 250");
        WAIT_FOR(keeper.refusals == 1);
        describe_record(buffer_span(&keeper.refused), record, sizeof record);
        CHECK(strcmp(record, "received;refused@0=local user;") == 0, record);
        client_done(&c);
        finish();
}

TEST(refusals_above_a_number_are_counted_only)
{
        struct client c;
        char record[8192];

        start("limits { errors = 0 }");
        c = client_new();
        play(&c, HELLO "C: MAIL FROM:<>\nS: 250");
        for (int i = 0; i < 150; i++)
                play(&c, "C: RCPT TO:<jiro@example.jp>\nS: 550 5.1.1");
        play(&c, "C: RSET\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<jiro@example.jp>\nS: 550\n"
                 "C: RSET\nS: 250");
        WAIT_FOR(keeper.refusals == 1);
        describe_record(buffer_span(&keeper.refused), record, sizeof record);
        CHECK(strstr(record, "refused@99=local user;"), "hundred");
        CHECK(!strstr(record, "refused@100"), "no more than hundred");
        CHECK(EDGE->counters.refusals_unrecorded == 51, "counted");
        client_done(&c);
        finish();
}

TEST(who_may_relay)
{
        static const char *const tricks[] = {
                "x@outside.example", "@example.jp:x@outside.example", "x@[192.0.2.77]",
                "x%outside.example@example.jp", "outside.example!x@example.jp",
                "\"x@outside.example\"@example.jp", "x@outside.example@example.jp",
                "\"x%outside.example\"@[127.0.0.1]",
        };
        struct client c;

        start(strangers);
        c = client_new();
        play(&c, HELLO "C: MAIL FROM:<>\nS: 250");
        for (size_t i = 0; i < sizeof tricks / sizeof tricks[0]; i++) {
                char script[256];

                snprintf(script, sizeof script, "C: RCPT TO:<%s>\nS: 5", tricks[i]);
                play(&c, script);
        }
        play(&c, "C: RCPT TO:<taro@[127.0.0.1]>\nS: 250");
        client_done(&c);
        finish();

        start("relay_networks = { \"127.0.0.0/8\" }");
        c = client_new();
        play(&c, HELLO "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<x@outside.example>\nS: 250\n" SMALL
                       "S: 250");
        CHECK(strcmp(keeper.recipients, "0:smtp:outside.example ") == 0, "next hop");
        client_done(&c);
        finish();
}

#define HOP "C: Received: from a by b; Thu, 1 Jan 2026 00:00:00 +0000\n"
#define FIVE_HOPS HOP HOP HOP HOP HOP

TEST(loops_and_limits)
{
        struct client c;
        struct client second;

        start("limits { received_hops = 10 connections_per_client = 1 header_size = 16K }");
        c = client_new();
        play(&c, HELLO TO_TARO "C: DATA\nS: 354\n" FIVE_HOPS FIVE_HOPS "C: \nC: .\nS: 250\n"
             TO_TARO "C: DATA\nS: 354\n" FIVE_HOPS FIVE_HOPS "C: RECEIVED: x\nC: \nC: .\n"
             "S: 554 5.4.6\n" TO_TARO "C: DATA\nS: 354");
        for (int i = 0; i < 300; i++)
                play(&c, "C: X-Long: 012345678901234567890123456789012345678901234567890123456789");
        play(&c, "C: .\nS: 552 5.3.4");
        CHECK(keeper.commits == 1, "one was good");
        second = client_new();
        play(&second, "S: 421 4.7.0\nS: -");
        client_done(&second);
        play(&c, "C: QUIT\nS: 221\nS: -");
        client_done(&c);
        WAIT_FOR(EDGE->session_count == 0);
        c = client_new();
        play(&c, HELLO);
        client_done(&c);
        finish();
}

TEST(lmtp_answers_each_recipient)
{
        struct client c;

        start("");
        listen_as(LISTEN_LMTP, "lmtp://127.0.0.1:0");
        keeper.result_index = 1;
        c = client_new();
        play(&c, "S: 220\nC: LHLO client\nS: 250 \n" TO_TARO
             "C: RCPT TO:<hanako@example.jp>\nS: 250\nC: RCPT TO:<Taro+x@Example.JP>\nS: 250\n"
             "C: RCPT TO:<nobody@example.jp>\nS: 550 5.1.1\n"
             SMALL "S: 250 2.0.0\nS: 452 4.2.2\nS: 250 2.0.0\nC: NOOP\nS: 250");
        CHECK(strcmp(keeper.recipients, "0:taro@example.jp 1:hanako@example.jp ") == 0,
              "the same mailbox once");
        client_done(&c);
        finish();
}

TEST(a_thousand_recipients_have_an_answer_each)
{
        struct client c;

        start("users { auto_create = true }\nlimits { recipients = 1000 }");
        listen_as(LISTEN_LMTP, "lmtp://127.0.0.1:0");
        c = client_new();
        play(&c, "S: 220\nC: LHLO client\nS: 250 \nC: MAIL FROM:<>\nS: 250");
        for (int i = 0; i < 1000; i++) {
                char script[128];

                snprintf(script, sizeof script, "C: RCPT TO:<recipient.%d@example.jp>\nS: 250",
                         i);
                play(&c, script);
        }
        keeper.result_index = 999;
        play(&c, "C: RCPT TO:<one.more@example.jp>\nS: 452\n" SMALL);
        for (int i = 0; i < 999; i++)
                play(&c, "S: 250 2.0.0");
        play(&c, "S: 452 4.2.2\nC: NOOP\nS: 250");
        client_done(&c);
        finish();
}

static void send_large(struct client *c, size_t lines)
{
        static char text[100 * 80 + 1];

        for (size_t i = 0; i < 100; i++)
                memcpy(text + i * 80, "0123456789012345678901234567890123456789"
                                      "01234567890123456789012345678901234567\r\n", 80);
        play(c, HELLO TO_TARO "C: DATA\nS: 354\nC: Subject: large\nC: ");
        for (size_t i = 0; i < lines / 100; i++)
                say(c, span_make(text, 8000));
}

TEST(large_texts_go_in_frames_larger_ones_in_a_file)
{
        struct client c;
        off_t size;

        start("limits { message_size = 10M }");
        c = client_new();
        send_large(&c, 2000);
        play(&c, "C: .\nS: 250");
        CHECK(keeper.lends == 0 && keeper.body.len == keeper.body_len, "frames");
        CHECK(keeper.body_len > 160000 && keeper.body_len < 161000, "length");
        client_done(&c);

        buffer_clear(&keeper.body);
        c = client_new();
        send_large(&c, 20000);
        play(&c, "C: .\nS: 250\nC: NOOP\nS: 250");
        size = lseek(keeper.file, 0, SEEK_END);
        CHECK(keeper.lends == 1 && keeper.flags & ENVELOPE_LENT, "lent");
        CHECK((uint64_t) size == keeper.body_len && size > 1600000, "all of it is in the file");
        CHECK(keeper.body.len == 0, "nothing beside it");
        client_done(&c);

        keeper.lends_nothing = true;
        c = client_new();
        send_large(&c, 20000);
        play(&c, "C: .\nS: 452 4.3.1\nC: NOOP\nS: 250");
        client_done(&c);

        keeper.lends_nothing = false;
        c = client_new();
        send_large(&c, 20000);
        client_done(&c); /* gone in the middle */
        WAIT_FOR(keeper.drops >= 1);
        CHECK(EDGE->bodies_held < 1 << 20, "memory is given back");
        finish();
}

TEST(a_replaced_keeper_gets_the_same_commit)
{
        struct client c;

        start("");
        keeper.is_silent = true;
        c = client_new();
        play(&c, HELLO TO_TARO SMALL);
        WAIT_FOR(keeper.commits == 1);
        buffer_clear(&keeper.body);
        keeper.channel = channel_free(keeper.channel);
        WAIT_FOR(!EDGE->keeper.channel);
        keeper.is_silent = false;
        connect_keeper(2);
        play(&c, "S: 250 2.0.0\nC: NOOP\nS: 250");
        CHECK(keeper.commits == 2 && keeper.message_id == keeper.first_id, "the same id");
        CHECK(keeper.body.len == keeper.body_len, "the text again");
        client_done(&c);
        finish();
}

TEST(without_a_keeper_it_is_later)
{
        struct edge *e;
        struct client c;

        start("");
        e = process.role;
        keeper.is_silent = true;
        c = client_new();
        play(&c, HELLO TO_TARO SMALL);
        WAIT_FOR(keeper.commits == 1);
        keeper.channel = channel_free(keeper.channel);
        WAIT_FOR(!EDGE->keeper.channel);
        CHECK(timer_is_set(e->keeper.patience), "patience");
        timer_set(e->keeper.patience, 1);
        play(&c, "S: 451 4.3.0\nC: MAIL FROM:<>\nS: 451 4.3.0");
        keeper.is_silent = false;
        connect_keeper(2);
        play(&c, TO_TARO SMALL "S: 250");
        CHANNEL_SEND(keeper.channel, intake, -1, .is_open = false,
                     .reason = SPAN("The disk is full"));
        WAIT_FOR(!EDGE->keeper.is_open);
        play(&c, "C: MAIL FROM:<>\nS: 452 4.3.1 The disk is full");
        CHANNEL_SEND(keeper.channel, intake, -1, .is_open = true);
        WAIT_FOR(EDGE->keeper.is_open);
        keeper.status = COMMIT_FULL;
        play(&c, TO_TARO SMALL "S: 452 4.3.1");
        keeper.status = COMMIT_REFUSED;
        play(&c, TO_TARO SMALL "S: 554 5.3.0");
        client_done(&c);
        finish();
}

TEST(a_client_that_does_not_wait_changes_nothing)
{
        struct client c;

        start("");
        keeper.is_silent = true;
        c = client_new();
        play(&c, HELLO TO_TARO SMALL);
        WAIT_FOR(keeper.commits == 1);
        client_done(&c);
        WAIT_FOR(EDGE->session_count == 0);
        answer_commit();
        WAIT_FOR(EDGE->counters.messages == 1);
        finish();
}

TEST(a_reload_between_two_commands)
{
        struct config *old;
        struct snapshot *old_snapshot;
        struct client c;

        start("");
        c = client_new();
        play(&c, HELLO TO_TARO);
        old = process.config;
        old_snapshot = process.snapshot;
        process.config = parse("limits { received_hops = 12 }");
        process.snapshot = build();
        edge_role.reloaded(&process);
        config_free(old);
        snapshot_close(old_snapshot);
        play(&c, "C: RCPT TO:<hanako@example.jp>\nS: 250\n" SMALL "S: 250 2.0.0\nC: NOOP\nS: 250");
        CHECK(strcmp(keeper.recipients, "0:taro@example.jp 1:hanako@example.jp ") == 0, "both");
        client_done(&c);
        finish();
}

TEST(stopping_lets_messages_end)
{
        struct client idle, busy;

        start("");
        idle = client_new();
        busy = client_new();
        play(&idle, HELLO);
        play(&busy, HELLO TO_TARO "C: DATA\nS: 354");
        edge_role.stop(&process, 10000);
        play(&idle, "S: 421\nS: -");
        CHECK(process_ends == 0, "one is busy");
        play(&busy, "C: text\nC: .\nS: 250 2.0.0\nS: 421\nS: -");
        client_done(&idle);
        client_done(&busy);
        WAIT_FOR(process_ends == 1);
        CHECK(keeper.commits == 1, "committed");
        finish();
}

TEST(submission_wants_a_login)
{
        struct client c;

        start("");
        listen_as(LISTEN_SUBMISSION, "submission://127.0.0.1:0");
        c = client_new();
        play(&c, HELLO "C: MAIL FROM:<a@example.net>\nS: 530 5.7.0");
        client_done(&c);
        finish();
}

TEST(a_local_user_may_relay_and_lack_a_domain)
{
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        const struct config_listen local = {.protocol = LISTEN_LOCAL, .text = SPAN("local:")};
        struct client c = {.input = BUFFER_INIT(1 << 20)};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        char note[64], record[512];

        start("");
        snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "hayauma-edge-test-%d", (int) getpid());
        CHECK(fd >= 0 && bind(fd, (struct sockaddr *) &a, sizeof a) == 0 && listen(fd, 9) == 0,
              "listen");
        edge_role.listener(&process, &local, fd);
        c.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(connect(c.fd, (struct sockaddr *) &a, sizeof a) == 0, "connect");
        play(&c, HELLO "C: MAIL FROM:<root>\nS: 250\nC: RCPT TO:<x@outside.example>\nS: 250\n"
                 "C: RCPT TO:<taro>\nS: 250\n" SMALL "S: 250");
        CHECK(strcmp(keeper.mail_from, "root@mx1.example.jp") == 0, keeper.mail_from);
        CHECK(strcmp(keeper.recipients, "0:smtp:outside.example 1:taro@example.jp ") == 0,
              keeper.recipients);
        snprintf(note, sizeof note, "uid %u", (unsigned) getuid());
        CHECK(body_has(note), "Received says who");
        describe_record(buffer_span(&keeper.record), record, sizeof record);
        CHECK(strcmp(record, "received;accepted@0=local submission;accepted@1=local user;") == 0,
              record);
        client_done(&c);
        finish();
}

TEST_MAIN()
