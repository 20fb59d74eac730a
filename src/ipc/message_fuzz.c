/* Whatever decodes encodes to the same octets; nothing else happens. */
#include <stdint.h>
#include <stdlib.h>

#include "ipc/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct buffer again = BUFFER_INIT(IPC_PAYLOAD_MAX);
        union ipc_message m;
        struct span payload;
        unsigned type;

        if (size < 1)
                return 0;
        type = data[0];
        payload = span_make((const char *) data + 1, size - 1);
        if (ipc_decode(type, payload, &m) == 0) {
                if (ipc_encode(&again, type, &m) < 0 || !span_equal(buffer_span(&again), payload))
                        abort();
        }
        buffer_done(&again);
        return 0;
}
