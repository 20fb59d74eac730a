#include "policy/meters.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/hash.h"

enum { BUCKET = 8, MARK = 0x4d657431 /* "Met1" */ };

/* The area is a head of one slot's size, then slots in buckets. */
struct meters_slot {
        _Atomic uint64_t key;    /* 0: free */
        _Atomic uint64_t minute; /* minute << 32 | events in it; of a permission: its last one */
        _Atomic uint16_t held[METERS_OWNERS];
};

struct meters_head {
        uint64_t mark, slot_count, seed;
};

static_assert(sizeof(struct meters_head) <= sizeof(struct meters_slot), "the head is one slot");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_SHORT_LOCK_FREE == 2, "shared memory");

static size_t slots_for(size_t size)
{
        size_t count = BUCKET;

        while ((2 * count + 1) * sizeof(struct meters_slot) <= size)
                count *= 2;
        return count;
}

size_t meters_size(size_t clients)
{
        size_t count = BUCKET;

        while (count < clients)
                count *= 2;
        return (2 * count + 1) * sizeof(struct meters_slot); /* half empty: full buckets are rare */
}

void meters_format(void *area, size_t size, uint64_t seed)
{
        *(struct meters_head *) area =
                (struct meters_head) {.mark = MARK, .slot_count = slots_for(size), .seed = seed};
}

int meters_attach(struct meters *m, void *area, size_t size, unsigned owner)
{
        const struct meters_head *head = area;

        if (size < (BUCKET + 1) * sizeof(struct meters_slot) || head->mark != MARK ||
            head->slot_count != slots_for(size))
                return -EBADMSG;
        *m = (struct meters) {
                .slots = (struct meters_slot *) area + 1,
                .slot_count = head->slot_count,
                .seed = head->seed,
                .owner = owner % METERS_OWNERS,
        };
        for (uint64_t i = 0; i < m->slot_count; i++)
                if (atomic_load_explicit(&m->slots[i].held[m->owner], memory_order_relaxed))
                        atomic_store(&m->slots[i].held[m->owner], 0);
        return 0;
}

/* The octets of an address that stand for the client's network. */
static size_t network_len(const unsigned char address[16])
{
        static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

        return memcmp(address, mapped, sizeof mapped) == 0 ? 16 : 8;
}

uint64_t meters_client(const struct meters *m, const unsigned char address[16])
{
        const struct span network = span_make((const char *) address, network_len(address));

        return hash_span(network, m->seed) | 1;
}

uint64_t meters_event(const struct meters *m, const unsigned char address[16], struct span kind)
{
        return hash_span(kind, meters_client(m, address)) | 1;
}

uint64_t meters_permission(const struct meters *m, const unsigned char address[16],
                           struct span kind)
{
        return hash_span(kind, hash_span(span_make((const char *) address, 16), m->seed)) | 1;
}

static bool is_idle(struct meters_slot *s, uint64_t minute)
{
        const uint64_t last = atomic_load(&s->minute) >> 32;

        for (int i = 0; i < METERS_OWNERS; i++)
                if (atomic_load_explicit(&s->held[i], memory_order_relaxed))
                        return false;
        /* What lies far ahead is no permission: the clock was set back. */
        return last < minute || last > minute + METERS_PERMIT_MAX;
}

static struct meters_slot *bucket_of(const struct meters *m, uint64_t key)
{
        return m->slots + ((key >> 8) & (m->slot_count - 1) & ~(uint64_t) (BUCKET - 1));
}

static struct meters_slot *find(const struct meters *m, uint64_t key)
{
        struct meters_slot *bucket = bucket_of(m, key);

        for (int i = 0; i < BUCKET; i++)
                if (atomic_load(&bucket[i].key) == key)
                        return &bucket[i];
        return NULL;
}

/* The slot of a key, taking over an idle one where there is none yet. */
static struct meters_slot *claim(const struct meters *m, uint64_t key, uint64_t minute)
{
        struct meters_slot *bucket = bucket_of(m, key);
        struct meters_slot *slot = find(m, key);

        if (slot)
                return slot;
        for (int i = 0; i < BUCKET; i++) {
                uint64_t old = atomic_load(&bucket[i].key);

                if ((old == 0 || is_idle(&bucket[i], minute)) &&
                    atomic_compare_exchange_strong(&bucket[i].key, &old, key)) {
                        atomic_store(&bucket[i].minute, 0);
                        return &bucket[i];
                }
        }
        return NULL;
}

void meters_permit(struct meters *m, uint64_t key, unsigned minutes, uint64_t now_us)
{
        const uint64_t minute = now_us / 60000000 & UINT32_MAX;
        struct meters_slot *slot = claim(m, key, minute);

        if (slot)
                atomic_store(&slot->minute, (minute + minutes) << 32);
}

bool meters_is_permitted(const struct meters *m, uint64_t key, uint64_t now_us)
{
        const uint64_t minute = now_us / 60000000 & UINT32_MAX;
        struct meters_slot *slot = find(m, key);
        const uint64_t last = slot ? atomic_load(&slot->minute) >> 32 : 0;

        return slot && last >= minute && last <= minute + METERS_PERMIT_MAX;
}

static unsigned sum_held(struct meters_slot *slot)
{
        unsigned sum = 0;

        for (int i = 0; i < METERS_OWNERS; i++)
                sum += atomic_load_explicit(&slot->held[i], memory_order_relaxed);
        return sum;
}

unsigned meters_hold(struct meters *m, uint64_t key, uint64_t now_us)
{
        struct meters_slot *slot = claim(m, key, now_us / 60000000 & UINT32_MAX);

        if (!slot)
                return 0;
        if (atomic_fetch_add(&slot->held[m->owner], 1) == UINT16_MAX ||
            atomic_load(&slot->key) != key) { /* full, or taken over meanwhile */
                atomic_fetch_sub(&slot->held[m->owner], 1);
                return 0;
        }
        return sum_held(slot);
}

void meters_release(struct meters *m, uint64_t key)
{
        struct meters_slot *slot = find(m, key);

        if (slot && atomic_load(&slot->held[m->owner]))
                atomic_fetch_sub(&slot->held[m->owner], 1);
}

unsigned meters_held(const struct meters *m, uint64_t key)
{
        struct meters_slot *slot = find(m, key);

        return slot ? sum_held(slot) : 0;
}

unsigned meters_ticks(const struct meters *m, uint64_t key, uint64_t now_us)
{
        const uint64_t minute = now_us / 60000000 & UINT32_MAX;
        struct meters_slot *slot = find(m, key);
        const uint64_t count = slot ? atomic_load(&slot->minute) : 0;

        return count >> 32 == minute ? (unsigned) (count & UINT32_MAX) : 0;
}

unsigned meters_tick(struct meters *m, uint64_t key, uint64_t now_us)
{
        const uint64_t minute = now_us / 60000000 & UINT32_MAX;
        struct meters_slot *slot = claim(m, key, minute);
        uint64_t old, next;

        if (!slot)
                return 1;
        old = atomic_load(&slot->minute);
        do {
                next = old >> 32 == minute ? old + 1 : minute << 32 | 1;
        } while (!atomic_compare_exchange_weak(&slot->minute, &old, next));
        return (unsigned) (next & UINT32_MAX);
}
