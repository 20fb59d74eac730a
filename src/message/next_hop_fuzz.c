/* Any octets: what is taken lies within the text, and a taken host is one that
 * can be asked for or connected to. */
#include <assert.h>

#include "message/next_hop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span in = span_make((const char *) data, size);
        struct next_hop hop, again;

        if (next_hop_parse(in, &hop) < 0)
                return 0;
        assert(hop.host.len == 0 ||
               (hop.host.p >= in.p && hop.host.p + hop.host.len <= in.p + in.len));
        if (hop.port && !hop.is_unix && !hop.is_host) { /* a name alone gives the same host */
                assert(hop.host.len <= 255);
                assert(next_hop_parse(hop.host, &again) == 0);
                assert(span_equal(hop.host, again.host));
        }
        return 0;
}
