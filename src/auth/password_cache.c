#include "auth/password_cache.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 8192, WAYS = 4, DIGEST = crypto_verify_32_BYTES };

struct slot {
        unsigned char digest[DIGEST];
        uint64_t until_ms; /* 0: free */
};

struct password_cache {
        unsigned char key[crypto_generichash_KEYBYTES];
        struct slot slots[SLOTS];
};

struct password_cache *password_cache_new(void)
{
        struct password_cache *c = sodium_init() < 0 ? NULL : calloc(1, sizeof *c);

        if (c)
                randombytes_buf(c->key, sizeof c->key);
        return c;
}

struct password_cache *password_cache_free(struct password_cache *c)
{
        if (c) {
                sodium_memzero(c, sizeof *c);
                free(c);
        }
        return NULL;
}

void password_cache_clear(struct password_cache *c)
{
        memset(c->slots, 0, sizeof c->slots);
}

/* Lengths go in too: no two triples run together into the same octets. */
static void digest_of(const struct password_cache *c, struct span account, struct span stored,
                      struct span password, unsigned char *out)
{
        const struct span parts[] = {account, stored, password};
        crypto_generichash_state state;

        crypto_generichash_init(&state, c->key, sizeof c->key, DIGEST);
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
                const uint64_t len = parts[i].len;

                crypto_generichash_update(&state, (const unsigned char *) &len, sizeof len);
                crypto_generichash_update(&state, (const unsigned char *) parts[i].p, len);
        }
        crypto_generichash_final(&state, out, DIGEST);
        sodium_memzero(&state, sizeof state);
}

static size_t bucket_of(const unsigned char *digest)
{
        uint32_t n;

        memcpy(&n, digest, sizeof n);
        return n % (SLOTS / WAYS) * WAYS;
}

bool password_cache_has(const struct password_cache *c, struct span account, struct span stored,
                        struct span password, uint64_t now_ms)
{
        unsigned char digest[DIGEST];
        const struct slot *bucket;
        bool found = false;

        digest_of(c, account, stored, password, digest);
        bucket = &c->slots[bucket_of(digest)];
        for (int i = 0; i < WAYS; i++) {
                const bool same = crypto_verify_32(bucket[i].digest, digest) == 0;

                found |= same & (bucket[i].until_ms > now_ms);
        }
        sodium_memzero(digest, sizeof digest);
        return found;
}

void password_cache_add(struct password_cache *c, struct span account, struct span stored,
                        struct span password, uint64_t now_ms)
{
        unsigned char digest[DIGEST];
        struct slot *bucket, *oldest;

        digest_of(c, account, stored, password, digest);
        bucket = oldest = &c->slots[bucket_of(digest)];
        for (int i = 0; i < WAYS; i++) {
                if (sodium_memcmp(bucket[i].digest, digest, DIGEST) == 0) {
                        oldest = &bucket[i];
                        break;
                }
                if (bucket[i].until_ms < oldest->until_ms)
                        oldest = &bucket[i];
        }
        memcpy(oldest->digest, digest, DIGEST);
        oldest->until_ms = now_ms + PASSWORD_CACHE_MS;
        sodium_memzero(digest, sizeof digest);
}
