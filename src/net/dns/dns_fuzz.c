/* rdata of any kind. Property: a name that was read is one that may be asked
 * for, or the root. */
#include "net/dns/dns.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span rdata = span_make((const char *) data, size);
        unsigned char address[16];
        struct dns_mx mx;

        if (dns_mx_parse(rdata, &mx) == 0)
                assert(mx.exchange[0] == '\0' || dns_name_is_valid(span_from_string(mx.exchange)));
        if (dns_a_parse(rdata, address) == 0)
                assert(size == 4);
        if (dns_aaaa_parse(rdata, address) == 0)
                assert(size == 16);
        return 0;
}
