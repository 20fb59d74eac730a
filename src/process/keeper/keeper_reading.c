#include "process/keeper/keeper_reading.h"

#include <stdlib.h>

#include "base/hash.h"

enum { LEFT_MAX = 50000 };

struct left {
        struct table_node node;
        uint64_t message_id;
        uint64_t last_reading; /* the newest that may show it as it was */
        uint16_t group;
};

static uint64_t hash_of(uint64_t message_id, uint16_t group)
{
        char key[QUEUE_KEY_LEN];

        return hash_span(queue_key('e', message_id, group, key), hash_seed());
}

static struct left *find(const struct keeper *k, uint64_t message_id, uint16_t group)
{
        struct table_node *n = table_first(&k->left, hash_of(message_id, group));

        for (; n; n = table_next(n)) {
                struct left *left = TABLE_OBJECT(n, struct left, node);

                if (left->message_id == message_id && left->group == group)
                        return left;
        }
        return NULL;
}

static void forget(struct table_node *node, void *arg)
{
        (void) arg;
        free(TABLE_OBJECT(node, struct left, node));
}

struct keeper_reading *keeper_reading_begin(struct keeper *k)
{
        struct keeper_reading *r = k->left.count < LEFT_MAX ? malloc(sizeof *r) : NULL;

        if (!r)
                return NULL;
        *r = (struct keeper_reading) {.keeper = k, .number = ++k->last_reading, .pending = 1};
        k->readings++;
        return r;
}

void keeper_reading_add(struct keeper_reading *r)
{
        r->pending++;
}

void keeper_reading_end(struct keeper_reading *r)
{
        struct keeper *k = r->keeper;

        if (--r->pending)
                return;
        free(r);
        if (--k->readings || !k->left.count)
                return;
        table_visit(&k->left, forget, NULL);
        table_done(&k->left);
}

/* NULL without memory. */
static struct left *note(struct keeper *k, uint64_t message_id, uint16_t group)
{
        struct left *left = find(k, message_id, group);

        if (left)
                return left;
        left = malloc(sizeof *left);
        if (!left || table_add(&k->left, &left->node, hash_of(message_id, group)) < 0) {
                free(left);
                return NULL;
        }
        left->message_id = message_id;
        left->group = group;
        return left;
}

void keeper_reading_left(struct keeper *k, uint64_t message_id, uint16_t group)
{
        struct left *left;

        if (!k->readings)
                return;
        left = note(k, message_id, group);
        if (left)
                left->last_reading = k->last_reading;
        else
                k->last_unknown_reading = k->last_reading;
}

bool keeper_reading_is_old(const struct keeper_reading *r, uint64_t message_id, uint16_t group)
{
        const struct left *left = find(r->keeper, message_id, group);

        return r->number <= r->keeper->last_unknown_reading ||
               (left && left->last_reading >= r->number);
}
