#include "base/table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 16 };

void table_done(struct table *t)
{
        free(t->slots);
        *t = TABLE_INIT;
}

void table_clear(struct table *t)
{
        if (t->count)
                memset(t->slots, 0, t->slot_count * sizeof *t->slots);
        t->count = 0;
}

static struct table_node **slot_of(const struct table *t, uint64_t hash)
{
        return &t->slots[hash & (t->slot_count - 1)];
}

static int grow(struct table *t)
{
        size_t new_count = t->slot_count ? t->slot_count * 2 : SLOTS_MIN;
        struct table_node **slots = calloc(new_count, sizeof(struct table_node *));

        if (!slots)
                return -ENOMEM;
        for (size_t i = 0; i < t->slot_count; i++) {
                struct table_node *node = t->slots[i];

                while (node) {
                        struct table_node *next = node->next;
                        struct table_node **to = &slots[node->hash & (new_count - 1)];

                        node->next = *to;
                        *to = node;
                        node = next;
                }
        }
        free(t->slots);
        t->slots = slots;
        t->slot_count = new_count;
        return 0;
}

int table_add(struct table *t, struct table_node *node, uint64_t hash)
{
        struct table_node **to;

        if (t->count >= t->slot_count) {
                int r = grow(t);

                if (r < 0 && t->slot_count == 0)
                        return r;
                /* A table that could not grow still works, with longer chains. */
        }
        to = slot_of(t, hash);
        node->hash = hash;
        node->next = *to;
        *to = node;
        t->count++;
        return 0;
}

void table_remove(struct table *t, struct table_node *node)
{
        struct table_node **at = slot_of(t, node->hash);

        while (*at != node) {
                assert(*at);
                at = &(*at)->next;
        }
        *at = node->next;
        node->next = NULL;
        t->count--;
}

static struct table_node *skip_to(struct table_node *node, uint64_t hash)
{
        while (node && node->hash != hash)
                node = node->next;
        return node;
}

struct table_node *table_first(const struct table *t, uint64_t hash)
{
        return t->slot_count ? skip_to(*slot_of(t, hash), hash) : NULL;
}

struct table_node *table_next(const struct table_node *node)
{
        return skip_to(node->next, node->hash);
}

void table_visit(struct table *t, void (*visit)(struct table_node *node, void *arg), void *arg)
{
        for (size_t i = 0; i < t->slot_count; i++) {
                struct table_node *node = t->slots[i];

                while (node) {
                        struct table_node *next = node->next;

                        visit(node, arg);
                        node = next;
                }
        }
}
