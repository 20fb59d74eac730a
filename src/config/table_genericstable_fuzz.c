/* Any octets as genericstable. */
#include "config/table_fuzz.h"
#include "message/address.h"

static void check(struct span key, struct span value)
{
        struct address address;

        if (address_parse(key, true, &address) < 0 || address_parse(value, true, &address) < 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span text = span_make((const char *) data, size);
        struct snapshot *s = fuzz_compile(table_genericstable_parse, text);

        if (s)
                fuzz_find_all(SNAPSHOT_GENERICSTABLE, text, s, check);
        snapshot_close(s);
        return 0;
}
