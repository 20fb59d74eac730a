/* Any octets as mailertable. */
#include "config/table_fuzz.h"
#include "message/next_hop.h"

static void check_hop(struct span value)
{
        struct next_hop hop;
        struct span enhanced, words;
        uint16_t code;

        if (next_hop_parse(value, &hop) < 0)
                abort();
        if (span_equal(hop.mailer, SPAN_LITERAL("error")) &&
            !table_reply_split(hop.host, &code, &enhanced, &words))
                abort();
}

static void check(struct span key, struct span value)
{
        struct span one;

        if (key.p[0] == '.' && memmem(value.p, value.len, "%1", 2))
                return;
        if (span_starts_with_nocase(value, SPAN_LITERAL("error:"))) {
                check_hop(value);
                return;
        }
        while (value.len && span_split(&value, ',', &one))
                check_hop(one);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span text = span_make((const char *) data, size);
        struct snapshot *s = fuzz_compile(table_mailertable_parse, text);

        if (s)
                fuzz_find_all(SNAPSHOT_MAILERTABLE, text, s, check);
        snapshot_close(s);
        return 0;
}
