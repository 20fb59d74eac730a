/* What the files of net/tls/ share of contexts and sessions. */
#pragma once

#include <openssl/ssl.h>

#include "net/tls/session.h"

struct tls_context {
        SSL_CTX *ctx;
        unsigned refs;
        bool is_server;
        bool is_verifying; /* a client with CA certificates */
        struct tls_context **others; /* a server's by other names */
        size_t other_count;
};

struct tls_session {
        SSL *ssl;
        struct tls_context *context;
        int last_error; /* of SSL_get_error() */
        int last_errno;
        uint8_t check;  /* enum tls_check_kind */
        char text[TLS_ERROR_MAX];
};

/* tls_check.c: makes the session demand this. 0, -EINVAL, -ENOMEM. */
int tls_check_set(struct tls_session *t, const struct tls_check *check);

/* "text: what OpenSSL says" into `ret_error`, of TLS_ERROR_MAX. Always -EINVAL. */
int tls_fail(char *ret_error, const char *text);
