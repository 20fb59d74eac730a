/* A hash table of objects that embed a `struct table_node`.
 *
 * Chained, doubling when full; keys stay in the objects, and the caller
 * compares them. Nothing here owns an object. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_node {
        struct table_node *next;
        uint64_t hash;
};

struct table {
        struct table_node **slots;
        size_t slot_count; /* a power of two, or 0 before the first insert */
        size_t count;
};

#define TABLE_INIT ((struct table) {0})
#define TABLE_OBJECT(node, type, member)                                                           \
        ((type *) (void *) ((char *) (node) - offsetof(type, member)))

/* Frees the slots, not the objects. */
void table_done(struct table *t);

/* Forgets all objects; keeps the slots. */
void table_clear(struct table *t);

/* 0 or -ENOMEM. The caller has made sure the key is not in yet. */
int table_add(struct table *t, struct table_node *node, uint64_t hash);

/* Takes a node out that is in the table. */
void table_remove(struct table *t, struct table_node *node);

/* The first node with this hash, or NULL; table_next() gives the next with
 * the same hash: compare the keys. */
struct table_node *table_first(const struct table *t, uint64_t hash);
struct table_node *table_next(const struct table_node *node);

/* Visits every node, in no order; `visit` may remove the node it is given. */
void table_visit(struct table *t, void (*visit)(struct table_node *node, void *arg), void *arg);
