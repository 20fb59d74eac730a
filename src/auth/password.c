#include "auth/password.h"

#include <crypt.h>
#include <errno.h>
#include <gsasl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/number.h"

/* OWASP's floor for argon2id, and what we refuse to spend on imported ones. */
enum {
        ARGON_PASSES = 2,
        ARGON_MEMORY = 19 * 1024 * 1024,
        ARGON_PASSES_MAX = 16,
        ARGON_MEMORY_MAX_KIB = 256 * 1024,
        ARGON_LANES_MAX = 64,
        SHA_ROUNDS_MAX = 5000000,
        BCRYPT_COST_MAX = 15,
};

/* A secret as a C string, wiped when it goes out of scope. */
struct secret {
        char text[PASSWORD_OCTETS_MAX + 1];
};

static void secret_done(struct secret *s)
{
        sodium_memzero(s, sizeof *s);
}

static int secret_init(struct secret *s, struct span password)
{
        if (password.len == 0 || password.len > PASSWORD_OCTETS_MAX ||
            memchr(password.p, '\0', password.len))
                return -EINVAL;
        memcpy(s->text, password.p, password.len);
        s->text[password.len] = '\0';
        return 0;
}

/* SASLprep in place. -EINVAL: prohibited, not UTF-8, or too long; the text then
 * is as it was. Unassigned code points are let through when storing as well as
 * when asking: were they not, a password with a letter younger than Unicode 3.2
 * could be set and never be matched. */
static int secret_prepare(struct secret *s)
{
        char *prepared = NULL;
        int r = gsasl_saslprep(s->text, GSASL_ALLOW_UNASSIGNED, &prepared, NULL);
        size_t len;

        if (r == GSASL_MALLOC_ERROR)
                return -ENOMEM;
        if (r != GSASL_OK)
                return -EINVAL;
        len = strlen(prepared);
        if (len > 0 && len <= PASSWORD_OCTETS_MAX)
                memcpy(s->text, prepared, len + 1);
        sodium_memzero(prepared, len);
        gsasl_free(prepared);
        return len > 0 && len <= PASSWORD_OCTETS_MAX ? 0 : -EINVAL;
}

int password_hash(struct span password, char *out)
{
        _cleanup_(secret_done) struct secret s;
        char hash[crypto_pwhash_STRBYTES];
        int r = sodium_init() < 0 ? -ENOMEM : secret_init(&s, password);

        if (r < 0)
                return r;
        if (secret_prepare(&s) == -ENOMEM)
                return -ENOMEM;
        if (crypto_pwhash_str_alg(hash, s.text, strlen(s.text), ARGON_PASSES, ARGON_MEMORY,
                                  crypto_pwhash_ALG_ARGON2ID13) != 0)
                return -ENOMEM;
        snprintf(out, PASSWORD_HASH_MAX, "{ARGON2ID}%s", hash);
        return 0;
}

int password_hash_of_nobody(char *out)
{
        char password[32];

        if (sodium_init() < 0)
                return -ENOMEM;
        for (size_t i = 0; i < sizeof password; i++)
                password[i] = (char) ('!' + randombytes_uniform('~' - '!'));
        return password_hash(span_make(password, sizeof password), out);
}

/* ---- what may be stored ------------------------------------------------- */

/* Printable ASCII that can stand in a field of the users file. */
static bool is_graphic(struct span text)
{
        for (size_t i = 0; i < text.len; i++)
                if (text.p[i] <= ' ' || text.p[i] > '~' || text.p[i] == ':')
                        return false;
        return true;
}

/* Takes "name=digits" and the separator off the front. */
static bool take_cost(struct span *rest, const char *name, char separator, uint64_t max)
{
        struct span word;
        const size_t name_len = strlen(name);
        uint64_t value;

        return span_split(rest, separator, &word) && word.len > name_len &&
               memcmp(word.p, name, name_len) == 0 &&
               number_parse(span_skip(word, name_len), max, &value) == 0;
}

static bool is_argon2id(struct span text)
{
        static const struct span start = SPAN("$argon2id$v=19$");
        struct span rest = span_skip(text, start.len);

        return span_equal(span_first(text, start.len), start) &&
               take_cost(&rest, "m=", ',', ARGON_MEMORY_MAX_KIB) &&
               take_cost(&rest, "t=", ',', ARGON_PASSES_MAX) &&
               take_cost(&rest, "p=", '$', ARGON_LANES_MAX) && span_find(rest, '$') != SIZE_MAX;
}

static bool is_any_cost(struct span rest)
{
        (void) rest;
        return true;
}

static bool is_sha_cost(struct span rest)
{
        if (!span_equal(span_first(rest, 7), SPAN_LITERAL("rounds=")))
                return true;
        return take_cost(&rest, "rounds=", '$', SHA_ROUNDS_MAX);
}

static bool is_bcrypt_cost(struct span rest)
{
        return take_cost(&rest, "", '$', BCRYPT_COST_MAX);
}

/* yescrypt's parameters: flavour 'j', then log2 N - 1 in crypt's digits
 * (crypt(5)), of which "D" makes 256 MiB at the usual block size 'T'. */
static bool is_yescrypt_cost(struct span rest)
{
        return rest.len > 4 && rest.p[0] == 'j' && rest.p[1] >= '.' && rest.p[1] <= 'D' &&
               rest.p[2] == 'T' && rest.p[3] == '$';
}

static const struct {
        struct span prefix;
        bool (*is_affordable)(struct span behind_prefix);
} crypt_kinds[] = {
        { SPAN("$y$"), is_yescrypt_cost },
        { SPAN("$gy$"), is_yescrypt_cost },
        { SPAN("$6$"), is_sha_cost },
        { SPAN("$5$"), is_sha_cost },
        { SPAN("$2a$"), is_bcrypt_cost },
        { SPAN("$2b$"), is_bcrypt_cost },
        { SPAN("$2y$"), is_bcrypt_cost },
        { SPAN("$1$"), is_any_cost },
};

static bool is_des(struct span text)
{
        for (size_t i = 0; i < text.len; i++) {
                const char c = text.p[i];

                if (!((c >= '.' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
                        return false;
        }
        return text.len == 13;
}

static bool is_crypt(struct span text)
{
        if (is_des(text))
                return true;
        for (size_t i = 0; i < sizeof crypt_kinds / sizeof crypt_kinds[0]; i++) {
                const struct span prefix = crypt_kinds[i].prefix;

                if (span_equal(span_first(text, prefix.len), prefix))
                        return crypt_kinds[i].is_affordable(span_skip(text, prefix.len));
        }
        return false;
}

/* Base64 of SHA-1 and, salted, at least one more octet. Returns the number of
 * octets decoded into `out`, or 0. */
static size_t sha_decode(struct span text, unsigned char *out, size_t room)
{
        size_t len;

        if (sodium_base642bin(out, room, text.p, text.len, NULL, &len, NULL,
                              sodium_base64_VARIANT_ORIGINAL) != 0)
                return 0;
        return len;
}

enum { SHA_OCTETS_MAX = SHA_DIGEST_LENGTH + 128 };

static bool is_sha(struct span text)
{
        unsigned char octets[SHA_OCTETS_MAX];

        return sha_decode(text, octets, sizeof octets) == SHA_DIGEST_LENGTH;
}

static bool is_ssha(struct span text)
{
        unsigned char octets[SHA_OCTETS_MAX];

        return sha_decode(text, octets, sizeof octets) > SHA_DIGEST_LENGTH;
}

/* ---- checking a password ------------------------------------------------ */

static int verify_argon2id(struct span text, struct secret *s)
{
        char hash[PASSWORD_HASH_MAX];

        if (secret_prepare(s) == -ENOMEM)
                return -ENOMEM;
        snprintf(hash, sizeof hash, "%.*s", (int) text.len, text.p);
        errno = 0;
        if (crypto_pwhash_str_verify(hash, s->text, strlen(s->text)) == 0)
                return 0;
        return errno == ENOMEM ? -ENOMEM : -EACCES;
}

static int verify_crypt(struct span text, struct secret *s)
{
        struct crypt_data *data = calloc(1, sizeof *data); /* 32 KiB: too large for a thread */
        char stored[PASSWORD_HASH_MAX];
        const char *made;
        int r = -EINVAL;

        if (!data)
                return -ENOMEM;
        snprintf(stored, sizeof stored, "%.*s", (int) text.len, text.p);
        made = crypt_rn(s->text, stored, data, sizeof *data);
        if (made) {
                const size_t len = strlen(made);

                r = len == text.len && sodium_memcmp(made, stored, len) == 0 ? 0 : -EACCES;
        }
        sodium_memzero(data, sizeof *data);
        free(data);
        return r;
}

static int verify_sha(struct span text, struct secret *s)
{
        unsigned char octets[SHA_OCTETS_MAX], digest[EVP_MAX_MD_SIZE];
        const size_t len = sha_decode(text, octets, sizeof octets);
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        int r = -ENOMEM;

        if (ctx && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) &&
            EVP_DigestUpdate(ctx, s->text, strlen(s->text)) &&
            EVP_DigestUpdate(ctx, octets + SHA_DIGEST_LENGTH, len - SHA_DIGEST_LENGTH) &&
            EVP_DigestFinal_ex(ctx, digest, NULL))
                r = sodium_memcmp(octets, digest, SHA_DIGEST_LENGTH) == 0 ? 0 : -EACCES;
        EVP_MD_CTX_free(ctx);
        return r;
}

/* No hash at all: the name of a local account, whose password others know. */
static bool is_pam(struct span text)
{
        if (text.len == 0 || text.len >= PASSWORD_PAM_NAME_MAX || text.p[0] == '-')
                return false;
        for (size_t i = 0; i < text.len; i++)
                if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-",
                            text.p[i]))
                        return false;
        return true;
}

static int verify_nothing(struct span text, struct secret *s)
{
        (void) text;
        (void) s;
        return -EINVAL;
}

static const struct scheme {
        struct span name; /* as stored */
        bool (*is_good)(struct span text);
        int (*verify)(struct span text, struct secret *s); /* only of what is_good() */
} schemes[] = {
        { SPAN("{ARGON2ID}"), is_argon2id, verify_argon2id },
        { SPAN("{CRYPT}"), is_crypt, verify_crypt },
        { SPAN("{SSHA}"), is_ssha, verify_sha },
        { SPAN("{SHA}"), is_sha, verify_sha },
        { SPAN("{PAM}"), is_pam, verify_nothing },
};

/* Names that other servers give to the same thing. {PLAIN} is in no scheme. */
static const struct {
        struct span name, stored;
} aliases[] = {
        { SPAN("{SHA512-CRYPT}"), SPAN("{CRYPT}") },
        { SPAN("{SHA256-CRYPT}"), SPAN("{CRYPT}") },
        { SPAN("{BLF-CRYPT}"), SPAN("{CRYPT}") },
        { SPAN("{MD5-CRYPT}"), SPAN("{CRYPT}") },
        { SPAN("{DES-CRYPT}"), SPAN("{CRYPT}") },
        { SPAN("{SHA1}"), SPAN("{SHA}") },
        { SPAN("{PLAINTEXT}"), SPAN("{PLAIN}") },
        { SPAN("{CLEARTEXT}"), SPAN("{PLAIN}") },
        { SPAN("{CLEAR}"), SPAN("{PLAIN}") },
};

static const struct scheme *scheme_find(struct span name)
{
        for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
                if (span_equal_nocase(schemes[i].name, name))
                        return &schemes[i];
        return NULL;
}

/* "{SCHEME}", braces included; empty when `text` does not start so. */
static struct span scheme_name(struct span text)
{
        const size_t end = span_find(span_first(text, 32), '}');

        return text.len && text.p[0] == '{' && end != SIZE_MAX ? span_first(text, end + 1)
                                                               : (struct span) {0};
}

struct span password_pam_name(struct span stored)
{
        static const struct span pam = SPAN("{PAM}");

        return span_starts_with_nocase(stored, pam) ? span_skip(stored, pam.len)
                                                    : (struct span) {0};
}

int password_verify(struct span stored, struct span password)
{
        const struct span name = scheme_name(stored);
        const struct scheme *scheme = scheme_find(name);
        const struct span text = span_skip(stored, name.len);
        _cleanup_(secret_done) struct secret s;

        if (sodium_init() < 0)
                return -ENOMEM;
        if (!scheme || stored.len >= PASSWORD_HASH_MAX || !is_graphic(text) ||
            !scheme->is_good(text))
                return -EINVAL;
        if (secret_init(&s, password) < 0)
                return -EACCES;
        return scheme->verify(text, &s);
}

int password_import(struct span text, char *out, struct span *ret_password, const char **ret_why)
{
        struct span name = scheme_name(text);
        const struct span rest = span_skip(text, name.len);
        const struct scheme *scheme;

        *ret_why = NULL;
        for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
                if (span_equal_nocase(aliases[i].name, name))
                        name = aliases[i].stored;
        if (span_equal_nocase(name, SPAN_LITERAL("{PLAIN}"))) {
                struct secret s;

                if (secret_init(&s, rest) < 0) {
                        *ret_why = "a password is 1 to 1024 octets without NUL";
                        return -EINVAL;
                }
                secret_done(&s);
                *ret_password = rest;
                return 1;
        }
        scheme = scheme_find(name);
        if (!name.len)
                *ret_why = "a hash starts with its scheme, as in {CRYPT}$6$…";
        else if (!scheme)
                *ret_why = "the scheme is none of {ARGON2ID} {CRYPT} {SSHA} {SHA} {PAM} {PLAIN}";
        else if (scheme->name.len + rest.len >= PASSWORD_HASH_MAX)
                *ret_why = "the hash is too long";
        else if (!is_graphic(rest) || !scheme->is_good(rest))
                *ret_why = "this is no hash of its scheme, or one too costly to check";
        if (*ret_why)
                return -EINVAL;
        snprintf(out, PASSWORD_HASH_MAX, "%s%.*s", scheme->name.p, (int) rest.len, rest.p);
        return 0;
}

/* ---- SCRAM -------------------------------------------------------------- */

static bool hmac(const unsigned char *key, const char *text, unsigned char *out)
{
        unsigned len = PASSWORD_SCRAM_KEY;

        return HMAC(EVP_sha256(), key, PASSWORD_SCRAM_KEY, (const unsigned char *) text,
                    strlen(text), out, &len) != NULL;
}

int password_scram_derive(struct span password, struct span salt, uint32_t iterations,
                          struct password_scram *ret)
{
        _cleanup_(secret_done) struct secret s;
        unsigned char salted[PASSWORD_SCRAM_KEY], client_key[PASSWORD_SCRAM_KEY];
        struct password_scram made = {.iterations = iterations, .salt_len = salt.len};
        int r = secret_init(&s, password);

        if (r == 0)
                r = secret_prepare(&s);
        if (r < 0)
                return r;
        if (salt.len == 0 || salt.len > sizeof made.salt || iterations == 0 ||
            iterations > PASSWORD_SCRAM_ITERATIONS_MAX)
                return -EINVAL;
        memcpy(made.salt, salt.p, salt.len);
        if (!PKCS5_PBKDF2_HMAC(s.text, (int) strlen(s.text), made.salt, (int) salt.len,
                               (int) iterations, EVP_sha256(), sizeof salted, salted) ||
            !hmac(salted, "Client Key", client_key) ||
            !SHA256(client_key, sizeof client_key, made.stored_key) ||
            !hmac(salted, "Server Key", made.server_key))
                r = -ENOMEM;
        sodium_memzero(salted, sizeof salted);
        sodium_memzero(client_key, sizeof client_key);
        if (r == 0)
                *ret = made;
        return r;
}

int password_scram_make(struct span password, struct password_scram *ret)
{
        char salt[PASSWORD_SCRAM_SALT_MADE];

        if (sodium_init() < 0)
                return -ENOMEM;
        randombytes_buf(salt, sizeof salt);
        return password_scram_derive(password, span_make(salt, sizeof salt),
                                     PASSWORD_SCRAM_ITERATIONS, ret);
}

static int append_base64(struct buffer *b, const unsigned char *p, size_t len)
{
        char text[sodium_base64_ENCODED_LEN(PASSWORD_SCRAM_SALT_MAX,
                                            sodium_base64_VARIANT_ORIGINAL)];

        sodium_bin2base64(text, sizeof text, p, len, sodium_base64_VARIANT_ORIGINAL);
        return buffer_printf(b, ",%s", text);
}

int password_scram_format(const struct password_scram *s, struct buffer *b)
{
        const size_t len = b->len;
        int r = buffer_printf(b, "%u", s->iterations);

        if (r == 0)
                r = append_base64(b, s->salt, s->salt_len);
        if (r == 0)
                r = append_base64(b, s->stored_key, sizeof s->stored_key);
        if (r == 0)
                r = append_base64(b, s->server_key, sizeof s->server_key);
        if (r < 0)
                b->len = len;
        return r;
}

/* The next of the comma-separated values, from base64. Length, or 0. */
static size_t take_base64(struct span *rest, unsigned char *out, size_t room)
{
        struct span word;
        size_t len;

        if (!span_split(rest, ',', &word) ||
            sodium_base642bin(out, room, word.p, word.len, NULL, &len, NULL,
                              sodium_base64_VARIANT_ORIGINAL) != 0)
                return 0;
        return len;
}

int password_scram_parse(struct span text, struct password_scram *ret)
{
        return password_scram_parse_keys(text, PASSWORD_SCRAM_KEY, ret);
}

int password_scram_parse_keys(struct span text, size_t key_len, struct password_scram *ret)
{
        struct password_scram s = {0};
        struct span word, rest = text;
        uint64_t iterations;

        if (!span_split(&rest, ',', &word) ||
            number_parse(word, PASSWORD_SCRAM_ITERATIONS_MAX, &iterations) < 0 || iterations == 0)
                return -EINVAL;
        s.iterations = (uint32_t) iterations;
        s.salt_len = take_base64(&rest, s.salt, sizeof s.salt);
        if (s.salt_len == 0 ||
            take_base64(&rest, s.stored_key, sizeof s.stored_key) != key_len ||
            take_base64(&rest, s.server_key, sizeof s.server_key) != key_len || rest.p)
                return -EINVAL;
        *ret = s;
        return 0;
}
