/* Sessions: what the client sends, and all that the server says, fed whole and cut
 * at every octet. */
#include "wire/pop3/pop3_server.h"

#include <stdio.h>

#include "base/test.h"

enum { OUTPUT_MAX = 1 << 16 };

static const char mail[] = "Subject: x\r\n\r\n.dot\r\nline\r\nlast";

struct role {
        struct pop3_server *s;
        struct buffer output, log;
        bool is_closed;
};

static void answer(struct role *r, const struct pop3_event *e)
{
        static const struct pop3_message messages[] = {
                { .uid = 3, .size = sizeof mail - 1 }, { .uid = 7, .size = 100 }, { .uid = 9 },
        };
        struct pop3_answer a = {.result = POP3_OK, .messages = messages, .message_count = 3,
                                .uid_validity = 44, .octets = span_make(mail, sizeof mail - 1)};

        switch (e->kind) {
        case POP3_EVENT_LOGIN:
                buffer_printf(&r->log, "login %.*s %.*s\n", (int) e->login_name.len,
                              e->login_name.p, (int) e->password.len, e->password.p);
                if (!span_equal(e->password, SPAN_LITERAL("a b")))
                        a.result = POP3_ERR;
                break;
        case POP3_EVENT_AUTH:
                if (!e->octets.p)
                        a = (struct pop3_answer) {.result = POP3_CONTINUE, .text = "QQ=="};
                break;
        case POP3_EVENT_APOP:
                buffer_printf(&r->log, "apop %.*s\n", (int) e->login_name.len, e->login_name.p);
                break;
        case POP3_EVENT_BODY:
                if (e->message.uid == 9)
                        a = (struct pop3_answer) {.result = POP3_ERR, .code = "SYS/TEMP"};
                break;
        case POP3_EVENT_UPDATE:
                for (size_t i = 0; i < e->deleted_count; i++)
                        buffer_printf(&r->log, "delete %u\n", e->deleted[i]);
                break;
        default:
                break;
        }
        pop3_server_answer(r->s, &a);
}

static size_t feed(struct role *r, struct span in)
{
        size_t used = 0;

        for (;;) {
                struct pop3_event e;
                struct buffer *out = pop3_server_output(r->s);

                used += pop3_server_feed(r->s, span_skip(in, used), &e);
                if (out->len)
                        buffer_append_span(&r->output, buffer_span(out));
                buffer_clear(out);
                if (e.kind == POP3_EVENT_CLOSE)
                        r->is_closed = true;
                if (e.kind == POP3_EVENT_NONE || e.kind == POP3_EVENT_WAIT
                    || e.kind == POP3_EVENT_CLOSE)
                        return used;
                if (e.kind != POP3_EVENT_FLUSH && e.kind != POP3_EVENT_AUTH_CANCEL)
                        answer(r, &e);
        }
}

#define LOGGED_IN "+OK And the password?\r\n+OK Logged in\r\n"

static const struct {
        const char *name, *in, *out, *log;
} sessions[] = {
        { "login", "USER joe\r\nPASS x\r\nPASS a b\r\nUSER joe\r\nPASS a b\r\nQUIT\r\n",
          "+OK And the password?\r\n-ERR [AUTH] Name or password is wrong\r\n"
          "-ERR Say USER first\r\n"
          LOGGED_IN "+OK Bye\r\n", "login joe x\nlogin joe a b\n" },
        { "capabilities", "CAPA\r\nAUTH\r\nfoo\r\nSTAT\r\nSTLS x\r\n",
          "+OK Capabilities\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n"
          "UTF8 USER\r\nLANG\r\nEXPIRE NEVER\r\nLOGIN-DELAY 60\r\nUSER\r\nSASL PLAIN\r\nSTLS\r\n"
          "IMPLEMENTATION Hayauma\r\n.\r\n+OK Mechanisms\r\nPLAIN\r\n.\r\n-ERR No such command\r\n"
          "-ERR Not in this state\r\n-ERR STLS takes no arguments\r\n", "" },
        { "auth", "AUTH plain\r\n*\r\nAUTH plain\r\n!\r\nAUTH X\r\nAUTH PLAIN QQ==\r\nNOOP\r\n",
          "+ QQ==\r\n-ERR Login given up\r\n+ QQ==\r\n-ERR This is not base64\r\n"
          "-ERR No such mechanism\r\n+OK Logged in\r\n+OK Done\r\n", "" },
        { "apop", "APOP joe x\r\nAPOP joe 0123456789abcdef0123456789abcdef\r\n",
          "-ERR Say APOP name digest\r\n+OK Logged in\r\n", "apop joe\n" },
        { "lists", "USER joe\r\nPASS a b\r\nSTAT\r\nLIST\r\nUIDL 2\r\nDELE 1\r\nLIST 1\r\nUIDL\r\n"
          "LIST 9\r\nLIST x\r\nSTAT\r\nRSET\r\nSTAT\r\n",
          LOGGED_IN "+OK 3 130\r\n+OK The list\r\n1 30\r\n2 100\r\n3 0\r\n.\r\n+OK 2 44.7\r\n"
          "+OK Deleted with QUIT\r\n-ERR No such message\r\n+OK The list\r\n2 44.7\r\n3 44.9\r\n"
          ".\r\n-ERR No such message\r\n-ERR Say the number of a message\r\n+OK 2 100\r\n"
          "+OK Nothing is deleted\r\n+OK 3 130\r\n", NULL },
        { "messages",
          "USER joe\r\nPASS a b\r\nRETR 1\r\nTOP 1 1\r\nTOP 1 0\r\nTOP 1\r\nRETR 3\r\n",
          LOGGED_IN "+OK The message\r\nSubject: x\r\n\r\n..dot\r\nline\r\nlast\r\n.\r\n"
          "+OK The message\r\nSubject: x\r\n\r\n..dot\r\n.\r\n+OK The message\r\nSubject: x\r\n\r\n"
          ".\r\n-ERR Say TOP number lines\r\n-ERR [SYS/TEMP] The message is gone\r\n", NULL },
        { "deleting", "USER joe\r\nPASS a b\r\nDELE 2\r\nDELE 3\r\nDELE 3\r\nQUIT\r\n",
          LOGGED_IN "+OK Deleted with QUIT\r\n+OK Deleted with QUIT\r\n-ERR No such message\r\n"
          "+OK Bye\r\n", "login joe a b\ndelete 7\ndelete 9\n" },
        { "languages", "LANG\r\nLANG *\r\nLANG xx\r\nUTF8\r\nQUIT\r\n",
          "+OK Languages\r\nen English\r\n.\r\n+OK en It will be English\r\n"
          "-ERR This language is not spoken here\r\n+OK UTF-8 it is\r\n+OK Bye\r\n", NULL },
};

static void play(const char *in, size_t cut, struct role *r)
{
        const struct pop3_server_options o = {
                .offers = POP3_OFFER_STLS | POP3_OFFER_LOGIN | POP3_OFFER_APOP,
                .hostname = SPAN("h"), .auth_mechanisms = SPAN("PLAIN"), .login_delay_s = 60,
        };
        size_t used;

        *r = (struct role) {.s = pop3_server_new(&o), .output = BUFFER_INIT(OUTPUT_MAX),
                            .log = BUFFER_INIT(OUTPUT_MAX)};
        used = feed(r, span_make(in, cut));
        if (!r->is_closed)
                feed(r, span_make(in + used, strlen(in) - used));
        buffer_append(&r->output, "", 1);
        buffer_append(&r->log, "", 1);
}

static void role_done(struct role *r)
{
        pop3_server_free(r->s);
        buffer_done(&r->output);
        buffer_done(&r->log);
}

TEST(sessions_say_what_they_should)
{
        for (size_t i = 0; i < sizeof sessions / sizeof sessions[0]; i++) {
                for (size_t cut = strlen(sessions[i].in) + 1; cut-- > 0;) {
                        struct role r;

                        play(sessions[i].in, cut, &r);
                        if (strcmp(r.output.data, sessions[i].out) != 0)
                                printf("cut %zu\nGOT\n%s\nWANTED\n%s\n", cut, r.output.data,
                                       sessions[i].out);
                        CHECK(strcmp(r.output.data, sessions[i].out) == 0, sessions[i].name);
                        if (sessions[i].log)
                                CHECK(strcmp(r.log.data, sessions[i].log) == 0, sessions[i].name);
                        role_done(&r);
                }
        }
}

TEST(long_lines_are_refused_once)
{
        static char in[40000];
        struct role r;

        memset(in, 'x', sizeof in - 1);
        memcpy(in + sizeof in - 9, "\r\nCAPB\r\n", 8);
        play(in, 1000, &r);
        assert_string_equal(r.output.data,
                            "-ERR The line is too long\r\n-ERR No such command\r\n");
        role_done(&r);
}

/* What RETR sends, octet by octet (RFC 1939 section 3). */
static void stuff(struct span body, struct buffer *out)
{
        bool is_line_start = true;

        for (size_t i = 0; i < body.len; i++) {
                if (is_line_start && body.p[i] == '.')
                        buffer_append(out, ".", 1);
                buffer_append(out, body.p + i, 1);
                is_line_start = body.p[i] == '\n' && i && body.p[i - 1] == '\r';
        }
        buffer_append_string(out, is_line_start ? ".\r\n" : "\r\n.\r\n");
}

static void check_long(const char *of, size_t shift)
{
        static const struct pop3_message one = {.uid = 1, .size = 1};
        const struct pop3_server_options o = {.hostname = SPAN("h")};
        struct role r = {.s = pop3_server_new(&o), .output = BUFFER_INIT(1 << 20)};
        struct buffer body = BUFFER_INIT(1 << 20), wanted = BUFFER_INIT(1 << 20);
        struct pop3_event e;

        for (size_t i = 0; i < shift; i++)
                buffer_append(&body, "x", 1);
        while (body.len < 150000)
                buffer_append_string(&body, of);
        buffer_append_string(&wanted, "+OK Logged in\r\n+OK The message\r\n");
        stuff(buffer_span(&body), &wanted);
        pop3_server_resume(r.s, false);
        pop3_server_feed(r.s, SPAN_LITERAL(""), &e);
        pop3_server_answer(r.s, &(struct pop3_answer) {.messages = &one, .message_count = 1});
        pop3_server_feed(r.s, SPAN_LITERAL("RETR 1\r\n"), &e);
        CHECK(e.kind == POP3_EVENT_BODY && e.index == 0, "asked for");
        pop3_server_answer(r.s, &(struct pop3_answer) {.octets = buffer_span(&body)});
        feed(&r, SPAN_LITERAL(""));
        CHECK(span_equal(buffer_span(&r.output), buffer_span(&wanted)), of);
        role_done(&r);
        buffer_done(&body);
        buffer_done(&wanted);
}

/* Wherever the pieces are cut in which it is sent. */
TEST(long_messages_are_sent_as_they_are)
{
        static const char *const rows[] = {
                "\r\n.", "\r\n", "\r", "\n.", "\r\n..\r\n", "\r.\n.", "a\r\n.\r\nb", ".",
                "a long line that is cut anywhere\r\n.and a dot",
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
                for (size_t shift = 0; shift < 12; shift++)
                        check_long(rows[i], shift);
}

TEST(a_handed_over_session_opens_the_maildrop)
{
        const struct pop3_server_options o = {.hostname = SPAN("h")};
        struct pop3_server *s = pop3_server_new(&o);
        struct pop3_event e;

        pop3_server_resume(s, true);
        assert_int_equal(pop3_server_feed(s, SPAN_LITERAL("NOOP\r\n"), &e), 0);
        assert_int_equal(e.kind, POP3_EVENT_OPEN);
        pop3_server_answer(s, &(struct pop3_answer) {.result = POP3_ERR, .code = "IN-USE"});
        pop3_server_feed(s, SPAN_LITERAL("NOOP\r\n"), &e);
        assert_int_equal(e.kind, POP3_EVENT_CLOSE);
        pop3_server_free(s);
}

TEST_MAIN()
