/* For tests: a fresh key and a certificate it signs itself, as PEM. */
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/buffer.h"

static inline void test_certificate_append(struct buffer *out, BIO *bio)
{
        char *p;
        long len = BIO_get_mem_data(bio, &p);

        buffer_append(out, p, (size_t) len);
        BIO_free(bio);
}

/* `ret_pem` gets the key and the certificate, `ret_ca` the certificate. */
static inline void test_certificate(const char *name, struct buffer *ret_pem,
                                    struct buffer *ret_ca)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *x = X509_new();
        char alt[256];
        X509_EXTENSION *extension;
        BIO *bio;

        ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
        X509_set_version(x, 2);
        X509_gmtime_adj(X509_getm_notBefore(x), -60);
        X509_gmtime_adj(X509_getm_notAfter(x), 86400);
        X509_set_pubkey(x, key);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                   (const unsigned char *) name, -1, -1, 0);
        X509_set_issuer_name(x, X509_get_subject_name(x));
        snprintf(alt, sizeof alt, "DNS:%s", name);
        extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alt);
        X509_add_ext(x, extension, -1);
        X509_EXTENSION_free(extension);
        X509_sign(x, key, EVP_sha256());

        bio = BIO_new(BIO_s_mem());
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
        test_certificate_append(ret_pem, bio);
        bio = BIO_new(BIO_s_mem());
        PEM_write_bio_X509(bio, x);
        test_certificate_append(ret_pem, bio);
        bio = BIO_new(BIO_s_mem());
        PEM_write_bio_X509(bio, x);
        test_certificate_append(ret_ca, bio);
        X509_free(x);
        EVP_PKEY_free(key);
}
