/* What waits in memory to be written to an index: a table by key, and for scans the
 * order of the keys within one partition (index_behind.c has three of them, in turn).
 *
 * A busy store puts some 200,000 entries a second into one and empties it whole, so
 * that entries lie in blocks of its own and its tables keep their slots.
 *
 * Pure; whoever shares one guards it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/table.h"
#include "store/index.h"

enum {
        LEVEL_HEAD_OCTETS = 17,  /* of a key: its letter and partition */
        LEVEL_SMALL_MAX = 640,   /* entries of at most so many bytes lie in blocks, */
        LEVEL_SMALL_STEP = 32,   /* where what is dropped is used again by its size */
        LEVEL_SMALL_SIZES = LEVEL_SMALL_MAX / LEVEL_SMALL_STEP + 1,
};

struct level_head;
struct level_block;
struct level_dropped;

struct level_entry {
        struct table_node by_key;
        struct list_node node;    /* in order of arrival */
        struct list_node by_head; /* in its head's fresh ones */
        struct level_head *head;  /* NULL: a short key */
        bool is_sorted;           /* in its head's list, which outlives it: then it is */
        bool is_dead;             /* gone, but for its memory */
        bool is_new;              /* below has no such key */
        bool is_removed;
        uint32_t key_len, value_len;
        char octets[]; /* key, value */
};

struct level {
        struct table entries, heads;
        struct list_node order; /* of arrival; all that are not dead */
        struct level_head *last_head, *sorted_heads;
        struct list_node large; /* entries that lie in no block */
        struct level_block *blocks; /* the first is being filled */
        size_t block_used;
        struct level_dropped *dropped[LEVEL_SMALL_SIZES];
        size_t bytes;
        uint64_t since_us; /* of the oldest */
        uint64_t seed;
};

static inline struct span level_key(const struct level_entry *e)
{
        return span_make(e->octets, e->key_len);
}

static inline struct span level_value(const struct level_entry *e)
{
        return span_make(e->octets + e->key_len, e->value_len);
}

/* Where it lies it stays: lists begin in it. */
void level_init(struct level *level, uint64_t seed);
void level_done(struct level *level);

/* What a key is looked for by, in levels of the same seed. */
uint64_t level_hash(const struct level *level, struct span key);

/* A key is soon looked for: level_fetch(), level_fetch_entry() and level_fetch_next(), in this
 * order and with some work in between, and it will be at hand. */
static inline void level_fetch(const struct level *level, uint64_t hash)
{
        if (level->entries.slot_count)
                __builtin_prefetch(&level->entries.slots[hash & (level->entries.slot_count - 1)]);
}
static inline void level_fetch_entry(const struct level *level, uint64_t hash)
{
        if (level->entries.slot_count)
                __builtin_prefetch(level->entries.slots[hash & (level->entries.slot_count - 1)]);
}
static inline void level_fetch_next(const struct level *level, uint64_t hash)
{
        const struct table_node *first =
                level->entries.slot_count
                        ? level->entries.slots[hash & (level->entries.slot_count - 1)] : NULL;

        if (first)
                __builtin_prefetch(first->next);
}

/* Of the head of a key, likewise. The hash is 0 where the key has none. */
uint64_t level_fetch_head(const struct level *level, struct span key);
static inline void level_fetch_head_entry(const struct level *level, uint64_t hash)
{
        if (level->heads.slot_count)
                __builtin_prefetch(level->heads.slots[hash & (level->heads.slot_count - 1)]);
}
void level_fetch_head_last(const struct level *level, uint64_t hash);

static inline bool level_has_same_head(struct span a, struct span b)
{
        return a.len >= LEVEL_HEAD_OCTETS && b.len >= LEVEL_HEAD_OCTETS &&
               memcmp(a.p, b.p, LEVEL_HEAD_OCTETS) == 0;
}

/* NULL: there is none. */
struct level_entry *level_find(const struct level *level, struct span key, uint64_t hash);

/* For a key that is not in it. 0 or -ENOMEM. */
int level_add(struct level *level, struct span key, uint64_t hash, struct span value,
              struct level_entry **ret_e);
void level_drop(struct level *level, struct level_entry *e);

/* Forgets everything; keeps memory for as much again, unless there was little. */
void level_clear(struct level *level);

/* All entries in the order of their keys, and `spare` times NULL: an array that the caller
 * frees. Scans may go on meanwhile, but nobody else may do this. 0 or -ENOMEM. */
int level_order(const struct level *level, size_t spare, const struct level_entry ***ret_list);

/* The order of keys in an index. */
int level_compare(struct span a, struct span b);

/* What of one level lies in a range, in the order of its scan. The range is within one
 * partition: its ends share the first LEVEL_HEAD_OCTETS. Good until the level changes. */
struct level_run {
        struct level_entry *const *sorted;
        size_t at, end;
        bool is_reverse;
};
int level_run_init(struct level *level, const struct index_range *range,
                   struct level_run *ret_run); /* 0 or -ENOMEM */
const struct level_entry *level_run_peek(struct level_run *run); /* NULL: none is left */
void level_run_skip(struct level_run *run);
