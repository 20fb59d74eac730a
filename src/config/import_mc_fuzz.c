/* Any octets as a .mc: what comes out is a configuration whose syntax is good,
 * or a file too large. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "config/import_mc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct buffer out = BUFFER_INIT(1 << 20);
        const int r = import_mc(span_make((const char *) data, size), SPAN_LITERAL("f"), &out);

        if (r < 0 && r != -EMSGSIZE)
                abort();
        for (size_t i = 0; r == 0 && i < out.len; i++)
                if (buffer_span(&out).p[i] == '\0' || buffer_span(&out).p[i] == '\r')
                        abort();
        buffer_done(&out);
        return 0;
}
