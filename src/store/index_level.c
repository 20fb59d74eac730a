#include "store/index_level.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/hash.h"
#include "base/prefetch.h"

enum {
        BLOCK = 64 * 1024,
        LITTLE = 1024, /* entries: a level that held no more keeps no memory */
        TAKEN_SOON = 512, /* octets of a block */
        FEW = 24,      /* entries, sorted without calling anybody */
};

/* What waits for one partition: a scan of it need not look at the others. Most
 * partitions are never scanned while something waits, so that the order of the keys
 * is made when one is: what came since is sorted into what was sorted before. */
struct level_head {
        struct table_node by_octets;
        struct list_node fresh; /* came since the last scan */
        size_t fresh_count;
        struct level_entry **sorted; /* by key; some may be dead. NULL: not yet */
        size_t sorted_count, dead_count;
        size_t place; /* level_order()'s: of its entries, how many, or where the next goes */
        struct level_head *next_sorted;
        char octets[LEVEL_HEAD_OCTETS];
};

/* ---- memory -------------------------------------------------------------- */

struct level_block {
        struct level_block *next;
        max_align_t octets[];
};

struct level_dropped {
        struct level_dropped *next;
};

/* In front of an entry that lies in no block. */
struct large {
        struct list_node node;
};

static void *take_from_block(struct level *level, size_t size)
{
        struct level_block *block = level->blocks;
        void *taken;

        if (!block || level->block_used + size > BLOCK - sizeof *block) {
                block = malloc(BLOCK);
                if (!block)
                        return NULL;
                block->next = level->blocks;
                level->blocks = block;
                level->block_used = 0;
        }
        taken = (char *) block->octets + level->block_used;
        level->block_used += size;
        prefetch_octets_to_write((char *) taken + TAKEN_SOON, size);
        return taken;
}

static size_t steps_of(size_t size)
{
        return (size + LEVEL_SMALL_STEP - 1) / LEVEL_SMALL_STEP;
}

static void *take(struct level *level, size_t size)
{
        const size_t steps = steps_of(size);
        struct level_dropped *dropped;
        struct large *large;

        if (size > LEVEL_SMALL_MAX) {
                large = malloc(sizeof *large + size);
                if (!large)
                        return NULL;
                list_append(&level->large, &large->node);
                return large + 1;
        }
        dropped = level->dropped[steps];
        if (!dropped)
                return take_from_block(level, steps * LEVEL_SMALL_STEP);
        level->dropped[steps] = dropped->next;
        return dropped;
}

static void give_back(struct level *level, void *taken, size_t size)
{
        struct level_dropped *dropped = taken;
        struct large *large = (struct large *) taken - 1;

        if (size > LEVEL_SMALL_MAX) {
                list_remove(&large->node);
                free(large);
                return;
        }
        dropped->next = level->dropped[steps_of(size)];
        level->dropped[steps_of(size)] = dropped;
}

static void free_blocks(struct level *level, struct level_block *kept)
{
        struct level_block *block = level->blocks;

        while (block) {
                struct level_block *next = block->next;

                if (block != kept)
                        free(block);
                block = next;
        }
        level->blocks = kept;
        level->block_used = 0;
        memset(level->dropped, 0, sizeof level->dropped);
        if (kept)
                kept->next = NULL;
}

/* ---- entries ------------------------------------------------------------- */

void level_init(struct level *level, uint64_t seed)
{
        *level = (struct level) {.seed = seed};
        list_init(&level->order);
        list_init(&level->large);
}

uint64_t level_hash(const struct level *level, struct span key)
{
        return hash_span(key, level->seed);
}

struct level_entry *level_find(const struct level *level, struct span key, uint64_t hash)
{
        struct table_node *n = table_first(&level->entries, hash);

        for (; n; n = table_next(n)) {
                struct level_entry *e = TABLE_OBJECT(n, struct level_entry, by_key);

                if (span_equal(level_key(e), key))
                        return e;
        }
        return NULL;
}

static bool is_head_of(const struct level_head *head, struct span key)
{
        return memcmp(head->octets, key.p, LEVEL_HEAD_OCTETS) == 0;
}

static struct level_head *find_head(const struct level *level, struct span key, uint64_t hash)
{
        struct table_node *n = table_first(&level->heads, hash);

        while (n && !is_head_of(TABLE_OBJECT(n, struct level_head, by_octets), key))
                n = table_next(n);
        return n ? TABLE_OBJECT(n, struct level_head, by_octets) : NULL;
}

static uint64_t head_hash(const struct level *level, struct span key)
{
        return hash_span(span_first(key, LEVEL_HEAD_OCTETS), level->seed);
}

uint64_t level_fetch_head(const struct level *level, struct span key)
{
        uint64_t hash;

        if (key.len < LEVEL_HEAD_OCTETS)
                return 0;
        hash = head_hash(level, key);
        if (level->heads.slot_count)
                __builtin_prefetch(&level->heads.slots[hash & (level->heads.slot_count - 1)]);
        return hash;
}

/* What is listed below it next is linked to the last that was. */
void level_fetch_head_last(const struct level *level, uint64_t hash)
{
        struct table_node *n = table_first(&level->heads, hash);

        if (n)
                prefetch_to_write(TABLE_OBJECT(n, struct level_head, by_octets)->fresh.previous);
}

static struct level_head *add_head(struct level *level, struct span key, uint64_t hash)
{
        struct level_head *head = take(level, sizeof *head);

        if (!head)
                return NULL;
        *head = (struct level_head) {.sorted = NULL};
        if (table_add(&level->heads, &head->by_octets, hash) < 0) {
                give_back(level, head, sizeof *head);
                return NULL;
        }
        list_init(&head->fresh);
        memcpy(head->octets, key.p, LEVEL_HEAD_OCTETS);
        return head;
}

/* Lists the entry below its head, which is made when it is the first. The keys of one
 * partition come together: most have the head of the one before. */
static int add_to_head(struct level *level, struct level_entry *e, struct span key)
{
        struct level_head *head = level->last_head;

        e->head = NULL;
        if (key.len < LEVEL_HEAD_OCTETS)
                return 0;
        if (!head || !is_head_of(head, key)) {
                const uint64_t hash = head_hash(level, key);

                head = find_head(level, key, hash);
                if (!head)
                        head = add_head(level, key, hash);
                if (!head)
                        return -ENOMEM;
                level->last_head = head;
        }
        e->head = head;
        list_append(&head->fresh, &e->by_head);
        head->fresh_count++;
        return 0;
}

/* False: its memory is still wanted. */
static bool leave_head(struct level_entry *e)
{
        if (!e->head)
                return true;
        if (e->is_sorted) {
                e->is_dead = true;
                e->head->dead_count++;
                return false;
        }
        list_remove(&e->by_head);
        e->head->fresh_count--;
        return true;
}

static size_t size_of(size_t key_len, size_t value_len)
{
        return sizeof(struct level_entry) + key_len + value_len;
}

static void entry_free(struct level *level, struct level_entry *e)
{
        const size_t size = size_of(e->key_len, e->value_len);

        level->bytes -= size;
        give_back(level, e, size);
}

void level_drop(struct level *level, struct level_entry *e)
{
        table_remove(&level->entries, &e->by_key);
        list_remove(&e->node);
        if (leave_head(e))
                entry_free(level, e);
}

int level_add(struct level *level, struct span key, uint64_t hash, struct span value,
              struct level_entry **ret_e)
{
        const size_t size = size_of(key.len, value.len);
        struct level_entry *e = take(level, size);

        if (!e)
                return -ENOMEM;
        e->is_new = e->is_removed = e->is_sorted = e->is_dead = false;
        e->key_len = (uint32_t) key.len;
        e->value_len = (uint32_t) value.len;
        memcpy(e->octets, key.p, key.len);
        if (value.len)
                memcpy(e->octets + key.len, value.p, value.len);
        if (add_to_head(level, e, key) < 0) {
                give_back(level, e, size);
                return -ENOMEM;
        }
        if (table_add(&level->entries, &e->by_key, hash) < 0) {
                leave_head(e);
                give_back(level, e, size);
                return -ENOMEM;
        }
        if (level->entries.count == 1)
                level->since_us = clock_monotonic_us();
        list_append(&level->order, &e->node);
        level->bytes += size;
        *ret_e = e;
        return 0;
}

void level_clear(struct level *level)
{
        const bool is_little = level->entries.count <= LITTLE;
        struct list_node *node;

        for (struct level_head *head = level->sorted_heads; head; head = head->next_sorted)
                free(head->sorted);
        level->sorted_heads = level->last_head = NULL;
        while ((node = list_take_first(&level->large)))
                free(LIST_OBJECT(node, struct large, node));
        if (is_little) {
                table_done(&level->entries);
                table_done(&level->heads);
        } else {
                table_clear(&level->entries);
                table_clear(&level->heads);
        }
        free_blocks(level, is_little ? NULL : level->blocks);
        list_init(&level->order);
        level->bytes = 0;
}

void level_done(struct level *level)
{
        level_clear(level);
        table_done(&level->entries);
        table_done(&level->heads);
        free_blocks(level, NULL);
}

/* ---- the order of the keys ----------------------------------------------- */

int level_compare(struct span a, struct span b)
{
        const size_t len = a.len < b.len ? a.len : b.len;
        const int c = len ? memcmp(a.p, b.p, len) : 0;

        return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int by_key(const void *a, const void *b)
{
        return level_compare(level_key(*(const struct level_entry *const *) a),
                            level_key(*(const struct level_entry *const *) b));
}

/* The first of the sorted ones, from `from` to `to`, whose key is not before this one. */
static size_t find_place(struct level_entry *const *sorted, size_t to, struct span key)
{
        size_t from = 0;

        while (from < to) {
                const size_t middle = from + (to - from) / 2;

                if (level_compare(level_key(sorted[middle]), key) < 0)
                        from = middle + 1;
                else
                        to = middle;
        }
        return from;
}

static void bury_dead(struct level *level, struct level_head *head)
{
        size_t count = 0;

        for (size_t i = 0; i < head->sorted_count; i++) {
                if (head->sorted[i]->is_dead)
                        entry_free(level, head->sorted[i]);
                else
                        head->sorted[count++] = head->sorted[i];
        }
        head->sorted_count = count;
        head->dead_count = 0;
}

/* Keys are compared only as often as something new needs its place; the pointers of
 * what is sorted already are moved in pieces. */
static void sort_in(struct level_entry **sorted, size_t sorted_count,
                    struct level_entry *const *fresh, size_t fresh_count)
{
        size_t rest = sorted_count;

        for (size_t k = fresh_count; k-- > 0;) {
                const size_t place = find_place(sorted, rest, level_key(fresh[k]));

                memmove(sorted + place + k + 1, sorted + place, (rest - place) * sizeof *sorted);
                sorted[place + k] = fresh[k];
                rest = place;
        }
}

/* All of a head in `sorted`. 0 or -ENOMEM. */
static int sort_head(struct level *level, struct level_head *head)
{
        struct level_entry **fresh, **sorted;
        size_t count = 0;

        if (head->dead_count > head->sorted_count / 4)
                bury_dead(level, head);
        if (!head->fresh_count)
                return 0;
        fresh = malloc(head->fresh_count * sizeof *fresh);
        sorted = fresh ? realloc(head->sorted, (head->sorted_count + head->fresh_count) *
                                                       sizeof *sorted) : NULL;
        if (!sorted) {
                free(fresh);
                return -ENOMEM;
        }
        if (!head->sorted) {
                head->next_sorted = level->sorted_heads;
                level->sorted_heads = head;
        }
        head->sorted = sorted;
        LIST_FOR_EACH(node, &head->fresh) {
                fresh[count] = LIST_OBJECT(node, struct level_entry, by_head);
                fresh[count++]->is_sorted = true;
                list_remove(node);
        }
        qsort(fresh, count, sizeof *fresh, by_key);
        sort_in(sorted, head->sorted_count, fresh, count);
        head->sorted_count += count;
        head->fresh_count = 0;
        free(fresh);
        return 0;
}

/* ---- all of them in order -------------------------------------------------- */

/* Most keys differ within the first octets that they may differ in: those are kept at
 * hand, so that a comparison need not fetch both from all over memory. */
struct ordered {
        struct level_head *head; /* NULL: a short key */
        uint64_t word;           /* of what follows the head, to compare as its octets do */
        const struct level_entry *entry;
};

static uint64_t word_of(struct span key, size_t at)
{
        char octets[8] = "";

        if (key.len >= at + sizeof octets)
                return key_get_u64(key.p + at);
        if (key.len > at)
                memcpy(octets, key.p + at, key.len - at);
        return key_get_u64(octets);
}

static int by_rest(const void *a, const void *b)
{
        const struct ordered *x = a, *y = b;

        if (x->word != y->word)
                return x->word < y->word ? -1 : 1;
        return level_compare(level_key(x->entry), level_key(y->entry));
}

static int by_octets(const void *a, const void *b)
{
        const struct level_head *const *x = a, *const *y = b;

        return memcmp((*x)->octets, (*y)->octets, LEVEL_HEAD_OCTETS);
}

static void sort_rest(struct ordered *list, size_t count)
{
        if (count > FEW) {
                qsort(list, count, sizeof *list, by_rest);
                return;
        }
        for (size_t i = 1; i < count; i++) {
                const struct ordered o = list[i];
                size_t k = i;

                for (; k > 0 && by_rest(&o, &list[k - 1]) < 0; k--)
                        list[k] = list[k - 1];
                list[k] = o;
        }
}

/* In order of arrival, with the heads that there are, each counted. */
static size_t list_all(const struct level *level, struct ordered *all, struct level_head **heads)
{
        size_t count = 0, head_count = 0;

        LIST_FOR_EACH(node, &level->order) {
                const struct level_entry *e = LIST_OBJECT(node, struct level_entry, node);

                if (e->head && e->head->place++ == 0)
                        heads[head_count++] = e->head;
                all[count++] = (struct ordered) {
                        e->head, word_of(level_key(e), e->head ? LEVEL_HEAD_OCTETS : 0), e};
        }
        return head_count;
}

/* What has no head comes first, then those of each head. How many have none. */
static size_t gather(const struct ordered *all, size_t count, struct level_head *const *heads,
                     size_t head_count, struct ordered *ret_gathered)
{
        size_t at = count, short_count = 0;

        for (size_t i = head_count; i-- > 0;) {
                at -= heads[i]->place;
                heads[i]->place = at;
        }
        for (size_t i = 0; i < count; i++)
                ret_gathered[all[i].head ? all[i].head->place++ : short_count++] = all[i];
        return short_count;
}

/* A short key is in front of all keys of a head, or behind them. */
static void merge(struct ordered *gathered, size_t short_count, struct level_head *const *heads,
                  size_t head_count, const struct level_entry **ret_list)
{
        size_t at = short_count, next = 0;

        sort_rest(gathered, short_count);
        for (size_t i = 0; i < head_count; i++) {
                const struct span head = span_make(heads[i]->octets, LEVEL_HEAD_OCTETS);

                while (next < short_count &&
                       level_compare(level_key(gathered[next].entry), head) < 0)
                        *ret_list++ = gathered[next++].entry;
                sort_rest(gathered + at, heads[i]->place - at);
                while (at < heads[i]->place)
                        *ret_list++ = gathered[at++].entry;
                heads[i]->place = 0;
        }
        while (next < short_count)
                *ret_list++ = gathered[next++].entry;
}

int level_order(const struct level *level, size_t spare, const struct level_entry ***ret_list)
{
        const size_t count = level->entries.count;
        const struct level_entry **list = calloc(count + spare + 1, sizeof *list);
        struct level_head **heads = reallocarray(NULL, level->heads.count + 1, sizeof *heads);
        struct ordered *all = reallocarray(NULL, 2 * count + 1, sizeof *all);
        size_t head_count, short_count;

        if (list && heads && all) {
                head_count = list_all(level, all, heads);
                qsort(heads, head_count, sizeof *heads, by_octets);
                short_count = gather(all, count, heads, head_count, all + count);
                merge(all + count, short_count, heads, head_count, list);
                *ret_list = list;
        } else {
                free(list);
                list = NULL;
        }
        free(heads);
        free(all);
        return list ? 0 : -ENOMEM;
}

/* ---- a scan ------------------------------------------------------------------ */

int level_run_init(struct level *level, const struct index_range *range,
                   struct level_run *ret_run)
{
        struct level_head *head = find_head(level, range->from, head_hash(level, range->from));
        int r = head ? sort_head(level, head) : 0;

        *ret_run = (struct level_run) {.is_reverse = range->is_reverse};
        if (r < 0 || !head)
                return r;
        ret_run->sorted = head->sorted;
        ret_run->at = find_place(head->sorted, head->sorted_count, range->from);
        ret_run->end = find_place(head->sorted, head->sorted_count, range->to);
        return 0;
}

/* NULL: there is none any more. */
const struct level_entry *level_run_peek(struct level_run *run)
{
        while (run->at < run->end) {
                const struct level_entry *e = run->sorted[run->is_reverse ? run->end - 1 : run->at];

                if (!e->is_dead)
                        return e;
                run->end -= run->is_reverse;
                run->at += !run->is_reverse;
        }
        return NULL;
}

void level_run_skip(struct level_run *run)
{
        run->end -= run->is_reverse;
        run->at += !run->is_reverse;
}

