/* Accounts that tests of both sides of SASL log in to: alice@example.jp, whose password
 * is "secret", with a verifier of every kind, and bob@example.jp with a hash alone.
 * And a channel that SCRAM is bound to. */
#pragma once

#include "auth/password.h"
#include "auth/users.h"
#include "base/test.h"

/* What both ends of the connection export: SASL_EXPORTER_LEN octets. */
static const char test_accounts_exporter[] = "0123456789abcdef0123456789abcdef";

/* To be freed by users_free(). */
static inline struct users *test_accounts(void)
{
        struct buffer text = BUFFER_INIT(4096), error = BUFFER_INIT(4096);
        struct password_scram v;
        struct users *u = NULL;

        CHECK(buffer_append_string(&text, "alice@example.jp:{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=:"
                                          "scram-sha-256=") == 0, "text");
        CHECK(password_scram_derive(SPAN_LITERAL("secret"), SPAN_LITERAL("saltsaltsaltsalt"), 4096,
                                    &v) == 0, "derive");
        CHECK(password_scram_format(&v, &text) == 0, "format");
        /* Of "secret", the same salt, 4096 iterations, made elsewhere (Python). */
        CHECK(buffer_append_string(&text,
                                   " scram-sha-1=4096,c2FsdHNhbHRzYWx0c2FsdA==,"
                                   "rDEFCUExgaG3sJdXCceJEWtQAMA=,slSXyd5ql3g7UWtr94XvgGzqDcY="
                                   " apop=c2VjcmV0\n"
                                   "bob@example.jp:{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\n")
                      == 0, "text");
        CHECK(users_parse(buffer_span(&text), "users", &u, &error) == 0, "parse");
        buffer_done(&text);
        buffer_done(&error);
        return u;
}

/* A sasl_find_fn, `arg` what test_accounts() made. */
static inline const struct users_account *test_accounts_find(void *arg, struct span name)
{
        return users_owner(arg, name);
}
