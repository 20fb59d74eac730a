/* Whatever comes in is refused, or comes out fit, and then stays as it is. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "message/downgrade.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct buffer out = BUFFER_INIT(64 * 1024 * 1024), again = BUFFER_INIT(64 * 1024 * 1024);
        const struct span in = {(const char *) data + 1, size ? size - 1 : 0};

        if (size && downgrade(in, data[0] & 1 ? DOWNGRADE_TO_8BIT : DOWNGRADE_TO_7BIT,
                              data[0] & 2, &out) == 0) {
                const struct span first = buffer_span(&out);

                for (size_t i = 0; i < first.len && !(data[0] & 1); i++)
                        assert((unsigned char) first.p[i] < 0x80);
                assert(downgrade(first, data[0] & 1 ? DOWNGRADE_TO_8BIT : DOWNGRADE_TO_7BIT, false,
                                 &again) == 0);
                assert(span_equal(first, buffer_span(&again)));
        }
        buffer_done(&out);
        buffer_done(&again);
        return 0;
}
