#include "net/tls/certificate.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "net/tls/tls_private.h"

enum { SERIAL_BITS = 127, NAMES_TEXT_MAX = 32 * 1024, BACKDATED_S = 300 };

/* What stands in a name must not be able to end it and begin another. */
static bool is_name(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if (s.p[i] <= ' ' || s.p[i] >= 127 || strchr(",:=\"\\;", s.p[i]))
                        return false;
        return s.len > 0 && s.len <= CERTIFICATE_NAME_MAX;
}

/* "DNS:a,email:b" */
static int put_names(const struct certificate_order *o, struct buffer *text)
{
        int r = o->name_count && o->name_count <= CERTIFICATE_NAMES_MAX ? 0 : -EINVAL;

        for (size_t i = 0; i < o->name_count && r == 0; i++) {
                const struct span name = o->names[i];

                if (!is_name(name))
                        return -EINVAL;
                r = buffer_printf(text, "%s%s:%.*s", i ? "," : "",
                                  span_find(name, '@') == SIZE_MAX ? "DNS" : "email",
                                  (int) name.len, name.p);
        }
        return r == 0 ? buffer_append(text, "", 1) : r;
}

/* Common names are at most 64 octets (RFC 5280 appendix A.1). */
static bool set_subject(X509_NAME *subject, struct span name)
{
        const struct span first = span_first(name, 64);

        return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                          (const unsigned char *) first.p, (int) first.len, -1,
                                          0) == 1;
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
        X509_EXTENSION *extension;
        X509V3_CTX ctx;
        bool done;

        X509V3_set_ctx_nodb(&ctx);
        X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
        extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
        done = extension && X509_add_ext(certificate, extension, -1) == 1;
        X509_EXTENSION_free(extension);
        return done;
}

static bool add_extensions(const struct certificate_order *o, X509 *certificate, X509 *issuer,
                           const char *names)
{
        if (!add_extension(certificate, issuer, NID_subject_key_identifier, "hash") ||
            !add_extension(certificate, issuer, NID_authority_key_identifier, "keyid"))
                return false;
        if (o->is_authority)
                return add_extension(certificate, issuer, NID_basic_constraints,
                                     "critical,CA:TRUE,pathlen:0") &&
                       add_extension(certificate, issuer, NID_key_usage,
                                     "critical,keyCertSign,cRLSign");
        return add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
               add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature") &&
               add_extension(certificate, issuer, NID_ext_key_usage, "serverAuth,clientAuth") &&
               add_extension(certificate, issuer, NID_subject_alt_name, names);
}

static bool set_serial(X509 *certificate)
{
        BIGNUM *serial = BN_new();
        const bool done = serial && BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ONE,
                                            BN_RAND_BOTTOM_ANY) == 1 &&
                          BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate)) != NULL;

        BN_free(serial);
        return done;
}

static bool fill(const struct certificate_order *o, X509 *certificate, EVP_PKEY *key,
                 X509 *issuer, const char *names)
{
        return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
               /* Clocks differ a little. */
               X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATED_S) &&
               X509_gmtime_adj(X509_getm_notAfter(certificate), (long) o->days * 86400) &&
               X509_set_pubkey(certificate, key) == 1 &&
               set_subject(X509_get_subject_name(certificate), o->names[0]) &&
               X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1 &&
               add_extensions(o, certificate, issuer, names);
}

static int append_bio(BIO *bio, struct buffer *out)
{
        char *text;
        const long len = BIO_get_mem_data(bio, &text);

        return len > 0 ? buffer_append(out, text, (size_t) len) : -ENOMEM;
}

static int append_key(EVP_PKEY *key, struct buffer *out)
{
        BIO *bio = BIO_new(BIO_s_secmem());
        int r = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1
                        ? append_bio(bio, out)
                        : -ENOMEM;

        BIO_free(bio);
        return r;
}

static int append_certificate(X509 *certificate, struct buffer *out)
{
        BIO *bio = BIO_new(BIO_s_mem());
        int r = bio && PEM_write_bio_X509(bio, certificate) == 1 ? append_bio(bio, out) : -ENOMEM;

        BIO_free(bio);
        return r;
}

struct authority {
        X509 *certificate;
        EVP_PKEY *key;
};

static int no_password(char *out, int size, int is_writing, void *arg)
{
        (void) out;
        (void) size;
        (void) is_writing;
        (void) arg;
        return -1;
}

static int read_authority(struct span pem, struct authority *ret, char *ret_error)
{
        BIO *bio = BIO_new_mem_buf(pem.p, (int) pem.len);
        BIO *again = BIO_new_mem_buf(pem.p, (int) pem.len);

        ret->certificate = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
        ret->key = again ? PEM_read_bio_PrivateKey(again, NULL, no_password, NULL) : NULL;
        BIO_free(bio);
        BIO_free(again);
        if (!ret->certificate || !ret->key ||
            X509_check_private_key(ret->certificate, ret->key) != 1 ||
            X509_check_ca(ret->certificate) < 1)
                return tls_fail(ret_error, "this is not the certificate and key of an authority");
        return 0;
}

static int make(const struct certificate_order *o, const struct authority *authority,
                const char *names, struct buffer *ret_certificate, struct buffer *ret_key)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *certificate = X509_new();
        X509 *issuer = authority->certificate ? authority->certificate : certificate;
        bool done = key && certificate && fill(o, certificate, key, issuer, names) &&
                    X509_sign(certificate, authority->key ? authority->key : key, EVP_sha256()) &&
                    append_certificate(certificate, ret_certificate) == 0 &&
                    append_key(key, ret_key) == 0;

        X509_free(certificate);
        EVP_PKEY_free(key);
        return done ? 0 : -EINVAL;
}

int certificate_make(const struct certificate_order *o, struct span authority,
                     struct buffer *ret_certificate, struct buffer *ret_key, char *ret_error)
{
        struct buffer names = BUFFER_INIT(NAMES_TEXT_MAX);
        struct authority signer = {0};
        int r = put_names(o, &names);

        ERR_clear_error();
        if (r < 0)
                r = tls_fail(ret_error, "a name is a host name or a mail address");
        else if (authority.len)
                r = read_authority(authority, &signer, ret_error);
        if (r == 0 && make(o, &signer, buffer_span(&names).p, ret_certificate, ret_key) < 0)
                r = tls_fail(ret_error, "the certificate could not be made");
        X509_free(signer.certificate);
        EVP_PKEY_free(signer.key);
        buffer_done(&names);
        return r;
}

static bool add_names(X509_REQ *request, const char *names)
{
        STACK_OF(X509_EXTENSION) *all = sk_X509_EXTENSION_new_null();
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
        bool done = all && extension && sk_X509_EXTENSION_push(all, extension) > 0;

        if (!done)
                X509_EXTENSION_free(extension);
        done = done && X509_REQ_add_extensions(request, all) == 1;
        sk_X509_EXTENSION_pop_free(all, X509_EXTENSION_free);
        return done;
}

int certificate_request(const struct certificate_order *o, struct buffer *ret_request,
                        struct buffer *ret_key, char *ret_error)
{
        struct buffer names = BUFFER_INIT(NAMES_TEXT_MAX);
        X509_REQ *request;
        EVP_PKEY *key;
        BIO *bio;
        int r = put_names(o, &names);

        ERR_clear_error();
        if (r < 0) {
                buffer_done(&names);
                return tls_fail(ret_error, "a name is a host name or a mail address");
        }
        request = X509_REQ_new();
        key = EVP_EC_gen("P-256");
        bio = BIO_new(BIO_s_mem());
        if (!request || !key || !bio || X509_REQ_set_pubkey(request, key) != 1 ||
            !set_subject(X509_REQ_get_subject_name(request), o->names[0]) ||
            !add_names(request, buffer_span(&names).p) ||
            X509_REQ_sign(request, key, EVP_sha256()) <= 0 ||
            PEM_write_bio_X509_REQ(bio, request) != 1 || append_bio(bio, ret_request) < 0 ||
            append_key(key, ret_key) < 0)
                r = tls_fail(ret_error, "the request could not be made");
        X509_REQ_free(request);
        EVP_PKEY_free(key);
        BIO_free(bio);
        buffer_done(&names);
        return r;
}
