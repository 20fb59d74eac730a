/* Our client against our server, by each mechanism; and servers of ill will. */
#include "auth/sasl_client.h"

#include <errno.h>
#include <stdio.h>

#include "auth/test_accounts.h"
#include "base/test.h"

/* What the server came to; `ret_done`: the client is content. */
static enum sasl_status talk(struct sasl *server, struct sasl_client *client, bool *ret_done)
{
        struct buffer ours = BUFFER_INIT(SASL_BLOB_MAX), theirs = BUFFER_INIT(SASL_BLOB_MAX);
        enum sasl_status status = SASL_CHALLENGE;
        bool is_first = true;

        for (int i = 0; i < 10 && status == SASL_CHALLENGE; i++) {
                const bool speaks = !is_first || sasl_client_is_first(client);

                if (speaks && sasl_client_step(client, buffer_span(&theirs), &ours) < 0)
                        break;
                status = sasl_step(server, speaks ? span_make(ours.len ? ours.data : "", ours.len)
                                                  : (struct span) {0}, &theirs);
                is_first = false;
        }
        *ret_done = sasl_client_is_done(client);
        buffer_done(&ours);
        buffer_done(&theirs);
        return status;
}

TEST(each_mechanism)
{
        static const struct {
                const char *mechanism, *password;
                enum sasl_status want;
        } cases[] = {
                { "SCRAM-SHA-256-PLUS", "secret", SASL_GRANTED },
                { "SCRAM-SHA-256", "secret", SASL_GRANTED },
                { "PLAIN", "secret", SASL_CHECK },
                { "LOGIN", "secret", SASL_CHECK },
                { "SCRAM-SHA-256-PLUS", "Secret", SASL_REFUSED },
                { "SCRAM-SHA-1", "secret", SASL_GRANTED },
                { "SCRAM-SHA-1", "Secret", SASL_REFUSED },
        };
        struct users *users = test_accounts();
        struct sasl_engine *server_engine = sasl_engine_new(test_accounts_find, users);
        struct sasl_client_engine *engine = sasl_client_engine_new();

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const char *name = cases[i].mechanism;
                const struct span bound =
                        strstr(name, "PLUS")
                                ? span_make(test_accounts_exporter, SASL_EXPORTER_LEN)
                                : (struct span) {0};
                const struct sasl_facts facts = {.exporter = bound};
                const struct sasl_client_order order = {
                        span_from_string(name), SPAN_LITERAL("alice@example.jp"),
                        span_from_string(cases[i].password), bound};
                struct sasl_client *client;
                struct sasl *server;
                bool is_done;

                CHECK(sasl_new(server_engine, order.mechanism, &facts, &server) == 0, name);
                CHECK(sasl_client_new(engine, &order, &client) == 0, name);
                CHECK(talk(server, client, &is_done) == cases[i].want, name);
                CHECK(is_done == (cases[i].want != SASL_REFUSED), name);
                if (cases[i].want == SASL_CHECK)
                        CHECK(span_equal(sasl_password(server), order.password), name);
                sasl_free(server);
                sasl_client_free(client);
        }
        sasl_engine_free(server_engine);
        sasl_client_engine_free(engine);
        users_free(users);
}

TEST(choice)
{
        const struct span all = SPAN_LITERAL("LOGIN PLAIN SCRAM-SHA-1 scram-sha-256-plus X");
        const struct span none = {0};

        CHECK(span_equal(sasl_client_choose(all, none, true), SPAN_LITERAL("SCRAM-SHA-256-PLUS")),
              "the best");
        CHECK(span_equal(sasl_client_choose(all, none, false), SPAN_LITERAL("SCRAM-SHA-1")),
              "without binding");
        CHECK(span_equal(sasl_client_choose(all, SPAN_LITERAL("PLAIN LOGIN"), true),
                         SPAN_LITERAL("PLAIN")), "allowed");
        CHECK(sasl_client_choose(all, SPAN_LITERAL("SCRAM-SHA-256"), true).len == 0, "none");
        CHECK(sasl_client_choose(none, none, true).len == 0, "nothing offered");
}

/* Challenges of a server that wants our time, or to be believed. */
TEST(ill_will)
{
        static const struct {
                const char *name, *text;
        } cases[] = {
                { "not our nonce", "r=other,s=c2FsdHNhbHQ=,i=4096" },
                { "four thousand million iterations", "r=%s,s=c2FsdHNhbHQ=,i=4000000000" },
                { "many iterations", "r=%s,s=c2FsdHNhbHQ=,i=3000000" },
                { "nonsense", "hello" },
                { "empty", "" },
        };
        struct sasl_client_engine *engine = sasl_client_engine_new();
        const struct sasl_client_order order = {SPAN("SCRAM-SHA-256"), SPAN("alice"),
                                                SPAN("secret"), {0}};

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct buffer out = BUFFER_INIT(SASL_BLOB_MAX);
                char nonce[128], text[256];
                struct sasl_client *client;

                CHECK(sasl_client_new(engine, &order, &client) == 0, cases[i].name);
                CHECK(sasl_client_step(client, (struct span) {0}, &out) == 0, cases[i].name);
                snprintf(nonce, sizeof nonce, "%.*sx", (int) (out.len - 13), out.data + 13);
                if (strncmp(cases[i].text, "r=%s", 4) == 0)
                        snprintf(text, sizeof text, "r=%s%s", nonce, cases[i].text + 4);
                else
                        snprintf(text, sizeof text, "%s", cases[i].text);
                CHECK(sasl_client_step(client, span_from_string(text), &out) < 0, cases[i].name);
                CHECK(!sasl_client_is_done(client), cases[i].name);
                sasl_client_free(client);
                buffer_done(&out);
        }
        sasl_client_engine_free(engine);
}

TEST_MAIN()
