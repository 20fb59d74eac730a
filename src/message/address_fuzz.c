/* What parses formats, and parses again to the same; so does its key's text
 * where it can be written. */
#include <assert.h>
#include <stdint.h>

#include "message/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span text = span_make((const char *) data, size);
        struct arena arena = ARENA_INIT(16384);
        struct address a, again, strict;

        if (address_parse(text, true, &a) == 0) {
                const struct span out = address_format(&a, &arena);
                const struct span key = address_canonical(&a, &arena);

                assert(out.p && out.len <= ADDRESS_FORMAT_MAX && key.p);
                assert(address_parse(out, true, &again) == 0);
                assert(span_equal(address_format(&again, &arena), out));
                assert(span_equal(address_canonical(&again, &arena), key));
                assert(again.has_utf8 == a.has_utf8 && again.is_literal == a.is_literal);
                assert((address_parse(text, false, &strict) == 0) == (a.domain.len > 0));
                for (size_t i = 0; i < out.len; i++)
                        assert((unsigned char) out.p[i] >= 32 && out.p[i] != 127);
        } else {
                assert(address_parse(text, false, &strict) < 0);
        }
        arena_done(&arena);
        return 0;
}
