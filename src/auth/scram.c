#include "auth/scram.h"

#include <errno.h>
#include <gsasl.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>
#include <stdlib.h>

/* ---- the client's first message ---- */

/* The value of an attribute "x=value" at the front of `rest`, up to a comma or the
 * end. False: another stands there. */
static bool take(struct span *rest, char letter, struct span *ret_value)
{
        if (rest->len < 2 || rest->p[0] != letter || rest->p[1] != '=')
                return false;
        *rest = span_skip(*rest, 2);
        return span_split(rest, ',', ret_value);
}

/* SASLprep (RFC 4013) leaves printable ASCII as it is. */
static int prepare(char name[SCRAM_NAME_MAX])
{
        char *prepared = NULL;
        size_t len;
        int r;

        for (const char *p = name; *p >= ' ' && *p <= '~'; p++)
                if (p[1] == '\0')
                        return 0;
        r = gsasl_saslprep(name, GSASL_ALLOW_UNASSIGNED, &prepared, NULL);
        if (r != GSASL_OK)
                return r == GSASL_MALLOC_ERROR ? -ENOMEM : -EBADMSG;
        len = strlen(prepared);
        if (len > 0 && len < SCRAM_NAME_MAX)
                memcpy(name, prepared, len + 1);
        gsasl_free(prepared);
        return len > 0 && len < SCRAM_NAME_MAX ? 0 : -EBADMSG;
}

/* A saslname: "=2C" is a comma, "=3D" an equals sign, and no other "=" may stand in
 * it (RFC 5802 section 5.1). Cut off where it is longer than any account. */
static int take_name(struct span text, char out[SCRAM_NAME_MAX])
{
        size_t len = 0;

        for (size_t i = 0; i < text.len; i++) {
                char c = text.p[i];

                if (c == '\0')
                        return -EBADMSG;
                if (c == '=') {
                        const struct span code = span_first(span_skip(text, i), 3);

                        if (!span_equal(code, SPAN_LITERAL("=2C")) &&
                            !span_equal(code, SPAN_LITERAL("=3D")))
                                return -EBADMSG;
                        c = code.p[1] == '2' ? ',' : '=';
                        i += 2;
                }
                if (len < SCRAM_NAME_MAX - 1)
                        out[len++] = c;
        }
        out[len] = '\0';
        return len ? prepare(out) : -EBADMSG;
}

/* The gs2-cbind-flag; `ret_data` is what the named binding has. */
static int take_flag(const struct scram *s, struct span *in, const struct scram_bindings *b,
                     struct span *ret_data)
{
        struct span flag;

        *ret_data = (struct span) {0};
        if (!span_split(in, ',', &flag))
                return -EBADMSG;
        /* A channel is bound by the -PLUS mechanisms and by no other. */
        if ((flag.len > 2 && flag.p[0] == 'p' && flag.p[1] == '=') != s->is_bound)
                return -EBADMSG;
        if (s->is_bound) {
                const struct span name = span_skip(flag, 2);

                if (span_equal(name, SPAN_LITERAL("tls-exporter")))
                        *ret_data = b->exporter;
                else if (span_equal(name, SPAN_LITERAL("tls-server-end-point")))
                        *ret_data = b->end_point;
                return ret_data->len ? 0 : -EACCES;
        }
        if (span_equal(flag, SPAN_LITERAL("n")))
                return 0;
        if (!span_equal(flag, SPAN_LITERAL("y")))
                return -EBADMSG;
        /* "I could bind, and was not offered it": somebody took it away. */
        return b->exporter.len || b->end_point.len ? -EACCES : 0;
}

static bool is_nonce(struct span nonce)
{
        for (size_t i = 0; i < nonce.len; i++)
                if (nonce.p[i] < '!' || nonce.p[i] > '~')
                        return false;
        return nonce.len > 0;
}

int scram_first(struct scram *s, struct span in, const struct scram_bindings *b)
{
        const struct span whole = in;
        struct span data, act_as, name, nonce;
        size_t header_len;
        int r;

        if (in.len > SCRAM_MESSAGE_MAX / 4)
                return -EBADMSG;
        r = take_flag(s, &in, b, &data);
        if (r == 0 && take(&in, 'a', &act_as))
                r = act_as.len ? take_name(act_as, s->act_as) : 0; /* GNU SASL says "a=," */
        else if (r == 0 && !(span_split(&in, ',', &act_as) && act_as.len == 0))
                r = -EBADMSG;
        if (r < 0)
                return r;
        header_len = whole.len - in.len;
        memcpy(s->binding, whole.p, header_len);
        if (data.len > SCRAM_BINDING_MAX)
                return -EACCES;
        memcpy(s->binding + header_len, data.len ? data.p : "", data.len);
        s->binding_len = header_len + data.len;
        buffer_clear(&s->message);
        r = buffer_append_span(&s->message, in);
        /* "m=" in front would be an extension that must be understood. */
        if (r < 0 || !take(&in, 'n', &name) || !take(&in, 'r', &nonce) || !is_nonce(nonce))
                return r < 0 ? r : -EBADMSG;
        r = take_name(name, s->name);
        s->nonce_at = (size_t) (nonce.p - whole.p) - header_len;
        s->nonce_len = nonce.len;
        return r;
}

/* ---- the challenge ---- */

int scram_challenge(struct scram *s, const struct password_scram *v, const char *nonce,
                    struct buffer *out)
{
        char salt[2 * PASSWORD_SCRAM_SALT_MAX];
        const size_t bare_len = s->message.len;
        int r;

        sodium_bin2base64(salt, sizeof salt, v->salt, v->salt_len, sodium_base64_VARIANT_ORIGINAL);
        r = buffer_append_string(out, "r=");
        if (r == 0)
                r = buffer_append_span(out, span_first(span_skip(buffer_span(&s->message),
                                                                 s->nonce_at), s->nonce_len));
        if (r == 0)
                r = buffer_printf(out, "%s,s=%s,i=%u", nonce, salt, v->iterations);
        if (r == 0)
                r = buffer_append(&s->message, ",", 1);
        if (r == 0)
                r = buffer_append_span(&s->message, buffer_span(out));
        s->nonce_at = bare_len + 3; /* behind ",r=": the whole of both */
        s->nonce_len += strlen(nonce);
        return r < 0 ? -ENOMEM : 0;
}

/* ---- the proofs ---- */

/* With its hash set: HMAC() of OpenSSL 3.0 looks that up by name each time, which would
 * be a good part of what a login costs. NULL before scram_warm(). */
static EVP_MAC_CTX *prepared;

void scram_warm(void)
{
        char name[] = "SHA256";
        const OSSL_PARAM how[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
                OSSL_PARAM_construct_end(),
        };
        EVP_MAC *mac = prepared ? NULL : EVP_MAC_fetch(NULL, "HMAC", NULL);
        EVP_MAC_CTX *made = mac ? EVP_MAC_CTX_new(mac) : NULL;

        EVP_MAC_free(mac);
        if (made && EVP_MAC_CTX_set_params(made, how) == 1)
                prepared = made;
        else
                EVP_MAC_CTX_free(made);
}

static int hmac_sha256(const unsigned char key[PASSWORD_SCRAM_KEY], struct span text,
                       unsigned char out[PASSWORD_SCRAM_KEY])
{
        const unsigned char *octets = (const unsigned char *) text.p;
        EVP_MAC_CTX *c = prepared ? EVP_MAC_CTX_dup(prepared) : NULL;
        size_t len;
        bool is_good;

        if (!c)
                return HMAC(EVP_sha256(), key, PASSWORD_SCRAM_KEY, octets, text.len, out, NULL)
                               ? 0 : -ENOMEM;
        is_good = EVP_MAC_init(c, key, PASSWORD_SCRAM_KEY, NULL) == 1 &&
                  EVP_MAC_update(c, octets, text.len) == 1 &&
                  EVP_MAC_final(c, out, &len, PASSWORD_SCRAM_KEY) == 1;
        EVP_MAC_CTX_free(c);
        return is_good ? 0 : -ENOMEM;
}

static int hmac(const struct scram *s, const unsigned char *key, struct span text,
                unsigned char out[PASSWORD_SCRAM_KEY])
{
        unsigned len = PASSWORD_SCRAM_KEY;

        if (!s->is_sha1)
                return hmac_sha256(key, text, out);
        return HMAC(EVP_sha1(), key, PASSWORD_SCRAM_SHA1_KEY, (const unsigned char *) text.p,
                    text.len, out, &len) ? 0 : -ENOMEM;
}

static int hash(const struct scram *s, const unsigned char *in, size_t len,
                unsigned char out[PASSWORD_SCRAM_KEY])
{
        if (!s->is_sha1) {
                crypto_hash_sha256(out, in, len);
                return 0;
        }
        return EVP_Digest(in, len, out, NULL, EVP_sha1(), NULL) == 1 ? 0 : -ENOMEM;
}

static bool decode(struct span base64, unsigned char *out, size_t room, size_t *ret_len)
{
        return sodium_base642bin(out, room, base64.p, base64.len, NULL, ret_len, NULL,
                                 sodium_base64_VARIANT_ORIGINAL) == 0;
}

/* Takes the final message apart; `ret_without` is all of it before ",p=". The
 * nonce is both of ours, and the binding that of this channel. */
static int read_final(const struct scram *s, struct span in, struct span *ret_without,
                      unsigned char *proof, size_t key_len)
{
        unsigned char binding[sizeof s->binding];
        const struct span mine = span_first(span_skip(buffer_span(&s->message), s->nonce_at),
                                            s->nonce_len);
        struct span rest = in, bound, nonce;
        size_t at = in.len, len;

        while (at >= 3 && memcmp(in.p + at - 3, ",p=", 3) != 0)
                at--;
        if (in.len > SCRAM_MESSAGE_MAX || at < 3 ||
            !decode(span_skip(in, at), proof, PASSWORD_SCRAM_KEY, &len) || len != key_len)
                return -EBADMSG;
        rest = *ret_without = span_first(in, at - 3);
        if (!take(&rest, 'c', &bound) || !take(&rest, 'r', &nonce) ||
            !decode(bound, binding, sizeof binding, &len))
                return -EBADMSG;
        return span_equal(nonce, mine) && len == s->binding_len &&
                               sodium_memcmp(binding, s->binding, len) == 0
                       ? 0 : -EACCES;
}

int scram_final(struct scram *s, struct span in, const struct password_scram *v,
                struct buffer *out)
{
        const size_t key_len = s->is_sha1 ? PASSWORD_SCRAM_SHA1_KEY : PASSWORD_SCRAM_KEY;
        unsigned char proof[PASSWORD_SCRAM_KEY], signature[PASSWORD_SCRAM_KEY];
        unsigned char key[PASSWORD_SCRAM_KEY];
        char text[2 * PASSWORD_SCRAM_KEY];
        struct span without;
        int r = read_final(s, in, &without, proof, key_len);

        if (r < 0)
                return r;
        if (buffer_append(&s->message, ",", 1) < 0 || buffer_append_span(&s->message, without) < 0)
                return -ENOMEM;
        r = hmac(s, v->stored_key, buffer_span(&s->message), signature);
        for (size_t i = 0; i < key_len; i++)
                proof[i] ^= signature[i]; /* the ClientKey, if it is a proof */
        if (r == 0)
                r = hash(s, proof, key_len, key);
        if (r == 0 && sodium_memcmp(key, v->stored_key, key_len) != 0)
                r = -EACCES;
        if (r == 0)
                r = hmac(s, v->server_key, buffer_span(&s->message), signature);
        if (r == 0) {
                sodium_bin2base64(text, sizeof text, signature, key_len,
                                  sodium_base64_VARIANT_ORIGINAL);
                r = buffer_printf(out, "v=%s", text) < 0 ? -ENOMEM : 0;
        }
        sodium_memzero(proof, sizeof proof);
        return r;
}

void scram_done(struct scram *s)
{
        buffer_done(&s->message);
        sodium_memzero(s, sizeof *s);
}
