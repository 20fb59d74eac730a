/* Streams over real socket pairs, plain and under TLS, both ends in one loop. */
#include "net/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "net/tls/test_certificate.h"

enum free_where { NOWHERE, IN_INPUT, IN_DRAINED, IN_SECURED, IN_CLOSED };

struct end {
        struct stream *s;
        struct buffer got;
        size_t leave; /* octets that input leaves unused */
        enum free_where free_where;
        bool pause_in_input, finish_in_input, tls_in_input;
        int inputs, drained, secured, closed, reason;
        struct tls_context *tls;
};

static bool freed_here(struct end *e, enum free_where where)
{
        if (e->free_where != where)
                return false;
        e->s = stream_free(e->s);
        return true;
}

static size_t on_input(struct stream *s, void *arg, struct span in)
{
        struct end *e = arg;
        size_t used = in.len > e->leave ? in.len - e->leave : 0;

        e->inputs++;
        CHECK(!e->closed, "no input after closed");
        buffer_append(&e->got, in.p, used);
        if (freed_here(e, IN_INPUT))
                return 12345;
        if (e->pause_in_input)
                stream_pause(s);
        if (e->finish_in_input) {
                stream_write(s, SPAN_LITERAL("bye"));
                stream_finish(s, 1000);
        }
        if (e->tls_in_input) {
                e->tls_in_input = false;
                CHECK(stream_start_tls(s, e->tls, (struct span) {NULL, 0}) == 0, "start_tls");
        }
        return used;
}

static void on_drained(struct stream *s, void *arg)
{
        struct end *e = arg;

        (void) s;
        e->drained++;
        freed_here(e, IN_DRAINED);
}

static void on_secured(struct stream *s, void *arg)
{
        struct end *e = arg;

        CHECK(stream_tls(s) != NULL, "a session once secured");
        e->secured++;
        freed_here(e, IN_SECURED);
}

static void on_closed(struct stream *s, void *arg, int reason)
{
        struct end *e = arg;

        CHECK(!e->closed, "closed once");
        CHECK(stream_error(s) != NULL, "stream_error");
        e->closed++;
        e->reason = reason;
        freed_here(e, IN_CLOSED);
}

static const struct stream_handler handler = {on_input, on_drained, on_secured, on_closed};
static const struct stream_limits limits = {.input_max = 64 * 1024, .output_max = 1024 * 1024};

struct pair {
        struct loop *l;
        struct end a, b;
};

static void pair_init(struct pair *p, const struct stream_limits *b_limits)
{
        int fds[2];

        *p = (struct pair) {.l = loop_new()};
        p->a.got = p->b.got = BUFFER_INIT(64 << 20);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0, "pair");
        CHECK(stream_new(p->l, fds[0], &limits, &handler, &p->a, &p->a.s) == 0, "new");
        CHECK(stream_new(p->l, fds[1], b_limits ? b_limits : &limits, &handler, &p->b,
                         &p->b.s) == 0, "new");
}

static void pair_done(struct pair *p)
{
        stream_free(p->a.s);
        stream_free(p->b.s);
        buffer_done(&p->a.got);
        buffer_done(&p->b.got);
        tls_context_unref(p->a.tls);
        tls_context_unref(p->b.tls);
        loop_free(p->l);
}

static void turn(struct pair *p, int rounds)
{
        while (rounds-- > 0)
                loop_run_once(p->l, 2);
}

/* Runs until the condition holds; else for ten seconds, of which few are too few somewhere. */
#define UNTIL(p, condition)                                                                        \
        for (int rounds_left = 5000; rounds_left > 0 && !(condition); rounds_left--)              \
        loop_run_once((p)->l, 2)

static void use_tls(struct pair *p)
{
        struct buffer pem = BUFFER_INIT(1 << 20), ca = BUFFER_INIT(1 << 20);
        char error[TLS_ERROR_MAX];

        test_certificate("mx.example.jp", &pem, &ca);
        CHECK(tls_context_new_server(buffer_span(&pem), &p->b.tls, error) == 0, "server");
        CHECK(tls_context_new_client(buffer_span(&ca), &p->a.tls, error) == 0, "client");
        buffer_done(&pem);
        buffer_done(&ca);
}

static void start_tls(struct pair *p)
{
        use_tls(p);
        CHECK(stream_start_tls(p->b.s, p->b.tls, (struct span) {NULL, 0}) == 0, "b");
        CHECK(stream_start_tls(p->a.s, p->a.tls, SPAN_LITERAL("mx.example.jp")) == 0, "a");
        CHECK(stream_tls(p->a.s) == NULL, "not yet");
}

static const char *label(bool is_tls)
{
        return is_tls ? "TLS" : "plain";
}

/* What one end leaves is shown again, in front of the next octets. */
static void check_left_over(bool is_tls)
{
        struct pair p;

        pair_init(&p, NULL);
        if (is_tls)
                start_tls(&p);
        p.b.leave = 2;
        stream_write(p.a.s, SPAN_LITERAL("abc"));
        stream_write(p.a.s, SPAN_LITERAL("def"));
        UNTIL(&p, p.b.got.len == 4);
        CHECK(p.b.inputs == 1, "two writes of one round leave as one");
        CHECK(span_equal(buffer_span(&p.b.got), SPAN_LITERAL("abcd")), label(is_tls));
        stream_write(p.a.s, SPAN_LITERAL("gh"));
        UNTIL(&p, p.b.got.len == 6);
        CHECK(span_equal(buffer_span(&p.b.got), SPAN_LITERAL("abcdef")), label(is_tls));
        p.b.leave = 0;
        stream_resume(p.b.s);
        CHECK(p.b.got.len == 6, "never from within stream_resume");
        turn(&p, 2);
        CHECK(span_equal(buffer_span(&p.b.got), SPAN_LITERAL("abcdefgh")), label(is_tls));
        CHECK(p.a.drained >= 1 && stream_output_len(p.a.s) == 0, "drained");
        pair_done(&p);
}

TEST(input_left_over_is_shown_again)
{
        check_left_over(false);
        check_left_over(true);
}

/* More than the sockets and output_max hold: refused, told when there is room,
 * nothing lost. */
static void check_flood(bool is_tls)
{
        struct pair p;
        size_t queued = 0, total = 8 << 20;
        char block[1 << 16];
        int refusals = 0;

        pair_init(&p, NULL);
        if (is_tls)
                start_tls(&p);
        while (p.b.got.len < total) {
                while (queued < total) {
                        for (size_t i = 0; i < sizeof block; i++)
                                block[i] = (char) ((queued + i) * 7 >> 3);
                        int r = stream_write(p.a.s, span_make(block, sizeof block));

                        if (r == -ENOBUFS) {
                                refusals++;
                                break;
                        }
                        queued += sizeof block;
                }
                loop_run_once(p.l, 2);
        }
        CHECK(refusals > 0 && p.a.drained > 0, "refused above output_max, told when there is room");
        for (size_t i = 0; i < total; i++)
                if (buffer_span(&p.b.got).p[i] != (char) (i * 7 >> 3))
                        CHECK(false, "octets in order");
        CHECK(p.b.got.len == total, "all and no more");
        pair_done(&p);
}

TEST(back_pressure)
{
        check_flood(false);
        check_flood(true);
}

static void check_pausing(bool is_tls)
{
        const struct stream_limits small = {.input_max = 1000, .output_max = 4096};
        struct pair p;
        size_t total = 300000;

        pair_init(&p, &small);
        if (is_tls)
                start_tls(&p);
        p.b.pause_in_input = true;
        for (size_t i = 0; i < total; i += 10)
                CHECK(stream_write(p.a.s, SPAN_LITERAL("0123456789")) == 0, "write");
        while (p.b.got.len < total) {
                int inputs = p.b.inputs;

                UNTIL(&p, p.b.inputs > inputs);
                CHECK(p.b.inputs == inputs + 1, "a paused stream shows nothing");
                if (inputs % 50 == 0) {
                        turn(&p, 1);
                        CHECK(p.b.inputs == inputs + 1, "nor later");
                }
                stream_resume(p.b.s);
        }
        for (size_t i = 0; i < total; i++)
                if (buffer_span(&p.b.got).p[i] != (char) ('0' + i % 10))
                        CHECK(false, "octets in order");
        pair_done(&p);
}

/* At once as far as it can be; then in order behind what is queued, and told. */
static void check_write_now(bool is_tls)
{
        struct pair p;
        size_t total = 0;
        char block[1 << 16];

        pair_init(&p, NULL);
        memset(block, 'x', sizeof block);
        if (is_tls) {
                start_tls(&p);
                UNTIL(&p, p.a.secured && p.b.secured);
        }
        p.a.drained = 0;
        CHECK(stream_write_now(p.a.s, SPAN_LITERAL("abc")) == 0, label(is_tls));
        CHECK(is_tls || stream_output_len(p.a.s) == 0, "nothing is kept");
        UNTIL(&p, p.b.got.len == 3);
        CHECK(span_equal(buffer_span(&p.b.got), SPAN_LITERAL("abc")), label(is_tls));
        CHECK(is_tls || p.a.drained == 0, "and nothing told of it");
        stream_write(p.a.s, SPAN_LITERAL("d"));
        CHECK(stream_write_now(p.a.s, SPAN_LITERAL("e")) == 0, "not before what waits");
        for (total = 5; stream_write_now(p.a.s, span_make(block, sizeof block)) == 0;)
                total += sizeof block;
        CHECK(stream_output_len(p.a.s) > limits.output_max / 2, "what is too much is refused");
        UNTIL(&p, p.b.got.len == total);
        CHECK(p.b.got.len == total && p.a.drained > 0, label(is_tls));
        CHECK(span_starts_with_nocase(buffer_span(&p.b.got), SPAN_LITERAL("abcdex")), "in order");
        pair_done(&p);
}

TEST(what_is_written_now_is_not_kept)
{
        check_write_now(false);
        check_write_now(true);
}

TEST(trouble_of_writing_now_is_told_later)
{
        struct pair p;

        pair_init(&p, NULL);
        p.b.s = stream_free(p.b.s);
        CHECK(stream_write_now(p.a.s, SPAN_LITERAL("abc")) == 0 && !p.a.closed, "not from within");
        CHECK(stream_write_now(p.a.s, SPAN_LITERAL("def")) == 0 && !p.a.closed, "nor then");
        turn(&p, 2);
        CHECK(p.a.closed == 1 && p.a.reason == -EPIPE, stream_error(p.a.s));
        pair_done(&p);
}

TEST(pausing_loses_nothing)
{
        check_pausing(false);
        check_pausing(true);
}

/* Input that nobody takes stops being read. */
TEST(unused_input_is_bounded)
{
        const struct stream_limits small = {.input_max = 1000, .output_max = 4096};
        struct pair p;
        char block[4000];

        memset(block, 'x', sizeof block);
        pair_init(&p, &small);
        p.b.leave = SIZE_MAX;
        for (int i = 0; i < 200; i++)
                stream_write(p.a.s, span_make(block, sizeof block));
        turn(&p, 10);
        CHECK(p.b.inputs <= 2 && p.b.got.len == 0, "stopped");
        CHECK(stream_output_len(p.a.s) > 0, "and the sender feels it");
        p.b.leave = 0;
        stream_resume(p.b.s);
        UNTIL(&p, p.b.got.len == 200 * sizeof block);
        CHECK(p.b.got.len == 200 * sizeof block, "then goes on");
        pair_done(&p);
}

static void check_end(bool is_tls)
{
        struct pair p;

        pair_init(&p, NULL);
        if (is_tls)
                start_tls(&p);
        stream_write(p.a.s, SPAN_LITERAL("hello"));
        UNTIL(&p, p.b.got.len == 5);
        turn(&p, 3); /* tickets left unread would make it a reset */
        p.a.s = stream_free(p.a.s);
        UNTIL(&p, p.b.closed);
        CHECK(p.b.closed == 1 && p.b.reason == 0, label(is_tls));
        CHECK(stream_write(p.b.s, SPAN_LITERAL("x")) == -EPIPE, label(is_tls));
        pair_done(&p);
}

/* What was said last arrives whole, whether the end is waited for or not. */
TEST(an_end_that_comes_soon)
{
        for (int i = 0; i < 4; i++) {
                const bool is_tls = i & 1, has_unread = i & 2;
                struct pair p;

                pair_init(&p, NULL);
                if (is_tls)
                        start_tls(&p);
                if (has_unread)
                        stream_pause(p.b.s);
                stream_write(p.a.s, SPAN_LITERAL("QUIT"));
                if (has_unread)
                        turn(&p, 3);
                else
                        UNTIL(&p, p.b.got.len == 4);
                stream_write(p.b.s, SPAN_LITERAL("221 bye"));
                stream_finish_soon(p.b.s, 1000);
                UNTIL(&p, p.a.closed);
                CHECK(p.a.got.len == 7 && p.a.reason == 0, label(is_tls));
                p.a.s = stream_free(p.a.s);
                UNTIL(&p, p.b.closed);
                CHECK(p.b.closed == 1 && p.b.reason == 0, label(is_tls));
                pair_done(&p);
        }
}

TEST(the_peers_end_is_told)
{
        check_end(false);
        check_end(true);
}

static void check_finish(bool is_tls, size_t len)
{
        struct pair p;
        char *big = calloc(1, len + 1);

        pair_init(&p, NULL);
        if (is_tls)
                start_tls(&p);
        stream_write(p.b.s, span_make(big, len));
        p.b.finish_in_input = true;
        stream_write(p.a.s, SPAN_LITERAL("QUIT and much more that nobody reads"));
        UNTIL(&p, p.a.closed);
        CHECK(p.a.got.len == len + 3, "all that was queued came");
        p.a.s = stream_free(p.a.s);
        UNTIL(&p, p.b.closed);
        CHECK(p.b.closed == 1 && p.b.reason == 0, label(is_tls));
        CHECK(p.b.inputs == 1, "no input after stream_finish");
        free(big);
        pair_done(&p);
}

TEST(finish_sends_the_rest)
{
        check_finish(false, 0);
        check_finish(true, 0);
        check_finish(false, 900000);
        check_finish(true, 900000);
}

TEST(finish_ends_in_time_with_a_peer_that_does_not_read)
{
        struct pair p;
        char *big = calloc(1, 900000);

        pair_init(&p, NULL);
        stream_pause(p.b.s);
        stream_write(p.a.s, span_make(big, 900000));
        turn(&p, 2);
        stream_finish(p.a.s, 20);
        UNTIL(&p, p.a.closed);
        CHECK(p.a.closed && p.a.reason == 0, "in time");
        free(big);
        pair_done(&p);
}

TEST(idle_timeout)
{
        struct pair p;
        uint64_t now_ms = 1000;

        pair_init(&p, NULL);
        loop_fake(p.l, now_ms);
        stream_set_idle_timeout(p.b.s, 500);
        for (size_t i = 1; i <= 4; i++) {
                stream_write(p.a.s, SPAN_LITERAL("x"));
                UNTIL(&p, p.b.got.len == i);
                loop_fake(p.l, now_ms += i < 4 ? 499 : 0);
                turn(&p, 2);
                CHECK(!p.b.closed, "what comes keeps it alive");
        }
        loop_fake(p.l, now_ms + 499);
        turn(&p, 2);
        CHECK(!p.b.closed, "not yet");
        loop_fake(p.l, now_ms + 501);
        UNTIL(&p, p.b.closed);
        CHECK(p.b.reason == -ETIMEDOUT, "timeout");
        CHECK(strstr(stream_error(p.b.s), "too long"), "in words");
        pair_done(&p);
}

TEST(tls_facts_and_order)
{
        struct pair p;

        pair_init(&p, NULL);
        stream_write(p.b.s, SPAN_LITERAL("220 go\r\n")); /* before TLS: in plaintext */
        use_tls(&p);
        CHECK(stream_start_tls(p.b.s, p.b.tls, (struct span) {NULL, 0}) == 0, "b");
        stream_write(p.b.s, SPAN_LITERAL("250 secret")); /* after: under TLS */
        UNTIL(&p, p.a.got.len == 8);
        CHECK(span_equal(buffer_span(&p.a.got), SPAN_LITERAL("220 go\r\n")), "plaintext first");
        CHECK(stream_start_tls(p.a.s, p.a.tls, SPAN_LITERAL("mx.example.jp")) == 0, "a");
        UNTIL(&p, p.a.got.len == 18);
        CHECK(p.a.secured == 1 && p.b.secured == 1, "secured");
        CHECK(strcmp(tls_session_version(stream_tls(p.a.s)), "TLSv1.3") == 0, "version");
        CHECK(tls_session_cipher_bits(stream_tls(p.b.s)) >= 128, "bits");
        CHECK(strstr(tls_session_cipher(stream_tls(p.b.s)), "TLS_"), "cipher");
        CHECK(span_equal(span_skip(buffer_span(&p.a.got), 8), SPAN_LITERAL("250 secret")), "then");
        pair_done(&p);
}

/* RFC 3207 section 4.2: what came in plaintext behind STARTTLS is void. */
TEST(plaintext_behind_starttls_is_discarded)
{
        struct pair p;

        pair_init(&p, NULL);
        use_tls(&p);
        p.b.tls_in_input = true;
        p.b.leave = 21;
        stream_write(p.a.s, SPAN_LITERAL("STARTTLS\r\nMAIL FROM:<evil@x>\r\n"));
        UNTIL(&p, p.b.inputs == 1);
        p.b.leave = 0;
        p.b.got.len = 0;
        CHECK(stream_start_tls(p.a.s, p.a.tls, SPAN_LITERAL("mx.example.jp")) == 0, "a");
        stream_write(p.a.s, SPAN_LITERAL("EHLO"));
        UNTIL(&p, p.b.got.len >= 4);
        CHECK(span_equal(buffer_span(&p.b.got), SPAN_LITERAL("EHLO")), "only what came under TLS");
        pair_done(&p);
}

static const struct {
        const char *name, *octets, *text;
} not_tls[] = {
        { "a mail command", "EHLO there\r\nMAIL FROM:<>\r\n", "not TLS" },
        { "HTTP", "GET / HTTP/1.1\r\n\r\n", "HTTP" },
};

TEST(tls_trouble_is_told_in_words)
{
        for (size_t i = 0; i < sizeof not_tls / sizeof not_tls[0]; i++) {
                struct pair p;

                pair_init(&p, NULL);
                use_tls(&p);
                CHECK(stream_start_tls(p.b.s, p.b.tls, (struct span) {NULL, 0}) == 0, "b");
                stream_write(p.a.s, span_from_string(not_tls[i].octets));
                UNTIL(&p, p.b.closed);
                CHECK(p.b.reason == -EPROTO, not_tls[i].name);
                CHECK(strstr(stream_error(p.b.s), not_tls[i].text), stream_error(p.b.s));
                pair_done(&p);
        }
}

TEST(a_client_with_a_ca_checks_the_name)
{
        struct pair p;

        pair_init(&p, NULL);
        use_tls(&p);
        CHECK(stream_start_tls(p.b.s, p.b.tls, (struct span) {NULL, 0}) == 0, "b");
        CHECK(stream_start_tls(p.a.s, p.a.tls, SPAN_LITERAL("other.example.jp")) == 0, "a");
        UNTIL(&p, p.a.closed && p.b.closed);
        CHECK(p.a.reason == -EPROTO && strstr(stream_error(p.a.s), "ostname"), stream_error(p.a.s));
        CHECK(p.b.reason == -EPROTO, stream_error(p.b.s));
        pair_done(&p);
}

TEST(bad_pem_is_told_in_words)
{
        struct buffer pem = BUFFER_INIT(1 << 20), other = BUFFER_INIT(1 << 20);
        struct buffer ca = BUFFER_INIT(1 << 20);
        char error[TLS_ERROR_MAX];
        struct tls_context *c = NULL;

        test_certificate("a.example.jp", &pem, &ca);
        CHECK(tls_context_new_server((struct span) {NULL, 0}, &c, error) == -EINVAL, "empty");
        CHECK(strstr(error, "private key"), error);
        CHECK(tls_context_new_server(buffer_span(&ca), &c, error) == -EINVAL, "no key");
        buffer_clear(&ca);
        test_certificate("b.example.jp", &other, &ca);
        /* the other's certificate, then our key and certificate: any order */
        buffer_append_span(&ca, buffer_span(&pem));
        CHECK(tls_context_new_server(buffer_span(&ca), &c, error) == 0, error);
        c = tls_context_unref(c);
        size_t key_len = (size_t) ((const char *) memmem(buffer_span(&pem).p, buffer_span(&pem).len,
                                                       "-----BEGIN CERT", 15)
                                 - buffer_span(&pem).p);
        CHECK(tls_context_new_server(span_first(buffer_span(&pem), key_len), &c, error) == -EINVAL,
              "no certificate");
        CHECK(strstr(error, "certificate"), error);
        CHECK(tls_context_new_client(SPAN_LITERAL("x"), &c, error) == -EINVAL, "no CA");
        CHECK(tls_warm_up() == 0, "warm up");
        buffer_done(&pem);
        buffer_done(&ca);
        buffer_done(&other);
}

/* Each callback frees its own stream. ASan watches. */
TEST(freeing_in_every_callback)
{
        for (int where = IN_INPUT; where <= IN_CLOSED; where++)
                for (int is_tls = 0; is_tls < 2; is_tls++) {
                        struct pair p;

                        pair_init(&p, NULL);
                        p.b.free_where = (enum free_where) where;
                        if (is_tls)
                                start_tls(&p);
                        stream_write(p.a.s, SPAN_LITERAL("abc"));
                        stream_write(p.b.s, SPAN_LITERAL("def"));
                        turn(&p, 10);
                        p.a.s = stream_free(p.a.s);
                        turn(&p, 3);
                        CHECK(!p.b.s || where == IN_SECURED, "freed");
                        pair_done(&p);
                }
}

/* The peer goes away at every step of a TLS session: no crash, one `closed`. */
TEST(cut_at_every_octet_of_a_tls_session)
{
        for (size_t cut = 0; cut < 1600; cut += 13) {
                struct pair p, q;
                char block[4096];
                size_t passed = 0;

                /* a ── p.fds ── (the wire, by hand) ── b */
                pair_init(&p, NULL);
                pair_init(&q, NULL);
                use_tls(&p);
                CHECK(stream_start_tls(p.b.s, p.b.tls, (struct span) {NULL, 0}) == 0, "b");
                CHECK(stream_start_tls(q.a.s, p.a.tls, SPAN_LITERAL("mx.example.jp")) == 0, "a");
                stream_write(q.a.s, SPAN_LITERAL("hello"));
                stream_pause(p.a.s);
                stream_pause(q.b.s);
                for (int i = 0; i < 30 && passed < cut; i++) {
                        loop_run_once(q.l, 0);
                        ssize_t n = recv(stream_fd(q.b.s), block,
                                         cut - passed < sizeof block ? cut - passed : sizeof block,
                                         MSG_DONTWAIT);
                        if (n > 0) {
                                passed += (size_t) n;
                                CHECK(send(stream_fd(p.a.s), block, (size_t) n, 0) == n, "wire");
                        }
                        loop_run_once(p.l, 0);
                        n = recv(stream_fd(p.a.s), block, sizeof block, MSG_DONTWAIT);
                        if (n > 0)
                                CHECK(send(stream_fd(q.b.s), block, (size_t) n, 0) == n, "wire");
                }
                p.a.s = stream_free(p.a.s);
                q.b.s = stream_free(q.b.s);
                UNTIL(&p, p.b.closed);
                UNTIL(&q, q.a.closed);
                CHECK(p.b.closed == 1 && q.a.closed == 1, "closed");
                pair_done(&p);
                pair_done(&q);
        }
}

TEST_MAIN()
