#include "auth/apop.h"

#include <openssl/evp.h>
#include <sodium.h>
#include <string.h>

#include "auth/password.h"

bool apop_make_secret(struct span password, char *out)
{
        if (password.len > PASSWORD_OCTETS_MAX ||
            sodium_base64_encoded_len(password.len, sodium_base64_VARIANT_ORIGINAL) >
                    APOP_SECRET_MAX)
                return false;
        sodium_bin2base64(out, APOP_SECRET_MAX, (const unsigned char *) password.p, password.len,
                          sodium_base64_VARIANT_ORIGINAL);
        return true;
}

static bool decode(struct span secret, unsigned char *out, size_t *len)
{
        return secret.len && sodium_base642bin(out, PASSWORD_OCTETS_MAX, secret.p, secret.len,
                                               NULL, len, NULL,
                                               sodium_base64_VARIANT_ORIGINAL) == 0;
}

bool apop_is_secret(struct span secret)
{
        unsigned char octets[PASSWORD_OCTETS_MAX];
        size_t len;
        const bool is_good = decode(secret, octets, &len) && len;

        sodium_memzero(octets, sizeof octets);
        return is_good;
}

bool apop_read_secret(struct span secret, char *out)
{
        size_t len;

        if (decode(secret, (unsigned char *) out, &len) && len && !memchr(out, 0, len)) {
                out[len] = '\0';
                return true;
        }
        sodium_memzero(out, PASSWORD_OCTETS_MAX + 1);
        return false;
}

/* 16 octets, as 32 digits with a NUL. */
static bool digest_of(struct span stamp, const unsigned char *octets, size_t len,
                      char out[APOP_DIGEST_LEN + 1])
{
        unsigned char sum[EVP_MAX_MD_SIZE];
        EVP_MD_CTX *c = EVP_MD_CTX_new();
        const bool is_made = c && EVP_DigestInit_ex(c, EVP_md5(), NULL) &&
                             EVP_DigestUpdate(c, stamp.p, stamp.len) &&
                             EVP_DigestUpdate(c, octets, len) &&
                             EVP_DigestFinal_ex(c, sum, NULL);

        EVP_MD_CTX_free(c);
        if (is_made)
                sodium_bin2hex(out, APOP_DIGEST_LEN + 1, sum, APOP_DIGEST_LEN / 2);
        return is_made;
}

bool apop_is_good(struct span secret, struct span stamp, struct span digest)
{
        unsigned char octets[PASSWORD_OCTETS_MAX];
        char wanted[APOP_DIGEST_LEN + 1];
        size_t len = 0;
        const bool is_known = decode(secret, octets, &len);
        const bool is_made = digest_of(stamp, octets, is_known ? len : 0, wanted);

        sodium_memzero(octets, sizeof octets);
        return is_known && is_made && digest.len == APOP_DIGEST_LEN &&
               sodium_memcmp(wanted, digest.p, APOP_DIGEST_LEN) == 0;
}

void apop_warm(void)
{
        char out[APOP_DIGEST_LEN + 1];

        (void) digest_of(SPAN_LITERAL("x"), (const unsigned char *) "", 0, out);
}
