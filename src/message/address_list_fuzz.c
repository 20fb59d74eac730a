/* Any octets are an address list: groups open and close in turn, and no entry
 * is longer than what it was read from. A NUL in front, which is as good as a blank
 * and keeps a plain list from being read as one, changes nothing. */
#include "message/address_list.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
        if (!condition)
                abort();
}

static bool is_same(struct span a, struct span b)
{
        return !a.p == !b.p && span_equal(a, b);
}

static void read_again(struct span value, const struct address_entry *entries, size_t count)
{
        struct arena arena = ARENA_INIT(1 << 24);
        char *text = malloc(value.len + 1);
        struct address_entry *others;
        size_t other_count;

        demand(text != NULL);
        text[0] = '\0';
        if (value.len)
                memcpy(text + 1, value.p, value.len);
        if (address_list_parse(span_make(text, value.len + 1), &arena, &others,
                               &other_count) == 0) {
                demand(count == other_count);
                for (size_t i = 0; i < count; i++)
                        demand(entries[i].kind == others[i].kind &&
                               is_same(entries[i].name, others[i].name) &&
                               is_same(entries[i].local, others[i].local) &&
                               is_same(entries[i].domain, others[i].domain));
        }
        free(text);
        arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct arena arena = ARENA_INIT(1 << 24);
        struct address_entry *entries;
        size_t count, octets = 0;
        const struct span value = span_make((const char *) data, size);
        bool in_group = false;

        if (address_list_parse(value, &arena, &entries, &count) == 0) {
                demand(count <= ADDRESS_LIST_MAX + 2);
                for (size_t i = 0; i < count; i++) {
                        const struct address_entry *e = &entries[i];

                        demand((e->kind == ADDRESS_GROUP_BEGIN) <= !in_group);
                        demand((e->kind == ADDRESS_GROUP_END) <= in_group);
                        if (e->kind != ADDRESS_MAILBOX)
                                in_group = e->kind == ADDRESS_GROUP_BEGIN;
                        octets += e->name.len + e->local.len + e->domain.len;
                }
                demand(!in_group && octets <= 2 * size);
                read_again(value, entries, count);
        }
        arena_done(&arena);
        return 0;
}
