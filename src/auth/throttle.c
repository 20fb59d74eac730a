#include "auth/throttle.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum { SLOTS = 16 * 1024, WAYS = 4 };

/* One key: a client, an account, or a place known to an account. */
struct slot {
        uint64_t key; /* 0: free */
        uint64_t at_ms;
        uint32_t count;
};

struct throttle {
        struct slot slots[SLOTS];
};

enum kind { CLIENT = 1, ACCOUNT, PLACE };

struct throttle *throttle_new(void)
{
        return calloc(1, sizeof(struct throttle));
}

struct throttle *throttle_free(struct throttle *t)
{
        free(t);
        return NULL;
}

/* IPv6 by its /64, as everywhere: a home has one. */
static struct span network(const unsigned char client[16])
{
        static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
        const bool is_ipv4 = memcmp(client, mapped, sizeof mapped) == 0;

        return span_make((const char *) client, is_ipv4 ? 16 : 8);
}

static uint64_t key_of(enum kind kind, const unsigned char client[16], struct span name)
{
        uint64_t h = hash_seed() + (uint64_t) kind;

        if (kind != ACCOUNT)
                h = hash_span(network(client), h);
        if (kind != CLIENT)
                h = hash_span_nocase(name, h);
        return h ? h : 1;
}

/* Failures are forgotten one by one. */
static uint32_t count_now(const struct slot *s, uint64_t now_ms)
{
        const uint64_t gone = (now_ms - s->at_ms) / THROTTLE_FORGET_MS;

        return gone >= s->count ? 0 : s->count - (uint32_t) gone;
}

/* The slot of a key, or where `may_take` the least busy of its bucket. */
static struct slot *find(struct throttle *t, uint64_t key, bool may_take, uint64_t now_ms)
{
        struct slot *bucket = &t->slots[key % (SLOTS / WAYS) * WAYS], *least = bucket;

        for (int i = 0; i < WAYS; i++) {
                if (bucket[i].key == key)
                        return &bucket[i];
                if (count_now(&bucket[i], now_ms) < count_now(least, now_ms))
                        least = &bucket[i];
        }
        if (!may_take)
                return NULL;
        *least = (struct slot) {.key = key, .at_ms = now_ms};
        return least;
}

static uint32_t failures(struct throttle *t, uint64_t key, uint64_t now_ms)
{
        const struct slot *s = find(t, key, false, now_ms);

        return s ? count_now(s, now_ms) : 0;
}

bool throttle_may_try(struct throttle *t, const unsigned char client[16], struct span name,
                      uint64_t now_ms)
{
        const struct slot *place;

        if (failures(t, key_of(CLIENT, client, name), now_ms) >= THROTTLE_CLIENT_MAX)
                return false;
        if (failures(t, key_of(ACCOUNT, client, name), now_ms) < THROTTLE_ACCOUNT_MAX)
                return true;
        place = find(t, key_of(PLACE, client, name), false, now_ms);
        return place && now_ms - place->at_ms < THROTTLE_KNOWN_MS;
}

static uint32_t add(struct throttle *t, uint64_t key, uint64_t now_ms)
{
        struct slot *s = find(t, key, true, now_ms);
        const uint32_t count = count_now(s, now_ms);

        /* What is left of a minute counts on: the clock starts anew only where
         * nothing is left. */
        if (count == 0)
                s->at_ms = now_ms;
        else
                s->at_ms += (uint64_t) (s->count - count) * THROTTLE_FORGET_MS;
        s->count = count < 2 * THROTTLE_ACCOUNT_MAX ? count + 1 : count;
        return s->count;
}

uint64_t throttle_failed(struct throttle *t, const unsigned char client[16], struct span name,
                         uint64_t now_ms)
{
        const uint32_t count = add(t, key_of(CLIENT, client, name), now_ms);
        uint64_t delay_ms = 500;

        (void) add(t, key_of(ACCOUNT, client, name), now_ms);
        if (count <= THROTTLE_FREE)
                return 0;
        for (uint32_t i = THROTTLE_FREE + 1; i < count && delay_ms < THROTTLE_DELAY_MAX_MS; i++)
                delay_ms *= 2;
        return delay_ms < THROTTLE_DELAY_MAX_MS ? delay_ms : THROTTLE_DELAY_MAX_MS;
}

void throttle_succeeded(struct throttle *t, const unsigned char client[16], struct span name,
                        uint64_t now_ms)
{
        struct slot *place = find(t, key_of(PLACE, client, name), true, now_ms);

        place->at_ms = now_ms;
        /* Worth more to keep than a single failure of somebody. */
        place->count = 2;
}
