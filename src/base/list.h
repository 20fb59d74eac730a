/* A doubly linked list of objects that embed a `struct list_node`.
 *
 * The head is a node too; an empty list points at itself. A node that is in
 * no list has next == NULL. Nothing here allocates or owns. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list_node {
        struct list_node *next, *previous;
};

/* The object around a node: LIST_OBJECT(node, struct job, by_destination). */
#define LIST_OBJECT(node, type, member)                                                            \
        ((type *) (void *) ((char *) (node) - offsetof(type, member)))

/* Visits every node; the body may remove `node` itself. */
#define LIST_FOR_EACH(node, head)                                                                  \
        for (struct list_node *node = (head)->next, *node##_next = node->next; node != (head);     \
             node = node##_next, node##_next = node->next)

static inline void list_init(struct list_node *head)
{
        head->next = head->previous = head;
}

static inline bool list_is_empty(const struct list_node *head)
{
        return head->next == head;
}

static inline bool list_is_linked(const struct list_node *node)
{
        return node->next != NULL;
}

static inline void list_insert_before(struct list_node *at, struct list_node *node)
{
        node->previous = at->previous;
        node->next = at;
        at->previous->next = node;
        at->previous = node;
}

static inline void list_append(struct list_node *head, struct list_node *node)
{
        list_insert_before(head, node);
}

static inline void list_prepend(struct list_node *head, struct list_node *node)
{
        list_insert_before(head->next, node);
}

/* Harmless when the node is in no list. */
static inline void list_remove(struct list_node *node)
{
        if (!node->next)
                return;
        node->previous->next = node->next;
        node->next->previous = node->previous;
        node->next = node->previous = NULL;
}

/* All that is in `taken` goes to the end of `head`; `taken` is empty then. */
static inline void list_append_all(struct list_node *head, struct list_node *taken)
{
        if (list_is_empty(taken))
                return;
        taken->next->previous = head->previous;
        head->previous->next = taken->next;
        taken->previous->next = head;
        head->previous = taken->previous;
        list_init(taken);
}

/* The first node, taken out, or NULL. */
static inline struct list_node *list_take_first(struct list_node *head)
{
        struct list_node *first = head->next;

        if (first == head)
                return NULL;
        list_remove(first);
        return first;
}
