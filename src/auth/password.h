/* Passwords: hashing new ones, checking against what a users file holds, and
 * SCRAM-SHA-256 verifiers.
 *
 * A stored hash is "{SCHEME}text":
 *
 *   {ARGON2ID}$argon2id$v=19$…  what this program makes (RFC 9106)
 *   {CRYPT}$y$… $6$… $2b$… $1$… and traditional DES: taken from elsewhere
 *   {SSHA}, {SHA}               base64 of SHA-1 (salted), as LDAP servers wrote
 *   {PAM}name                   no hash: PAM knows the password of this local account
 *
 * A password is 1 to PASSWORD_OCTETS_MAX octets without NUL. For ARGON2ID and
 * SCRAM it is prepared by SASLprep (RFC 4013) first, where it can be, so that
 * one spelling of a letter is as good as another; imported hashes were made of
 * the octets as they stood.
 *
 * Hashing takes tens of milliseconds and up to 256 MiB by design: never on the
 * loop of a process. Everything here may run in any number of threads. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

enum {
        PASSWORD_OCTETS_MAX = 1024,
        PASSWORD_HASH_MAX = 512, /* a stored hash with its scheme and NUL */
};

/* Makes an {ARGON2ID} hash (two passes over 19 MiB) into `out`, which holds
 * PASSWORD_HASH_MAX. 0, -EINVAL (not a password), -ENOMEM. */
int password_hash(struct span password, char *out);

/* The hash of a password that is drawn and forgotten: compared with it, any is
 * wrong after the time that a true one takes. As password_hash(). */
int password_hash_of_nobody(char *out);

/* Compares in constant time. 0: it is the password; -EACCES: it is not;
 * -EINVAL: the stored hash cannot be used; -ENOMEM. */
int password_verify(struct span stored, struct span password);

/* The local account of {PAM}name; empty where it is a hash. password_verify() says
 * -EINVAL to such a one. */
enum { PASSWORD_PAM_NAME_MAX = 64 };
struct span password_pam_name(struct span stored);

/* Checks and normalises a hash from elsewhere ({SHA512-CRYPT} and its like
 * become {CRYPT}) into `out`, which holds PASSWORD_HASH_MAX. A hash that would
 * cost more than about 256 MiB or some seconds to check is refused: whoever may
 * log in could stop the machine with it. {PLAIN} and its aliases give 1: the
 * rest of `text` behind the scheme, in `*ret_password`, is to be hashed.
 * 0, 1, or -EINVAL with, in `*ret_why`, what is wrong with it. */
int password_import(struct span text, char *out, struct span *ret_password, const char **ret_why);

/* What a server needs to check SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677)
 * without being able to log in elsewhere itself. Half as good as argon2id
 * against whoever steals the file, hence the many iterations; clients do that
 * work, the server none. */
enum {
        PASSWORD_SCRAM_KEY = 32,
        PASSWORD_SCRAM_SHA1_KEY = 20,
        PASSWORD_SCRAM_SALT_MADE = 16, /* octets of the salt of a fresh one */
        PASSWORD_SCRAM_SALT_MAX = 64,
        PASSWORD_SCRAM_ITERATIONS = 100000,
        PASSWORD_SCRAM_ITERATIONS_MAX = 10000000,
};
struct password_scram {
        uint32_t iterations;
        unsigned char salt[PASSWORD_SCRAM_SALT_MAX];
        size_t salt_len;
        unsigned char stored_key[PASSWORD_SCRAM_KEY], server_key[PASSWORD_SCRAM_KEY];
};

/* A fresh verifier. 0; -EINVAL (not a password, or SASLprep prohibits it: such
 * a password works with PLAIN only); -ENOMEM. */
int password_scram_make(struct span password, struct password_scram *ret);

/* The same with salt and iterations given, to check one. */
int password_scram_derive(struct span password, struct span salt, uint32_t iterations,
                          struct password_scram *ret);

/* "iterations,salt,StoredKey,ServerKey", the last three in base64. Formatting:
 * 0 or as buffer_append(). Parsing: 0 or -EINVAL. */
int password_scram_format(const struct password_scram *s, struct buffer *b);
int password_scram_parse(struct span text, struct password_scram *ret);

/* Parsing one whose keys have `key_len` octets, at most PASSWORD_SCRAM_KEY: of
 * SCRAM-SHA-1 (RFC 5802), which some clients know and no other. */
int password_scram_parse_keys(struct span text, size_t key_len, struct password_scram *ret);
