/* Any octets: a reader survives them, and what it read as a whole record has
 * exactly one form: written again it gives the same octets. */
#include "policy/decision.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span in = span_make((const char *) data, size);
        struct buffer b = BUFFER_INIT(1 << 20);
        struct decision_step step;
        struct reader r;
        uint64_t id;

        if (decision_open(in, &id, &r) < 0)
                return 0;
        assert(decision_begin(&b, id) == 0);
        while (decision_next(&r, &step))
                assert(decision_add(&b, &step) == 0);
        assert(b.len <= size && memcmp(b.data + b.start, data, b.len) == 0);
        assert(r.failed || b.len == size);
        buffer_done(&b);
        return 0;
}
