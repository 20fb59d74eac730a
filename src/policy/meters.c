#include "policy/meters.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/hash.h"

enum { BUCKET = 8, MARK = 0x4d657432 /* "Met2" */, HEAD_SLOTS = 2, PARTS = 512 };

/* The area is a head of two slots' size, then slots in buckets. */
struct meters_slot {
        _Atomic uint64_t key;    /* 0: free */
        _Atomic uint64_t minute; /* minute << 32 | events in it; of a permission: its last one */
        _Atomic uint16_t held[METERS_OWNERS];
};

/* In which parts of the slots a connection was ever counted: who attaches looks through
 * those alone, since memory that is only looked at is taken, too. */
struct meters_head {
        uint64_t mark, slot_count, seed;
        _Atomic uint64_t has_held[PARTS / 64];
};

static_assert(sizeof(struct meters_head) <= HEAD_SLOTS * sizeof(struct meters_slot),
              "the head's room");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_SHORT_LOCK_FREE == 2, "shared memory");

static size_t slots_for(size_t size)
{
        size_t count = BUCKET;

        while ((2 * count + HEAD_SLOTS) * sizeof(struct meters_slot) <= size)
                count *= 2;
        return count;
}

size_t meters_size(size_t clients)
{
        size_t count = BUCKET;

        while (count < clients)
                count *= 2;
        /* Half empty: full buckets are rare. */
        return (2 * count + HEAD_SLOTS) * sizeof(struct meters_slot);
}

void meters_format(void *area, size_t size, uint64_t seed)
{
        *(struct meters_head *) area =
                (struct meters_head) {.mark = MARK, .slot_count = slots_for(size), .seed = seed};
}

/* The slots of a part; of few slots some parts have none. */
static uint64_t first_of(const struct meters *m, uint64_t part)
{
        return (part * m->slot_count + PARTS - 1) / PARTS;
}

static uint64_t part_of(const struct meters *m, const struct meters_slot *slot)
{
        return (uint64_t) (slot - m->slots) * PARTS / m->slot_count;
}

static bool has_held(const struct meters *m, uint64_t part)
{
        const uint64_t parts = atomic_load(&m->head->has_held[part / 64]);

        return parts >> part % 64 & 1;
}

static void mark_held(struct meters *m, uint64_t part)
{
        if (!has_held(m, part)) /* all edges read this, and seldom one writes */
                atomic_fetch_or(&m->head->has_held[part / 64], 1ULL << part % 64);
}

int meters_attach(struct meters *m, void *area, size_t size, unsigned owner)
{
        struct meters_head *head = area;

        if (size < (BUCKET + HEAD_SLOTS) * sizeof(struct meters_slot) || head->mark != MARK ||
            head->slot_count != slots_for(size))
                return -EBADMSG;
        *m = (struct meters) {
                .head = head,
                .slots = (struct meters_slot *) area + HEAD_SLOTS,
                .slot_count = head->slot_count,
                .seed = head->seed,
                .owner = owner % METERS_OWNERS,
        };
        for (uint64_t part = 0; part < PARTS; part++) {
                if (!has_held(m, part))
                        continue;
                for (uint64_t i = first_of(m, part); i < first_of(m, part + 1); i++)
                        atomic_store(&m->slots[i].held[m->owner], 0);
        }
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
        mark_held(m, part_of(m, slot));
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
