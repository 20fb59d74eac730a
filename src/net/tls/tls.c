#include "net/tls/tls.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "net/tls/session.h"
#include "net/tls/tls_private.h"

/* A key with a password would make OpenSSL ask on the terminal. */
static int no_password(char *out, int size, int is_writing, void *arg)
{
        (void) out;
        (void) size;
        (void) is_writing;
        (void) arg;
        return -1;
}

int tls_fail(char *ret_error, const char *text)
{
        const char *reason = ERR_reason_error_string(ERR_peek_last_error());

        snprintf(ret_error, TLS_ERROR_MAX, "%s%s%s", text, reason ? ": " : "",
                 reason ? reason : "");
        ERR_clear_error();
        return -EINVAL;
}

static struct tls_context *context_new(bool is_server, char *ret_error)
{
        struct tls_context *c = calloc(1, sizeof *c);

        if (c)
                c->ctx = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
        if (!c || !c->ctx) {
                free(c);
                tls_fail(ret_error, "there is no memory for a TLS context");
                return NULL;
        }
        c->refs = 1;
        c->is_server = is_server;
        SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION); /* RFC 8996 */
        /* Mail ends are marked in the mail protocols, not by the end of the
         * connection, and many peers do not say close_notify. */
        SSL_CTX_set_options(c->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION
                                    | SSL_OP_IGNORE_UNEXPECTED_EOF
                                    | SSL_OP_CIPHER_SERVER_PREFERENCE);
        SSL_CTX_set_mode(c->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE
                                 | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                 | SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_read_ahead(c->ctx, 1); /* one read(2) a record, not two */
        return c;
}

static BIO *bio_of(struct span pem)
{
        return BIO_new_mem_buf(pem.p ? pem.p : "", (int) pem.len);
}

static EVP_PKEY *read_key(struct span pem)
{
        BIO *bio = bio_of(pem);
        EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;

        BIO_free(bio);
        return key;
}

/* All certificates in `pem`, in their order; empty where there are none. */
static STACK_OF(X509) *read_certificates(struct span pem)
{
        STACK_OF(X509) *all = sk_X509_new_null();
        BIO *bio = bio_of(pem);
        X509 *certificate;

        while (all && bio && (certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL)))
                if (sk_X509_push(all, certificate) == 0)
                        X509_free(certificate);
        BIO_free(bio);
        ERR_clear_error(); /* "no start line": the end of the text */
        return all;
}

/* The certificate of our key is the leaf; all others are its chain. */
static int use_pair(SSL_CTX *ctx, STACK_OF(X509) *all, EVP_PKEY *key, char *ret_error)
{
        X509 *leaf = NULL;
        int r = 0;

        for (int i = 0; i < sk_X509_num(all) && !leaf; i++)
                if (X509_check_private_key(sk_X509_value(all, i), key) == 1)
                        leaf = sk_X509_delete(all, i);
        ERR_clear_error();
        if (!leaf)
                return tls_fail(ret_error, "no certificate belongs to the private key");
        if (SSL_CTX_use_cert_and_key(ctx, leaf, key, all, 1) != 1)
                r = tls_fail(ret_error, "the certificate or its key cannot be used");
        X509_free(leaf);
        return r;
}

int tls_context_new_server(struct span pem, struct tls_context **ret_c, char *ret_error)
{
        struct tls_context *c = context_new(true, ret_error);
        STACK_OF(X509) *all;
        EVP_PKEY *key;
        int r;

        if (!c)
                return -ENOMEM;
        ERR_clear_error();
        key = read_key(pem);
        all = read_certificates(pem);
        if (!key)
                r = tls_fail(ret_error, "there is no private key, or it needs a password");
        else if (sk_X509_num(all) <= 0)
                r = tls_fail(ret_error, "there is no certificate");
        else
                r = use_pair(c->ctx, all, key, ret_error);
        EVP_PKEY_free(key);
        sk_X509_pop_free(all, X509_free);
        if (r < 0) {
                tls_context_unref(c);
                return r;
        }
        /* Sessions resume by tickets, sealed with a key of this process. */
        SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_session_id_context(c->ctx, (const unsigned char *) "hayauma", 7);
        *ret_c = c;
        return 0;
}

static int use_authorities(SSL_CTX *ctx, struct span ca_pem, char *ret_error)
{
        STACK_OF(X509) *all = read_certificates(ca_pem);
        int r = sk_X509_num(all) > 0 ? 0 : tls_fail(ret_error, "there is no CA certificate");

        for (int i = 0; i < sk_X509_num(all) && r == 0; i++)
                if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), sk_X509_value(all, i)) != 1)
                        r = tls_fail(ret_error, "a CA certificate cannot be used");
        sk_X509_pop_free(all, X509_free);
        return r;
}

/* The context whose certificate has the name the client asks for; who asks for
 * none of ours gets the first, since mail clients ask for all sorts of names
 * (RFC 6066 section 3 allows it). */
static int choose_certificate(SSL *ssl, int *alert, void *arg)
{
        const struct tls_context *c = arg;
        const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

        (void) alert;
        if (!name || X509_check_host(SSL_CTX_get0_certificate(c->ctx), name, 0, 0, NULL) == 1)
                return SSL_TLSEXT_ERR_OK;
        for (size_t i = 0; i < c->other_count; i++) {
                SSL_CTX *other = c->others[i]->ctx;

                if (X509_check_host(SSL_CTX_get0_certificate(other), name, 0, 0, NULL) == 1) {
                        SSL_set_SSL_CTX(ssl, other);
                        break;
                }
        }
        ERR_clear_error();
        return SSL_TLSEXT_ERR_OK;
}

int tls_context_add_certificate(struct tls_context *c, struct span pem, char *ret_error)
{
        struct tls_context *other = NULL, **others;
        int r = tls_context_new_server(pem, &other, ret_error);

        if (r < 0)
                return r;
        others = reallocarray(c->others, c->other_count + 1, sizeof *others);
        if (!others) {
                tls_context_unref(other);
                return -ENOMEM;
        }
        c->others = others;
        c->others[c->other_count++] = other;
        SSL_CTX_set_tlsext_servername_callback(c->ctx, choose_certificate);
        SSL_CTX_set_tlsext_servername_arg(c->ctx, c);
        return 0;
}

/* Other servers show certificates of other authorities: that is their right.
 * What the check came to is looked at by who asks for a name. */
static int go_on(int is_good, X509_STORE_CTX *ctx)
{
        (void) is_good;
        (void) ctx;
        return 1;
}

int tls_context_set_client_ca(struct tls_context *c, struct span ca_pem, char *ret_error)
{
        STACK_OF(X509) *all = read_certificates(ca_pem);
        int r = use_authorities(c->ctx, ca_pem, ret_error);

        for (int i = 0; i < sk_X509_num(all) && r == 0; i++)
                if (SSL_CTX_add_client_CA(c->ctx, sk_X509_value(all, i)) != 1)
                        r = tls_fail(ret_error, "a CA certificate cannot be used");
        sk_X509_pop_free(all, X509_free);
        if (r == 0)
                SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, go_on);
        return r;
}

void tls_context_ask_clients(struct tls_context *c)
{
        if (c->is_server)
                SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, go_on);
}

int tls_context_set_ticket_keys(struct tls_context *c, struct span keys)
{
        unsigned char copy[TLS_TICKET_KEYS_LEN];
        long done;

        if (keys.len != sizeof copy)
                return -EINVAL;
        memcpy(copy, keys.p, sizeof copy);
        done = SSL_CTX_set_tlsext_ticket_keys(c->ctx, copy, sizeof copy);
        OPENSSL_cleanse(copy, sizeof copy);
        ERR_clear_error();
        return done == 1 ? 0 : -EINVAL;
}

static int64_t ends_at(const X509 *certificate)
{
        struct tm when = {0};

        if (!certificate || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &when) != 1)
                return 0;
        return timegm(&when);
}

int64_t tls_context_ends_at(const struct tls_context *c)
{
        int64_t first = ends_at(SSL_CTX_get0_certificate(c->ctx));

        for (size_t i = 0; i < c->other_count; i++) {
                const int64_t other = ends_at(SSL_CTX_get0_certificate(c->others[i]->ctx));

                first = other < first ? other : first;
        }
        return first;
}

int tls_context_new_client(struct span ca_pem, struct tls_context **ret_c, char *ret_error)
{
        struct tls_context *c = context_new(false, ret_error);

        if (!c)
                return -ENOMEM;
        ERR_clear_error();
        if (ca_pem.len && use_authorities(c->ctx, ca_pem, ret_error) < 0) {
                tls_context_unref(c);
                return -EINVAL;
        }
        c->is_verifying = ca_pem.len > 0;
        SSL_CTX_set_verify(c->ctx, c->is_verifying ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
        if (SSL_CTX_dane_enable(c->ctx) != 1) {
                tls_context_unref(c);
                return tls_fail(ret_error, "DANE cannot be switched on");
        }
        if (!c->is_verifying)
                SSL_CTX_set_security_level(c->ctx, 1); /* weak is better than none: RFC 7435 */
        *ret_c = c;
        return 0;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
        c->refs++;
        return c;
}

struct tls_context *tls_context_unref(struct tls_context *c)
{
        if (!c || --c->refs > 0)
                return NULL;
        for (size_t i = 0; i < c->other_count; i++)
                tls_context_unref(c->others[i]);
        free(c->others);
        SSL_CTX_free(c->ctx);
        free(c);
        return NULL;
}

int tls_warm_up(void)
{
        unsigned char octet;
        struct tls_context *c;
        char error[TLS_ERROR_MAX];
        EVP_PKEY *key;

        /* A client context loads the default provider and every algorithm that
         * a handshake fetches by name; a key seeds the random generators. */
        if (OPENSSL_init_ssl(0, NULL) != 1 || RAND_bytes(&octet, 1) != 1
            || tls_context_new_client((struct span) {NULL, 0}, &c, error) < 0)
                return -EIO;
        tls_context_unref(c);
        key = EVP_EC_gen("P-256");
        if (!key)
                return -EIO;
        EVP_PKEY_free(key);
        return 0;
}

/* `is_checked`: somebody else says which names the certificate must have. */
static int set_server_name(struct tls_session *t, struct span server_name, bool is_checked)
{
        X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
        unsigned char raw[16];
        char name[256];

        if (server_name.len == 0)
                return 0;
        if (server_name.len >= sizeof name || memchr(server_name.p, 0, server_name.len))
                return -EINVAL;
        memcpy(name, server_name.p, server_name.len);
        name[server_name.len] = 0;
        if (inet_pton(AF_INET, name, raw) == 1 || inet_pton(AF_INET6, name, raw) == 1) {
                if (!is_checked)
                        X509_VERIFY_PARAM_set1_ip_asc(param, name);
                return 0;
        }
        if (SSL_set_tlsext_host_name(t->ssl, name) != 1)
                return -EINVAL;
        if (t->context->is_verifying && !is_checked && SSL_set1_host(t->ssl, name) != 1)
                return -EINVAL;
        return 0;
}

int tls_session_new(struct tls_context *c, int fd, struct span server_name,
                    struct tls_session **ret_t)
{
        return tls_session_new_checked(c, fd, server_name, NULL, ret_t);
}

int tls_session_new_checked(struct tls_context *c, int fd, struct span server_name,
                            const struct tls_check *check, struct tls_session **ret_t)
{
        struct tls_session *t = calloc(1, sizeof *t);
        int r;

        if (!t)
                return -ENOMEM;
        t->context = tls_context_ref(c);
        t->ssl = SSL_new(c->ctx);
        if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1) {
                tls_session_free(t);
                return -ENOMEM;
        }
        if (c->is_server) {
                SSL_set_accept_state(t->ssl);
        } else {
                SSL_set_connect_state(t->ssl);
                r = set_server_name(t, server_name, check != NULL);
                if (r == 0 && check)
                        r = tls_check_set(t, check);
                if (r < 0) {
                        tls_session_free(t);
                        return r;
                }
        }
        *ret_t = t;
        return 0;
}

struct tls_session *tls_session_free(struct tls_session *t)
{
        if (!t)
                return NULL;
        SSL_free(t->ssl);
        tls_context_unref(t->context);
        free(t);
        return NULL;
}

static enum tls_want want(struct tls_session *t, int returned)
{
        t->last_errno = errno;
        t->last_error = SSL_get_error(t->ssl, returned);
        switch (t->last_error) {
        case SSL_ERROR_NONE:
                return TLS_DONE;
        case SSL_ERROR_WANT_READ:
                return TLS_WANT_READ;
        case SSL_ERROR_WANT_WRITE:
                return TLS_WANT_WRITE;
        case SSL_ERROR_ZERO_RETURN:
                return TLS_END;
        default:
                return TLS_FAILED;
        }
}

enum tls_want tls_session_handshake(struct tls_session *t)
{
        ERR_clear_error();
        return want(t, SSL_do_handshake(t->ssl));
}

enum tls_want tls_session_read(struct tls_session *t, char *out, size_t size, size_t *ret_len)
{
        ERR_clear_error();
        return want(t, SSL_read_ex(t->ssl, out, size, ret_len));
}

enum tls_want tls_session_write(struct tls_session *t, struct span octets, size_t *ret_len)
{
        ERR_clear_error();
        return want(t, SSL_write_ex(t->ssl, octets.p, octets.len, ret_len));
}

void tls_session_shutdown(struct tls_session *t)
{
        ERR_clear_error();
        SSL_shutdown(t->ssl);
        ERR_clear_error();
}

/* OpenSSL's words for the commonest troubles do not say whose fault it is. */
static const struct {
        int reason;
        const char *text;
} reasons[] = {
        { SSL_R_WRONG_VERSION_NUMBER, "what the peer sent is not TLS" },
        { SSL_R_HTTP_REQUEST, "the peer sent an HTTP request, not TLS" },
        { SSL_R_NO_SHARED_CIPHER, "the peer and we have no cipher in common" },
        { SSL_R_UNSUPPORTED_PROTOCOL, "the peer offers only TLS versions older than 1.2" },
        { SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the peer does not take TLS 1.2 or 1.3" },
        { SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the peer refused all we offered" },
        { SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the peer does not trust our certificate" },
        { SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the peer does not take our certificate" },
        { SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the peer does not take our certificate" },
        { SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "the peer says our certificate has expired" },
        { SSL_R_UNEXPECTED_EOF_WHILE_READING, "the peer closed the connection" },
};

static const char *reason_text(unsigned long code)
{
        const char *text;

        if (ERR_GET_LIB(code) == ERR_LIB_SSL)
                for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
                        if (ERR_GET_REASON(code) == reasons[i].reason)
                                return reasons[i].text;
        text = ERR_reason_error_string(code);
        return text ? text : "for a reason that OpenSSL does not tell";
}

const char *tls_session_error(struct tls_session *t, int *ret_reason)
{
        unsigned long code = ERR_peek_error();
        long verified = SSL_get_verify_result(t->ssl);
        const char *when = SSL_is_init_finished(t->ssl) ? "TLS ended" : "the TLS handshake failed";

        *ret_reason = -EPROTO;
        if (t->last_error == SSL_ERROR_SYSCALL && code == 0 && t->last_errno != 0) {
                *ret_reason = -t->last_errno;
                snprintf(t->text, sizeof t->text, "%s: %s", when, strerror(t->last_errno));
        } else if (ERR_GET_LIB(code) == ERR_LIB_SSL
                   && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
                snprintf(t->text, sizeof t->text, "%s: the peer's certificate: %s", when,
                         X509_verify_cert_error_string(verified));
        } else {
                snprintf(t->text, sizeof t->text, "%s: %s", when, reason_text(code));
        }
        ERR_clear_error();
        return t->text;
}

const char *tls_session_version(const struct tls_session *t)
{
        return SSL_get_version(t->ssl);
}

const char *tls_session_cipher(const struct tls_session *t)
{
        return SSL_get_cipher_name(t->ssl);
}

int tls_session_cipher_bits(const struct tls_session *t)
{
        return SSL_get_cipher_bits(t->ssl, NULL);
}

bool tls_session_exporter(struct tls_session *t, unsigned char *out, size_t len)
{
        static const char label[] = "EXPORTER-Channel-Binding";
        bool done = SSL_version(t->ssl) >= TLS1_3_VERSION &&
                    SSL_export_keying_material(t->ssl, out, len, label, sizeof label - 1,
                                               (const unsigned char *) "", 0, 1) == 1;

        ERR_clear_error();
        return done;
}

size_t tls_session_end_point(struct tls_session *t, unsigned char *out)
{
        const X509 *shown = SSL_get_certificate(t->ssl);
        int hash = NID_undef;
        unsigned len = 0;

        if (!shown || OBJ_find_sigid_algs(X509_get_signature_nid(shown), &hash, NULL) != 1 ||
            hash == NID_undef)
                return 0;
        if (hash == NID_md5 || hash == NID_sha1)
                hash = NID_sha256;
        if (X509_digest(shown, EVP_get_digestbynid(hash), out, &len) != 1 ||
            len > TLS_END_POINT_MAX)
                len = 0;
        ERR_clear_error();
        return len;
}

static void put_names(X509 *certificate, char out[TLS_NAMES_MAX])
{
        GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
        size_t len = 0;

        out[0] = '\0';
        for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
                const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
                const size_t more = name->type == GEN_DNS
                                            ? (size_t) ASN1_STRING_length(name->d.dNSName) : 0;

                if (more && len + more + 2 <= TLS_NAMES_MAX)
                        len += (size_t) snprintf(out + len, TLS_NAMES_MAX - len, "%s%.*s",
                                                 len ? " " : "", (int) more,
                                                 ASN1_STRING_get0_data(name->d.dNSName));
        }
        GENERAL_NAMES_free(names);
}

bool tls_session_peer_certificate(struct tls_session *t, char ret_names[TLS_NAMES_MAX],
                                  int64_t *ret_ends_at)
{
        X509 *certificate = SSL_get0_peer_certificate(t->ssl);

        if (!certificate)
                return false;
        *ret_ends_at = ends_at(certificate);
        put_names(certificate, ret_names);
        return true;
}

bool tls_names_of(struct span pem, char ret_names[TLS_NAMES_MAX])
{
        STACK_OF(X509) *all = read_certificates(pem);
        const bool is_there = sk_X509_num(all) > 0;

        if (is_there)
                put_names(sk_X509_value(all, 0), ret_names);
        sk_X509_pop_free(all, X509_free);
        return is_there && ret_names[0];
}

static bool has_fingerprint(const X509 *certificate, struct span wanted)
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned len = 0;
        char text[2 * EVP_MAX_MD_SIZE + 1];

        if (X509_digest(certificate, EVP_sha256(), digest, &len) != 1)
                return false;
        for (unsigned i = 0; i < len; i++)
                snprintf(text + 2 * i, 3, "%02x", digest[i]);
        return span_equal(span_from_string(text), wanted);
}

static bool has_issuer(const X509 *certificate, struct span wanted)
{
        char name[256];
        const int len = X509_NAME_get_text_by_NID(X509_get_issuer_name(certificate),
                                                  NID_commonName, name, sizeof name);

        return len > 0 && span_equal_nocase(span_make(name, (size_t) len), wanted);
}

bool tls_session_peer_is(struct tls_session *t, struct span wanted)
{
        static const struct span issuer = SPAN("issuer:");
        X509 *certificate = SSL_get0_peer_certificate(t->ssl);
        bool is_it;

        if (!certificate)
                return false;
        if (wanted.len == 64 && span_find(wanted, '.') == SIZE_MAX)
                return has_fingerprint(certificate, wanted);
        if (SSL_get_verify_result(t->ssl) != X509_V_OK)
                return false;
        if (span_equal(wanted, SPAN_LITERAL("*")))
                return true;
        if (span_starts_with_nocase(wanted, issuer))
                return has_issuer(certificate, span_skip(wanted, issuer.len));
        is_it = span_find(wanted, '@') == SIZE_MAX
                        ? X509_check_host(certificate, wanted.p, wanted.len, 0, NULL) == 1
                        : X509_check_email(certificate, wanted.p, wanted.len, 0) == 1;
        ERR_clear_error();
        return is_it;
}

/* Text without NUL and controls, whatever stands in the certificate. */
static bool take_address(const ASN1_STRING *text, char *out, size_t size)
{
        const unsigned char *p = ASN1_STRING_get0_data(text);
        const int len = ASN1_STRING_length(text);

        if (len <= 0 || (size_t) len >= size || !memchr(p, '@', (size_t) len))
                return false;
        for (int i = 0; i < len; i++)
                if (p[i] <= ' ' || p[i] >= 127)
                        return false;
        memcpy(out, p, (size_t) len);
        out[len] = '\0';
        return true;
}

static bool find_alternative(X509 *certificate, char *out, size_t size)
{
        GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
        bool found = false;

        for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
                const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

                found = name->type == GEN_EMAIL && take_address(name->d.rfc822Name, out, size);
        }
        GENERAL_NAMES_free(names);
        return found;
}

bool tls_session_peer_address(struct tls_session *t, char *out, size_t size)
{
        X509 *certificate = SSL_get0_peer_certificate(t->ssl);
        X509_NAME *subject;
        int at;

        if (!certificate || SSL_get_verify_result(t->ssl) != X509_V_OK)
                return false;
        if (find_alternative(certificate, out, size))
                return true;
        subject = X509_get_subject_name(certificate);
        at = X509_NAME_get_index_by_NID(subject, NID_pkcs9_emailAddress, -1);
        return at >= 0 && take_address(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)),
                                       out, size);
}
