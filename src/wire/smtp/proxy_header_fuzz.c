/* A PROXY header of any octets: never longer than its input, and cuts do not
 * change what it says. */
#include <assert.h>
#include <stdint.h>

#include "wire/smtp/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span in = span_make((const char *) data, size);
        struct proxy_header whole, part;

        if (proxy_header_parse(in, &whole) <= 0)
                return 0;
        assert(whole.len > 0 && whole.len <= size && whole.len <= PROXY_HEADER_MAX);
        assert(proxy_header_parse(span_first(in, whole.len), &part) == 1);
        assert(part.port == whole.port && part.has_client == whole.has_client);
        for (size_t cut = 0; cut < whole.len; cut += 1 + whole.len / 64)
                assert(proxy_header_parse(span_first(in, cut), &part) == 0);
        return 0;
}
