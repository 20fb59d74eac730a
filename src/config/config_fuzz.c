/* Any octets as a configuration: parsed or refused with a message; what parses
 * is encoded and decoded to an equal one. And any octets as an encoded one. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
        if (!condition)
                abort();
}

static void check_roundtrip(const struct config *c)
{
        struct buffer first = BUFFER_INIT(1 << 24), second = BUFFER_INIT(1 << 24);
        struct config *back = NULL;

        check(config_encode(c, &first) == 0);
        check(config_decode(buffer_span(&first), &back) == 0);
        check(config_encode(back, &second) == 0);
        check(span_equal(buffer_span(&first), buffer_span(&second)));
        buffer_clear(&second);
        check(config_print_effective(c, &second) == 0);
        config_free(back);
        buffer_done(&first);
        buffer_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span text = span_make((const char *) data, size);
        struct buffer error = BUFFER_INIT(1 << 20);
        struct config *c = NULL;
        const int r = config_parse(text, "fuzz.conf", &c, &error);

        check((r == 0) == (error.len == 0));
        if (r == 0)
                check_roundtrip(c);
        c = config_free(c);
        if (config_decode(text, &c) == 0)
                check_roundtrip(c);
        config_free(c);
        buffer_done(&error);
        return 0;
}
