/* The whole role in one loop: a keeper and a resolver at the other ends of its
 * channels, and SMTP servers with their moods on loopback. */
#include "process/relay/relay_destination.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/test.h"
#include "net/dns/dns.h"
#include "net/endpoint.h"
#include "net/stream.h"
#include "net/tls/test_certificate.h"

/* A server. */

enum mood {
        GOOD,
        REFUSES_SECOND_RCPT,
        REFUSES_SESSION,
        CLOSES_AFTER_MESSAGE,
        CLOSES_AT_DATA,
        OFFERS_TLS,
        OFFERS_BROKEN_TLS,
        SILENT,
        NEVER_READS_DATA,
};

struct server {
        struct loop *loop;
        struct poller *poller;
        struct endpoint at;
        int fd;
        enum mood mood;
        bool is_lmtp;
        struct tls_context *tls;
        unsigned connections, messages, secured, quits;
        uint64_t octets;
        struct list_node sessions;
};

struct session {
        struct list_node node;
        struct server *server;
        struct stream *stream;
        bool is_in_data, is_secure;
        unsigned rcpts, taken;
};

static void say(struct session *s, const char *text)
{
        stream_write(s->stream, span_from_string(text));
}

static void session_free(struct session *s)
{
        stream_free(s->stream);
        list_remove(&s->node);
        free(s);
}

static bool on_data_line(struct session *s, struct span line)
{
        struct server *v = s->server;

        v->octets += line.len + 2;
        if (!span_equal(line, SPAN_LITERAL(".")))
                return true;
        s->is_in_data = false;
        v->messages++;
        for (unsigned i = 0; i < (v->is_lmtp ? s->taken : 1); i++)
                say(s, v->is_lmtp && i ? "452 4.2.2 full\r\n" : "250 2.0.0 taken\r\n");
        if (v->mood == CLOSES_AFTER_MESSAGE)
                stream_finish(s->stream, 100);
        return true;
}

static void on_hello(struct session *s)
{
        enum mood mood = s->server->mood;

        if ((mood == OFFERS_TLS || mood == OFFERS_BROKEN_TLS) && !s->is_secure)
                say(s, "250-mx\r\n250 STARTTLS\r\n");
        else
                say(s, "250-mx\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
}

/* False: the session is gone. */
static bool on_line(struct session *s, struct span line)
{
        struct server *v = s->server;

        if (s->is_in_data)
                return on_data_line(s, line);
        if (span_starts_with_nocase(line, SPAN_LITERAL("EHLO"))
            || span_starts_with_nocase(line, SPAN_LITERAL("LHLO"))) {
                on_hello(s);
        } else if (span_equal(line, SPAN_LITERAL("STARTTLS"))) {
                say(s, "220 go\r\n");
                if (v->mood == OFFERS_BROKEN_TLS)
                        say(s, "this is no TLS\r\n");
                else
                        stream_start_tls(s->stream, v->tls, (struct span) {NULL, 0});
        } else if (span_starts_with_nocase(line, SPAN_LITERAL("MAIL"))) {
                s->rcpts = s->taken = 0;
                say(s, "250 2.1.0 ok\r\n");
        } else if (span_starts_with_nocase(line, SPAN_LITERAL("RCPT"))) {
                bool is_refused = v->mood == REFUSES_SECOND_RCPT && s->rcpts == 1;

                s->rcpts++;
                s->taken += !is_refused;
                say(s, is_refused ? "550 5.1.1 nobody here\r\n" : "250 2.1.5 ok\r\n");
        } else if (span_equal(line, SPAN_LITERAL("DATA"))) {
                if (v->mood == CLOSES_AT_DATA) {
                        session_free(s);
                        return false;
                }
                s->is_in_data = true;
                say(s, "354 go\r\n");
                if (v->mood == NEVER_READS_DATA)
                        stream_pause(s->stream);
        } else if (span_equal(line, SPAN_LITERAL("QUIT"))) {
                v->quits++;
                say(s, "221 bye\r\n");
                stream_finish(s->stream, 100);
        } else {
                say(s, "250 ok\r\n");
        }
        return true;
}

static size_t on_input(struct stream *stream, void *arg, struct span in)
{
        struct session *s = arg;
        size_t used = 0, end;

        (void) stream;
        while ((end = span_find(span_skip(in, used), '\n')) != SIZE_MAX) {
                struct span line = span_first(span_skip(in, used), end);

                used += end + 1;
                if (line.len && line.p[line.len - 1] == '\r')
                        line.len--;
                if (!on_line(s, line))
                        return 0;
        }
        return used;
}

static void on_secured(struct stream *stream, void *arg)
{
        struct session *s = arg;

        (void) stream;
        s->is_secure = true;
        s->server->secured++;
}

static void on_closed(struct stream *stream, void *arg, int reason)
{
        (void) stream;
        (void) reason;
        session_free(arg);
}

static const struct stream_handler session_handler = {on_input, NULL, on_secured, on_closed};

static void on_accept(void *arg, int events)
{
        const struct stream_limits limits = {64 * 1024, 64 * 1024};
        struct server *v = arg;
        struct session *s;
        int fd;

        (void) events;
        if (endpoint_accept(v->fd, &fd, NULL) < 0)
                return;
        s = calloc(1, sizeof *s);
        s->server = v;
        v->connections++;
        list_append(&v->sessions, &s->node);
        CHECK(stream_new(v->loop, fd, &limits, &session_handler, s, &s->stream) == 0, "s");
        if (v->mood == REFUSES_SESSION)
                say(s, "554 5.7.1 we know you\r\n");
        else if (v->mood != SILENT)
                say(s, "220 mx ESMTP\r\n");
}

static void server_start(struct server *v, struct loop *l, const char *host, enum mood mood)
{
        *v = (struct server) {.loop = l, .mood = mood};
        list_init(&v->sessions);
        CHECK(endpoint_from_host(span_from_string(host), 0, &v->at) == 0, host);
        CHECK(endpoint_listen(&v->at, false, 64, &v->fd) == 0, host);
        CHECK(endpoint_of_socket(v->fd, &v->at) == 0, host);
        CHECK(poller_new(l, v->fd, on_accept, v, &v->poller) == 0, host);
        poller_set(v->poller, POLL_READ);
}

static void server_stop(struct server *v)
{
        LIST_FOR_EACH(node, &v->sessions)
                session_free(LIST_OBJECT(node, struct session, node));
        poller_free(v->poller);
        close(v->fd);
        tls_context_unref(v->tls);
}

/* The site: relay, keeper, resolver. */

enum { JOBS_MAX = 64, RCPTS_MAX = 4 };

struct seen {
        unsigned code[RCPTS_MAX], answers[RCPTS_MAX];
        char enhanced[RCPTS_MAX][20], text[RCPTS_MAX][256], host[128];
        unsigned rcpts;
        bool is_host_failure;
};

struct site {
        struct config config;
        struct process p;
        struct channel *keeper, *resolver; /* the other ends */
        struct server server;
        struct seen seen[JOBS_MAX];
        unsigned answered; /* recipients */
        struct span addresses; /* the resolver's answer: IPv4 */
        uint8_t dns_status;
        unsigned queries, credits;
};

static void on_outcome(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct site *t = arg;
        struct seen *seen = &t->seen[m->outcome.job];
        struct reader each = ipc_items_read(m->outcome.results);
        struct ipc_result result;

        (void) ch;
        (void) fd;
        snprintf(seen->host, sizeof seen->host, "%.*s", (int) m->outcome.host.len,
                 m->outcome.host.p);
        seen->is_host_failure = m->outcome.is_host_failure;
        while (ipc_next_result(&each, &result)) {
                CHECK(result.index < RCPTS_MAX && seen->answers[result.index]++ == 0, "once");
                seen->code[result.index] = result.code;
                snprintf(seen->text[result.index], 256, "%.*s", (int) result.text.len,
                         result.text.p);
                snprintf(seen->enhanced[result.index], 20, "%.*s", (int) result.enhanced.len,
                         result.enhanced.p);
                t->answered++;
        }
}

static void on_query(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct site *t = arg;
        struct buffer hosts = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct ipc_items items = {0};

        (void) fd;
        t->queries++;
        ipc_add_mx_host(&hosts, &items, &(struct ipc_mx_host) {
                .preference = 10, .name = SPAN("mx.example.jp"), .ipv4 = t->addresses});
        CHANNEL_SEND(ch, mx_answer, -1, .query = m->mx_query.query, .status = t->dns_status,
                     .ttl_s = 60, .hosts = items);
        buffer_done(&hosts);
}

static void on_credit(struct channel *ch, void *arg)
{
        (void) ch;
        ((struct site *) arg)->credits++;
}

static void on_gone(struct channel *ch, void *arg, int reason)
{
        (void) ch;
        (void) arg;
        (void) reason;
}

static const struct channel_handler keeper_handler = {
        .on = {[IPC_outcome] = on_outcome}, .credit = on_credit, .closed = on_gone};
static const struct channel_handler resolver_handler = {
        .on = {[IPC_mx_query] = on_query}, .closed = on_gone};

static void connect_peer(struct site *t, enum process_kind kind,
                         const struct channel_handler *handler, struct channel **ret)
{
        int fds[2];

        CHECK(channel_pair(fds) == 0, "pair");
        CHECK(channel_new(t->p.loop, fds[0], handler, t, ret) == 0, "channel");
        relay_role.peer(&t->p, kind, 0, 1, fds[1]);
}

static void site_start(struct site *t, enum mood mood)
{
        memset(t, 0, sizeof *t);
        t->config.hostname = SPAN_LITERAL("relay.example.jp");
        t->p.config = &t->config;
        t->p.loop = loop_new();
        CHECK(relay_role.prepare(&t->p) == 0 && relay_role.start(&t->p) == 0, "start");
        connect_peer(t, PROCESS_KEEPER, &keeper_handler, &t->keeper);
        connect_peer(t, PROCESS_RESOLVER, &resolver_handler, &t->resolver);
        server_start(&t->server, t->p.loop, "127.0.0.1", mood);
        t->config.dns.port = endpoint_port(&t->server.at);
}

static void forget(struct table_node *n, void *arg)
{
        struct relay_destination *d = TABLE_OBJECT(n, struct relay_destination, by_text);

        (void) arg;
        d->plain_until_ms = 0;
        relay_destination_release(d);
}

/* Ends the relay as the end of its keeper does; all it holds must go. */
static void site_stop(struct site *t)
{
        struct relay *r = t->p.role;

        t->keeper = channel_free(t->keeper);
        t->resolver = channel_free(t->resolver);
        for (int i = 0; i < 50 && (r->keeper || r->resolver); i++)
                loop_run_once(t->p.loop, 2);
        CHECK(r->job_count == 0 && list_is_empty(&r->jobs), "no job is left");
        server_stop(&t->server);
        for (int i = 0; i < 200 && r->connection_count; i++)
                loop_run_once(t->p.loop, 5);
        CHECK(r->connection_count == 0, "no connection is left");
        table_visit(&r->destinations, forget, NULL);
        CHECK(r->destinations.count == 0, "no destination is left");
        table_done(&r->destinations);
        table_done(&r->jobs_by_number);
        table_done(&r->queries);
        tls_context_unref(r->tls);
        timer_free(r->sweep);
        timer_free(r->push);
        relay_job_trim(r);
        buffer_done(&r->output);
        free(r->file_buffer);
        free(r->hostname);
        free(r);
        loop_free(t->p.loop);
}

#define UNTIL(t, condition)                                                                        \
        for (int rounds_left = 1000; rounds_left > 0 && !(condition); rounds_left--)              \
        loop_run_once((t)->p.loop, 2)

static void send_job(struct site *t, unsigned number, const char *next_hop, unsigned rcpts,
                     size_t body_len)
{
        struct buffer targets = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct ipc_items items = {0};
        char *body = calloc(1, body_len + 1);
        size_t first = body_len < IPC_BODY_PART_MAX ? body_len : IPC_BODY_PART_MAX;

        for (size_t i = 0; i < body_len; i++)
                body[i] = "0123456789abcdef\r\n"[i % 18];
        for (uint32_t i = 0; i < rcpts; i++)
                ipc_add_target(&targets, &items,
                               &(struct ipc_target) {.index = i, .rcpt_to = SPAN("u@example.jp")});
        t->seen[number].rcpts = rcpts;
        CHECK(CHANNEL_SEND(t->keeper, job, -1, .job = number, .message_id = 1000 + number,
                           .next_hop = span_from_string(next_hop),
                           .mail_from = SPAN("a@example.net"), .recipients = items,
                           .body_len = body_len, .octets = span_make(body, first)) == 0, "job");
        for (size_t at = first; at < body_len;) {
                size_t len = body_len - at < IPC_BODY_PART_MAX ? body_len - at : IPC_BODY_PART_MAX;

                CHECK(CHANNEL_SEND(t->keeper, body, -1, .message_id = 1000 + number,
                                   .octets = span_make(body + at, len)) == 0, "body");
                at += len;
        }
        buffer_done(&targets);
        free(body);
}

static const char *hop_to(const struct site *t, const char *mailer)
{
        static char text[80];

        snprintf(text, sizeof text, "%s:[127.0.0.1]:%u", mailer, endpoint_port(&t->server.at));
        return text;
}

TEST(messages_go_over_one_warm_connection)
{
        struct site t;
        struct relay *r;

        site_start(&t, REFUSES_SECOND_RCPT);
        r = t.p.role;
        for (unsigned i = 0; i < 5; i++) {
                send_job(&t, i, hop_to(&t, "smtp"), 3, 1800);
                UNTIL(&t, t.answered == 3 * (i + 1));
                CHECK(t.seen[i].code[0] == 250 && t.seen[i].code[1] == 550
                      && t.seen[i].code[2] == 250, "codes");
                CHECK(strcmp(t.seen[i].text[1], "nobody here") == 0, t.seen[i].text[1]);
                CHECK(strcmp(t.seen[i].enhanced[1], "5.1.1") == 0, t.seen[i].enhanced[1]);
                CHECK(strncmp(t.seen[i].host, "[127.0.0.1]:", 12) == 0, t.seen[i].host);
                CHECK(!t.seen[i].is_host_failure, "no failure");
        }
        CHECK(t.server.connections == 1 && t.server.messages == 5, "one connection");
        CHECK(r->delivered == 10 && r->refused == 5, "counted");
        site_stop(&t);
}

TEST(jobs_at_once_get_connections_of_their_own)
{
        struct site t;

        site_start(&t, GOOD);
        for (unsigned i = 0; i < 20; i++)
                send_job(&t, i, hop_to(&t, "smtp"), 1, 500);
        UNTIL(&t, t.answered == 20);
        CHECK(t.server.messages == 20 && t.server.connections <= 20, "all");
        for (unsigned i = 20; i < 60; i++)
                send_job(&t, i, hop_to(&t, "smtp"), 1, 500); /* some are chained now */
        UNTIL(&t, t.answered == 60);
        for (unsigned i = 0; i < 60; i++)
                CHECK(t.seen[i].code[0] == 250, t.seen[i].text[0]);
        site_stop(&t);
}

TEST(a_quick_host_gets_fewer_connections_that_send_more)
{
        struct site t;

        site_start(&t, GOOD);
        send_job(&t, 0, hop_to(&t, "smtp"), 1, 500); /* by which it is known to be quick */
        UNTIL(&t, t.answered == 1);
        for (unsigned i = 1; i < 41; i++)
                send_job(&t, i, hop_to(&t, "smtp"), 1, 500);
        UNTIL(&t, t.answered == 41);
        for (unsigned i = 0; i < 41; i++)
                CHECK(t.seen[i].code[0] == 250, t.seen[i].text[0]);
        CHECK(t.server.messages == 41, "each once");
        CHECK(t.server.connections <= 12, "each of them took several");
        site_stop(&t);
}

TEST(jobs_do_not_wait_for_a_host_that_was_quick)
{
        struct site t;

        site_start(&t, GOOD);
        send_job(&t, 0, hop_to(&t, "smtp"), 1, 500);
        UNTIL(&t, t.answered == 1);
        t.server.mood = NEVER_READS_DATA;
        for (unsigned i = 1; i < 5; i++)
                send_job(&t, i, hop_to(&t, "smtp"), 1, 300000);
        for (int i = 0; i < 40; i++)
                loop_run_once(t.p.loop, 2);
        CHECK(t.answered == 1, "four are stuck");
        t.server.mood = GOOD;
        send_job(&t, 5, hop_to(&t, "smtp"), 1, 500);
        send_job(&t, 6, hop_to(&t, "smtp"), 1, 500);
        UNTIL(&t, t.answered == 3);
        CHECK(t.seen[5].code[0] == 250 && t.seen[6].code[0] == 250, "by other connections");
        site_stop(&t);
}

TEST(a_connection_closed_between_messages_costs_nothing)
{
        struct site t;

        site_start(&t, CLOSES_AFTER_MESSAGE);
        for (unsigned i = 0; i < 5; i++) {
                send_job(&t, i, hop_to(&t, "smtp"), 1, 100);
                UNTIL(&t, t.answered == i + 1);
                CHECK(t.seen[i].code[0] == 250, t.seen[i].text[0]);
        }
        CHECK(t.server.messages == 5, "each once");
        site_stop(&t);
}

TEST(lmtp_has_a_reply_for_each)
{
        struct site t;

        site_start(&t, GOOD);
        t.server.is_lmtp = true;
        send_job(&t, 0, hop_to(&t, "lmtp"), 2, 100);
        UNTIL(&t, t.answered == 2);
        CHECK(t.seen[0].code[0] == 250 && t.seen[0].code[1] == 452, "one each");
        site_stop(&t);
}

static const struct {
        const char *name;
        enum mood mood;
        const char *next_hop; /* NULL: the server */
        const char *enhanced, *text;
        bool is_host_failure;
} failures[] = {
        { "refused session", REFUSES_SESSION, NULL, "4.4.1", "554 we know you", true },
        { "closed at DATA", CLOSES_AT_DATA, NULL, "4.4.2", "lost while we waited for the reply to",
          true },
        { "nobody listens", GOOD, "smtp:[127.0.0.1]:1", "4.4.1", "refused", true },
        { "a socket path", GOOD, "lmtp:unix:/run/lmtp", "4.3.5", "lmtp_sockets", false },
        { "no next hop", GOOD, "smtp:[", "4.3.5", "cannot be understood", false },
        { "another mailer", GOOD, "discard:x", "4.3.5", "mailer", false },
};

TEST(failures_say_why)
{
        for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
                struct site t;

                site_start(&t, failures[i].mood);
                send_job(&t, 7, failures[i].next_hop ? failures[i].next_hop : hop_to(&t, "smtp"), 2,
                         100);
                UNTIL(&t, t.answered == 2);
                CHECK(t.answered == 2 && t.seen[7].code[0] == 0, failures[i].name);
                CHECK(strcmp(t.seen[7].enhanced[0], failures[i].enhanced) == 0,
                      t.seen[7].enhanced[0]);
                CHECK(strstr(t.seen[7].text[1], failures[i].text), t.seen[7].text[1]);
                CHECK(t.seen[7].is_host_failure == failures[i].is_host_failure, failures[i].name);
                site_stop(&t);
        }
}

TEST(names_and_their_addresses)
{
        /* 127.0.0.2 has no server, 127.0.0.1 has. */
        const char octets[] = {127, 0, 0, 2, 127, 0, 0, 1};
        struct site t;

        site_start(&t, GOOD);
        t.addresses = span_make(octets, sizeof octets);
        for (unsigned i = 0; i < 4; i++)
                send_job(&t, i, "smtp:example.jp", 1, 100);
        UNTIL(&t, t.answered == 4);
        for (unsigned i = 0; i < 4; i++) {
                CHECK(t.seen[i].code[0] == 250, t.seen[i].text[0]);
                CHECK(strncmp(t.seen[i].host, "mx.example.jp [127.0.0.1]:", 26) == 0,
                      t.seen[i].host);
        }
        CHECK(t.queries == 1, "one question for all");
        t.dns_status = DNS_NXDOMAIN;
        send_job(&t, 10, "smtp:nowhere.example", 1, 100);
        t.answered = 0;
        UNTIL(&t, t.answered == 1);
        CHECK(t.seen[10].code[0] == 550 && strcmp(t.seen[10].enhanced[0], "5.1.2") == 0,
              t.seen[10].text[0]);
        t.dns_status = DNS_SERVFAIL;
        send_job(&t, 11, "smtp:broken.example", 1, 100);
        UNTIL(&t, t.answered == 2);
        CHECK(t.seen[11].code[0] == 0, t.seen[11].text[0]);
        site_stop(&t);
}

static void check_tls(enum mood mood, unsigned secured, unsigned connections)
{
        struct buffer pem = BUFFER_INIT(1 << 20), ca = BUFFER_INIT(1 << 20);
        char error[TLS_ERROR_MAX];
        struct site t;

        site_start(&t, mood);
        test_certificate("mx.example.jp", &pem, &ca);
        CHECK(tls_context_new_server(buffer_span(&pem), &t.server.tls, error) == 0, error);
        for (unsigned i = 0; i < 3; i++) {
                send_job(&t, i, hop_to(&t, "smtp"), 1, 200000);
                UNTIL(&t, t.answered == i + 1);
                CHECK(t.seen[i].code[0] == 250, t.seen[i].text[0]);
        }
        CHECK(t.server.secured == secured && t.server.connections == connections, "TLS");
        buffer_done(&pem);
        buffer_done(&ca);
        site_stop(&t);
}

TEST(tls_where_it_is_offered)
{
        check_tls(OFFERS_TLS, 1, 1);
}

/* Once: without TLS for the next ten minutes, which outlive this test. */
TEST(broken_tls_is_done_without)
{
        check_tls(OFFERS_BROKEN_TLS, 0, 2);
}

TEST(a_large_body_waits_for_a_slow_host)
{
        struct site t;
        size_t len = 3 << 20;

        site_start(&t, NEVER_READS_DATA);
        send_job(&t, 0, hop_to(&t, "smtp"), 1, len * 4);
        for (int i = 0; i < 60; i++)
                loop_run_once(t.p.loop, 2);
        CHECK(!channel_has_credit(t.keeper), "the keeper is held");
        t.server.mood = GOOD;
        LIST_FOR_EACH(node, &t.server.sessions)
                stream_resume(LIST_OBJECT(node, struct session, node)->stream);
        UNTIL(&t, t.answered == 1);
        CHECK(t.seen[0].code[0] == 250, t.seen[0].text[0]);
        CHECK(channel_has_credit(t.keeper) && t.credits >= 1, "and let go");
        CHECK(t.server.octets >= len * 4, "all came");
        site_stop(&t);
}

TEST(a_cancelled_job_is_answered_and_the_rest_goes_on)
{
        struct site t;

        site_start(&t, SILENT);
        send_job(&t, 0, hop_to(&t, "smtp"), 2, 100);
        for (int i = 0; i < 10; i++)
                loop_run_once(t.p.loop, 2);
        CHECK(t.answered == 0, "waits");
        CHANNEL_SEND(t.keeper, job_cancel, -1, .job = 0);
        UNTIL(&t, t.answered == 2);
        CHECK(t.seen[0].code[0] == 0 && strstr(t.seen[0].text[0], "cancelled"), t.seen[0].text[0]);
        CHECK(!t.seen[0].is_host_failure, "not the host's fault");
        t.server.mood = GOOD;
        send_job(&t, 1, hop_to(&t, "smtp"), 1, 100);
        UNTIL(&t, t.answered == 3);
        CHECK(t.seen[1].code[0] == 250, t.seen[1].text[0]);
        site_stop(&t);
}

TEST(the_end_of_the_keeper_drops_everything)
{
        const enum mood moods[] = {SILENT, NEVER_READS_DATA, GOOD};

        for (size_t i = 0; i < 3; i++)
                for (int rounds = 0; rounds < 8; rounds++) {
                        struct site t;

                        site_start(&t, moods[i]);
                        send_job(&t, 0, hop_to(&t, "smtp"), 2, 300000);
                        send_job(&t, 1, "smtp:example.jp", 2, 100);
                        for (int k = 0; k < rounds; k++)
                                loop_run_once(t.p.loop, 1);
                        site_stop(&t); /* checks */
                }
}

TEST_MAIN()
