/* Whole sessions against a scripted server; then the same cut, lost and broken
 * at every octet of what the server says. Whatever happens, each recipient is
 * answered once. */
#include "wire/smtp/smtp_client.h"

#include "base/test.h"

enum { RCPTS_MAX = 3, MAILS = 3 };

/* What a server says; {0}: the usual. `%` in a reply ends the session. */
struct script {
        const char *name;
        bool is_lmtp;
        enum smtp_client_tls tls;
        const char *greeting, *ehlo, *helo, *starttls, *mail, *rcpt[RCPTS_MAX], *data;
        const char *dot[RCPTS_MAX]; /* LMTP: in the order of accepted recipients */
        const char *bdat, *rset;
        unsigned flags;
        uint64_t size;
        unsigned want[RCPTS_MAX]; /* codes of each mail's recipients; 0: RETURNED or our text */
        const char *want_enhanced; /* of the first recipient */
        const char *want_commands; /* of one mail, whole; NULL: not looked at */
};

#define PLAIN "250 mx"
#define CHUNKS "250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 8BITMIME"
#define BINARY "250-mx\r\n250-CHUNKING\r\n250 BINARYMIME"
#define FULL "250-mx\r\n250-PIPELINING\r\n250-SIZE 5000\r\n250-8BITMIME\r\n250-DSN\r\n250 STARTTLS"

static const struct script scripts[] = {
        { "plain, no extensions", .ehlo = PLAIN, .want = {250, 250, 250},
          .want_commands = "MAIL FROM:<a@x>\r\nRCPT TO:<r0@y>\r\nRCPT TO:<r1@y>\r\n"
                           "RCPT TO:<r2@y>\r\nDATA\r\n..b\r\n.\r\n" },
        { "pipelined", .ehlo = FULL, .want = {250, 250, 250}, .flags = SMTP_CLIENT_8BIT,
          .want_commands = "MAIL FROM:<a@x> SIZE=4 BODY=8BITMIME\r\n"
                           "RCPT TO:<r0@y> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;r0@y\r\n"
                           "RCPT TO:<r1@y> NOTIFY=NEVER\r\n"
                           "RCPT TO:<r2@y>\r\nDATA\r\n..b\r\n.\r\n" },
        { "DSN", .ehlo = FULL, .want = {250, 250, 250}, .flags = SMTP_CLIENT_RET_HDRS,
          .want_commands = "MAIL FROM:<a@x> SIZE=4 RET=HDRS\r\n"
                           "RCPT TO:<r0@y> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;r0@y\r\n"
                           "RCPT TO:<r1@y> NOTIFY=NEVER\r\n"
                           "RCPT TO:<r2@y>\r\nDATA\r\n..b\r\n.\r\n" },
        { "HELO", .ehlo = "502 what", .want = {250, 250, 250} },
        { "HELO refused too", .ehlo = "502 what", .helo = "550 never", .want = {0} },
        { "refused at once", .greeting = "554 5.7.1 go away", .want = {0} },
        { "421 at once", .greeting = "421 busy%", .want = {0} },
        { "421 at EHLO", .ehlo = "421 busy%", .want = {0} },
        { "no SMTP", .greeting = "hello", .want = {0} },
        { "STARTTLS", .ehlo = FULL, .tls = SMTP_CLIENT_TLS_MAY, .want = {250, 250, 250} },
        { "STARTTLS refused", .ehlo = FULL, .tls = SMTP_CLIENT_TLS_MAY,
          .starttls = "454 4.7.0 no", .want = {250, 250, 250} },
        { "STARTTLS refused, a must", .ehlo = FULL, .tls = SMTP_CLIENT_TLS_MUST,
          .starttls = "454 4.7.0 no", .want = {0} },
        { "no STARTTLS, a must", .ehlo = PLAIN, .tls = SMTP_CLIENT_TLS_MUST, .want = {0} },
        { "MAIL refused", .ehlo = PLAIN, .mail = "550 5.7.1 no", .want = {550, 550, 550},
          .want_enhanced = "5.7.1" },
        { "MAIL refused, pipelined", .ehlo = FULL, .mail = "450 4.7.1 no", .want = {450, 450, 450},
          .rcpt = {"503 a", "503 b", "503 c"}, .data = "503 d" },
        { "MAIL refused, the rest taken", .ehlo = FULL, .mail = "550 no", .want = {550, 550, 550} },
        { "MAIL 421", .ehlo = FULL, .mail = "421 4.3.2 down%", .want = {0} },
        { "one refused", .ehlo = PLAIN, .rcpt = {"250 a", "550 5.1.1 b", "250 c"},
          .want = {250, 550, 250} },
        { "one refused, pipelined", .ehlo = FULL, .rcpt = {"550 5.1.1 a", "251 b", "250 c"},
          .want = {550, 250, 250}, .want_enhanced = "5.1.1" },
        { "all refused", .ehlo = PLAIN, .rcpt = {"550 a", "551 b", "450 c"},
          .want = {550, 551, 450} },
        { "all refused, pipelined", .ehlo = FULL, .rcpt = {"550 a", "551 b", "450 c"},
          .data = "503 none", .want = {550, 551, 450} },
        { "all refused, 354", .ehlo = FULL, .rcpt = {"550 a", "551 b", "450 c"},
          .dot = {"554 none"}, .want = {550, 551, 450} },
        { "552 to RCPT is for now", .ehlo = FULL, .rcpt = {"552 5.5.3 too many", "250 b", "250 c"},
          .want = {452, 250, 250}, .want_enhanced = "4.5.3" },
        { "421 to RCPT", .ehlo = FULL, .rcpt = {"250 a", "421 b%", "250 c"},
          .want = {421, 421, 421} },
        { "DATA refused", .ehlo = PLAIN, .data = "451 4.3.0 no", .want = {451, 451, 451} },
        { "DATA refused, pipelined", .ehlo = FULL, .data = "554 5.3.0 no",
          .want = {554, 554, 554} },
        { "dot refused", .ehlo = FULL, .dot = {"554 5.6.0 spam"}, .want = {554, 554, 554},
          .want_enhanced = "5.6.0" },
        { "dot 421", .ehlo = FULL, .dot = {"421 4.3.0 later%"}, .want = {421, 421, 421} },
        { "silence after the dot", .ehlo = FULL, .dot = {"%"}, .want = {0, 0, 0} },
        { "354 to MAIL", .ehlo = FULL, .mail = "354 what", .want = {0, 0, 0} },
        { "250 to DATA", .ehlo = FULL, .data = "250 what", .want = {0, 0, 0} },
        { "354 after the dot", .ehlo = FULL, .dot = {"354 more"}, .want = {0, 0, 0} },
        { "RSET refused", .ehlo = PLAIN, .data = "451 no", .rset = "500 no",
          .want = {451, 451, 451} },
        { "LMTP", .is_lmtp = true, .ehlo = FULL, .dot = {"250 a", "452 4.2.2 full", "250 c"},
          .want = {250, 452, 250} },
        { "LMTP, one refused before", .is_lmtp = true, .ehlo = FULL,
          .rcpt = {"550 5.1.1 no", "250 b", "250 c"}, .dot = {"250 b", "552 5.2.2 full"},
          .want = {550, 250, 552} },
        { "LMTP, all refused", .is_lmtp = true, .ehlo = FULL, .rcpt = {"550 a", "550 b", "550 c"},
          .data = "503 none", .want = {550, 550, 550} },
        { "LMTP, none and 354", .is_lmtp = true, .ehlo = FULL,
          .rcpt = {"550 a", "550 b", "550 c"}, .want = {550, 550, 550} },
        { "LMTP, a reply is missing", .is_lmtp = true, .ehlo = FULL, .dot = {"250 a", "%"},
          .want = {250, 0, 0} },
        { "LMTP has no HELO", .is_lmtp = true, .ehlo = "500 what", .want = {0} },
        { "BDAT with the envelope", .ehlo = CHUNKS, .want = {250, 250, 250},
          .want_commands = "MAIL FROM:<a@x>\r\nRCPT TO:<r0@y>\r\nRCPT TO:<r1@y>\r\n"
                           "RCPT TO:<r2@y>\r\nBDAT 4 LAST\r\n.b\r\n" },
        { "BDAT, one refused", .ehlo = CHUNKS, .rcpt = {"250 a", "550 5.1.1 b", "250 c"},
          .want = {250, 550, 250} },
        { "BDAT, all refused", .ehlo = CHUNKS, .rcpt = {"550 5.1.1 a", "550 b", "450 c"},
          .want = {550, 550, 450} },
        { "BDAT, all refused and taken", .ehlo = CHUNKS, .rcpt = {"550 a", "550 b", "450 c"},
          .bdat = "250 yes", .want = {550, 550, 450} },
        { "BDAT, MAIL refused", .ehlo = CHUNKS, .mail = "550 5.7.1 no",
          .rcpt = {"503 a", "503 b", "503 c"}, .want = {550, 550, 550} },
        { "BDAT refused", .ehlo = CHUNKS, .bdat = "552 5.3.4 large", .want = {552, 552, 552} },
        { "BDAT, 421 at MAIL", .ehlo = CHUNKS, .mail = "421 4.3.2 down%", .want = {421, 421, 421} },
        { "BDAT, silence", .ehlo = CHUNKS, .bdat = "%", .want = {0, 0, 0} },
        { "BDAT, 354 to it", .ehlo = CHUNKS, .bdat = "354 more", .want = {0, 0, 0} },
        { "binary, step by step", .ehlo = BINARY, .flags = SMTP_CLIENT_BINARY,
          .want = {250, 250, 250},
          .want_commands = "MAIL FROM:<a@x> BODY=BINARYMIME\r\nRCPT TO:<r0@y>\r\n"
                           "RCPT TO:<r1@y>\r\nRCPT TO:<r2@y>\r\nBDAT 4 LAST\r\n.b\r\n" },
        { "binary, all refused", .ehlo = BINARY, .flags = SMTP_CLIENT_BINARY,
          .rcpt = {"550 a", "550 b", "450 c"}, .want = {550, 550, 450} },
        { "binary to LMTP", .is_lmtp = true, .ehlo = CHUNKS, .flags = SMTP_CLIENT_BINARY,
          .rcpt = {"550 a", "250 b", "250 c"}, .dot = {"250 b", "452 4.2.2 c"},
          .want = {550, 250, 452} },
        { "binary not taken", .ehlo = FULL, .flags = SMTP_CLIENT_BINARY, .want = {554, 554, 554},
          .want_enhanced = "5.6.3" },
        { "no CHUNKING to LMTP", .is_lmtp = true, .ehlo = CHUNKS, .want = {250, 250, 250},
          .want_commands = "MAIL FROM:<a@x>\r\nRCPT TO:<r0@y>\r\nRCPT TO:<r1@y>\r\n"
                           "RCPT TO:<r2@y>\r\nDATA\r\n..b\r\n.\r\n" },
        { "too large", .ehlo = FULL, .size = 5001, .want = {552, 552, 552},
          .want_enhanced = "5.3.4" },
        { "8-bit not taken", .ehlo = PLAIN, .flags = SMTP_CLIENT_8BIT, .want = {554, 554, 554},
          .want_enhanced = "5.6.3" },
        { "UTF-8 not taken", .ehlo = FULL, .flags = SMTP_CLIENT_SMTPUTF8, .want = {553, 553, 553},
          .want_enhanced = "5.6.7" },
};

/* The server. */

struct server {
        const struct script *s;
        struct buffer in, out;
        struct buffer said; /* by the client, within the first mail */
        bool is_greeted, is_in_data, has_ended, is_tls;
        size_t bdat_left; /* octets of a chunk, and the reply behind them */
        unsigned rcpt, accepted, mails;
};

static bool say(struct server *v, const char *reply, const char *usual)
{
        const char *text = reply ? reply : usual;
        size_t len = strlen(text);

        if (len && text[len - 1] == '%') {
                v->has_ended = true;
                len--;
        }
        if (len) {
                buffer_append(&v->out, text, len);
                buffer_append(&v->out, "\r\n", 2);
        }
        return text[0] == '2' || text[0] == '3';
}

static void say_dots(struct server *v)
{
        unsigned replies = v->s->is_lmtp ? v->accepted : 1;

        for (unsigned i = 0; i < replies && !v->has_ended; i++)
                say(v, v->s->bdat ? v->s->bdat : v->s->dot[i], "250 2.6.0 queued");
}

static void on_line(struct server *v, struct span line)
{
        const struct script *s = v->s;
        struct span rest = line, verb;

        if (v->is_in_data) {
                if (!span_equal(line, SPAN_LITERAL(".")))
                        return;
                v->is_in_data = false;
                v->mails++;
                say_dots(v);
                return;
        }
        span_split(&rest, ' ', &verb);
        if (span_equal(verb, SPAN_LITERAL("EHLO")) || span_equal(verb, SPAN_LITERAL("LHLO"))) {
                CHECK(s->is_lmtp == (line.p[0] == 'L'), s->name);
                say(v, s->ehlo, FULL);
        } else if (span_equal(verb, SPAN_LITERAL("HELO"))) {
                say(v, s->helo, "250 mx");
        } else if (span_equal(verb, SPAN_LITERAL("STARTTLS"))) {
                say(v, s->starttls, "220 go");
        } else if (span_equal(verb, SPAN_LITERAL("MAIL"))) {
                v->rcpt = v->accepted = 0;
                say(v, s->mail, "250 2.1.0 ok");
        } else if (span_equal(verb, SPAN_LITERAL("RCPT"))) {
                CHECK(v->rcpt < RCPTS_MAX, s->name);
                v->accepted += say(v, s->rcpt[v->rcpt], "250 2.1.5 ok");
                v->rcpt++;
        } else if (span_equal(verb, SPAN_LITERAL("DATA"))) {
                v->is_in_data = say(v, s->data, "354 go") && (!s->data || s->data[0] == '3');
        } else if (span_equal(line, SPAN_LITERAL("BDAT 4 LAST"))) {
                v->bdat_left = 4;
        } else if (span_equal(verb, SPAN_LITERAL("RSET"))) {
                say(v, s->rset, "250 reset");
        } else {
                CHECK(span_equal(verb, SPAN_LITERAL("QUIT")), s->name);
                say(v, NULL, "221 bye%");
        }
}

static void serve(struct server *v, struct span octets)
{
        size_t end;

        if (!v->is_greeted) {
                v->is_greeted = true;
                say(v, v->s->greeting, "220 mx ESMTP");
        }
        if (v->mails == 0)
                buffer_append_span(&v->said, octets);
        buffer_append_span(&v->in, octets);
        while (!v->has_ended && (end = span_find(buffer_span(&v->in), '\n')) != SIZE_MAX) {
                struct span line = span_first(buffer_span(&v->in), end);

                if (v->bdat_left) {
                        if (v->in.len < v->bdat_left)
                                return;
                        buffer_consume(&v->in, v->bdat_left);
                        v->bdat_left = 0;
                        v->mails++;
                        if (v->s->bdat || v->accepted)
                                say_dots(v);
                        else
                                say(v, "503 5.5.1 no recipients", NULL);
                        continue;
                }

                CHECK(end > 0 && line.p[end - 1] == '\r', "CRLF");
                line.len--;
                on_line(v, line);
                buffer_consume(&v->in, end + 1);
        }
}

/* The role. */

struct mail {
        int results[RCPTS_MAX];
        unsigned codes[RCPTS_MAX];
        char enhanced[16];
        int done, returned, bodies;
};

struct run {
        const struct script *s;
        struct server server;
        struct smtp_client *c;
        struct mail mails[MAILS];
        unsigned sent;
        int over, ready;
        bool is_chaining;
};

static const struct smtp_client_rcpt rcpts[RCPTS_MAX] = {
        {.rcpt_to = SPAN("r0@y"), .orcpt = SPAN("rfc822;r0@y"), .notify = 2 | 4},
        {.rcpt_to = SPAN("r1@y"), .notify = 1},
        {.rcpt_to = SPAN("r2@y")},
};

static void send_mails(struct run *r)
{
        while (r->sent < MAILS && smtp_client_may_send(r->c)) {
                struct smtp_client_mail m = {
                        .tag = &r->mails[r->sent], .mail_from = SPAN("a@x"), .rcpts = rcpts,
                        .rcpt_count = RCPTS_MAX, .flags = r->s->flags,
                        .size = r->s->size ? r->s->size : 4};

                if (r->sent && !r->is_chaining && !r->mails[r->sent - 1].done)
                        return;
                r->sent++;
                CHECK(smtp_client_send(r->c, &m) == 0, r->s->name);
        }
}

static void on_event(struct run *r, const struct smtp_client_event *e)
{
        struct mail *m = e->tag;

        CHECK(!r->over || e->kind == SMTP_CLIENT_NONE, "nothing after OVER");
        switch (e->kind) {
        case SMTP_CLIENT_STARTTLS:
                CHECK(r->s->tls != SMTP_CLIENT_TLS_NONE, r->s->name);
                smtp_client_secured(r->c);
                break;
        case SMTP_CLIENT_READY:
                CHECK(r->ready++ == 0, "READY once");
                break;
        case SMTP_CLIENT_BODY:
                CHECK(m->bodies++ == 0 && !m->done, "BODY once");
                CHECK(smtp_client_body(r->c, SPAN_LITERAL(".")) == 0, r->s->name);
                CHECK(smtp_client_body(r->c, SPAN_LITERAL("b\r\n")) == 0, r->s->name);
                CHECK(smtp_client_body_end(r->c) == 0, r->s->name);
                break;
        case SMTP_CLIENT_RESULT:
                CHECK(e->rcpt < RCPTS_MAX && m->results[e->rcpt]++ == 0, r->s->name);
                CHECK(!m->done && !m->returned, r->s->name);
                m->codes[e->rcpt] = e->reply.code;
                CHECK(e->reply.code || (e->reply.is_ours && e->reply.text.len), r->s->name);
                if (e->rcpt == 0 && e->reply.enhanced.len)
                        memcpy(m->enhanced, e->reply.enhanced.p, e->reply.enhanced.len);
                break;
        case SMTP_CLIENT_DONE:
                for (int i = 0; i < RCPTS_MAX; i++)
                        CHECK(m->results[i] == 1, r->s->name);
                CHECK(m->done++ == 0 && !m->returned, r->s->name);
                break;
        case SMTP_CLIENT_RETURNED:
                for (int i = 0; i < RCPTS_MAX; i++)
                        CHECK(m->results[i] == 0, r->s->name);
                CHECK(m->returned++ == 0 && !m->done && !m->bodies, r->s->name);
                break;
        case SMTP_CLIENT_OVER:
                r->over++;
                CHECK(e->reply.text.len || e->reply.code, "a reason");
                break;
        case SMTP_CLIENT_LOGIN:
        case SMTP_CLIENT_CHALLENGE:
        case SMTP_CLIENT_LOGGED_IN:
        case SMTP_CLIENT_NONE:
                break;
        }
}

static void feed(struct run *r, struct span in)
{
        struct smtp_client_event e;

        do {
                size_t used = smtp_client_feed(r->c, in, &e);

                CHECK(used <= in.len, "used");
                in = span_skip(in, used);
                on_event(r, &e);
                if (e.kind != SMTP_CLIENT_BODY)
                        send_mails(r);
        } while (e.kind != SMTP_CLIENT_NONE);
        CHECK(in.len == 0, "all is used");
}

/* Runs a script; the server's octets come in pieces of at most `step`; after
 * `lost_at` of them the connection is lost. */
static void run(struct run *r, const struct script *s, size_t step, size_t lost_at, bool chaining)
{
        const struct smtp_client_options o = {
                .helo_name = SPAN("us"), .is_lmtp = s->is_lmtp, .tls = s->tls};
        size_t passed = 0;

        *r = (struct run) {.s = s, .c = smtp_client_new(&o), .is_chaining = chaining};
        r->server = (struct server) {.s = s, .in = BUFFER_INIT(100000),
                                     .out = BUFFER_INIT(100000), .said = BUFFER_INIT(100000)};
        for (int i = 0; i < 10000 && !r->over; i++) {
                struct buffer *output = smtp_client_output(r->c);
                struct span piece;

                if (output->len || !r->server.is_greeted) {
                        serve(&r->server, buffer_span(output));
                        buffer_clear(output);
                }
                piece = span_first(buffer_span(&r->server.out), step);
                piece = span_first(piece, lost_at - passed);
                passed += piece.len;
                if (piece.len) {
                        feed(r, piece);
                        buffer_consume(&r->server.out, piece.len);
                } else if (passed == lost_at || r->server.has_ended) {
                        smtp_client_lost(r->c, "the connection was lost");
                        feed(r, (struct span) {NULL, 0});
                } else {
                        smtp_client_quit(r->c);
                        feed(r, (struct span) {NULL, 0});
                }
        }
        CHECK(r->over == 1, s->name);
        CHECK(!smtp_client_may_send(r->c), s->name);
        for (unsigned i = 0; i < r->sent; i++)
                CHECK(r->mails[i].done + r->mails[i].returned == 1, s->name);
}

static void run_done(struct run *r)
{
        smtp_client_free(r->c);
        buffer_done(&r->server.in);
        buffer_done(&r->server.out);
        buffer_done(&r->server.said);
}

static void check_commands(const struct run *r)
{
        struct span said = buffer_span(&r->server.said), want;
        const char *mail;

        if (!r->s->want_commands)
                return;
        want = span_from_string(r->s->want_commands);
        mail = memmem(said.p, said.len, "MAIL", 4);
        CHECK(mail && said.len - (size_t) (mail - said.p) >= want.len, r->s->name);
        CHECK(memcmp(mail, want.p, want.len) == 0, r->s->name);
}

static bool wants_nothing(const struct script *s)
{
        return s->want[0] == 0 && s->want[1] == 0 && s->want[2] == 0;
}

TEST(scripts_whole)
{
        for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++)
                for (int chaining = 0; chaining < 2; chaining++) {
                        const struct script *s = &scripts[i];
                        struct run r;

                        run(&r, s, 100000, SIZE_MAX, chaining);
                        for (int k = 0; k < RCPTS_MAX; k++)
                                CHECK(r.mails[0].codes[k] == s->want[k], s->name);
                        if (s->want_enhanced)
                                CHECK(strcmp(r.mails[0].enhanced, s->want_enhanced) == 0, s->name);
                        if (!wants_nothing(s) && s->want[0] == 250 && s->want[1])
                                CHECK(r.sent == MAILS && r.mails[MAILS - 1].done, s->name);
                        check_commands(&r);
                        run_done(&r);
                }
}

TEST(scripts_in_small_pieces)
{
        for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++)
                for (size_t step = 1; step < 40; step += 6)
                        for (int chaining = 0; chaining < 2; chaining++) {
                                struct run r;

                                run(&r, &scripts[i], step, SIZE_MAX, chaining);
                                for (int k = 0; k < RCPTS_MAX; k++)
                                        CHECK(r.mails[0].codes[k] == scripts[i].want[k],
                                              scripts[i].name);
                                run_done(&r);
                        }
}

TEST(lost_at_every_octet)
{
        for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++)
                for (size_t lost_at = 0; lost_at < 900; lost_at++) {
                        struct run r;

                        run(&r, &scripts[i], 50, lost_at, lost_at & 1);
                        run_done(&r);
                }
}

/* Chained: the next MAIL leaves in the same write as the end of the body. */
TEST(the_next_transaction_rides_on_the_body)
{
        const struct smtp_client_options o = {.helo_name = SPAN("us")};
        struct smtp_client *c = smtp_client_new(&o);
        struct smtp_client_mail m = {.rcpts = rcpts + 2, .rcpt_count = 1, .mail_from = SPAN("")};
        struct smtp_client_event e;
        struct span said;
        struct buffer *out = smtp_client_output(c);

        smtp_client_feed(c, SPAN_LITERAL("220 x\r\n"), &e);
        smtp_client_feed(c, SPAN_LITERAL("250-x\r\n250 PIPELINING\r\n"), &e);
        CHECK(e.kind == SMTP_CLIENT_READY && smtp_client_may_send(c), "ready");
        CHECK(smtp_client_send(c, &m) == 0 && !smtp_client_may_send(c), "one at a time");
        smtp_client_feed(c, SPAN_LITERAL("250 a\r\n250 b\r\n354 c\r\n"), &e);
        CHECK(e.kind == SMTP_CLIENT_BODY && !smtp_client_may_send(c), "body first");
        buffer_clear(out);
        smtp_client_body(c, SPAN_LITERAL("x\r\n"));
        smtp_client_body_end(c);
        CHECK(smtp_client_may_send(c) && smtp_client_send(c, &m) == 0, "then the next");
        CHECK(!smtp_client_may_send(c), "and no third");
        said = buffer_span(out);
        CHECK(span_equal(said, SPAN_LITERAL("x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<r2@y>\r\n"
                                            "DATA\r\n")), "one write");
        smtp_client_free(c);
}

static void feed_text(struct smtp_client *c, const char *text, enum smtp_client_event_kind want,
                      const char *name)
{
        struct span in = span_from_string(text);
        struct smtp_client_event e = {0};

        while (in.len && e.kind == SMTP_CLIENT_NONE)
                in = span_skip(in, smtp_client_feed(c, in, &e));
        CHECK(e.kind == want, name);
}

static bool said(struct smtp_client *c, const char *want)
{
        struct buffer *out = smtp_client_output(c);
        const bool good = span_equal(buffer_span(out), span_from_string(want));

        buffer_clear(out);
        return good;
}

TEST(login)
{
        static const struct {
                const char *name, *reply;
                enum smtp_client_event_kind want;
        } ends[] = {
                { "accepted", "235 2.7.0 welcome\r\n", SMTP_CLIENT_LOGGED_IN },
                { "wrong", "535 5.7.8 no\r\n", SMTP_CLIENT_OVER },
                { "later", "454 4.7.0 later\r\n", SMTP_CLIENT_OVER },
                { "nonsense", "250 what\r\n", SMTP_CLIENT_OVER },
        };
        const struct smtp_client_options o = {.helo_name = SPAN("us"), .wants_login = true};

        for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
                const char *name = ends[i].name;
                struct smtp_client *c = smtp_client_new(&o);
                struct smtp_client_event e;

                feed_text(c, "220 x\r\n", SMTP_CLIENT_NONE, name);
                feed_text(c, "250-x\r\n250 AUTH SCRAM-SHA-1 PLAIN\r\n", SMTP_CLIENT_LOGIN, name);
                CHECK(!smtp_client_may_send(c) && said(c, "EHLO us\r\n"), name);
                smtp_client_auth(c, SPAN_LITERAL("PLAIN"), (struct span) {0});
                CHECK(said(c, "AUTH PLAIN\r\n"), name);
                feed_text(c, "334 eA==\r\n", SMTP_CLIENT_CHALLENGE, name);
                smtp_client_auth_response(c, SPAN_LITERAL("YQ=="));
                CHECK(said(c, "YQ==\r\n"), name);
                feed_text(c, ends[i].reply, ends[i].want, name);
                if (ends[i].want == SMTP_CLIENT_LOGGED_IN) {
                        CHECK(!smtp_client_may_send(c), name);
                        smtp_client_logged_in(c);
                        smtp_client_feed(c, (struct span) {0}, &e);
                        CHECK(e.kind == SMTP_CLIENT_READY && smtp_client_may_send(c), name);
                }
                smtp_client_free(c);
        }
}

TEST(no_login_is_offered)
{
        const struct smtp_client_options o = {.helo_name = SPAN("us"), .wants_login = true};
        struct smtp_client *c = smtp_client_new(&o);

        feed_text(c, "220 x\r\n", SMTP_CLIENT_NONE, "greeting");
        feed_text(c, "250-x\r\n250 DSN\r\n", SMTP_CLIENT_OVER, "no mail without a login");
        smtp_client_free(c);
}

/* Octets that would end a command line are never sent. */
TEST(envelopes_cannot_inject_commands)
{
        const struct smtp_client_options o = {.helo_name = SPAN("us")};
        static const struct {
                struct span mail_from, rcpt_to, envid, orcpt;
        } bad[] = {
                {SPAN("a@x>\r\nRSET"), SPAN("b@y"), SPAN(""), SPAN("")},
                {SPAN("a@x"), SPAN("b@y\nDATA"), SPAN(""), SPAN("")},
                {SPAN("a@x"), SPAN("b@y"), SPAN("e\r\nDATA"), SPAN("")},
                {SPAN("a@x"), SPAN("b@y"), SPAN(""), SPAN("rfc822;b NOTIFY=NEVER")},
                {SPAN("a@x"), SPAN(""), SPAN(""), SPAN("")},
        };

        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                struct smtp_client *c = smtp_client_new(&o);
                struct smtp_client_rcpt rcpt = {bad[i].rcpt_to, bad[i].orcpt, 0};
                struct smtp_client_mail m = {.mail_from = bad[i].mail_from, .envid = bad[i].envid,
                                             .rcpts = &rcpt, .rcpt_count = 1};
                struct smtp_client_event e;

                smtp_client_feed(c, SPAN_LITERAL("220 x\r\n"), &e);
                smtp_client_feed(c, SPAN_LITERAL("250-x\r\n250 DSN\r\n"), &e);
                buffer_clear(smtp_client_output(c));
                CHECK(smtp_client_send(c, &m) == 0, "taken");
                smtp_client_feed(c, (struct span) {NULL, 0}, &e);
                CHECK(e.kind == SMTP_CLIENT_RESULT && e.reply.code == 501 && e.reply.is_ours,
                      "answered");
                CHECK(smtp_client_output(c)->len == 0, "nothing said");
                smtp_client_feed(c, (struct span) {NULL, 0}, &e);
                CHECK(e.kind == SMTP_CLIENT_DONE && smtp_client_may_send(c), "goes on");
                smtp_client_free(c);
        }
}

TEST_MAIN()
