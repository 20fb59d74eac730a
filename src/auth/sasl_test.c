/* Each mechanism against the client of the same library, and messages that no
 * client of good will sends. */
#include "auth/sasl.h"

#include <errno.h>
#include <gsasl.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/test_accounts.h"
#include "base/test.h"

static char binding_text[64];

static int client_callback(Gsasl *gsasl, Gsasl_session *session, Gsasl_property property)
{
        const char *const *who = gsasl_session_hook_get(session);

        (void) gsasl;
        switch (property) {
        case GSASL_AUTHID:
                return gsasl_property_set(session, property, who[0]);
        case GSASL_PASSWORD:
                return gsasl_property_set(session, property, who[1]);
        case GSASL_AUTHZID:
                return who[2] ? gsasl_property_set(session, property, who[2]) : GSASL_NO_CALLBACK;
        case GSASL_CB_TLS_EXPORTER:
                return who[3] ? gsasl_property_set(session, property, who[3]) : GSASL_NO_CALLBACK;
        default:
                return GSASL_NO_CALLBACK;
        }
}

/* Runs the whole exchange; the server's last word. `ret_client` is what the
 * client's library came to. */
static enum sasl_status run(struct sasl *server, const char *mechanism, const char *const *who,
                            int *ret_client)
{
        struct buffer out = BUFFER_INIT(SASL_BLOB_MAX);
        enum sasl_status status = SASL_CHALLENGE;
        Gsasl_session *client;
        Gsasl *gsasl;
        bool is_first = true;

        CHECK(gsasl_init(&gsasl) == GSASL_OK, "init");
        gsasl_callback_set(gsasl, client_callback);
        CHECK(gsasl_client_start(gsasl, mechanism, &client) == GSASL_OK, mechanism);
        gsasl_session_hook_set(client, (void *) who);
        *ret_client = GSASL_NEEDS_MORE;
        for (int i = 0; i < 10 && status == SASL_CHALLENGE; i++) {
                char *made = NULL;
                size_t made_len = 0;

                if (is_first && (!strcmp(mechanism, "LOGIN") || !strcmp(mechanism, "CRAM-MD5"))) {
                        status = sasl_step(server, (struct span) {0}, &out);
                        is_first = false;
                        continue;
                }
                *ret_client = *ret_client == GSASL_OK
                                      ? GSASL_OK
                                      : gsasl_step(client, buffer_span(&out).p, out.len, &made,
                                                   &made_len);
                if (*ret_client != GSASL_OK && *ret_client != GSASL_NEEDS_MORE)
                        break;
                status = sasl_step(server, span_make(made_len ? made : "", made_len), &out);
                gsasl_free(made);
                is_first = false;
        }
        gsasl_finish(client);
        gsasl_done(gsasl);
        buffer_done(&out);
        return status;
}

static const struct {
        const char *name, *mechanism;
        const char *who[4]; /* login name, password, act as, channel binding */
        enum sasl_status want;
        const char *account;
} cases[] = {
        { "plain", "PLAIN", { "alice@example.jp", "secret" }, SASL_CHECK, "alice@example.jp" },
        { "plain, in capitals", "PLAIN", { "ALICE@example.jp", "x" }, SASL_CHECK,
          "alice@example.jp" },
        { "plain, nobody", "PLAIN", { "eve@example.jp", "x" }, SASL_CHECK, "" },
        { "plain, as oneself", "PLAIN", { "alice@example.jp", "x", "alice@example.jp" }, SASL_CHECK,
          "alice@example.jp" },
        { "plain, as another", "PLAIN", { "alice@example.jp", "x", "bob@example.jp" }, SASL_REFUSED,
          "alice@example.jp" },
        { "plain, as nobody", "PLAIN", { "alice@example.jp", "x", "eve@example.jp" }, SASL_REFUSED,
          "alice@example.jp" },
        { "login", "LOGIN", { "alice@example.jp", "secret" }, SASL_CHECK, "alice@example.jp" },
        { "scram", "SCRAM-SHA-256", { "alice@example.jp", "secret" }, SASL_GRANTED,
          "alice@example.jp" },
        { "scram, wrong", "SCRAM-SHA-256", { "alice@example.jp", "Secret" }, SASL_REFUSED,
          "alice@example.jp" },
        { "scram, nobody", "SCRAM-SHA-256", { "eve@example.jp", "secret" }, SASL_REFUSED, "" },
        { "scram, no verifier", "SCRAM-SHA-256", { "bob@example.jp", "abc" }, SASL_REFUSED,
          "bob@example.jp" },
        { "scram, as another", "SCRAM-SHA-256",
          { "alice@example.jp", "secret", "bob@example.jp" }, SASL_REFUSED, "alice@example.jp" },
        { "scram bound", "SCRAM-SHA-256-PLUS",
          { "alice@example.jp", "secret", NULL, binding_text }, SASL_GRANTED, "alice@example.jp" },
        { "scram bound to another channel", "SCRAM-SHA-256-PLUS",
          { "alice@example.jp", "secret", NULL, "AAAA" }, SASL_REFUSED, NULL },
        { "scram sha-1", "SCRAM-SHA-1", { "alice@example.jp", "secret" }, SASL_GRANTED,
          "alice@example.jp" },
        { "cram", "CRAM-MD5", { "alice@example.jp", "secret" }, SASL_GRANTED, "alice@example.jp" },
        { "cram, wrong", "CRAM-MD5", { "alice@example.jp", "Secret" }, SASL_REFUSED,
          "alice@example.jp" },
        { "cram, no secret", "CRAM-MD5", { "bob@example.jp", "abc" }, SASL_REFUSED,
          "bob@example.jp" },
        { "cram, nobody", "CRAM-MD5", { "eve@example.jp", "secret" }, SASL_REFUSED, "" },
        { "scram sha-1, wrong", "SCRAM-SHA-1", { "alice@example.jp", "secre" }, SASL_REFUSED,
          "alice@example.jp" },
};

TEST(mechanisms)
{
        struct users *u = test_accounts();
        struct sasl_engine *e = sasl_engine_new(test_accounts_find, u);
        char *text = NULL;

        CHECK(gsasl_base64_to(test_accounts_exporter, SASL_EXPORTER_LEN, &text, NULL) == GSASL_OK,
              "base64");
        snprintf(binding_text, sizeof binding_text, "%s", text);
        gsasl_free(text);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const bool is_bound = strstr(cases[i].mechanism, "-PLUS") != NULL;
                const struct sasl_facts facts = {
                        .exporter = is_bound ? span_make(test_accounts_exporter, SASL_EXPORTER_LEN)
                                             : (struct span) {0},
                };
                struct sasl *s;
                enum sasl_status status;
                int client;

                CHECK(sasl_new(e, span_from_string(cases[i].mechanism), &facts, &s) == 0,
                      cases[i].name);
                status = run(s, cases[i].mechanism, cases[i].who, &client);
                CHECK(status == cases[i].want, cases[i].name);
                if (cases[i].want == SASL_GRANTED)
                        CHECK(client == GSASL_OK, cases[i].name); /* our proof was good */
                if (cases[i].account)
                        CHECK(span_equal(sasl_account(s), span_from_string(cases[i].account)),
                              cases[i].name);
                if (cases[i].want == SASL_CHECK)
                        CHECK(span_equal(sasl_password(s), span_from_string(cases[i].who[1])),
                              cases[i].name);
                sasl_free(s);
        }
        sasl_engine_free(e);
        users_free(u);
}

static const struct {
        const char *name, *mechanism, *external, *authzid;
        enum sasl_status want;
} external[] = {
        { "certificate", "EXTERNAL", "alice@example.jp", "", SASL_GRANTED },
        { "certificate, by name", "EXTERNAL", "alice@example.jp", "alice@example.jp",
          SASL_GRANTED },
        { "certificate of another", "EXTERNAL", "alice@example.jp", "bob@example.jp",
          SASL_REFUSED },
        { "certificate of nobody here", "EXTERNAL", "eve@example.jp", "", SASL_REFUSED },
        { "no certificate", "EXTERNAL", "", "alice@example.jp", SASL_REFUSED },
};

TEST(external_names_come_from_the_certificate)
{
        struct users *u = test_accounts();
        struct sasl_engine *e = sasl_engine_new(test_accounts_find, u);
        struct buffer out = BUFFER_INIT(SASL_BLOB_MAX);

        for (size_t i = 0; i < sizeof external / sizeof external[0]; i++) {
                const struct sasl_facts facts = {
                        .external_name = span_from_string(external[i].external),
                };
                struct sasl *s;

                CHECK(sasl_new(e, SPAN_LITERAL("external"), &facts, &s) == 0, external[i].name);
                CHECK(sasl_step(s, span_from_string(external[i].authzid), &out) ==
                              external[i].want, external[i].name);
                sasl_free(s);
        }
        buffer_done(&out);
        sasl_engine_free(e);
        users_free(u);
}

static const struct {
        const char *name, *mechanism, *in;
        size_t in_len;
        enum sasl_status want;
} bad[] = {
        { "plain without its NULs", "PLAIN", "alice", 5, SASL_MALFORMED },
        { "plain with one NUL", "PLAIN", "\0alice", 6, SASL_MALFORMED },
        { "plain without a name", "PLAIN", "\0\0secret", 8, SASL_CHECK },
        { "scram of nothing known", "SCRAM-SHA-256", "x,,n=a,r=b", 10, SASL_MALFORMED },
        { "scram without nonce", "SCRAM-SHA-256", "n,,n=a", 6, SASL_MALFORMED },
        { "scram bound where it is not", "SCRAM-SHA-256", "p=tls-exporter,,n=a,r=b", 23,
          SASL_MALFORMED },
        { "scram NUL", "SCRAM-SHA-256", "n,,n=a\0,r=b", 11, SASL_MALFORMED },
        { "scram bound otherwise", "SCRAM-SHA-256-PLUS", "p=tls-unique,,n=a,r=b", 21,
          SASL_REFUSED },
        { "cram at once", "CRAM-MD5", "alice@example.jp 0123456789abcdef0123456789abcdef", 49,
          SASL_MALFORMED },
        { "scram downgraded", "SCRAM-SHA-256-PLUS", "n,,n=a,r=b", 10, SASL_MALFORMED },
};

TEST(bad_messages)
{
        struct users *u = test_accounts();
        struct sasl_engine *e = sasl_engine_new(test_accounts_find, u);
        struct buffer out = BUFFER_INIT(SASL_BLOB_MAX);
        const struct sasl_facts facts = {.exporter = {test_accounts_exporter, SASL_EXPORTER_LEN}};
        const struct sasl_facts none = {0};
        struct sasl *s;

        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                const bool is_bound = strstr(bad[i].mechanism, "-PLUS") != NULL;
                enum sasl_status got;

                CHECK(sasl_new(e, span_from_string(bad[i].mechanism), is_bound ? &facts : &none,
                               &s) == 0, bad[i].name);
                got = sasl_step(s, span_make(bad[i].in, bad[i].in_len), &out);
                CHECK(got == bad[i].want, bad[i].name);
                sasl_free(s);
        }
        CHECK(sasl_new(e, SPAN_LITERAL("DIGEST-MD5"), &none, &s) == -ENOENT, "not ours");
        CHECK(sasl_new(e, SPAN_LITERAL(""), &none, &s) == -ENOENT, "empty");
        buffer_done(&out);
        sasl_engine_free(e);
        users_free(u);
}

TEST(a_name_that_is_not_there_is_asked_the_same_each_time)
{
        struct users *u = test_accounts();
        struct sasl_engine *e = sasl_engine_new(test_accounts_find, u);
        struct buffer out = BUFFER_INIT(SASL_BLOB_MAX);
        const struct sasl_facts none = {0};
        char first[200] = "";

        for (int i = 0; i < 2; i++) {
                struct sasl *s;
                const char *salt;

                CHECK(sasl_new(e, SPAN_LITERAL("SCRAM-SHA-256"), &none, &s) == 0, "new");
                CHECK(sasl_step(s, SPAN_LITERAL("n,,n=eve@example.jp,r=abc"), &out) ==
                              SASL_CHALLENGE, "asked");
                CHECK(buffer_append(&out, "", 1) == 0, "NUL");
                salt = strstr(buffer_span(&out).p, ",s=");
                CHECK(salt && strstr(salt, ",i=100000"), "salt and iterations");
                if (i == 0)
                        snprintf(first, sizeof first, "%s", salt);
                CHECK(strcmp(first, salt) == 0, "the same");
                sasl_free(s);
        }
        buffer_done(&out);
        sasl_engine_free(e);
        users_free(u);
}

TEST_MAIN()
