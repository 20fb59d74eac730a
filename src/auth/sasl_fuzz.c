/* Octets of a client, cut into messages by their first octet each: nothing that
 * knows no secret is ever granted, and no answer is larger than it may be. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "auth/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct users_account *find(void *arg, struct span name)
{
        static const struct users_account alice = {
                .address = SPAN("alice@example.jp"),
                .hash = SPAN("{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0="),
                .scram = SPAN("4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
                              "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
                              "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
        };

        (void) arg;
        return span_equal_nocase(name, alice.address) ? &alice : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char exporter[SASL_EXPORTER_LEN] = "x";
        static struct sasl_engine *engine;
        struct buffer out = BUFFER_INIT(SASL_BLOB_MAX);
        enum sasl_status status = SASL_CHALLENGE;
        struct sasl_facts facts = {0};
        const struct sasl_mechanism *m;
        struct sasl *s;

        if (!engine)
                engine = sasl_engine_new(find, NULL);
        if (size == 0)
                return 0;
        m = &sasl_mechanisms[data[0] % sasl_mechanism_count];
        if (m->flags & SASL_BINDING)
                facts.exporter = span_make(exporter, sizeof exporter);
        data++;
        size--;
        if (sasl_new(engine, m->name, &facts, &s) < 0)
                abort();
        while (size && status == SASL_CHALLENGE) {
                const size_t n = data[0] < size - 1 ? data[0] : size - 1;

                status = sasl_step(s, span_make((const char *) data + 1, n), &out);
                assert(status != SASL_GRANTED);
                assert(status != SASL_CHECK || (m->flags & SASL_PLAINTEXT));
                data += n + 1;
                size -= n + 1;
        }
        sasl_free(s);
        buffer_done(&out);
        return 0;
}
