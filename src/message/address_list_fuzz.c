/* Any octets are an address list: groups open and close in turn, and no entry
 * is longer than what it was read from. */
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
        }
        arena_done(&arena);
        return 0;
}
