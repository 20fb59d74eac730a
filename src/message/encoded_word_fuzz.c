/* Header text comes out as valid UTF-8; what has nothing to decode stays as it
 * is; parameters are found or not, and are valid too. */
#include "message/encoded_word.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
        if (!condition)
                abort();
}

/* Printable ASCII without the beginning of a word. */
static bool is_plain(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if (s.p[i] < 32 || s.p[i] > 126 || (s.p[i] == '=' && i + 1 < s.len
                                                    && s.p[i + 1] == '?'))
                        return false;
        return true;
}

static void read_parameters(struct span value)
{
        struct arena arena = ARENA_INIT(1 << 20);
        struct content_field field;

        if (content_field_parse(value, &arena, &field) == 0) {
                struct buffer out = BUFFER_INIT(1 << 22);
                const int r = encoded_word_parameter(&field, SPAN_LITERAL("name"), &out);

                demand(r == 0 || r == -ENOENT);
                demand(utf8_is_valid(buffer_span(&out)));
                buffer_done(&out);
        }
        arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span value = span_make((const char *) data, size);
        struct buffer out = BUFFER_INIT(1 << 22);

        demand(encoded_word_decode(value, &out) == 0);
        demand(utf8_is_valid(buffer_span(&out)));
        if (is_plain(value))
                demand(span_equal(buffer_span(&out), value));
        buffer_done(&out);
        read_parameters(value);
        return 0;
}
