/* Any octets as access: what is good has known letters, and replies that can
 * be read. */
#include "config/table_access.h"
#include "config/table_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct span keys[] = {SPAN("example.jp"), SPAN("from:a@example.jp"),
                                           SPAN("connect:4/24/c0a801"), SPAN("6/32/20010db8"),
                                           SPAN("to:a@"), SPAN("<>")};
        struct snapshot *s = fuzz_compile(table_access_parse,
                                          span_make((const char *) data, size));
        struct span value, enhanced, words;
        uint16_t code;

        for (size_t i = 0; s && i < sizeof keys / sizeof keys[0]; i++) {
                if (!snapshot_get(s, SNAPSHOT_ACCESS, keys[i], &value, NULL))
                        continue;
                if (value.len == 0 || !strchr("OLRDSEQ", value.p[0]))
                        abort();
                if (value.p[0] == ACCESS_ERROR &&
                    !table_reply_split(span_skip(value, 1), &code, &enhanced, &words))
                        abort();
        }
        snapshot_close(s);
        return 0;
}
