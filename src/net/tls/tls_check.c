/* Demands of a client on its server: names, pins, TLSA records. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "net/tls/tls_private.h"

enum { NAME_MAX_LEN = 255, PIN_LEN = 32, RECORD_HEAD = 5 };

enum { USAGE_DANE_TA = 2, USAGE_DANE_EE = 3, SELECTOR_CERTIFICATE = 0, SELECTOR_KEY = 1,
       MATCHING_SHA256 = 1 };

static bool copy_name(struct span name, char out[NAME_MAX_LEN + 1])
{
        if (name.len == 0 || name.len > NAME_MAX_LEN || memchr(name.p, 0, name.len))
                return false;
        memcpy(out, name.p, name.len);
        out[name.len] = '\0';
        return true;
}

static bool is_address(const char *name)
{
        unsigned char raw[16];

        return inet_pton(AF_INET, name, raw) == 1 || inet_pton(AF_INET6, name, raw) == 1;
}

/* Any of them is good enough. Replaces what the server's name alone has set. */
static int set_names(SSL *ssl, const struct tls_check *check, size_t first)
{
        char name[NAME_MAX_LEN + 1];

        for (size_t i = first; i < check->name_count; i++) {
                if (!copy_name(check->names[i], name))
                        return -EINVAL;
                if (is_address(name)) {
                        if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) != 1)
                                return -EINVAL;
                } else if ((i == 0 ? SSL_set1_host(ssl, name) : SSL_add1_host(ssl, name)) != 1) {
                        return -EINVAL;
                }
        }
        /* "mx*.example.jp" is nothing that anybody may have signed. */
        SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        return 0;
}

static int add_record(SSL *ssl, unsigned usage, unsigned selector, unsigned matching,
                      struct span data)
{
        const int r = SSL_dane_tlsa_add(ssl, (uint8_t) usage, (uint8_t) selector,
                                        (uint8_t) matching, (const unsigned char *) data.p,
                                        data.len);

        ERR_clear_error();
        return r < 0 ? -ENOMEM : r;
}

static int add_pins(SSL *ssl, struct span pins)
{
        int added = 0, r = 0;

        for (; pins.len >= PIN_LEN && r >= 0; pins = span_skip(pins, PIN_LEN)) {
                const struct span pin = span_first(pins, PIN_LEN);

                r = add_record(ssl, USAGE_DANE_EE, SELECTOR_CERTIFICATE, MATCHING_SHA256, pin);
                added += r > 0;
                if (r >= 0)
                        r = add_record(ssl, USAGE_DANE_EE, SELECTOR_KEY, MATCHING_SHA256, pin);
        }
        return r < 0 ? r : added;
}

static int add_records(SSL *ssl, struct span records)
{
        int added = 0, r = 0;

        while (records.len >= RECORD_HEAD && r >= 0) {
                const unsigned char *head = (const unsigned char *) records.p;
                const size_t len = (size_t) head[3] << 8 | head[4];

                records = span_skip(records, RECORD_HEAD);
                if (len > records.len)
                        break;
                /* PKIX usages are for nobody here (RFC 7672 section 3.1.3). */
                if (head[0] == USAGE_DANE_TA || head[0] == USAGE_DANE_EE) {
                        r = add_record(ssl, head[0], head[1], head[2], span_first(records, len));
                        added += r > 0;
                }
                records = span_skip(records, len);
        }
        return r < 0 ? r : added;
}

/* Pins are TLSA records of our own making. */
static int set_records(struct tls_session *t, const struct tls_check *check)
{
        char base[NAME_MAX_LEN + 1] = "pinned.invalid";
        int r = 0;

        if (check->kind == TLS_CHECK_DANE &&
            (check->name_count == 0 || !copy_name(check->names[0], base)))
                return -EINVAL;
        /* It sets the server name too, unless there is one. */
        if (SSL_dane_enable(t->ssl, base) != 1)
                return -ENOMEM;
        if (check->kind == TLS_CHECK_DANE)
                r = set_names(t->ssl, check, 1);
        /* RFC 7672 section 3.1.1: with DANE-EE neither names nor dates count. */
        SSL_dane_set_flags(t->ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
        if (r == 0)
                r = check->kind == TLS_CHECK_DANE ? add_records(t->ssl, check->records)
                                                  : add_pins(t->ssl, check->records);
        return r == 0 ? -EINVAL : r < 0 ? r : 0;
}

int tls_check_set(struct tls_session *t, const struct tls_check *check)
{
        int r = 0;

        t->check = (uint8_t) check->kind;
        if (check->kind == TLS_CHECK_NOTHING)
                return 0;
        if (check->kind == TLS_CHECK_NAMES)
                r = check->name_count && t->context->is_verifying ? set_names(t->ssl, check, 0)
                                                                  : -EINVAL;
        else
                r = set_records(t, check);
        SSL_set_verify(t->ssl, SSL_VERIFY_PEER, NULL);
        ERR_clear_error();
        return r;
}

const char *tls_session_verified(const struct tls_session *t)
{
        uint8_t usage = 0;

        if (SSL_get_verify_result(t->ssl) != X509_V_OK)
                return NULL;
        switch (t->check) {
        case TLS_CHECK_NAMES:
                return "authority";
        case TLS_CHECK_PINS:
                return "fingerprint";
        case TLS_CHECK_DANE:
                if (SSL_get0_dane_tlsa(t->ssl, &usage, NULL, NULL, NULL, NULL) < 0)
                        return NULL;
                return usage == USAGE_DANE_TA ? "dane-ta" : "dane-ee";
        default:
                return NULL;
        }
}
