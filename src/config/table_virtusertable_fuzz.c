/* Any octets as virtusertable. */
#include "config/table_fuzz.h"
#include "message/address.h"

static void check(struct span key, struct span value)
{
        const struct span error = SPAN("error:");
        struct span enhanced, words;
        uint16_t code;

        if (span_find(key, '@') == SIZE_MAX)
                abort();
        if (span_starts_with_nocase(value, error) &&
            !table_reply_split(span_skip(value, error.len), &code, &enhanced, &words))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span text = span_make((const char *) data, size);
        struct snapshot *s = fuzz_compile(table_virtusertable_parse, text);

        if (s)
                fuzz_find_all(SNAPSHOT_VIRTUSERTABLE, text, s, check);
        snapshot_close(s);
        return 0;
}
