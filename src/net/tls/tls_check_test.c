/* A client and a server of TLS on a socket pair: what each demand accepts. */
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "net/tls/certificate.h"
#include "net/tls/session.h"

enum { MAX = 16 * 1024 };

struct world {
        struct buffer pem, ca;
        struct tls_context *server, *any, *verifying;
        unsigned char certificate_digest[32], key_digest[32], authority_digest[32];
};

static X509 *certificate_of(struct span pem)
{
        BIO *bio = BIO_new_mem_buf(pem.p, (int) pem.len);
        X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);

        BIO_free(bio);
        return x;
}

static void digest(struct span pem, unsigned char certificate[32], unsigned char *key)
{
        X509 *x = certificate_of(pem);
        unsigned char *der = NULL;
        int len = i2d_X509(x, &der);

        SHA256(der, (size_t) len, certificate);
        OPENSSL_free(der);
        der = NULL;
        len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
        if (key)
                SHA256(der, (size_t) len, key);
        OPENSSL_free(der);
        X509_free(x);
}

/* The server's, signed by an authority whose certificate it shows too. */
static void make_certificates(struct world *w)
{
        const struct span ca_name = SPAN_LITERAL("authority.example"),
                          name = SPAN_LITERAL("mx.example.jp");
        const struct certificate_order ca = {&ca_name, 1, 10, true}, leaf = {&name, 1, 10, false};
        struct buffer key = BUFFER_INIT(MAX), both = BUFFER_INIT(MAX);
        char error[TLS_ERROR_MAX] = "";

        CHECK(certificate_make(&ca, (struct span) {0}, &w->ca, &key, error) == 0, error);
        CHECK(buffer_append_span(&both, buffer_span(&w->ca)) == 0, "memory");
        CHECK(buffer_append_span(&both, buffer_span(&key)) == 0, "memory");
        buffer_clear(&key);
        CHECK(certificate_make(&leaf, buffer_span(&both), &w->pem, &key, error) == 0, error);
        CHECK(buffer_append_span(&w->pem, buffer_span(&key)) == 0, "memory");
        CHECK(buffer_append_span(&w->pem, buffer_span(&w->ca)) == 0, "memory");
        buffer_done(&key);
        buffer_done(&both);
}

static void world_init(struct world *w)
{
        const struct span none = {0};
        char error[TLS_ERROR_MAX];

        *w = (struct world) {.pem = BUFFER_INIT(MAX), .ca = BUFFER_INIT(MAX)};
        make_certificates(w);
        CHECK(tls_context_new_server(buffer_span(&w->pem), &w->server, error) == 0, "server");
        CHECK(tls_context_new_client(none, &w->any, error) == 0, "client");
        CHECK(tls_context_new_client(buffer_span(&w->ca), &w->verifying, error) == 0, "verifying");
        digest(buffer_span(&w->pem), w->certificate_digest, w->key_digest);
        digest(buffer_span(&w->ca), w->authority_digest, NULL);
}

static void world_done(struct world *w)
{
        tls_context_unref(w->server);
        tls_context_unref(w->any);
        tls_context_unref(w->verifying);
        buffer_done(&w->pem);
        buffer_done(&w->ca);
}

/* By what the client found the server right; "" for not asked, NULL: refused. */
static const char *shake(struct world *w, struct tls_context *context,
                         const struct tls_check *check, const char *case_name)
{
        struct tls_session *client = NULL, *server = NULL;
        enum tls_want c = TLS_WANT_READ, s = TLS_WANT_READ;
        const char *result = NULL;
        int pair[2];

        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0, case_name);
        CHECK(tls_session_new(w->server, pair[1], (struct span) {0}, &server) == 0, case_name);
        if (tls_session_new_checked(context, pair[0], SPAN_LITERAL("mx.example.jp"), check,
                                    &client) == 0) {
                for (int i = 0; i < 20 && c != TLS_DONE && c != TLS_FAILED; i++) {
                        c = tls_session_handshake(client);
                        if (s != TLS_DONE)
                                s = tls_session_handshake(server);
                }
                if (c == TLS_DONE)
                        result = tls_session_verified(client) ? tls_session_verified(client) : "";
        }
        tls_session_free(client);
        tls_session_free(server);
        close(pair[0]);
        close(pair[1]);
        return result;
}

static void check_case(struct world *w, const struct tls_check *check, const char *want,
                       const char *name)
{
        const char *have = shake(w, check && check->kind == TLS_CHECK_NAMES ? w->verifying : w->any,
                                 check, name);

        CHECK(want ? have && strcmp(have, want) == 0 : !have, name);
}

TEST(names)
{
        static const struct {
                const char *name;
                bool good;
        } cases[] = {
                { "mx.example.jp", true },   { "MX.Example.JP", true }, { ".example.jp", true },
                { "example.jp", false },     { "a.example.jp", false }, { "192.0.2.1", false },
                { ".other.example", false },
        };
        struct world w;

        world_init(&w);
        check_case(&w, NULL, "", "nothing demanded");
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const struct span names[] = {SPAN_LITERAL("other.example"),
                                             span_from_string(cases[i].name)};
                const struct tls_check one = {TLS_CHECK_NAMES, names + 1, 1, {0}};
                const struct tls_check two = {TLS_CHECK_NAMES, names, 2, {0}};
                const char *want = cases[i].good ? "authority" : NULL;

                check_case(&w, &one, want, cases[i].name);
                check_case(&w, &two, want, cases[i].name);
        }
        CHECK(!shake(&w, w.any, &(struct tls_check) {.kind = TLS_CHECK_NAMES}, "no name"),
              "no name, no authority");
        world_done(&w);
}

TEST(pins)
{
        struct world w;
        struct tls_check check = {.kind = TLS_CHECK_PINS};
        unsigned char both[64] = {0};

        world_init(&w);
        check.records = span_make((const char *) w.certificate_digest, 32);
        check_case(&w, &check, "fingerprint", "certificate");
        check.records = span_make((const char *) w.key_digest, 32);
        check_case(&w, &check, "fingerprint", "key");
        memcpy(both + 32, w.key_digest, 32);
        check.records = span_make((const char *) both, 64);
        check_case(&w, &check, "fingerprint", "the second");
        check.records.len = 32;
        check_case(&w, &check, NULL, "another");
        check.records.len = 0;
        check_case(&w, &check, NULL, "none");
        world_done(&w);
}

/* A record as tls.h has it. */
static struct span record(unsigned char *out, const unsigned char head[3],
                          const unsigned char *digest, size_t len)
{
        memcpy(out, head, 3);
        out[3] = 0;
        out[4] = (unsigned char) len;
        memcpy(out + 5, digest, len);
        return span_make((const char *) out, 5 + len);
}

TEST(dane)
{
        static const unsigned char zero[32];
        struct world w;
        struct span names[] = {SPAN("tlsa.example"), SPAN("other.example"), SPAN("mx.example.jp")};

        world_init(&w);
        const struct {
                const char *name;
                unsigned char head[3];
                const unsigned char *digest;
                size_t len, first_name, names;
                const char *want;
        } cases[] = {
                { "EE, certificate", {3, 0, 1}, w.certificate_digest, 32, 0, 1, "dane-ee" },
                { "EE, key", {3, 1, 1}, w.key_digest, 32, 0, 1, "dane-ee" },
                { "EE, wrong selector", {3, 0, 1}, w.key_digest, 32, 0, 1, NULL },
                { "EE, wrong digest", {3, 1, 1}, zero, 32, 0, 1, NULL },
                { "TA, its name", {2, 0, 1}, w.authority_digest, 32, 2, 1, "dane-ta" },
                { "TA, second name", {2, 0, 1}, w.authority_digest, 32, 1, 2, "dane-ta" },
                { "TA, another's name", {2, 0, 1}, w.authority_digest, 32, 1, 1, NULL },
                { "TA, of the leaf", {2, 0, 1}, w.certificate_digest, 32, 2, 1, NULL },
                { "PKIX", {1, 1, 1}, w.key_digest, 32, 0, 1, NULL },
                { "short digest", {3, 1, 1}, w.key_digest, 31, 0, 1, NULL },
                { "unknown matching", {3, 1, 9}, w.key_digest, 32, 0, 1, NULL },
        };
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                unsigned char out[64];
                struct tls_check check = {
                        .kind = TLS_CHECK_DANE, .names = names + cases[i].first_name,
                        .name_count = cases[i].names,
                        .records = record(out, cases[i].head, cases[i].digest, cases[i].len),
                };
                const size_t len = check.records.len;

                check_case(&w, &check, cases[i].want, cases[i].name);
                for (size_t cut = 0; cut < len; cut += 7) {
                        check.records.len = cut;
                        check_case(&w, &check, NULL, cases[i].name);
                }
        }
        world_done(&w);
}

TEST_MAIN()
